//! A step of training: forward, backward, update.
//!
//! Not here: loading photos (`cspnet train` does that in threads of its own).

use std::time::Duration;

use cspnet::engine::{Input, RunError, StepReport, TrainOptions, TrainPlan, TrainWorkspace, UpdateRule, UpdateState};
use cspnet::graph::{Graph, Shape, Weights, init, rewrite};

use super::{Run, Subject};
use crate::failure::Failure;
use crate::rewrites::Saved;
use crate::source::Network;

/// A usual one; times do not depend on the numbers.
const RULE: UpdateRule = UpdateRule::Sgd { rate: 1e-3, momentum: 0.9, nesterov: true, decay: 1e-4 };

/// A network compiled for training.
pub struct Training {
    graph: Graph,
    plan: TrainPlan,
}

impl Training {
    /// With weights as `cspnet train` begins with.
    pub fn new(network: &Network, picture: Shape, options: &TrainOptions) -> Result<Self, Failure> {
        let plan = TrainPlan::with(&rewrite::with_loss(&network.graph)?, picture, options)?;
        Ok(Self { graph: network.graph.clone(), plan })
    }
}

impl Subject for Training {
    fn steps(&self) -> &[StepReport] {
        self.plan.steps()
    }

    fn rewrites(&self) -> Vec<Saved> {
        Vec::new()
    }

    fn prepare(&self, batch: usize, threads: usize) -> Box<dyn Run + '_> {
        let classes = self.plan.classes();
        let target = |image: usize| (0..classes).map(move |c| if c == image % classes { 1.0 } else { 0.0 });
        Box::new(Step {
            plan: &self.plan,
            workspace: self.plan.workspace(batch, threads),
            weights: Weights::published(&self.graph, 0),
            state: UpdateState::default(),
            pictures: init::reference_input(batch * self.plan.picture().iter().product::<usize>()),
            targets: (0..batch).flat_map(target).collect(),
        })
    }
}

/// A step on a batch, again and again.
struct Step<'a> {
    plan: &'a TrainPlan,
    workspace: TrainWorkspace,
    weights: Weights,
    state: UpdateState,
    pictures: Vec<f32>,
    targets: Vec<f32>,
}

impl Run for Step<'_> {
    fn run(&mut self) -> Result<(), RunError> {
        let batch = (Input::Real(&self.pictures), &self.targets[..]);
        self.plan.step(&mut self.workspace, &mut self.weights, batch, &mut self.state, &RULE).map(drop)
    }

    fn run_timed(&mut self) -> Result<Vec<Duration>, RunError> {
        let batch = (Input::Real(&self.pictures), &self.targets[..]);
        self.plan.step_timed(&mut self.workspace, &mut self.weights, batch, &mut self.state, &RULE)
    }
}
