//! Running a convolution: parts, bands, panels, tiles.

use super::tile::{PIXELS, accumulate};
use super::{Conv, ConvWeights, Panel, Part, Residual};
use crate::memory::Shared;
use crate::simd::{Body, Simd};
use crate::{LANES, Memory, Team};

impl Conv {
    /// Computes all images of the memory.
    ///
    /// # Panics
    /// If the memory has no room for the values, or no scratch for every thread.
    pub fn run(&self, weights: &ConvWeights, memory: &mut Memory, team: &mut Team) {
        assert!(memory.image_len() >= self.end, "values beyond the arena");
        assert!(self.strip_len == 0 || memory.scratch_len() >= self.strip_len, "too little scratch");
        assert!(memory.threads() >= team.threads(), "scratch for fewer threads than the team has");
        assert!(weights.packed.len() == self.packed_len, "weights of another convolution");
        let images = memory.images();
        let shared = memory.share();
        team.run(images * self.parts.len(), &|part, worker| {
            let (image, part) = (part / self.parts.len(), &self.parts[part % self.parts.len()]);
            self.isa.run(PartOf { conv: self, part, weights, shared, image, worker });
        });
    }

    /// Computes one part of one image.
    ///
    /// # Safety
    /// The memory holds all values and the scratch, and nobody else touches the part's outputs or the worker's scratch.
    #[inline(always)]
    unsafe fn part<S: Simd>(
        &self,
        s: S,
        part: &Part,
        weights: &ConvWeights,
        shared: Shared,
        image: usize,
        worker: usize,
    ) {
        let grid = &self.grids[part.grid];
        let (image, scratch) = (shared.image(image), shared.scratch(worker));
        if let Some(strip) = &part.strip {
            // SAFETY: the source lies inside the image's share and the strip fits the scratch.
            unsafe { self.fill(s, part, strip, &weights.prologue, image, scratch) };
        }
        let columns = grid.size[1];
        let pixels = part.rows.len() * columns;
        for panel in &self.panels[part.panels.clone()] {
            let tile = Tile { conv: self, part, panel, weights, image, scratch };
            let mut at = 0;
            while at < pixels {
                // SAFETY: pixels `at..` lie in the band.
                unsafe {
                    match pixels - at {
                        1 => tile.run::<S, 1>(s, at),
                        2 => tile.run::<S, 2>(s, at),
                        3 => tile.run::<S, 3>(s, at),
                        4 => tile.run::<S, 4>(s, at),
                        5 => tile.run::<S, 5>(s, at),
                        _ => tile.run::<S, PIXELS>(s, at),
                    }
                }
                at += PIXELS;
            }
        }
    }
}

/// One part of one image, as a body for any instruction set. Whoever makes it has checked that the memory holds all values
/// and the scratch, and gives every part to one thread.
struct PartOf<'a> {
    conv: &'a Conv,
    part: &'a Part,
    weights: &'a ConvWeights,
    shared: Shared,
    image: usize,
    worker: usize,
}

impl Body for PartOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: `Conv::run` has checked the lengths, `Conv::new` the values; parts write different pixels or different
        // blocks of the target, which is apart from the source.
        unsafe { self.conv.part(s, self.part, self.weights, self.shared, self.image, self.worker) }
    }
}

/// All that the tiles of one panel and band share.
struct Tile<'a> {
    conv: &'a Conv,
    part: &'a Part,
    panel: &'a Panel,
    weights: &'a ConvWeights,
    image: *mut f32,
    scratch: *const f32,
}

impl Tile<'_> {
    /// Computes `P` pixels of the band from its pixel `at` on.
    ///
    /// # Safety
    /// As [`Conv::part`]; the pixels lie in the band.
    #[inline(always)]
    unsafe fn run<S: Simd, const P: usize>(&self, s: S, at: usize) {
        // SAFETY: the function's own promise; a panel has one or two blocks.
        unsafe {
            match self.panel.blocks.len() {
                1 => self.sums::<S, 1, P>(s, at),
                _ => self.sums::<S, 2, P>(s, at),
            }
        }
    }

    #[inline(always)]
    unsafe fn sums<S: Simd, const V: usize, const P: usize>(&self, s: S, at: usize) {
        let grid = &self.conv.grids[self.part.grid];
        let place = |p: usize| {
            let (row, column) = ((at + p) / grid.size[1], (at + p) % grid.size[1]);
            [row, column]
        };
        let px: [*const f32; P] = std::array::from_fn(|p| {
            let [row, column] = place(p);
            let [y, x] = [row * grid.source_step[0], column * grid.source_step[1]];
            match &self.part.strip {
                Some(strip) => self.scratch.wrapping_add((y * strip.columns + x) * LANES),
                None => {
                    let y = y + self.part.rows.start * grid.source_step[0];
                    self.image.cast_const().wrapping_add((y * self.conv.source.width() + x) * LANES)
                }
            }
        });
        let first = self.panel.blocks.start;
        let offsets = &self.panel.offsets[self.part.grid];
        let packed = &self.weights.packed[self.panel.weights[self.part.grid]..];
        // SAFETY: k-blocks lie in the strip or in the source, the packed weights of this panel and grid lie in `packed`,
        // and the bias has eight numbers for every block.
        let sums = unsafe {
            let bias: [S::V; V] = std::array::from_fn(|v| s.load(self.weights.bias.as_ptr().add((first + v) * LANES)));
            let mut sums: [[S::V; P]; V] = std::array::from_fn(|v| [bias[v]; P]);
            accumulate(s, &px, offsets, packed.as_ptr(), &mut sums);
            sums
        };
        for (v, sums) in sums.into_iter().enumerate() {
            for (p, sum) in sums.into_iter().enumerate() {
                let [row, column] = place(p);
                let y = grid.origin[0] + (self.part.rows.start + row) * grid.step[0];
                let x = grid.origin[1] + column * grid.step[1];
                let pixel = (y * self.conv.target.width() + x) * LANES;
                // SAFETY: pixel `(y, x)` lies in the target's planes.
                unsafe { self.finish(s, sum, first + v, pixel) };
            }
        }
    }

    /// The epilogue: residual, activation, and the way to memory.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, s: S, sum: S::V, block: usize, pixel: usize) {
        let conv = self.conv;
        let at = self.image.wrapping_add(conv.target.blocks()[block].offset + pixel);
        // SAFETY: the residual has the target's blocks and size.
        let residual = |r: &crate::Planes| unsafe { s.load(self.image.wrapping_add(r.blocks()[block].offset + pixel)) };
        let act = conv.fusion.activation;
        let value = match &conv.fusion.residual {
            Residual::None => act.apply(s, sum),
            Residual::BeforeActivation(r) => act.apply(s, s.add(sum, residual(r))),
            Residual::AfterActivation(r) => s.add(act.apply(s, sum), residual(r)),
        };
        // SAFETY: the caller promises the pixel, and that this part alone touches it.
        unsafe {
            let value = if conv.accumulate { s.add(s.load(at), value) } else { value };
            s.store(value, at);
        }
    }
}
