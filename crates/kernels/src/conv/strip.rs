//! A strip of source rows in a thread's scratch: padded with zeros, with the prologue applied.

use std::ops::Range;

use super::taps::Grid;
use super::{Conv, Part};
use crate::LANES;
use crate::simd::Simd;

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
        let plane_len = ((rows * columns * LANES).div_ceil(16) | 1) * 16;
        Self { first, rows, columns, blocks, plane_len }
    }

    /// Floats of all blocks.
    pub fn len(&self) -> usize {
        self.blocks * self.plane_len
    }
}

impl Conv {
    /// Fills a strip from one image.
    ///
    /// # Safety
    /// `image` points at an image's share that holds the source, `scratch` at as many floats as the strip has.
    #[inline(always)]
    pub(super) unsafe fn fill<S: Simd>(
        &self,
        s: S,
        part: &Part,
        strip: &Strip,
        prologue: &[f32],
        image: *const f32,
        scratch: *mut f32,
    ) {
        let zero = s.splat(0.0);
        let [h, w] = [self.source.height() as isize, self.source.width() as isize];
        let (left, right) = ((-strip.first[1]).max(0), (w - strip.first[1]).clamp(0, strip.columns as isize));
        for (at, block) in part.sources.clone().enumerate() {
            let plane = image.wrapping_add(self.source.blocks()[block].offset);
            let [scale, shift] = [0, 1].map(|i| prologue.as_ptr().wrapping_add((2 * block + i) * LANES));
            for row in 0..strip.rows {
                let to = scratch.wrapping_add(at * strip.plane_len + row * strip.columns * LANES);
                let y = strip.first[0] + row as isize;
                let inside = if (0..h).contains(&y) { left.min(right)..right } else { 0..0 };
                for x in 0..strip.columns as isize {
                    let v = if inside.contains(&x) {
                        let from = plane.wrapping_offset((y * w + strip.first[1] + x) * LANES as isize);
                        // SAFETY: row `y` and column `first + x` lie inside the source's plane; the prologue has two
                        // vectors for every block of the source where there is one.
                        unsafe {
                            let v = s.load(from);
                            match self.fusion.prologue {
                                Some(act) => act.apply(s, s.fma(s.load(scale), v, s.load(shift))),
                                None => v,
                            }
                        }
                    } else {
                        zero
                    };
                    // SAFETY: pixel `(row, x)` lies inside the strip's block `at`.
                    unsafe { s.store(v, to.wrapping_offset(x * LANES as isize)) };
                }
            }
        }
    }
}
