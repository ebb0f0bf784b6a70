//! The products of a step of training that read weights: a convolution, and the gradient of its input, each by the kernel that
//! suits it.
//!
//! Weights change with every step, so they are packed again just before they are read, all into the same memory. Which kernel it is
//! does not depend on the machine ([`crate::plan::ALIKE`]): a run has the same bits wherever it is made. Not here: the gradient of the
//! weight ([`cspnet_kernels::ConvGrad`]).

use cspnet_kernels::{
    Activation, Conv, ConvShape, ConvWeights, Fusion, Grouped, GroupedWeights, Isa, Memory, Planes, Prologue, Residual,
    Take, Team, TileConv, TileUnit, TileWeights, Winograd, WinogradWeights,
};

use crate::plan::ALIKE;

/// A convolution or the gradient of its input.
#[derive(Debug)]
pub(super) enum Convolution {
    Direct(Box<Conv>),
    Winograd(Box<Winograd>),
    Grouped(Box<Grouped>),
    Tiles(Box<TileConv>),
}

/// Memory for the packed weights of one convolution at a time.
#[derive(Debug, Default)]
pub(super) struct Packed {
    direct: ConvWeights,
    winograd: WinogradWeights,
    grouped: GroupedWeights,
    tiles: TileWeights,
}

impl Convolution {
    /// `output = W * input + bias`, where something may happen to the input first. With a unit for it, in tiles of bfloat16 where it fits.
    pub(super) fn forward(
        (isa, unit): (Isa, Option<TileUnit>),
        shape: ConvShape,
        prologue: Option<Prologue>,
        input: &Planes,
        output: &Planes,
    ) -> Self {
        if let Some(unit) = unit.filter(|_| prologue.is_none() && TileConv::fits(&shape, input, output)) {
            return Self::Tiles(Box::new(TileConv::forward(isa, unit, shape, input, output)));
        }
        let fusion = Fusion { prologue, activation: Activation::Identity, residual: Residual::None };
        if let Some(tile) = Winograd::tile_for(ALIKE, &shape, input, output, &fusion) {
            return Self::Winograd(Box::new(Winograd::new(isa, tile, shape, input, output, fusion)));
        }
        if Grouped::fits(&shape, input, output, &fusion) {
            return Self::Grouped(Box::new(Grouped::new(isa, shape, input, output, fusion)));
        }
        Self::Direct(Box::new(Conv::forward(isa, shape, input, output, fusion)))
    }

    /// `d_input = W^T d_output`, or added to what is there.
    pub(super) fn backward_data(
        (isa, unit): (Isa, Option<TileUnit>),
        shape: ConvShape,
        d_output: &Planes,
        d_input: &Planes,
        accumulate: bool,
    ) -> Self {
        if let Some(unit) = unit.filter(|_| TileConv::fits(&shape, d_input, d_output)) {
            let tiles = TileConv::backward_data(isa, unit, shape, d_output, d_input, accumulate);
            return Self::Tiles(Box::new(tiles));
        }
        if let Some(tile) = Winograd::backward_tile_for(ALIKE, &shape, d_output, d_input) {
            let winograd = Winograd::backward_data(isa, tile, shape, d_output, d_input, accumulate);
            return Self::Winograd(Box::new(winograd));
        }
        if Grouped::fits_backward(&shape, d_output, d_input) {
            return Self::Grouped(Box::new(Grouped::backward_data(isa, shape, d_output, d_input, accumulate)));
        }
        Self::Direct(Box::new(Conv::backward_data(isa, shape, d_output, d_input, accumulate)))
    }

    /// Whether it can take the moments of what it writes.
    pub(super) fn takes_moments(&self) -> bool {
        match self {
            Self::Direct(conv) => conv.takes_moments(),
            Self::Winograd(_) | Self::Grouped(_) | Self::Tiles(_) => true,
        }
    }

    pub(super) fn run(
        &self,
        weight: &[f32],
        bias: Option<&[f32]>,
        prologue: Option<(&[f32], &[f32])>,
        (packed, take): (&mut Packed, Option<Take<'_>>),
        memory: &mut Memory,
        team: &mut Team,
    ) {
        match self {
            Self::Direct(conv) => {
                conv.run_unpacked(weight, bias, prologue, (&mut packed.direct, take), memory, team);
            }
            Self::Winograd(winograd) => {
                winograd.run_unpacked(weight, bias, (&mut packed.winograd, take), memory, team);
            }
            Self::Tiles(tiles) => tiles.run_unpacked(weight, bias, (&mut packed.tiles, take), memory, team),
            Self::Grouped(grouped) => {
                grouped.repack(&mut packed.grouped, weight, bias);
                grouped.run_taking(&packed.grouped, take, memory, team);
            }
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Direct(conv) => conv.name(),
            Self::Winograd(winograd) => winograd.name(),
            Self::Grouped(grouped) => grouped.name(),
            Self::Tiles(tiles) => tiles.name(),
        }
    }

    pub(super) fn scratch_len(&self) -> usize {
        match self {
            Self::Direct(conv) => conv.unpacked_scratch_len(),
            Self::Winograd(winograd) => winograd.unpacked_scratch_len(),
            Self::Grouped(grouped) => grouped.scratch_len(),
            Self::Tiles(tiles) => tiles.scratch_len(),
        }
    }
}
