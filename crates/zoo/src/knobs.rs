//! Values of knobs: read, and checked against what a network allows.

use std::ops::RangeInclusive;

use crate::error::ZooError;
use crate::registry::Knob;
use crate::spec::Spec;

/// Outputs of an ImageNet network.
pub(crate) const CLASSES: Knob = Knob { name: "classes", default: "1000", about: "number of classes" };
/// Outputs of a CIFAR-10 network.
pub(crate) const CIFAR_CLASSES: Knob = Knob { name: "classes", default: "10", about: "number of classes" };
/// Channels of the picture.
pub(crate) const CHANNELS: Knob = Knob { name: "channels", default: "3", about: "channels of the picture" };

/// The knobs of one network, set or by default.
pub(crate) struct Knobs<'a>(pub &'a Spec);

impl Knobs<'_> {
    /// Number of classes.
    pub fn classes(&self) -> Result<usize, ZooError> {
        self.whole("classes", 1..=65_536)
    }

    /// Channels of the picture.
    pub fn channels(&self) -> Result<usize, ZooError> {
        self.whole("channels", 1..=1024)
    }

    /// A whole number in a range.
    pub fn whole(&self, knob: &'static str, range: RangeInclusive<usize>) -> Result<usize, ZooError> {
        let number = self.text(knob).parse().ok().filter(|n| range.contains(n));
        number.ok_or_else(|| self.bad(knob, format!("a whole number from {} to {}", range.start(), range.end())))
    }

    /// The share `gamma` of a stage's channels that goes straight across, with at least `fewest` of them on a stage of
    /// `narrowest` channels. (The other part keeps at least one because gamma is below 1.)
    pub fn gamma(&self, narrowest: usize, fewest: usize) -> Result<f64, ZooError> {
        let gamma = self.text("gamma").parse().ok().filter(|g| (0.0..1.0).contains(g));
        let across = |g: f64| (g * narrowest as f64).floor() as usize;
        gamma.filter(|&g| across(g) >= fewest && (across(g) > 0 || g == 0.0)).ok_or_else(|| {
            let or_none = if fewest == 0 { "0, or " } else { "" };
            let why = format!(
                "{or_none}at least {:.4} and below 1, so that either part has a channel",
                1.0 / narrowest as f64
            );
            self.bad("gamma", why)
        })
    }

    /// One of several words, each with its meaning.
    pub fn one_of<T: Copy>(&self, knob: &'static str, words: &[(&str, T)]) -> Result<T, ZooError> {
        let text = self.text(knob);
        words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.bad(knob, format!("one of {}", words.join(", ")))
        })
    }

    /// The error that a knob's value is not `allowed`.
    pub fn bad(&self, knob: &'static str, allowed: String) -> ZooError {
        ZooError::BadValue { network: self.0.name(), knob, value: self.text(knob).to_owned(), allowed }
    }

    fn text(&self, knob: &str) -> &str {
        let set = self.0.knobs().find(|(name, _)| *name == knob).map(|(_, value)| value);
        let default = || self.0.entry.knobs.iter().find(|k| k.name == knob).map(|k| k.default);
        set.or_else(default).unwrap_or_default()
    }
}
