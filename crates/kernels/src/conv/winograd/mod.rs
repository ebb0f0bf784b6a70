//! Winograd's convolution: 3x3 windows in fewer multiplications.
//!
//! The output is cut into square tiles. A tile of `M x M` outputs sees a window of `N x N` inputs, and
//! `Y = A^T [(G g G^T) * (B^T d B)] A` (Lavin and Gray, arXiv:1509.09308) gives it with one product a *point*, `N * N` of
//! them, instead of nine an output. Summed over the channels, each point is a matrix product of its own: tiles times input
//! channels times output channels. So there are three stages: windows and weights to points ([`input`], [`filter`]), products
//! ([`product`], in the register tiles of the direct convolution), points to outputs ([`output`]). What the transforms are is said in
//! [`scheme`] and, for stride 2, in [`polyphase`], where their numbers come from in [`toom_cook`], and for which layers all
//! this is worth it in [`choice`].
//!
//! The gradient of the input of a convolution with stride 1 is such a convolution, of the output's gradient with the taps in
//! reverse. Not here: convolutions with a prologue, groups, dilation or other windows; the gradient of the weight.

mod choice;
mod filter;
mod input;
mod output;
mod polyphase;
mod product;
mod run;
pub(super) mod scheme;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toom_cook;
mod weights;

use std::ops::Range;

use super::ground::InBand;
use super::{ConvShape, Fusion, Residual};
use crate::memory::MOST_FLOATS;
use crate::{Activation, Isa, LANES, Planes};
use scheme::Scheme;

pub use weights::WinogradWeights;

/// How many outputs are computed together, for which stride.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WinogradTile {
    /// F(2x2, 3x3): 16 products for 4 outputs, 2.25 times fewer than directly.
    F2,
    /// F(4x4, 3x3): 36 products for 16 outputs, 4 times fewer.
    F4,
    /// 2x2 outputs of stride 2: 25 products for 4 outputs, 1.44 times fewer.
    F2Strided,
    /// 4x4 outputs of stride 2: 81 products for 16 outputs, 1.78 times fewer.
    F4Strided,
}

impl WinogradTile {
    /// The tiles for a stride, the smaller first; none for strides above 2.
    pub fn of_stride(stride: usize) -> &'static [Self] {
        match stride {
            1 => &[Self::F2, Self::F4],
            2 => &[Self::F2Strided, Self::F4Strided],
            _ => &[],
        }
    }

    /// Outputs along each side of a tile.
    pub fn outputs(self) -> usize {
        match self {
            Self::F2 | Self::F2Strided => 2,
            Self::F4 | Self::F4Strided => 4,
        }
    }

    /// Inputs from one output to the next, along either axis.
    pub fn stride(self) -> usize {
        match self {
            Self::F2 | Self::F4 => 1,
            Self::F2Strided | Self::F4Strided => 2,
        }
    }

    /// Inputs along an axis that so many neighbouring tiles see.
    pub(super) fn inputs(self, tiles: usize) -> usize {
        (tiles * self.outputs() - 1) * self.stride() + TAPS
    }

    /// Points along an axis whose weights differ.
    fn distinct(self) -> usize {
        match self {
            Self::F2 => scheme::F2::DISTINCT,
            Self::F4 => scheme::F4::DISTINCT,
            Self::F2Strided => polyphase::F2Strided::DISTINCT,
            Self::F4Strided => polyphase::F4Strided::DISTINCT,
        }
    }

    /// Products a tile takes for every pair of channels: as many as it has inputs.
    pub fn points(self) -> usize {
        self.inputs(1).pow(2)
    }
}

/// Taps along each side of the kernel.
pub(super) const TAPS: usize = 3;

/// Source blocks summed in one go, half of a direct convolution's: the points of their weights stay in the second-level cache.
const CHAIN: usize = 8;

/// Floats of a pair of target blocks: products are made for pairs, of which the last may have one block only.
const PAIR: usize = 2 * LANES;

/// Blocks of the target whose products are made before their outputs, two pairs: tiles in the points' form are read once for
/// all of them.
const GROUP: usize = 4;

/// A convolution by Winograd's method between values at fixed places; see the module.
#[derive(Debug)]
pub struct Winograd {
    pub(super) isa: Isa,
    pub(super) tile: WinogradTile,
    pub(super) padding: [usize; 2],
    pub(super) source: Planes,
    pub(super) target: Planes,
    pub(super) fusion: Fusion,
    /// The weight's inputs are the target's channels.
    transposed: bool,
    /// Rows and columns of tiles of one image.
    tiles: [usize; 2],
    /// From a tile's first float at a point to its k-blocks.
    offsets: Vec<isize>,
    end: usize,
    pub(super) in_band: InBand,
}

impl Winograd {
    /// `output = act(W * input + bias)` with a residual.
    ///
    /// # Panics
    /// If the window is not 3x3 with the tile's stride, without dilation and groups, or there is a prologue, or no channel;
    /// else as [`super::Conv::forward`].
    pub fn new(
        isa: Isa,
        tile: WinogradTile,
        shape: ConvShape,
        input: &Planes,
        output: &Planes,
        fusion: Fusion,
    ) -> Self {
        assert!(isa.is_available(), "{isa} kernels on a machine without it");
        let possible = choice::is_possible(&shape) && shape.window.stride[0] == tile.stride();
        let possible = possible && fusion.prologue.is_none();
        assert!(possible, "no Winograd's convolution for {shape:?} with {fusion:?}");
        shape.window.check([output.height(), output.width()]);
        Self::over(isa, tile, shape.window.padding, input, output, fusion)
    }

    /// The gradient of the input: `d_input = W^T d_output`, or added to what is there.
    ///
    /// # Panics
    /// If there is padding beyond the taps or the stride is not 1; else as
    /// [`Winograd::new`].
    pub fn backward_data(
        isa: Isa,
        tile: WinogradTile,
        shape: ConvShape,
        d_output: &Planes,
        d_input: &Planes,
        accumulate: bool,
    ) -> Self {
        assert!(isa.is_available(), "{isa} kernels on a machine without it");
        assert!(choice::is_possible_backward(&shape) && tile.stride() == 1, "no Winograd's convolution for {shape:?}");
        shape.window.check([d_output.height(), d_output.width()]);
        let padding = shape.window.padding.map(|padding| TAPS - 1 - padding);
        let sum = |planes: &Planes| Residual::BeforeActivation(planes.clone());
        let residual = if accumulate { sum(d_input) } else { Residual::None };
        let fusion = Fusion { prologue: None, activation: Activation::Identity, residual };
        Self { transposed: true, ..Self::over(isa, tile, padding, d_output, d_input, fusion) }
    }

    fn over(
        isa: Isa,
        tile: WinogradTile,
        padding: [usize; 2],
        input: &Planes,
        output: &Planes,
        fusion: Fusion,
    ) -> Self {
        assert!(input.is_apart_from(output) && output.is_disjoint(), "a convolution cannot overwrite its input");
        let pairs = input.blocks().len().checked_mul(output.blocks().len());
        assert!(pairs != Some(0), "a convolution of no channels");
        let fits = pairs.is_some_and(|pairs| pairs <= MOST_FLOATS / (2 * tile.points() * LANES * LANES));
        assert!(fits, "weights beyond any memory");
        let mut winograd = Self {
            isa,
            tile,
            padding,
            source: input.clone(),
            target: output.clone(),
            tiles: [output.height(), output.width()].map(|n| n.div_ceil(tile.outputs())),
            offsets: Vec::new(),
            end: input.end().max(output.end()).max(fusion.residual.check(output)),
            fusion,
            transposed: false,
            in_band: InBand::default(),
        };
        let block_len = winograd.block_len();
        winograd.offsets.extend((0..input.blocks().len()).map(|b| (b * block_len) as isize));
        winograd
    }

    /// Tiles of one image.
    fn tiles_of_an_image(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// The rows of tiles that some rows of the target lie in.
    pub(super) fn rows_of_tiles(&self, rows: Range<usize>) -> Range<usize> {
        rows.start / self.tile.outputs()..rows.end.div_ceil(self.tile.outputs())
    }

    /// What runs, for tables.
    pub fn name(&self) -> String {
        let m = self.tile.outputs();
        let stride = if self.tile.stride() == 1 { "" } else { " stride 2" };
        let way = if self.transposed { "backward data, " } else { "" };
        format!("{way}winograd {m}x{m} 3x3{stride}, {}", self.isa)
    }
}

/// So many floats rounded up to an odd number of cache lines, so that neighbours do not compete for the same sets of the
/// cache.
pub(super) fn odd_lines(floats: usize) -> usize {
    (floats.div_ceil(2 * LANES) | 1) * 2 * LANES
}
