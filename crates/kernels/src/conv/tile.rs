//! The innermost loops: some pixels times some vectors of output channels, summed over k-blocks in registers.

use std::ops::Range;
use std::sync::atomic::{Ordering, compiler_fence};

use crate::LANES;
use crate::simd::Simd;

/// Sums of a full tile: what a core with two multiply-add pipes of five cycles' latency needs to be busy, and what leaves
/// registers for the factors.
pub(super) const SUMS: usize = 12;

/// K-blocks summed in one go. Their sum is then added to the total: two levels keep long sums exact enough, and the
/// weights of one chain (8 KB for two vectors of channels) stay in the first-level cache for many tiles.
pub(super) const CHAIN: usize = 16;

/// The pixels of a tile, of some pixels in `pixels.div_ceil(SUMS / V)` tiles.
#[inline(always)]
pub(super) fn bounds<const V: usize>(tile: usize, pixels: usize) -> Range<usize> {
    let tiles = pixels.div_ceil(SUMS / V);
    match V {
        // Twelve pixels times one vector is the one tile of its kind that the compiler keeps in registers.
        1 => tile * SUMS..pixels.min((tile + 1) * SUMS),
        _ => tile * pixels / tiles..(tile + 1) * pixels / tiles,
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
    /// `pixels.len() * V * LANES`. At most `SUMS / V` pixels.
    #[inline(always)]
    pub unsafe fn tile<S: Simd, const V: usize>(
        &self,
        s: S,
        from: impl Fn(usize) -> *const f32,
        pixels: usize,
        totals: *mut f32,
    ) {
        // SAFETY: the function's own promise; with two vectors there are at most six pixels.
        unsafe {
            match pixels {
                1 => self.sums::<S, V, 1>(s, from, totals),
                2 => self.sums::<S, V, 2>(s, from, totals),
                3 => self.sums::<S, V, 3>(s, from, totals),
                4 => self.sums::<S, V, 4>(s, from, totals),
                5 => self.sums::<S, V, 5>(s, from, totals),
                6 => self.sums::<S, V, 6>(s, from, totals),
                7 if V == 1 => self.sums::<S, V, 7>(s, from, totals),
                8 if V == 1 => self.sums::<S, V, 8>(s, from, totals),
                9 if V == 1 => self.sums::<S, V, 9>(s, from, totals),
                10 if V == 1 => self.sums::<S, V, 10>(s, from, totals),
                11 if V == 1 => self.sums::<S, V, 11>(s, from, totals),
                12 if V == 1 => self.sums::<S, V, 12>(s, from, totals),
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
            let mut sums = [[s.splat(0.0); P]; V];
            if let Some(bias) = self.bias {
                for v in 0..V {
                    sums[v] = [s.load(bias.add(v * LANES)); P];
                }
            }
            if V == 1 && self.lanewise {
                self.lanes(s, &px, &mut sums[0]);
            } else {
                self.blocks(s, &px, &mut sums);
            }
            for p in 0..P {
                for v in 0..V {
                    let to = totals.add((p * V + v) * LANES);
                    let total = if self.bias.is_some() { sums[v][p] } else { s.add(s.load(to), sums[v][p]) };
                    s.store(total, to);
                }
            }
        }
    }

    /// Eight source channels a k-block, each times a vector of weights for every vector of sums.
    #[inline(always)]
    unsafe fn blocks<S: Simd, const V: usize, const P: usize>(
        &self,
        s: S,
        px: &[*const f32; P],
        sums: &mut [[S::V; P]; V],
    ) {
        let mut w = self.weights;
        for &offset in self.offsets {
            for lane in 0..LANES {
                // SAFETY: the promise of `tile`.
                unsafe {
                    let mut wv = [s.splat(0.0); V];
                    for v in 0..V {
                        wv[v] = s.load(w.add((lane * V + v) * LANES));
                    }
                    for p in 0..P {
                        let x = s.broadcast(px[p].offset(offset + lane as isize));
                        for v in 0..V {
                            sums[v][p] = s.fma(wv[v], x, sums[v][p]);
                        }
                    }
                }
                // Without the fence the compiler hoists loads of later steps until the sums no longer fit into registers.
                compiler_fence(Ordering::SeqCst);
            }
            w = w.wrapping_add(LANES * V * LANES);
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
