//! Where a network that is trained has dropout. The network that is kept has none, so these are no part of its description.

use crate::error::GraphError;
use crate::graph::{Graph, Node, ValueId};
use crate::op::{Binary, DropUnit, Op};

/// An input of a node: the node, and which of its inputs.
type Edge = (ValueId, usize);

/// Stochastic depth (Huang et al., arXiv:1603.09382): the body of every residual unit is left out of an image with a probability
/// that rises evenly from 0 at the first unit to `rate` at the last, as in timm. Also how many units there are.
///
/// # Errors
/// If `rate` is not in `0.0..1.0`.
pub fn with_drop_path(graph: &Graph, rate: f64) -> Result<(Graph, usize), GraphError> {
    let depths = depths(graph);
    let bodies: Vec<Edge> = (0..graph.nodes().len()).filter_map(|id| Some((id, body(graph, id, &depths)?))).collect();
    let units = bodies.len();
    let last = units.saturating_sub(1).max(1) as f64;
    let of_unit = |(i, edge): (usize, Edge)| (edge, rate * i as f64 / last);
    let rates = bodies.into_iter().enumerate().map(of_unit).collect();
    Ok((with_drops(graph, rates, DropUnit::Image)?, units))
}

/// Dropout (Srivastava et al., JMLR 15, 2014) before every fully connected layer, and how many there are: before the classifier.
///
/// # Errors
/// If `rate` is not in `0.0..1.0`.
pub fn with_dropout(graph: &Graph, rate: f64) -> Result<(Graph, usize), GraphError> {
    let is_linear = |id: &ValueId| matches!(graph.node(*id).op, Op::Linear { .. });
    let edges: Vec<(Edge, f64)> = (0..graph.nodes().len()).filter(is_linear).map(|id| ((id, 0), rate)).collect();
    let times = edges.len();
    Ok((with_drops(graph, edges, DropUnit::Element)?, times))
}

/// Dropout of what every layer of a dense block adds to it (Huang et al., arXiv:1608.06993, section 4.2), and how many layers there
/// are: values that are concatenated behind one they were made from.
///
/// # Errors
/// If `rate` is not in `0.0..1.0`.
pub fn with_layer_dropout(graph: &Graph, rate: f64) -> Result<(Graph, usize), GraphError> {
    let mut edges = Vec::new();
    for (id, node) in graph.nodes().iter().enumerate().filter(|(_, node)| node.op == Op::Concat) {
        let Some((&before, grown)) = node.inputs.split_first() else { continue };
        if !grown.is_empty() && grown.iter().all(|&value| depends(graph, value, before)) {
            edges.extend((1..node.inputs.len()).map(|input| ((id, input), rate)));
        }
    }
    let times = edges.len();
    Ok((with_drops(graph, edges, DropUnit::Element)?, times))
}

/// Which operand of an addition is the body of a residual unit: the one that more steps lead to.
fn body(graph: &Graph, id: ValueId, depths: &[usize]) -> Option<usize> {
    let node = graph.node(id);
    let is_constant = |v: ValueId| matches!(graph.node(v).op, Op::Constant { .. });
    match (&node.op, &node.inputs[..]) {
        // An offset of every channel or pixel is no body.
        (Op::Binary { function: Binary::Add }, &[a, b]) if a != b && !is_constant(a) && !is_constant(b) => {
            Some(usize::from(depths[b] >= depths[a]))
        }
        _ => None,
    }
}

/// Steps of the longest way to every value.
fn depths(graph: &Graph) -> Vec<usize> {
    let mut depths: Vec<usize> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        depths.push(node.inputs.iter().map(|&input| depths[input] + 1).max().unwrap_or(0));
    }
    depths
}

/// Whether a value is computed from another.
fn depends(graph: &Graph, value: ValueId, on: ValueId) -> bool {
    let mut is_seen = vec![false; value + 1];
    let mut open = vec![value];
    while let Some(id) = open.pop() {
        if id == on {
            return true;
        }
        // What comes before `on` cannot be computed from it.
        if id > on && !std::mem::replace(&mut is_seen[id], true) {
            open.extend(&graph.node(id).inputs);
        }
    }
    false
}

/// The graph with a drop on every edge, each directly before the node that reads it; a rate of 0 is none.
fn with_drops(graph: &Graph, edges: Vec<(Edge, f64)>, unit: DropUnit) -> Result<Graph, GraphError> {
    let mut raw = graph.clone().into_raw();
    let mut moved = Vec::with_capacity(raw.nodes.len());
    let mut nodes = Vec::with_capacity(raw.nodes.len() + edges.len());
    let mut edges = edges.into_iter().filter(|(_, rate)| *rate != 0.0).peekable();
    for (id, mut node) in raw.nodes.into_iter().enumerate() {
        node.inputs.iter_mut().for_each(|input| *input = moved[*input]);
        while let Some(((_, input), rate)) = edges.next_if(|((reader, _), _)| *reader == id) {
            let path = format!("{}.drop{input}", node.path);
            let inputs = vec![std::mem::replace(&mut node.inputs[input], nodes.len())];
            nodes.push(Node { path, op: Op::Drop { rate, unit }, inputs, params: Vec::new() });
        }
        moved.push(nodes.len());
        nodes.push(node);
    }
    raw.nodes = nodes;
    raw.renumber_ends(|value| moved[value]);
    Graph::try_from(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::{dense_block, residual};
    use crate::{Builder, Conv};

    /// The reader of every drop, with the rate.
    fn drops(graph: &Graph) -> Vec<(String, f64)> {
        let readers = graph.consumers();
        let drop = |(id, node): (ValueId, &Node)| match node.op {
            Op::Drop { rate, .. } => Some((graph.node(readers[id][0]).path.clone(), rate)),
            _ => None,
        };
        graph.nodes().iter().enumerate().filter_map(drop).collect()
    }

    #[test]
    fn bodies_of_residual_units_are_dropped_the_deeper_the_oftener() {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.conv("stem", x, Conv::new(8, 3));
        let x = residual(&mut b, "add1", x, |b, x| b.conv("conv1", x, Conv::new(8, 3)));
        // A unit whose way across has a convolution of its own, and comes last.
        let deep = b.conv("conv2a", x, Conv::new(8, 3));
        let deep = b.conv("conv2b", deep, Conv::new(8, 3));
        let across = b.conv("across", x, Conv::new(8, 1));
        let x = b.add("add2", deep, across);
        let x = residual(&mut b, "add3", x, |b, x| b.conv("conv3", x, Conv::new(8, 3)));
        let g = b.finish(x).unwrap();
        let (dropped, units) = with_drop_path(&g, 0.2).unwrap();
        assert_eq!(units, 3);
        assert_eq!(drops(&dropped), [("add2".into(), 0.1), ("add3".into(), 0.2)]);
        let body = |add: &str| {
            let add = dropped.node(dropped.value(add).unwrap());
            let of = |v: &ValueId| matches!(dropped.node(*v).op, Op::Drop { .. }).then(|| dropped.node(*v).inputs[0]);
            dropped.node(add.inputs.iter().find_map(of).unwrap()).path.clone()
        };
        assert_eq!((body("add2"), body("add3")), ("conv2b".into(), "conv3".into()));
        assert_eq!(dropped.node(dropped.output()).path, "add3");
        assert_eq!(dropped.params(), g.params());
        assert_eq!(with_drop_path(&g, 0.0).unwrap().0, g);
        assert!(with_drop_path(&g, 1.0).is_err());
    }

    #[test]
    fn dense_layers_and_the_classifier_are_found_and_merges_are_not() {
        let mut b = Builder::new();
        let x = b.input(16);
        let cross = b.slice("cross", x, 0, 8);
        let part = b.slice("part", x, 8, 8);
        let part = dense_block(&mut b, part, 2, |b, i, x| [b.conv(&format!("layer{i}"), x, Conv::new(4, 3))]);
        let x = b.concat("merge", &[cross, part]);
        let x = b.global_avg_pool("pool", x);
        let x = b.linear("fc", x, 5);
        let g = b.finish(x).unwrap();
        let (dropped, layers) = with_layer_dropout(&g, 0.25).unwrap();
        assert_eq!(layers, 2);
        assert_eq!(drops(&dropped), [("concat1".into(), 0.25), ("concat2".into(), 0.25)]);
        let (dropped, classifiers) = with_dropout(&g, 0.5).unwrap();
        assert_eq!((drops(&dropped), classifiers), (vec![("fc".into(), 0.5)], 1));
        assert_eq!(with_drop_path(&g, 0.5).unwrap(), (g, 0));
    }
}
