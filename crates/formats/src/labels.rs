//! Names of classes: one for each output of the network, each to be shown. Two may be equal: ImageNet's common list has `crane`
//! twice, the bird and the machine.

use crate::text;

/// Whether `labels` can name that many outputs; none at all can.
pub(crate) fn check(labels: &[String], outputs: usize) -> Result<(), String> {
    if !labels.is_empty() && labels.len() != outputs {
        return Err(format!("{} labels for {outputs} outputs; give one name for each", labels.len()));
    }
    for (place, label) in labels.iter().enumerate() {
        text::check(&format!("label {place} (counted from 0)"), label)?;
        if label.trim().is_empty() {
            return Err(format!("label {place} (counted from 0) is empty; name every class, or none"));
        }
    }
    Ok(())
}
