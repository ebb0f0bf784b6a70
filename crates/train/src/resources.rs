//! What a run takes of the machine.

use cspnet_engine::{Isa, PlanError, TrainPlan};
use cspnet_graph::{Graph, Shape};

/// What a run takes of the machine. Its result does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Threads that compute, and as many that load photos.
    pub threads: usize,
    /// How much memory a step may take.
    pub memory: Footprint,
}

/// How much memory a step may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Footprint {
    /// As much as makes it fast.
    #[default]
    Fast,
    /// Less, for some more time: what normalisations and activations give is computed again for the backward pass.
    Low,
}

impl Footprint {
    /// A network that ends in a loss, compiled for training.
    ///
    /// # Errors
    /// If the picture does not fit the network, or it cannot be trained.
    pub fn plan(self, learning: &Graph, picture: Shape, isa: Isa) -> Result<TrainPlan, PlanError> {
        match self {
            Self::Fast => TrainPlan::new(learning, picture, isa),
            Self::Low => TrainPlan::recomputing(learning, picture, isa),
        }
    }
}
