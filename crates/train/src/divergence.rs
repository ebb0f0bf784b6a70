//! That numbers of a step were not finite: which step, where in the network, and with which photos.
//!
//! Not here: how that is found ([`cspnet_engine::TrainPlan::diagnose`]) and what a run does then (`trainer/guard.rs`).

use std::fmt;

use cspnet_formats::text::shown;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Photos that are named for people; all are in the run's events.
const NAMED: usize = 3;

/// Most photos of a step that are kept and read again.
pub(crate) const MOST_FILES: usize = 1 << 16;

/// A step whose numbers were not finite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Divergence {
    /// Its epoch, counted from 1.
    pub epoch: u32,
    /// Its place in the epoch, counted from 1.
    pub step: usize,
    /// The part of the step in which it began: `forward`, `loss`, `statistics`, `gradient` or `update`; or `validation`, behind the
    /// last.
    pub phase: String,
    /// Path of the layer in which it began.
    pub layer: String,
    /// The photos of the batch, or where no single batch did it, of the step.
    #[serde(deserialize_with = "few")]
    pub files: Vec<String>,
    /// Learning rate of the step.
    pub lr: f64,
    /// Largest learning rate of a recipe that would now be tried.
    pub next_lr: f64,
}

/// A list of no more texts than a step has photos.
fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Few;
    impl<'de> Visitor<'de> for Few {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MOST_FILES} texts")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Vec<String>, A::Error> {
            let mut few = Vec::new();
            while let Some(text) = texts.next_element()? {
                if few.len() == MOST_FILES {
                    return Err(Error::invalid_length(MOST_FILES + 1, &self));
                }
                few.push(text);
            }
            Ok(few)
        }
    }
    deserializer.deserialize_seq(Few)
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, step, phase, layer, files, lr, .. } = self;
        // What a run's folder says may be somebody else's.
        let (layer, phase) = (shown(layer), shown(phase));
        let at = format_args!("first in layer {layer} ({phase}), at learning rate {lr:.2e}");
        write!(f, "epoch {epoch}, step {step}: not finite, {at}")?;
        for (i, file) in files.iter().take(NAMED).enumerate() {
            write!(f, "{} {}", if i == 0 { ", with" } else { "," }, shown(file))?;
        }
        match files.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more (all are in the run's events.jsonl)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_photos_are_named_and_the_rest_counted() {
        let with = |files: usize| Divergence {
            epoch: 2,
            step: 7,
            phase: "gradient".into(),
            layer: "stem.conv".into(),
            files: (0..files).map(|i| format!("{i}.jpg")).collect(),
            lr: 0.125,
            next_lr: 0.1,
        };
        let told = with(3).to_string();
        assert_eq!(
            told,
            "epoch 2, step 7: not finite, first in layer stem.conv (gradient), at learning rate 1.25e-1, with 0.jpg, 1.jpg, 2.jpg"
        );
        assert!(with(64).to_string().ends_with("2.jpg and 61 more (all are in the run's events.jsonl)"));
    }
}
