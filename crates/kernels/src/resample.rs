//! Planes of another size, every pixel of which is a weighted sum of some rows and columns.

use crate::simd::{Body, Simd};
use crate::{Isa, LANES, Memory, Planes, Team};

/// Rows, or columns, and their weights, for each of the output.
type Taps = Vec<Vec<(usize, f32)>>;

/// `output[y][x] = sum of a b input[i][j]` over the rows `(i, a)` that `y` is made of and the columns `(j, b)` that `x` is made of.
#[derive(Debug)]
pub struct Resample {
    isa: Isa,
    rows: Taps,
    columns: Taps,
    input: Planes,
    output: Planes,
}

impl Resample {
    /// # Panics
    /// If the values have different blocks or overlap, or the taps are not those of their rows and columns.
    pub fn new(isa: Isa, rows: Taps, columns: Taps, input: &Planes, output: &Planes) -> Self {
        assert!(input.is_apart_from(output) && output.is_disjoint(), "a value cannot be resized where it lies");
        assert!(input.is_cut_like(output), "values with different blocks");
        let fit = |taps: &Taps, from: usize, to: usize| {
            taps.len() == to && taps.iter().flatten().all(|&(place, _)| place < from)
        };
        let fit = fit(&rows, input.height(), output.height()) && fit(&columns, input.width(), output.width());
        assert!(fit, "taps of another size");
        Self { isa, rows, columns, input: input.clone(), output: output.clone() }
    }

    /// Computes all images.
    ///
    /// # Panics
    /// If the memory has no room for the values.
    pub fn run(&self, memory: &mut Memory, team: &mut Team) {
        assert!(memory.image_len() >= self.input.end().max(self.output.end()), "values beyond the arena");
        let (images, blocks) = (memory.images(), self.output.blocks().len());
        let shared = memory.share();
        team.run(images * blocks, &|part, _| {
            let (image, block) = (shared.image(part / blocks), part % blocks);
            let at = |planes: &Planes| image.wrapping_add(planes.blocks()[block].offset);
            self.isa.run(ResampleBody { of: self, input: at(&self.input), output: at(&self.output) });
        });
    }
}

/// One plane, the output's this body's alone.
struct ResampleBody<'a> {
    of: &'a Resample,
    input: *const f32,
    output: *mut f32,
}

impl Body for ResampleBody<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.of.input.width();
        let mut to = self.output;
        for row in &self.of.rows {
            for column in &self.of.columns {
                let mut sum = s.splat(0.0);
                for &(y, a) in row {
                    let mut of_row = s.splat(0.0);
                    for &(x, b) in column {
                        let from = self.input.wrapping_add((y * width + x) * LANES);
                        // SAFETY: `Resample::new` has checked that taps lie in the plane.
                        of_row = s.fma(s.splat(b), unsafe { s.load(from) }, of_row);
                    }
                    sum = s.fma(s.splat(a), of_row, sum);
                }
                // SAFETY: there are as many rows and columns as the plane has.
                unsafe { s.store(sum, to) };
                to = to.wrapping_add(LANES);
            }
        }
    }
}
