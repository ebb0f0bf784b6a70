//! Specifications: a network's name and what was chosen of it.
//!
//! Not here: what a network makes of its knobs.

use std::fmt;
use std::str::FromStr;

use cspnet_graph::Graph;

use crate::error::ZooError;
use crate::knobs::{Knob, Setting};
use crate::registry::{Entry, find};

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
        // By way of a written value, so that there is one judge of what a knob may be.
        let chosen: Self = format!("{}:classes={classes}", self.entry.name).parse()?;
        let is_classes = |knob: &Knob| knob.name == "classes";
        let pairs = self.settings.iter().zip(&chosen.settings).zip(self.entry.knobs);
        let settings = pairs.map(|((own, new), knob)| if is_classes(knob) { *new } else { *own }).collect();
        Ok(Self { entry: self.entry, settings })
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

impl FromStr for Spec {
    type Err = ZooError;

    fn from_str(spec: &str) -> Result<Self, ZooError> {
        if spec.len() > Self::MAX_LEN {
            return Err(syntax(spec, "it is longer than 256 bytes"));
        }
        let (name, choices) = match spec.split_once(':') {
            Some((name, choices)) => (name, Some(choices)),
            None => (spec, None),
        };
        let entry = find(name)?;
        let mut chosen = vec![None; entry.knobs.len()];
        for choice in choices.into_iter().flat_map(|c| c.split(',')) {
            let (knob, value) = choice.split_once('=').ok_or_else(|| syntax(spec, "a knob has no value"))?;
            let place = entry.knobs.iter().position(|k| k.name == knob).ok_or_else(|| ZooError::UnknownKnob {
                network: entry.name,
                knob: knob.to_owned(),
                known: entry.knobs.iter().map(|k| k.name).collect(),
            })?;
            if chosen[place].replace(read(entry, &entry.knobs[place], value)?).is_some() {
                return Err(syntax(spec, "a knob is set twice"));
            }
        }
        let or_default = |(knob, chosen): (&Knob, Option<Setting>)| match chosen {
            Some(setting) => Ok(setting),
            None => read(entry, knob, knob.default),
        };
        let settings = entry.knobs.iter().zip(chosen).map(or_default).collect::<Result<_, _>>()?;
        Ok(Self { entry, settings })
    }
}

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

fn read(entry: &Entry, knob: &Knob, value: &str) -> Result<Setting, ZooError> {
    knob.values.read(value).ok_or_else(|| ZooError::BadValue {
        network: entry.name,
        knob: knob.name,
        value: value.to_owned(),
        allowed: knob.values.to_string(),
    })
}

fn syntax(spec: &str, why: &'static str) -> ZooError {
    ZooError::Syntax { spec: spec.chars().take(Spec::MAX_LEN).collect(), why }
}
