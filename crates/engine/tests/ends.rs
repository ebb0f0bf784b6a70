//! Networks that take several inputs and give several outputs.

mod common;

use common::Dice;
use cspnet_engine::reference::{Tensor, infer_all};
use cspnet_engine::{Choices, Input, Isa, Plan, PlanOptions, Rewrite, Rewrites, RunError, TrainPlan};
use cspnet_graph::init::reference_input;
use cspnet_graph::rewrite::{with_loss, with_normalise_of};
use cspnet_graph::{Builder, Conv, Graph, Op, Shape, Unary, Value, Weights, Window};

const LEFT: Shape = [3, 13, 11];

/// A network of a picture, which a stem halves, and another input of that size, whose values meet in every way; some of them are its
/// outputs.
fn network(seed: u64) -> (Graph, [Shape; 2]) {
    let mut dice = Dice::new(seed);
    let width = 4 + dice.below(20);
    let mut b = Builder::new();
    let left = b.named_input("left", LEFT[0]);
    let stem = b.conv("stem", left, Conv::new(width, 3).stride(2));
    let norm = b.batch_norm("norm", stem);
    let right = b.named_input("right", width);
    let mut values = vec![left, stem, norm, right];
    // Whatever is drawn has as many rows and columns as the stem.
    for i in 0..2 + dice.below(7) {
        let (x, y) = (values[1 + dice.below(values.len() - 1)], values[1 + dice.below(values.len() - 1)]);
        let value = b.module(&format!("step{i}"), |b| step(b, &mut dice, x, y));
        values.push(value);
    }
    let last = values[values.len() - 1];
    let mean = b.global_avg_pool("mean", last);
    values.push(mean);
    let answer = values[dice.below(values.len())];
    let mut outputs = vec![("answer".to_owned(), answer)];
    outputs.extend((0..dice.below(4)).map(|i| (format!("output {i}"), values[dice.below(values.len())])));
    let outputs: Vec<(&str, Value)> = outputs.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    (b.finish_named(&outputs).unwrap(), [LEFT, [width, 7, 6]])
}

fn step(b: &mut Builder, dice: &mut Dice, x: Value, y: Value) -> Value {
    let [c, d] = [x, y].map(|v| b.channels(v));
    match dice.below(7) {
        0 if c == d => b.add("sum", x, y),
        1 if c == d => b.multiply("product", x, y),
        2 => b.concat("both", &[x, y]),
        3 => {
            let conv = b.conv("conv", x, Conv::new(d, 1 + 2 * dice.below(2)));
            let conv = b.batch_norm("norm", conv);
            let sum = b.add("sum", conv, y);
            b.unary("act", sum, Unary::Silu)
        }
        4 => b.slice("slice", x, c / 3, c - c / 3),
        5 => b.max_pool("max", x, Window::square(3, 1, 1)),
        _ => {
            let norm = b.batch_norm("norm", x);
            let act = b.unary("act", norm, Unary::Relu);
            b.conv("conv", act, Conv::new(1 + dice.below(12), 1))
        }
    }
}

/// Batches for two inputs of these shapes, which are not the same numbers.
fn batches(images: usize, shapes: [Shape; 2]) -> [Vec<f32>; 2] {
    let [first, second] = shapes.map(|s| images * s.iter().product::<usize>());
    let numbers = reference_input(first + second);
    [numbers[..first].to_vec(), numbers[first..].to_vec()]
}

/// All outputs of all images, in order.
fn outputs(plan: &Plan, images: usize, threads: usize, inputs: &[Input<'_>]) -> Vec<Vec<f32>> {
    let mut workspace = plan.workspace(images, threads);
    plan.run(&mut workspace, inputs).unwrap();
    let names: Vec<String> = plan.outputs().map(|(name, _)| name.to_owned()).collect();
    let of_name = |name: &String| {
        (0..images).flat_map(|image| plan.named_output(&workspace, name, image).unwrap()).collect::<Vec<f32>>()
    };
    names.iter().map(of_name).collect()
}

/// The largest deviation of a plan's outputs from the interpreter's, relative to each output's root mean square.
fn deviation(seed: u64, images: usize, options: &PlanOptions) -> f64 {
    let (graph, shapes) = network(seed);
    let weights = Weights::reference(&graph);
    let [x, y] = batches(images, shapes);
    let plan = Plan::new(&graph, &weights, shapes.to_vec(), options).unwrap();
    let got = outputs(&plan, images, 2, &[Input::Real(&x), Input::Real(&y)]);
    let tensor = |[c, h, w]: Shape, numbers: &[f32]| Tensor::<f64>::from_f32([images, c, h, w], numbers);
    let exact = infer_all(&graph, &weights, &[tensor(shapes[0], &x), tensor(shapes[1], &y)]).unwrap();
    let mut worst: f64 = 0.0;
    for (output, got) in graph.outputs().iter().zip(got) {
        let expected = &exact[output.value].data;
        assert_eq!(got.len(), expected.len(), "network {seed}, {}", output.name);
        let rms = (expected.iter().map(|v| v * v).sum::<f64>() / got.len() as f64).sqrt().max(1e-6);
        let off = got.iter().zip(expected).map(|(&g, e)| (f64::from(g) - e).abs()).fold(0.0, f64::max);
        worst = worst.max(off / rms);
    }
    worst
}

#[test]
fn random_networks_of_two_inputs_agree_with_the_interpreter() {
    for seed in 0..150 {
        for isa in Isa::available() {
            let off = deviation(seed, 1 + seed as usize % 3, &PlanOptions { isa, ..PlanOptions::default() });
            assert!(off < 3e-5, "network {seed}, {isa}: {off:.1e}");
        }
        let off = deviation(seed, 1, &PlanOptions::strict());
        assert!(off < 3e-5, "network {seed}, strict: {off:.1e}");
    }
}

#[test]
fn outputs_stay_without_any_of_the_rewrites() {
    for (seed, rewrite) in (0..40).flat_map(|seed| Rewrite::ALL.map(|r| (seed, r))) {
        let options = PlanOptions { rewrites: Rewrites::all().without(rewrite), ..PlanOptions::default() };
        let off = deviation(seed, 1, &options);
        assert!(off < 3e-5, "network {seed} without {rewrite}: {off:.1e}");
    }
}

#[test]
fn neither_threads_nor_batch_change_a_bit() {
    for seed in 0..40 {
        let (graph, shapes) = network(seed);
        let plan = Plan::new(&graph, &Weights::reference(&graph), shapes.to_vec(), &PlanOptions::default()).unwrap();
        let [x, y] = batches(3, shapes);
        let inputs = [Input::Real(&x), Input::Real(&y)];
        let all = outputs(&plan, 3, 1, &inputs);
        assert!(outputs(&plan, 3, 3, &inputs) == all, "network {seed}: threads give other bits");
        for image in 0..3 {
            let of_image = |numbers: &[f32], shape: Shape| {
                let len: usize = shape.iter().product();
                numbers[image * len..][..len].to_vec()
            };
            let [x, y] = [of_image(&x, shapes[0]), of_image(&y, shapes[1])];
            let alone = outputs(&plan, 1, 2, &[Input::Real(&x), Input::Real(&y)]);
            for (alone, all) in alone.iter().zip(&all) {
                assert!(
                    all[image * alone.len()..][..alone.len()] == alone[..],
                    "network {seed}: the batch gives other bits"
                );
            }
        }
    }
}

/// Two pictures that go ways of their own, each through a stem, and the sum of both.
fn twins() -> Graph {
    let mut b = Builder::new();
    let way = |b: &mut Builder, name: &str| {
        let x = b.named_input(name, 3);
        b.conv(&format!("{name}.conv"), x, Conv::new(16, 3).stride(2))
    };
    let (one, two) = (way(&mut b, "one"), way(&mut b, "two"));
    let sum = b.add("sum", one, two);
    b.finish_named(&[("sum", sum), ("one", one), ("two", two)]).unwrap()
}

#[test]
fn each_of_two_pictures_has_a_stem_and_a_normalisation_of_its_own() {
    let plain = twins();
    let (mean, std) = ([0.5, 0.4, 0.3], [0.25, 0.2, 0.3]);
    let graph = with_normalise_of(&plain, plain.inputs()[1], &mean, &std).unwrap();
    let weights = Weights::reference(&graph);
    let pixels: Vec<u8> = (0..3 * 64 * 48).map(|i| (i * 7919 % 256) as u8).collect();
    let numbers = reference_input(pixels.len());
    let inputs = [Input::Real(&numbers), Input::Pixels(&pixels)];
    let shapes = vec![[3, 64, 48]; 2];
    let [fast, strict] = [PlanOptions::default(), PlanOptions::strict()].map(|options| {
        let plan = Plan::new(&graph, &weights, shapes.clone(), &options).unwrap();
        let takes: Vec<(&str, bool)> = plan.inputs().iter().map(|i| (i.name.as_str(), i.takes_pixels)).collect();
        assert_eq!(takes, [("one", false), ("two", true)]);
        let stems = plan.report().steps.iter().filter(|s| s.kernel.contains("stem")).count();
        (stems, outputs(&plan, 1, 2, &inputs))
    });
    assert_eq!((fast.0, strict.0), (2, 0));
    let assert_near = |got: &[Vec<f32>]| {
        assert_eq!(got.len(), strict.1.len());
        for (got, strict) in got.iter().zip(&strict.1) {
            let largest = strict.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            assert!(got.iter().zip(strict).all(|(a, b)| (a - b).abs() <= 1e-5 * largest));
        }
    };
    assert_near(&fast.1);
    // A plan that measures its algorithms runs the network as well.
    let options = PlanOptions { tune: Some(Choices::default()), ..PlanOptions::default() };
    let tuned = Plan::new(&graph, &weights, shapes, &options).unwrap();
    assert_near(&outputs(&tuned, 1, 2, &inputs));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let graph = twins();
    let weights = Weights::reference(&graph);
    let made = |shapes: Vec<Shape>| Plan::new(&graph, &weights, shapes, &PlanOptions::default());
    let told = made(vec![[3, 8, 8]]).unwrap_err().to_string();
    assert_eq!(told, "the network has 2 inputs (one, two), and shapes for 1 are given");
    assert!(made(vec![[3, 8, 8], [3, 16, 16]]).unwrap_err().to_string().contains("sum: add joins"));
    let plan = made(vec![[3, 8, 8]; 2]).unwrap();
    let mut workspace = plan.workspace(1, 1);
    let (right, wrong) = ([0.0; 192], [0.0; 191]);
    assert_eq!(plan.run(&mut workspace, Input::Real(&right)), Err(RunError::Inputs { found: 1, expected: 2 }));
    let told = [(1, 2), (2, 1), (0, 3)].map(|(found, expected)| RunError::Inputs { found, expected }.to_string());
    let given = ["2 inputs, 1 is given", "1 input, 2 are given", "3 inputs, 0 are given"];
    assert_eq!(told, given.map(|given| format!("the network takes {given}")));
    let told = plan.run(&mut workspace, [Input::Real(&right), Input::Real(&wrong)]).unwrap_err().to_string();
    assert!(told.starts_with("input `two`: 191 numbers"), "{told}");
    let told = plan.run(&mut workspace, [Input::Pixels(&[0; 192]), Input::Real(&right)]).unwrap_err().to_string();
    assert_eq!(told, "input `one`: the network takes real numbers, not pixels");
    assert!(plan.run(&mut workspace, [Input::Real(&right), Input::Real(&right)]).is_ok());
    assert_eq!(plan.named_output(&workspace, "three", 0), None);
    assert_eq!(plan.outputs().collect::<Vec<_>>(), ["sum", "one", "two"].map(|name| (name, [16, 4, 4])));
}

#[test]
fn what_cannot_be_trained_is_refused_by_name() {
    let told = |body: &dyn Fn(&mut Builder, Value) -> Value| {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = body(&mut b, x);
        let x = b.global_avg_pool("mean", x);
        let logits = b.linear("fc", x, 4);
        let graph = with_loss(&b.finish(logits).unwrap()).unwrap();
        TrainPlan::new(&graph, [3, 8, 8], Isa::detect()).unwrap_err().to_string()
    };
    let normalise = Op::Normalise { mean: vec![0.5; 3], std: vec![0.5; 3] };
    let beside = told(&|b, x| {
        let y = b.push("normalise", normalise.clone(), &[x]);
        b.add("sum", x, y)
    });
    assert!(beside.contains("normalise") && beside.contains("first or not at all"), "{beside}");
    let twice = told(&|b, x| {
        let x = b.conv("conv", x, Conv::new(4, 3));
        let mean = b.global_avg_pool("early", x);
        b.push("other", Op::SoftmaxCrossEntropy, &[mean]);
        x
    });
    assert!(twice.contains("other") && twice.contains("only loss"), "{twice}");
}
