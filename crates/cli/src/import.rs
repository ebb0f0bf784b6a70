//! `cspnet import`: a model file from the weights of another library.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use cspnet::formats::{Dtype, Manifest, ModelFile, read_published};
use cspnet::graph::Graph;
use cspnet::vision::Preprocess;
use cspnet::{Assume, published_preprocess, zoo};

use crate::darknet;
use crate::failure::Failure;

/// Make a model file from a safetensors file of timm or torchvision, or from Darknet's files.
///
/// A file of timm or torchvision holds tensors and nothing else, so you say which network they belong to and whose preprocessing
/// it was trained with. The model file then carries both, and the labels. Of Darknet there are two files: give the .cfg file, or
/// the name of one of its networks such as 'csresnext50', and the weights.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A safetensors file; with --weights, a .cfg file
    file: PathBuf,

    /// The .weights file of a network of Darknet
    #[arg(long, value_name = "FILE", conflicts_with_all = ["network", "assume", "size"])]
    weights: Option<PathBuf>,

    /// The network its tensors belong to (see `cspnet models`), such as 'densenet121:classes=10'
    #[arg(long, required_unless_present = "weights")]
    network: Option<String>,

    /// Whose preprocessing the network was trained with
    #[arg(long, value_enum, required_unless_present = "weights")]
    assume: Option<Library>,

    /// Pixels of the photo's sides; by default what the network was published for
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=8192))]
    size: Option<u32>,

    /// Names of the classes, one a line, or separated by commas if it is no file
    #[arg(long, value_name = "FILE|NAMES")]
    labels: Option<PathBuf>,

    /// Precision of the stored weights
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    dtype: Precision,

    /// Licence of the weights
    #[arg(long)]
    licence: Option<String>,

    /// The model file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// A library whose files are imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Library {
    /// timm (PyTorch image models)
    Timm,
    /// torchvision
    Torchvision,
}

/// Precision of stored weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// Single precision
    F32,
    /// Half precision
    F16,
}

impl From<Precision> for Dtype {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::F16 => Self::F16,
        }
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    if let Some(weights) = &args.weights {
        return darknet::import(darknet::Import {
            cfg: &args.file,
            weights,
            labels: labels(args.labels.as_deref())?,
            dtype: args.dtype.into(),
            licence: args.licence.clone(),
            output: &args.output,
        });
    }
    let (Some(network), Some(assume)) = (&args.network, args.assume) else {
        return Err(Failure::Message(
            "say which network the tensors belong to, and whose: --network and --assume".into(),
        ));
    };
    let graph = zoo::build(network)?;
    let assume = match assume {
        Library::Timm => Assume::Timm,
        Library::Torchvision => Assume::Torchvision,
    };
    let preprocess = preprocess(network, &graph, assume, args.size)?;
    let (weights, matching) = read_published(&args.file, &graph)?;
    let mut manifest = Manifest::new(network, graph);
    manifest.labels = labels(args.labels.as_deref())?;
    manifest.preprocess = preprocess;
    manifest.licence.clone_from(&args.licence);
    manifest.dtype = args.dtype.into();
    let model = ModelFile { manifest, weights };
    model.write(&args.output)?;
    let mut err = io::stderr().lock();
    writeln!(err, "{} tensors matched", matching.matched)?;
    if !matching.left_over.is_empty() {
        writeln!(err, "{} left over: {}", matching.left_over.len(), matching.left_over.join(", "))?;
    }
    say_written(&model, &args.output)
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
        Ok(text) => Ok(names(&text, '\n')),
        Err(e) => Err(Failure::Message(format!("{given}: the labels cannot be read: {e}"))),
    }
}

/// Says what has been written.
pub fn say_written(model: &ModelFile, path: &Path) -> Result<ExitCode, Failure> {
    let (network, params) = (&model.manifest.network, model.manifest.graph.param_count());
    writeln!(io::stdout(), "{}: {network}, {params} parameters, sha256 {}", path.display(), model.hash()?)?;
    Ok(ExitCode::SUCCESS)
}
