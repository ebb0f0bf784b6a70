//! A network cut in two at one value: the part that computes it, and the part that goes on from it.
//!
//! Not here: which value that should be ([`crate::stages`] names some).

use crate::error::GraphError;
use crate::graph::{Graph, Node, Raw, ValueId};
use crate::op::Op;
use crate::param::ParamId;

/// A part of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it computes.
    pub graph: Graph,
    /// Which parameter of the whole network each of its own is, in rising order.
    pub params: Vec<ParamId>,
}

impl Part {
    /// All of a network.
    pub fn whole(graph: Graph) -> Self {
        Self { params: (0..graph.params().len()).collect(), graph }
    }
}

/// Cuts a network behind a value: the first part answers with it, and the second takes it as its picture. One behind the other they
/// compute what the network does, for the second part's nodes read each other and that value only. Other outputs than the answer are
/// in neither.
///
/// # Errors
/// If something behind the value reads another one from before it, or nothing is behind it.
pub fn cut(graph: &Graph, at: ValueId) -> Result<[Part; 2], GraphError> {
    let (before, needed) = (leading_to(graph, at), leading_to(graph, graph.output()));
    let behind: Vec<bool> = needed.iter().zip(&before).map(|(needed, before)| *needed && !before).collect();
    let path = |value: ValueId| graph.node(value).path.clone();
    if !behind[graph.output()] {
        return Err(GraphError::NothingBehind { at: path(at) });
    }
    for reader in (0..behind.len()).filter(|&id| behind[id]) {
        if let Some(&value) = graph.node(reader).inputs.iter().find(|&&input| before[input] && input != at) {
            return Err(GraphError::NoCut { at: path(at), reader: path(reader), value: path(value) });
        }
    }
    let picture = Node { op: Op::Input { channels: graph.channels(at) }, params: Vec::new(), ..graph.node(0).clone() };
    Ok([part(graph, &before, None, at)?, part(graph, &behind, Some((at, picture)), graph.output())?])
}

/// The values that lead to one, itself among them.
fn leading_to(graph: &Graph, value: ValueId) -> Vec<bool> {
    let mut leads = vec![false; graph.nodes().len()];
    leads[value] = true;
    for id in (0..=value).rev() {
        if leads[id] {
            graph.node(id).inputs.iter().for_each(|&input| leads[input] = true);
        }
    }
    leads
}

/// The nodes that are `taken`, in their order, and first of all the picture in place of a value, if there is one.
fn part(graph: &Graph, taken: &[bool], picture: Option<(ValueId, Node)>, output: ValueId) -> Result<Part, GraphError> {
    let mut params: Vec<ParamId> =
        graph.nodes().iter().zip(taken).filter(|(_, t)| **t).flat_map(|(n, _)| n.params.clone()).collect();
    params.sort_unstable();
    let mut moved = vec![None; graph.nodes().len()];
    let mut nodes = Vec::new();
    if let Some((value, node)) = picture {
        moved[value] = Some(0);
        nodes.push(node);
    }
    let place = |moved: &[Option<ValueId>], value: ValueId| moved[value].expect("what a part reads is in it");
    for id in (0..taken.len()).filter(|&id| taken[id]) {
        let mut node = graph.node(id).clone();
        node.inputs.iter_mut().for_each(|input| *input = place(&moved, *input));
        node.params.iter_mut().for_each(|p| *p = params.binary_search(p).expect("it is one of the part's"));
        moved[id] = Some(nodes.len());
        nodes.push(node);
    }
    let modules = graph.modules().iter().filter_map(|(name, &value)| Some((name.clone(), moved[value]?))).collect();
    let own = params.iter().map(|&p| graph.params()[p].clone()).collect();
    let raw = Raw { nodes, params: own, modules, output: place(&moved, output), outputs: Vec::new() };
    Ok(Part { graph: Graph::try_from(raw)?, params })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::{dense_block, residual};
    use crate::{Builder, Conv};

    fn network() -> Graph {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.module("stem", |b| {
            let x = b.conv("conv", x, Conv::new(8, 3));
            b.batch_norm("norm", x)
        });
        let x =
            b.module("block", |b| dense_block(b, x, 2, |b, i, x| [b.conv(&format!("layer{i}"), x, Conv::new(4, 3))]));
        let x = residual(&mut b, "add", x, |b, x| b.conv("body", x, Conv::new(16, 3)));
        let _unread = b.conv("unread", x, Conv::new(2, 1));
        let x = b.global_avg_pool("pool", x);
        let x = b.linear("fc", x, 5);
        b.finish(x).unwrap()
    }

    fn names(part: &Part) -> Vec<&str> {
        part.graph.params().iter().map(|p| p.name.as_str()).collect()
    }

    #[test]
    fn parts_have_their_own_nodes_and_parameters() {
        let g = network();
        let [before, behind] = cut(&g, g.value("block").unwrap()).unwrap();
        assert_eq!(before.graph.node(before.graph.output()).path, g.node(g.value("block").unwrap()).path);
        assert_eq!(names(&before)[5..], ["block.layer0.weight", "block.layer1.weight"]);
        assert_eq!(names(&behind), ["body.weight", "fc.weight", "fc.bias"], "what nobody reads is in no part");
        assert_eq!(behind.graph.input_channels(), 16);
        for part in [&before, &behind] {
            let whole: Vec<&str> = part.params.iter().map(|&p| g.params()[p].name.as_str()).collect();
            assert_eq!(names(part), whole);
        }
        assert_eq!((before.graph.value("stem"), behind.graph.value("stem")), (g.value("stem"), None));
        assert_eq!(behind.graph.value("block"), Some(0));
        let shapes = |graph: &Graph, picture| *graph.shapes(picture).unwrap().last().unwrap();
        assert_eq!(shapes(&behind.graph, shapes(&before.graph, [3, 9, 7])), [5, 1, 1]);
    }

    #[test]
    fn a_value_with_others_beside_it_is_no_place_to_cut() {
        let g = network();
        let error = cut(&g, g.value("block.layer0").unwrap()).unwrap_err().to_string();
        assert!(error.contains("`block.layer0`") && error.contains("`stem.norm`"), "{error}");
        assert!(cut(&g, g.value("body").unwrap()).is_err());
        assert_eq!(cut(&g, g.output()), Err(GraphError::NothingBehind { at: "fc".into() }));
        assert!(cut(&g, g.value("unread").unwrap()).is_err());
    }
}
