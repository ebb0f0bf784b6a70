//! Which source pixels an output pixel of a convolution sees, forward and backward.

use crate::Window;

/// A tap of the kernel as seen from an output pixel `(i, j)` of a grid: source pixel `source_step * (i, j) + offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    /// Row and column in the kernel.
    pub kernel: [usize; 2],
    /// Rows and columns from the output pixel to the source pixel.
    pub offset: [isize; 2],
}

/// Output pixels `origin + step * (i, j)`, `(i, j)` within `size`, that all see the same taps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub origin: [usize; 2],
    pub step: [usize; 2],
    pub size: [usize; 2],
    pub source_step: [usize; 2],
    pub taps: Vec<Tap>,
}

/// All pixels of the output, each of which sees the whole window.
pub(super) fn forward(window: &Window, output: [usize; 2]) -> Vec<Grid> {
    let along = |axis: usize| -> Vec<(usize, isize)> {
        let offset = |k: usize| (k * window.dilation[axis]) as isize - window.padding[axis] as isize;
        (0..window.kernel[axis]).map(|k| (k, offset(k))).collect()
    };
    let taps = product(&along(0), &along(1));
    vec![Grid { origin: [0, 0], step: [1, 1], size: output, source_step: window.stride, taps }]
}

/// The pixels of the input, parted by their place between two steps of the window. Input row `r` takes part in output
/// row `o` through kernel row `k` where `r = o * stride + k * dilation - padding`.
pub(super) fn backward(window: &Window, input: [usize; 2]) -> Vec<Grid> {
    let along = |axis: usize, place: usize| -> Vec<(usize, isize)> {
        let (stride, dilation) = (window.stride[axis] as isize, window.dilation[axis] as isize);
        let distance = |k: usize| (place + window.padding[axis]) as isize - k as isize * dilation;
        let fits = |&k: &usize| distance(k).rem_euclid(stride) == 0;
        (0..window.kernel[axis]).filter(fits).map(|k| (k, distance(k).div_euclid(stride))).collect()
    };
    let [sy, sx] = window.stride;
    let places = (0..sy.min(input[0])).flat_map(|y| (0..sx.min(input[1])).map(move |x| [y, x]));
    let grid = |[y, x]: [usize; 2]| Grid {
        origin: [y, x],
        step: window.stride,
        size: [(input[0] - y).div_ceil(sy), (input[1] - x).div_ceil(sx)],
        source_step: [1, 1],
        taps: product(&along(0, y), &along(1, x)),
    };
    places.map(grid).collect()
}

fn product(rows: &[(usize, isize)], columns: &[(usize, isize)]) -> Vec<Tap> {
    let tap = |&(ky, dy): &(usize, isize), &(kx, dx): &(usize, isize)| Tap { kernel: [ky, kx], offset: [dy, dx] };
    rows.iter().flat_map(|r| columns.iter().map(move |c| tap(r, c))).collect()
}

impl Grid {
    /// The first and last source row and column that a run of `rows` output rows sees, as `[top, left], [bottom, right]`.
    pub fn seen(&self, rows: std::ops::Range<usize>) -> ([isize; 2], [isize; 2]) {
        let extreme = |axis: usize, largest: bool| {
            let offsets = self.taps.iter().map(|t| t.offset[axis]);
            if largest { offsets.max() } else { offsets.min() }.unwrap_or(0)
        };
        let step = [self.source_step[0] as isize, self.source_step[1] as isize];
        let first = [rows.start as isize * step[0] + extreme(0, false), extreme(1, false)];
        let last = [
            (rows.end as isize - 1) * step[0] + extreme(0, true),
            (self.size[1] as isize - 1) * step[1] + extreme(1, true),
        ];
        (first, last)
    }
}
