//! What is known of a network before it is built.
//!
//! Not here: which networks there are ([`crate::registry`]).

use cspnet_graph::Graph;

use crate::error::ZooError;
use crate::knobs::{Knob, Setting};
use crate::spec::Spec;

/// A network that can be built.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// The family it belongs to.
    pub family: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// Where it was published, as `arXiv:number`.
    pub paper: &'static str,
    /// What can be chosen.
    pub knobs: &'static [Knob],
    /// The pictures it was published for.
    pub input: InputSpec,
    pub(crate) plan: Plan,
}

impl Entry {
    /// A specification that sets every knob.
    pub fn example(&self) -> String {
        let choices: Vec<String> = self.knobs.iter().map(|k| format!("{}={}", k.name, k.example)).collect();
        format!("{}:{}", self.name, choices.join(","))
    }

    /// The value of one of its knobs.
    pub(crate) fn read(&self, knob: &Knob, value: &str) -> Result<Setting, ZooError> {
        knob.values.read(value).ok_or_else(|| ZooError::BadValue {
            network: self.name,
            knob: knob.name,
            value: value.to_owned(),
            allowed: knob.values.to_string(),
        })
    }
}

/// Makes the network of a specification.
pub(crate) type Plan = fn(&Spec) -> Result<Graph, ZooError>;

/// How a photo becomes a network's picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputSpec {
    /// Rows and columns.
    pub size: usize,
    /// The picture's share of the photo's shorter side, in `0.0..=1.0`.
    pub crop_pct: f64,
    /// Whether the photo is scaled bicubically, or bilinearly.
    pub bicubic: bool,
    /// Mean of red, green, blue, in units of the full range.
    pub mean: [f32; 3],
    /// Standard deviation of red, green, blue, in units of the full range.
    pub std: [f32; 3],
}

impl InputSpec {
    /// Pictures of CIFAR-10 as they are, with their own mean and deviation.
    pub(crate) const CIFAR: Self =
        Self { mean: [0.4914, 0.4822, 0.4465], std: [0.2470, 0.2435, 0.2616], ..Self::imagenet(32, 1.0, true) };

    /// With the mean and deviation of ImageNet.
    pub(crate) const fn imagenet(size: usize, crop_pct: f64, bicubic: bool) -> Self {
        Self { size, crop_pct, bicubic, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
    }
}
