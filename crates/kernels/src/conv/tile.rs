//! The innermost loops: some pixels times some vectors of output channels, summed over k-blocks in registers.

use std::ops::Range;
use std::sync::atomic::{Ordering, compiler_fence};

use crate::LANES;
use crate::simd::Simd;

/// Sums of a full tile of single vectors: what a core with two multiply-add pipes of five cycles' latency needs to be busy, and
/// what leaves registers for the factors.
const SUMS: usize = 12;

/// Pixels of a full tile of so many vectors.
pub(super) const fn most_pixels<S: Simd, const V: usize>() -> usize {
    if V == 1 { SUMS } else { S::PAIRS }
}

/// Floats of a cache line.
pub(super) const LINE: usize = 16;

/// K-blocks summed in one go. Their sum is then added to the total: two levels keep long sums exact enough, and the
/// weights of one chain (8 KB for two vectors of channels) stay in the first-level cache for many tiles.
pub(super) const CHAIN: usize = 16;

/// Some pixels cut into tiles for panels of so many vectors. Made once for many chains: the loops over tiles are short enough
/// for a division to be seen in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiling {
    pixels: usize,
    /// Pixels of a tile; the first `larger` tiles have one more, the last may have fewer.
    size: usize,
    larger: usize,
    /// Lines of the next chain's weights to ask for at each tile.
    lines: usize,
}

/// A tile of a [`Tiling`] and the lines to ask for.
pub(super) struct Cut {
    pub pixels: Range<usize>,
    pub lines: Range<usize>,
}

impl Tiling {
    pub fn of<S: Simd, const V: usize>(pixels: usize) -> Self {
        let tiles = pixels.div_ceil(most_pixels::<S, V>()).max(1);
        let lines = (CHAIN * LANES * V * LANES / LINE).div_ceil(tiles);
        match V {
            // Twelve pixels times one vector is the one tile of its kind that the compiler keeps in registers.
            1 => Self { pixels, size: SUMS, larger: 0, lines },
            _ => Self { pixels, size: pixels / tiles, larger: pixels % tiles, lines },
        }
    }

    /// The tiles, for a chain whose successor has so many lines of weights.
    #[inline(always)]
    pub fn tiles(self, ahead: usize) -> impl Iterator<Item = Cut> {
        let (mut tile, mut pixel, mut line) = (0, 0, 0);
        std::iter::from_fn(move || {
            let pixels = pixel..(pixel + self.size + usize::from(tile < self.larger)).min(self.pixels);
            let lines = line..(line + self.lines).min(ahead);
            (tile, pixel, line) = (tile + 1, pixels.end, lines.end);
            (!pixels.is_empty()).then_some(Cut { pixels, lines })
        })
    }
}

/// What the k-blocks of one chain are for every tile.
pub(super) struct Chain<'a> {
    /// From a pixel's first source float to its k-blocks.
    pub offsets: &'a [isize],
    /// Their weights.
    pub weights: *const f32,
    /// The totals begin with eight floats a vector from here; else with what they hold already.
    pub bias: Option<*const f32>,
    /// Every lane sees its own lane of the source only, and a k-block is one vector of weights.
    pub lanewise: bool,
}

impl Chain<'_> {
    /// Adds the chain to the totals of some pixels, `[pixel][V][8]`.
    ///
    /// # Safety
    /// For every pixel and offset eight floats are readable at `from + offset`, for every k-block of the chain `weights`
    /// holds its floats (`V * LANES * LANES`, or `LANES` if lanewise), `bias` has `V * LANES`, and `totals` has
    /// `pixels * V * LANES`. One or two vectors; at most [`most_pixels`].
    #[inline(always)]
    pub unsafe fn tile<S: Simd, const V: usize>(
        &self,
        s: S,
        from: impl Fn(usize) -> *const f32,
        pixels: usize,
        totals: *mut f32,
    ) {
        // SAFETY: the function's own promise.
        unsafe {
            match pixels {
                1 => self.sums::<S, V, 1>(s, from, totals),
                2 => self.sums::<S, V, 2>(s, from, totals),
                3 => self.sums::<S, V, 3>(s, from, totals),
                4 => self.sums::<S, V, 4>(s, from, totals),
                5 => self.sums::<S, V, 5>(s, from, totals),
                6 => self.sums::<S, V, 6>(s, from, totals),
                7 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 7>(s, from, totals),
                8 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 8>(s, from, totals),
                9 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 9>(s, from, totals),
                10 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 10>(s, from, totals),
                11 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 11>(s, from, totals),
                12 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 12>(s, from, totals),
                _ => unreachable!("a tile of {pixels} pixels"),
            }
        }
    }

    #[inline(always)]
    unsafe fn sums<S: Simd, const V: usize, const P: usize>(
        &self,
        s: S,
        from: impl Fn(usize) -> *const f32,
        totals: *mut f32,
    ) {
        let px: [*const f32; P] = std::array::from_fn(from);
        // SAFETY: the promise of `tile`.
        unsafe {
            match V {
                1 => self.single(s, &px, totals),
                _ => self.paired(s, &px, totals),
            }
        }
    }

    /// Sums of one vector for every pixel.
    #[inline(always)]
    unsafe fn single<S: Simd, const P: usize>(&self, s: S, px: &[*const f32; P], totals: *mut f32) {
        // SAFETY: the promise of `tile`.
        unsafe {
            let mut sums = match self.bias {
                Some(bias) => [s.load(bias); P],
                None => [s.splat(0.0); P],
            };
            if self.lanewise {
                self.lanes(s, px, &mut sums);
            } else {
                self.blocks(s, px, &mut sums);
            }
            for p in 0..P {
                let to = totals.add(p * LANES);
                s.store(if self.bias.is_some() { sums[p] } else { s.add(s.load(to), sums[p]) }, to);
            }
        }
    }

    /// Sums of two vectors for every pixel.
    #[inline(always)]
    unsafe fn paired<S: Simd, const P: usize>(&self, s: S, px: &[*const f32; P], totals: *mut f32) {
        // SAFETY: the promise of `tile`.
        unsafe {
            let mut sums = match self.bias {
                Some(bias) => [s.load_pair(bias); P],
                None => [s.splat_pair(0.0); P],
            };
            self.pairs_of_blocks(s, px, &mut sums);
            for p in 0..P {
                let to = totals.add(2 * p * LANES);
                s.store_pair(if self.bias.is_some() { sums[p] } else { s.add_pair(s.load_pair(to), sums[p]) }, to);
            }
        }
    }

    /// Eight source channels a k-block, each times a vector of weights.
    #[inline(always)]
    unsafe fn blocks<S: Simd, const P: usize>(&self, s: S, px: &[*const f32; P], sums: &mut [S::V; P]) {
        let mut w = self.weights;
        for &offset in self.offsets {
            for lane in 0..LANES {
                // SAFETY: the promise of `tile`.
                unsafe {
                    let wv = s.load(w.add(lane * LANES));
                    for p in 0..P {
                        let x = s.broadcast(px[p].offset(offset + lane as isize));
                        sums[p] = s.fma(wv, x, sums[p]);
                    }
                }
                // Without the fence the compiler hoists loads of later steps until the sums no longer fit into registers.
                compiler_fence(Ordering::SeqCst);
            }
            w = w.wrapping_add(LANES * LANES);
        }
    }

    /// Eight source channels a k-block, each times two vectors of weights.
    #[inline(always)]
    unsafe fn pairs_of_blocks<S: Simd, const P: usize>(&self, s: S, px: &[*const f32; P], sums: &mut [S::Pair; P]) {
        let mut w = self.weights;
        for &offset in self.offsets {
            for lane in 0..LANES {
                // SAFETY: the promise of `tile`.
                unsafe {
                    let wv = s.load_pair(w.add(2 * lane * LANES));
                    for p in 0..P {
                        sums[p] = s.fma_pair(wv, px[p].offset(offset + lane as isize), sums[p]);
                    }
                }
                // As above.
                compiler_fence(Ordering::SeqCst);
            }
            w = w.wrapping_add(2 * LANES * LANES);
        }
    }

    /// One vector of source channels a k-block, times one of weights.
    #[inline(always)]
    unsafe fn lanes<S: Simd, const P: usize>(&self, s: S, px: &[*const f32; P], sums: &mut [S::V; P]) {
        let mut w = self.weights;
        for &offset in self.offsets {
            // SAFETY: the promise of `tile`.
            unsafe {
                let wv = s.load(w);
                for p in 0..P {
                    sums[p] = s.fma(wv, s.load(px[p].offset(offset)), sums[p]);
                }
            }
            compiler_fence(Ordering::SeqCst);
            w = w.wrapping_add(LANES);
        }
    }
}
