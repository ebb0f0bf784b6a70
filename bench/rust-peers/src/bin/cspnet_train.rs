//! The worker that trains with our own engine: a run is a step on the batch in memory, and its answer the loss before the update.

use cspnet::engine::{Input, Isa, TrainPlan, TrainWorkspace, UpdateRule, UpdateState, probe};
use cspnet::formats::OpenModel;
use cspnet::graph::Weights;
use cspnet::graph::rewrite::with_loss;
use rust_peers::{Engine, Failure, Load, serve};

/// That of `bench/peers/torch_train.py`.
const RULE: UpdateRule = UpdateRule::Sgd { rate: 1e-5, momentum: 0.9, nesterov: true, decay: 1e-4 };

struct Training {
    plan: TrainPlan,
    workspace: TrainWorkspace,
    weights: Weights,
    state: UpdateState,
    pictures: Vec<f32>,
    targets: Vec<f32>,
}

impl Engine for Training {
    fn load(load: &Load) -> Result<Self, Failure> {
        let file = OpenModel::open(&load.model)?;
        file.verify()?;
        let [height, width] = load.size;
        let plan = TrainPlan::new(&with_loss(&file.manifest().graph)?, [3, height, width], Isa::detect())?;
        let classes = plan.classes();
        let target = |image: usize| (0..classes).map(move |c| if c == image % classes { 1.0 } else { 0.0 });
        Ok(Self {
            workspace: plan.workspace(load.batch, load.threads),
            weights: file.weights().to_weights()?,
            state: UpdateState::default(),
            pictures: load.pictures()?,
            targets: (0..load.batch).flat_map(target).collect(),
            plan,
        })
    }

    fn run(&mut self) -> Result<Vec<f32>, Failure> {
        let Self { plan, workspace, weights, state, pictures, targets } = self;
        let stepped = plan.step(workspace, weights, (Input::Real(pictures), &targets[..]), state, &RULE)?;
        Ok(vec![stepped.loss as f32])
    }

    fn peak(threads: usize) -> Option<f64> {
        Some(probe::team_peak_gflops(Isa::detect(), threads))
    }
}

fn main() -> std::io::Result<()> {
    serve::<Training>()
}
