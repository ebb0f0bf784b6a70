//! The sum over a plane's pixels of the products of two values: the gradient of one number a channel by which a value is multiplied,
//! as a squeeze-and-excitation block does (Hu et al., arXiv:1709.01507). Not here: the multiplication ([`crate::Combine`]).

use crate::simd::{Body, Simd};
use crate::sums::sums;
use crate::{Isa, Memory, Planes, Team};

/// `output = sum over pixels of a * b`, or `output += ...`, channel by channel: `[c, h, w]` times `[c, h, w]` to `[c, 1, 1]`.
#[derive(Debug)]
pub struct ProductSum {
    isa: Isa,
    factors: [Planes; 2],
    output: Planes,
    accumulate: bool,
}

impl ProductSum {
    /// # Panics
    /// If the factors differ in size, blocks are not cut alike, or the output is no single pixel or overlaps what is read or itself.
    pub fn new(isa: Isa, a: &Planes, b: &Planes, output: &Planes, accumulate: bool) -> Self {
        assert!([a.height(), a.width()] == [b.height(), b.width()], "factors of different size");
        assert!(output.pixels() == 1 && output.is_disjoint(), "a sum is one pixel, and no two blocks of it overlap");
        assert!([a, b].iter().all(|p| p.is_cut_like(output)), "values with different blocks");
        assert!(
            [a, b].iter().all(|p| p.is_apart_from(output)),
            "a value that is read overlaps the one that is written"
        );
        Self { isa, factors: [a.clone(), b.clone()], output: output.clone(), accumulate }
    }

    /// Computes all images.
    ///
    /// # Panics
    /// If the memory has no room for the values.
    pub fn run(&self, memory: &mut Memory, team: &mut Team) {
        let ends = self.factors.iter().chain([&self.output]).map(Planes::end);
        assert!(ends.max().is_some_and(|end| end <= memory.image_len()), "values beyond the arena");
        let blocks = self.output.blocks().len();
        let images = memory.images();
        let shared = memory.share();
        team.run(images * blocks, &|part, _| {
            let (image, block) = (shared.image(part / blocks), part % blocks);
            self.isa.run(SumOf { of: self, image, block });
        });
    }
}

/// One block of one image, whose pixel of the output is this body's alone to write.
struct SumOf<'a> {
    of: &'a ProductSum,
    image: *mut f32,
    block: usize,
}

impl Body for SumOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { of, image, block } = self;
        let [a, b] = [0, 1].map(|i| image.wrapping_add(of.factors[i].blocks()[block].offset).cast_const());
        // SAFETY: `ProductSum::run` has checked that the values end within the image's share.
        let product = |_, at: usize| [unsafe { s.mul(s.load(a.wrapping_add(at)), s.load(b.wrapping_add(at))) }];
        let [sum] = sums(s, 1, of.factors[0].pixels(), product);
        let sum = sum.map(|lane| lane as f32);
        let to = image.wrapping_add(of.output.blocks()[block].offset);
        // SAFETY: as above, and nobody else touches this pixel; the array has eight floats.
        unsafe {
            let sum = s.load(sum.as_ptr());
            s.store(if of.accumulate { s.add(s.load(to), sum) } else { sum }, to);
        }
    }
}
