//! Pooling by a window, forward and backward. The mean over a whole plane is a window as large as the plane.

use std::ops::Range;

use crate::conv::Window;
use crate::simd::{Body, Simd};
use crate::{Isa, LANES, Memory, Planes, Team};

/// What is taken of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest; padding never counts.
    Max,
    /// The mean.
    Average {
        /// Whether padding counts as zeros or not at all.
        count_include_pad: bool,
    },
}

/// Where windows lie on a plane.
#[derive(Clone, Copy, Debug)]
struct Windows {
    kind: PoolKind,
    window: Window,
    input: [usize; 2],
    output: [usize; 2],
}

impl Windows {
    /// # Panics
    /// If the values do not have the same blocks, or a window lies outside the padded picture.
    fn new(kind: PoolKind, window: Window, input: &Planes, output: &Planes) -> Self {
        let partition = |p: &Planes| p.blocks().iter().map(|b| b.count).collect::<Vec<_>>();
        assert!(partition(input) == partition(output), "values with different blocks");
        let size = |p: &Planes| [p.height(), p.width()];
        let windows = Self { kind, window, input: size(input), output: size(output) };
        for axis in 0..2 {
            let last = windows.cells(axis, windows.output[axis] - 1);
            assert!(!last.is_empty() && !windows.cells(axis, 0).is_empty(), "a window outside the picture");
        }
        windows
    }

    /// Rows or columns of the picture that an output's window covers, without padding. With a dilation they are not all
    /// of it: see [`Self::taps`].
    fn cells(&self, axis: usize, at: usize) -> Range<usize> {
        let w = &self.window;
        let start = at * w.stride[axis];
        let end = start + w.dilation[axis] * (w.kernel[axis] - 1) + 1;
        start.saturating_sub(w.padding[axis])..end.saturating_sub(w.padding[axis]).min(self.input[axis])
    }

    /// The rows or columns themselves.
    #[inline(always)]
    fn taps(&self, axis: usize, at: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let w = self.window;
        let size = self.input[axis];
        let first = at * w.stride[axis];
        (0..w.kernel[axis])
            .map(move |k| first + k * w.dilation[axis])
            .filter(move |&r| r >= w.padding[axis] && r - w.padding[axis] < size)
            .map(move |r| r - w.padding[axis])
    }

    /// What a sum over a window is divided by.
    fn divisor(&self, y: usize, x: usize) -> f32 {
        let along = |axis: usize, at: usize| match self.kind {
            PoolKind::Average { count_include_pad: true } => {
                // Cells beyond the padding, where the last window reaches further, do not count.
                let room = self.input[axis] + 2 * self.window.padding[axis] - at * self.window.stride[axis];
                let reached = room.div_ceil(self.window.dilation[axis]);
                self.window.kernel[axis].min(reached)
            }
            _ => self.taps(axis, at).count(),
        };
        (along(0, y) * along(1, x)) as f32
    }
}

/// `output = pool(input)`
#[derive(Debug)]
pub struct Pool {
    isa: Isa,
    windows: Windows,
    input: Planes,
    output: Planes,
}

impl Pool {
    /// # Panics
    /// If the values have different blocks or overlap, or a window lies outside the padded picture.
    pub fn new(isa: Isa, kind: PoolKind, window: Window, input: &Planes, output: &Planes) -> Self {
        assert!(input.is_apart_from(output) && output.is_disjoint(), "pooling cannot overwrite its input");
        let windows = Windows::new(kind, window, input, output);
        Self { isa, windows, input: input.clone(), output: output.clone() }
    }

    /// Computes all images.
    ///
    /// # Panics
    /// If the memory has no room for the values.
    pub fn run(&self, memory: &mut Memory, team: &mut Team) {
        assert!(memory.image_len() >= self.input.end().max(self.output.end()), "values beyond the arena");
        let blocks = self.input.blocks().len();
        let images = memory.images();
        let shared = memory.share();
        team.run(images * blocks, &|part, _| {
            let (image, block) = (shared.image(part / blocks), part % blocks);
            let input = image.wrapping_add(self.input.blocks()[block].offset);
            let output = image.wrapping_add(self.output.blocks()[block].offset);
            self.isa.run(PoolBody { windows: self.windows, input, output });
        });
    }
}

/// Pools one plane. Input and output are planes of the windows' sizes; the output is this body's alone.
struct PoolBody {
    windows: Windows,
    input: *const f32,
    output: *mut f32,
}

impl Body for PoolBody {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let w = &self.windows;
        let [rows, columns] = w.output;
        for y in 0..rows {
            for x in 0..columns {
                // SAFETY: taps lie inside the input, `(y, x)` inside the output.
                unsafe {
                    let value = match w.kind {
                        PoolKind::Max => self.largest(s, y, x),
                        PoolKind::Average { .. } => s.div(self.sum(s, y, x), s.splat(w.divisor(y, x))),
                    };
                    s.store(value, self.output.add((y * columns + x) * LANES));
                }
            }
        }
    }
}

impl PoolBody {
    /// # Safety
    /// The input is a plane of the windows' size.
    #[inline(always)]
    unsafe fn at<S: Simd>(&self, s: S, row: usize, column: usize) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { s.load(self.input.add((row * self.windows.input[1] + column) * LANES)) }
    }

    #[inline(always)]
    unsafe fn largest<S: Simd>(&self, s: S, y: usize, x: usize) -> S::V {
        let mut largest = s.splat(f32::NEG_INFINITY);
        for row in self.windows.taps(0, y) {
            for column in self.windows.taps(1, x) {
                // SAFETY: taps lie inside the input.
                largest = s.max(largest, unsafe { self.at(s, row, column) });
            }
        }
        largest
    }

    /// Row by row, so that the sum of a whole plane stays exact enough.
    #[inline(always)]
    unsafe fn sum<S: Simd>(&self, s: S, y: usize, x: usize) -> S::V {
        let mut sum = s.splat(0.0);
        for row in self.windows.taps(0, y) {
            let mut of_row = s.splat(0.0);
            for column in self.windows.taps(1, x) {
                // SAFETY: taps lie inside the input.
                of_row = s.add(of_row, unsafe { self.at(s, row, column) });
            }
            sum = s.add(sum, of_row);
        }
        sum
    }
}

/// `d_input (+)= d pool / d input * d_output`. The gradient of a maximum goes to the first cell that has it, in row-major
/// order.
#[derive(Debug)]
pub struct PoolGrad {
    isa: Isa,
    windows: Windows,
    input: Planes,
    d_output: Planes,
    d_input: Planes,
    accumulate: bool,
}

impl PoolGrad {
    /// # Panics
    /// As [`Pool::new`].
    pub fn new(
        isa: Isa,
        kind: PoolKind,
        window: Window,
        input: &Planes,
        d_output: &Planes,
        d_input: &Planes,
        accumulate: bool,
    ) -> Self {
        assert!(d_input.is_apart_from(d_output) && d_input.is_apart_from(input), "a gradient over what it comes from");
        assert!(d_input.is_disjoint(), "two blocks of a value overlap");
        let windows = Windows::new(kind, window, d_input, d_output);
        let same = (input.height(), input.width()) == (d_input.height(), d_input.width());
        assert!(same && input.blocks().len() == d_input.blocks().len(), "a gradient unlike its value");
        let [input, d_output, d_input] = [input, d_output, d_input].map(Planes::clone);
        Self { isa, windows, input, d_output, d_input, accumulate }
    }

    /// Computes all images.
    ///
    /// # Panics
    /// If the memory has no room for the values.
    pub fn run(&self, memory: &mut Memory, team: &mut Team) {
        let end = [&self.input, &self.d_output, &self.d_input].map(Planes::end).into_iter().max();
        assert!(end <= Some(memory.image_len()), "values beyond the arena");
        let blocks = self.input.blocks().len();
        let images = memory.images();
        let shared = memory.share();
        team.run(images * blocks, &|part, _| {
            let (image, block) = (shared.image(part / blocks), part % blocks);
            let at = |p: &Planes| image.wrapping_add(p.blocks()[block].offset);
            let of = PoolBody { windows: self.windows, input: at(&self.input), output: at(&self.d_output) };
            self.isa.run(PoolGradBody { of, d_input: at(&self.d_input), accumulate: self.accumulate });
        });
    }
}

/// Spreads the gradient of one plane; `of.output` is only read here. `d_input` is this body's alone.
struct PoolGradBody {
    of: PoolBody,
    d_input: *mut f32,
    accumulate: bool,
}

impl Body for PoolGradBody {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let w = &self.of.windows;
        let [rows, columns] = w.output;
        // SAFETY: every cell and tap lies inside the planes.
        unsafe {
            for cell in 0..if self.accumulate { 0 } else { w.input[0] * w.input[1] } {
                s.store(s.splat(0.0), self.d_input.add(cell * LANES));
            }
            for y in 0..rows {
                for x in 0..columns {
                    let dy = s.load(self.of.output.add((y * columns + x) * LANES));
                    match w.kind {
                        PoolKind::Max => self.to_largest(s, y, x, dy),
                        PoolKind::Average { .. } => self.to_all(s, y, x, s.div(dy, s.splat(w.divisor(y, x)))),
                    }
                }
            }
        }
    }
}

impl PoolGradBody {
    #[inline(always)]
    unsafe fn add<S: Simd>(&self, s: S, row: usize, column: usize, value: S::V) {
        // SAFETY: the caller's taps lie inside the plane.
        unsafe {
            let cell = self.d_input.add((row * self.of.windows.input[1] + column) * LANES);
            s.store(s.add(s.load(cell), value), cell);
        }
    }

    #[inline(always)]
    unsafe fn to_all<S: Simd>(&self, s: S, y: usize, x: usize, share: S::V) {
        for row in self.of.windows.taps(0, y) {
            for column in self.of.windows.taps(1, x) {
                // SAFETY: taps lie inside the plane.
                unsafe { self.add(s, row, column, share) };
            }
        }
    }

    #[inline(always)]
    unsafe fn to_largest<S: Simd>(&self, s: S, y: usize, x: usize, dy: S::V) {
        let zero = s.splat(0.0);
        // SAFETY: taps lie inside the plane.
        unsafe {
            let largest = self.of.largest(s, y, x);
            let mut left = dy;
            for row in self.of.windows.taps(0, y) {
                for column in self.of.windows.taps(1, x) {
                    // A lane that has the maximum takes what is left of its gradient, which then is nothing.
                    let v = self.of.at(s, row, column);
                    self.add(s, row, column, s.select_gt(largest, v, zero, left));
                    left = s.select_gt(largest, v, left, zero);
                }
            }
        }
    }
}
