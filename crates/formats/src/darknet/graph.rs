//! Layers to a graph, and the order in which a `.weights` file has its parameters.
//!
//! Paths are those of the PyTorch programs that read `.cfg` files (WongKinYiu/ScaledYOLOv4): `module_list.N.Conv2d`, where N is
//! the layer's number. The softmax at the end is left out, as in all networks here: what classifies has its own.

use cspnet_graph::init::Family;
use cspnet_graph::{Builder, DropUnit, Graph, Node, Op, ParamId, PoolKind, Shape, Unary, Value, Window};

use super::layers::{Kind, Layer, Parsed, stride_onto};
use crate::error::FormatError;

/// How much of a batch's mean and variance the running ones take on (Darknet's on a processor).
const MOMENTUM: f64 = 0.1;

/// The graph of layers of which all are supported; normalisations add `eps` to the variance.
///
/// # Errors
/// If it is larger than graphs may be.
pub(super) fn build(parsed: &Parsed, eps: f64) -> Result<Graph, FormatError> {
    let mut b = Builder::with_init(Family::Darknet);
    let mut x = b.input(parsed.input[0]);
    let mut before = parsed.input;
    let mut stack = Stack { layers: &parsed.layers, values: Vec::new(), eps };
    for (i, layer) in parsed.layers.iter().enumerate() {
        if matches!(layer.kind, Kind::Softmax | Kind::Cost) {
            break;
        }
        x = b.module(&format!("module_list.{i}"), |b| stack.add(b, layer, x, before));
        stack.values.push(x);
        before = layer.shape;
    }
    Ok(b.finish(x)?)
}

/// The layers so far.
struct Stack<'a> {
    layers: &'a [Layer],
    /// What they give.
    values: Vec<Value>,
    eps: f64,
}

impl Stack<'_> {
    /// Adds a layer behind `x`, which has the shape `before`.
    fn add(&self, b: &mut Builder, layer: &Layer, x: Value, before: Shape) -> Value {
        match &layer.kind {
            Kind::Convolutional { filters, window, groups, is_normalised, activation } => {
                // At one pixel this is a fully connected layer, by which a network's head is known.
                let is_linear = before[1..] == [1, 1] && *window == Window::square(1, 1, 0) && *groups == 1;
                let y = if is_linear && !is_normalised {
                    b.linear("Conv2d", x, *filters)
                } else {
                    convolution(b, x, *filters, *window, *groups, !is_normalised)
                };
                let y = if *is_normalised { self.normalise(b, y) } else { y };
                activate(b, y, *activation)
            }
            Kind::Connected { outputs, activation } => {
                let y = match [before[1], before[2]] {
                    [1, 1] => b.linear("Linear", x, *outputs),
                    [h, w] => {
                        let all = Window { kernel: [h, w], ..Window::square(1, 1, 0) };
                        convolution(b, x, *outputs, all, 1, true)
                    }
                };
                activate(b, y, *activation)
            }
            Kind::BatchNorm => self.normalise(b, x),
            Kind::Activation { function } => activate(b, x, *function),
            Kind::MaxPool(pool) => b.max_pool("MaxPool2d", x, pool.window([before[1], before[2]])),
            Kind::LocalAvgPool(pool) => {
                // Only cells of the picture count.
                let kind = PoolKind::Average { count_include_pad: false };
                b.push("AvgPool2d", Op::Pool { kind, window: pool.window([before[1], before[2]]) }, &[x])
            }
            Kind::AvgPool => b.global_avg_pool("AvgPool2d", x),
            Kind::Route { layers, groups, group } => {
                let parts: Vec<Value> =
                    layers.iter().map(|&layer| part(b, self.values[layer], *groups, *group)).collect();
                if parts.len() == 1 { parts[0] } else { b.concat("FeatureConcat", &parts) }
            }
            Kind::Shortcut { from, activation } => {
                let y = shortcut(b, x, self.values[*from], before, self.layers[*from].shape);
                activate(b, y, *activation)
            }
            Kind::Dropout { rate } => b.push("Dropout", Op::Drop { rate: *rate, unit: DropUnit::Element }, &[x]),
            Kind::Upsample { factor } => b.upsample("Upsample", x, *factor),
            Kind::Softmax | Kind::Cost => x,
        }
    }

    fn normalise(&self, b: &mut Builder, x: Value) -> Value {
        b.push("BatchNorm2d", Op::BatchNorm { eps: self.eps, momentum: MOMENTUM }, &[x])
    }
}

fn convolution(b: &mut Builder, x: Value, out: usize, window: Window, groups: usize, bias: bool) -> Value {
    b.push("Conv2d", Op::Conv { out, window, groups, bias }, &[x])
}

fn activate(b: &mut Builder, x: Value, function: Option<Unary>) -> Value {
    function.map_or(x, |function| b.unary("activation", x, function))
}

/// One of the equal groups of a value's channels.
fn part(b: &mut Builder, x: Value, groups: usize, group: usize) -> Value {
    let len = b.channels(x) / groups;
    if groups == 1 { x } else { b.slice(&format!("part{group}"), x, group * len, len) }
}

/// `x` plus the channels that `from` has in common with it, of every so many-th pixel if it is larger.
fn shortcut(b: &mut Builder, x: Value, from: Value, shape: Shape, from_shape: Shape) -> Value {
    let [channels, theirs] = [shape[0], from_shape[0]];
    let stride = stride_onto([from_shape[1], from_shape[2]], [shape[1], shape[2]]).unwrap_or(1);
    let from = if stride == 1 { from } else { b.max_pool("stride", from, Window::square(1, stride, 0)) };
    if theirs >= channels {
        let from = if theirs == channels { from } else { b.slice("common", from, 0, channels) };
        return b.add("WeightedFeatureFusion", x, from);
    }
    let common = b.slice("common", x, 0, theirs);
    let sum = b.add("sum", common, from);
    let rest = b.slice("rest", x, theirs, channels - theirs);
    b.concat("WeightedFeatureFusion", &[sum, rest])
}

/// The parameters of a graph of layers in the order of a `.weights` file.
pub(super) fn order(graph: &Graph) -> Vec<ParamId> {
    let readers = graph.consumers();
    let is_norm = |node: &&Node| matches!(node.op, Op::BatchNorm { .. });
    let mut order = Vec::new();
    for (id, node) in graph.nodes().iter().enumerate() {
        match node.op {
            Op::Conv { bias: false, .. } => {
                let norm = readers[id].first().map(|&reader| graph.node(reader)).filter(is_norm);
                order.extend(of_convolution(node, norm));
            }
            Op::Conv { .. } | Op::Linear { .. } => order.extend(of_convolution(node, None)),
            Op::BatchNorm { .. } if !matches!(graph.node(node.inputs[0]).op, Op::Conv { bias: false, .. }) => {
                order.extend(of_norm(node));
            }
            _ => {}
        }
    }
    order
}

/// A convolution's parameters in the order of a `.weights` file: what has one number a channel comes first.
pub(super) fn of_convolution(conv: &Node, norm: Option<&Node>) -> Vec<ParamId> {
    let (weight, bias) = (conv.params[0], conv.params.get(1).copied());
    bias.into_iter().chain(norm.into_iter().flat_map(of_norm)).chain([weight]).collect()
}

/// A normalisation's parameters in the order of a `.weights` file.
pub(super) fn of_norm(norm: &Node) -> [ParamId; 4] {
    let [scale, shift, mean, variance] = norm.params[..] else { panic!("a normalisation has four parameters") };
    [shift, scale, mean, variance]
}
