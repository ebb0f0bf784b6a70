//! The third stage: points to outputs, and what is fused behind the convolution.

use super::Winograd;
use super::input::Run;
use super::scheme::Scheme;
use crate::activation::with_activation;
use crate::conv::epilogue::Outlet;
use crate::simd::Simd;
use crate::{Activation, LANES};

/// The sums of one target block.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockSums {
    /// Those of a run's first tile.
    pub start: *const f32,
    /// Floats from one tile to the next.
    pub tile_len: usize,
    /// Floats from one point to the next.
    pub point_len: usize,
    /// Eight floats to add to every output.
    pub bias: *const f32,
}

/// Finishes a run of tiles of one target block.
///
/// # Safety
/// `image` points at the image's share, which holds target and residuals; nobody else touches these pixels of the block,
/// and `sums` and `bias` are readable.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd, F: Scheme<M, N>, const M: usize, const N: usize>(
    s: S,
    winograd: &Winograd,
    run: &Run,
    block: usize,
    image: *mut f32,
    sums: BlockSums,
) {
    let (height, width) = (winograd.target.height(), winograd.target.width());
    let [row, column] = run.place.map(|n| n * M);
    let first = (row * width + column) * LANES;
    let outlet = Outlet::of(&winograd.target, &winograd.fusion.residual, block, first, image);
    let outputs = Outputs { outlet, rows: height - row, columns: width - column, row_len: width * LANES };
    // SAFETY: the function's own promise; tiles begin inside the target and outputs end where it does.
    unsafe { with_activation!(winograd.fusion.activation, f => outputs.tiles::<S, F, M, N>(s, f, run.tiles, sums)) }
}

/// Where a run's outputs go, and how many rows and columns of the target there are from its first on.
struct Outputs {
    outlet: Outlet,
    rows: usize,
    columns: usize,
    row_len: usize,
}

impl Outputs {
    /// # Safety
    /// As [`finish`].
    #[inline(always)]
    unsafe fn tiles<S: Simd, F: Scheme<M, N>, const M: usize, const N: usize>(
        &self,
        s: S,
        activation: Activation,
        tiles: usize,
        sums: BlockSums,
    ) {
        for tile in 0..tiles {
            let sums = BlockSums { start: sums.start.wrapping_add(tile * sums.tile_len), ..sums };
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
        sums: BlockSums,
    ) {
        // SAFETY: the function's own promise.
        unsafe {
            let bias = s.load(sums.bias);
            let mut rows = [[bias; N]; M];
            for j in 0..N {
                let mut m = [bias; N];
                for i in 0..N {
                    m[i] = s.load(sums.start.add((i * N + j) * sums.point_len));
                }
                let m = F::output(s, m);
                for i in 0..M {
                    rows[i][j] = m[i];
                }
            }
            for i in 0..M.min(self.rows) {
                let y = F::output(s, rows[i]);
                for j in 0..M {
                    if column + j < self.columns {
                        let at = i * self.row_len + (column + j) * LANES;
                        self.outlet.put(s, activation, s.add(y[j], bias), at);
                    }
                }
            }
        }
    }
}
