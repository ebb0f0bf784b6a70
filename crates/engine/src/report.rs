//! What a plan has decided, for tables and for people.

use cspnet_graph::Shape;

use crate::rewrites::Saving;

/// What a step of a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// From pictures to the answer: all that a plan for inference does.
    Forward,
    /// Mean and variance of what several normalisations read.
    Statistics,
    /// From the loss towards the pictures.
    Backward,
    /// To the gradient of a convolution's input.
    BackwardData,
    /// To the gradient of a convolution's weight.
    BackwardWeight,
}

impl Pass {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Statistics => "statistics",
            Self::Backward => "backward",
            Self::BackwardData => "backward data",
            Self::BackwardWeight => "backward weight",
        }
    }
}

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReport {
    /// What it is for.
    pub pass: Pass,
    /// Paths of the nodes computed together, in order.
    pub nodes: Vec<String>,
    /// The kernel that does it.
    pub kernel: String,
    /// Shape of the value it gives.
    pub shape: Shape,
}

/// What a plan has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its steps in the order in which they run.
    pub steps: Vec<StepReport>,
    /// The rewrites that were applied, and what each has saved.
    pub rewrites: Vec<Saving>,
    /// Bytes of the packed weights.
    pub weight_bytes: usize,
    /// Bytes of the arena for one image: the most that is alive at once.
    pub activation_bytes: usize,
    /// Bytes that concatenations and splits copy for one image.
    pub copied_bytes: usize,
}
