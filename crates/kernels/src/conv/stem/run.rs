//! Running a stem: bands, rows, panels, tiles of pixels.

use std::ops::Range;
use std::sync::atomic::{Ordering, compiler_fence};

use super::strip::Picture;
use super::{PANEL, Pictures, Stem, StemWeights};
use crate::activation::with_activation;
use crate::conv::ground::Ground;
use crate::simd::{Body, Simd};
use crate::{Activation, LANES, Memory, Team};

/// Floats from what one output pixel sees to what the next sees, for which there are tiles: with the step known, one
/// register addresses all pixels of a tile.
pub(super) const STEPS: [usize; 4] = [1, 2, 3, 6];

/// Pixels of the largest tile.
const MOST: usize = 12;

/// Channels of a pair.
const PAIR: usize = 2 * LANES;

/// Floats of the sums of a tile.
const SUMS: usize = MOST * PANEL * LANES;

impl Stem {
    /// Computes all images of the memory.
    ///
    /// # Panics
    /// If there are not as many pictures as images or not of the kind that the weights are packed for, the weights are
    /// another convolution's, or the memory has no room for the output or no scratch for every thread.
    pub fn run(&self, weights: &StemWeights, pictures: Pictures<'_>, memory: &mut Memory, team: &mut Team) {
        let images = memory.images();
        self.check(weights, pictures, images);
        memory.check(self.output.end(), self.scratch_len(), team);
        let bands = self.bands.len();
        let shared = memory.share();
        team.run(images * bands, &|part, worker| {
            let (image, band) = (part / bands, part % bands);
            let ground = Ground::of(shared, image, worker);
            self.run_rows(weights, (pictures, image), self.bands[band].clone(), ground);
        });
    }

    /// Checks weights, and that there are as many pictures as images.
    pub(in crate::conv) fn check(&self, weights: &StemWeights, pictures: Pictures<'_>, images: usize) {
        let len = self.picture.iter().product::<usize>();
        let given = match pictures {
            Pictures::Numbers(numbers) => numbers.len(),
            Pictures::Bytes(bytes) => bytes.len(),
        };
        assert!(given == images * len, "{given} numbers for {images} pictures of {len}");
        let width = self.panels() * PANEL * LANES;
        let fit = [weights.packed.len(), weights.bias.len()] == [width * self.taps(), width];
        assert!(fit, "weights of another convolution");
    }

    /// Computes some rows of one image. Whoever calls it has checked pictures, weights and the memory behind the ground, and that
    /// nobody else touches these rows.
    pub(in crate::conv) fn run_rows(
        &self,
        weights: &StemWeights,
        (pictures, image): (Pictures<'_>, usize),
        band: Range<usize>,
        ground: Ground,
    ) {
        let picture = Picture::of(pictures, image, self.picture.iter().product(), weights.mean.as_deref());
        self.isa.run(Band { stem: self, weights, picture, band, ground });
    }

    /// Floats of scratch each thread needs: the sums of a tile, a strip, and what a pooling sees.
    pub fn scratch_len(&self) -> usize {
        SUMS + self.strip.len() + self.ring_len()
    }
}

/// A band of one image, as a body for any instruction set. Whoever makes it has checked that the memory holds the output and
/// the scratch, and gives every band to one thread.
struct Band<'a> {
    stem: &'a Stem,
    weights: &'a StemWeights,
    picture: Picture<'a>,
    /// Rows of the output.
    band: Range<usize>,
    ground: Ground,
}

impl Body for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let stem = self.stem;
        let sums = self.ground.scratch;
        let strip = sums.wrapping_add(SUMS);
        let places = Places { sums, strip, ring: strip.wrapping_add(stem.strip.len()) };
        let all = stem.seen(self.band.clone());
        let mut filled = 0..0;
        let mut next = all.start;
        for row in self.band.clone() {
            for of_conv in next..stem.seen(row..row + 1).end {
                if !filled.contains(&of_conv) {
                    filled = of_conv..(of_conv + stem.chunk).min(all.end);
                    // SAFETY: the scratch is this worker's and holds a strip for so many rows behind the sums.
                    unsafe { self.fill(&filled, strip) };
                }
                // SAFETY: the rows that this one sees lie in the strip; the rest `Stem::run` has checked.
                unsafe {
                    match stem.picture[0] * stem.shape.window.stride[1] {
                        1 => self.row::<S, 1>(s, of_conv, filled.start, places),
                        2 => self.row::<S, 2>(s, of_conv, filled.start, places),
                        3 => self.row::<S, 3>(s, of_conv, filled.start, places),
                        6 => self.row::<S, 6>(s, of_conv, filled.start, places),
                        _ => unreachable!("`Stem::fits` allows no other step"),
                    }
                }
            }
            next = next.max(stem.seen(row..row + 1).end);
            // SAFETY: the rows of the convolution that this one sees are in the ring, and the row is this band's alone.
            unsafe { stem.take_largest(s, row, places.ring, self.ground.image) };
        }
    }
}

/// Where in the scratch lie the sums of a tile, the strip, and the rows of the convolution that a pooling sees.
#[derive(Clone, Copy)]
struct Places {
    sums: *mut f32,
    strip: *mut f32,
    ring: *mut f32,
}

impl Band<'_> {
    /// Fills the strip for some rows of the convolution.
    ///
    /// # Safety
    /// There are floats for so many.
    #[inline(always)]
    unsafe fn fill(&self, rows: &Range<usize>, strip: *mut f32) {
        let (stem, window) = (self.stem, &self.stem.shape.window);
        let floats = ((rows.len() - 1) * window.stride[0] + window.kernel[0]) * stem.strip.row_len;
        // SAFETY: the function's own promise.
        let strip = unsafe { std::slice::from_raw_parts_mut(strip, floats) };
        let [_, height, width] = stem.picture;
        let first = (rows.start * window.stride[0]) as isize - window.padding[0] as isize;
        stem.strip.fill(&self.picture, [height, width], [first, -(window.padding[1] as isize)], strip);
    }

    /// Computes one row of the convolution, from a strip that was filled for rows from `first` on.
    ///
    /// # Safety
    /// The strip is filled, the places are this worker's, and nobody else touches the row.
    #[inline(always)]
    unsafe fn row<S: Simd, const STEP: usize>(&self, s: S, row: usize, first: usize, places: Places) {
        let (stem, Places { sums, strip, ring }) = (self.stem, places);
        let base = if stem.in_band.target { self.ground.band } else { self.ground.image };
        let columns = stem.size[1];
        let source = strip.wrapping_add((row - first) * stem.shape.window.stride[0] * stem.strip.row_len);
        let to = |block: usize| match stem.pool {
            Some(_) => ring.wrapping_add(stem.in_ring(row, block)),
            None => base.wrapping_add(stem.output.blocks()[block].offset + row * columns * LANES),
        };
        let (taps, width) = (stem.taps(), PANEL * LANES);
        // Registers of sixteen floats leave room for the sums of two pairs, which share what they read of a pixel.
        let together = if S::PIXELS > 6 { 2 } else { 1 };
        for (panel, blocks) in stem.output.blocks().chunks(PANEL).enumerate() {
            let pairs = blocks.len().div_ceil(2);
            for first in (0..pairs).step_by(together) {
                let tile = Tile {
                    stem,
                    weights: self.weights.packed[panel * taps * width + first * PAIR..].as_ptr(),
                    bias: self.weights.bias[panel * width + first * PAIR..].as_ptr(),
                    sums,
                };
                let blocks = 2 * first..(2 * (first + together)).min(blocks.len());
                let tiles = columns.div_ceil(S::PIXELS.min(MOST));
                for pixels in (0..tiles).map(|t| t * columns / tiles..(t + 1) * columns / tiles) {
                    let source = source.wrapping_add(pixels.start * STEP);
                    // SAFETY: the function's own promise; weights and bias have a whole panel's numbers.
                    unsafe {
                        if S::PIXELS > 6 && blocks.len() > 2 {
                            tile.sums::<S, STEP, 2>(s, source, pixels.len());
                        } else {
                            tile.sums::<S, STEP, 1>(s, source, pixels.len());
                        }
                        for (vector, block) in blocks.clone().enumerate() {
                            let sums = sums.wrapping_add(vector * LANES);
                            let stride = blocks.len().div_ceil(2) * PAIR;
                            let to = to(panel * PANEL + block).wrapping_add(pixels.start * LANES);
                            with_activation!(stem.activation, f => finish(s, f, sums, stride, to, pixels.len()));
                        }
                    }
                }
            }
        }
    }
}

/// Some pixels times one or two pairs of blocks.
struct Tile<'a> {
    stem: &'a Stem,
    weights: *const f32,
    bias: *const f32,
    sums: *mut f32,
}

impl Tile<'_> {
    /// Sums `[pixel][N][16]`.
    ///
    /// # Safety
    /// From `source` on lie the rows that the pixels see; every tap has weights for `N` pairs, a panel apart, and the bias has
    /// as many numbers; the sums have room for them.
    #[inline(always)]
    unsafe fn sums<S: Simd, const STEP: usize, const N: usize>(&self, s: S, source: *const f32, pixels: usize) {
        // SAFETY: the function's own promise.
        unsafe {
            match pixels {
                1 => self.sum::<S, STEP, N, 1>(s, source),
                2 => self.sum::<S, STEP, N, 2>(s, source),
                3 => self.sum::<S, STEP, N, 3>(s, source),
                4 => self.sum::<S, STEP, N, 4>(s, source),
                5 => self.sum::<S, STEP, N, 5>(s, source),
                6 => self.sum::<S, STEP, N, 6>(s, source),
                7 if S::PIXELS > 6 => self.sum::<S, STEP, N, 7>(s, source),
                8 if S::PIXELS > 6 => self.sum::<S, STEP, N, 8>(s, source),
                9 if S::PIXELS > 6 => self.sum::<S, STEP, N, 9>(s, source),
                10 if S::PIXELS > 6 => self.sum::<S, STEP, N, 10>(s, source),
                11 if S::PIXELS > 6 => self.sum::<S, STEP, N, 11>(s, source),
                12 if S::PIXELS > 6 => self.sum::<S, STEP, N, 12>(s, source),
                _ => unreachable!("a tile of {pixels} pixels"),
            }
        }
    }

    #[inline(always)]
    unsafe fn sum<S: Simd, const STEP: usize, const N: usize, const P: usize>(&self, s: S, source: *const f32) {
        let [rows, columns] = self.stem.shape.window.kernel;
        let in_row = columns * self.stem.picture[0];
        // SAFETY: the promise of `sums`.
        unsafe {
            let mut sums = [[s.splat_pair(0.0); N]; P];
            for n in 0..N {
                let bias = s.load_pair(self.bias.add(n * PAIR));
                for p in 0..P {
                    sums[p][n] = bias;
                }
            }
            let (mut w, mut row) = (self.weights, source);
            for _ in 0..rows {
                for tap in 0..in_row {
                    let x = row.add(tap);
                    let mut wv = [s.splat_pair(0.0); N];
                    for n in 0..N {
                        wv[n] = s.load_pair(w.add(n * PAIR));
                    }
                    // Pixel by pixel, so that what is read of one leaves its register before the next.
                    for p in 0..P {
                        let x = s.broadcast_pair(x.add(p * STEP));
                        for n in 0..N {
                            sums[p][n] = s.fma_pair(wv[n], x, sums[p][n]);
                        }
                    }
                    w = w.wrapping_add(PANEL * LANES);
                    // Without the fence the compiler hoists loads of later steps until the sums no longer fit into registers.
                    compiler_fence(Ordering::SeqCst);
                }
                row = row.wrapping_add(self.stem.strip.row_len);
            }
            for p in 0..P {
                for n in 0..N {
                    s.store_pair(sums[p][n], self.sums.add((p * N + n) * PAIR));
                }
            }
        }
    }
}

/// Stores the activated sums of one block.
///
/// # Safety
/// So many sums lie `stride` floats apart, and as many vectors may be written at `to`.
#[inline(always)]
unsafe fn finish<S: Simd>(s: S, f: Activation, sums: *const f32, stride: usize, to: *mut f32, pixels: usize) {
    for p in 0..pixels {
        // SAFETY: the function's own promise.
        unsafe { s.store(f.apply(s, s.load(sums.add(p * stride))), to.add(p * LANES)) };
    }
}
