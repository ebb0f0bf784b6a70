//! Convolutions whose factors are rounded to bfloat16 and whose products are summed in single precision, in the processor's tiles: what
//! is called mixed precision (Micikevicius et al., arXiv:1710.03740; Kalamkar et al., arXiv:1905.12322).
//!
//! All else stays in single precision: what is read and written, weights, statistics, updates. bfloat16 has the exponents of single
//! precision, so that no loss need be scaled. A source is rounded as it is copied with its padding ([`source`]), so that a tap is an
//! offset, and pixels of neighbouring rows and images share a tile; the sums of what lies between rows are not used. Not here: which
//! convolutions are computed so, which is the caller's choice.

mod run;
pub(super) mod source;
pub(super) mod tiles;
mod weights;

use std::ops::Range;

use super::ConvShape;
use crate::{Isa, LANES, Planes};
use source::Grid;
use tiles::SIDE;

pub use tiles::TileUnit;
pub use weights::TileWeights;

/// Largest kernel, along each axis.
const MOST_TAPS: usize = 7;

/// Blocks of a row or column of a tile.
pub(super) const GROUP: usize = SIDE / LANES;

/// Pixels that are computed together, about: enough for the weights to be read seldom, few enough for the second-level cache.
const PIXELS: usize = 640;

/// A convolution in tiles between values at fixed places; see the module.
#[derive(Debug)]
pub struct TileConv {
    isa: Isa,
    unit: TileUnit,
    source: Planes,
    target: Planes,
    grid: Grid,
    accumulate: bool,
    /// The weight's inputs are the target's channels.
    transposed: bool,
    /// Where the rows of every tap and group of source blocks begin in the rounded source, in bytes.
    steps: Vec<usize>,
    /// For every place of a unit of work the image and the float of its pixel, if it has one.
    places: Vec<Option<(u32, u32)>>,
    end: usize,
}

/// Whether a convolution of this form between these values can be computed in tiles: of stride 1, without groups, and of whole blocks.
pub(super) fn fits(shape: &ConvShape, values: [&Planes; 2]) -> bool {
    let window = shape.window;
    let small = |axis: usize| window.kernel[axis] <= MOST_TAPS && window.padding[axis] < window.kernel[axis];
    let is_whole = |planes: &Planes| !planes.blocks().is_empty() && planes.blocks().iter().all(|b| b.count == LANES);
    let size = |planes: &Planes| [planes.height(), planes.width()];
    let [input, output] = values.map(size);
    let ends_alike = |axis: usize| {
        output[axis] + window.kernel[axis] == input[axis] + 2 * window.padding[axis] + 1 && output[axis] > 0
    };
    shape.groups == 1
        && window.stride == [1, 1]
        && window.dilation == [1, 1]
        && (0..2).all(|axis| small(axis) && ends_alike(axis))
        && values.into_iter().all(is_whole)
}

impl TileConv {
    /// Whether `output = W * input + bias` can be computed so.
    pub fn fits(shape: &ConvShape, input: &Planes, output: &Planes) -> bool {
        fits(shape, [input, output])
    }

    /// `output = W * input + bias`.
    ///
    /// # Panics
    /// If it does not fit, the values overlap, or the machine lacks the unit or the instruction set.
    pub fn forward(isa: Isa, unit: TileUnit, shape: ConvShape, input: &Planes, output: &Planes) -> Self {
        assert!(Self::fits(&shape, input, output), "no convolution in tiles for {shape:?}");
        Self::over(isa, unit, shape.window.kernel, shape.window.padding, input, output)
    }

    /// `d_input = W^T d_output`, or added to what is there.
    ///
    /// # Panics
    /// As [`TileConv::forward`].
    pub fn backward_data(
        isa: Isa,
        unit: TileUnit,
        shape: ConvShape,
        d_output: &Planes,
        d_input: &Planes,
        accumulate: bool,
    ) -> Self {
        assert!(Self::fits(&shape, d_input, d_output), "no convolution in tiles for {shape:?}");
        let kernel = shape.window.kernel;
        let padding = [0, 1].map(|axis| kernel[axis] - 1 - shape.window.padding[axis]);
        Self { accumulate, transposed: true, ..Self::over(isa, unit, kernel, padding, d_output, d_input) }
    }

    fn over(
        isa: Isa,
        unit: TileUnit,
        kernel: [usize; 2],
        padding: [usize; 2],
        source: &Planes,
        target: &Planes,
    ) -> Self {
        assert!(isa.is_available() && unit.is_available(), "{isa} and {} on a machine without it", unit.name());
        assert!(source.is_apart_from(target) && target.is_disjoint(), "a convolution cannot overwrite its input");
        let grid = Grid::new(kernel, padding, source, target, PIXELS);
        let groups = source.blocks().len().div_ceil(GROUP);
        let taps = grid.taps().collect::<Vec<_>>();
        let steps = taps.into_iter().flat_map(|tap| (0..groups).map(move |group| (group, tap)));
        Self {
            isa,
            unit,
            source: source.clone(),
            target: target.clone(),
            accumulate: false,
            transposed: false,
            steps: steps.map(|(group, tap)| (group * grid.room() + tap) * SIDE * size_of::<u16>()).collect(),
            places: grid.places(),
            grid,
            end: source.end().max(target.end()),
        }
    }

    /// What runs, for tables.
    pub fn name(&self) -> String {
        let [h, w] = self.grid.kernel;
        let way = if self.transposed { "backward data" } else { "conv" };
        format!("{way} {h}x{w}, bfloat16, {}", self.unit.name())
    }

    /// Floats of scratch each thread needs.
    pub fn scratch_len(&self) -> usize {
        self.source_groups() * self.grid.room() * SIDE / 2
    }

    /// Groups of source blocks.
    fn source_groups(&self) -> usize {
        self.source.blocks().len().div_ceil(GROUP)
    }

    /// Groups of target blocks.
    fn target_groups(&self) -> usize {
        self.target.blocks().len().div_ceil(GROUP)
    }

    /// The blocks of a group of the target.
    fn blocks(&self, group: usize) -> Range<usize> {
        group * GROUP..((group + 1) * GROUP).min(self.target.blocks().len())
    }
}
