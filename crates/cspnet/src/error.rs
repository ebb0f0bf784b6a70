//! What can go wrong between a model file and an answer.

use std::path::PathBuf;

use cspnet_engine::{PlanError, RunError};
use cspnet_formats::FormatError;
use cspnet_graph::GraphError;
use cspnet_vision::VisionError;

/// What can go wrong between a model file and an answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model file cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<Error>,
    },
    /// The file is no sound model file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The network takes something else than red, green and blue.
    #[error("the network takes {0}-channel pictures, a photo has 3 channels; run it with a plan of `cspnet::engine`")]
    NotPhotos(usize),
    /// The model does not say how photos are brought to its size.
    #[error("the model file does not say how photos are prepared; import it again with `--size`")]
    NoPreprocess,
    /// The network is not one that classifies.
    #[error("the network's answer has shape {0:?}, not one number for each class")]
    NotClassifier([usize; 3]),
    /// The network has no input of that name.
    #[error("the network has no input `{name}`; it takes {known}")]
    NoInput {
        /// What was given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The network has neither an output nor a module of that name.
    #[error(
        "the network has no output and no module `{name}`; its outputs are {known}, and `cspnet inspect` lists the modules"
    )]
    NoOutput {
        /// What was asked for.
        name: String,
        /// The names of the outputs.
        known: String,
    },
    /// One of the network's inputs is given nothing.
    #[error("the network's input `{0}` is given nothing")]
    NotGiven(String),
    /// An input cannot take what it is given.
    #[error("input `{name}`: {why}")]
    Feed {
        /// The input.
        name: String,
        /// Why not, and what it takes.
        why: String,
    },
    /// A photo that counts as prepared does not have the network's size.
    #[error(
        "the photo has {} x {} pixels, the network takes {} x {}; prepare it with `Model::preprocess`",
        found.0, found.1, expected.0, expected.1
    )]
    NotPrepared {
        /// The photo's width and height.
        found: (u32, u32),
        /// The network's width and height.
        expected: (u32, u32),
    },
    /// The photo cannot be used.
    #[error(transparent)]
    Photo(#[from] VisionError),
    /// The network and its preprocessing do not fit each other.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The model cannot be run.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A run was refused.
    #[error(transparent)]
    Run(#[from] RunError),
}
