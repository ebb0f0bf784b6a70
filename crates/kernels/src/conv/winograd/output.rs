//! The third stage: points to outputs, and what is fused behind the convolution.

use std::ops::Range;

use super::Winograd;
use super::input::Run;
use super::scheme::Scheme;
use crate::activation::with_activation;
use crate::conv::epilogue::Outlet;
use crate::simd::Simd;
use crate::simd::lanes::Two;
use crate::{Activation, LANES};

/// The sums of a pair of target blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct PairSums {
    /// Those of a run's first tile.
    pub start: *const f32,
    /// Floats from one tile to the next.
    pub tile_len: usize,
    /// Floats from one point to the next.
    pub point_len: usize,
}

/// Finishes a run of tiles of one or two target blocks; `bias` has eight floats for each.
///
/// # Safety
/// `image` points at the image's share, which holds target and residuals; nobody else touches these pixels of the blocks,
/// and `sums` are readable.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd, F: Scheme<M, N>, const M: usize, const N: usize>(
    s: S,
    winograd: &Winograd,
    run: &Run,
    blocks: Range<usize>,
    bias: &[f32],
    image: *mut f32,
    sums: PairSums,
) {
    let (height, width) = (winograd.target.height(), winograd.target.width());
    let [row, column] = run.place.map(|n| n * M);
    let first = (row * width + column) * LANES;
    let outlet = |block| Outlet::of(&winograd.target, &winograd.fusion.residual, block, first, image);
    let outlets = [outlet(blocks.start), outlet(blocks.end - 1)];
    let bias = [&bias[..LANES], &bias[bias.len() - LANES..]];
    let outputs = Outputs {
        outlets,
        bias,
        alone: blocks.len() == 1,
        rows: height - row,
        columns: width - column,
        row_len: width * LANES,
    };
    // SAFETY: the function's own promise; tiles begin inside the target and outputs end where it does.
    unsafe { with_activation!(winograd.fusion.activation, f => outputs.tiles::<S, F, M, N>(s, f, run.tiles, sums)) }
}

/// Where a run's outputs go, and how many rows and columns of the target there are from its first on.
struct Outputs<'a> {
    outlets: [Outlet; 2],
    bias: [&'a [f32]; 2],
    /// There is no second block.
    alone: bool,
    rows: usize,
    columns: usize,
    row_len: usize,
}

impl Outputs<'_> {
    /// # Safety
    /// As [`finish`].
    #[inline(always)]
    unsafe fn tiles<S: Simd, F: Scheme<M, N>, const M: usize, const N: usize>(
        &self,
        s: S,
        activation: Activation,
        tiles: usize,
        sums: PairSums,
    ) {
        for tile in 0..tiles {
            let sums = PairSums { start: sums.start.wrapping_add(tile * sums.tile_len), ..sums };
            // SAFETY: the function's own promise.
            unsafe { self.tile::<S, F, M, N>(s, activation, tile * M, sums) };
        }
    }

    /// The tile whose outputs begin at a column of the run.
    ///
    /// # Safety
    /// As [`finish`].
    #[inline(always)]
    unsafe fn tile<S: Simd, F: Scheme<M, N>, const M: usize, const N: usize>(
        &self,
        s: S,
        activation: Activation,
        column: usize,
        sums: PairSums,
    ) {
        // SAFETY: the function's own promise; every bias is eight floats.
        unsafe {
            let bias = self.bias.map(|bias| bias.as_ptr());
            let mut rows = [[s.splat_pair(0.0); N]; M];
            for j in 0..N {
                let mut m = [s.splat_pair(0.0); N];
                for i in 0..N {
                    m[i] = s.load_pair(sums.start.add((i * N + j) * sums.point_len));
                }
                let m = F::output(Two(s), m);
                for i in 0..M {
                    rows[i][j] = m[i];
                }
            }
            for i in 0..M.min(self.rows) {
                let y = F::output(Two(s), rows[i]);
                for j in 0..M {
                    if column + j < self.columns {
                        let at = i * self.row_len + (column + j) * LANES;
                        let [first, second] = s.halves(y[j]);
                        self.outlets[0].put(s, activation, s.add(first, s.load(bias[0])), at);
                        if !self.alone {
                            self.outlets[1].put(s, activation, s.add(second, s.load(bias[1])), at);
                        }
                    }
                }
            }
        }
    }
}
