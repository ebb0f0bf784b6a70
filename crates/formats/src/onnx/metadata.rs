//! What the file says of itself beside the network: texts by name, which engines hand on as they are.
//!
//! There is no common form. Ours is whole and under names of its own; what other tools look for is repeated in their words, as far as
//! those say the same: `names`, `task` and `imgsz` of Ultralytics and of what reads its files, `model_info` of OpenVINO's Model API,
//! and the standard's own words for pictures (<https://onnx.ai/onnx/repo-docs/MetadataProps.html>). Ultralytics' `stride` and `batch`
//! are left out: without them it refuses the file, with them it would prepare photos in its own way and answer otherwise.

use cspnet_vision::{Preprocess, Resize};
use serde::Serialize;

use super::proto::Entry;
use crate::error::FormatError;
use crate::manifest::Manifest;

/// What a manifest knows, if there is one, and how the file prepares photos itself, if it does: ours, then the same in the words of
/// others. What is not known is left out.
pub(super) fn entries(manifest: Option<&Manifest>, embedded: Option<&Preprocess>) -> Result<Vec<Entry>, FormatError> {
    let (mut own, mut words) = (Vec::new(), Vec::new());
    if let Some(manifest) = manifest {
        own.push(ours("network", manifest.network.clone()));
        if !manifest.labels.is_empty() {
            own.push(ours("labels", json(&manifest.labels)?));
            words.extend(class_names(&manifest.labels));
        }
    }
    match (embedded, manifest.and_then(|m| m.preprocess.as_ref())) {
        // By another name, so that nobody does it twice.
        (Some(embedded), _) => {
            own.push(ours("embedded_preprocess", json(embedded)?));
            words.extend(PHOTOS.map(|(key, value)| entry(key, value)));
        }
        (None, Some(preprocess)) => {
            own.push(ours("preprocess", json(preprocess)?));
            words.extend(pictures(preprocess));
        }
        (None, None) => {}
    }
    if let Some(manifest) = manifest {
        if !manifest.training.is_empty() {
            own.push(ours("training", json(&manifest.training)?));
        }
        own.extend(manifest.licence.iter().map(|licence| ours("licence", licence.clone())));
    }
    own.extend(words);
    Ok(own)
}

/// What a photo's bytes mean, in the standard's words.
const PHOTOS: [(&str, &str); 3] = [
    ("Image.BitmapPixelFormat", "Rgb8"),
    ("Image.ColorSpaceGamma", "SRGB"),
    ("Image.NominalPixelRange", "NominalRange_0_255"),
];

/// Names of classes in the words of others: as a dictionary of Python, and as words without spaces.
fn class_names(labels: &[String]) -> [Entry; 4] {
    let quoted = |label: &String| label.replace('\\', r"\\").replace('\'', r"\'");
    let names: Vec<String> = labels.iter().enumerate().map(|(i, label)| format!("{i}: '{}'", quoted(label))).collect();
    let words: Vec<String> =
        labels.iter().map(|label| label.split_whitespace().collect::<Vec<_>>().join("_")).collect();
    [
        entry("names", format!("{{{}}}", names.join(", "))),
        entry("task", "classify"),
        entry("model_info model_type", "Classification"),
        entry("model_info labels", words.join(" ")),
    ]
}

/// The preprocessing in the words of others, of which none has all of it.
fn pictures(preprocess: &Preprocess) -> [Entry; 4] {
    let levels = |values: [f32; 3]| values.map(|v| (255.0 * f64::from(v)).to_string()).join(" ");
    let resize = match preprocess.resize {
        Resize::ShorterSide(_) => "crop",
        Resize::Stretch => "standard",
    };
    [
        entry("imgsz", format!("[{}, {}]", preprocess.size.0, preprocess.size.1)),
        entry("model_info mean_values", levels(preprocess.mean)),
        entry("model_info scale_values", levels(preprocess.std)),
        entry("model_info resize_type", resize),
    ]
}

/// A fact under a name that no other program has.
fn ours(name: &str, value: String) -> Entry {
    entry(&format!("cspnet.{name}"), value)
}

fn entry(key: &str, value: impl Into<String>) -> Entry {
    Entry { key: key.into(), value: value.into() }
}

fn json(value: &impl Serialize) -> Result<String, FormatError> {
    serde_json::to_string(value).map_err(|e| FormatError::Manifest(e.to_string()))
}
