//! ONNX files of other programs, read and run: what ONNX Runtime makes of the files in `tests/golden/onnx` is in `expected.json`
//! there, with the script that made both.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cspnet::engine::reference::{Tensor, infer};
use cspnet::engine::{Input, Plan, PlanOptions};
use cspnet::formats::onnx::{Network, ReadOptions};
use serde::Deserialize;

/// What a file is given and gives.
#[derive(Deserialize)]
struct Case {
    input: Vec<usize>,
    outputs: BTreeMap<String, Array>,
}

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    numbers: Vec<f32>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/onnx")
}

/// As `numbers` of the script.
fn numbers(shape: &[usize]) -> Vec<f32> {
    let at = |i: usize| ((i * 7919 + 17) % 2003) as f64 / 1001.5 - 1.0;
    (0..shape.iter().product()).map(|i| at(i) as f32).collect()
}

fn check(what: &str, given: &[f32], expected: &[f32]) {
    assert_eq!(given.len(), expected.len(), "{what}");
    for (place, (a, b)) in given.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-5 + 1e-4 * b.abs(), "{what}: {a} instead of {b} at {place}");
    }
}

#[test]
fn files_of_other_programs_give_what_onnx_runtime_gives() {
    let cases: BTreeMap<String, Case> =
        serde_json::from_slice(&std::fs::read(folder().join("expected.json")).unwrap()).unwrap();
    assert_eq!(cases.len(), 7);
    for (name, case) in &cases {
        let size = [*case.input.get(2).unwrap_or(&1), *case.input.get(3).unwrap_or(&1)];
        let options = ReadOptions { size: Some(size), ..ReadOptions::default() };
        let network = Network::open(folder().join(format!("{name}.onnx")), &options).unwrap();
        let (graph, input) = (network.graph(), &network.inputs()[0]);
        let images = if input.batched { case.input[0] } else { 1 };
        let [c, h, w] = input.shape();
        let picture = numbers(&case.input);
        let weights = network.weights().to_weights().unwrap();
        let tensor = Tensor { shape: [images, c, h, w], data: picture.clone() };
        let values = infer(graph, &weights, &tensor).unwrap();
        let plan = Plan::new(graph, network.weights(), [c, h, w], &PlanOptions::default()).unwrap();
        let mut workspace = plan.workspace(images, 2);
        plan.run(&mut workspace, Input::Real(&picture)).unwrap();
        assert_eq!(graph.outputs().len(), case.outputs.len());
        for (output, tensor) in graph.outputs().iter().zip(network.outputs()) {
            let expected = &case.outputs[&output.name];
            assert_eq!(tensor.sides, expected.shape[usize::from(tensor.batched)..], "{name}: {}", output.name);
            let what = format!("{name}: {}", output.name);
            check(&what, &values[output.value].data, &expected.numbers);
            let all = (0..images).flat_map(|i| plan.named_output(&workspace, &output.name, i).unwrap());
            check(&format!("{what}, planned"), &all.collect::<Vec<_>>(), &expected.numbers);
        }
    }
}
