//! From pictures in memory to the network's answer.

use std::time::Duration;

use cspnet::ModelOptions;
use cspnet::engine::{Input, Plan, RunError, StepReport, Workspace};
use cspnet::graph::{Shape, init};

use super::{Run, Subject};
use crate::failure::Failure;
use crate::rewrites::{Saved, saved};
use crate::source::Network;

/// A network compiled for inference.
pub struct Inference(Plan);

impl Inference {
    /// Loads the network's weights; they are needed only until there is a plan.
    pub fn new(network: &Network, picture: Shape, options: &ModelOptions) -> Result<Self, Failure> {
        Ok(Self(options.plan(&network.graph, network.weights(), picture)?))
    }
}

impl Subject for Inference {
    fn steps(&self) -> &[StepReport] {
        &self.0.report().steps
    }

    fn rewrites(&self) -> Vec<Saved> {
        saved(self.0.report())
    }

    fn prepare(&self, batch: usize, threads: usize) -> Box<dyn Run + '_> {
        let (workspace, pictures) = (self.0.workspace(batch, threads), Pictures::new(&self.0, batch));
        Box::new(Answer { plan: &self.0, workspace, pictures })
    }
}

/// The answer to a batch.
struct Answer<'a> {
    plan: &'a Plan,
    workspace: Workspace,
    pictures: Pictures,
}

impl Run for Answer<'_> {
    fn run(&mut self) -> Result<(), RunError> {
        self.plan.run(&mut self.workspace, self.pictures.input())
    }

    fn run_timed(&mut self) -> Result<Vec<Duration>, RunError> {
        self.plan.run_timed(&mut self.workspace, self.pictures.input())
    }
}

/// Pictures of the kind that a plan takes.
enum Pictures {
    Real(Vec<f32>),
    Pixels(Vec<u8>),
}

impl Pictures {
    fn new(plan: &Plan, images: usize) -> Self {
        let numbers = init::reference_input(images * plan.picture().iter().product::<usize>());
        match plan.takes_pixels() {
            true => Self::Pixels(numbers.iter().map(|v| (127.5 * (v + 1.0)) as u8).collect()),
            false => Self::Real(numbers),
        }
    }

    fn input(&self) -> Input<'_> {
        match self {
            Self::Real(numbers) => Input::Real(numbers),
            Self::Pixels(pixels) => Input::Pixels(pixels),
        }
    }
}
