//! Runs ONNX files on given numbers and compares what they give, for `bench/onnx_cases`:
//!
//!     cargo run --release --example onnx_cases -- FOLDER...
//!
//! A folder has `model.onnx` and, in the order of the file's inputs and outputs, `input_0.bin`, `output_0.bin` and so on: numbers of
//! single precision, row-major, of all images. A line is printed for each: its folder, `passed`, `wrong` or `refused`, and why. The
//! interpreter is asked, and the optimised plan.

use std::path::Path;

use cspnet::engine::reference::{Tensor, infer_all};
use cspnet::engine::{Input, Plan, PlanOptions};
use cspnet::formats::onnx::{self, Network, ReadOptions};
use cspnet::graph::{Shape, Weights};

/// How far a number may be off: this much, and this share of the number (the limits of ONNX's own tests).
const ALLOWED: [f32; 2] = [1e-5, 1e-3];

/// Pictures with more multiply-adds than this are too many for the interpreter.
const MAX_MACS: u64 = 200_000_000;

fn main() {
    for folder in std::env::args().skip(1) {
        let (verdict, why) = match judge(Path::new(&folder)) {
            Ok(()) => ("passed", String::new()),
            Err(Verdict::Refused(why)) => ("refused", why),
            Err(Verdict::Wrong(why)) => ("wrong", why),
        };
        println!("{folder}\t{verdict}\t{}", why.replace(['\n', '\t'], " "));
    }
}

/// What is the matter.
enum Verdict {
    Refused(String),
    Wrong(String),
}

fn wrong(why: impl ToString) -> Verdict {
    Verdict::Wrong(why.to_string())
}

fn judge(folder: &Path) -> Result<(), Verdict> {
    let refused = |e: cspnet::formats::FormatError| Verdict::Refused(e.to_string());
    let network = Network::open(folder.join("model.onnx"), &ReadOptions::default()).map_err(refused)?;
    let graph = network.graph();
    let weights = network.weights().to_weights().map_err(wrong)?;
    let inputs: Vec<Vec<f32>> =
        (0..network.inputs().len()).map(|i| numbers(folder, "input", i)).collect::<Result<_, _>>()?;
    let expected: Vec<Vec<f32>> =
        (0..network.outputs().len()).map(|i| numbers(folder, "output", i)).collect::<Result<_, _>>()?;
    let images = inputs[0].len() / network.inputs()[0].sides.iter().product::<usize>();
    let shapes: Vec<Shape> = network.inputs().iter().map(onnx::Tensor::shape).collect();
    let plan = plan(&network, &weights, &shapes, &inputs, images)?;
    compare("the plan", &plan, &expected)?;
    let macs = cspnet::graph::analysis::Count::of(graph, shapes.clone()).map_err(wrong)?.macs();
    if macs * images as u64 > MAX_MACS {
        return Ok(());
    }
    let tensors: Vec<Tensor<f32>> = shapes
        .iter()
        .zip(&inputs)
        .map(|(&[c, h, w], data)| Tensor { shape: [images, c, h, w], data: data.clone() })
        .collect();
    let values = infer_all(graph, &weights, &tensors).map_err(wrong)?;
    let given: Vec<Vec<f32>> = graph.outputs().iter().map(|o| values[o.value].data.clone()).collect();
    compare("the interpreter", &given, &expected)
}

/// The numbers of a file.
fn numbers(folder: &Path, what: &str, i: usize) -> Result<Vec<f32>, Verdict> {
    let bytes = std::fs::read(folder.join(format!("{what}_{i}.bin"))).map_err(wrong)?;
    Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
}

/// What the optimised plan gives.
fn plan(
    network: &Network<'_>,
    weights: &Weights,
    shapes: &[Shape],
    inputs: &[Vec<f32>],
    images: usize,
) -> Result<Vec<Vec<f32>>, Verdict> {
    let plan = Plan::new(network.graph(), weights, shapes, &PlanOptions::default()).map_err(wrong)?;
    let mut workspace = plan.workspace(images, 2);
    let inputs: Vec<Input<'_>> = inputs.iter().map(|numbers| Input::Real(numbers)).collect();
    plan.run(&mut workspace, &inputs[..]).map_err(wrong)?;
    let all = |name: &str| {
        (0..images).flat_map(|image| plan.named_output(&workspace, name, image).unwrap_or_default()).collect()
    };
    Ok(network.graph().outputs().iter().map(|o| all(&o.name)).collect())
}

fn compare(who: &str, given: &[Vec<f32>], expected: &[Vec<f32>]) -> Result<(), Verdict> {
    for (i, (given, expected)) in given.iter().zip(expected).enumerate() {
        if given.len() != expected.len() {
            return Err(wrong(format!(
                "{who} gives {} numbers as output {i} instead of {}",
                given.len(),
                expected.len()
            )));
        }
        let off = |(&a, &b): (&f32, &f32)| {
            let equal = a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= ALLOWED[0] + ALLOWED[1] * b.abs();
            !equal
        };
        if let Some(place) = given.iter().zip(expected).position(off) {
            return Err(wrong(format!(
                "{who} gives {} as number {place} of output {i} instead of {}",
                given[place], expected[place]
            )));
        }
    }
    Ok(())
}
