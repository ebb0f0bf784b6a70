//! Files of reference values: figures of every tensor of one run of a network in PyTorch, in double precision.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// One file.
#[derive(Debug, Deserialize)]
pub struct Golden {
    /// The network's name and knobs.
    pub network: String,
    /// Images, channels, rows, columns.
    pub input: [usize; 4],
    /// Every parameter's name and shape, in the published order.
    pub params: Vec<(String, Vec<usize>)>,
    /// Trained numbers.
    pub param_count: usize,
    /// Outputs of modules, at inference.
    #[serde(default)]
    pub stages: BTreeMap<String, Figures>,
    /// The classifier's output.
    pub logits: Logits,
    /// The loss, in training.
    pub loss: Option<f64>,
    /// How far single precision departs from it.
    #[serde(default)]
    pub loss_f32: f64,
    /// Gradients of the parameters, in training.
    #[serde(default)]
    pub grads: BTreeMap<String, Figures>,
    /// Running statistics after one step of training.
    #[serde(default)]
    pub running: BTreeMap<String, Figures>,
}

/// What is told of a tensor.
#[derive(Debug, Deserialize)]
pub struct Figures {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Root of the sum of squares.
    pub norm: f64,
    /// Mean.
    pub mean: f64,
    /// Sample `k` is the element at `k * (len - 1) / 7`.
    pub samples: [f64; 8],
    /// How far the same network in single precision departs, relatively.
    #[serde(rename = "f32")]
    pub single: f64,
}

/// What is told of the logits.
#[derive(Debug, Deserialize)]
pub struct Logits {
    /// As of any tensor.
    #[serde(flatten)]
    pub figures: Figures,
    /// The first sixteen.
    pub first: Vec<f64>,
    /// Every image's likeliest class.
    pub argmax: Vec<usize>,
}

impl Golden {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: cannot be read: {e}", path.display()))?;
        let golden: Self = serde_json::from_str(&text)
            .map_err(|e| format!("{}: is no file of reference values: {e}", path.display()))?;
        golden.check().map_err(|why| format!("{}: {why}; make it again with tests/golden/make.py", path.display()))?;
        Ok(golden)
    }

    /// Whether its figures can be compared and none is left out: what a file does not tell, every run would agree with.
    fn check(&self) -> Result<(), String> {
        let floats = self.input.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        if !matches!(floats, Some(1..=0x1000_0000)) {
            return Err(format!("an input of shape {:?} is no batch of pictures", self.input));
        }
        if self.logits.argmax.len() != self.input[0] {
            return Err(format!("{} likeliest classes for {} images", self.logits.argmax.len(), self.input[0]));
        }
        let shape = &self.logits.figures.shape;
        let numbers = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d)).unwrap_or_default();
        if self.logits.first.len() != numbers.min(16) || numbers == 0 {
            return Err(format!("{} first logits where their shape is {shape:?}", self.logits.first.len()));
        }
        let untold = |name: &&String| !self.grads.contains_key(*name) && !self.running.contains_key(*name);
        match self.params.iter().map(|(name, _)| name).find(untold) {
            Some(name) if self.trains() => Err(format!("neither a gradient nor a statistic of {name}")),
            _ if !self.trains() && self.stages.is_empty() => Err("neither a loss nor stages".into()),
            _ => Ok(()),
        }
    }

    /// Whether it tells of a step of training.
    pub fn trains(&self) -> bool {
        self.loss.is_some()
    }
}
