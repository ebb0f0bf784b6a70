//! Writing a graph the way papers describe networks: layer after layer, inside named modules.

use std::collections::BTreeMap;

use crate::error::GraphError;
use crate::graph::{Graph, Node, Output, Raw, ValueId};
use crate::init::{Family, Layer};
use crate::op::{Binary, Op, Padding, PoolKind, Resize, Shape, Unary, Window};
use crate::param::{Init, Param};

/// A value under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value(ValueId);

/// A convolution to be added: by default with stride 1, padding that keeps the size of odd kernels, one group and no bias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv {
    out: usize,
    window: Window,
    groups: usize,
    bias: bool,
}

impl Conv {
    /// `out` channels by a square kernel.
    pub fn new(out: usize, kernel: usize) -> Self {
        Self { out, window: Window::square(kernel, 1, kernel / 2), groups: 1, bias: false }
    }

    /// Steps between two outputs.
    pub fn stride(mut self, stride: usize) -> Self {
        self.window.stride = [stride; 2];
        self
    }

    /// Cells of zeros on every side.
    pub fn padding(mut self, padding: usize) -> Self {
        self.window.padding = Padding::even([padding; 2]);
        self
    }

    /// Groups of channels that do not see each other.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// With a bias.
    pub fn bias(mut self) -> Self {
        self.bias = true;
        self
    }
}

/// Builds a [`Graph`].
///
/// A mistake (an addition of unequal widths, say) is kept and returned by [`Builder::finish`], so that a network reads as a
/// list of layers without a `?` behind each.
#[derive(Debug)]
pub struct Builder {
    raw: Raw,
    channels: Vec<usize>,
    scope: Vec<String>,
    family: Family,
    error: Option<GraphError>,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// An empty graph whose parameters begin as PyTorch's layers do.
    pub fn new() -> Self {
        Self::with_init(Family::default())
    }

    /// An empty graph whose parameters begin as a family's authors published.
    pub fn with_init(family: Family) -> Self {
        let raw =
            Raw { nodes: Vec::new(), params: Vec::new(), modules: BTreeMap::new(), output: 0, outputs: Vec::new() };
        Self { raw, channels: Vec::new(), scope: Vec::new(), family, error: None }
    }

    /// Channels of a value.
    pub fn channels(&self, x: Value) -> usize {
        self.channels[x.0]
    }

    /// A module: what `body` adds is named below `name`, and the value it returns can be found by the module's path.
    pub fn module(&mut self, name: &str, body: impl FnOnce(&mut Self) -> Value) -> Value {
        self.scope.push(name.to_owned());
        let value = body(self);
        let path = self.scope.join(".");
        self.scope.pop();
        self.raw.modules.insert(path, value.0);
        value
    }

    /// Lets a value be found as the module `name`, where the module's own parameters already bear that name: libraries that
    /// fuse an activation into its normalisation give the activation's value under the normalisation's path.
    pub fn name_module(&mut self, name: &str, value: Value) {
        let path = self.scope.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
        self.raw.modules.insert(path, value.0);
    }

    /// The picture, of `channels` channels; it comes first.
    pub fn input(&mut self, channels: usize) -> Value {
        self.push("input", Op::Input { channels }, &[])
    }

    /// One of several things that the network takes, of `channels` channels; the first is the picture.
    pub fn named_input(&mut self, name: &str, channels: usize) -> Value {
        self.push(name, Op::Input { channels }, &[])
    }

    /// Convolution; parameters `name.weight` and, if asked for, `name.bias`.
    pub fn conv(&mut self, name: &str, x: Value, conv: Conv) -> Value {
        let Conv { out, window, groups, bias } = conv;
        self.push(name, Op::Conv { out, window, groups, bias }, &[x])
    }

    /// Batch normalisation with PyTorch's eps 1e-5 and momentum 0.1.
    pub fn batch_norm(&mut self, name: &str, x: Value) -> Value {
        self.push(name, Op::BatchNorm { eps: 1e-5, momentum: 0.1 }, &[x])
    }

    /// The same, with a scale that begins at zero: the residual unit it ends begins as the identity
    /// (Goyal et al., arXiv:1706.02677, section 5.1).
    pub fn batch_norm_from_zero(&mut self, name: &str, x: Value) -> Value {
        let y = self.batch_norm(name, x);
        if let Some(&scale) = self.raw.nodes[y.0].params.first() {
            self.raw.params[scale].init = Init::Constant { value: 0.0 };
        }
        y
    }

    /// A function of every element.
    pub fn unary(&mut self, name: &str, x: Value, function: Unary) -> Value {
        self.push(name, Op::Unary { function }, &[x])
    }

    /// Sum of two values; an axis of length 1 is repeated.
    pub fn add(&mut self, name: &str, a: Value, b: Value) -> Value {
        self.push(name, Op::Binary { function: Binary::Add }, &[a, b])
    }

    /// Product, element by element, of two values; an axis of length 1 is repeated.
    pub fn multiply(&mut self, name: &str, a: Value, b: Value) -> Value {
        self.push(name, Op::Binary { function: Binary::Mul }, &[a, b])
    }

    /// Channels of `parts` one after another.
    pub fn concat(&mut self, name: &str, parts: &[Value]) -> Value {
        self.push(name, Op::Concat, parts)
    }

    /// `len` channels of `x` from `start` on.
    pub fn slice(&mut self, name: &str, x: Value, start: usize, len: usize) -> Value {
        self.push(name, Op::Slice { start, len }, &[x])
    }

    /// Largest value in a window.
    pub fn max_pool(&mut self, name: &str, x: Value, window: Window) -> Value {
        self.push(name, Op::Pool { kind: PoolKind::Max, window }, &[x])
    }

    /// Mean of a window, padding counted as zeros (PyTorch's default).
    pub fn avg_pool(&mut self, name: &str, x: Value, window: Window) -> Value {
        self.push(name, Op::Pool { kind: PoolKind::Average { count_include_pad: true }, window }, &[x])
    }

    /// Mean over all pixels.
    pub fn global_avg_pool(&mut self, name: &str, x: Value) -> Value {
        self.push(name, Op::GlobalAvgPool, &[x])
    }

    /// Fully connected layer; parameters `name.weight`, `name.bias`.
    pub fn linear(&mut self, name: &str, x: Value, out: usize) -> Value {
        self.push(name, Op::Linear { out }, &[x])
    }

    /// A function of two values; an axis of length 1 is repeated.
    pub fn binary(&mut self, name: &str, function: Binary, a: Value, b: Value) -> Value {
        self.push(name, Op::Binary { function }, &[a, b])
    }

    /// Numbers of this shape that do not depend on the picture; parameter `name.value`.
    pub fn constant(&mut self, name: &str, shape: Shape) -> Value {
        self.push(name, Op::Constant { shape }, &[])
    }

    /// Every pixel `factor` times in both directions.
    pub fn upsample(&mut self, name: &str, x: Value, factor: usize) -> Value {
        self.push(name, Op::Resize(Resize::repeat(factor)), &[x])
    }

    /// The graph that computes `output`.
    ///
    /// # Errors
    /// The first mistake made while building.
    pub fn finish(mut self, output: Value) -> Result<Graph, GraphError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.raw.output = output.0;
        Graph::try_from(self.raw)
    }

    /// The graph that gives several values, of which the first is its answer.
    ///
    /// # Errors
    /// As [`Builder::finish`], and if two have one name.
    ///
    /// # Panics
    /// If there is none.
    pub fn finish_named(mut self, outputs: &[(&str, Value)]) -> Result<Graph, GraphError> {
        let output = |&(name, value): &(&str, Value)| Output { name: name.into(), value: value.0 };
        self.raw.outputs = outputs.iter().map(output).collect();
        self.finish(outputs[0].1)
    }

    /// Gives the parameters of an operation other names, in their order, such as those of a file.
    pub fn name_params(&mut self, value: Value, names: Vec<String>) {
        for (&param, name) in self.raw.nodes[value.0].params.iter().zip(names) {
            self.raw.params[param].name = name;
        }
    }

    /// Any operation, with its parameters: for networks that come from files and have what no method here is for.
    pub fn push(&mut self, name: &str, op: Op, inputs: &[Value]) -> Value {
        let path = self.scope.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join(".");
        let widths: Vec<usize> = inputs.iter().map(|v| self.channels[v.0]).collect();
        let mut node = Node { path, op, inputs: inputs.iter().map(|v| v.0).collect(), params: Vec::new() };
        let channels = node.op.channels(&widths).unwrap_or_else(|why| {
            self.error.get_or_insert(node.error(why));
            1
        });
        if self.error.is_none() {
            let layer = if matches!(node.op, Op::Linear { .. }) { Layer::Linear } else { Layer::Conv };
            let params = Node::expected_params(&node.op, &widths);
            let weight = params.first().map(|(_, shape)| shape.clone()).unwrap_or_default();
            for (role, shape) in params {
                let init = self.family.init(layer, role, &weight);
                let name = format!("{}.{}", node.path, role.leaf());
                node.params.push(self.raw.params.len());
                self.raw.params.push(Param { name, shape, role, init });
            }
        }
        self.raw.nodes.push(node);
        self.channels.push(channels);
        Value(self.channels.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_name_what_they_hold() {
        let mut b = Builder::new();
        let x = b.input(3);
        let y = b.module("stem", |b| {
            b.module("conv1", |b| {
                let x = b.conv("conv", x, Conv::new(8, 3));
                b.batch_norm("bn", x)
            })
        });
        let g = b.finish(y).unwrap();
        let names: Vec<&str> = g.params().iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names[..2], ["stem.conv1.conv.weight", "stem.conv1.bn.weight"]);
        assert_eq!(g.value("stem.conv1"), Some(g.output()));
        assert_eq!(g.value("stem.conv1.conv"), Some(1));
    }

    #[test]
    fn a_network_may_take_and_give_several() {
        let mut b = Builder::new();
        let left = b.named_input("left", 3);
        let wide = b.conv("conv", left, Conv::new(8, 3));
        let right = b.named_input("right", 8);
        let sum = b.add("sum", wide, right);
        let g = b.finish_named(&[("answer", sum), ("wide", wide), ("again", sum)]).unwrap();
        assert_eq!((g.inputs(), g.output(), g.outputs().len()), (&[0, 2][..], 3, 3));
        let shapes = g.shapes(vec![[3, 6, 5], [8, 6, 5]]).unwrap();
        assert_eq!(shapes, [[3, 6, 5], [8, 6, 5], [8, 6, 5], [8, 6, 5]]);
        let refused = |shapes: Vec<[usize; 3]>| g.shapes(shapes).unwrap_err().to_string();
        assert_eq!(refused(vec![[3, 6, 5]]), "the network has 2 inputs (left, right), and shapes for 1 are given");
        assert_eq!(refused(vec![[3, 6, 5], [7, 6, 5]]), "right: input takes 8 channels, what it is given has 7");
        assert_eq!(refused(vec![[3, 6, 5], [8, 6, 6]]), "sum: add joins [6, 5] and [6, 6] pixels");
    }

    #[test]
    fn inputs_and_outputs_have_names_of_their_own() {
        let mut b = Builder::new();
        let (x, y) = (b.input(3), b.input(3));
        let sum = b.add("sum", x, y);
        assert_eq!(b.finish(sum).unwrap_err().to_string(), "two inputs of the network have the name `input`");
        let mut b = Builder::new();
        let x = b.input(3);
        let same = b.finish_named(&[("a", x), ("b", x), ("a", x)]);
        assert_eq!(same.unwrap_err().to_string(), "two outputs of the network have the name `a`");
    }

    #[test]
    fn a_mistake_is_told_at_the_end_with_its_place() {
        let mut b = Builder::new();
        let x = b.input(3);
        let y = b.conv("conv", x, Conv::new(8, 3));
        let z = b.add("sum", x, y);
        let e = b.finish(z).unwrap_err();
        assert_eq!(e.to_string(), "sum: add joins 3 and 8 channels");
    }
}
