//! Why a graph cannot be, and how large one may be.

/// Why a graph cannot be, or cannot take pictures of a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// An operation does not fit its inputs or its parameters.
    #[error("{path}: {op} {why}")]
    Node {
        /// The node's path.
        path: String,
        /// Its operation.
        op: &'static str,
        /// What does not fit.
        why: String,
    },
    /// Nothing to run, or more than is believed.
    #[error(
        "a graph of {nodes} nodes and {params} parameters: at least one node and at most {} of each are taken",
        GraphError::MAX_NODES
    )]
    Size {
        /// Nodes.
        nodes: usize,
        /// Parameters.
        params: usize,
    },
    /// A value is named that does not exist.
    #[error("`{name}` refers to value {value}, which does not exist")]
    NoSuchValue {
        /// Who refers.
        name: String,
        /// To what.
        value: usize,
    },
    /// Another number of shapes than the network has inputs.
    #[error(
        "the network has {} input{} ({}), and shapes for {found} are given",
        names.len(), if names.len() == 1 { "" } else { "s" }, names.join(", ")
    )]
    Inputs {
        /// Names of the inputs.
        names: Vec<String>,
        /// Shapes given.
        found: usize,
    },
    /// Two inputs, or two outputs, of one name.
    #[error("two {what} of the network have the name `{name}`")]
    Twice {
        /// Which of both.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The first output is another value than the answer.
    #[error("the first output, `{name}`, is not the network's answer")]
    NotFirst {
        /// The first output.
        name: String,
    },
    /// A network cannot be cut where more than one value crosses.
    #[error("the network cannot be cut behind `{at}`: `{reader}` also reads `{value}`, which comes before it")]
    NoCut {
        /// Where it was to be cut.
        at: String,
        /// What stands behind the cut,
        reader: String,
        /// and reads this value from before it.
        value: String,
    },
    /// A network cannot be cut behind its end.
    #[error("the network cannot be cut behind `{at}`: nothing comes after it")]
    NothingBehind {
        /// Where it was to be cut.
        at: String,
    },
}

impl GraphError {
    /// Most nodes, and most parameters, of a graph.
    pub const MAX_NODES: usize = 65_536;
    /// Most channels of a value.
    pub const MAX_CHANNELS: usize = 1 << 20;
    /// Most numbers of a value or a parameter.
    pub const MAX_ELEMENTS: usize = 1 << 32;
    /// Largest kernel, stride, padding or dilation.
    pub const MAX_WINDOW: usize = 1 << 12;
}
