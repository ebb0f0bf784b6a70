//! Convolution and fully connected layers, which are convolutions of one pixel.
//!
//! Every tap adds a multiple of one row of a plane to a row of another; loops over rows are what the compiler makes fast.

use std::ops::Range;

use cspnet_graph::Window;

use super::tensor::{Real, Tensor};

/// The geometry of a convolution on planes of given sizes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub window: Window,
    pub groups: usize,
    /// Rows and columns.
    pub input: [usize; 2],
    pub output: [usize; 2],
}

impl Geometry {
    /// Outputs for which tap `k` lies inside the picture, along one axis.
    fn inside(&self, axis: usize, k: usize) -> Range<usize> {
        let place = |o: usize| {
            (o * self.window.stride[axis] + k * self.window.dilation[axis])
                .checked_sub(self.window.padding.before[axis])
        };
        let fits = |o: &usize| place(*o).is_some_and(|i| i < self.input[axis]);
        let first = (0..self.output[axis]).find(fits).unwrap_or(0);
        first..first + (first..self.output[axis]).take_while(fits).count()
    }

    /// Calls `each(tap, output row's first pixel, input row's first pixel, pixels, step between input pixels)` for every tap
    /// and row that lies inside the picture.
    fn each_row(&self, mut each: impl FnMut(usize, usize, usize, usize, usize)) {
        let w = &self.window;
        for ky in 0..w.kernel[0] {
            for kx in 0..w.kernel[1] {
                let columns = self.inside(1, kx);
                if columns.is_empty() {
                    continue;
                }
                let column = columns.start * w.stride[1] + kx * w.dilation[1] - w.padding.before[1];
                for row in self.inside(0, ky) {
                    let input = row * w.stride[0] + ky * w.dilation[0] - w.padding.before[0];
                    let (o, i) = (row * self.output[1] + columns.start, input * self.input[1] + column);
                    each(ky * w.kernel[1] + kx, o, i, columns.len(), w.stride[1]);
                }
            }
        }
    }
}

/// `y += W x`
pub(super) fn forward<T: Real>(g: &Geometry, x: &Tensor<T>, weight: &[T], bias: Option<&[T]>, y: &mut Tensor<T>) {
    let (per_group_in, per_group_out) = (x.shape[1] / g.groups, y.shape[1] / g.groups);
    let taps = g.window.kernel[0] * g.window.kernel[1];
    let pixels = y.pixels();
    let outs = y.shape[1];
    in_parallel(&mut y.data, pixels, |plane, y| {
        let (n, o) = (plane / outs, plane % outs);
        y.fill(bias.map_or(T::default(), |b| b[o]));
        for i in 0..per_group_in {
            let x = x.plane(n, o / per_group_out * per_group_in + i);
            let weight = &weight[(o * per_group_in + i) * taps..][..taps];
            g.each_row(|tap, to, from, len, step| {
                let w = weight[tap];
                let x = x[from..].iter().step_by(step);
                y[to..to + len].iter_mut().zip(x).for_each(|(y, &x)| *y += w * x);
            });
        }
    });
}

/// `dx = W^T dy`
pub(super) fn backward_data<T: Real>(g: &Geometry, dy: &Tensor<T>, weight: &[T], dx: &mut Tensor<T>) {
    let (per_group_in, per_group_out) = (dx.shape[1] / g.groups, dy.shape[1] / g.groups);
    let taps = g.window.kernel[0] * g.window.kernel[1];
    let (pixels, ins) = (dx.pixels(), dx.shape[1]);
    in_parallel(&mut dx.data, pixels, |plane, dx| {
        let (n, i) = (plane / ins, plane % ins);
        for o in 0..per_group_out {
            let o = i / per_group_in * per_group_out + o;
            let dy = dy.plane(n, o);
            let weight = &weight[(o * per_group_in + i % per_group_in) * taps..][..taps];
            g.each_row(|tap, from, to, len, step| {
                let w = weight[tap];
                let dx = dx[to..].iter_mut().step_by(step);
                dy[from..from + len].iter().zip(dx).for_each(|(&dy, dx)| *dx += w * dy);
            });
        }
    });
}

/// The gradients of weight and bias.
pub(super) fn backward_weight<T: Real>(g: &Geometry, x: &Tensor<T>, dy: &Tensor<T>) -> (Vec<T>, Vec<T>) {
    let (per_group_in, per_group_out) = (x.shape[1] / g.groups, dy.shape[1] / g.groups);
    let taps = g.window.kernel[0] * g.window.kernel[1];
    let mut dw = vec![T::default(); dy.shape[1] * per_group_in * taps];
    in_parallel(&mut dw, per_group_in * taps, |o, dw| {
        for n in 0..x.shape[0] {
            let dy = dy.plane(n, o);
            for i in 0..per_group_in {
                let x = x.plane(n, o / per_group_out * per_group_in + i);
                g.each_row(|tap, at, from, len, step| {
                    let x = x[from..].iter().step_by(step);
                    dw[i * taps + tap] += dy[at..at + len].iter().zip(x).map(|(&dy, &x)| dy * x).sum();
                });
            }
        }
    });
    let channel = |o: usize| (0..dy.shape[0]).map(|n| dy.plane(n, o).iter().copied().sum()).sum();
    (dw, (0..dy.shape[1]).map(channel).collect())
}

/// Calls `each(i, chunk)` for every chunk of `len` numbers, on two threads; a chunk is computed by one of them alone.
fn in_parallel<T: Send>(data: &mut [T], len: usize, each: impl Fn(usize, &mut [T]) + Sync) {
    let chunks = data.len() / len.max(1);
    let (front, back) = data.split_at_mut(chunks / 2 * len);
    let half = |first: usize, data: &mut [T]| data.chunks_mut(len).enumerate().for_each(|(i, c)| each(first + i, c));
    std::thread::scope(|scope| {
        scope.spawn(|| half(0, front));
        half(chunks / 2, back);
    });
}
