//! Model files: what is written comes back, and what has been tampered with is refused.

use cspnet_formats::{Dtype, FormatError, Manifest, ModelFile, OpenModel, read_published};
use cspnet_graph::{Builder, Conv, Graph, Weights};
use cspnet_vision::{Filter, Preprocess};
use proptest::prelude::*;

fn graph() -> Graph {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("conv", x, Conv::new(2, 1));
    let x = b.batch_norm("norm", x);
    let x = b.global_avg_pool("pool", x);
    let x = b.linear("classifier", x, 2);
    b.finish(x).unwrap()
}

fn model(dtype: Dtype) -> ModelFile {
    let mut manifest = Manifest::new("small", graph());
    manifest.labels = vec!["cat".into(), "chien \"é\"".into()];
    manifest.preprocess = Some(Preprocess::imagenet(64, 0.875, Filter::Bicubic).unwrap());
    manifest.licence = Some("CC0-1.0".into());
    manifest.dtype = dtype;
    ModelFile { weights: Weights::reference(&manifest.graph), manifest }
}

/// A file with a hand-written header.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

#[test]
fn what_is_written_comes_back_and_is_the_same_every_time() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
        let model = model(dtype);
        let bytes = model.to_bytes().unwrap();
        assert_eq!(bytes, model.to_bytes().unwrap());
        let read = ModelFile::read_bytes(&bytes).unwrap();
        assert_eq!(read.manifest, model.manifest);
        assert_eq!(read.to_bytes().unwrap(), bytes);
        assert_eq!(read.hash().unwrap(), model.hash().unwrap());
        assert_eq!(read.weights, model.rounded().unwrap());
        if dtype == Dtype::F32 {
            assert_eq!(read, model);
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        model.write(&path).unwrap();
        assert_eq!(ModelFile::read(&path).unwrap(), read);
    }
}

#[test]
fn every_flipped_bit_and_every_missing_byte_is_noticed() {
    let bytes = model(Dtype::F32).to_bytes().unwrap();
    for i in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[i] ^= 1 << bit;
            assert!(ModelFile::read_bytes(&flipped).is_err(), "bit {bit} of byte {i}");
        }
        assert!(ModelFile::read_bytes(&bytes[..i]).is_err(), "cut at {i}");
    }
    assert!(ModelFile::read_bytes(&[&bytes[..], b"x"].concat()).is_err());
    let mut zeros = bytes.clone();
    let tail = zeros.len() - 40;
    zeros[tail..].fill(0);
    assert!(ModelFile::read_bytes(&zeros).is_err());
}

#[test]
fn numbers_are_read_from_an_open_file_when_they_are_asked_for() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        model(dtype).write(&path).unwrap();
        let whole = ModelFile::read(&path).unwrap();
        let open = OpenModel::open(&path).unwrap();
        open.verify().unwrap();
        let weights = open.weights();
        assert_eq!(weights.to_weights().unwrap(), whole.weights);
        let (pieces, mut two) = (weights.get(0).open().unwrap(), [0.0; 2]);
        pieces(3, &mut two).unwrap();
        assert_eq!(two, whole.weights.get(0)[3..5]);

        // The same bytes again, but nobody knows what was there in between.
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 30]).unwrap();
        let error = weights.to_weights().unwrap_err().to_string();
        assert!(error.contains("m.safetensors: cannot be read"), "{error}");
        assert!(open.verify().is_err());
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(weights.to_weights().unwrap(), whole.weights);
        let error = open.verify().unwrap_err().to_string();
        assert!(error.contains("written to while it was read"), "{error}");
    }
}

#[test]
fn overlapping_and_holed_tensors_are_refused() {
    let tensor = |name: &str, from: usize, to: usize| {
        format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[{from},{to}]}}")
    };
    for second in [(4, 12), (16, 24), (8, 24)] {
        let header = format!("{{{},{}}}", tensor("a", 0, 8), tensor("b", second.0, second.1));
        let error = ModelFile::read_bytes(&file(&header, &[0; 24])).unwrap_err();
        assert!(matches!(error, FormatError::Damaged(_)), "{error}");
    }
}

#[test]
fn foreign_and_future_files_are_told_apart() {
    let foreign = file("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", &[0; 4]);
    let error = ModelFile::read_bytes(&foreign).unwrap_err();
    assert!(matches!(error, FormatError::NoManifest) && error.to_string().contains("--assume"));
    let mut future = model(Dtype::F32);
    future.manifest.version = 2;
    assert!(future.to_bytes().unwrap_err().to_string().contains("version 2"));
    let mut labels = model(Dtype::F32);
    labels.manifest.labels.pop();
    assert!(labels.to_bytes().unwrap_err().to_string().contains("1 labels for 2 outputs"));
}

#[test]
fn numbers_that_cannot_be_stored_are_named() {
    let beyond = [(f32::NAN, Dtype::F32), (f32::INFINITY, Dtype::F16), (1e6, Dtype::F16), (f32::MAX, Dtype::Bf16)];
    for (value, dtype) in beyond {
        let mut model = model(dtype);
        model.weights.get_mut(0)[0] = value;
        assert!(model.to_bytes().unwrap_err().to_string().contains("conv.weight"));
    }
}

#[test]
fn inputs_and_outputs_by_name_come_back_and_one_of_each_is_written_as_ever() {
    let mut b = Builder::new();
    let left = b.named_input("left", 3);
    let wide = b.conv("conv", left, Conv::new(8, 1));
    let right = b.named_input("right", 8);
    let sum = b.add("sum", wide, right);
    let several = b.finish_named(&[("logits", sum), ("features", wide)]).unwrap();
    let model = ModelFile { weights: Weights::reference(&several), manifest: Manifest::new("two", several) };
    assert_eq!(ModelFile::read_bytes(&model.to_bytes().unwrap()).unwrap(), model);
    let json = |graph: &Graph| serde_json::to_value(graph).unwrap();
    let outputs = serde_json::json!([{"name": "logits", "value": 3}, {"name": "features", "value": 1}]);
    assert_eq!(
        (&json(&model.manifest.graph)["outputs"], &json(&model.manifest.graph)["output"]),
        (&outputs, &3.into())
    );
    let plain = json(&graph());
    let fields: Vec<&String> = plain.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["modules", "nodes", "output", "params"]);
    let mut b = Builder::new();
    let x = b.input(3);
    let named = b.finish_named(&[("picture", x)]).unwrap();
    assert_eq!(serde_json::from_value::<Graph>(json(&named)).unwrap(), named);
}

#[test]
fn a_hostile_graph_is_refused_without_being_built() {
    let text = |graph: &str| {
        let manifest = format!(
            "{{\"version\":1,\"network\":\"x\",\"graph\":{graph},\"labels\":[],\"preprocess\":null,\"training\":{{}},\
             \"licence\":null,\"dtype\":\"f32\"}}"
        );
        let quoted = serde_json::to_string(&manifest).unwrap();
        file(&format!("{{\"__metadata__\":{{\"cspnet\":{quoted},\"cspnet.sha256\":\"0\"}}}}"), &[])
    };
    let input = "{\"path\":\"input\",\"op\":\"input\",\"channels\":3}";
    let conv = |out: u64, group: u64| {
        format!(
            "{{\"path\":\"c\",\"op\":\"conv\",\"out\":{out},\"window\":{{\"kernel\":[1,1],\"stride\":[1,1],\
             \"padding\":[0,0],\"dilation\":[1,1]}},\"groups\":{group},\"bias\":false,\"inputs\":[0],\"params\":[0]}}"
        )
    };
    let graph = |nodes: &str, params: &str| {
        format!("{{\"nodes\":[{nodes}],\"params\":[{params}],\"modules\":{{}},\"output\":0}}")
    };
    let outputs = |outputs: &str| {
        let nodes = format!("{input},{}", input.replace("\"input\",\"op", "\"second\",\"op"));
        format!("{{\"nodes\":[{nodes}],\"params\":[],\"modules\":{{}},\"output\":0,\"outputs\":{outputs}}}")
    };
    let huge = "{\"name\":\"p\",\"shape\":[18446744073709551615,3,1,1],\"role\":\"weight\",\
                \"init\":{\"distribution\":\"constant\",\"value\":0.0}}";
    for hostile in [
        graph(&format!("{input},{}", conv(1_000_000_000, 1)), ""),
        graph(&format!("{input},{}", conv(8, 0)), ""),
        graph(&format!("{input},{}", conv(8, 1)), huge),
        graph("{\"path\":\"input\",\"op\":\"input\",\"channels\":0}", ""),
        graph("{\"path\":\"x\",\"op\":\"concat\",\"inputs\":[0]}", ""),
        graph(&format!("{input},{input}"), ""),
        graph(&format!("{{\"path\":\"x\",\"op\":\"concat\"}},{input}"), ""),
        outputs("[{\"name\":\"a\",\"value\":1}]"),
        outputs("[{\"name\":\"a\",\"value\":0},{\"name\":\"b\",\"value\":18446744073709551615}]"),
        outputs("[{\"name\":\"a\",\"value\":0},{\"name\":\"a\",\"value\":1}]"),
        outputs("[{\"name\":\"a\",\"value\":0,\"size\":1}]"),
        outputs("[{\"name\":\"\\u001b[2J\",\"value\":0}]"),
        outputs(&format!("[{{\"name\":\"a\",\"value\":0}}{}]", ",{\"name\":\"b\",\"value\":1}".repeat(70_000))),
        "[".repeat(100_000),
    ] {
        let error = ModelFile::read_bytes(&text(&hostile)).unwrap_err();
        assert!(matches!(error, FormatError::Manifest(_)), "{error}");
    }
}

#[test]
fn published_files_match_by_name_or_say_what_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("published.safetensors");
    let original = model(Dtype::F32);
    original.write(&path).unwrap();
    let (weights, matching) = read_published(&path, &graph()).unwrap();
    assert_eq!(weights, original.weights);
    assert_eq!((matching.matched.len(), matching.left_over.len()), (7, 0));
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("conv", x, Conv::new(4, 1));
    let x = b.conv("other", x, Conv::new(4, 1));
    let error = read_published(&path, &b.finish(x).unwrap()).unwrap_err().to_string();
    assert!(error.contains("other.weight is missing") && error.contains("[2, 3, 1, 1]"), "{error}");
    assert!(error.contains("left over: classifier.bias"), "{error}");
}

#[test]
fn folders_are_no_files() {
    let error = ModelFile::read(std::env::temp_dir()).unwrap_err();
    assert!(matches!(error, FormatError::NotAFile { .. }), "{error}");
}

proptest! {
    #[test]
    fn random_bytes_are_refused(bytes: Vec<u8>) {
        prop_assert!(ModelFile::read_bytes(&bytes).is_err());
        let framed = [&(bytes.len() as u64).to_le_bytes()[..], &bytes].concat();
        prop_assert!(ModelFile::read_bytes(&framed).is_err());
    }
}
