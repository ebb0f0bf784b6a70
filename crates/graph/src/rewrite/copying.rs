//! A graph copied node by node from another, with changes on the way.

use std::collections::BTreeMap;

use super::Rewritten;
use crate::graph::{Graph, Node, ValueId};
use crate::lazy::{LazyTensor, LazyWeights};
use crate::op::Op;
use crate::param::{Init, Param, Role};

/// A graph in the making, copied node by node from another.
pub(super) struct Copying<'g, 'a> {
    pub graph: &'g Graph,
    pub weights: &'g LazyWeights<'a>,
    nodes: Vec<Node>,
    params: Vec<Param>,
    tensors: Vec<LazyTensor<'a>>,
    /// The copy of every old value, as far as it has one.
    value: Vec<Option<ValueId>>,
    /// Places in which the copy differs.
    pub times: usize,
}

impl<'g, 'a> Copying<'g, 'a> {
    pub fn new(graph: &'g Graph, weights: &'g LazyWeights<'a>) -> Self {
        let value = vec![None; graph.nodes().len()];
        Self { graph, weights, nodes: Vec::new(), params: Vec::new(), tensors: Vec::new(), value, times: 0 }
    }

    /// The copies of a node's inputs.
    pub fn inputs(&self, of: ValueId) -> Vec<ValueId> {
        self.graph.node(of).inputs.iter().map(|&v| self.value(v)).collect()
    }

    /// A parameter of a node that will be pushed.
    pub fn param(&mut self, param: Param, tensor: LazyTensor<'a>) -> usize {
        self.params.push(param);
        self.tensors.push(tensor);
        self.params.len() - 1
    }

    /// A node as it was.
    pub fn push(&mut self, id: ValueId) {
        let mut node = self.graph.node(id).clone();
        node.inputs = self.inputs(id);
        node.params = self.params(id);
        self.push_as(id, node);
    }

    /// Copies of a node's parameters.
    pub fn params(&mut self, of: ValueId) -> Vec<usize> {
        let old = &self.graph.node(of).params;
        old.iter().map(|&p| self.param(self.graph.params()[p].clone(), self.weights.get(p).clone())).collect()
    }

    /// A new node in the place of an old value.
    pub fn push_as(&mut self, id: ValueId, node: Node) {
        self.value[id] = Some(self.nodes.len());
        self.nodes.push(node);
    }

    /// The copy of an old value.
    pub fn value(&self, id: ValueId) -> ValueId {
        self.value[id].expect("a value's inputs are copied before it")
    }

    /// A convolution with a bias in the place of an old value: the node `like`, with other inputs, widths and numbers.
    pub fn push_conv(
        &mut self,
        id: ValueId,
        like: ValueId,
        inputs: Vec<ValueId>,
        weight: LazyTensor<'a>,
        bias: LazyTensor<'a>,
    ) {
        let node = self.graph.node(like);
        let Op::Conv { window, groups, .. } = node.op else {
            unreachable!("{} is no convolution", node.op.name());
        };
        let (path, out) = (node.path.clone(), bias.len());
        let taps: usize = window.kernel.iter().product();
        let old = &self.graph.params()[node.params[0]];
        let weight_param =
            Param { shape: vec![out, weight.len() / (out * taps), window.kernel[0], window.kernel[1]], ..old.clone() };
        let bias_param = Param {
            name: format!("{path}.bias"),
            shape: vec![out],
            role: Role::Bias,
            init: Init::Constant { value: 0.0 },
        };
        let params = vec![self.param(weight_param, weight), self.param(bias_param, bias)];
        self.push_as(id, Node { path, op: Op::Conv { out, window, groups, bias: true }, inputs, params });
    }

    /// The copy; or the graph as it was, where the copy has more channels or parameters than a graph may have.
    pub fn finish(self) -> Rewritten<'a> {
        let (graph, weights) = (self.graph, self.weights);
        let modules = self.graph.modules().iter().filter_map(|(n, &v)| Some((n.clone(), self.value[v]?))).collect();
        let mut raw = self.graph.clone().into_raw();
        (raw.nodes, raw.params, raw.modules) = (self.nodes, self.params, BTreeMap::new());
        raw.renumber_ends(|value| self.value[value].expect("outputs are copied"));
        raw.modules = modules;
        let Ok(graph) = Graph::try_from(raw) else {
            return Rewritten { graph: graph.clone(), weights: weights.clone(), times: 0 };
        };
        let weights = LazyWeights::new(self.tensors);
        weights.check(graph.params()).expect("every parameter has its numbers");
        Rewritten { graph, weights, times: self.times }
    }
}
