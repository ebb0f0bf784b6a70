//! From the text of a specification to the network.

use std::str::FromStr;

use cspnet_graph::Graph;

use crate::entry::Entry;
use crate::error::ZooError;
use crate::knobs::{Knob, Setting};
use crate::registry::find;
use crate::spec::Spec;

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
            if chosen[place].replace(entry.read(&entry.knobs[place], value)?).is_some() {
                return Err(syntax(spec, "a knob is set twice"));
            }
        }
        let or_default = |(knob, chosen): (&Knob, Option<Setting>)| match chosen {
            Some(setting) => Ok(setting),
            None => entry.read(knob, knob.default),
        };
        let settings = entry.knobs.iter().zip(chosen).map(or_default).collect::<Result<_, _>>()?;
        Ok(Self::new(entry, settings))
    }
}

fn syntax(spec: &str, why: &'static str) -> ZooError {
    ZooError::Syntax { spec: spec.chars().take(Spec::MAX_LEN).collect(), why }
}
