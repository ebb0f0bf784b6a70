//! Mixed precision: near to single precision, the same bits for any number of threads, and only where it is asked for.

use cspnet_engine::{Input, Isa, TileUnit, TrainOptions, TrainPlan, UpdateRule, UpdateState};
use cspnet_graph::init::reference_input;
use cspnet_graph::rewrite::with_loss;
use cspnet_graph::{Graph, Weights};

const PICTURE: [usize; 3] = [3, 32, 32];
const IMAGES: usize = 3;
const CLASSES: usize = 10;

/// The processor's tiles, and plain arithmetic in their place.
fn units() -> impl Iterator<Item = TileUnit> {
    [Some(TileUnit::Emulated), TileUnit::detect()].into_iter().flatten()
}

fn plan(graph: &Graph, mixed: Option<TileUnit>) -> TrainPlan {
    TrainPlan::with(&with_loss(graph).unwrap(), PICTURE, &TrainOptions { mixed, ..TrainOptions::default() }).unwrap()
}

fn targets() -> Vec<f32> {
    (0..IMAGES * CLASSES).map(|i| f32::from(i % (CLASSES + 1) == 0)).collect()
}

/// The loss and all gradients.
fn gradients(graph: &Graph, weights: &Weights, mixed: Option<TileUnit>) -> (f64, Vec<Vec<f32>>) {
    let plan = plan(graph, mixed);
    let in_tiles = plan.steps().iter().filter(|step| step.kernel.contains("bfloat16")).count();
    assert_eq!(in_tiles > 20, mixed.is_some(), "{in_tiles} kernels multiply in tiles");
    let mut workspace = plan.workspace(IMAGES, 2);
    let x = reference_input(IMAGES * PICTURE.iter().product::<usize>());
    let loss = plan.gradients(&mut workspace, weights, Input::Real(&x), &targets()).unwrap();
    (loss, (0..graph.params().len()).map(|id| workspace.gradient(id).to_vec()).collect())
}

fn norm(of: impl Iterator<Item = f32>) -> f64 {
    of.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// What is beside the norm of what it should be.
fn off(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f64 {
    let differences = found.iter().zip(expected).flat_map(|(a, b)| a.iter().zip(b).map(|(a, b)| a - b));
    norm(differences) / norm(expected.iter().flatten().copied())
}

/// Weights whose matrices are rounded to bfloat16.
fn rounded(graph: &Graph) -> Weights {
    let mut weights = Weights::published(graph, 7);
    for (id, _) in graph.params().iter().enumerate().filter(|(_, param)| param.shape.len() > 1) {
        for w in weights.get_mut(id) {
            *w = f32::from_bits((w.to_bits() + 0x7FFF + (w.to_bits() >> 16 & 1)) & 0xFFFF_0000);
        }
    }
    weights
}

/// Three factors are rounded: weights, what they are multiplied with, and gradients. So what it does to the gradients is held against what
/// it does to round the weights alone; where a maximum of two pixels changes, that is more than rounding.
#[test]
fn gradients_are_near_those_of_single_precision() {
    for name in ["cspresnet9:width=32,units=2", "resnet50:classes=10", "cspresnet50:classes=10"] {
        let graph = cspnet_zoo::build(name).unwrap();
        let weights = Weights::published(&graph, 7);
        let (loss, exact) = gradients(&graph, &weights, None);
        let usual = off(&gradients(&graph, &rounded(&graph), None).1, &exact);
        for unit in units() {
            let (found, mixed) = gradients(&graph, &weights, Some(unit));
            assert!((found - loss).abs() < 0.02 * loss, "{name}: a loss of {found} for {loss}");
            let off = off(&mixed, &exact);
            assert!(off > 0.0 && off < 4.0 * usual, "{name}: {off:.4}, and {usual:.4} by rounded weights");
        }
    }
}

#[test]
fn steps_do_not_depend_on_threads() {
    let graph = cspnet_zoo::build("cspresnet9:width=32").unwrap();
    let x = reference_input(IMAGES * PICTURE.iter().product::<usize>());
    for unit in units() {
        let plan = plan(&graph, Some(unit));
        let trained = |threads| {
            let mut workspace = plan.workspace(IMAGES, threads);
            let (mut weights, mut state) = (Weights::published(&graph, 7), UpdateState::default());
            let rule = UpdateRule::Sgd { rate: 0.05, momentum: 0.9, nesterov: true, decay: 1e-4 };
            let mut losses = Vec::new();
            for _ in 0..10 {
                let input = (Input::Real(&x), &targets()[..]);
                losses.push(plan.step(&mut workspace, &mut weights, input, &mut state, &rule).unwrap().loss);
            }
            assert!(losses[9] < losses[0], "it learns: {losses:?}");
            weights
        };
        let expected = trained(1);
        for threads in [2, 3, 5] {
            assert!(trained(threads) == expected, "{threads} threads");
        }
    }
}

/// Every instruction set rounds and sums alike.
#[test]
fn instruction_sets_do_not_matter() {
    let graph = cspnet_zoo::build("cspresnet9:width=16").unwrap();
    let x = reference_input(IMAGES * PICTURE.iter().product::<usize>());
    let gradients = |isa| {
        let options = TrainOptions { isa, mixed: Some(TileUnit::Emulated), ..TrainOptions::default() };
        let plan = TrainPlan::with(&with_loss(&graph).unwrap(), PICTURE, &options).unwrap();
        let mut workspace = plan.workspace(IMAGES, 2);
        let weights = Weights::published(&graph, 7);
        plan.gradients(&mut workspace, &weights, Input::Real(&x), &targets()).unwrap();
        (0..graph.params().len()).map(|id| workspace.gradient(id).to_vec()).collect::<Vec<_>>()
    };
    let all: Vec<_> = Isa::available().filter(|isa| *isa >= Isa::Avx2).map(gradients).collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
}
