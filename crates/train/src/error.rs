//! Why a run cannot begin, continue or go on.

use std::path::{Path, PathBuf};

use cspnet_data::DataError;
use cspnet_engine::{PlanError, RunError};
use cspnet_formats::FormatError;
use cspnet_graph::GraphError;
use cspnet_vision::VisionError;

use crate::divergence::Divergence;

/// Why a run cannot begin, continue or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A number of the recipe makes no sense.
    #[error("--{field} must be {rule}")]
    Recipe {
        /// The field, as its flag is called.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// The folder for the run exists.
    #[error("{}: exists already; `cspnet resume` continues a run, or give another folder with --out", .0.display())]
    Exists(PathBuf),
    /// No run in that folder.
    #[error("{}: is no folder of a run (it has no config.json); give the folder that `cspnet train` made", .0.display())]
    NoRun(PathBuf),
    /// Another process works on the run.
    #[error("{}: another process works on this run; wait for it or end it first", .0.display())]
    Busy(PathBuf),
    /// Something in the folder of a run that leads out of it.
    #[error(
        "{}: is a link or no ordinary file; a run reads, replaces and removes what its folder holds, so all of it must lie there: \
         put the file itself in its place", .0.display()
    )]
    Foreign(PathBuf),
    /// A file of the run cannot be read or written.
    #[error("{}: cannot be {what}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A checkpoint cannot be written.
    #[error(
        "a checkpoint cannot be written: {source}; the checkpoints before it are whole: make room or mend the disk, then \
         `cspnet resume {}`", run.display()
    )]
    Checkpoint {
        /// The run.
        run: PathBuf,
        /// Why not.
        source: FormatError,
    },
    /// No checkpoint is whole.
    #[error("{}: none of the run's checkpoints can be used: {why}", path.display())]
    NoCheckpoint {
        /// The folder of checkpoints.
        path: PathBuf,
        /// What is wrong with each.
        why: String,
    },
    /// The run's configuration cannot be understood.
    #[error("{}: is no configuration of a run: {why}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The run's configuration has something that cannot be written down.
    #[error(
        "the run cannot be begun, for its configuration cannot be written: {0}; rename the folder or file of that name"
    )]
    Unsaid(String),
    /// The photos are no longer those that the run began with.
    #[error(
        "the photos in {} are not those the run began with, so it would not end as it would have; put them back as they were, \
         or begin a new run", data.display()
    )]
    DataChanged {
        /// The folder of photos.
        data: PathBuf,
    },
    /// Numbers were not finite, and not for the first time.
    #[error(
        "{}: training diverged again and again, though the learning rate was halved each time; the last: {divergence}; the run \
         keeps its checkpoint and models from before. Begin a new one with --lr {:.1e} or less; if it is always the same layer and \
         photos, look at these", run.display(), divergence.next_lr
    )]
    Diverged {
        /// The run.
        run: PathBuf,
        /// Where the last time.
        divergence: Box<Divergence>,
    },
    /// A network has no such stage.
    #[error("the network has no stage `{asked}`; its stages are {} (`cspnet inspect` lists all modules)", .stages.join(", "))]
    Stage {
        /// What was asked for.
        asked: String,
        /// What there is.
        stages: Vec<String>,
    },
    /// A stage that cannot be frozen.
    #[error("`{stage}` cannot be what is frozen last: {source}")]
    Freeze {
        /// What was asked for.
        stage: String,
        /// Why it cannot.
        source: GraphError,
    },
    /// A network does not end as is needed to train its end alone.
    #[error(
        "`{0}` at the network's end is no fully connected layer, so there is no classifier to train alone; leave out --head-only"
    )]
    NoHead(String),
    /// A model is mostly another network's.
    #[error(
        "only {loaded} of the network's {of} tensors are in the model, so it is mostly another network's; leave out --network to \
             go on with the model's own, or say --allow-partial"
    )]
    Partial {
        /// Tensors that were found.
        loaded: usize,
        /// Tensors of the network.
        of: usize,
    },
    /// Something would stay as it was drawn at random.
    #[error("{name} would stay as drawn at random, for {why}")]
    FrozenNoise {
        /// The first such tensor.
        name: String,
        /// Why nothing better is known of it, and what to do.
        why: &'static str,
    },
    /// The features of all photos are too many.
    #[error("what the network makes of {photos} photos takes {} MB, more than the {} MB that are kept in memory; leave out --head-only \
             (`--freeze-to` computes it in every epoch)", .bytes >> 20, .most >> 20)]
    Features {
        /// Photos.
        photos: usize,
        /// Bytes of their features.
        bytes: u64,
        /// The most that is kept.
        most: u64,
    },
    /// The time that a run may take had passed before its first step.
    #[error(
        "computing the photos' features took {0:.0} s, and nothing is left of --time-budget to learn from them; give it more"
    )]
    NoTimeToLearn(f64),
    /// Not one photo could be loaded.
    #[error("none of the {0} photos could be read; the last was {1}")]
    NothingLoaded(&'static str, String),
    /// The data set cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network cannot be trained.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The network and the photos do not fit.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A step was refused.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A model file cannot be written or read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The preprocessing makes no sense.
    #[error(transparent)]
    Preprocess(#[from] VisionError),
}

impl TrainError {
    /// Why a run was given up.
    pub fn diverged(run: &Path, divergence: &Divergence) -> Self {
        Self::Diverged { run: run.to_owned(), divergence: Box::new(divergence.clone()) }
    }
}
