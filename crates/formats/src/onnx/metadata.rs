//! What the file says of itself beside the network: texts by name, which engines hand on as they are.

use serde::Serialize;

use super::proto::Entry;
use crate::error::FormatError;
use crate::manifest::Manifest;

/// A manifest's facts; what it does not know is left out.
pub(super) fn entries(manifest: &Manifest) -> Result<Vec<Entry>, FormatError> {
    let mut entries = vec![entry("network", manifest.network.clone())];
    if !manifest.labels.is_empty() {
        entries.push(entry("labels", json(&manifest.labels)?));
    }
    if let Some(preprocess) = &manifest.preprocess {
        entries.push(entry("preprocess", json(preprocess)?));
    }
    if !manifest.training.is_empty() {
        entries.push(entry("training", json(&manifest.training)?));
    }
    if let Some(licence) = &manifest.licence {
        entries.push(entry("licence", licence.clone()));
    }
    Ok(entries)
}

/// A fact under a name that no other program has.
fn entry(name: &str, value: String) -> Entry {
    Entry { key: format!("cspnet.{name}"), value }
}

fn json(value: &impl Serialize) -> Result<String, FormatError> {
    serde_json::to_string(value).map_err(|e| FormatError::Manifest(e.to_string()))
}
