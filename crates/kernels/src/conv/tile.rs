//! The innermost loops: some pixels times some vectors of output channels, summed over k-blocks in registers.

use std::hint::black_box;
use std::ops::Range;
use std::sync::atomic::{Ordering, compiler_fence};

use crate::LANES;
use crate::simd::Simd;

/// Sums of a full tile of single vectors: what a core with two multiply-add pipes of five cycles' latency needs to be busy, and
/// what leaves registers for the factors.
pub(super) const SUMS: usize = 12;

/// Pixels of a full tile of so many vectors.
pub(super) const fn most_pixels<S: Simd, const V: usize>() -> usize {
    if V == 1 { SUMS } else { S::PIXELS }
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
    count: usize,
    /// Pixels of a tile; the first `larger` tiles have one more.
    size: usize,
    larger: usize,
}

impl Tiling {
    pub fn of<S: Simd, const V: usize>(pixels: usize) -> Self {
        let count = pixels.div_ceil(most_pixels::<S, V>()).max(1);
        Self { pixels, count, size: pixels / count, larger: pixels % count }
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.count
    }

    /// The tiles.
    #[inline(always)]
    pub fn tiles(self) -> impl Iterator<Item = Range<usize>> {
        let (mut tile, mut pixel) = (0, 0);
        std::iter::from_fn(move || {
            let pixels = pixel..(pixel + self.size + usize::from(tile < self.larger)).min(self.pixels);
            (tile, pixel) = (tile + 1, pixels.end);
            (!pixels.is_empty()).then_some(pixels)
        })
    }
}

/// Weights to be read next, which tiles ask for while they compute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    /// The first line that nobody has asked for.
    at: *const f32,
    /// Lines a step, such as a k-block, asks for.
    lines: usize,
}

impl Ahead {
    /// So many lines from here on, asked for in so many steps.
    pub fn of(at: *const f32, lines: usize, steps: usize) -> Self {
        Self { at, lines: lines.div_ceil(steps.max(1)) }
    }

    /// What one step asks for.
    #[inline(always)]
    pub fn ask<S: Simd>(&mut self, s: S) {
        for _ in 0..self.lines {
            s.prefetch(self.at);
            self.at = self.at.wrapping_add(LINE);
        }
    }
}

/// What the k-blocks of one chain are for every tile.
pub(super) struct Chain<'a> {
    /// From a pixel's first source float to its k-blocks.
    pub offsets: &'a [isize],
    /// Their weights.
    pub weights: *const f32,
    /// Floats of weights from one k-block to the next.
    pub step: usize,
    /// The totals begin with eight floats a vector from here; else with what they hold already.
    pub bias: Option<*const f32>,
    /// Every lane sees its own lane of the source only, and a k-block is one vector of weights.
    pub lanewise: bool,
    /// Pixels lie side by side, mostly, so that each tile asks for the next one's.
    pub neighbours: bool,
}

impl Chain<'_> {
    /// Adds the chain to the totals of some pixels, `[pixel][V][8]`, and asks for some of the lines ahead.
    ///
    /// # Safety
    /// For every pixel and offset eight floats are readable at `from + offset`, for every k-block of the chain `weights`
    /// holds its floats (`V * LANES * LANES`, or `LANES` if lanewise), `bias` has `V * LANES`, and `totals` has
    /// `pixels * V * LANES`. One, two or four vectors; at most [`most_pixels`].
    #[inline(always)]
    pub unsafe fn tile<S: Simd, const V: usize>(
        &self,
        s: S,
        from: impl Fn(usize) -> *const f32,
        pixels: usize,
        totals: *mut f32,
        ahead: &mut Ahead,
    ) {
        // SAFETY: the function's own promise.
        unsafe {
            match pixels {
                1 => self.sums::<S, V, 1>(s, from, totals, ahead),
                2 => self.sums::<S, V, 2>(s, from, totals, ahead),
                3 => self.sums::<S, V, 3>(s, from, totals, ahead),
                4 => self.sums::<S, V, 4>(s, from, totals, ahead),
                5 => self.sums::<S, V, 5>(s, from, totals, ahead),
                6 => self.sums::<S, V, 6>(s, from, totals, ahead),
                7 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 7>(s, from, totals, ahead),
                8 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 8>(s, from, totals, ahead),
                9 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 9>(s, from, totals, ahead),
                10 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 10>(s, from, totals, ahead),
                11 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 11>(s, from, totals, ahead),
                12 if most_pixels::<S, V>() > 6 => self.sums::<S, V, 12>(s, from, totals, ahead),
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
        ahead: &mut Ahead,
    ) {
        // A loop and no `from_fn`, which the compiler may call: the places would then stay in memory.
        let mut px = [std::ptr::null(); P];
        for p in 0..P {
            px[p] = from(p);
        }
        // SAFETY: the promise of `tile`.
        unsafe {
            match V {
                1 => self.single(s, &px, totals, ahead),
                2 => self.paired::<S, P, 1>(s, &px, totals, ahead),
                _ => self.paired::<S, P, 2>(s, &px, totals, ahead),
            }
        }
    }

    /// Sums of one vector for every pixel.
    #[inline(always)]
    unsafe fn single<S: Simd, const P: usize>(&self, s: S, px: &[*const f32; P], totals: *mut f32, ahead: &mut Ahead) {
        // SAFETY: the promise of `tile`.
        unsafe {
            let mut sums = match self.bias {
                Some(bias) => [s.load(bias); P],
                None => [s.splat(0.0); P],
            };
            if self.lanewise {
                self.lanes(s, px, &mut sums);
            } else {
                self.blocks(s, px, &mut sums, ahead);
            }
            for p in 0..P {
                let to = totals.add(p * LANES);
                s.store(if self.bias.is_some() { sums[p] } else { s.add(s.load(to), sums[p]) }, to);
            }
        }
    }

    /// Sums of `R` pairs of vectors for every pixel.
    #[inline(always)]
    unsafe fn paired<S: Simd, const P: usize, const R: usize>(
        &self,
        s: S,
        px: &[*const f32; P],
        totals: *mut f32,
        ahead: &mut Ahead,
    ) {
        // SAFETY: the promise of `tile`.
        unsafe {
            let mut sums = [[s.splat_pair(0.0); R]; P];
            if let Some(bias) = self.bias {
                for r in 0..R {
                    let bias = s.load_pair(bias.add(2 * r * LANES));
                    for p in 0..P {
                        sums[p][r] = bias;
                    }
                }
            }
            let (first, last) = (px[0], px[P - 1]);
            if P == S::PIXELS && last == first.wrapping_add((P - 1) * LANES) {
                // Pixels side by side need one register, not one each, which the others would have to be loaded into again for
                // every k-block.
                self.pairs_of_blocks::<S, P, R>(s, |p| first.wrapping_add(p * LANES), &mut sums, ahead);
            } else {
                self.pairs_of_blocks::<S, P, R>(s, |p| px[p], &mut sums, ahead);
            }
            for p in 0..P {
                for r in 0..R {
                    let (sum, to) = (sums[p][r], totals.add(2 * (p * R + r) * LANES));
                    s.store_pair(if self.bias.is_some() { sum } else { s.add_pair(s.load_pair(to), sum) }, to);
                }
            }
        }
    }

    /// Eight source channels a k-block, each times a vector of weights.
    #[inline(always)]
    unsafe fn blocks<S: Simd, const P: usize>(
        &self,
        s: S,
        px: &[*const f32; P],
        sums: &mut [S::V; P],
        ahead: &mut Ahead,
    ) {
        let mut w = self.weights;
        // Beside more than eight sums, sixteen registers do not hold the weights of all lanes. The compiler would load them at
        // once, fence or not, if it could unroll; tiles of twelve it does not unroll.
        let lanes = if S::VECTORS == 2 && P > LANES && P < SUMS { black_box(LANES) } else { LANES };
        for &offset in self.offsets {
            for lane in 0..lanes {
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
            ahead.ask(s);
            w = w.wrapping_add(self.step);
        }
    }

    /// Eight source channels a k-block, each times `R` pairs of vectors of weights.
    #[inline(always)]
    unsafe fn pairs_of_blocks<S: Simd, const P: usize, const R: usize>(
        &self,
        s: S,
        px: impl Fn(usize) -> *const f32,
        sums: &mut [[S::Pair; R]; P],
        ahead: &mut Ahead,
    ) {
        let mut w = self.weights;
        // With thirty-two registers the compiler would load the weights of all lanes at once, fence or not, if it could unroll.
        let lanes = if S::VECTORS > 2 { black_box(LANES) } else { LANES };
        for &offset in self.offsets {
            for lane in 0..lanes {
                // SAFETY: the promise of `tile`.
                unsafe {
                    let mut weights = [s.splat_pair(0.0); R];
                    for r in 0..R {
                        weights[r] = s.load_pair(w.add(2 * (lane * R + r) * LANES));
                    }
                    for p in 0..P {
                        let x = s.broadcast_pair(px(p).offset(offset + lane as isize));
                        for r in 0..R {
                            sums[p][r] = s.fma_pair(weights[r], x, sums[p][r]);
                        }
                    }
                }
                // As above.
                compiler_fence(Ordering::SeqCst);
            }
            ahead.ask(s);
            if self.neighbours {
                for line in 0..(P * LANES).div_ceil(LINE) {
                    s.prefetch_near(px(0).wrapping_offset(offset).wrapping_add(P * LANES + line * LINE));
                }
            }
            w = w.wrapping_add(self.step);
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
            w = w.wrapping_add(self.step);
        }
    }
}
