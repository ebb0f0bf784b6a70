//! Training plans against the interpreter in double precision, on random networks: loss, gradients, running statistics.

mod common;

use common::{CLASSES, PICTURE, random_network};
use cspnet_engine::reference::{Tensor, train};
use cspnet_engine::{Input, Isa, TrainPlan, UpdateRule, UpdateState};
use cspnet_graph::init::reference_input;
use cspnet_graph::rewrite::with_loss;
use cspnet_graph::{Graph, Weights};

fn targets(images: usize) -> Vec<f32> {
    let soft = |i: usize| if i % CLASSES == (7 * (i / CLASSES)) % CLASSES { 0.9 } else { 0.025 };
    (0..images * CLASSES).map(soft).collect()
}

fn norm(v: impl Iterator<Item = f64>) -> f64 {
    v.map(|x| x * x).sum::<f64>().sqrt()
}

fn check(graph: &Graph, seed: u64, isa: Isa, images: usize) {
    let graph = with_loss(graph).unwrap();
    let mut weights = Weights::reference(&graph);
    let [c, h, w] = PICTURE;
    let x = reference_input(images * c * h * w);
    let exact = train::<f64>(&graph, &weights, &Tensor::from_f32([images, c, h, w], &x), &targets(images)).unwrap();
    let plan = TrainPlan::new(&graph, PICTURE, isa).unwrap();
    let mut workspace = plan.workspace(images, 2);
    let loss = plan.gradients(&mut workspace, &weights, Input::Real(&x), &targets(images)).unwrap();
    assert!((loss - exact.loss).abs() <= 1e-5 * exact.loss.abs(), "network {seed}: loss {loss} for {}", exact.loss);
    let largest = exact.gradients.iter().flatten().map(|g| norm(g.iter().copied())).fold(0.0, f64::max);
    for (id, expected) in exact.gradients.iter().enumerate() {
        let Some(expected) = expected else { continue };
        let got = workspace.gradient(id);
        let off = norm(got.iter().zip(expected).map(|(&g, e)| f64::from(g) - e));
        let allowed = 2e-3 * norm(expected.iter().copied()) + 1e-5 * largest;
        assert!(off <= allowed, "network {seed}, {}: {off:.1e} > {allowed:.1e}", graph.params()[id].name);
    }
    plan.update_running(&workspace, &mut weights);
    for (id, expected) in &exact.running {
        for (&got, e) in weights.get(*id).iter().zip(expected) {
            assert!(
                (f64::from(got) - e).abs() <= 1e-4 * (1.0 + e.abs()),
                "network {seed}: {}",
                graph.params()[*id].name
            );
        }
    }
}

#[test]
fn random_networks_learn_as_the_interpreter_does() {
    for seed in 0..120 {
        let graph = random_network(seed, 3 + seed as usize % 10);
        for isa in Isa::available() {
            check(&graph, seed, isa, 2 + seed as usize % 2);
        }
    }
}

#[test]
fn weight_decay_spares_scales_shifts_and_biases() {
    let graph = with_loss(&random_network(3, 6)).unwrap();
    let plan = TrainPlan::new(&graph, PICTURE, Isa::detect()).unwrap();
    let mut workspace = plan.workspace(1, 1);
    let before = Weights::reference(&graph);
    let mut after = before.clone();
    // Without a run all gradients are zero, so decay alone moves the parameters.
    let rule = UpdateRule::Sgd { rate: 1.0, momentum: 0.0, nesterov: false, decay: 0.5 };
    plan.update(&mut workspace, &mut after, &mut UpdateState::default(), &rule);
    for (id, param) in graph.params().iter().enumerate().filter(|(_, p)| p.role.is_trained()) {
        let factor = if param.role == cspnet_graph::Role::Weight { 0.5 } else { 1.0 };
        let expected: Vec<f32> = before.get(id).iter().map(|v| v * factor).collect();
        assert_eq!(after.get(id), expected, "{}", param.name);
    }
}
