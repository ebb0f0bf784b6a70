//! The graph's words in the kernels' language.

use cspnet_graph::{Binary, DropUnit, Graph, Op, Padding, PoolKind, Shape, Unary, ValueId, Window};
use cspnet_kernels as kernels;
use cspnet_kernels::{Activation, ConvShape, DropRule, Operation};

/// A function of every element, or none.
pub(crate) fn activation(function: Option<Unary>) -> Activation {
    match function {
        None => Activation::Identity,
        Some(Unary::Relu) => Activation::Relu,
        Some(Unary::Relu6) => Activation::Relu6,
        Some(Unary::LeakyRelu { slope }) => Activation::LeakyRelu(slope as f32),
        Some(Unary::Sigmoid) => Activation::Sigmoid,
        Some(Unary::Silu) => Activation::Silu,
        Some(Unary::Mish) => Activation::Mish,
    }
}

/// A sliding window; what kernels need of its end is the output's size.
pub(crate) fn window(w: &Window) -> kernels::Window {
    kernels::Window { kernel: w.kernel, stride: w.stride, padding: w.padding.before, dilation: w.dilation }
}

/// What a pooling of planes of a shape takes, and of which window; none means the whole plane.
pub(crate) fn pooling(
    kind: PoolKind,
    w: Option<Window>,
    [_, height, width]: Shape,
) -> (kernels::PoolKind, kernels::Window) {
    let w = w.unwrap_or(Window { kernel: [height, width], ..Window::square(1, 1, 0) });
    let kind = match kind {
        PoolKind::Max => kernels::PoolKind::Max,
        PoolKind::Average { count_include_pad } => {
            kernels::PoolKind::Average { padding_behind: count_include_pad.then_some(w.padding.after) }
        }
    };
    (kind, window(&w))
}

/// A function of two values.
pub(crate) fn operation(function: Binary) -> Operation {
    match function {
        Binary::Add => Operation::Add,
        Binary::Mul => Operation::Mul,
    }
}

/// How often a node drops something, and what; nodes drop independently of each other.
pub(crate) fn drop_rule(graph: &Graph, node: ValueId) -> DropRule {
    let Op::Drop { rate, unit } = graph.node(node).op else { unreachable!("{} drops nothing", graph.node(node).path) };
    let unit = match unit {
        DropUnit::Element => kernels::DropUnit::Element,
        DropUnit::Image => kernels::DropUnit::Image,
    };
    DropRule { rate, unit, place: node as u64 }
}

/// Whether no tap of a convolution ever sees padding.
pub(crate) fn is_unpadded(op: &Op) -> bool {
    match op {
        Op::Conv { window, .. } => window.padding == Padding::NONE,
        _ => true,
    }
}

/// The geometry of a convolution; a fully connected layer is one of 1x1 on a single pixel.
pub(crate) fn conv_shape(op: &Op) -> ConvShape {
    match op {
        Op::Conv { window: w, groups, .. } => ConvShape { window: window(w), groups: *groups },
        Op::Linear { .. } => ConvShape { window: window(&Window::square(1, 1, 0)), groups: 1 },
        other => unreachable!("{} is no convolution", other.name()),
    }
}
