//! Names of classes: one for each output of the network, each to be shown and told from the others.

use std::collections::HashMap;

use crate::text;

/// Whether `labels` can name that many outputs; none at all can.
pub(crate) fn check(labels: &[String], outputs: usize) -> Result<(), String> {
    if !labels.is_empty() && labels.len() != outputs {
        return Err(format!("{} labels for {outputs} outputs; give one name for each", labels.len()));
    }
    let mut places = HashMap::new();
    for (place, label) in labels.iter().enumerate() {
        text::check(&format!("label {place} (counted from 0)"), label)?;
        if label.trim().is_empty() {
            return Err(format!("label {place} (counted from 0) is empty; name every class, or none"));
        }
        if let Some(first) = places.insert(label, place) {
            return Err(format!(
                "labels {first} and {place} (counted from 0) are both `{label}`, so an answer could mean either; \
                 tell them apart, as in `{label} {first}` and `{label} {place}`"
            ));
        }
    }
    Ok(())
}
