//! The arithmetic of convolutional networks on an ordinary CPU: convolution, pooling, normalisation, activation, loss and
//! the optimiser's steps, forward and backward, over activations laid out as `NCHW8c`.
//!
//! This is the only crate of the workspace with `unsafe` code. It knows tiles and planes; it does not know graphs, and it
//! does not decide where a value lies: callers hand it [`Planes`], kernels check them once when they are made.
//!
//! # The layout
//!
//! Channels are stored in blocks of [`LANES`] = 8. One block of one image is a *plane*: `height * width` pixels in row-major
//! order, each of 8 consecutive floats. Where the blocks of a value lie is a list, [`Planes`], so a value may be spread
//! over several buffers: concatenating values concatenates their lists, splitting one takes a part of its list, and no
//! float moves. A block may hold fewer than 8 channels; its remaining *pad lanes* are finite and every consumer multiplies
//! them by zero.
//!
//! # Sharing work
//!
//! A kernel's `run` takes the [`Memory`] exclusively and a [`Team`] of threads. It cuts its work into parts by the
//! layer's shape alone, each output element belongs to one part, and each sum has one order: the bits of the result depend
//! neither on the number of threads nor on the batch.

#![allow(clippy::needless_range_loop, reason = "tiles of registers are indexed by channel and pixel")]

mod activation;
mod bfloat16;
mod combine;
mod conv;
pub mod cpu;
mod dropout;
mod function;
mod gather;
mod lines;
mod loss;
mod matrix;
mod memory;
mod moments;
mod muon;
mod norm;
mod norm_shared;
mod pages;
mod planes;
mod pointwise;
mod pool;
mod pool_affine;
pub mod probe;
mod product;
mod product_sum;
mod resample;
mod share;
mod simd;
mod sums;
mod team;
mod transfer;
mod update;
mod window;

pub use activation::Activation;
pub use combine::{Combine, Operation};
pub use conv::{
    Bands, Conv, ConvGrad, ConvShape, ConvWeights, First, Fusion, Grouped, GroupedWeights, Numbers, Pictures, Prologue,
    Residual, Second, Stem, StemWeights, TileConv, TileUnit, TileWeights, Winograd, WinogradTile, WinogradWeights,
};
pub use dropout::{DropRule, DropUnit, Dropout};
pub use function::Function;
pub use gather::Gather;
pub use lines::{LineFunction, Lines, Reduction};
pub use loss::SoftmaxCrossEntropy;
pub use memory::{AlignedBuf, Memory};
pub use moments::{ChannelMoments, Moments, Take, Tally};
pub use muon::{MuonScratch, MuonStep, muon_step};
pub use norm::{BatchNorm, BatchNormGrad, BatchStats};
pub use norm_shared::{MomentsGrad, SharedNormGrad};
pub use planes::{Block, LANES, Planes};
pub use pointwise::{Affine, Map, MapGrad, PRelu};
pub use pool::{Pool, PoolGrad, PoolKind};
pub use pool_affine::AffinePool;
pub use product::Product;
pub use product_sum::ProductSum;
pub use resample::Resample;
pub use simd::Isa;
pub use sums::ChannelSum;
pub use team::Team;
pub use transfer::{Clear, Transfer, export_nchw, import_nchw, import_pixels};
pub use update::{AdamWStep, SgdStep, adamw_step, add, average_step, scale, sgd_step, sum_of_squares};
pub use window::Window;
