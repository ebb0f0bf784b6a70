//! The innermost loops: vectors of the output's gradients times some input channels, summed over pairs of places in registers.

use std::sync::atomic::{Ordering, compiler_fence};

use super::strips::Pair;
use crate::LANES;
use crate::conv::tile::most_pixels;
use crate::simd::Simd;

/// Pairs of a round. The compiler keeps the sums of a loop inside another one where they are, and those of a single loop it
/// moves from register to register.
const ROUND: usize = 64;

/// What a tile multiplies, and where it adds.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub pairs: &'a [Pair],
    /// The output's gradients: at every place as many vectors as the tile has.
    pub dy: *const f32,
    /// The first of its input channels at place 0; the others follow.
    pub x: *const f32,
    /// For every channel as many vectors as the tile has.
    pub totals: *mut f32,
    /// Floats from one channel's totals to the next.
    pub totals_step: usize,
    /// Whether totals begin with these sums; else they are added.
    pub begins: bool,
}

impl Tile<'_> {
    /// Sums up the products of so many channels, at most [`most_pixels`], and 1, 2 or 4 vectors.
    ///
    /// # Safety
    /// For every pair `V` vectors are readable at its place in `dy` and so many floats at its place in `x`; the totals have `V`
    /// vectors for each channel, which nobody else touches.
    #[inline(always)]
    pub unsafe fn sum<S: Simd, const V: usize>(&self, s: S, channels: usize) {
        // SAFETY: the function's own promise.
        unsafe {
            match channels {
                1 => self.sums::<S, V, 1>(s),
                2 => self.sums::<S, V, 2>(s),
                3 => self.sums::<S, V, 3>(s),
                4 => self.sums::<S, V, 4>(s),
                5 => self.sums::<S, V, 5>(s),
                6 => self.sums::<S, V, 6>(s),
                7 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 7>(s),
                8 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 8>(s),
                9 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 9>(s),
                10 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 10>(s),
                11 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 11>(s),
                12 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 12>(s),
                _ => unreachable!("a tile of {channels} channels"),
            }
        }
    }

    #[inline(always)]
    unsafe fn sums<S: Simd, const V: usize, const L: usize>(&self, s: S) {
        // SAFETY: the promise of `sum`.
        unsafe {
            match V {
                1 => self.single::<S, L>(s),
                2 => self.paired::<S, L, 1>(s),
                _ => self.paired::<S, L, 2>(s),
            }
        }
    }

    /// One vector for every channel.
    #[inline(always)]
    unsafe fn single<S: Simd, const L: usize>(&self, s: S) {
        let mut sums = [s.splat(0.0); L];
        for pairs in self.pairs.chunks(ROUND) {
            for pair in pairs {
                let x = self.x.wrapping_add(pair.x as usize);
                // SAFETY: the promise of `sum`.
                unsafe {
                    let dy = s.load(self.dy.wrapping_add(pair.dy as usize));
                    for l in 0..L {
                        sums[l] = s.fma(dy, s.broadcast(x.wrapping_add(l)), sums[l]);
                    }
                }
                // Without the fence the compiler hoists loads of later places and has no registers left for the sums.
                compiler_fence(Ordering::SeqCst);
            }
        }
        for l in 0..L {
            let to = self.totals.wrapping_add(l * self.totals_step);
            // SAFETY: the promise of `sum`.
            unsafe { s.store(if self.begins { sums[l] } else { s.add(s.load(to), sums[l]) }, to) };
        }
    }

    /// `R` pairs of vectors for every channel.
    #[inline(always)]
    unsafe fn paired<S: Simd, const L: usize, const R: usize>(&self, s: S) {
        let mut sums = [[s.splat_pair(0.0); R]; L];
        for pairs in self.pairs.chunks(ROUND) {
            for pair in pairs {
                let from = self.dy.wrapping_add(pair.dy as usize * 2 * R);
                let x = self.x.wrapping_add(pair.x as usize);
                // SAFETY: the promise of `sum`.
                unsafe {
                    let mut dy = [s.splat_pair(0.0); R];
                    for r in 0..R {
                        dy[r] = s.load_pair(from.wrapping_add(2 * r * LANES));
                    }
                    for l in 0..L {
                        let x = s.broadcast_pair(x.wrapping_add(l));
                        for r in 0..R {
                            sums[l][r] = s.fma_pair(dy[r], x, sums[l][r]);
                        }
                    }
                }
                // As above.
                compiler_fence(Ordering::SeqCst);
            }
        }
        for l in 0..L {
            for r in 0..R {
                let to = self.totals.wrapping_add(l * self.totals_step + 2 * r * LANES);
                let sum = sums[l][r];
                // SAFETY: the promise of `sum`.
                unsafe { s.store_pair(if self.begins { sum } else { s.add_pair(s.load_pair(to), sum) }, to) };
            }
        }
    }
}
