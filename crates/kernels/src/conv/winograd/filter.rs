//! The weights' share of the first stage: taps to points, when and where the products need them.
//!
//! A tile of 4x4 outputs has 36 points for 9 taps. Transformed once and kept, the weights of a late layer would be four times as
//! many bytes to read for every image, and memory is what such a layer waits for; transforming them again each time costs a
//! fraction of that, a plan is ready sooner and holds no second copy. The points of one chain are made at a time, which the
//! second-level cache holds.

use super::scheme::Scheme;
use super::{PAIR, TAPS};
use crate::conv::tile::Ahead;
use crate::simd::Simd;
use crate::simd::lanes::Two;

/// Taps of some source channels and the target blocks of a group: for every channel, every tap and every pair sixteen floats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taps {
    pub start: *const f32,
    pub channels: usize,
}

/// Where the points of a chain lie: for every distinct point, every panel and every source channel the panel's pairs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    pub start: *mut f32,
    /// Floats from one point to the next.
    pub point_len: usize,
    /// Floats from one panel to the next.
    pub panel_len: usize,
    /// Pairs of a panel.
    pub panel: usize,
    /// Pairs of all panels.
    pub pairs: usize,
}

impl Filter {
    /// The first float of a distinct point's panel.
    pub fn panel(&self, point: usize, panel: usize) -> *mut f32 {
        self.start.wrapping_add(point * self.point_len + panel * self.panel_len)
    }
}

/// Makes the distinct points of `G g G^T`, and asks for some of the lines ahead.
///
/// # Safety
/// `taps` are readable, and `to` has room for all points; nobody else touches it.
#[inline(always)]
pub(super) unsafe fn transform<S: Simd, F: Scheme<M, N>, const M: usize, const N: usize>(
    s: S,
    taps: Taps,
    to: Filter,
    ahead: &mut Ahead,
) {
    for channel in 0..taps.channels {
        for pair in 0..to.pairs {
            let from = taps.start.wrapping_add((channel * TAPS * TAPS * to.pairs + pair) * PAIR);
            let first = to.panel(0, pair / to.panel).wrapping_add((channel * to.panel + pair % to.panel) * PAIR);
            ahead.ask(s);
            // SAFETY: the function's own promise.
            unsafe {
                let mut columns = [[s.splat_pair(0.0); N]; TAPS];
                for x in 0..TAPS {
                    let mut taps = [s.splat_pair(0.0); TAPS];
                    for y in 0..TAPS {
                        taps[y] = s.load_pair(from.add((y * TAPS + x) * to.pairs * PAIR));
                    }
                    columns[x] = F::taps(Two(s), taps);
                }
                for i in 0..F::DISTINCT {
                    let points = F::taps(Two(s), [columns[0][i], columns[1][i], columns[2][i]]);
                    for j in 0..F::DISTINCT {
                        s.store_pair(points[j], first.add((i * F::DISTINCT + j) * to.point_len));
                    }
                }
            }
        }
    }
}
