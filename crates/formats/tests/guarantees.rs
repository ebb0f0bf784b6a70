//! Whatever can be written can be read, and what could not be read is refused when it is written.

use cspnet_formats::{Dtype, FormatError, Manifest, ModelFile, read_published_bytes};
use cspnet_graph::{Builder, Conv, Graph, Weights};
use proptest::prelude::*;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

fn graph(first: &str, second: &str) -> Graph {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv(first, x, Conv::new(2, 1));
    let x = b.batch_norm("features.denseblock1.denselayer12.norm1", x);
    let x = b.conv(second, x, Conv::new(2, 1));
    b.finish(x).unwrap()
}

fn model(graph: Graph) -> ModelFile {
    let weights = Weights::reference(&graph);
    ModelFile { manifest: Manifest::new("small", graph), weights }
}

/// The tensors of a model in a file that has no manifest, under other names.
fn published(model: &ModelFile, rename: impl Fn(&str) -> Vec<String>, dtype: safetensors::Dtype) -> Vec<u8> {
    let mut tensors = Vec::new();
    for (param, numbers) in model.manifest.graph.params().iter().zip(model.weights.tensors()) {
        let bytes: Vec<u8> = match dtype {
            safetensors::Dtype::BF16 => numbers.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect(),
            safetensors::Dtype::F16 => numbers.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect(),
            _ => numbers.iter().flat_map(|v| v.to_le_bytes()).collect(),
        };
        tensors.extend(rename(&param.name).into_iter().map(|name| (name, param.shape.clone(), bytes.clone())));
    }
    let views = tensors.iter().map(|(n, s, b)| (n.clone(), TensorView::new(dtype, s.clone(), b).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn a_file_of_a_later_form_says_so_even_if_it_has_more_fields() {
    let bytes = model(graph("a", "b")).to_bytes().unwrap();
    let (at, length) = (8, u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize);
    let header: Value = serde_json::from_slice(&bytes[at..at + length]).unwrap();
    let mut manifest: Value = serde_json::from_str(header["__metadata__"]["cspnet"].as_str().unwrap()).unwrap();
    manifest["version"] = json!(2);
    manifest["novelty"] = json!("of version 2");
    let mut header = header;
    header["__metadata__"]["cspnet"] = json!(manifest.to_string());
    let header = header.to_string();
    let later = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[at + length..]].concat();
    let error = ModelFile::read_bytes(&later).unwrap_err().to_string();
    assert!(error.contains("version 2") && error.contains("update"), "{error}");
}

#[test]
fn two_parameters_of_one_name_cannot_be_written() {
    let error = model(graph("same", "same")).to_bytes().unwrap_err();
    assert!(error.to_string().contains("same.weight"), "{error}");
}

#[test]
fn names_that_are_not_read_are_not_written() {
    for (name, reason) in [("n".repeat(600), "a name of 607 bytes"), ("a\u{7f}".into(), "control character")] {
        let error = model(graph(&name, "b")).to_bytes().unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn a_manifest_that_is_too_long_to_be_read_cannot_be_written() {
    let mut long = model(graph("a", "b"));
    long.manifest.training.insert("notes".into(), json!("x".repeat((64 << 20) + 1)));
    assert!(matches!(long.to_bytes(), Err(FormatError::Manifest(_))));
    // Every quotation mark takes four bytes of the header.
    let mut quoted = model(graph("a", "b"));
    quoted.manifest.training.insert("notes".into(), json!("\"".repeat(30 << 20)));
    assert!(matches!(quoted.to_bytes(), Err(FormatError::Manifest(_))));
}

#[test]
fn numbers_of_one_dimension_keep_single_precision() {
    let f16 = |v: f32| half::f16::from_f32(v).to_f32();
    let bf16 = |v: f32| half::bf16::from_f32(v).to_f32();
    for (dtype, round) in [(Dtype::F16, f16 as fn(f32) -> f32), (Dtype::Bf16, bf16)] {
        let mut half = model(graph("a", "b"));
        half.manifest.dtype = dtype;
        let variance = half.manifest.graph.params().iter().position(|p| p.name.ends_with("running_var")).unwrap();
        half.weights.get_mut(variance).copy_from_slice(&[1e9, 1e-9]);
        let read = ModelFile::read_bytes(&half.to_bytes().unwrap()).unwrap();
        assert_eq!(read.weights.get(variance), [1e9, 1e-9]);
        let weight = half.weights.get(0).iter().map(|&v| round(v));
        assert_eq!(read.weights.get(0), weight.collect::<Vec<_>>());
    }
}

#[test]
fn published_names_of_old_and_of_today_and_all_precisions_are_read() {
    let model = model(graph("features.denseblock1.denselayer12.conv1", "features.conv0"));
    let old = |name: &str| vec![name.replace("norm1.", "norm.1.").replace("conv1.", "conv.1.")];
    let bytes = published(&model, old, safetensors::Dtype::F32);
    assert!(bytes.windows(8).any(|w| w == b"norm.1.w"));
    let (weights, matching) = read_published_bytes(&bytes, &model.manifest.graph).unwrap();
    assert_eq!((weights, matching.matched.len()), (model.weights.clone(), 6));
    for dtype in [safetensors::Dtype::F16, safetensors::Dtype::BF16] {
        let bytes = published(&model, |name| vec![name.into()], dtype);
        let (weights, _) = read_published_bytes(&bytes, &model.manifest.graph).unwrap();
        for (found, meant) in weights.tensors().concat().into_iter().zip(model.weights.tensors().concat()) {
            assert!((found - meant).abs() <= meant.abs() / 256.0 + 1e-7, "{found} for {meant}");
        }
    }
}

#[test]
fn a_tensor_under_its_old_and_its_new_name_is_refused() {
    let model = model(graph("a", "b"));
    let both = |name: &str| match name.contains("norm1.weight") {
        true => vec![name.into(), name.replace("norm1.", "norm.1.")],
        false => vec![name.into()],
    };
    let bytes = published(&model, both, safetensors::Dtype::F32);
    let error = read_published_bytes(&bytes, &model.manifest.graph).unwrap_err().to_string();
    assert!(error.contains("denselayer12.norm1.weight"), "{error}");
}

proptest! {
    #[test]
    fn facts_of_the_training_come_back_to_the_last_bit(rate in proptest::num::f64::NORMAL, text: String) {
        let mut trained = model(graph("a", "b"));
        trained.manifest.training.insert("rate".into(), json!(rate));
        trained.manifest.training.insert(text, json!([rate, null, {"deep": rate}]));
        let bytes = trained.to_bytes().unwrap();
        prop_assert_eq!(ModelFile::read_bytes(&bytes).unwrap(), trained);
    }
}
