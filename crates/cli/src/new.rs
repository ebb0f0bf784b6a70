//! `cspnet new`: a model file of a network that has not been trained.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use cspnet::formats::{Manifest, ModelFile};
use cspnet::graph::Weights;
use cspnet::{Assume, zoo};

use crate::failure::Failure;
use crate::making::{Precision, labels, preprocess, say_written};

/// Write a model file of an untrained network.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A network, such as 'cspdensenet121:gamma=0.5,fusion=both' (see `cspnet models`)
    network: String,

    /// How its parameters begin
    #[arg(long, value_enum, default_value_t = Init::Published)]
    init: Init,

    /// Seed of the random numbers
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Names of the classes, one a line
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,

    /// Precision of the stored weights
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    dtype: Precision,

    /// The model file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Where parameters come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Init {
    /// The random initialisation the network was published with
    Published,
    /// The rule of the project's reference values, which depends on the parameters' names alone
    Reference,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let graph = zoo::build(&args.network)?;
    let weights = match args.init {
        Init::Published => Weights::published(&graph, args.seed),
        Init::Reference => Weights::reference(&graph),
    };
    let mut manifest = Manifest::new(&args.network, graph);
    manifest.labels = labels(args.labels.as_deref())?;
    manifest.dtype = args.dtype.into();
    manifest.preprocess = preprocess(&args.network, &manifest.graph, Assume::Timm, None)?;
    let model = ModelFile { manifest, weights };
    model.write(&args.output)?;
    say_written(&model, &args.output)
}
