//! The graph in the making: names, initialisers, nodes, and the form of every value.
//!
//! Not here: which of ONNX's operators an operation is ([`super::operators`]).

use std::collections::HashMap;

use cspnet_graph::{Axis, Graph, Node, Op, Output, Role, ValueId, Weights};

use super::names::Names;
use super::proto;

/// How a value `[c, 1, 1]` of an image stands in ONNX, whose fully connected layer knows no rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `[batch, c, h, w]`.
    Planes,
    /// `[batch, c]`.
    Flat,
}

/// A value as it has been written.
struct Written {
    name: String,
    form: Form,
    /// The same value in the other form, once somebody asked for it.
    other: Option<String>,
}

/// What is written of a graph so far.
pub(super) struct Emitter<'a> {
    pub graph: &'a Graph,
    names: Names,
    /// Names of the graph's outputs that are called otherwise than their nodes.
    outputs: HashMap<&'a str, String>,
    /// Names of the parameters' initialisers.
    params: Vec<String>,
    /// Every value so far, in the order of the graph's nodes.
    values: Vec<Written>,
    pub nodes: Vec<proto::Node>,
    pub initialisers: Vec<proto::Tensor>,
}

impl<'a> Emitter<'a> {
    /// Nothing but the parameters, and names for the outputs.
    pub(super) fn new(graph: &'a Graph, weights: &Weights) -> Self {
        let (names, outputs, params, values, nodes, initialisers) = Default::default();
        let mut new = Self { graph, names, outputs, params, values, nodes, initialisers };
        for output in graph.outputs().iter().filter(|o| o.name != graph.node(o.value).path) {
            let name = new.claim(&output.name);
            new.outputs.insert(&output.name, name);
        }
        for (param, numbers) in graph.params().iter().zip(weights.tensors()) {
            // Slopes are repeated over rows and columns.
            let is_slope = param.role == Role::Slope;
            let shape: Vec<usize> =
                param.shape.iter().copied().chain([1, 1].into_iter().filter(|_| is_slope)).collect();
            let name = new.floats(&param.name, &shape, numbers);
            new.params.push(name);
        }
        new
    }

    /// A name that nobody has: the one asked for, or that with a number.
    ///
    /// In ONNX all values and initialisers share one space of names; an empty one would mean that there is no value.
    pub(super) fn claim(&mut self, wanted: &str) -> String {
        self.names.claim(wanted)
    }

    /// An initialiser of real numbers; gives its name.
    pub(super) fn floats(&mut self, name: &str, shape: &[usize], numbers: &[f32]) -> String {
        self.initialiser(name, proto::FLOAT, shape, numbers.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// An initialiser that is a list of integers; gives its name.
    pub(super) fn ints(&mut self, name: &str, numbers: &[usize]) -> String {
        self.signed(name, &numbers.iter().map(|&v| v as i64).collect::<Vec<_>>())
    }

    /// The same for integers that may be negative.
    pub(super) fn signed(&mut self, name: &str, numbers: &[i64]) -> String {
        let bytes = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initialiser(name, proto::INT64, &[numbers.len()], bytes)
    }

    /// An initialiser of numbers of any kind, given by their bytes; gives its name.
    pub(super) fn initialiser(&mut self, name: &str, data_type: i32, shape: &[usize], raw_data: Vec<u8>) -> String {
        let name = self.claim(name);
        let dims = shape.iter().map(|&d| d as i64).collect();
        self.initialisers.push(proto::Tensor { dims, data_type: Some(data_type), name: name.clone(), raw_data });
        name
    }

    /// A node, named as its only output is; gives that name.
    pub(super) fn node(
        &mut self,
        op_type: &str,
        name: String,
        input: Vec<String>,
        attribute: Vec<proto::Attribute>,
    ) -> String {
        let output = vec![name.clone()];
        self.nodes.push(proto::Node { input, output, name: name.clone(), op_type: op_type.into(), attribute });
        name
    }

    /// Remembers the next node of the graph as written.
    pub(super) fn push(&mut self, name: String, form: Form) {
        self.values.push(Written { name, form, other: None });
    }

    /// Name and form of a value that has been written.
    pub(super) fn value(&self, id: ValueId) -> (&str, Form) {
        (&self.values[id].name, self.values[id].form)
    }

    /// Name and form of one of the graph's outputs; where it is called otherwise than its node, a node of its own.
    pub(super) fn output(&mut self, output: &Output) -> (String, Form) {
        let (name, form) = (self.values[output.value].name.clone(), self.values[output.value].form);
        match self.own_name(output) {
            Some(own) => (self.node("Identity", own, vec![name], Vec::new()), form),
            None => (name, form),
        }
    }

    /// The name of one of the graph's outputs where it is called otherwise than its node.
    pub(super) fn own_name(&self, output: &Output) -> Option<String> {
        self.outputs.get(output.name.as_str()).cloned()
    }

    /// Names of a node's parameters.
    pub(super) fn params(&self, node: &Node) -> Vec<String> {
        node.params.iter().map(|&p| self.params[p].clone()).collect()
    }

    /// The form in which a node takes its inputs, and gives its output.
    pub(super) fn form(&self, node: &Node) -> Form {
        let flat = match node.op {
            Op::Linear { .. } => true,
            // These do not care, as long as all inputs have the same.
            Op::Unary { .. }
            | Op::Binary { .. }
            | Op::Softmax { axis: Axis::Channels, .. }
            | Op::Concat
            | Op::Slice { .. }
            | Op::Drop { .. } => node.inputs.iter().all(|&v| self.values[v].form == Form::Flat),
            _ => false,
        };
        if flat { Form::Flat } else { Form::Planes }
    }

    /// Names of a node's inputs, all in one form.
    pub(super) fn inputs(&mut self, node: &Node, form: Form) -> Vec<String> {
        node.inputs.iter().map(|&v| self.in_form(v, form)).collect()
    }

    fn in_form(&mut self, id: ValueId, form: Form) -> String {
        let Written { name, form: has, other } = &self.values[id];
        match other {
            _ if *has == form => return name.clone(),
            Some(other) => return other.clone(),
            None => {}
        }
        let from = name.clone();
        let changed = match form {
            Form::Flat => {
                let name = self.claim(&format!("{from}.flat"));
                self.node("Flatten", name, vec![from], vec![proto::Attribute::int("axis", 1)])
            }
            Form::Planes => {
                let name = self.claim(&format!("{from}.planes"));
                let axes = self.ints(&format!("{name}.axes"), &[2, 3]);
                self.node("Unsqueeze", name, vec![from, axes], Vec::new())
            }
        };
        self.values[id].other = Some(changed.clone());
        changed
    }
}
