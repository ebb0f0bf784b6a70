//! The gradient of a depthwise convolution: each channel has only itself for a partner, so lanes are multiplied with lanes.

use std::sync::atomic::{Ordering, compiler_fence};

use super::Run;
use super::prologue::{Read, spread, with_prologue};
use super::walk::{Axis, Geometry, Walk};
use crate::LANES;
use crate::conv::Prologue;
use crate::simd::{Body, Simd};

/// Pixels summed side by side: a single sum would wait for each multiply-add before the next.
const SIDE_BY_SIDE: usize = 8;

/// Whether every channel lies in the same lane of the same block on both sides.
pub(super) fn lanes_meet(geometry: &Geometry) -> bool {
    geometry.input.is_cut_like(&geometry.d_output)
}

/// A block and a row of the kernel make a part.
pub(super) fn parts(geometry: &Geometry) -> usize {
    geometry.d_output.blocks().len() * geometry.window.kernel[0]
}

/// Vectors of a prologue's numbers, before the totals.
const NUMBERS: usize = 2;

/// Floats of a part's totals and of what stands before them.
pub(super) fn totals_len(geometry: &Geometry) -> usize {
    (NUMBERS + geometry.window.kernel[1]) * LANES
}

/// One part of all images. Whoever makes it has checked that the images hold the values, the totals' memory
/// [`totals_len`] floats that nobody else touches, and the gradient a number for each weight.
pub(super) struct PartOf<'a> {
    pub run: &'a Run<'a>,
    pub prologue: Option<Prologue>,
    pub part: usize,
    pub totals: *mut f32,
}

impl Body for PartOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let block = self.part / self.run.geometry.window.kernel[0];
        // SAFETY: the numbers' place is before the totals.
        unsafe {
            spread(self.run.numbers, &self.run.geometry.input, block..block + 1, self.totals);
            with_prologue!(s, self.prologue, self.totals, r => self.sum(s, r, self.totals.wrapping_add(NUMBERS * LANES)));
        }
    }
}

impl PartOf<'_> {
    /// # Safety
    /// The totals have a vector for each tap of a row.
    #[inline(always)]
    unsafe fn sum<S: Simd>(&self, s: S, r: impl Read<S>, totals: *mut f32) {
        let Run { geometry: g, images, d_weight, .. } = self.run;
        let [kh, kw] = g.window.kernel;
        let (block, ky) = (self.part / kh, self.part % kh);
        let (x, dy) = (&g.input.blocks()[block], &g.d_output.blocks()[block]);
        // SAFETY: the function's own promise.
        unsafe { totals.write_bytes(0, kw * LANES) };
        for strip in g.strips(images.count) {
            for kx in 0..kw {
                let mut walk = g.walk(&strip, [ky, kx], images);
                walk.x = walk.x.wrapping_add(x.offset);
                walk.dy = walk.dy.wrapping_add(dy.offset);
                let total = totals.wrapping_add(kx * LANES);
                // SAFETY: `walk` gives pixels of the blocks' planes.
                unsafe { s.store(s.add(s.load(total), sum(s, r, &walk)), total) };
            }
        }
        for (lane, kx) in (0..dy.count).flat_map(|lane| (0..kw).map(move |kx| (lane, kx))) {
            let to = ((dy.first + lane) * kh + ky) * kw + kx;
            // SAFETY: the totals hold the sums; a channel's row of the kernel belongs to this part alone.
            unsafe { *d_weight.0.add(to) = *totals.add(kx * LANES + lane) };
        }
    }
}

/// The sum of the products over a walk.
///
/// # Safety
/// At every place of the walk eight floats are readable on both sides.
#[inline(always)]
unsafe fn sum<S: Simd>(s: S, r: impl Read<S>, walk: &Walk) -> S::V {
    let mut sums = [s.splat(0.0); SIDE_BY_SIDE];
    let [far, mid, near] = walk.axes;
    for (i, j) in (0..far.count).flat_map(|i| (0..mid.count).map(move |j| (i, j))) {
        let mut pair =
            Pair { x: walk.x.wrapping_add(i * far.x + j * mid.x), dy: walk.dy.wrapping_add(i * far.dy + j * mid.dy) };
        for _ in 0..near.count / SIDE_BY_SIDE {
            for sum in &mut sums {
                // SAFETY: the function's own promise; here and below, one call for every place of the innermost axis.
                *sum = unsafe { pair.add(s, r, *sum, &near) };
            }
            // As in the tiles: later loads hoisted would push sums out of the registers.
            compiler_fence(Ordering::SeqCst);
        }
        for sum in sums.iter_mut().take(near.count % SIDE_BY_SIDE) {
            // SAFETY: as above.
            *sum = unsafe { pair.add(s, r, *sum, &near) };
        }
    }
    let mut width = SIDE_BY_SIDE / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] = s.add(sums[i], sums[i + width]);
        }
        width /= 2;
    }
    sums[0]
}

/// Where the walk is.
struct Pair {
    x: *const f32,
    dy: *const f32,
}

impl Pair {
    /// Adds the product to a sum and goes on to the next place of an axis.
    ///
    /// # Safety
    /// Eight floats are readable on both sides.
    #[inline(always)]
    unsafe fn add<S: Simd>(&mut self, s: S, r: impl Read<S>, sum: S::V, axis: &Axis) -> S::V {
        // SAFETY: the function's own promise.
        let sum = unsafe { s.fma(s.load(self.dy), r.read(s, s.load(self.x)), sum) };
        self.x = self.x.wrapping_add(axis.x);
        self.dy = self.dy.wrapping_add(axis.dy);
        sum
    }
}
