//! `cspnet new`: a model file of a network that has not been trained.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use cspnet::formats::{Dtype, Manifest, ModelFile};
use cspnet::graph::Weights;
use cspnet::zoo;

use crate::failure::Failure;
use crate::import::Precision;

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
