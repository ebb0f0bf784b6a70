//! The list of networks, and how to find one in it.

use std::sync::LazyLock;

use cspnet_graph::Graph;

use crate::error::ZooError;
use crate::knobs::Knob;
use crate::spec::Spec;
use crate::{cspnet, densenet, peleenet, resnet};

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
    /// With the mean and deviation of ImageNet.
    pub(crate) const fn imagenet(size: usize, crop_pct: f64, bicubic: bool) -> Self {
        Self { size, crop_pct, bicubic, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
    }
}

static MODELS: LazyLock<Vec<Entry>> =
    LazyLock::new(|| [densenet::ENTRIES, peleenet::ENTRIES, cspnet::ENTRIES, resnet::ENTRIES].concat());

/// Every network, family by family.
pub fn models() -> &'static [Entry] {
    &MODELS
}

/// What is known of the network that a specification names, whatever its knobs.
///
/// # Errors
/// Where the specification is not sound; the error says why.
pub fn entry(spec: &str) -> Result<&'static Entry, ZooError> {
    Ok(spec.parse::<Spec>()?.entry())
}

/// The network a specification stands for.
///
/// # Errors
/// Where the name, a knob or its value is not one that exists; the error says what does.
pub fn build(spec: &str) -> Result<Graph, ZooError> {
    spec.parse::<Spec>()?.build()
}

/// The network of exactly this name.
pub(crate) fn find(name: &str) -> Result<&'static Entry, ZooError> {
    models().iter().find(|e| e.name == name).ok_or_else(|| {
        let mut nearest: Vec<&'static str> = models().iter().map(|e| e.name).collect();
        nearest.sort_by_key(|known| edits(name, known));
        nearest.truncate(3);
        ZooError::UnknownName { name: name.to_owned(), nearest }
    })
}

/// Letters to insert, delete or replace to turn one word into another (Levenshtein 1966).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!([edits("kitten", "sitting"), edits("", "abc"), edits("same", "same")], [3, 3, 0]);
    }
}
