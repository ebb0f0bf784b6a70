//! `cspnet resume`: a run that was stopped goes on as if it never had been.

use std::path::PathBuf;
use std::process::ExitCode;

use cspnet::zoo;
use cspnet_train::{RunFolder, TrainError, Trainer};

use crate::failure::Failure;
use crate::resources::ResourceArgs;
use crate::running::{self, Told};

/// Continue a run that was stopped or killed.
///
/// The run goes on from its newest checkpoint that is whole and ends with the same bits as one that never was stopped.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the run
    run: PathBuf,

    /// Where the photos are now, if they have moved
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,

    #[command(flatten)]
    resources: ResourceArgs,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let resources = args.resources.resources();
    let (folder, mut config) = RunFolder::open(&args.run)?;
    if let Some(data) = &args.data {
        config.data = data.canonicalize().unwrap_or_else(|_| data.clone());
    }
    let graph = zoo::build(&config.network)?;
    config.check(&graph)?;
    let checkpoint = folder.latest(&graph, &mut Told::default())?;
    if checkpoint.state().is_over {
        return running::finished(folder.path(), checkpoint.state());
    }
    if let Some(divergence) = &checkpoint.state().given_up {
        return Err(TrainError::diverged(folder.path(), divergence).into());
    }
    let data = running::read_data(
        &config.data,
        config.validation_share,
        config.label_column.as_deref(),
        &config.preprocess,
        &args.resources,
    )?;
    if data.fingerprint != config.fingerprint {
        return Err(TrainError::DataChanged { data: config.data }.into());
    }
    if args.data.is_some() {
        // So that it is found there the next time as well.
        folder.write_config(&config)?;
    }
    running::describe_data(&data);
    running::train(Trainer::new(folder, config, graph, data, checkpoint, resources)?)
}
