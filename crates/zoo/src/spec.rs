//! Specifications: a network's name and what was chosen of it.
//!
//! Not here: how one is read ([`crate::parse`]), and what a network makes of its knobs.

use std::fmt;

use cspnet_graph::Graph;

use crate::entry::Entry;
use crate::error::ZooError;
use crate::knobs::Setting;

/// `name` or `name:knob=value,knob=value`: a network that exists, with knobs that it has, each at most once.
///
/// Displayed, it is in its canonical form: knobs that have their default are left out, the others stand in the entry's order
/// and every value is written in one way. Two specifications of the same choices are equal.
///
/// ```
/// let spec: cspnet_zoo::Spec = "csppeleenet:fusion=both,gamma=.250,classes=10".parse()?;
/// assert_eq!(spec.entry().name, "csppeleenet");
/// assert_eq!(spec.to_string(), "csppeleenet:classes=10,gamma=0.25");
/// # Ok::<(), cspnet_zoo::ZooError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Spec {
    entry: &'static Entry,
    /// Of every knob of the entry, in its order.
    settings: Vec<Setting>,
}

impl Spec {
    /// Longest specification, in bytes.
    pub const MAX_LEN: usize = 256;

    /// Of a network, with a setting for each of its knobs.
    pub(crate) fn new(entry: &'static Entry, settings: Vec<Setting>) -> Self {
        debug_assert_eq!(entry.knobs.len(), settings.len());
        Self { entry, settings }
    }

    /// What is known of the network, whatever its knobs.
    pub fn entry(&self) -> &'static Entry {
        self.entry
    }

    /// The network.
    ///
    /// # Errors
    /// Where the values of knobs do not fit one another or the network.
    pub fn build(&self) -> Result<Graph, ZooError> {
        (self.entry.plan)(self)
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.whole("classes")
    }

    /// The same network for another number of classes.
    ///
    /// # Errors
    /// If there cannot be so many.
    ///
    /// ```
    /// let spec: cspnet_zoo::Spec = "densenet121".parse()?;
    /// assert_eq!(spec.with_classes(10)?.to_string(), "densenet121:classes=10");
    /// # Ok::<(), cspnet_zoo::ZooError>(())
    /// ```
    pub fn with_classes(&self, classes: usize) -> Result<Self, ZooError> {
        let mut chosen = self.clone();
        for (knob, setting) in self.entry.knobs.iter().zip(&mut chosen.settings) {
            if knob.name == "classes" {
                // By way of a written value, so that there is one judge of what a knob may be.
                *setting = self.entry.read(knob, &classes.to_string())?;
            }
        }
        Ok(chosen)
    }

    /// Channels of the picture.
    pub(crate) fn channels(&self) -> usize {
        self.whole("channels")
    }

    /// The whole number of a knob of whole numbers.
    pub(crate) fn whole(&self, knob: &'static str) -> usize {
        match self.setting(knob) {
            Setting::Whole(n) => n,
            other => panic!("`{knob}` of `{}` is {other}, not a whole number", self.entry.name),
        }
    }

    /// The word of a knob of words.
    pub(crate) fn word(&self, knob: &'static str) -> &'static str {
        match self.setting(knob) {
            Setting::Word(word) => word,
            other => panic!("`{knob}` of `{}` is {other}, not a word", self.entry.name),
        }
    }

    /// The share `gamma` of a stage's channels that goes straight across: of `narrowest` channels at least one, or none at all
    /// where `or_none`. (The other part keeps at least one because gamma is below 1.)
    pub(crate) fn gamma(&self, narrowest: usize, or_none: bool) -> Result<f64, ZooError> {
        let gamma = match self.setting("gamma") {
            Setting::Share(gamma) => gamma,
            other => panic!("`gamma` of `{}` is {other}, not a share", self.entry.name),
        };
        if gamma * narrowest as f64 >= 1.0 || (or_none && gamma == 0.0) {
            return Ok(gamma);
        }
        let zero = if or_none { "0, or " } else { "" };
        let least = 1.0 / narrowest as f64;
        Err(self.bad("gamma", format!("{zero}at least {least:.4} and below 1, so that either part has a channel")))
    }

    /// The error that a knob's value is not `allowed`.
    pub(crate) fn bad(&self, knob: &'static str, allowed: String) -> ZooError {
        ZooError::BadValue { network: self.entry.name, knob, value: self.setting(knob).to_string(), allowed }
    }

    /// The value of a knob that the network has: which it asks for is written beside its entry.
    fn setting(&self, knob: &str) -> Setting {
        let place = self.entry.knobs.iter().position(|k| k.name == knob);
        self.settings[place.unwrap_or_else(|| panic!("`{}` asks for a knob `{knob}` it has not", self.entry.name))]
    }
}

impl PartialEq for Spec {
    fn eq(&self, other: &Self) -> bool {
        self.entry.name == other.entry.name && self.settings == other.settings
    }
}

impl Eq for Spec {}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry.name)?;
        let knobs = self.entry.knobs.iter().zip(&self.settings);
        let chosen = knobs.filter(|(knob, setting)| knob.values.read(knob.default) != Some(**setting));
        for (i, (knob, setting)) in chosen.enumerate() {
            write!(f, "{}{}={setting}", if i == 0 { ':' } else { ',' }, knob.name)?;
        }
        Ok(())
    }
}
