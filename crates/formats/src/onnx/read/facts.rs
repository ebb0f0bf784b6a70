//! What a file says of itself beside the network, where it was written here ([`crate::onnx::write`]).

use cspnet_vision::Preprocess;
use serde::de::DeserializeOwned;

use crate::error::FormatError;
use crate::json;
use crate::manifest::Manifest;

/// The text of one of our facts.
fn fact<'a>(facts: &'a [(String, String)], name: &str) -> Option<&'a str> {
    facts.iter().find(|(key, _)| key.strip_prefix("cspnet.") == Some(name)).map(|(_, value)| value.as_str())
}

/// One of our facts, which is JSON.
fn read<T: DeserializeOwned>(facts: &[(String, String)], name: &str) -> Result<Option<T>, FormatError> {
    let Some(text) = fact(facts, name) else { return Ok(None) };
    let read = json::check(text.as_bytes()).and_then(|()| serde_json::from_str(text).map_err(|e| e.to_string()));
    read.map(Some).map_err(|why| FormatError::Manifest(format!("its fact `cspnet.{name}`: {why}")))
}

/// Whether the file was written here.
pub(super) fn are_own(facts: &[(String, String)]) -> bool {
    fact(facts, "network").is_some()
}

/// Rows and columns that the preprocessing gives, if that is known.
pub(super) fn size(facts: &[(String, String)]) -> Option<[usize; 2]> {
    let preprocess: Preprocess = read(facts, "preprocess").ok()??;
    Some([preprocess.size.0 as usize, preprocess.size.1 as usize])
}

/// How the file prepares photos itself, if it says that it does.
pub(super) fn embedded(facts: &[(String, String)]) -> Result<Option<Preprocess>, FormatError> {
    let preprocess: Option<Preprocess> = read(facts, "embedded_preprocess")?;
    preprocess.iter().try_for_each(Preprocess::validate)?;
    Ok(preprocess)
}

/// A manifest with all that the facts say.
pub(super) fn manifest(facts: &[(String, String)], mut manifest: Manifest) -> Result<Manifest, FormatError> {
    if let Some(network) = fact(facts, "network") {
        manifest.network = network.into();
    }
    manifest.labels = read(facts, "labels")?.unwrap_or_default();
    // Of a file that prepares photos itself, the network behind that was read.
    manifest.preprocess = embedded(facts)?.or(read(facts, "preprocess")?);
    manifest.training = read(facts, "training")?.unwrap_or_default();
    manifest.licence = fact(facts, "licence").map(str::to_owned);
    manifest.validate()?;
    Ok(manifest)
}
