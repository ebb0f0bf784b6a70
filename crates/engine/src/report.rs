//! What a plan has decided, for tables and for people.

use cspnet_graph::Shape;

use crate::rewrites::Saving;

/// A step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReport {
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
