//! Files that PyTorch wrote are read, whatever they hold besides weights (`tests/golden/pytorch`, with the script that made them).

use std::path::PathBuf;

use cspnet_formats::{FormatError, Matching, ModelFile, Published, read_published, read_published_bytes};
use cspnet_graph::{Builder, Conv, Graph, Weights};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/pytorch").join(name)
}

fn network(classes: usize) -> Graph {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("conv", x, Conv::new(4, 3));
    let x = b.batch_norm("norm", x);
    let x = b.global_avg_pool("pool", x);
    let x = b.linear("fc", x, classes);
    b.finish(x).unwrap()
}

fn numbers(weights: &Weights) -> Vec<f32> {
    weights.tensors().concat()
}

fn read(name: &str, part: Option<&str>) -> (Vec<f32>, Matching) {
    let (weights, matching) = Published::open(path(name)).unwrap().weights(&network(3), part).unwrap();
    (numbers(&weights), matching)
}

#[test]
fn a_state_dict_is_read_to_the_last_bit() {
    let (read, matching) = read("state_dict.pth", None);
    assert_eq!(read, numbers(&Weights::reference(&network(3))));
    assert_eq!((matching.matched.len(), matching.left_over.len()), (7, 0));
    assert_eq!((matching.part.as_str(), matching.prefix.as_str(), matching.other_parts.len()), ("", "", 0));
}

#[test]
fn a_checkpoint_gives_its_averaged_weights_or_those_asked_for() {
    let reference = numbers(&Weights::reference(&network(3)));
    let (averaged, matching) = read("checkpoint.pth", None);
    assert_eq!(averaged, reference.iter().map(|v| v / 2.0).collect::<Vec<_>>());
    assert_eq!((matching.part.as_str(), matching.prefix.as_str()), ("state_dict_ema", "module."));
    assert_eq!(matching.other_parts, ["state_dict"]);
    assert!(matching.left_over.is_empty());
    let (plain, matching) = read("checkpoint.pth", Some("state_dict"));
    assert_eq!((plain, matching.prefix.as_str()), (reference, ""));
    let error = Published::open(path("checkpoint.pth")).unwrap().weights(&network(3), Some("model")).unwrap_err();
    let told = error.to_string();
    assert!(told.contains("no `model`") && told.contains("`state_dict`, `state_dict_ema`"), "{told}");
    assert!(told.contains("checkpoint.pth"), "{told}");
}

#[test]
fn a_module_that_was_stored_whole_gives_its_tensors() {
    let (read, matching) = read("module.pt", None);
    assert_eq!((read, matching.matched.len()), (numbers(&Weights::reference(&network(3))), 7));
}

#[test]
fn spread_numbers_of_all_precisions_are_read() {
    let (read, matching) = read("spread.pth", None);
    assert_eq!(matching.left_over, Vec::<String>::new());
    let reference = Weights::reference(&network(3));
    let params = network(3).params().to_vec();
    let mut at = 0;
    for (param, expected) in params.iter().zip(reference.tensors()) {
        for &expected in expected {
            let expected = match param.name.as_str() {
                "conv.weight" => half::f16::from_f32(expected).to_f32(),
                "norm.running_mean" => half::bf16::from_f32(expected).to_f32(),
                _ => expected,
            };
            assert_eq!(read[at], expected, "{} {at}", param.name);
            at += 1;
        }
    }
    assert_eq!(read.len(), at);
}

#[test]
fn the_old_form_says_how_it_becomes_the_new_one() {
    let error = read_published(path("old.pth"), &network(3)).unwrap_err().to_string();
    assert!(error.contains("before version 1.6") && error.contains("weights_only=True"), "{error}");
}

#[test]
fn where_a_model_is_expected_files_of_pytorch_are_told_to_be_imported() {
    for name in ["state_dict.pth", "old.pth"] {
        let error = ModelFile::read(path(name)).unwrap_err().to_string();
        assert!(error.contains("does not say which network") && error.contains("cspnet import"), "{error}");
    }
}

#[test]
fn what_does_not_fit_is_told_tensor_by_tensor() {
    let error = read_published(path("state_dict.pth"), &network(5)).unwrap_err();
    let FormatError::File { source, .. } = error else { panic!("{error}") };
    let FormatError::Mismatch(matching) = *source else { panic!("{source}") };
    assert_eq!(matching.matched.len(), 5);
    assert_eq!(matching.unfit[0], ("fc.weight".into(), "has shape [3, 4] instead of [5, 4]".into()));
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("conv", x, Conv::new(4, 3));
    let x = b.conv("second", x, Conv::new(4, 1));
    let error = read_published(path("state_dict.pth"), &b.finish(x).unwrap()).unwrap_err().to_string();
    assert!(error.contains("second.weight is missing") && error.contains("left over: fc.bias"), "{error}");
}

#[test]
fn files_are_told_apart_by_their_bytes() {
    for (bytes, told) in [
        (&b"<!DOCTYPE html><html>"[..], "neither a safetensors file nor"),
        (b"version https://git-lfs.github.com/spec/v1", "neither a safetensors file nor"),
        (b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00N.", "neither a safetensors file nor"),
        (b"", "too short for a header"),
        (b"PK\x03\x04", "the archive's end"),
        (b"PK\x03\x04\x00\x00\x00\x00\x00\x00", "the archive's end"),
    ] {
        let error = read_published_bytes(bytes, &network(3)).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

#[test]
fn a_file_that_was_cut_or_changed_never_gives_other_weights() {
    let whole = std::fs::read(path("state_dict.pth")).unwrap();
    let graph = network(3);
    let expected = Weights::reference(&graph);
    for end in 0..whole.len() {
        assert!(read_published_bytes(&whole[..end], &graph).is_err(), "cut at {end}");
    }
    let mut changed = whole.clone();
    for at in 0..whole.len() {
        for value in [whole[at] ^ 1, whole[at] ^ 0x80, 0, 0xFF] {
            changed[at] = value;
            match read_published_bytes(&changed, &graph) {
                // Padding, dates and what a zip archive says of the program that wrote it do not count.
                Ok((weights, _)) => assert_eq!(weights, expected, "byte {at} as {value}"),
                Err(error) => assert!(!error.to_string().contains(char::is_control), "{error}"),
            }
        }
        changed[at] = whole[at];
    }
}
