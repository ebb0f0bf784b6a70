//! Exact rewrites: graph and weights to another graph and its weights that compute the same function.
//!
//! Each is one function with a one-line proof; what it saves is read off [`crate::analysis`] and the plan. Not here: fusions
//! that only the plan can express (an activation in a convolution's epilogue).

use crate::error::GraphError;
use crate::graph::{Graph, Node, ValueId};
use crate::op::Op;
use crate::param::{Init, Param, Role};
use crate::weights::Weights;

/// Folds every batch normalisation into the convolution before it, where nothing else reads that convolution
/// (rewrite R1).
///
/// Proof: `s (Wx + b - m) / sqrt(v + e) + t = (s / sqrt(v + e)) W x + (t + s (b - m) / sqrt(v + e))`, channel by channel.
/// Computed in double precision and rounded once.
pub fn fold_batch_norm(graph: &Graph, weights: &Weights) -> (Graph, Weights) {
    let readers = graph.consumers();
    let folds = |id: ValueId| {
        let node = graph.node(id);
        let before = *node.inputs.first()?;
        let is_norm = matches!(node.op, Op::BatchNorm { .. });
        let is_conv = matches!(graph.node(before).op, Op::Conv { .. });
        let seen_elsewhere = graph.output() == before || graph.modules().values().any(|&v| v == before);
        (is_norm && is_conv && readers[before].len() == 1 && !seen_elsewhere).then_some(before)
    };
    let mut copy = Copying::new(graph, weights);
    for (id, readers) in readers.iter().enumerate() {
        let is_folded_later = readers.iter().any(|&r| folds(r) == Some(id));
        match folds(id) {
            Some(conv) => copy.push_folded(conv, id),
            None if is_folded_later => {}
            None => copy.push(id),
        }
    }
    copy.finish()
}

/// Puts `(pixel / 255 - mean) / std` in front of a network, so that it takes pixel values `0..=255`.
///
/// # Errors
/// If there is not one mean and one positive deviation for every channel.
pub fn with_normalise(graph: &Graph, mean: &[f32], std: &[f32]) -> Result<Graph, GraphError> {
    let mut raw = graph.clone().into_raw();
    let normalise = Node {
        path: "normalise".into(),
        op: Op::Normalise { mean: mean.into(), std: std.into() },
        inputs: vec![0],
        params: Vec::new(),
    };
    // The picture is value 0 and stays it; every other value, and every reference to the picture, moves up by one.
    let moved = |v: &mut ValueId| *v += 1;
    raw.nodes.iter_mut().flat_map(|n| &mut n.inputs).for_each(moved);
    raw.modules.values_mut().for_each(moved);
    moved(&mut raw.output);
    raw.nodes.insert(1, normalise);
    Graph::try_from(raw)
}

/// Puts the loss behind a network: its value is then the mean cross entropy of the batch.
///
/// # Errors
/// If the network's output is not `[k, 1, 1]` this is found by [`Graph::shapes`], not here.
pub fn with_loss(graph: &Graph) -> Result<Graph, GraphError> {
    let mut raw = graph.clone().into_raw();
    let inputs = vec![raw.output];
    raw.output = raw.nodes.len();
    raw.nodes.push(Node { path: "loss".into(), op: Op::SoftmaxCrossEntropy, inputs, params: Vec::new() });
    Graph::try_from(raw)
}

/// A graph in the making, copied node by node from another.
struct Copying<'a> {
    graph: &'a Graph,
    weights: &'a Weights,
    nodes: Vec<Node>,
    params: Vec<Param>,
    tensors: Vec<Vec<f32>>,
    /// The copy of every old value, as far as it has one.
    value: Vec<Option<ValueId>>,
}

impl<'a> Copying<'a> {
    fn new(graph: &'a Graph, weights: &'a Weights) -> Self {
        let value = vec![None; graph.nodes().len()];
        Self { graph, weights, nodes: Vec::new(), params: Vec::new(), tensors: Vec::new(), value }
    }

    fn inputs(&self, of: ValueId) -> Vec<ValueId> {
        let copied = |&v: &ValueId| self.value[v].expect("a value's inputs are copied before it");
        self.graph.node(of).inputs.iter().map(copied).collect()
    }

    fn param(&mut self, param: Param, tensor: Vec<f32>) -> usize {
        self.params.push(param);
        self.tensors.push(tensor);
        self.params.len() - 1
    }

    /// A node as it was.
    fn push(&mut self, id: ValueId) {
        let mut node = self.graph.node(id).clone();
        node.inputs = self.inputs(id);
        let old = std::mem::take(&mut node.params);
        node.params =
            old.into_iter().map(|p| self.param(self.graph.params()[p].clone(), self.weights.get(p).to_vec())).collect();
        self.value[id] = Some(self.nodes.len());
        self.nodes.push(node);
    }

    /// A convolution together with the normalisation behind it, as one convolution with a bias.
    fn push_folded(&mut self, conv: ValueId, norm: ValueId) {
        let (conv_node, norm_node) = (self.graph.node(conv), self.graph.node(norm));
        let (Op::Conv { out, window, groups, .. }, &Op::BatchNorm { eps, .. }) = (&conv_node.op, &norm_node.op) else {
            unreachable!("only a normalisation behind a convolution is folded");
        };
        let [scale, shift, mean, variance] = [0, 1, 2, 3].map(|i| self.weights.get(norm_node.params[i]));
        let weight = self.weights.get(conv_node.params[0]);
        let bias = conv_node.params.get(1).map(|&p| self.weights.get(p));
        let factor = |c: usize| f64::from(scale[c]) / (f64::from(variance[c]) + eps).sqrt();
        let per_channel = weight.len() / out;
        let folded: Vec<f32> =
            weight.iter().enumerate().map(|(i, &w)| (f64::from(w) * factor(i / per_channel)) as f32).collect();
        let offset = |c: usize| bias.map_or(0.0, |b| f64::from(b[c])) - f64::from(mean[c]);
        let shifted = (0..*out).map(|c| (f64::from(shift[c]) + offset(c) * factor(c)) as f32).collect();

        let weight_param = self.graph.params()[conv_node.params[0]].clone();
        let bias_param = Param {
            name: format!("{}.bias", conv_node.path),
            shape: vec![*out],
            role: Role::Bias,
            init: Init::Constant { value: 0.0 },
        };
        let op = Op::Conv { out: *out, window: *window, groups: *groups, bias: true };
        let (path, inputs) = (conv_node.path.clone(), self.inputs(conv));
        let params = vec![self.param(weight_param, folded), self.param(bias_param, shifted)];
        self.value[norm] = Some(self.nodes.len());
        self.nodes.push(Node { path, op, inputs, params });
    }

    fn finish(self) -> (Graph, Weights) {
        let modules = self.graph.modules().iter().filter_map(|(n, &v)| Some((n.clone(), self.value[v]?))).collect();
        let output = self.value[self.graph.output()].expect("the output is copied");
        let raw = crate::graph::Raw { nodes: self.nodes, params: self.params, modules, output };
        let graph = Graph::try_from(raw).expect("a sound graph stays sound");
        let weights = Weights::new(&graph, self.tensors).expect("every parameter has its numbers");
        (graph, weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, Conv, Unary};

    #[test]
    fn normalisations_behind_convolutions_disappear() {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.conv("conv", x, Conv::new(8, 3));
        let x = b.batch_norm("norm", x);
        let x = b.unary("relu", x, Unary::Relu);
        let pre = b.batch_norm("pre", x);
        let y = b.conv("shared", pre, Conv::new(4, 1));
        let n = b.batch_norm("kept", y);
        let y = b.add("sum", y, n);
        let g = b.finish(y).unwrap();
        let (folded, w) = fold_batch_norm(&g, &Weights::reference(&g));
        let ops: Vec<&str> = folded.nodes().iter().map(|n| n.op.name()).collect();
        assert_eq!(ops, ["input", "conv", "relu", "batch norm", "conv", "batch norm", "add"]);
        let old = Weights::reference(&g);
        let factor = f64::from(old.get(1)[0]) / (f64::from(old.get(4)[0]) + 1e-5).sqrt();
        assert_eq!(w.get(0)[0], (f64::from(old.get(0)[0]) * factor) as f32);
    }

    #[test]
    fn a_normalised_network_takes_pixels() {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.module("stem", |b| b.conv("conv", x, Conv::new(8, 3)));
        let g = with_normalise(&b.finish(x).unwrap(), &[0.5; 3], &[0.25; 3]).unwrap();
        assert_eq!(g.nodes().iter().map(|n| n.op.name()).collect::<Vec<_>>(), ["input", "normalise", "conv"]);
        assert_eq!((g.node(2).inputs[0], g.value("stem"), g.output()), (1, Some(2), 2));
        assert!(with_normalise(&g, &[0.5; 3], &[0.0; 3]).is_err());
    }
}
