//! A strip of source rows in a thread's scratch: padded with zeros, with the prologue applied.

use std::ops::Range;

use super::ground::Ground;
use super::taps::Grid;
use super::{Conv, Part, Prologue};
use crate::activation::with_activation;
use crate::memory::MOST_FLOATS;
use crate::simd::Simd;
use crate::{Activation, LANES};

/// The source rows and columns that a band of output rows sees, for a run of source blocks, block after block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strip {
    /// Source row and column of its first pixel; may lie outside.
    pub first: [isize; 2],
    pub rows: usize,
    pub columns: usize,
    pub blocks: usize,
    /// Floats from one block to the next.
    pub plane_len: usize,
}

impl Strip {
    pub fn of(grid: &Grid, rows: Range<usize>, blocks: usize) -> Self {
        let (first, last) = grid.seen(rows);
        let [rows, columns] = [0, 1].map(|axis| (last[axis] - first[axis] + 1) as usize);
        // An odd number of cache lines, so that blocks do not compete for the same sets of the cache.
        let lines = rows.checked_mul(columns).map(|pixels| pixels.div_ceil(2) | 1);
        let plane_len = lines.and_then(|n| n.checked_mul(2 * LANES)).expect("a strip beyond any memory");
        Self { first, rows, columns, blocks, plane_len }
    }

    /// Floats of all blocks.
    pub fn len(&self) -> usize {
        let len = self.blocks.checked_mul(self.plane_len).filter(|&len| len <= MOST_FLOATS);
        len.expect("a strip beyond any memory")
    }
}

impl Conv {
    /// Fills a strip from one image.
    ///
    /// # Safety
    /// The ground's image and band hold what the part sees of the source, `scratch` points at as many floats as the strip has,
    /// and `prologue` has two vectors for every block of the source where there is a prologue.
    #[inline(always)]
    pub(super) unsafe fn fill<S: Simd>(
        &self,
        s: S,
        part: &Part,
        strip: &Strip,
        prologue: &[f32],
        ground: Ground,
        scratch: *mut f32,
    ) {
        let [h, w] = [self.source.height() as isize, self.source.width() as isize];
        let right = (w - strip.first[1]).clamp(0, strip.columns as isize) as usize;
        let left = ((-strip.first[1]).max(0) as usize).min(right);
        for (at, block) in part.sources.clone().enumerate() {
            let plane = ground.source(&self.in_band, block).wrapping_add(self.source.blocks()[block].offset);
            let numbers = prologue.get(2 * block * LANES..2 * (block + 1) * LANES).unwrap_or_default();
            let bounded_above = numbers.iter().skip(LANES).any(|&high| high < f32::INFINITY);
            for row in 0..strip.rows {
                let to = scratch.wrapping_add(at * strip.plane_len + row * strip.columns * LANES);
                let y = strip.first[0] + row as isize;
                // SAFETY: columns `left..right` of row `y`, where it is one of the source's, lie inside the plane, and row
                // `row` inside the strip's block `at`.
                unsafe {
                    if !(0..h).contains(&y) {
                        zeros(s, to, strip.columns);
                        continue;
                    }
                    zeros(s, to, left);
                    let from = plane.wrapping_offset((y * w + strip.first[1] + left as isize) * LANES as isize);
                    let inner = to.wrapping_add(left * LANES);
                    match self.fusion.prologue {
                        None => copy(s, from, inner, right - left),
                        Some(Prologue::Affine(activation)) => {
                            let of = numbers.as_ptr();
                            with_activation!(activation, f => apply(s, f, of, from, inner, right - left));
                        }
                        Some(Prologue::Clamp) if bounded_above => {
                            clamp(s, numbers.as_ptr(), from, inner, right - left);
                        }
                        Some(Prologue::Clamp) => raise(s, numbers.as_ptr(), from, inner, right - left),
                    }
                    zeros(s, to.wrapping_add(right * LANES), strip.columns - right);
                }
            }
        }
    }
}

/// # Safety
/// `to` points at so many writable pixels.
#[inline(always)]
unsafe fn zeros<S: Simd>(s: S, to: *mut f32, pixels: usize) {
    for i in 0..pixels {
        // SAFETY: the function's own promise.
        unsafe { s.store(s.splat(0.0), to.add(i * LANES)) };
    }
}

/// # Safety
/// `from` points at so many readable pixels, `to` at as many writable ones elsewhere.
#[inline(always)]
unsafe fn copy<S: Simd>(s: S, from: *const f32, to: *mut f32, pixels: usize) {
    for i in 0..pixels {
        // SAFETY: the function's own promise.
        unsafe { s.store(s.load(from.add(i * LANES)), to.add(i * LANES)) };
    }
}

/// `act(scale * x + shift)`; scale and shift are the two vectors at `of`.
///
/// # Safety
/// As [`copy`]; `of` points at two readable vectors.
#[inline(always)]
unsafe fn apply<S: Simd>(s: S, f: Activation, of: *const f32, from: *const f32, to: *mut f32, pixels: usize) {
    // SAFETY: the function's own promise.
    unsafe {
        let (scale, shift) = (s.load(of), s.load(of.add(LANES)));
        for i in 0..pixels {
            let x = s.load(from.add(i * LANES));
            s.store(f.apply(s, s.fma(scale, x, shift)), to.add(i * LANES));
        }
    }
}

/// `min(max(x, low), high)`; the bounds are the two vectors at `of`.
///
/// # Safety
/// As [`apply`].
#[inline(always)]
unsafe fn clamp<S: Simd>(s: S, of: *const f32, from: *const f32, to: *mut f32, pixels: usize) {
    // SAFETY: the function's own promise.
    unsafe {
        let (low, high) = (s.load(of), s.load(of.add(LANES)));
        for i in 0..pixels {
            // A NaN stays one: it is the second operand.
            let x = s.max(low, s.load(from.add(i * LANES)));
            s.store(s.min(high, x), to.add(i * LANES));
        }
    }
}

/// `max(x, low)`: what [`clamp`] gives where no upper bound is finite.
///
/// # Safety
/// As [`apply`].
#[inline(always)]
unsafe fn raise<S: Simd>(s: S, of: *const f32, from: *const f32, to: *mut f32, pixels: usize) {
    // SAFETY: the function's own promise.
    unsafe {
        let low = s.load(of);
        for i in 0..pixels {
            s.store(s.max(low, s.load(from.add(i * LANES))), to.add(i * LANES));
        }
    }
}
