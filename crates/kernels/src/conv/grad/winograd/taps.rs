//! From the sums at all points to those of the taps.

use super::scheme::Transposed;
use crate::LANES;
use crate::conv::winograd::{TAPS, odd_lines};
use crate::simd::Simd;
use crate::simd::lanes::{Lanes, One, Two};

/// Writes the totals of a panel of so many blocks: for every channel and every tap a vector a block.
///
/// # Safety
/// `sums` has a vector a block for every channel, points an odd number of cache lines apart, and `totals` has room.
#[inline(always)]
pub(super) unsafe fn write<S: Simd, F: Transposed<M, N>, const M: usize, const N: usize>(
    s: S,
    sums: *const f32,
    channels: usize,
    blocks: usize,
    totals: *mut f32,
) {
    // SAFETY: the function's own promise.
    unsafe {
        if blocks == 1 {
            vectors::<One<S>, F, M, N>(One(s), sums, channels, blocks, totals);
        } else {
            vectors::<Two<S>, F, M, N>(Two(s), sums, channels, blocks, totals);
        }
    }
}

/// # Safety
/// As [`write`].
#[inline(always)]
unsafe fn vectors<L: Lanes, F: Transposed<M, N>, const M: usize, const N: usize>(
    l: L,
    sums: *const f32,
    channels: usize,
    blocks: usize,
    totals: *mut f32,
) {
    let point_len = odd_lines(channels * blocks * LANES);
    for channel in 0..channels {
        for block in (0..blocks).step_by(L::VECTORS) {
            let from = sums.wrapping_add((channel * blocks + block) * LANES);
            let to = totals.wrapping_add((channel * TAPS * TAPS * blocks + block) * LANES);
            let mut columns = [[l.splat(0.0); TAPS]; N];
            for j in 0..N {
                let mut points = [l.splat(0.0); N];
                for i in 0..N {
                    // SAFETY: the function's own promise.
                    points[i] = unsafe { l.load(from.add((i * N + j) * point_len)) };
                }
                columns[j] = F::weight(l, points);
            }
            for i in 0..TAPS {
                let mut row = [l.splat(0.0); N];
                for j in 0..N {
                    row[j] = columns[j][i];
                }
                let taps = F::weight(l, row);
                for j in 0..TAPS {
                    // SAFETY: the function's own promise.
                    unsafe { l.store(taps[j], to.add((i * TAPS + j) * blocks * LANES)) };
                }
            }
        }
    }
}
