//! What can be wrong with a specification.

use cspnet_graph::GraphError;

/// Why a network cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZooError {
    /// The specification is not `name` or `name:knob=value,knob=value`.
    #[error("`{spec}` is not a network: {why}; write `name` or `name:knob=value,knob=value`")]
    Syntax {
        /// The specification, cut where it is long.
        spec: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No network has this name.
    #[error("there is no network `{name}`; the nearest names are {}", nearest.join(", "))]
    UnknownName {
        /// The name.
        name: String,
        /// The most similar names that exist, best first.
        nearest: Vec<&'static str>,
    },
    /// The network has no such knob.
    #[error("`{network}` has no knob `{knob}`; it has {}", known.join(", "))]
    UnknownKnob {
        /// The network.
        network: &'static str,
        /// The knob.
        knob: String,
        /// The knobs it has.
        known: Vec<&'static str>,
    },
    /// The knob does not take this value.
    #[error("`{network}`: {knob}={value} is not possible; {knob} must be {allowed}")]
    BadValue {
        /// The network.
        network: &'static str,
        /// The knob.
        knob: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// Every knob is in its range, but together they exceed what a graph can hold.
    #[error("the knobs' values are too large together, choose smaller ones: {0}")]
    Graph(GraphError),
}

impl From<GraphError> for ZooError {
    fn from(error: GraphError) -> Self {
        Self::Graph(error)
    }
}
