//! A convolutional network as a value.
//!
//! A [`Graph`] is a list of a few kinds of operation ([`Op`]). It is described once, with a [`Builder`] and the
//! [`blocks`] of the field (dense block, cross-stage-partial stage, residual unit), and then counted ([`analysis`]), rewritten
//! ([`rewrite`]), run, differentiated, stored and exported. It has no batch and no spatial size: [`Graph::shapes`] takes
//! `[c, h, w]` and gives every value's. Its numbers live apart from it, in [`Weights`].
//!
//! Not here: feature maps and everything that computes them.
//!
//! ```
//! use cspnet_graph::{Builder, Conv, Unary};
//!
//! let mut b = Builder::new();
//! let x = b.input(3);
//! let x = b.conv("conv", x, Conv::new(16, 3).stride(2));
//! let x = b.batch_norm("norm", x);
//! let x = b.unary("relu", x, Unary::Relu);
//! let x = b.global_avg_pool("pool", x);
//! let x = b.linear("classifier", x, 10);
//! let graph = b.finish(x)?;
//! assert_eq!(graph.shapes([3, 32, 32])?.last(), Some(&[10, 1, 1]));
//! assert_eq!(graph.param_count(), 3 * 16 * 9 + 2 * 16 + 16 * 10 + 10);
//! # Ok::<(), cspnet_graph::GraphError>(())
//! ```
#![forbid(unsafe_code)]

pub mod analysis;
pub mod blocks;
mod builder;
mod error;
mod graph;
pub mod init;
mod lazy;
mod op;
mod param;
pub mod rewrite;
mod stages;
mod weights;

pub use builder::{Builder, Conv, Value};
pub use error::GraphError;
pub use graph::{Graph, InputShapes, Node, Output, ValueId};
pub use lazy::{LazyTensor, LazyWeights, Pieces, ReadError};
pub use op::{
    Axis, Binary, Coordinates, Crop, DropUnit, Fill, Filter, Op, Pad, Padding, PoolKind, Rearrange, Reduction, Resize,
    ResizeTo, Rounding, Shape, Unary, Window,
};
pub use param::{Init, Param, ParamId, Role};
pub use stages::{stages, stages_of_params};
pub use weights::{Weights, WeightsError};
