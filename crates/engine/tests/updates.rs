//! Updates of the parameters against PyTorch's optimisers (`tests/golden/updates/make.py` says what was computed).

use cspnet_engine::{AdamW, Input, Isa, TrainPlan, UpdateRule, UpdateState};
use cspnet_graph::init::reference_input;
use cspnet_graph::rewrite::with_loss;
use cspnet_graph::{Builder, Conv, Graph, Unary, Weights};
use serde_json::Value;

const BATCH: usize = 4;
const PICTURE: [usize; 3] = [3, 8, 8];
const CLASSES: usize = 3;

fn network() -> Graph {
    let mut b = Builder::new();
    let x = b.input(PICTURE[0]);
    let x = b.conv("conv", x, Conv::new(4, 3));
    let x = b.batch_norm("norm", x);
    let x = b.unary("relu", x, Unary::Relu);
    let x = b.global_avg_pool("pool", x);
    let x = b.linear("fc", x, CLASSES);
    with_loss(&b.finish(x).unwrap()).unwrap()
}

fn rule(case: &Value, update: u64) -> UpdateRule {
    let decay = case["decay"].as_f64().unwrap();
    let adamw = AdamW { rate: 0.02, betas: [0.8, 0.99], eps: 1e-6, decay, update };
    match case["optimizer"].as_str().unwrap() {
        "sgd" => UpdateRule::Sgd { rate: 0.1, momentum: 0.9, nesterov: true, decay: decay as f32 },
        "muon" => UpdateRule::Muon { momentum: 0.9, adamw },
        _ => UpdateRule::AdamW(adamw),
    }
}

/// The weights after the updates of a case, and every batch's loss.
fn run(case: &Value, updates: usize, threads: usize) -> (Weights, Vec<f64>) {
    let graph = network();
    let plan = TrainPlan::new(&graph, PICTURE, Isa::detect()).unwrap();
    let mut workspace = plan.workspace(BATCH, threads);
    let (mut weights, mut state) = (Weights::reference(&graph), UpdateState::default());
    let micro = case["accumulate"].as_u64().unwrap() as usize;
    let size = BATCH * PICTURE.iter().product::<usize>();
    let inputs = reference_input(updates * micro * size);
    let mut losses = Vec::new();
    for update in 0..updates {
        for k in update * micro..(update + 1) * micro {
            let mut targets = vec![0.0; BATCH * CLASSES];
            (0..BATCH).for_each(|n| targets[n * CLASSES + (7 * n + k) % CLASSES] = 1.0);
            let input = Input::Real(&inputs[k * size..][..size]);
            losses.push(plan.gradients(&mut workspace, &weights, input, &targets).unwrap());
            plan.update_running(&workspace, &mut weights);
            plan.accumulate(&mut workspace);
        }
        plan.average_accumulated(&mut workspace);
        if let Some(most) = case["clip"].as_f64() {
            assert!(plan.clip(&mut workspace, most) > most, "so that it does something");
        }
        plan.update(&mut workspace, &mut weights, &mut state, &rule(case, update as u64 + 1));
    }
    (weights, losses)
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn check(name: &str, case: &Value, updates: usize) {
    let (weights, losses) = run(case, updates, 1);
    for (found, expected) in losses.iter().zip(numbers(&case["losses"])) {
        assert!((found - expected).abs() < 2e-6, "{name}: loss {found} for {expected}");
    }
    let graph = network();
    for (id, param) in graph.params().iter().enumerate() {
        let expected = numbers(&case["tensors"][&param.name]);
        assert_eq!(weights.get(id).len(), expected.len(), "{name}: {}", param.name);
        for (&found, expected) in weights.get(id).iter().zip(expected) {
            let off = (f64::from(found) - expected).abs();
            assert!(off < 2e-6, "{name}: {} is {found} for {expected}", param.name);
        }
    }
    assert_eq!(run(case, updates, 3), (weights, losses), "{name}: other threads");
}

#[test]
fn parameters_move_as_pytorch_moves_them() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/updates/updates.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let updates = golden["updates"].as_u64().unwrap() as usize;
    for (name, case) in golden["cases"].as_object().unwrap() {
        check(name, case, updates);
    }
}
