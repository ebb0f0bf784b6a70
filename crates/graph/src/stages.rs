//! The stages of a network, as the paths of its modules tell them: `stem`, `stages.0`; `features.denseblock1`,
//! `features.transition1`; `layer2`.
//!
//! Not here: what is done with them.

use crate::graph::{Graph, ValueId};
use crate::param::{ParamId, Role};

/// The outermost modules of layers, in order, with the values they give. A module around numbered modules of several layers, like
/// DenseNet's `features`, is none, unless it has a number itself, like `layer1`.
pub fn stages(graph: &Graph) -> Vec<(&str, ValueId)> {
    let is_one = |name: &str| layers(graph, name) > 0 && (is_numbered(name) || !is_around_numbered(graph, name));
    let all: Vec<(&str, ValueId)> =
        graph.modules().iter().map(|(n, &v)| (n.as_str(), v)).filter(|(n, _)| is_one(n)).collect();
    let is_outermost = |name: &str| !all.iter().any(|(other, _)| is_within(name, other));
    let mut stages: Vec<(&str, ValueId)> = all.iter().copied().filter(|(name, _)| is_outermost(name)).collect();
    stages.sort_by_key(|(_, value)| *value);
    stages
}

/// For every parameter the number of its stage, and how many stages there are. What stands before the first is one of its own, and
/// so is what stands behind the last; between two it belongs to the later.
pub fn stages_of_params(graph: &Graph) -> (Vec<usize>, usize) {
    let stages = stages(graph);
    let within = |path: &str| stages.iter().position(|(name, _)| is_within(path, name));
    let first = graph.nodes().iter().position(|node| within(&node.path).is_some());
    let mut of_params = vec![0; graph.params().len()];
    for (id, node) in graph.nodes().iter().enumerate() {
        let outside = || match first {
            Some(first) if id > first => 1 + stages.iter().take_while(|(_, value)| *value < id).count(),
            _ => 0,
        };
        let stage = within(&node.path).map_or_else(outside, |stage| 1 + stage);
        node.params.iter().for_each(|&p| of_params[p] = stage);
    }
    number(of_params)
}

/// The same groups, numbered without gaps, and how many there are.
fn number(groups: Vec<usize>) -> (Vec<usize>, usize) {
    let mut there: Vec<usize> = groups.clone();
    there.sort_unstable();
    there.dedup();
    let place = |group: &usize| there.binary_search(group).expect("it is there");
    (groups.iter().map(place).collect(), there.len())
}

/// Whether a path leads into a module.
fn is_within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'))
}

fn is_numbered(name: &str) -> bool {
    name.ends_with(|c: char| c.is_ascii_digit())
}

/// Layers in a module: convolutions and fully connected ones.
fn layers(graph: &Graph, module: &str) -> usize {
    let is_weight = |&p: &ParamId| graph.params()[p].role == Role::Weight;
    graph.nodes().iter().filter(|n| is_within(&n.path, module) && n.params.iter().any(is_weight)).count()
}

/// Whether a numbered module of several layers is directly in this one.
fn is_around_numbered(graph: &Graph, module: &str) -> bool {
    let is_direct = |name: &str| is_within(name, module) && !name[module.len() + 1..].contains('.');
    graph.modules().keys().any(|name| is_direct(name) && is_numbered(name) && layers(graph, name) > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, Conv, Value};

    fn two(b: &mut Builder, name: &str, x: Value) -> Value {
        b.module(name, |b| {
            let x = b.conv("conv1", x, Conv::new(4, 3));
            b.conv("conv2", x, Conv::new(4, 3))
        })
    }

    #[test]
    fn stages_are_the_outermost_modules_of_layers() {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.module("features", |b| {
            let x = b.conv("conv0", x, Conv::new(4, 3));
            let x = two(b, "block1", x);
            let x = b.batch_norm("between", x);
            let x = b.module("block2", |b| {
                let x = two(b, "unit1", x);
                two(b, "unit2", x)
            });
            b.batch_norm("norm5", x)
        });
        let x = b.global_avg_pool("pool", x);
        let x = b.linear("classifier", x, 10);
        let g = b.finish(x).unwrap();
        let names = |g: &Graph| stages(g).into_iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&g), ["features.block1", "features.block2"]);
        let (of_params, count) = stages_of_params(&g);
        let of = |name: &str| of_params[g.params().iter().position(|p| p.name == name).unwrap()];
        let places =
            ["conv0.weight", "block1.conv2.weight", "between.bias", "block2.unit1.conv1.weight", "norm5.weight"];
        assert_eq!(places.map(|name| of(&format!("features.{name}"))), [0, 1, 2, 2, 3]);
        assert_eq!((of("classifier.bias"), count), (3, 4));
    }

    #[test]
    fn without_modules_there_is_one_stage() {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.conv("conv", x, Conv::new(4, 3));
        let g = b.finish(x).unwrap();
        assert_eq!((stages(&g), stages_of_params(&g)), (Vec::new(), (vec![0], 1)));
    }
}
