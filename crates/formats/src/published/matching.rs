//! Which tensor of another library's file is which parameter of a network.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fmt;

use cspnet_graph::Graph;

use super::{Numbers, Part, Tensor};
use crate::error::FormatError;

/// What runs call the weights that they have averaged; the order is timm's.
const AVERAGES: [&str; 4] = ["state_dict_ema", "model_ema", "ema_state_dict", "ema"];

/// How the tensors of a file and the parameters of a network belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// The part of the file in which they were looked for; empty for the file's own tensors.
    pub part: String,
    /// Other parts that have as many of them.
    pub other_parts: Vec<String>,
    /// What the names of the part's tensors begin with before the published ones; mostly nothing.
    pub prefix: String,
    /// Parameters that were found, in the network's order.
    pub matched: Vec<String>,
    /// Parameters that were not.
    pub missing: Vec<String>,
    /// Parameters that were found, but cannot be taken, and why.
    pub unfit: Vec<(String, String)>,
    /// Tensors of the part that belong to no parameter, PyTorch's counters of batches not counted, by their names in the file.
    pub left_over: Vec<String>,
}

impl Matching {
    /// Whether every parameter was found as it should be.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unfit.is_empty()
    }

    /// Takes back that a parameter can be taken: the one that was matched in that place before any was refused.
    pub(super) fn refuse(&mut self, place: usize, why: &str) {
        let name = self.matched.remove(place - self.unfit.len());
        self.unfit.push((name, why.into()));
    }
}

/// What does not match; of long lists the beginning.
impl fmt::Display for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.missing.iter().map(|name| format!("{name} is missing"));
        let wrong: Vec<String> = missing.chain(self.unfit.iter().map(|(name, why)| format!("{name} {why}"))).collect();
        write!(
            f,
            "the tensors are not those of this network: {} of {} do not match ({})",
            wrong.len(),
            wrong.len() + self.matched.len(),
            beginning(&wrong)
        )?;
        if !self.left_over.is_empty() {
            write!(f, "; left over: {}", beginning(&self.left_over))?;
        }
        f.write_str("; is it the right network and number of classes?")
    }
}

fn beginning(names: &[String]) -> String {
    let more = names.len().saturating_sub(5);
    let shown = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

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
