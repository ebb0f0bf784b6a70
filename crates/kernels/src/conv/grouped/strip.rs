//! A strip of source rows in a thread's scratch: padded with zeros, sixteen lanes a pixel, in the order that groups want.

use super::{Grouped, PAIR};
use crate::memory::MOST_FLOATS;
use crate::simd::Simd;
use crate::{LANES, Window};

/// The source rows and columns that a band of output rows sees, for the pairs of a set, pair after pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strip {
    pairs: usize,
    pub columns: usize,
    /// Floats from one pair to the next.
    pub plane_len: usize,
}

impl Strip {
    /// For so many rows and columns of the output.
    pub fn of(window: &Window, rows: usize, columns: usize, pairs: usize) -> Self {
        let [rows, columns] =
            [(0, rows), (1, columns)].map(|(axis, n)| (n - 1) * window.stride[axis] + window.kernel[axis]);
        let plane_len = rows.checked_mul(columns).and_then(|n| n.checked_mul(PAIR)).expect("a strip beyond any memory");
        Self { pairs, columns, plane_len }
    }

    /// Floats of all pairs.
    pub fn len(&self) -> usize {
        let len = self.pairs.checked_mul(self.plane_len).filter(|&len| len <= MOST_FLOATS);
        len.expect("a strip beyond any memory")
    }
}

impl Grouped {
    /// Puts the first `rows` rows of a pair of source blocks into a plane of the strip, from source row `first` on.
    ///
    /// # Safety
    /// `image` points at an image's share that holds the source, `to` at a plane of the strip.
    #[inline(always)]
    pub(super) unsafe fn fill<S: Simd>(
        &self,
        s: S,
        pair: usize,
        (first, rows): (isize, usize),
        image: *const f32,
        to: *mut f32,
    ) {
        let [height, width] = [self.input.height(), self.input.width()];
        let columns = self.strip.columns;
        let left = self.shape.window.padding[1].min(columns);
        let right = (left + width).min(columns);
        let blocks = &self.input.blocks()[2 * pair..(2 * pair + 2).min(self.input.blocks().len())];
        for row in 0..rows {
            let to = to.wrapping_add(row * columns * PAIR);
            // SAFETY: columns `left..right` of a source row lie inside the planes, and row `row` inside the strip's.
            unsafe {
                let Some(y) = first.checked_add_unsigned(row).filter(|y| (0..height as isize).contains(y)) else {
                    zeros(s, to, columns);
                    continue;
                };
                zeros(s, to, left);
                let from = blocks[0].offset + y as usize * width * LANES;
                // Lanes of a missing block see only themselves, and nobody takes them.
                let apart = blocks[blocks.len() - 1].offset.wrapping_sub(blocks[0].offset);
                for column in 0..right - left {
                    let a = image.wrapping_add(from + column * LANES);
                    let lanes = s.pair(s.load(a), s.load(a.wrapping_add(apart)));
                    // Every other width is its own order.
                    let lanes = match self.width {
                        4 | 8 => s.permute_pair(lanes, &self.orders[0]),
                        _ => lanes,
                    };
                    s.store_pair(lanes, to.add((left + column) * PAIR));
                }
                zeros(s, to.wrapping_add(right * PAIR), columns - right);
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
        unsafe { s.store_pair(s.splat_pair(0.0), to.add(i * PAIR)) };
    }
}
