//! What a model file says of itself.

use std::collections::BTreeMap;
use std::fmt;

use cspnet_graph::Graph;
use cspnet_vision::Preprocess;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::FormatError;
use crate::{json, labels, text};

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
    pub training: BTreeMap<String, Value>,
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
    /// The same with bfloat16, which has the range of single precision and three decimal digits.
    Bf16,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
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

    /// The manifest from its JSON.
    pub(crate) fn from_json(text: &str) -> Result<Self, FormatError> {
        json::check(text.as_bytes()).map_err(FormatError::Manifest)?;
        let refuse = |e: serde_json::Error| FormatError::Manifest(e.to_string());
        // First, because a later form may have fields that this one does not know.
        check_version(serde_json::from_str::<Versioned>(text).map_err(refuse)?.version)?;
        let manifest: Self = serde_json::from_str(text).map_err(refuse)?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// The manifest as JSON from which it comes back the same; JSON has no infinities, for example.
    pub(crate) fn to_json(&self) -> Result<String, FormatError> {
        self.validate()?;
        let text = self.text()?;
        if Self::from_json(&text)? != *self {
            return Err(FormatError::Manifest("it holds something that JSON cannot say".into()));
        }
        Ok(text)
    }

    /// The manifest as JSON, if it came from JSON.
    pub(crate) fn text(&self) -> Result<String, FormatError> {
        serde_json::to_string(self).map_err(|e| FormatError::Manifest(e.to_string()))
    }

    /// Whether its parts fit each other.
    ///
    /// # Errors
    /// What does not.
    pub fn validate(&self) -> Result<(), FormatError> {
        check_version(self.version)?;
        let outputs = self.graph.channels(self.graph.output());
        let checked = labels::check(&self.labels, outputs).and_then(|()| self.check_texts());
        checked.map_err(FormatError::Manifest)?;
        self.check_preprocess()
    }

    /// Whether all that people get to see, on their terminals too, can be shown as it is; labels have been looked at.
    fn check_texts(&self) -> Result<(), String> {
        text::check("the network's name", &self.network)?;
        text::check("the licence", self.licence.as_deref().unwrap_or_default())?;
        let graph = &self.graph;
        let paths = graph.nodes().iter().map(|n| &n.path).chain(graph.modules().keys());
        let paths = paths.chain(graph.outputs().iter().map(|o| &o.name));
        let mut names = paths.chain(graph.params().iter().map(|p| &p.name));
        names.try_for_each(|name| text::check("a name in the graph", name))?;
        self.training.iter().try_for_each(|(fact, value)| {
            text::check("the name of a fact of the training", fact)?;
            check_value(fact, value)
        })
    }

    /// Whether photos, prepared as is said, are pictures that the network takes.
    fn check_preprocess(&self) -> Result<(), FormatError> {
        let Some(preprocess) = &self.preprocess else { return Ok(()) };
        preprocess.validate()?;
        match self.graph.input_channels() {
            3 => Ok(()),
            channels => Err(FormatError::Manifest(format!(
                "its preprocessing gives 3 channels (red, green, blue), the network takes {channels}; leave the preprocessing \
                 out, or take a network of 3 channels"
            ))),
        }
    }
}

/// Checks the texts in a fact of the training.
fn check_value(fact: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => text::check(&format!("training's `{fact}`"), text),
        Value::Array(values) => values.iter().try_for_each(|v| check_value(fact, v)),
        Value::Object(entries) => entries.iter().try_for_each(|(key, v)| {
            text::check(&format!("a key in training's `{fact}`"), key)?;
            check_value(fact, v)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// What the manifests of all versions have.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

fn check_version(found: u32) -> Result<(), FormatError> {
    match Manifest::VERSION {
        known if known == found => Ok(()),
        known => Err(FormatError::Manifest(format!("it has version {found}, this program knows {known}; update it"))),
    }
}
