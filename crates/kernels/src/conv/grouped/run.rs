//! Running a convolution in groups: parts, sets, rows, tiles of pixels.

use std::sync::atomic::{Ordering, compiler_fence};

use super::super::epilogue::Outlet;
use super::{COLUMNS, Grouped, GroupedWeights, PAIR, Part};
use crate::activation::with_activation;
use crate::memory::Shared;
use crate::simd::{Body, Simd};
use crate::{Activation, LANES, Memory, Team};

/// Floats of the sums of the largest tile.
const SUMS: usize = 12 * PAIR;

impl Grouped {
    /// Computes all images of the memory.
    ///
    /// # Panics
    /// If the memory has no room for the values, or no scratch for every thread, or the weights are another convolution's.
    pub fn run(&self, weights: &GroupedWeights, memory: &mut Memory, team: &mut Team) {
        assert!(memory.image_len() >= self.end, "values beyond the arena");
        assert!(memory.scratch_len() >= self.scratch_len(), "too little scratch");
        assert!(memory.threads() >= team.threads(), "scratch for fewer threads than the team has");
        let fit =
            [weights.packed.len(), weights.bias.len()] == [self.floats_of_a_pair(), PAIR].map(|n| n * self.pairs());
        assert!(fit, "weights of another convolution");
        let images = memory.images();
        let shared = memory.share();
        team.run(images * self.parts.len(), &|part, worker| {
            let (image, part) = (part / self.parts.len(), &self.parts[part % self.parts.len()]);
            self.isa.run(PartOf { grouped: self, part, weights, shared, image, worker });
        });
    }

    /// Floats of scratch each thread needs: the sums of a tile, then a strip.
    pub fn scratch_len(&self) -> usize {
        SUMS + self.strip.len()
    }
}

/// One part of one image, as a body for any instruction set. Whoever makes it has checked that the memory holds all values
/// and the scratch, and gives every part to one thread.
struct PartOf<'a> {
    grouped: &'a Grouped,
    part: &'a Part,
    weights: &'a GroupedWeights,
    shared: Shared,
    image: usize,
    worker: usize,
}

impl Body for PartOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (grouped, rows) = (self.grouped, &self.part.rows);
        let window = &grouped.shape.window;
        let sums = self.shared.scratch(self.worker);
        let strip = sums.wrapping_add(SUMS);
        let first = (rows.start * window.stride[0]) as isize - window.padding[0] as isize;
        let seen = (rows.len() - 1) * window.stride[0] + window.kernel[0];
        for set in self.part.sets.clone() {
            let pairs = set * grouped.pairs_of_a_set()..((set + 1) * grouped.pairs_of_a_set()).min(grouped.pairs());
            for (at, pair) in pairs.clone().enumerate() {
                let to = strip.wrapping_add(at * grouped.strip.plane_len);
                // SAFETY: the scratch is this worker's and holds a strip behind the sums.
                unsafe { grouped.fill(s, pair, (first, seen), self.shared.image(self.image), to) };
            }
            for row in rows.clone() {
                let source = strip.wrapping_add((row - rows.start) * window.stride[0] * grouped.strip.columns * PAIR);
                for pair in pairs.clone() {
                    // SAFETY: the rows that this one sees lie in the strip from `source` on; the rest has been checked.
                    unsafe {
                        match (grouped.width, window.stride[1]) {
                            (1, 1) => self.row::<S, 16, 1>(s, row, pair, source, sums),
                            (1, _) => self.row::<S, 16, 2>(s, row, pair, source, sums),
                            (4, 1) => self.row::<S, 4, 1>(s, row, pair, source, sums),
                            (4, _) => self.row::<S, 4, 2>(s, row, pair, source, sums),
                            (8, 1) => self.row::<S, 2, 1>(s, row, pair, source, sums),
                            (8, _) => self.row::<S, 2, 2>(s, row, pair, source, sums),
                            (_, 1) => self.row::<S, 1, 1>(s, row, pair, source, sums),
                            (_, _) => self.row::<S, 1, 2>(s, row, pair, source, sums),
                        }
                    }
                }
            }
        }
    }
}

impl PartOf<'_> {
    /// Computes one row of a pair of target blocks; `N` groups lie in a pair.
    ///
    /// # Safety
    /// From `source` on lie the rows that it sees, `sums` has room for a tile, and nobody else touches the row.
    #[inline(always)]
    unsafe fn row<S: Simd, const N: usize, const STEP: usize>(
        &self,
        s: S,
        row: usize,
        pair: usize,
        source: *const f32,
        sums: *mut f32,
    ) {
        let grouped = self.grouped;
        let columns = grouped.output.width();
        let tile = Tile {
            grouped,
            weights: self.weights.packed[pair * grouped.floats_of_a_pair()..].as_ptr(),
            bias: self.weights.bias[pair * PAIR..].as_ptr(),
            sums,
        };
        let blocks = 2 * pair..(2 * pair + 2).min(grouped.output.blocks().len());
        let tiles = columns.div_ceil(S::PAIRS);
        for pixels in (0..tiles).map(|t| t * columns / tiles..(t + 1) * columns / tiles) {
            let first = (row * columns + pixels.start) * LANES;
            // SAFETY: the function's own promise; weights and bias have a pair's numbers.
            unsafe {
                tile.sums::<S, N, STEP>(s, source.wrapping_add(pixels.start * STEP * PAIR), pixels.len());
                for (half, block) in blocks.clone().enumerate() {
                    let (output, residual) = (&grouped.output, &grouped.fusion.residual);
                    let outlet = Outlet::of(output, residual, block, first, self.shared.image(self.image));
                    let sums = sums.wrapping_add(half * LANES).cast_const();
                    with_activation!(grouped.fusion.activation, f => finish(s, f, sums, &outlet, pixels.len()));
                }
            }
        }
    }
}

/// Some pixels of a pair of blocks.
struct Tile<'a> {
    grouped: &'a Grouped,
    weights: *const f32,
    bias: *const f32,
    sums: *mut f32,
}

impl Tile<'_> {
    /// Sums `[pixel][16]`, in the order of blocks.
    ///
    /// # Safety
    /// From `source` on lie the rows that the pixels see; weights and bias have a pair's numbers, and the sums room.
    #[inline(always)]
    unsafe fn sums<S: Simd, const N: usize, const STEP: usize>(&self, s: S, source: *const f32, pixels: usize) {
        // SAFETY: the function's own promise.
        unsafe {
            match pixels {
                1 => self.sum::<S, N, STEP, 1>(s, source),
                2 => self.sum::<S, N, STEP, 2>(s, source),
                3 => self.sum::<S, N, STEP, 3>(s, source),
                4 => self.sum::<S, N, STEP, 4>(s, source),
                5 => self.sum::<S, N, STEP, 5>(s, source),
                6 => self.sum::<S, N, STEP, 6>(s, source),
                7 if S::PAIRS > 6 => self.sum::<S, N, STEP, 7>(s, source),
                8 if S::PAIRS > 6 => self.sum::<S, N, STEP, 8>(s, source),
                9 if S::PAIRS > 6 => self.sum::<S, N, STEP, 9>(s, source),
                10 if S::PAIRS > 6 => self.sum::<S, N, STEP, 10>(s, source),
                11 if S::PAIRS > 6 => self.sum::<S, N, STEP, 11>(s, source),
                12 if S::PAIRS > 6 => self.sum::<S, N, STEP, 12>(s, source),
                _ => unreachable!("a tile of {pixels} pixels"),
            }
        }
    }

    #[inline(always)]
    unsafe fn sum<S: Simd, const N: usize, const STEP: usize, const P: usize>(&self, s: S, source: *const f32) {
        let grouped = self.grouped;
        let channels = PAIR / N;
        // SAFETY: the promise of `sums`.
        unsafe {
            let mut sums = [s.load_pair(self.bias); P];
            let mut w = self.weights;
            for row in 0..grouped.shape.window.kernel[0] {
                for pair in 0..grouped.pairs_of_a_set() {
                    let from = source.wrapping_add(pair * grouped.strip.plane_len + row * grouped.strip.columns * PAIR);
                    for channel in 0..channels {
                        self.taps::<S, N, STEP, P>(s, from.add(channel * N), w, &mut sums);
                        w = w.wrapping_add(COLUMNS * PAIR);
                        // Without the fence the compiler hoists loads of later steps until the sums no longer fit into
                        // registers.
                        compiler_fence(Ordering::SeqCst);
                    }
                }
            }
            for p in 0..P {
                let sum = if N == 2 || N == 4 { s.permute_pair(sums[p], &grouped.orders[1]) } else { sums[p] };
                s.store_pair(sum, self.sums.add(p * PAIR));
            }
        }
    }

    /// One channel of every group through a row of the kernel. Every sum takes its columns in order.
    #[inline(always)]
    unsafe fn taps<S: Simd, const N: usize, const STEP: usize, const P: usize>(
        &self,
        s: S,
        x: *const f32,
        w: *const f32,
        sums: &mut [S::Pair; P],
    ) {
        // SAFETY: the promise of `sums`.
        unsafe {
            if S::PAIRS > 6 {
                // There are registers for three weights, and neighbours share what is read.
                let w = [s.load_pair(w), s.load_pair(w.add(PAIR)), s.load_pair(w.add(2 * PAIR))];
                for p in 0..P {
                    for column in 0..COLUMNS {
                        let x = s.repeat_pair::<N>(x.add((p * STEP + column) * PAIR));
                        sums[p] = s.fma_of_pairs(w[column], x, sums[p]);
                    }
                }
            } else {
                for column in 0..COLUMNS {
                    let w = s.load_pair(w.add(column * PAIR));
                    for p in 0..P {
                        let x = s.repeat_pair::<N>(x.add((p * STEP + column) * PAIR));
                        sums[p] = s.fma_of_pairs(w, x, sums[p]);
                    }
                    // As above.
                    compiler_fence(Ordering::SeqCst);
                }
            }
        }
    }
}

/// Stores the activated sums of one block, `[pixel][16]`.
///
/// # Safety
/// There are so many sums, and the outlet's pixels are touched by nobody else.
#[inline(always)]
unsafe fn finish<S: Simd>(s: S, f: Activation, sums: *const f32, outlet: &Outlet, pixels: usize) {
    for p in 0..pixels {
        // SAFETY: the function's own promise.
        unsafe { outlet.put(s, f, s.load(sums.add(p * PAIR)), p * LANES) };
    }
}
