//! The innermost loop: some pixels times some vectors of output channels, summed over k-blocks in registers.

use std::sync::atomic::{Ordering, compiler_fence};

use crate::LANES;
use crate::simd::Simd;

/// Pixels of a full tile. With two vectors of channels that is twelve sums in registers, which a core with two
/// multiply-add pipes of five cycles' latency needs to be busy.
pub(super) const PIXELS: usize = 6;

/// K-blocks summed in one go. Their sum is then added to the total: two levels keep long sums exact enough.
const CHAIN: usize = 16;

/// Adds to `totals[v][p]` the k-blocks at `offsets` from the pixels `px`, chain after chain.
///
/// # Safety
/// As [`chain`].
#[inline(always)]
pub(super) unsafe fn accumulate<S: Simd, const V: usize, const P: usize>(
    s: S,
    px: &[*const f32; P],
    offsets: &[isize],
    weights: *const f32,
    totals: &mut [[S::V; P]; V],
) {
    let (first, rest) = offsets.split_at(offsets.len().min(CHAIN));
    // SAFETY: these are k-blocks and weights of the caller's, here and below.
    unsafe { chain(s, px, first, weights, totals) };
    for (i, offsets) in rest.chunks(CHAIN).enumerate() {
        let weights = weights.wrapping_add((i + 1) * CHAIN * LANES * V * LANES);
        let mut sums = [[s.splat(0.0); P]; V];
        unsafe { chain(s, px, offsets, weights, &mut sums) };
        for v in 0..V {
            for p in 0..P {
                totals[v][p] = s.add(totals[v][p], sums[v][p]);
            }
        }
    }
}

/// Adds to `sums[v][p]` the k-blocks at `offsets` from the pixels `px`, eight source channels each.
///
/// # Safety
/// For every pixel and offset eight floats are readable at `px[p] + offset`, and `weights` holds
/// `offsets.len() * LANES * V * LANES` floats.
#[inline(always)]
unsafe fn chain<S: Simd, const V: usize, const P: usize>(
    s: S,
    px: &[*const f32; P],
    offsets: &[isize],
    weights: *const f32,
    sums: &mut [[S::V; P]; V],
) {
    let mut w = weights;
    for &offset in offsets {
        for lane in 0..LANES {
            // SAFETY: the caller promises the floats of every k-block and its weights.
            unsafe {
                let wv: [S::V; V] = std::array::from_fn(|v| s.load(w.add((lane * V + v) * LANES)));
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
