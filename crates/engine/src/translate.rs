//! The graph's words in the kernels' language.

use cspnet_graph::{Axis, Binary, DropUnit, Graph, Op, Padding, PoolKind, Reduction, Shape, Unary, ValueId, Window};
use cspnet_kernels as kernels;
use cspnet_kernels::{Activation, ConvShape, DropRule, Function, LineFunction, Operation};

/// A function of every element, or none.
pub(crate) fn activation(function: Option<Unary>) -> Activation {
    let Some(function) = function else { return Activation::Identity };
    let other = Activation::Other;
    match function {
        Unary::Relu => Activation::Relu,
        Unary::Relu6 => Activation::Clip(0.0, 6.0),
        Unary::Clip { min, max } => Activation::Clip(min as f32, max as f32),
        Unary::LeakyRelu { slope } => Activation::LeakyRelu(slope as f32),
        Unary::Sigmoid => Activation::Sigmoid,
        Unary::Silu => Activation::Silu,
        Unary::Mish => Activation::Mish,
        Unary::HardSigmoid { alpha, beta } => Activation::HardSigmoid(alpha as f32, beta as f32),
        Unary::HardSwish => Activation::HardSwish,
        Unary::Tanh => other(Function::Tanh),
        Unary::Elu { alpha } => other(Function::Elu { alpha: alpha as f32, gamma: 1.0 }),
        Unary::Selu { alpha, gamma } => other(Function::Elu { alpha: alpha as f32, gamma: gamma as f32 }),
        Unary::Softplus => other(Function::Softplus),
        Unary::Gelu => other(Function::Gelu),
        Unary::GeluTanh => other(Function::GeluTanh),
        Unary::Erf => other(Function::Erf),
        Unary::Exp => other(Function::Exp),
        Unary::Log => other(Function::Log),
        Unary::Sqrt => other(Function::Sqrt),
        Unary::Neg => other(Function::Neg),
        Unary::Abs => other(Function::Abs),
        Unary::Reciprocal => other(Function::Reciprocal),
    }
}

/// Whether a function may be computed together with others: it leaves what lies beside the channels finite.
pub(crate) fn keeps_finite(function: Unary) -> bool {
    !matches!(activation(Some(function)), Activation::Other(other) if !other.keeps_finite())
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
        Binary::Sub => Operation::Sub,
        Binary::Mul => Operation::Mul,
        Binary::Div => Operation::Div,
        Binary::Pow => Operation::Pow,
        Binary::Max => Operation::Max,
        Binary::Min => Operation::Min,
    }
}

/// For an operation that takes whole lines into account, what it makes of them and along which axes they lie.
pub(crate) fn lines(op: &Op) -> Option<(LineFunction, [bool; 3])> {
    Some(match *op {
        Op::Softmax { axis, log } => (LineFunction::Softmax { log }, Axis::ALL.map(|a| a == axis)),
        Op::Lrn { size, alpha, beta, bias } => (LineFunction::Lrn { size, alpha, beta, bias }, [true, false, false]),
        Op::Reduce { reduction, axes } => {
            let reduction = match reduction {
                Reduction::Mean => kernels::Reduction::Mean,
                Reduction::Sum => kernels::Reduction::Sum,
                Reduction::Max => kernels::Reduction::Max,
                Reduction::Min => kernels::Reduction::Min,
            };
            (LineFunction::Reduce(reduction), axes)
        }
        _ => return None,
    })
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

/// For an operation that gives numbers other places: which place of an input of a shape each place of the output is; none where
/// there is a constant.
pub(crate) fn source(op: &Op, input: Shape) -> Box<dyn Fn(Shape) -> Option<Shape> + '_> {
    match op {
        Op::Pad(pad) => Box::new(move |place| {
            let along = |axis: Axis| pad.source(axis, input[axis.index()], place[axis.index()]);
            Some([along(Axis::Channels)?, along(Axis::Rows)?, along(Axis::Columns)?])
        }),
        Op::Crop(crop) => Box::new(move |mut place| {
            let along = &mut place[crop.axis.index()];
            *along = crop.source(*along);
            Some(place)
        }),
        Op::Rearrange(rearrange) => {
            let from = rearrange.source();
            let [_, rows, columns] = rearrange.shape;
            Box::new(move |[c, y, x]| {
                let source = from((c * rows + y) * columns + x);
                Some([source / (input[1] * input[2]), source / input[2] % input[1], source % input[2]])
            })
        }
        Op::Resize(resize) => {
            let nearest = |axis: usize| resize.taps(axis, input[1 + axis]).iter().map(|taps| taps[0].0).collect();
            let (rows, columns): (Vec<usize>, Vec<usize>) = (nearest(0), nearest(1));
            Box::new(move |[c, y, x]| Some([c, rows[y], columns[x]]))
        }
        other => unreachable!("{} computes", other.name()),
    }
}
