//! The same bits for any number of threads, any batch, and any instant at which a thread takes a part.

use cspnet_engine::{Input, Isa, Plan, PlanOptions, TrainPlan, UpdateRule, UpdateState};
use cspnet_graph::init::reference_input;
use cspnet_graph::rewrite::with_loss;
use cspnet_graph::{Builder, Conv, Graph, Weights};

/// One network of every family, as small as its structure allows.
const FAMILIES: [&str; 10] = [
    "densenet121:classes=10",
    "densenet_bc:depth=22,growth=12",
    "densenet_basic:depth=13,growth=12",
    "cspdensenet121:gamma=0.25,fusion=last,classes=10",
    "peleenet:classes=10",
    "csppeleenet:gamma=0.5,fusion=both,classes=10",
    "cspdarknet53:classes=10",
    "cspresnext50:classes=10",
    "cs3darknet_s:classes=10",
    "resnet50:classes=10",
];

const PICTURE: [usize; 3] = [3, 32, 32];
const FLOATS: usize = 3 * 32 * 32;

fn answers(plan: &Plan, images: usize, threads: usize, x: &[f32]) -> Vec<Vec<u32>> {
    let mut workspace = plan.workspace(images, threads);
    plan.run(&mut workspace, Input::Real(&x[..images * FLOATS])).unwrap();
    (0..images).map(|i| plan.output(&workspace, i).iter().map(|v| v.to_bits()).collect()).collect()
}

#[test]
fn inference_does_not_depend_on_threads_or_batch() {
    let x = reference_input(9 * FLOATS);
    for name in FAMILIES {
        let graph = cspnet_zoo::build(name).unwrap();
        let plan = Plan::new(&graph, &Weights::reference(&graph), PICTURE, &PlanOptions::default()).unwrap();
        let expected = answers(&plan, 9, 1, &x);
        assert_ne!(expected[0], expected[1], "{name}: the answers say something");
        for threads in [2, 3, 5] {
            assert_eq!(answers(&plan, 9, threads, &x), expected, "{name}, {threads} threads");
        }
        for images in 1..9 {
            assert_eq!(answers(&plan, images, 2, &x)[..], expected[..images], "{name}, {images} images");
        }
    }
}

#[test]
fn longer_registers_give_the_bits_of_shorter_ones() {
    let x = reference_input(FLOATS);
    let sets: Vec<Isa> = Isa::available().filter(|isa| *isa >= Isa::Avx2).collect();
    for name in FAMILIES {
        let graph = cspnet_zoo::build(name).unwrap();
        let weights = Weights::reference(&graph);
        let plan =
            |isa, tune| Plan::new(&graph, &weights, PICTURE, &PlanOptions { isa, tune, ..PlanOptions::default() });
        // Each set has the algorithms that it is fastest with; these are the same for all.
        let choices = plan(sets[0], None).unwrap().choices().clone();
        let answers = sets.iter().map(|&isa| {
            let plan = plan(isa, Some(choices.clone())).unwrap();
            (isa, self::answers(&plan, 1, 2, &x))
        });
        let answers: Vec<_> = answers.collect();
        for pair in answers.windows(2) {
            assert_eq!(pair[0].1, pair[1].1, "{name}: {} and {}", pair[0].0, pair[1].0);
        }
    }
    for name in FAMILIES {
        let graph = cspnet_zoo::build(name).unwrap();
        let answers = |&isa| {
            let options = PlanOptions { isa, alike: true, ..PlanOptions::default() };
            answers(&Plan::new(&graph, &Weights::reference(&graph), PICTURE, &options).unwrap(), 1, 2, &x)
        };
        let all: Vec<_> = sets.iter().map(answers).collect();
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{name}, chosen alike");
    }
    let graph = cspnet_zoo::build("csppeleenet:classes=10").unwrap();
    let weights: Vec<Weights> = sets.iter().map(|&isa| trained(&graph, isa, 2)).collect();
    assert!(weights.windows(2).all(|pair| pair[0] == pair[1]), "training");
}

/// Cut so that blocks are not whole, a wide panel of a grouped convolution would meet other groups than a narrow one.
#[test]
fn groups_that_are_cut_anywhere_give_the_same_bits() {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("conv", x, Conv::new(64, 3));
    let x = b.conv("grouped", x, Conv::new(64, 3).groups(2));
    let parts = [(0, 4), (4, 60)].map(|(start, len)| b.slice(&format!("from{start}"), x, start, len));
    let ends = [("few", parts[0]), ("many", parts[1])].map(|(name, part)| b.global_avg_pool(name, part));
    let graph = b.finish_named(&[("few", ends[0]), ("many", ends[1])]).unwrap();
    let x = reference_input(FLOATS);
    let answers = |isa: Isa| {
        let options = PlanOptions { isa, direct: true, alike: true, ..PlanOptions::default() };
        let plan = Plan::new(&graph, &Weights::reference(&graph), PICTURE, &options).unwrap();
        let mut workspace = plan.workspace(1, 2);
        plan.run(&mut workspace, Input::Real(&x)).unwrap();
        ["few", "many"].map(|name| plan.named_output(&workspace, name, 0).unwrap())
    };
    let all: Vec<_> = Isa::available().filter(|isa| *isa >= Isa::Avx2).map(answers).collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Weights after 20 steps of training.
fn trained(graph: &Graph, isa: Isa, threads: usize) -> Weights {
    let plan = TrainPlan::new(&with_loss(graph).unwrap(), PICTURE, isa).unwrap();
    let mut workspace = plan.workspace(3, threads);
    let mut weights = Weights::published(graph, 7);
    let mut state = UpdateState::default();
    let rule = UpdateRule::Sgd { rate: 0.05, momentum: 0.9, nesterov: true, decay: 1e-4 };
    let x = reference_input(3 * FLOATS);
    let targets: Vec<f32> = (0..30).map(|i| f32::from(i % 11 == 0)).collect();
    let mut losses = Vec::new();
    for _ in 0..20 {
        losses.push(plan.gradients(&mut workspace, &weights, Input::Real(&x), &targets).unwrap());
        plan.update_running(&workspace, &mut weights);
        plan.update(&mut workspace, &mut weights, &mut state, &rule);
    }
    assert!(losses[19] < losses[0], "it learns: {losses:?}");
    weights
}

#[test]
fn training_does_not_depend_on_threads() {
    for name in ["csppeleenet:classes=10", "densenet_bc:depth=16,growth=12", "cs3darknet_s:classes=10"] {
        let graph = cspnet_zoo::build(name).unwrap();
        let expected = trained(&graph, Isa::detect(), 1);
        for threads in [2, 3, 5] {
            assert!(trained(&graph, Isa::detect(), threads) == expected, "{name}, {threads} threads");
        }
    }
}
