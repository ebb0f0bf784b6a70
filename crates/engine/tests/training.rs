//! Training plans against the interpreter in double precision, on random networks: loss, gradients, running statistics.

mod common;

use common::{CLASSES, PICTURE, random_network};
use cspnet_engine::reference::{Tensor, train_drawn};
use cspnet_engine::{AdamW, Input, Isa, Plan, PlanOptions, Symptom, TrainOptions, TrainPlan, UpdateRule, UpdateState};
use cspnet_graph::init::reference_input;
use cspnet_graph::rewrite::{with_drop_path, with_dropout, with_layer_dropout, with_loss};
use cspnet_graph::{Graph, Op, Weights};

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
    let input = Tensor::<f64>::from_f32([images, c, h, w], &x);
    let exact = train_drawn(&graph, &weights, &input, &targets(images), seed).unwrap();
    let plan = TrainPlan::new(&graph, PICTURE, isa).unwrap();
    let mut workspace = plan.workspace(images, 2);
    workspace.set_draw(seed);
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

/// A network with dropout wherever it can have some.
fn with_all_drops(graph: &Graph) -> Graph {
    let graph = with_drop_path(graph, 0.6).unwrap().0;
    let graph = with_layer_dropout(&graph, 0.3).unwrap().0;
    with_dropout(&graph, 0.4).unwrap().0
}

#[test]
fn networks_with_dropout_learn_as_the_interpreter_does() {
    let mut units = [0, 0];
    for seed in 0..60 {
        let graph = with_all_drops(&random_network(seed, 3 + seed as usize % 10));
        for node in graph.nodes() {
            if let Op::Drop { unit, .. } = node.op {
                units[unit as usize] += 1;
            }
        }
        for isa in Isa::available() {
            check(&graph, seed, isa, 2 + seed as usize % 3);
        }
    }
    assert!(units[0] > 60 && units[1] > 10, "{units:?}");
}

#[test]
fn dropout_is_drawn_anew_for_every_draw_and_none_outside_training() {
    let graph = random_network(5, 9);
    let dropped = with_all_drops(&graph);
    let weights = Weights::reference(&graph);
    let x = reference_input(2 * PICTURE.iter().product::<usize>());
    let plan = TrainPlan::new(&with_loss(&dropped).unwrap(), PICTURE, Isa::detect()).unwrap();
    let step = |draw, threads| {
        let mut workspace = plan.workspace(2, threads);
        workspace.set_draw(draw);
        let loss = plan.gradients(&mut workspace, &weights, Input::Real(&x), &targets(2)).unwrap();
        let gradients: Vec<Vec<f32>> = (0..graph.params().len()).map(|p| workspace.gradient(p).to_vec()).collect();
        (loss, gradients)
    };
    assert_eq!(step(1, 1), step(1, 3));
    assert_ne!(step(1, 1).0, step(2, 1).0);
    let answers = |graph: &Graph| {
        let plan = Plan::new(graph, &weights, PICTURE, &PlanOptions::strict()).unwrap();
        let mut workspace = plan.workspace(2, 1);
        plan.run(&mut workspace, Input::Real(&x)).unwrap();
        [plan.output(&workspace, 0), plan.output(&workspace, 1)]
    };
    assert_eq!(answers(&dropped), answers(&graph));
}

#[test]
fn weight_decay_spares_scales_shifts_and_biases() {
    let graph = with_loss(&random_network(3, 6)).unwrap();
    let plan = TrainPlan::new(&graph, PICTURE, Isa::detect()).unwrap();
    let (mut workspace, before) = (plan.workspace(1, 1), Weights::reference(&graph));
    let x = reference_input(PICTURE.iter().product());
    plan.gradients(&mut workspace, &before, Input::Real(&x), &targets(1)).unwrap();
    let mut after = |decay| {
        let mut after = before.clone();
        let rule = UpdateRule::Sgd { rate: 1.0, momentum: 0.0, nesterov: false, decay };
        plan.update(&mut workspace, &mut after, &mut UpdateState::default(), &rule);
        after
    };
    let (with, without) = (after(0.5), after(0.0));
    for (id, param) in graph.params().iter().enumerate().filter(|(_, p)| p.role.is_trained()) {
        let share = if param.role == cspnet_graph::Role::Weight { 0.5 } else { 0.0 };
        for ((with, without), before) in with.get(id).iter().zip(without.get(id)).zip(before.get(id)) {
            let off = without - share * before - with;
            assert!(off.abs() <= 1e-6 * (1.0 + without.abs()), "{}: off by {off}", param.name);
        }
    }
}

#[test]
fn a_parameter_with_a_rate_of_its_own_moves_as_all_would_with_that_rate() {
    let graph = with_loss(&random_network(3, 6)).unwrap();
    let x = reference_input(2 * PICTURE.iter().product::<usize>());
    let plan = || TrainPlan::new(&graph, PICTURE, Isa::detect()).unwrap();
    let after = |plan: &TrainPlan, rule: &UpdateRule, at_once: bool| {
        let (mut weights, mut state) = (Weights::reference(&graph), UpdateState::default());
        let (mut workspace, input, targets) = (plan.workspace(2, 2), Input::Real(&x), targets(2));
        if at_once {
            plan.step(&mut workspace, &mut weights, (input, &targets), &mut state, rule).unwrap();
        } else {
            plan.gradients(&mut workspace, &weights, input, &targets).unwrap();
            plan.update_running(&workspace, &mut weights);
            plan.update(&mut workspace, &mut weights, &mut state, rule);
        }
        weights
    };
    let sgd = |times: f64| UpdateRule::Sgd { rate: 0.25 * times as f32, momentum: 0.9, nesterov: true, decay: 0.5 };
    let at_rate = |rate| AdamW { rate, betas: [0.9, 0.99], eps: 1e-8, decay: 0.5, update: 1 };
    let adamw = |times: f64| UpdateRule::AdamW(at_rate(0.25 * times));
    let muon = |times: f64| UpdateRule::Muon { momentum: 0.9, adamw: at_rate(0.25 * times) };
    let times = [1.0, 0.5, 0.125];
    let rates: Vec<f64> = (0..graph.params().len()).map(|p| times[p % 3]).collect();
    for rule in [&sgd as &dyn Fn(f64) -> UpdateRule, &adamw, &muon] {
        let of_all = times.map(|times| after(&plan(), &rule(times), true));
        for at_once in [true, false] {
            let each = after(&plan().with_rates(rates.clone()), &rule(1.0), at_once);
            for (p, param) in graph.params().iter().enumerate() {
                assert_eq!(each.get(p), of_all[p % 3].get(p), "{}", param.name);
            }
        }
        assert_eq!(after(&plan().with_rates(vec![1.0; rates.len()]), &rule(1.0), true), of_all[0]);
        assert_ne!(of_all[0], of_all[1]);
    }
}

/// Parameters that are changed as soon as their gradients are complete are changed by the same gradients.
#[test]
fn a_step_is_gradients_and_an_update() {
    let at = |update| AdamW { rate: 1e-3, betas: [0.9, 0.999], eps: 1e-8, decay: 0.05, update };
    let adamw = |update| UpdateRule::AdamW(at(update));
    let sgd = |_| UpdateRule::Sgd { rate: 0.1, momentum: 0.9, nesterov: true, decay: 1e-4 };
    let muon = |update| UpdateRule::Muon { momentum: 0.9, adamw: at(update) };
    let rules: [&dyn Fn(u64) -> UpdateRule; 3] = [&adamw, &sgd, &muon];
    for seed in 0..24 {
        let graph = with_loss(&random_network(seed, 3 + seed as usize % 10)).unwrap();
        let (images, picture) = (2 + seed as usize % 2, PICTURE.iter().product::<usize>());
        let plan = TrainPlan::new(&graph, PICTURE, Isa::detect()).unwrap();
        let rule = rules[seed as usize % 3];
        let x = reference_input(images * picture);
        let (input, targets) = (Input::Real(&x), targets(images));
        let run = |at_once: bool| {
            let (mut weights, mut state) = (Weights::reference(&graph), UpdateState::default());
            let mut workspace = plan.workspace(images, 2);
            let losses: Vec<f64> = (1..4)
                .map(|update| {
                    if at_once {
                        return plan
                            .step(&mut workspace, &mut weights, (input, &targets), &mut state, &rule(update))
                            .unwrap()
                            .loss;
                    }
                    let loss = plan.gradients(&mut workspace, &weights, input, &targets).unwrap();
                    plan.update_running(&workspace, &mut weights);
                    plan.update(&mut workspace, &mut weights, &mut state, &rule(update));
                    loss
                })
                .collect();
            (losses, weights, state)
        };
        assert!(run(true) == run(false), "network {seed}");
    }
}

#[test]
fn a_loss_that_is_no_number_changes_nothing() {
    let graph = with_loss(&random_network(3, 6)).unwrap();
    let plan = TrainPlan::new(&graph, PICTURE, Isa::detect()).unwrap();
    let x = vec![f32::NAN; 2 * PICTURE.iter().product::<usize>()];
    let (mut weights, mut state) = (Weights::reference(&graph), UpdateState::default());
    let rule = UpdateRule::Sgd { rate: 0.1, momentum: 0.9, nesterov: true, decay: 1e-4 };
    let batch = (Input::Real(&x), &targets(2)[..]);
    let stepped = plan.step(&mut plan.workspace(2, 1), &mut weights, batch, &mut state, &rule).unwrap();
    assert!(stepped.loss.is_nan() && stepped.symptom == Some(Symptom::Loss));
    assert!(weights == Weights::reference(&graph));
}

/// What each layer adds to the memory of a step is the same however many are before it (Pleiss et al., arXiv:1707.06990, have it
/// by computing concatenations again; here they are never made).
#[test]
fn the_memory_of_dense_networks_is_linear_in_their_depth() {
    let bytes = |depth: usize| {
        let graph = cspnet_zoo::build(&format!("densenet_bc:depth={depth},growth=12")).unwrap();
        TrainPlan::new(&with_loss(&graph).unwrap(), [3, 32, 32], Isa::detect()).unwrap().activation_bytes() as f64
    };
    let [a, b, c] = [40, 100, 160].map(bytes);
    // Of a square the second step would be twice the first, and of what hidden values would take 1.65 times; roots that are placed
    // leave gaps of a few per cent.
    let growth = (c - b) / (b - a);
    assert!((growth - 1.0).abs() < 0.05, "{a}, {b}, {c} bytes: {growth}");
}

/// No other program has this network, so what holds it is the interpreter.
#[test]
fn the_network_for_cifar_learns_as_the_interpreter_does() {
    let graph = cspnet_zoo::build(&format!("cspresnet9:classes={CLASSES},width=12")).unwrap();
    Isa::available().for_each(|isa| check(&graph, 5, isa, 3));
}

/// What is computed again instead of kept changes no bit of a step.
#[test]
fn values_that_are_computed_again_give_the_same_step_in_less_memory() {
    let step = |plan: &TrainPlan, graph: &Graph, picture: [usize; 3]| {
        let (mut weights, mut state) = (Weights::reference(graph), UpdateState::default());
        let mut workspace = plan.workspace(3, 2);
        let x = reference_input(3 * picture.iter().product::<usize>());
        let targets: Vec<f32> =
            (0..3 * plan.classes()).map(|i| f32::from(u8::from(i % plan.classes() == i / plan.classes()))).collect();
        let rule = UpdateRule::Sgd { rate: 0.1, momentum: 0.9, nesterov: true, decay: 1e-4 };
        let done = plan.step(&mut workspace, &mut weights, (Input::Real(&x), &targets), &mut state, &rule).unwrap();
        (done.loss, weights)
    };
    let both = |graph: &Graph, picture: [usize; 3]| {
        let graph = with_loss(graph).unwrap();
        let kept = TrainPlan::new(&graph, picture, Isa::detect()).unwrap();
        let again =
            TrainPlan::with(&graph, picture, &TrainOptions { recomputes: true, ..TrainOptions::default() }).unwrap();
        assert!(step(&kept, &graph, picture) == step(&again, &graph, picture));
        again.activation_bytes() as f64 / kept.activation_bytes() as f64
    };
    for seed in 0..40 {
        let share = both(&random_network(seed, 3 + seed as usize % 10), PICTURE);
        assert!(share <= 1.0, "network {seed}: {share}");
    }
    for (name, most) in [("cspdarknet53:classes=10", 0.9), ("cspresnext50:classes=10", 0.9)] {
        let share = both(&cspnet_zoo::build(name).unwrap(), [3, 64, 64]);
        assert!(share < most, "{name}: {share}");
    }
}
