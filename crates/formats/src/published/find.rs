//! Which tensor of another library's file is which parameter of a network.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use cspnet_graph::Graph;

use super::matching::Matching;
use super::numbers::Numbers;
use super::part::{Part, Tensor};
use crate::error::FormatError;

/// What runs call the weights that they have averaged; the order is timm's.
const AVERAGES: [&str; 4] = ["state_dict_ema", "model_ema", "ema_state_dict", "ema"];

/// A matching, and where the numbers of the matched parameters are.
pub(super) struct Places<'a> {
    pub matching: Matching,
    pub numbers: Vec<&'a Numbers>,
}

/// Finds the parameters of a network in the part of that name, or in the part that has most of them.
///
/// # Errors
/// If there is no part of that name.
pub(super) fn find<'a>(parts: &'a [Part], graph: &Graph, name: Option<&str>) -> Result<Places<'a>, FormatError> {
    let names = Names::of(graph);
    let asked = |part: &&Part| name.is_none_or(|name| part.path == name);
    let candidates: Vec<Candidate<'_>> = parts.iter().filter(asked).map(|part| names.look_in(part)).collect();
    let best = candidates.iter().enumerate().max_by_key(|(i, c)| (c.found, Reverse(c.rank()), Reverse(*i)));
    let Some((_, best)) = best else {
        let there = parts.iter().map(|part| format!("`{}`", part.path)).collect::<Vec<_>>().join(", ");
        return Err(FormatError::NoPart { part: name.unwrap_or_default().into(), there });
    };
    let others = candidates.iter().filter(|c| c.found == best.found && c.part.path != best.part.path);
    let mut places = best.places(graph);
    places.matching.other_parts = others.map(|c| c.part.path.clone()).collect();
    Ok(places)
}

/// Names of a network's parameters.
struct Names<'g> {
    all: HashSet<&'g str>,
    /// Most points in one of them.
    points: usize,
}

impl<'g> Names<'g> {
    fn of(graph: &'g Graph) -> Self {
        let all: HashSet<_> = graph.params().iter().map(|p| p.name.as_str()).collect();
        let points = all.iter().map(|name| name.matches('.').count()).max().unwrap_or(0);
        Self { all, points }
    }

    /// What the names in a part begin with so that most of them are parameters of the network; of two such beginnings, the
    /// shorter one.
    fn look_in<'a>(&self, part: &'a Part) -> Candidate<'a> {
        let mut found: HashMap<String, usize> = HashMap::new();
        for tensor in &part.tensors {
            let name = modern(&tensor.name);
            let points = name.rmatch_indices('.').take(self.points + 1).map(|(at, _)| at + 1);
            for at in points.chain([0]).filter(|&at| self.all.contains(&name[at..])) {
                *found.entry(name[..at].to_owned()).or_default() += 1;
            }
        }
        let best =
            found.into_iter().max_by_key(|(prefix, found)| (*found, Reverse(prefix.len()), Reverse(prefix.clone())));
        let (prefix, found) = best.unwrap_or_default();
        Candidate { part, prefix, found }
    }
}

/// A part in which a network's parameters may be.
struct Candidate<'a> {
    part: &'a Part,
    prefix: String,
    /// How many of its names are parameters.
    found: usize,
}

impl<'a> Candidate<'a> {
    /// Its place among parts that have as many parameters.
    fn rank(&self) -> usize {
        let averages = self.part.path.split('.').filter_map(|name| AVERAGES.iter().position(|&a| a == name));
        averages.min().unwrap_or(AVERAGES.len())
    }

    fn places(&self, graph: &Graph) -> Places<'a> {
        let mut matching =
            Matching { part: self.part.path.clone(), prefix: self.prefix.clone(), ..Matching::default() };
        let mut left: HashMap<String, Vec<&Tensor>> = HashMap::new();
        let mut left_over = Vec::new();
        for tensor in &self.part.tensors {
            match modern(&tensor.name).strip_prefix(&self.prefix) {
                Some(name) => left.entry(name.to_owned()).or_default().push(tensor),
                None => left_over.push(tensor),
            }
        }
        let mut numbers = Vec::new();
        for param in graph.params() {
            let name = param.name.clone();
            match left.remove(&name).as_deref() {
                None => matching.missing.push(name),
                Some([tensor]) => match fit(tensor, &param.shape) {
                    Ok(fitting) => {
                        numbers.push(fitting);
                        matching.matched.push(name);
                    }
                    Err(why) => matching.unfit.push((name, why)),
                },
                Some(_) => {
                    matching.unfit.push((name, "is there twice, perhaps under its old name and under today's".into()))
                }
            }
        }
        left_over.extend(left.into_values().flatten());
        let told = left_over.iter().filter(|t| t.content.is_ok() && !t.name.ends_with("num_batches_tracked"));
        matching.left_over = told.map(|t| t.name.clone()).collect();
        matching.left_over.sort();
        Places { matching, numbers }
    }
}

/// The numbers of a tensor, if they can be those of a parameter of this shape.
fn fit<'a>(tensor: &'a Tensor, shape: &[usize]) -> Result<&'a Numbers, String> {
    let numbers = tensor.content.as_ref().map_err(Clone::clone)?;
    match numbers.entry() {
        entry if entry.shape != shape => Err(format!("has shape {:?} instead of {shape:?}", entry.shape)),
        _ if !numbers.are_real() => Err("does not hold finite real numbers".into()),
        _ => Ok(numbers),
    }
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
