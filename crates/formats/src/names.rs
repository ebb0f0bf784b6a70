//! The names in the header of a safetensors file. The header is a JSON object, of which a reader that makes a map keeps only the
//! last of two entries with one name: so they are looked at before there is a map.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::error::FormatError;
use crate::text;

/// Whether every name of a header stands there once and can be shown.
pub(crate) fn check(header: &[u8]) -> Result<(), FormatError> {
    let Names(names) = serde_json::from_slice(header).map_err(|e| FormatError::Damaged(e.to_string()))?;
    let mut seen = HashSet::new();
    for name in &names {
        if text::control(name).is_some() {
            return Err(FormatError::Damaged(format!("a tensor's name holds a control character: {name}")));
        }
        if !seen.insert(name) {
            return Err(FormatError::Damaged(format!("its header names {name} twice")));
        }
    }
    Ok(())
}

/// Keys of an object in the order of the text, however often each is there.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let mut names = Vec::new();
        while let Some((name, IgnoredAny)) = map.next_entry()? {
            names.push(name);
        }
        Ok(Names(names))
    }
}
