//! Pooling by a window, forward and backward. The mean over a whole plane is a window as large as the plane.

use crate::activation::with_activation;
use crate::moments::{Plane, Take, taking};
use crate::simd::{Body, Simd};
use crate::{Activation, Isa, LANES, Memory, Planes, Team, Window};

/// What is taken of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest; padding never counts.
    Max,
    /// The mean.
    Average {
        /// Rows and columns of padding behind the plane that count as zeros, as all cells before it then do; `None` where no
        /// padding counts.
        padding_behind: Option<[usize; 2]>,
    },
}

/// The part of one output's window that lies on the picture, along one axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// The first row or column of the picture.
    first: usize,
    /// How many there are, a dilation apart; none where padding alone is seen.
    pub count: usize,
    /// How many a mean counts.
    counted: usize,
}

/// Where windows lie on a plane.
#[derive(Debug)]
pub(crate) struct Windows {
    kind: PoolKind,
    dilation: [usize; 2],
    input: [usize; 2],
    /// For every row and every column of the output.
    pub reaches: [Vec<Reach>; 2],
}

impl Windows {
    /// # Panics
    /// If the values do not have the same blocks, or as [`Window::check`].
    pub fn new(kind: PoolKind, window: Window, input: &Planes, output: &Planes) -> Self {
        window.check([output.height(), output.width()]);
        assert!(input.is_cut_like(output), "values with different blocks");
        let input = [input.height(), input.width()];
        let along = |axis: usize, outputs: usize| {
            (0..outputs).map(|at| Reach::of(kind, &window, axis, input[axis], at)).collect()
        };
        let reaches = [along(0, output.height()), along(1, output.width())];
        Self { kind, dilation: window.dilation, input, reaches }
    }
}

impl Reach {
    fn of(kind: PoolKind, window: &Window, axis: usize, size: usize, at: usize) -> Self {
        let (padding, start) = (window.padding[axis], at * window.stride[axis]);
        // Places count from the first cell of the padding.
        let within = |from: usize, to: usize| {
            let places = (0..window.kernel[axis]).map(move |k| start + k * window.dilation[axis]);
            places.filter(move |place| (from..to).contains(place))
        };
        let first = within(padding, padding + size).next().map_or(0, |place| place - padding);
        let count = within(padding, padding + size).count();
        // Cells beyond the padding, where the last window may reach, never count.
        let counted = match kind {
            PoolKind::Average { padding_behind: Some(behind) } => {
                within(0, (padding + size).saturating_add(behind[axis])).count()
            }
            _ => count,
        };
        Self { first, count, counted }
    }
}

/// `output = pool(input)`. Of a window that sees padding alone the largest is minus infinity and the mean 0; the largest of
/// numbers with a NaN among them is NaN.
#[derive(Debug)]
pub struct Pool {
    isa: Isa,
    windows: Windows,
    activation: Activation,
    input: Planes,
    output: Planes,
}

impl Pool {
    /// # Panics
    /// If the values have different blocks or overlap, the window lacks taps or steps or reaches beyond any memory, or the
    /// output has no pixels.
    pub fn new(isa: Isa, kind: PoolKind, window: Window, input: &Planes, output: &Planes) -> Self {
        assert!(input.is_apart_from(output) && output.is_disjoint(), "pooling cannot overwrite its input");
        let windows = Windows::new(kind, window, input, output);
        let activation = Activation::Identity;
        Self { isa, windows, activation, input: input.clone(), output: output.clone() }
    }

    /// The same with an activation behind it: `output = act(pool(input))`.
    #[must_use]
    pub fn with_activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// Computes all images.
    ///
    /// # Panics
    /// If the memory has no room for the values.
    pub fn run(&self, memory: &mut Memory, team: &mut Team) {
        self.run_taking(None, memory, team);
    }

    /// The same, taking the moments of what it writes if it is asked for them.
    ///
    /// # Panics
    /// As [`Pool::run`]; if the moments are of other channels.
    pub fn run_taking(&self, take: Option<Take<'_>>, memory: &mut Memory, team: &mut Team) {
        assert!(memory.image_len() >= self.input.end().max(self.output.end()), "values beyond the arena");
        let (images, blocks) = (memory.images(), self.input.blocks().len());
        taking(take, images, &self.output, memory, team, |tallies, memory, team| {
            let shared = memory.share();
            team.run(images * blocks, &|part, _| {
                let (image, block) = (shared.image(part / blocks), part % blocks);
                let input = image.wrapping_add(self.input.blocks()[block].offset);
                let output = image.wrapping_add(self.output.blocks()[block].offset);
                let of = PoolBody { windows: &self.windows, input, output };
                self.isa.run(ActivatedPool { of, activation: self.activation });
                if let Some(tallies) = tallies {
                    let plane = Plane { of: &self.output, image, slot: part / blocks, block, tallies };
                    self.isa.run(plane);
                }
            });
        });
    }
}

/// Input and output of a pooling, planes of the windows' sizes; the output is this body's alone.
pub(crate) struct PoolBody<'a> {
    pub windows: &'a Windows,
    pub input: *const f32,
    pub output: *mut f32,
}

/// Pools one plane.
struct ActivatedPool<'a> {
    of: PoolBody<'a>,
    activation: Activation,
}

impl Body for ActivatedPool<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        with_activation!(self.activation, f => self.of.each(s, f));
    }
}

/// What a window's sum is divided by.
#[inline(always)]
pub(crate) fn divisor<S: Simd>(s: S, row: &Reach, column: &Reach) -> S::V {
    // A window without cells has the mean 0, as in PyTorch.
    s.splat((row.counted * column.counted).max(1) as f32)
}

impl PoolBody<'_> {
    #[inline(always)]
    fn each<S: Simd>(&self, s: S, activation: Activation) {
        let [rows, columns] = &self.windows.reaches;
        let mut to = self.output;
        for row in rows {
            for column in columns {
                let value = match self.windows.kind {
                    PoolKind::Max => self.largest(s, row, column),
                    PoolKind::Average { .. } => s.div(self.sum(s, row, column), divisor(s, row, column)),
                };
                // SAFETY: `to` is the next of the output's pixels, and the reaches are as many.
                unsafe { s.store(activation.apply(s, value), to) };
                to = to.wrapping_add(LANES);
            }
        }
    }

    /// The first float of the window's cell `(i, j)`, from the start of the plane.
    #[inline(always)]
    pub fn cell(&self, row: &Reach, column: &Reach, i: usize, j: usize) -> usize {
        let [down, right] = self.windows.dilation;
        ((row.first + i * down) * self.windows.input[1] + column.first + j * right) * LANES
    }

    /// # Safety
    /// `cell` is [`Self::cell`] of reaches of these windows and of `i` and `j` below their counts: inside the plane.
    #[inline(always)]
    pub unsafe fn load<S: Simd>(&self, s: S, cell: usize) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { s.load(self.input.wrapping_add(cell)) }
    }

    #[inline(always)]
    fn largest<S: Simd>(&self, s: S, row: &Reach, column: &Reach) -> S::V {
        let mut largest = s.splat(f32::NEG_INFINITY);
        for i in 0..row.count {
            for j in 0..column.count {
                // SAFETY: a cell of the window.
                let v = unsafe { self.load(s, self.cell(row, column, i, j)) };
                largest = s.max_or_nan(largest, v);
            }
        }
        largest
    }

    /// Row by row, so that the sum of a whole plane stays exact enough.
    #[inline(always)]
    fn sum<S: Simd>(&self, s: S, row: &Reach, column: &Reach) -> S::V {
        let mut sum = s.splat(0.0);
        for i in 0..row.count {
            let mut of_row = s.splat(0.0);
            for j in 0..column.count {
                // SAFETY: a cell of the window.
                let v = unsafe { self.load(s, self.cell(row, column, i, j)) };
                of_row = s.add(of_row, v);
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
            let of = PoolBody { windows: &self.windows, input: at(&self.input), output: at(&self.d_output) };
            self.isa.run(PoolGradBody { of, d_input: at(&self.d_input), accumulate: self.accumulate });
        });
    }
}

/// Spreads the gradient of one plane; `of.output` is only read here. `d_input` is this body's alone.
struct PoolGradBody<'a> {
    of: PoolBody<'a>,
    d_input: *mut f32,
    accumulate: bool,
}

impl Body for PoolGradBody<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let windows = self.of.windows;
        if !self.accumulate {
            let floats = windows.input[0] * windows.input[1] * LANES;
            // SAFETY: the plane has so many floats.
            unsafe { self.d_input.write_bytes(0, floats) };
        }
        let [rows, columns] = &windows.reaches;
        let mut from = self.of.output;
        for row in rows {
            for column in columns {
                // SAFETY: `from` is the next of the output's pixels, and the reaches are as many.
                let dy = unsafe { s.load(from) };
                from = from.wrapping_add(LANES);
                match windows.kind {
                    PoolKind::Max => self.to_largest(s, row, column, dy),
                    PoolKind::Average { .. } => self.to_all(s, row, column, s.div(dy, divisor(s, row, column))),
                }
            }
        }
    }
}

impl PoolGradBody<'_> {
    /// # Safety
    /// As [`PoolBody::load`].
    #[inline(always)]
    unsafe fn add<S: Simd>(&self, s: S, cell: usize, value: S::V) {
        let cell = self.d_input.wrapping_add(cell);
        // SAFETY: the caller's promise; the plane is as large as the input's.
        unsafe { s.store(s.add(s.load(cell), value), cell) };
    }

    #[inline(always)]
    fn to_all<S: Simd>(&self, s: S, row: &Reach, column: &Reach, share: S::V) {
        for i in 0..row.count {
            for j in 0..column.count {
                // SAFETY: a cell of the window.
                unsafe { self.add(s, self.of.cell(row, column, i, j), share) };
            }
        }
    }

    #[inline(always)]
    fn to_largest<S: Simd>(&self, s: S, row: &Reach, column: &Reach, dy: S::V) {
        let zero = s.splat(0.0);
        let largest = self.of.largest(s, row, column);
        let mut left = dy;
        for i in 0..row.count {
            for j in 0..column.count {
                // A lane that has the maximum takes what is left of its gradient, which then is nothing.
                let cell = self.of.cell(row, column, i, j);
                // SAFETY: a cell of the window.
                let v = unsafe { self.of.load(s, cell) };
                unsafe { self.add(s, cell, s.select_gt(largest, v, zero, left)) };
                left = s.select_gt(largest, v, left, zero);
            }
        }
    }
}
