//! What is taken of the machine's memory. A step of training takes all of it beforehand: once buffers have grown to their size, nothing
//! is allocated any more. A plan takes little for what it rearranges.

use allocation_counter::measure;
use cspnet_engine::{AdamW, Input, Isa, Plan, PlanOptions, TrainPlan, TrainWorkspace, UpdateRule, UpdateState};
use cspnet_graph::init::reference_input;
use cspnet_graph::rewrite::{with_dropout, with_loss};
use cspnet_graph::{Builder, Graph, Op, Rearrange, Weights};
use cspnet_zoo::Spec;

const BATCH: usize = 3;
const SGD: UpdateRule = UpdateRule::Sgd { rate: 1e-3, momentum: 0.9, nesterov: true, decay: 1e-4 };

struct Run {
    plan: TrainPlan,
    workspace: TrainWorkspace,
    weights: Weights,
    average: Weights,
    state: UpdateState,
    pictures: Vec<f32>,
    targets: Vec<f32>,
}

impl Run {
    fn of(network: &Graph, side: usize) -> Self {
        let graph = with_loss(network).unwrap();
        let plan = TrainPlan::new(&graph, [3, side, side], Isa::detect()).unwrap();
        let weights = Weights::reference(&graph);
        Self {
            // The counter sees the thread that asks. A team gives its parts to other threads as they are.
            workspace: plan.workspace(BATCH, 1),
            average: weights.clone(),
            weights,
            state: UpdateState::default(),
            pictures: reference_input(BATCH * 3 * side * side),
            targets: (0..BATCH * plan.classes()).map(|i| f32::from(u8::from(i % plan.classes() == 1))).collect(),
            plan,
        }
    }

    /// A step as it is taken where gradients are not needed afterwards.
    fn at_once(&mut self, rule: &UpdateRule) {
        let data = (Input::Real(&self.pictures), &self.targets[..]);
        let step = self.plan.step(&mut self.workspace, &mut self.weights, data, &mut self.state, rule).unwrap();
        assert!(step.loss.is_finite());
        self.plan.average(&mut self.workspace, &mut self.average, &self.weights, 0.9).unwrap();
    }

    /// A step of two batches, with clipping.
    fn kept(&mut self, rule: &UpdateRule) {
        for _ in 0..2 {
            let input = Input::Real(&self.pictures);
            self.plan.gradients(&mut self.workspace, &self.weights, input, &self.targets).unwrap();
            self.plan.update_running(&self.workspace, &mut self.weights);
            self.plan.accumulate(&mut self.workspace);
        }
        self.plan.average_accumulated(&mut self.workspace);
        self.plan.clip(&mut self.workspace, 1e-3);
        self.plan.update(&mut self.workspace, &mut self.weights, &mut self.state, rule);
    }

    /// Allocations of a step after some like it.
    fn allocations(&mut self, mut step: impl FnMut(&mut Self)) -> u64 {
        (0..2).for_each(|_| step(self));
        measure(|| step(self)).count_total
    }
}

fn adamw(update: u64) -> AdamW {
    AdamW { rate: 1e-4, betas: [0.9, 0.999], eps: 1e-8, decay: 0.05, update }
}

fn muon(update: u64) -> UpdateRule {
    UpdateRule::Muon { momentum: 0.9, adamw: adamw(update) }
}

/// All kinds of convolutions, dense and cross-stage-partial, residual and with dropout, at small sizes.
#[test]
fn a_step_allocates_nothing() {
    let networks = [
        ("densenet_bc:depth=16,growth=12,classes=10", 16),
        ("cspdensenet121:classes=10", 64),
        ("cspdarknet53:classes=10", 64),
        ("cspresnext50:classes=10", 64),
        ("csppeleenet:classes=10", 64),
        ("cspresnet9", 16),
    ];
    for (name, side) in networks {
        let network = name.parse::<Spec>().unwrap().build().unwrap();
        let (dropped, _) = with_dropout(&network, 0.2).unwrap();
        let mut update = 0;
        let mut run = Run::of(&dropped, side);
        assert_eq!(run.allocations(|run| run.at_once(&SGD)), 0, "{name}: at once");
        let mut next = || {
            update += 1;
            update
        };
        assert_eq!(run.allocations(|run| run.at_once(&muon(next()))), 0, "{name}: at once by Muon");
        assert_eq!(run.allocations(|run| run.kept(&UpdateRule::AdamW(adamw(next())))), 0, "{name}: kept");
    }
}

/// Where channels and pixels change places in a way that is no sum, as in the heads of detectors, every number has a place of its own.
#[test]
fn places_of_numbers_take_no_more_than_the_numbers() {
    let (rows, side) = (3, 128);
    let mut b = Builder::new();
    let x = b.input(8 * rows);
    let dims = vec![8, rows, side * side];
    let y =
        b.push("head", Op::Rearrange(Rearrange { dims, order: vec![0, 2, 1], shape: [8, side * side, rows] }), &[x]);
    let graph = b.finish(y).unwrap();
    let weights = Weights::reference(&graph);
    let mut plan = None;
    let make = || plan = Some(Plan::new(&graph, &weights, [8 * rows, side, side], &PlanOptions::default()).unwrap());
    let used = measure(make).bytes_max as usize;
    let numbers = 8 * rows * side * side * size_of::<f32>();
    assert!(used < numbers + numbers / 2, "{used} bytes for numbers of {numbers}");
}
