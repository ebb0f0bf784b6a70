//! Products of matrices that lie in planes: a pixel is an entry, and a channel is a matrix of its own.

use crate::combine::load;
use crate::simd::{Body, Simd};
use crate::{Isa, LANES, Memory, Planes, Team};

/// `output = a b`: `[b, m, k]` by `[b, k, n]`, one product for each channel; an operand with one channel is multiplied with each of the
/// other's. The eight channels of a block are computed at once.
#[derive(Debug)]
pub struct Product {
    isa: Isa,
    a: Planes,
    b: Planes,
    output: Planes,
}

impl Product {
    /// # Panics
    /// If the shapes do not fit each other, the operands' blocks are unlike the output's where they have as many channels, or the
    /// output overlaps an operand.
    pub fn new(isa: Isa, a: &Planes, b: &Planes, output: &Planes) -> Self {
        let fits = a.width() == b.height() && a.height() == output.height() && b.width() == output.width();
        assert!(fits, "matrices of other sizes");
        let is_cut = |p: &Planes| p.channels() == 1 || p.is_cut_like(output);
        assert!(is_cut(a) && is_cut(b), "values with different blocks");
        assert!(a.is_apart_from(output) && b.is_apart_from(output) && output.is_disjoint(), "a product over a factor");
        Self { isa, a: a.clone(), b: b.clone(), output: output.clone() }
    }

    /// Computes all images.
    ///
    /// # Panics
    /// If the memory has no room for the values.
    pub fn run(&self, memory: &mut Memory, team: &mut Team) {
        let fits = [&self.a, &self.b, &self.output].iter().all(|p| p.end() <= memory.image_len());
        assert!(fits, "values beyond the arena");
        let (images, rows) = (memory.images(), self.output.height());
        let of_image = self.output.blocks().len() * rows;
        let shared = memory.share();
        team.run(images * of_image, &|part, _| {
            let (image, block, row) = (shared.image(part / of_image), part % of_image / rows, part % rows);
            self.isa.run(RowBody { of: self, image, block, row });
        });
    }

    /// Whether an operand is the same for all channels, and the offset of its block.
    fn operand(&self, planes: &Planes, block: usize) -> (bool, usize) {
        let is_shared = planes.channels() == 1 && self.output.channels() > 1;
        (is_shared, planes.blocks()[if is_shared { 0 } else { block }].offset)
    }
}

/// Entries of a row that are summed at once, in registers.
const TILE: usize = 4;

/// One row of one block's products, which is this body's alone.
struct RowBody<'a> {
    of: &'a Product,
    image: *mut f32,
    block: usize,
    row: usize,
}

impl Body for RowBody<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let columns = self.of.output.width();
        let whole = columns / TILE * TILE;
        for column in (0..whole).step_by(TILE) {
            self.tile::<S, TILE>(s, column);
        }
        for column in whole..columns {
            self.tile::<S, 1>(s, column);
        }
    }
}

impl RowBody<'_> {
    #[inline(always)]
    fn tile<S: Simd, const N: usize>(&self, s: S, column: usize) {
        let (inner, columns) = (self.of.a.width(), self.of.output.width());
        let (a_is_shared, a) = self.of.operand(&self.of.a, self.block);
        let (b_is_shared, b) = self.of.operand(&self.of.b, self.block);
        let a = self.image.wrapping_add(a + self.row * inner * LANES);
        let b = self.image.wrapping_add(b + column * LANES);
        let mut sums = [s.splat(0.0); N];
        for k in 0..inner {
            let (a, b) = (a.wrapping_add(k * LANES), b.wrapping_add(k * columns * LANES));
            // SAFETY: `Product::run` has checked that the operands end within the image's share; row, column and `k` lie in them.
            unsafe {
                let factor = load(s, a, a_is_shared);
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = s.fma(factor, load(s, b.wrapping_add(n * LANES), b_is_shared), *sum);
                }
            }
        }
        let to = self.of.output.blocks()[self.block].offset + (self.row * columns + column) * LANES;
        for (n, sum) in sums.into_iter().enumerate() {
            // SAFETY: entries of this body's row.
            unsafe { s.store(sum, self.image.wrapping_add(to + n * LANES)) };
        }
    }
}
