//! The largest of the convolution's pixels in every window of a pooling, from a ring of rows in the scratch.

use std::ops::Range;

use super::Stem;
use crate::LANES;
use crate::simd::Simd;

impl Stem {
    /// The rows of the convolution that some rows of the output see.
    pub(super) fn seen(&self, rows: Range<usize>) -> Range<usize> {
        match &self.pool {
            Some(w) => {
                let [first, last] = [rows.start, rows.end - 1].map(|row| row * w.stride[0]);
                first.saturating_sub(w.padding[0])..(last + w.kernel[0]).saturating_sub(w.padding[0]).min(self.size[0])
            }
            None => rows,
        }
    }

    /// Floats of the rows of a window and of a row of the largest in each column.
    pub(super) fn ring_len(&self) -> usize {
        let row = self.size[1] * LANES;
        self.pool.map_or(0, |w| (w.kernel[0] * self.output.blocks().len() + 1) * row)
    }

    /// Where in the ring a block of a row of the convolution begins.
    pub(super) fn in_ring(&self, row: usize, block: usize) -> usize {
        let rows = self.pool.map_or(1, |w| w.kernel[0]);
        (row % rows * self.output.blocks().len() + block) * self.size[1] * LANES
    }

    /// Pools one row of the output; nothing without a pooling.
    ///
    /// # Safety
    /// The ring holds the rows that the output's row sees, and has room for another; `image` points at a share that holds the
    /// output, whose row nobody else touches.
    #[inline(always)]
    pub(super) unsafe fn take_largest<S: Simd>(&self, s: S, row: usize, ring: *mut f32, image: *mut f32) {
        let Some(window) = &self.pool else { return };
        let columns = self.size[1];
        let line = ring.wrapping_add(self.ring_len() - columns * LANES);
        let seen = self.seen(row..row + 1);
        for (block, of_output) in self.output.blocks().iter().enumerate() {
            let to = image.wrapping_add(of_output.offset + row * self.output.width() * LANES);
            // SAFETY: the function's own promise; every window has a column of the convolution.
            unsafe {
                let rows = three(seen.clone()).map(|row| ring.wrapping_add(self.in_ring(row, block)));
                for column in 0..columns {
                    let at = column * LANES;
                    let [a, b, c] = [s.load(rows[0].add(at)), s.load(rows[1].add(at)), s.load(rows[2].add(at))];
                    s.store(s.max_or_nan(s.max_or_nan(a, b), c), line.add(at));
                }
                for column in 0..self.output.width() {
                    let begin = column * window.stride[1];
                    let end = (begin + window.kernel[1] - window.padding[1]).min(columns);
                    let [a, b, c] = three(begin.saturating_sub(window.padding[1])..end).map(|from| from * LANES);
                    let [a, b, c] = [s.load(line.add(a)), s.load(line.add(b)), s.load(line.add(c))];
                    s.store(s.max_or_nan(s.max_or_nan(a, b), c), to.add(column * LANES));
                }
            }
        }
    }
}

/// One to three rows or columns as three: the largest does not care for one that is there again.
fn three(of: Range<usize>) -> [usize; 3] {
    [of.start, (of.start + 1).min(of.end - 1), of.end - 1]
}
