//! What verbs that make a model file have in common: what is said of a model beside its network, and what is told at the end.
//!
//! Not here: where its weights come from.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::ValueEnum;
use cspnet::formats::text::shown;
use cspnet::formats::{Dtype, ModelFile};
use cspnet::graph::Graph;
use cspnet::vision::Preprocess;
use cspnet::{Assume, published_preprocess, zoo};

use crate::failure::Failure;

/// Precision of stored weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// Single precision
    F32,
    /// Half precision
    F16,
    /// bfloat16: the range of single precision, with three digits
    Bf16,
}

impl From<Precision> for Dtype {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::F16 => Self::F16,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

/// How photos are brought to a network of the zoo; `None` where it takes something else than red, green and blue.
pub fn preprocess(
    network: &str,
    graph: &Graph,
    assume: Assume,
    size: Option<u32>,
) -> Result<Option<Preprocess>, Failure> {
    match (graph.input_channels(), size) {
        (3, _) => Ok(Some(published_preprocess(&zoo::entry(network)?.input, assume, size)?)),
        (_, None) => Ok(None),
        (channels, Some(_)) => Err(Failure::Message(format!(
            "{network} takes {channels}-channel pictures, a photo has 3 channels; leave `--size` out"
        ))),
    }
}

/// Names of classes: from a file with one a line, or given themselves.
pub fn labels(from: Option<&Path>) -> Result<Vec<String>, Failure> {
    let Some(from) = from else { return Ok(Vec::new()) };
    let names = |text: &str, by: char| {
        text.split(by).map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let given = from.to_string_lossy();
    if !from.exists() && given.contains(',') {
        return Ok(names(&given, ','));
    }
    match std::fs::read_to_string(from) {
        // Some editors begin a file with a byte order mark.
        Ok(text) => Ok(names(text.trim_start_matches('\u{feff}'), '\n')),
        Err(e) => Err(Failure::Message(format!("{given}: the labels cannot be read: {e}"))),
    }
}

/// Whether a file may be written without taking the place of one that it is made from.
pub fn not_onto(sources: &[&Path], output: &Path) -> Result<(), Failure> {
    let Ok(there) = output.canonicalize() else { return Ok(()) };
    match sources.iter().any(|source| source.canonicalize().is_ok_and(|source| source == there)) {
        true => Err(Failure::Message(format!(
            "{}: what is written would take the place of what it is made from; give it another name",
            output.display()
        ))),
        false => Ok(()),
    }
}

/// Says what has been written.
pub fn say_written(model: &ModelFile, path: &Path) -> Result<ExitCode, Failure> {
    let (network, params) = (&model.manifest.network, model.manifest.graph.param_count());
    let path = shown(&path.to_string_lossy()).into_owned();
    writeln!(io::stdout(), "{path}: {network}, {params} parameters, sha256 {}", model.hash()?)?;
    Ok(ExitCode::SUCCESS)
}
