//! Pooling by a window, and the mean over a whole plane.

use cspnet_graph::{PoolKind, Window};

use super::tensor::{Real, Tensor};

/// Cells of the picture in the window of one output, as places in its plane, in row-major order.
fn cells(w: &Window, [rows, columns]: [usize; 2], y: usize, x: usize) -> Vec<usize> {
    let along = |axis: usize, at: usize, size: usize| {
        let place = move |k: usize| (at * w.stride[axis] + k * w.dilation[axis]).checked_sub(w.padding[axis]);
        (0..w.kernel[axis]).filter_map(place).filter(move |&p| p < size)
    };
    along(0, y, rows).flat_map(|r| along(1, x, columns).map(move |c| r * columns + c)).collect()
}

/// What a window's sum is divided by.
fn divisor(kind: PoolKind, w: &Window, cells: usize) -> f64 {
    match kind {
        PoolKind::Average { count_include_pad: true } => (w.kernel[0] * w.kernel[1]) as f64,
        _ => cells as f64,
    }
}

/// Calls `each(output pixel, cells of its window, divisor)` for every output of a plane.
fn each_window(
    kind: PoolKind,
    w: &Window,
    input: [usize; 2],
    output: [usize; 2],
    mut each: impl FnMut(usize, &[usize], f64),
) {
    for (y, x) in (0..output[0]).flat_map(|y| (0..output[1]).map(move |x| (y, x))) {
        let cells = cells(w, input, y, x);
        each(y * output[1] + x, &cells, divisor(kind, w, cells.len()));
    }
}

/// The first cell with the largest number.
fn first_largest<T: Real>(plane: &[T], cells: &[usize]) -> usize {
    cells.iter().copied().reduce(|best, c| if plane[c] > plane[best] { c } else { best }).unwrap_or_default()
}

pub(super) fn forward<T: Real>(kind: PoolKind, w: &Window, x: &Tensor<T>, y: &mut Tensor<T>) {
    let (input, output) = ([x.shape[2], x.shape[3]], [y.shape[2], y.shape[3]]);
    for (n, c) in x.planes() {
        let from = x.plane(n, c);
        let to = y.plane_mut(n, c);
        each_window(kind, w, input, output, |at, cells, divisor| {
            to[at] = match kind {
                PoolKind::Max => from[first_largest(from, cells)],
                PoolKind::Average { .. } => cells.iter().map(|&c| from[c]).sum::<T>() / T::of(divisor),
            };
        });
    }
}

pub(super) fn backward<T: Real>(kind: PoolKind, w: &Window, x: &Tensor<T>, dy: &Tensor<T>) -> Tensor<T> {
    let (input, output) = ([x.shape[2], x.shape[3]], [dy.shape[2], dy.shape[3]]);
    let mut dx = Tensor::zeros(x.shape);
    for (n, c) in x.planes() {
        let (from, dy) = (x.plane(n, c), dy.plane(n, c));
        let to = dx.plane_mut(n, c);
        each_window(kind, w, input, output, |at, cells, divisor| match kind {
            PoolKind::Max => to[first_largest(from, cells)] += dy[at],
            PoolKind::Average { .. } => cells.iter().for_each(|&c| to[c] += dy[at] / T::of(divisor)),
        });
    }
    dx
}
