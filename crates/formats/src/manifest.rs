//! What a model file says of itself.

use std::collections::BTreeMap;

use cspnet_graph::Graph;
use cspnet_vision::Preprocess;
use serde::{Deserialize, Serialize};

use crate::error::FormatError;

/// The manifest of a model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the manifest's form.
    pub version: u32,
    /// The name the network was built from, for people; the graph is what counts.
    pub network: String,
    /// The network.
    pub graph: Graph,
    /// Names of the classes, one for each output of the network; or none.
    pub labels: Vec<String>,
    /// How a photo is brought to the network, if it takes photos.
    pub preprocess: Option<Preprocess>,
    /// Facts of its training, as far as they are known.
    pub training: BTreeMap<String, serde_json::Value>,
    /// Licence of the weights, if it is known.
    pub licence: Option<String>,
    /// Precision of the stored weights.
    pub dtype: Dtype,
}

/// Precision of stored weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// Single precision.
    F32,
    /// Half precision for the weights of convolutions and fully connected layers. What has one number a channel stays in
    /// single precision: variances span more than half precision can, and together they are small.
    F16,
}

impl Manifest {
    /// Version of the form that this program writes and reads.
    pub const VERSION: u32 = 1;

    /// The manifest of a network of which nothing else is known, stored in single precision.
    pub fn new(network: impl Into<String>, graph: Graph) -> Self {
        Self {
            version: Self::VERSION,
            network: network.into(),
            graph,
            labels: Vec::new(),
            preprocess: None,
            training: BTreeMap::new(),
            licence: None,
            dtype: Dtype::F32,
        }
    }

    /// Whether its parts fit each other.
    ///
    /// # Errors
    /// What does not.
    pub fn validate(&self) -> Result<(), FormatError> {
        if self.version != Self::VERSION {
            let (found, known) = (self.version, Self::VERSION);
            return Err(FormatError::Manifest(format!(
                "it has version {found}, this program knows {known}; update it"
            )));
        }
        let outputs = self.graph.channels(self.graph.output());
        if !self.labels.is_empty() && self.labels.len() != outputs {
            let labels = self.labels.len();
            return Err(FormatError::Manifest(format!(
                "{labels} labels for {outputs} outputs; give one name for each"
            )));
        }
        Ok(self.preprocess.as_ref().map_or(Ok(()), Preprocess::validate)?)
    }
}
