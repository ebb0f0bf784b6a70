//! Strips in the form that tiles read: place after place, the channels of a place side by side and without pad lanes, the
//! prologue applied. Not here: which pixels a strip has ([`super::strips`]).

use std::ops::Range;

use super::Images;
use super::prologue::{Read, with_prologue};
use super::strips::Strip;
use super::walk::Geometry;
use crate::LANES;
use crate::conv::Prologue;
use crate::simd::Simd;

/// Some neighbouring blocks of the input, as they are packed.
pub(super) struct Inputs<'a> {
    pub geometry: &'a Geometry,
    pub blocks: Range<usize>,
    pub prologue: Option<Prologue>,
    /// The prologue's numbers, two vectors for each of the blocks.
    pub numbers: *const f32,
    /// Floats from one place to the next.
    pub step: usize,
}

impl Inputs<'_> {
    /// Packs what a strip sees of some images.
    ///
    /// # Safety
    /// The images hold the input, the numbers are there if the prologue has any, and `to` has `step` floats for every place, which
    /// nobody else touches.
    #[inline(always)]
    pub unsafe fn pack<S: Simd>(&self, s: S, strip: &Strip, images: Range<usize>, from: &Images, to: *mut f32) {
        let [rows, columns] = &strip.seen;
        let width = self.geometry.input.width();
        let blocks = &self.geometry.input.blocks()[self.blocks.clone()];
        let mut to_row = to;
        for (image, row) in images.flat_map(|i| rows.iter().map(move |&row| (i, row))) {
            let row = from.image(image).wrapping_add(row * width * LANES);
            // A block's pad lanes are overwritten by the next block.
            for (i, block) in blocks.iter().enumerate() {
                let numbers = self.numbers.wrapping_add(2 * i * LANES);
                let from = row.wrapping_add(block.offset);
                let to = to_row.wrapping_add(block.first - blocks[0].first);
                // SAFETY: the function's own promise.
                unsafe { with_prologue!(s, self.prologue, numbers, r => self.row(s, r, columns, from, to)) };
            }
            to_row = to_row.wrapping_add(columns.len() * self.step);
        }
    }

    /// Some columns of one row of a block.
    ///
    /// # Safety
    /// `from` points at a row of the input that has these columns, `to` at as many places.
    #[inline(always)]
    unsafe fn row<S: Simd>(&self, s: S, r: impl Read<S>, columns: &[usize], from: *const f32, to: *mut f32) {
        let next = from.wrapping_add(self.geometry.input.width() * LANES);
        for (i, &column) in columns.iter().enumerate() {
            // The same block's next row, when many other blocks have been read.
            s.prefetch(next.wrapping_add(column * LANES));
            // SAFETY: the function's own promise.
            unsafe { s.store(r.read(s, s.load(from.add(column * LANES))), to.add(i * self.step)) };
        }
    }
}

/// Packs some blocks of the output's gradient: at every place of a strip a vector for each of them.
///
/// # Safety
/// The images hold the gradient, and `to` has room, which nobody else touches.
#[inline(always)]
pub(super) unsafe fn pack_gradient<S: Simd, const V: usize>(
    s: S,
    geometry: &Geometry,
    blocks: Range<usize>,
    strip: &Strip,
    images: Range<usize>,
    from: &Images,
    to: *mut f32,
) {
    let blocks = &geometry.d_output.blocks()[blocks];
    let offsets: [usize; V] = std::array::from_fn(|v| blocks[v].offset);
    let width = geometry.d_output.width();
    let mut to = to;
    let pixels = strip.pixels();
    for (image, row) in images.flat_map(|i| strip.rows.clone().map(move |row| (i, row))) {
        let row = from.image(image).wrapping_add((row * width + strip.columns.start) * LANES);
        for column in 0..strip.columns.len() {
            for v in 0..V {
                let from = row.wrapping_add(offsets[v] + column * LANES);
                // The next strip's.
                s.prefetch(from.wrapping_add(pixels * LANES));
                // SAFETY: the function's own promise.
                unsafe { s.store(s.load(from), to.wrapping_add(v * LANES)) };
            }
            to = to.wrapping_add(V * LANES);
        }
    }
}
