//! Why a plan cannot be made, and why a run is refused.

use cspnet_graph::{Graph, GraphError, ReadError, Shape, ValueId, WeightsError};

use crate::input::Input;

/// Why a plan cannot be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PlanError {
    /// The picture does not fit the network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The weights are those of another network.
    #[error("the weights do not fit the network: {0}")]
    Weights(#[from] WeightsError),
    /// Weights could not be read where they are.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A tap names no module and no node.
    #[error("the network has no module `{0}`; `cspnet inspect` lists them")]
    Tap(String),
    /// The graph is not one for this purpose.
    #[error("{path}: {why}")]
    Unsupported {
        /// Where.
        path: String,
        /// Why not, and what to do.
        why: &'static str,
    },
}

impl PlanError {
    pub(crate) fn unsupported(graph: &Graph, node: ValueId, why: &'static str) -> Self {
        Self::Unsupported { path: graph.node(node).path.clone(), why }
    }
}

/// Why a run was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// Another amount of numbers than the plan's pictures have.
    #[error("{found} numbers for {images} pictures of shape {picture:?}, which are {expected}")]
    Length {
        /// Numbers given.
        found: usize,
        /// Numbers needed.
        expected: usize,
        /// Images of the workspace.
        images: usize,
        /// Shape of one picture.
        picture: Shape,
    },
    /// Another number of inputs than the network has.
    #[error(
        "the network takes {expected} input{}, {found} {} given",
        if *expected == 1 { "" } else { "s" },
        if *found == 1 { "is" } else { "are" }
    )]
    Inputs {
        /// Inputs given.
        found: usize,
        /// Inputs needed.
        expected: usize,
    },
    /// One of several inputs cannot be taken.
    #[error("input `{name}`: {source}")]
    Input {
        /// Its name.
        name: String,
        /// Why not.
        source: Box<RunError>,
    },
    /// Pixels for a network of real numbers or the other way round.
    #[error("the network takes {takes}")]
    Kind {
        /// What it takes.
        takes: &'static str,
    },
    /// Another amount of targets than the batch has images and the network classes.
    #[error("{found} target numbers where images times classes are {expected}")]
    Targets {
        /// Numbers given.
        found: usize,
        /// Numbers needed.
        expected: usize,
    },
    /// The weights are those of another network.
    #[error("the weights do not fit the network: {0}")]
    Weights(#[from] WeightsError),
}

/// Whether `input` is `images` pictures of shape `picture`, as pixels if the network `normalises` them itself.
pub(crate) fn check_input(images: usize, picture: Shape, normalises: bool, input: Input<'_>) -> Result<(), RunError> {
    let found = match (input, normalises) {
        (Input::Real(x), false) => x.len(),
        (Input::Pixels(x), true) => x.len(),
        (_, true) => return Err(RunError::Kind { takes: "pixels, not real numbers" }),
        (_, false) => return Err(RunError::Kind { takes: "real numbers, not pixels" }),
    };
    let expected = images * picture.iter().product::<usize>();
    if found == expected { Ok(()) } else { Err(RunError::Length { found, expected, images, picture }) }
}
