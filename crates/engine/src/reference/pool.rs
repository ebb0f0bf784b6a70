//! Pooling by a window, and the mean over a whole plane.

use cspnet_graph::{PoolKind, Window};

use super::tensor::{Real, Tensor};

/// Cells of the picture in the window of one output, as places in its plane, in row-major order.
fn cells(w: &Window, [rows, columns]: [usize; 2], y: usize, x: usize) -> Vec<usize> {
    let along = |axis: usize, at: usize, size: usize| {
        let place = move |k: usize| (at * w.stride[axis] + k * w.dilation[axis]).checked_sub(w.padding.before[axis]);
        (0..w.kernel[axis]).filter_map(place).filter(move |&p| p < size)
    };
    along(0, y, rows).flat_map(|r| along(1, x, columns).map(move |c| r * columns + c)).collect()
}

/// What the sum of a window is divided by that has so many cells of the picture.
fn divisor(kind: PoolKind, w: &Window, input: [usize; 2], [y, x]: [usize; 2], cells: usize) -> f64 {
    // Counted from the first cell of the padding; cells behind its last, where windows may reach in ceil mode, do not count.
    let padded = |axis: usize, at: usize| {
        let end = w.padding.before[axis] + input[axis] + w.padding.after[axis];
        (0..w.kernel[axis]).filter(|k| at * w.stride[axis] + k * w.dilation[axis] < end).count()
    };
    match kind {
        PoolKind::Average { count_include_pad: true } => (padded(0, y) * padded(1, x)) as f64,
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
        each(y * output[1] + x, &cells, divisor(kind, w, input, [y, x], cells.len()));
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
