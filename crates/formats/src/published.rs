//! Files of other libraries: tensors by their published names, and nothing else.

use std::collections::HashMap;
use std::path::Path;

use cspnet_graph::{Graph, Weights};

use crate::error::FormatError;
use crate::tensors::{Bytes, Header};

/// Which tensors of a file found their parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// Parameters that were found.
    pub matched: usize,
    /// Tensors that belong to no parameter, PyTorch's counters of batches not counted.
    pub left_over: Vec<String>,
}

/// The weights of `graph` from a safetensors file of timm or torchvision, in single precision whatever the file has.
///
/// Tensors that belong to no parameter are told and left out.
///
/// # Errors
/// If the file is damaged, or a parameter is missing or has another shape.
pub fn read_published(path: impl AsRef<Path>, graph: &Graph) -> Result<(Weights, Matching), FormatError> {
    let path = path.as_ref();
    read(&Bytes::open(path)?, graph).map_err(|e| e.at(path))
}

/// As [`read_published`], from the bytes of the file.
///
/// # Errors
/// As [`read_published`].
pub fn read_published_bytes(bytes: &[u8], graph: &Graph) -> Result<(Weights, Matching), FormatError> {
    read(&Bytes::Memory(bytes), graph)
}

fn read(file: &Bytes<'_>, graph: &Graph) -> Result<(Weights, Matching), FormatError> {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    let mut left = HashMap::new();
    for tensor in Header::read(file)?.tensors {
        let name = modern(&tensor.entry.name);
        if left.insert(name.clone(), tensor).is_some() {
            wrong.push(format!("{name} is there under its old name and under today's"));
        }
    }
    for param in graph.params() {
        match left.remove(&param.name) {
            None => wrong.push(format!("{} is missing", param.name)),
            Some(t) if t.entry.shape != param.shape => {
                wrong.push(format!("{} has shape {:?} instead of {:?}", param.name, t.entry.shape, param.shape));
            }
            Some(t) => {
                let numbers = if t.holds_numbers() { t.numbers(file)? } else { vec![f32::NAN] };
                if numbers.iter().any(|v| !v.is_finite()) {
                    wrong.push(format!("{} does not hold finite real numbers", param.name));
                }
                found.push(numbers);
            }
        }
    }
    let mut left_over: Vec<String> = left.into_keys().filter(|n| !n.ends_with(".num_batches_tracked")).collect();
    left_over.sort();
    if !wrong.is_empty() {
        return Err(FormatError::Tensors(told(graph, &wrong, &left_over)));
    }
    let matching = Matching { matched: found.len(), left_over };
    Ok((Weights::new(graph, found)?, matching))
}

/// What does not match, in words; of long lists the beginning.
fn told(graph: &Graph, wrong: &[String], left_over: &[String]) -> String {
    let list = |names: &[String]| {
        let more = names.len().saturating_sub(5);
        let shown = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
        if more > 0 { format!("{shown} and {more} more") } else { shown }
    };
    let mut told = format!(
        "the tensors are not those of this network: {} of {} do not match ({})",
        wrong.len(),
        graph.params().len(),
        list(wrong)
    );
    if !left_over.is_empty() {
        told.push_str(&format!("; left over: {}", list(left_over)));
    }
    told + "; is it the right network and number of classes?"
}

/// A tensor's name as it is today: torchvision's first DenseNet files say `denselayer1.norm.1` for `denselayer1.norm1`.
fn modern(name: &str) -> String {
    let Some((layer, rest)) =
        name.split_once("denselayer").and_then(|(a, b)| b.split_once('.').map(|(i, c)| ((a, i), c)))
    else {
        return name.to_owned();
    };
    for kind in ["norm", "relu", "conv"] {
        for number in ["1", "2"] {
            if let Some(leaf) = rest.strip_prefix(&format!("{kind}.{number}.")) {
                return format!("{}denselayer{}.{kind}{number}.{leaf}", layer.0, layer.1);
            }
        }
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_become_todays() {
        let old = "features.denseblock1.denselayer12.norm.2.running_mean";
        assert_eq!(modern(old), "features.denseblock1.denselayer12.norm2.running_mean");
        let new = "features.denseblock1.denselayer12.norm2.running_mean";
        assert_eq!(modern(new), new);
        assert_eq!(modern("classifier.weight"), "classifier.weight");
    }
}
