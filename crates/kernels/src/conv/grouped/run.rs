//! Running a convolution in groups: parts, sets, rows, tiles of pixels.

use std::hint::black_box;
use std::sync::atomic::{Ordering, compiler_fence};

use super::super::epilogue::Outlet;
use super::{COLUMNS, Grouped, GroupedWeights, PAIR, Part};
use crate::activation::with_activation;
use crate::memory::Shared;
use crate::moments::{Region, Take, Tallies, taking};
use crate::simd::{Body, Simd};
use crate::{Activation, LANES, Memory, Team};

/// Pixels of the largest tile, and of the largest wherever they lie.
const MOST: usize = 12;
const MOST_ANYWHERE: usize = 6;

/// Pixels of the tile that the compiler does worst by, of the largest; half as many wherever they lie.
const REMAINDER: usize = 10;

/// Floats of the sums of a tile.
const SUMS: usize = MOST * PAIR;

impl Grouped {
    /// Computes all images of the memory.
    ///
    /// # Panics
    /// If the memory has no room for the values, or no scratch for every thread, or the weights are another convolution's.
    pub fn run(&self, weights: &GroupedWeights, memory: &mut Memory, team: &mut Team) {
        self.run_taking(weights, None, memory, team);
    }

    /// The same, taking the moments of what it writes if it is asked for them.
    ///
    /// # Panics
    /// As [`Grouped::run`]; if the moments are of other channels.
    pub fn run_taking(&self, weights: &GroupedWeights, take: Option<Take<'_>>, memory: &mut Memory, team: &mut Team) {
        memory.check(self.end, self.scratch_len(), team);
        let fit =
            [weights.packed.len(), weights.bias.len()] == [self.floats_of_a_pair(), PAIR].map(|n| n * self.pairs());
        assert!(fit, "weights of another convolution");
        let images = memory.images();
        let band = self.parts.first().map_or(1, |part| part.rows.len());
        let bands = self.output.height().div_ceil(band);
        taking(take, images * bands, &self.output, memory, team, |tallies, memory, team| {
            let shared = memory.share();
            team.run(images * self.parts.len(), &|part, worker| {
                let (image, part) = (part / self.parts.len(), &self.parts[part % self.parts.len()]);
                let tallies = tallies.map(|tallies| (tallies, image * bands + part.rows.start / band));
                self.isa.run(PartOf { grouped: self, part, weights, shared, image, worker, tallies });
            });
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
    /// Where its results are added up, and in which slot.
    tallies: Option<(Tallies, usize)>,
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
            for pair in pairs {
                // SAFETY: the rows that the part sees lie in the strip; the rest has been checked.
                unsafe {
                    match grouped.width {
                        1 => self.pair::<S, 16>(s, pair, strip, sums),
                        4 => self.pair::<S, 4>(s, pair, strip, sums),
                        8 => self.pair::<S, 2>(s, pair, strip, sums),
                        _ => self.pair::<S, 1>(s, pair, strip, sums),
                    }
                }
                if let Some((tallies, slot)) = self.tallies {
                    let (width, image) = (grouped.output.width(), self.shared.image(self.image).cast_const());
                    let first = rows.start * width * LANES;
                    let region = Region { first, rows: 1, columns: rows.len() * width, row_len: 0 };
                    let blocks = 2 * pair..(2 * pair + 2).min(grouped.output.blocks().len());
                    // SAFETY: these pixels have just been written; a part has its slot's sums of its pairs to itself.
                    unsafe { tallies.add(s, (slot, blocks), (&grouped.output, image), region) };
                }
            }
        }
    }
}

impl PartOf<'_> {
    /// Computes a pair of target blocks, in which lie `N` groups.
    ///
    /// # Safety
    /// In the strip lie the rows that the part sees, `sums` has room for a tile, and nobody else touches the pair's rows.
    #[inline(always)]
    unsafe fn pair<S: Simd, const N: usize>(&self, s: S, pair: usize, strip: *const f32, sums: *mut f32) {
        // SAFETY: the function's own promise.
        unsafe {
            match self.grouped.shape.window.stride[1] {
                // Registers of sixteen floats leave room for three weights, and neighbours in a row share what is read.
                1 if S::PIXELS > 6 => self.rows::<S, N, 1>(s, pair, strip, sums),
                _ if S::PIXELS > 6 => self.rows::<S, N, 2>(s, pair, strip, sums),
                _ => self.pixels::<S, N>(s, pair, strip, sums),
            }
        }
    }

    /// Row by row.
    ///
    /// # Safety
    /// As [`Self::pair`].
    #[inline(always)]
    unsafe fn rows<S: Simd, const N: usize, const STEP: usize>(
        &self,
        s: S,
        pair: usize,
        strip: *const f32,
        sums: *mut f32,
    ) {
        let columns = self.grouped.output.width();
        let down = self.grouped.shape.window.stride[0] * self.grouped.strip.columns;
        let tiles = columns.div_ceil(MOST);
        for row in 0..self.part.rows.len() {
            for of_row in 0..tiles {
                let tile = self.tile(pair, row * tiles + of_row, sums);
                let pixels = of_row * columns / tiles..(of_row + 1) * columns / tiles;
                let source = InRow::<STEP>(strip.wrapping_add((row * down + pixels.start * STEP) * PAIR));
                // SAFETY: the function's own promise.
                unsafe {
                    match pixels.len() {
                        1 => tile.sum::<S, N, 1>(s, source),
                        2 => tile.sum::<S, N, 2>(s, source),
                        3 => tile.sum::<S, N, 3>(s, source),
                        4 => tile.sum::<S, N, 4>(s, source),
                        5 => tile.sum::<S, N, 5>(s, source),
                        6 => tile.sum::<S, N, 6>(s, source),
                        7 => tile.sum::<S, N, 7>(s, source),
                        8 => tile.sum::<S, N, 8>(s, source),
                        9 => tile.sum::<S, N, 9>(s, source),
                        10 => tile.sum::<S, N, 10>(s, source),
                        11 => tile.sum::<S, N, 11>(s, source),
                        12 => tile.sum::<S, N, 12>(s, source),
                        n => unreachable!("a tile of {n} pixels"),
                    }
                    self.finish(s, pair, sums, row * columns + pixels.start, pixels.len());
                }
            }
        }
    }

    /// The pixels of all rows, one after another: narrow rows would make small tiles.
    ///
    /// # Safety
    /// As [`Self::pair`].
    #[inline(always)]
    unsafe fn pixels<S: Simd, const N: usize>(&self, s: S, pair: usize, strip: *const f32, sums: *mut f32) {
        let columns = self.grouped.output.width();
        let [down, right] = self.grouped.shape.window.stride;
        let all = self.part.rows.len() * columns;
        let tiles = all.div_ceil(MOST_ANYWHERE);
        let [mut row, mut column] = [0, 0];
        for tile in 0..tiles {
            let pixels = tile * all / tiles..(tile + 1) * all / tiles;
            let tile = self.tile(pair, tile, sums);
            let mut from = [strip; MOST_ANYWHERE];
            for place in &mut from[..pixels.len()] {
                *place = strip.wrapping_add((row * down * self.grouped.strip.columns + column * right) * PAIR);
                [row, column] = if column + 1 == columns { [row + 1, 0] } else { [row, column + 1] };
            }
            // SAFETY: the function's own promise.
            unsafe {
                match pixels.len() {
                    1 => tile.sum::<S, N, 1>(s, Anywhere(from)),
                    2 => tile.sum::<S, N, 2>(s, Anywhere(from)),
                    3 => tile.sum::<S, N, 3>(s, Anywhere(from)),
                    4 => tile.sum::<S, N, 4>(s, Anywhere(from)),
                    5 => tile.sum::<S, N, 5>(s, Anywhere(from)),
                    6 => tile.sum::<S, N, 6>(s, Anywhere(from)),
                    n => unreachable!("a tile of {n} pixels"),
                }
                self.finish(s, pair, sums, pixels.start, pixels.len());
            }
        }
    }

    /// The `tile`-th of a pair's tiles. The first ones ask for the next pair's weights, the others for what they have.
    fn tile(&self, pair: usize, tile: usize, sums: *mut f32) -> Tile<'_> {
        let floats = pair * self.grouped.floats_of_a_pair();
        let ahead = if tile < COLUMNS { self.grouped.floats_of_a_pair() + tile * PAIR } else { 0 };
        let [weights, bias] = [&self.weights.packed[floats..], &self.weights.bias[pair * PAIR..]].map(<[f32]>::as_ptr);
        Tile { grouped: self.grouped, weights, ahead, bias, sums }
    }

    /// Stores the sums of some pixels, from the `first` of the part's on.
    ///
    /// # Safety
    /// There are so many sums `[pixel][16]`, and nobody else touches these pixels of the pair.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, s: S, pair: usize, sums: *const f32, first: usize, pixels: usize) {
        let Grouped { output, fusion, .. } = self.grouped;
        let first = (self.part.rows.start * output.width() + first) * LANES;
        for (half, block) in (2 * pair..(2 * pair + 2).min(output.blocks().len())).enumerate() {
            let outlet = Outlet::of(output, &fusion.residual, block, first, self.shared.image(self.image));
            let sums = sums.wrapping_add(half * LANES);
            // SAFETY: the function's own promise.
            unsafe { with_activation!(fusion.activation, f => put(s, f, sums, &outlet, pixels)) }
        }
    }
}

/// Where the pixels of a tile begin in the strip.
trait Places: Copy {
    /// So many floats from a pixel's first.
    fn at(self, pixel: usize, floats: usize) -> *const f32;
}

/// So many pixels apart, from the first on: one register addresses all of them.
#[derive(Clone, Copy)]
struct InRow<const STEP: usize>(*const f32);

impl<const STEP: usize> Places for InRow<STEP> {
    #[inline(always)]
    fn at(self, pixel: usize, floats: usize) -> *const f32 {
        self.0.wrapping_add(floats).wrapping_add(pixel * STEP * PAIR)
    }
}

/// Wherever.
#[derive(Clone, Copy)]
struct Anywhere([*const f32; MOST_ANYWHERE]);

impl Places for Anywhere {
    #[inline(always)]
    fn at(self, pixel: usize, floats: usize) -> *const f32 {
        self.0[pixel].wrapping_add(floats)
    }
}

/// Some pixels of a pair of blocks.
struct Tile<'a> {
    grouped: &'a Grouped,
    weights: *const f32,
    /// Floats from a step's weights to those to ask for.
    ahead: usize,
    bias: *const f32,
    sums: *mut f32,
}

impl Tile<'_> {
    /// Sums `[pixel][16]`, in the order of blocks.
    ///
    /// # Safety
    /// From `source` on lies what the pixels see; weights and bias have a pair's numbers, and the sums room.
    #[inline(always)]
    unsafe fn sum<S: Simd, const N: usize, const P: usize>(&self, s: S, source: impl Places) {
        let grouped = self.grouped;
        // SAFETY: the function's own promise.
        unsafe {
            let mut sums = [s.load_pair(self.bias); P];
            let mut w = self.weights;
            // Unrolled, four channels of these tiles load each other's weights early until the sums no longer fit.
            let channels = if N == 4 && P == REMAINDER * S::PIXELS / MOST { black_box(PAIR / N) } else { PAIR / N };
            for row in 0..grouped.shape.window.kernel[0] {
                for pair in 0..grouped.pairs_of_a_set() {
                    let from = pair * grouped.strip.plane_len + row * grouped.strip.columns * PAIR;
                    for channel in 0..channels {
                        s.prefetch(w.wrapping_add(self.ahead));
                        Self::taps::<S, N, P>(s, source, from + channel * N, w, &mut sums);
                        w = w.wrapping_add(COLUMNS * PAIR);
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
    ///
    /// # Safety
    /// As [`Self::sum`].
    #[inline(always)]
    unsafe fn taps<S: Simd, const N: usize, const P: usize>(
        s: S,
        source: impl Places,
        from: usize,
        w: *const f32,
        sums: &mut [S::Pair; P],
    ) {
        // SAFETY: the function's own promise. Without the fences the compiler hoists loads of later steps until the sums no
        // longer fit into registers.
        unsafe {
            if S::PIXELS > 6 {
                let w = [s.load_pair(w), s.load_pair(w.add(PAIR)), s.load_pair(w.add(2 * PAIR))];
                for p in 0..P {
                    for column in 0..COLUMNS {
                        let x = s.repeat_pair::<N>(source.at(p, from + column * PAIR));
                        sums[p] = s.fma_pair(w[column], x, sums[p]);
                    }
                }
                compiler_fence(Ordering::SeqCst);
            } else {
                for column in 0..COLUMNS {
                    let w = s.load_pair(w.add(column * PAIR));
                    for p in 0..P {
                        let x = s.repeat_pair::<N>(source.at(p, from + column * PAIR));
                        sums[p] = s.fma_pair(w, x, sums[p]);
                    }
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
unsafe fn put<S: Simd>(s: S, f: Activation, sums: *const f32, outlet: &Outlet, pixels: usize) {
    for p in 0..pixels {
        // SAFETY: the function's own promise.
        unsafe { outlet.put(s, f, s.load(sums.add(p * PAIR)), p * LANES) };
    }
}
