//! Windows of any kind, with other padding before a value than after it, and poolings that round their size up: plans for
//! inference and for training against the interpreter in double precision, and the same bits by all long registers.

mod common;

use common::{CLASSES, Dice, FUNCTIONS};
use cspnet_engine::reference::{Tensor, infer, train};
use cspnet_engine::{Input, Isa, Plan, PlanOptions, TrainPlan};
use cspnet_graph::init::reference_input;
use cspnet_graph::rewrite::with_loss;
use cspnet_graph::{Builder, Graph, Op, Padding, PoolKind, Value, Weights, Window};

const PICTURE: [usize; 3] = [3, 19, 22];
const FLOATS: usize = 3 * 19 * 22;
const IMAGES: usize = 2;

/// A window of at most so many taps a side.
fn window(dice: &mut Dice, taps: usize) -> Window {
    let mut pair = |n: usize| [1 + dice.below(n), 1 + dice.below(n)];
    let (kernel, stride) = (pair(taps), pair(2));
    let dilation = if dice.below(3) == 0 { [1 + dice.below(2), 1 + dice.below(2)] } else { [1; 2] };
    let mut cells = || [0, 1].map(|axis| dice.below(dilation[axis] * (kernel[axis] - 1) + 1));
    Window { kernel, stride, padding: Padding { before: cells(), after: cells() }, dilation, ceil: false }
}

/// The window of a convolution: often one that faster methods are for.
fn of_convolution(dice: &mut Dice) -> Window {
    let random = window(dice, 5);
    match dice.below(3) {
        0 => random,
        _ => {
            let [before, after] = [(); 2].map(|()| [dice.below(3), dice.below(3)]);
            Window { padding: Padding { before, after }, ..Window::square(3, 1 + dice.below(2), 0) }
        }
    }
}

fn convolution(b: &mut Builder, dice: &mut Dice, x: Value, groups: usize) -> Value {
    let c = b.channels(x);
    let out = if groups == 1 { dice.pick(&[7, 16, 33]) } else { c };
    let op = Op::Conv { out, window: of_convolution(dice), groups, bias: dice.below(2) == 0 };
    b.push("conv", op, &[x])
}

fn pooling(b: &mut Builder, dice: &mut Dice, x: Value) -> Value {
    let mut window = window(dice, 3);
    window.ceil = dice.below(2) == 0;
    if dice.below(3) == 0 {
        window.padding = Padding::NONE;
    }
    let average = |count_include_pad| PoolKind::Average { count_include_pad };
    let kind = dice.pick(&[PoolKind::Max, average(true), average(false)]);
    b.push("pool", Op::Pool { kind, window }, &[x])
}

/// One step, behind which a value is smaller or as large.
fn step(b: &mut Builder, dice: &mut Dice, x: Value) -> Value {
    let c = b.channels(x);
    match dice.below(5) {
        0 => pooling(b, dice, x),
        1 => {
            // Pre-activation, in front of a convolution or a mean.
            let y = b.batch_norm("norm", x);
            let y = b.unary("act", y, dice.pick(&FUNCTIONS));
            if dice.below(2) == 0 { pooling(b, dice, y) } else { convolution(b, dice, y, 1) }
        }
        2 => {
            let groups = dice.pick(&[c, c / 4, c / 8]);
            convolution(b, dice, x, if groups > 0 && c.is_multiple_of(groups) { groups } else { 1 })
        }
        _ => {
            let y = convolution(b, dice, x, 1);
            let y = b.batch_norm("norm", y);
            b.unary("act", y, dice.pick(&FUNCTIONS))
        }
    }
}

/// A random network whose windows fit the picture.
fn network(seed: u64) -> Graph {
    let mut dice = Dice::new(seed);
    loop {
        let mut b = Builder::new();
        let mut x = b.input(PICTURE[0]);
        for i in 0..2 + dice.below(4) {
            let first = |b: &mut Builder| {
                let x = convolution(b, &mut dice, x, 1);
                let x = b.unary("act", x, dice.pick(&FUNCTIONS));
                if dice.below(2) == 0 { pooling(b, &mut dice, x) } else { x }
            };
            x = if i == 0 { b.module("stem", first) } else { b.module(&format!("step{i}"), |b| step(b, &mut dice, x)) };
        }
        let x = b.global_avg_pool("mean", x);
        let answer = b.linear("classifier", x, CLASSES);
        if let Some(graph) = b.finish(answer).ok().filter(|graph| graph.shapes(PICTURE).is_ok()) {
            return graph;
        }
    }
}

/// A plan's numbers are within the tolerance of the exact ones, relative to these.
fn assert_near<'a>(what: &str, got: &[f32], exact: impl IntoIterator<Item = &'a f64>, tolerance: f64, floor: f64) {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
    let exact: Vec<f64> = exact.into_iter().copied().collect();
    assert_eq!(got.len(), exact.len());
    let off = norm(&mut got.iter().zip(&exact).map(|(&g, e)| f64::from(g) - e));
    let allowed = tolerance * norm(&mut exact.iter().copied()) + floor;
    assert!(off <= allowed, "{what}: {off:.1e} > {allowed:.1e}");
}

#[test]
fn inference_agrees_with_the_interpreter() {
    let x = reference_input(IMAGES * FLOATS);
    let [c, h, w] = PICTURE;
    for seed in 0..150 {
        let graph = network(seed);
        let weights = Weights::reference(&graph);
        let exact = infer::<f64>(&graph, &weights, &Tensor::from_f32([IMAGES, c, h, w], &x)).unwrap();
        let answers = |isa, strict| {
            let options = if strict { PlanOptions::strict() } else { PlanOptions::default() };
            let plan = Plan::new(&graph, &weights, PICTURE, &PlanOptions { isa, alike: true, ..options }).unwrap();
            let mut workspace = plan.workspace(IMAGES, 2);
            plan.run(&mut workspace, Input::Real(&x)).unwrap();
            (0..IMAGES).flat_map(|image| plan.output(&workspace, image)).collect::<Vec<f32>>()
        };
        let mut of_sets = Vec::new();
        for (isa, strict) in Isa::available().flat_map(|isa| [(isa, false), (isa, true)]) {
            let got = answers(isa, strict);
            assert_near(&format!("network {seed}, {isa}"), &got, &exact[graph.output()].data, 3e-5, 1e-6);
            if isa > Isa::Scalar && !strict {
                of_sets.push(got);
            }
        }
        assert!(of_sets.windows(2).all(|pair| pair[0] == pair[1]), "network {seed}: longer registers give other bits");
    }
}

#[test]
fn training_agrees_with_the_interpreter() {
    let x = reference_input(IMAGES * FLOATS);
    let [c, h, w] = PICTURE;
    let targets: Vec<f32> = (0..IMAGES * CLASSES).map(|i| if i % 4 == 0 { 0.6 } else { 0.1 }).collect();
    for seed in 0..100 {
        let graph = with_loss(&network(seed)).unwrap();
        let weights = Weights::reference(&graph);
        let exact = train(&graph, &weights, &Tensor::<f64>::from_f32([IMAGES, c, h, w], &x), &targets).unwrap();
        let largest = exact.gradients.iter().flatten().map(|g| g.iter().map(|v| v * v).sum::<f64>().sqrt());
        let largest = largest.fold(0.0, f64::max);
        let mut of_sets = Vec::new();
        for isa in Isa::available() {
            let plan = TrainPlan::new(&graph, PICTURE, isa).unwrap();
            let mut workspace = plan.workspace(IMAGES, 2);
            let loss = plan.gradients(&mut workspace, &weights, Input::Real(&x), &targets).unwrap();
            assert!((loss - exact.loss).abs() <= 1e-5 * exact.loss.abs(), "network {seed}: {loss} for {}", exact.loss);
            let gradients: Vec<Vec<f32>> =
                (0..exact.gradients.len()).map(|id| workspace.gradient(id).to_vec()).collect();
            for (id, expected) in exact.gradients.iter().enumerate() {
                let Some(expected) = expected else { continue };
                let what = format!("network {seed}, {isa}, {}", graph.params()[id].name);
                assert_near(&what, &gradients[id], expected, 2e-3, 1e-5 * largest);
            }
            if isa > Isa::Scalar {
                of_sets.push(gradients);
            }
        }
        assert!(of_sets.windows(2).all(|pair| pair[0] == pair[1]), "network {seed}: longer registers give other bits");
    }
}
