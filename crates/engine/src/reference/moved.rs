//! Numbers that come from other places: padding, cropping, rearranging, resizing.

use cspnet_graph::{Fill, Op, Pad, Shape};

use super::tensor::{Real, Tensor};
use crate::translate::source;

/// What an image's numbers are made of, row-major: places in the input and their weights.
type Sources = Vec<Vec<(usize, f64)>>;

/// What the output of `op` is made of.
fn sources(op: &Op, [c, h, w]: Shape, output: Shape) -> Sources {
    let places = || {
        let [c, h, w] = output;
        (0..c).flat_map(move |c| (0..h).flat_map(move |y| (0..w).map(move |x| [c, y, x])))
    };
    if let Op::Resize(resize) = op {
        let (rows, columns) = (resize.taps(0, h), resize.taps(1, w));
        let pixel = |[c, y, x]: Shape| {
            let row = |&(y, a): &(usize, f32)| {
                columns[x].iter().map(move |&(x, b)| ((c * h + y) * w + x, f64::from(a) * f64::from(b)))
            };
            rows[y].iter().flat_map(row).collect()
        };
        return places().map(pixel).collect();
    }
    let from = source(op, [c, h, w]);
    places().map(|place| from(place).map(|[c, y, x]| ((c * h + y) * w + x, 1.0)).into_iter().collect()).collect()
}

fn image([_, c, h, w]: [usize; 4]) -> Shape {
    [c, h, w]
}

/// The output of `op`, of a shape.
pub(super) fn forward<T: Real>(op: &Op, x: &Tensor<T>, shape: [usize; 4]) -> Tensor<T> {
    let sources = sources(op, image(x.shape), image(shape));
    let fill = match op {
        Op::Pad(Pad { fill: Fill::Constant { value }, .. }) => T::of(*value),
        _ => T::default(),
    };
    let number = |image: &[T], of: &Vec<(usize, f64)>| match of[..] {
        [] => fill,
        _ => of.iter().map(|&(i, weight)| image[i] * T::of(weight)).sum(),
    };
    let images = x.data.chunks_exact(x.data.len() / shape[0]);
    Tensor { shape, data: images.flat_map(|image| sources.iter().map(move |of| number(image, of))).collect() }
}

/// The gradient of its input, of a shape.
pub(super) fn backward<T: Real>(op: &Op, dy: &Tensor<T>, shape: [usize; 4]) -> Tensor<T> {
    let sources = sources(op, image(shape), image(dy.shape));
    let mut dx = Tensor::zeros(shape);
    let len = dx.data.len() / shape[0];
    for (dx, dy) in dx.data.chunks_exact_mut(len).zip(dy.data.chunks_exact(sources.len())) {
        for (of, &dy) in sources.iter().zip(dy) {
            of.iter().for_each(|&(i, weight)| dx[i] += dy * T::of(weight));
        }
    }
    dx
}
