//! Exact rewrites: graph and weights to another graph and its weights that compute the same function.
//!
//! Each is one function with a one-line proof, and leaves the network's outputs as they are; what it saves is read off
//! [`crate::analysis`] and the plan. Numbers R1 to R17 are those of `docs/performance.md`. Not here: fusions that only the plan can
//! express (an activation in a convolution's epilogue).

mod chain;
mod constant;
mod copying;
mod cut;
mod drops;
mod ends;
mod fold;
mod linear;
mod merge;
mod pool;
mod stack;
mod threshold;

pub use chain::merge_chain;
pub use constant::norm_constants;
pub use cut::{Part, cut};
pub use drops::{with_drop_path, with_dropout, with_layer_dropout};
pub use ends::{with_loss, with_normalise, with_normalise_of};
pub use fold::fold_batch_norm;
pub use merge::merge_linear_pair;
pub use pool::{max_first, pool_first};
pub use stack::stack_pointwise;
pub use threshold::{Threshold, threshold};

use crate::graph::{Graph, ValueId};
use crate::lazy::LazyWeights;
use crate::op::{Op, Window};

/// The values that a rewrite leaves as they are: those that its caller wants to see, and the network's outputs.
fn kept_with_outputs(graph: &Graph, kept: &[ValueId]) -> Vec<ValueId> {
    kept.iter().copied().chain(graph.outputs().iter().map(|o| o.value)).collect()
}

/// What a rewrite gives.
#[derive(Clone)]
pub struct Rewritten<'a> {
    /// The other graph.
    pub graph: Graph,
    /// Its weights.
    pub weights: LazyWeights<'a>,
    /// In how many places it differs.
    pub times: usize,
}

/// The weight and the bias of a convolution that mixes the channels of each pixel by itself: 1 x 1, without stride, padding or
/// groups.
fn is_pointwise(graph: &Graph, id: ValueId) -> bool {
    matches!(graph.node(id).op, Op::Conv { window, groups: 1, .. } if window == Window::square(1, 1, 0))
}
