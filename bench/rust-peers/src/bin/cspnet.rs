//! The worker that runs our own engine, as it is by default or with `--strict`, which is what all answers are compared with.

use cspnet::engine::{Input, Isa, Plan, PlanOptions, Workspace, probe};
use cspnet::formats::OpenModel;
use rust_peers::{Engine, Failure, Load, serve};

struct Loaded<const STRICT: bool> {
    plan: Plan,
    workspace: Workspace,
    pictures: Vec<f32>,
    batch: usize,
}

impl<const STRICT: bool> Engine for Loaded<STRICT> {
    fn load(load: &Load) -> Result<Self, Failure> {
        let file = OpenModel::open(&load.model)?;
        file.verify()?;
        let options = if STRICT { PlanOptions::strict() } else { PlanOptions::default() };
        let [height, width] = load.size;
        let plan = Plan::new(&file.manifest().graph, file.weights(), [3, height, width], &options)?;
        let workspace = plan.workspace(load.batch, load.threads);
        Ok(Self { plan, workspace, pictures: load.pictures()?, batch: load.batch })
    }

    fn run(&mut self) -> Result<Vec<f32>, Failure> {
        self.plan.run(&mut self.workspace, Input::Real(&self.pictures))?;
        Ok((0..self.batch).flat_map(|image| self.plan.output(&self.workspace, image)).collect())
    }

    fn peak(threads: usize) -> Option<f64> {
        Some(probe::team_peak_gflops(Isa::detect(), threads))
    }
}

fn main() -> std::io::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("--strict") => serve::<Loaded<true>>(),
        _ => serve::<Loaded<false>>(),
    }
}
