//! Every name and every text of a file can be shown, and stands for one thing.

use cspnet_formats::{FormatError, Manifest, ModelFile, read_published_bytes};
use cspnet_graph::{Builder, Conv, Graph, Weights};
use cspnet_vision::Preprocess;
use serde_json::{Value, json};

/// A command to a terminal: erase the line.
const ESCAPE: &str = "\u{1b}[2K";

fn graph(channels: usize, layer: &str) -> Graph {
    let mut b = Builder::new();
    let x = b.input(channels);
    let x = b.conv(layer, x, Conv::new(3, 1));
    b.finish(x).unwrap()
}

fn manifest() -> Manifest {
    Manifest { labels: ["cat", "dog", "fish"].map(String::from).into(), ..Manifest::new("small", graph(3, "conv")) }
}

/// What is said of a manifest, which must say the same of it when it is written.
fn refusal(manifest: Manifest) -> String {
    let error = manifest.validate().unwrap_err().to_string();
    let weights = Weights::reference(&manifest.graph);
    assert_eq!(ModelFile { manifest, weights }.to_bytes().unwrap_err().to_string(), error);
    assert!(!error.contains(char::is_control), "{error:?}");
    error
}

fn labelled(labels: [&str; 3]) -> Manifest {
    Manifest { labels: labels.map(String::from).into(), ..manifest() }
}

/// A file with a header of these entries.
fn file(entries: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{{entries}}}");
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn tensor(name: &str, [from, to]: [usize; 2]) -> String {
    let shape = json!([(to - from) / 12, 3, 1, 1]);
    format!("{}:{}", json!(name), json!({"dtype": "F32", "shape": shape, "data_offsets": [from, to]}))
}

#[test]
fn no_label_is_empty_and_two_may_be_equal() {
    assert!(manifest().validate().is_ok());
    assert!(labelled(["crane", "dog", "crane"]).validate().is_ok());
    for empty in ["", " ", "\u{a0}"] {
        let error = refusal(labelled(["cat", empty, "fish"]));
        assert!(error.contains("label 1 (counted from 0) is empty"), "{error}");
    }
}

#[test]
fn texts_that_command_a_terminal_are_refused_wherever_they_stand() {
    let error = refusal(labelled(["cat", "dog", &format!("{ESCAPE}fish")]));
    assert!(error.contains("label 2") && error.contains("U+001B") && error.contains("write it without"), "{error}");
    let trained = |fact: &str, value: Value| Manifest { training: [(fact.into(), value)].into(), ..manifest() };
    for (manifest, place) in [
        (Manifest { network: ESCAPE.into(), ..manifest() }, "the network's name"),
        (Manifest { licence: Some("CC0\u{9b}31m".into()), ..manifest() }, "the licence"),
        (Manifest { graph: graph(3, ESCAPE), ..manifest() }, "a name in the graph"),
        (trained(ESCAPE, json!(1)), "the name of a fact"),
        (trained("data", json!("a\rb")), "training's `data`"),
        (trained("data", json!([1, {"deep": ["\u{7f}"]}])), "training's `data`"),
        (trained("data", json!({ ESCAPE: null })), "a key in training's `data`"),
    ] {
        let error = refusal(manifest);
        assert!(error.contains(place), "{error}");
    }
}

#[test]
fn errors_about_unread_files_command_no_terminal() {
    let unknown = json!({"version": 1, ESCAPE: 0}).to_string();
    let metadata = format!("\"__metadata__\":{}", json!({"cspnet": unknown}));
    let named = tensor(&format!("{ESCAPE}conv.weight"), [0, 36]);
    for bytes in [file(&metadata, &[]), file(&named, &[0; 36]), file(&tensor(ESCAPE, [4, 40]), &[0; 40])] {
        let read = ModelFile::read_bytes(&bytes).unwrap_err().to_string();
        let published = read_published_bytes(&bytes, &graph(3, "conv")).unwrap_err().to_string();
        assert!(![read, published].concat().contains(char::is_control));
    }
}

#[test]
fn a_name_that_stands_twice_in_a_header_is_refused() {
    let once = tensor("conv.weight", [0, 36]);
    assert!(read_published_bytes(&file(&once, &[0; 36]), &graph(3, "conv")).is_ok());
    // The same name in another spelling, and over other bytes, of which readers keep the last.
    let spelt = once.replace("conv", "c\\u006fnv");
    for first in [once.clone(), spelt, tensor("conv.weight", [0, 12]), tensor("conv.weight", [0, 24])] {
        let bytes = file(&format!("{first},{once}"), &[0; 36]);
        let error = read_published_bytes(&bytes, &graph(3, "conv")).unwrap_err();
        assert!(matches!(error, FormatError::Damaged(_)), "{error}");
        assert!(error.to_string().contains("names conv.weight twice"), "{error}");
    }
}

#[test]
fn a_name_that_stands_twice_in_a_model_file_is_refused() {
    let manifest = manifest();
    let bytes = ModelFile { weights: Weights::reference(&manifest.graph), manifest }.to_bytes().unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + length]).unwrap().trim_end();
    let entries = header.strip_prefix('{').and_then(|h| h.strip_suffix('}')).unwrap();
    let (metadata, tensors) = entries.split_at(entries.find("\"conv.weight\"").unwrap());
    assert!(ModelFile::read_bytes(&bytes).is_ok());
    for twice in [format!("{entries},{tensors}"), format!("{metadata}{entries}")] {
        assert!(ModelFile::read_bytes(&file(&twice, &bytes[8 + length..])).is_err(), "{twice}");
    }
}

#[test]
fn only_networks_of_three_channels_are_given_photos() {
    for channels in [1, 2, 4] {
        let preprocess = Some(Preprocess::torchvision());
        let photos = Manifest { graph: graph(channels, "conv"), preprocess, ..manifest() };
        let error = refusal(photos.clone());
        assert!(error.contains(&format!("the network takes {channels}")), "{error}");
        assert!(Manifest { preprocess: None, ..photos }.validate().is_ok());
    }
    assert!(Manifest { preprocess: Some(Preprocess::torchvision()), ..manifest() }.validate().is_ok());
}
