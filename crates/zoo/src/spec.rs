//! Specifications: a network's name and the knobs that depart from their defaults.
//!
//! Not here: what values a knob takes; the network says so when it is built.

use std::fmt;
use std::str::FromStr;

use crate::error::ZooError;
use crate::registry::{Entry, find};

/// `name` or `name:knob=value,knob=value`: a network that exists, with knobs that it has, each at most once.
///
/// ```
/// let spec: cspnet_zoo::Spec = "csppeleenet:gamma=0.25".parse()?;
/// assert_eq!(spec.name(), "csppeleenet");
/// assert_eq!(spec.to_string(), "csppeleenet:gamma=0.25");
/// # Ok::<(), cspnet_zoo::ZooError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Spec {
    pub(crate) entry: &'static Entry,
    pub(crate) knobs: Vec<(&'static str, String)>,
}

impl Spec {
    /// Longest specification, in bytes.
    pub const MAX_LEN: usize = 256;

    /// The network's name.
    pub fn name(&self) -> &'static str {
        self.entry.name
    }

    /// The knobs that were set, in the order in which they stood, with their values.
    pub fn knobs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.knobs.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

impl PartialEq for Spec {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.knobs == other.knobs
    }
}

impl Eq for Spec {}

impl FromStr for Spec {
    type Err = ZooError;

    fn from_str(spec: &str) -> Result<Self, ZooError> {
        let (name, rest) = name_of(spec)?;
        let entry = find(name)?;
        let mut knobs: Vec<(&'static str, String)> = Vec::new();
        for setting in rest.into_iter().flat_map(|r| r.split(',')) {
            let (knob, value) = setting.split_once('=').ok_or_else(|| syntax(spec, "a knob has no value"))?;
            let known = entry.knobs.iter().map(|k| k.name);
            let Some(knob) = known.clone().find(|k| *k == knob) else {
                return Err(ZooError::UnknownKnob { network: entry.name, knob: knob.into(), known: known.collect() });
            };
            if knobs.iter().any(|(k, _)| *k == knob) {
                return Err(syntax(spec, "a knob is set twice"));
            }
            knobs.push((knob, value.to_owned()));
        }
        Ok(Self { entry, knobs })
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        for (i, (knob, value)) in self.knobs().enumerate() {
            write!(f, "{}{knob}={value}", if i == 0 { ':' } else { ',' })?;
        }
        Ok(())
    }
}

/// The name in a specification, and what stands behind its colon.
pub(crate) fn name_of(spec: &str) -> Result<(&str, Option<&str>), ZooError> {
    if spec.len() > Spec::MAX_LEN {
        return Err(syntax(spec, "it is longer than 256 bytes"));
    }
    Ok(match spec.split_once(':') {
        Some((name, rest)) => (name, Some(rest)),
        None => (spec, None),
    })
}

fn syntax(spec: &str, why: &'static str) -> ZooError {
    ZooError::Syntax { spec: spec.chars().take(Spec::MAX_LEN).collect(), why }
}
