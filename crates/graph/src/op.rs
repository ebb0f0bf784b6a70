//! The kinds of operation a network is made of, and what each does to a shape.
//!
//! Not here: how an operation is computed, and its parameters' numbers.

mod function;
mod moved;
mod resize;
mod window;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use function::{Binary, Unary};
pub use moved::{Crop, Fill, Pad, Rearrange};
pub use resize::{Coordinates, Filter, Resize, ResizeTo, Rounding};
pub use window::{Padding, PoolKind, Window};

use crate::error::GraphError;

/// Channels, rows, columns of a value: `[c, h, w]`.
pub type Shape = [usize; 3];

/// An axis of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// The first.
    Channels,
    /// The second.
    Rows,
    /// The third.
    Columns,
}

impl Axis {
    /// All of them, in the order of a shape.
    pub const ALL: [Self; 3] = [Self::Channels, Self::Rows, Self::Columns];

    /// Its place in a shape.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(["channels", "rows", "columns"][self.index()])
    }
}

/// What becomes of the numbers along some axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reduction {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
}

/// What dropout drops together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropUnit {
    /// Every number by itself (Srivastava et al., JMLR 15, 2014).
    Element,
    /// All numbers of an image: stochastic depth (Huang et al., arXiv:1603.09382).
    Image,
}

/// An operation. Its inputs are values `[c, h, w]` of one image; its parameters are listed by [`crate::Node`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// The picture, or another of several things that the network takes: no inputs, `channels` channels of any size.
    Input {
        /// Channels.
        channels: usize,
    },
    /// Pixel values `0..=255` to the numbers a network was trained on: `(x / 255 - mean) / std`, channel by channel.
    Normalise {
        /// Mean of every channel, in units of the full range.
        mean: Vec<f32>,
        /// Standard deviation of every channel, in units of the full range.
        std: Vec<f32>,
    },
    /// Convolution with a weight `[out, in / groups, kh, kw]` and perhaps a bias `[out]`; zero padding.
    Conv {
        /// Channels of the output.
        out: usize,
        /// Its window.
        window: Window,
        /// Groups of channels that do not see each other; 1 is an ordinary convolution, `in` a depthwise one.
        groups: usize,
        /// Whether a bias is added.
        bias: bool,
    },
    /// Batch normalisation (Ioffe and Szegedy, arXiv:1502.03167) with scale, shift, running mean and running variance `[c]`.
    BatchNorm {
        /// Added to the variance.
        eps: f64,
        /// Share of the batch in the running statistics, as PyTorch counts it.
        momentum: f64,
    },
    /// A function of every element.
    Unary {
        /// Which.
        function: Unary,
    },
    /// A function of two values; along every axis their lengths are equal, or one is 1 and repeated.
    Binary {
        /// Which.
        function: Binary,
    },
    /// Numbers that do not depend on the picture: no inputs, a parameter of the value's shape that is not trained.
    Constant {
        /// The value's shape.
        shape: Shape,
    },
    /// `x > 0 ? x : slope * x` with a slope `[c]` (He et al., arXiv:1502.01852).
    PRelu,
    /// Local response normalisation over channels (Krizhevsky et al., 2012): `x / (bias + alpha / size * s) ^ beta`, where `s` is
    /// the sum of the squares of `size` channels at the pixel, from `(size - 1) / 2` before it on, as far as there are any.
    Lrn {
        /// Channels that are summed.
        size: usize,
        /// Weight of their mean square.
        alpha: f64,
        /// The power.
        beta: f64,
        /// What is added.
        bias: f64,
    },
    /// `exp(x)` over the sum of them along an axis.
    Softmax {
        /// Along which.
        axis: Axis,
        /// Whether its logarithm is given.
        log: bool,
    },
    /// One number for all along some axes, of which there is at least one; their length becomes 1.
    Reduce {
        /// Which number.
        reduction: Reduction,
        /// Whether channels, rows and columns are among the axes.
        axes: [bool; 3],
    },
    /// Cells added around a value.
    Pad(Pad),
    /// Every so many-th cell along an axis; a run of channels is a [`Op::Slice`], which costs nothing.
    Crop(Crop),
    /// Another number of rows and columns.
    Resize(Resize),
    /// The same numbers in another order and shape.
    Rearrange(Rearrange),
    /// Products of matrices `[b, m, k]` and `[b, k, n]`, one for each `b`: `[b, m, n]`. Where one operand has `b = 1` it is
    /// multiplied with each of the other's.
    MatMul,
    /// Pooling by a window; wherever it lies, some tap must be on the picture.
    Pool {
        /// What is taken of the window.
        kind: PoolKind,
        /// The window; its padding is less than what it reaches over.
        window: Window,
    },
    /// The mean over all pixels: `[c, h, w]` to `[c, 1, 1]`.
    GlobalAvgPool,
    /// The inputs' channels one after another; along another axis, that axis is made the channels before and put back behind
    /// ([`Rearrange::transpose`]).
    Concat,
    /// A run of channels.
    Slice {
        /// First channel.
        start: usize,
        /// How many.
        len: usize,
    },
    /// Fully connected layer on `[c, 1, 1]`, with a weight `[out, c]` and a bias `[out]`.
    Linear {
        /// Outputs.
        out: usize,
    },
    /// In training, zero with probability `rate`, else the number divided by `1 - rate`; elsewhere the number itself.
    Drop {
        /// Probability, in `0.0..1.0`.
        rate: f64,
        /// What is dropped together.
        unit: DropUnit,
    },
    /// Mean over the images of the cross entropy between softmax and a target distribution: logits `[k, 1, 1]` to `[1, 1, 1]`.
    SoftmaxCrossEntropy,
}

impl Op {
    /// The output's channels, given the inputs'.
    ///
    /// # Errors
    /// Where the operation does not fit its inputs; the error's node is filled in by the caller.
    pub(crate) fn channels(&self, inputs: &[usize]) -> Result<usize, String> {
        let one = || match inputs {
            [c] => Ok(*c),
            _ => Err(format!("takes one input, has {}", inputs.len())),
        };
        let joined = || match inputs {
            [a, b] => broadcast(*a, *b).ok_or_else(|| format!("joins {a} and {b} channels")),
            _ => Err(format!("takes two inputs, has {}", inputs.len())),
        };
        match self {
            Self::Input { channels } if inputs.is_empty() => positive(*channels, "channels"),
            Self::Input { .. } => Err("takes no input".into()),
            Self::Normalise { mean, std } => {
                let c = one()?;
                let usable = |v: &f32| v.is_finite();
                if mean.len() != c
                    || std.len() != c
                    || !mean.iter().all(usable)
                    || !std.iter().all(|s| usable(s) && *s > 0.0)
                {
                    return Err(format!("needs a finite mean and a positive deviation for each of {c} channels"));
                }
                Ok(c)
            }
            Self::Conv { out, window, groups, .. } => {
                window.check()?;
                if window.ceil {
                    return Err("rounds its size up, which only poolings do".into());
                }
                let c = one()?;
                if *groups == 0 || c % groups != 0 || out % groups != 0 {
                    return Err(format!("{groups} groups do not divide {c} and {out} channels"));
                }
                positive(*out, "output channels")
            }
            Self::BatchNorm { eps, momentum } => {
                if !(eps.is_finite() && *eps >= 0.0 && (0.0..=1.0).contains(momentum)) {
                    return Err(format!("eps {eps} and momentum {momentum} make no sense"));
                }
                one()
            }
            Self::Unary { function } => function.check().and_then(|()| one()),
            Self::Pool { window, .. } => {
                window.check()?;
                // The first or the last window would lie on padding alone, of which there is no largest and no mean.
                let Padding { before, after } = window.padding;
                if (0..2).any(|axis| window.reach(axis).is_none_or(|reach| before[axis].max(after[axis]) >= reach)) {
                    return Err(format!("pads by {before:?} and {after:?}, which is beyond its window"));
                }
                one()
            }
            Self::GlobalAvgPool => one(),
            Self::Drop { rate, .. } if !(0.0..1.0).contains(rate) => Err(format!("rate {rate} is not in 0..1")),
            Self::Drop { .. } => one(),
            Self::Binary { .. } | Self::MatMul => joined(),
            Self::Constant { .. } if !inputs.is_empty() => Err("takes no input".into()),
            Self::Constant { shape } => match elements(shape) {
                Some(_) => positive(shape[0], "channels"),
                None => Err(format!("has the shape {shape:?}")),
            },
            Self::PRelu | Self::Softmax { .. } => one(),
            Self::Lrn { size, alpha, beta, bias } => match [alpha, beta, bias].iter().all(|n| n.is_finite()) {
                true => positive(*size, "channels to sum").and_then(|_| one()),
                false => Err(format!("has alpha {alpha}, beta {beta}, bias {bias}")),
            },
            Self::Reduce { axes: [false, false, false], .. } => Err("reduces no axis".into()),
            Self::Reduce { axes, .. } => one().map(|c| if axes[0] { 1 } else { c }),
            Self::Pad(pad) => positive(pad.len(Axis::Channels, one()?)?, "channels"),
            Self::Crop(crop) if crop.axis == Axis::Channels => crop.check(one()?).map(|()| crop.len),
            Self::Crop(_) => one(),
            Self::Resize(resize) => resize.check().and_then(|()| one()),
            Self::Rearrange(rearrange) => {
                rearrange.check()?;
                one().and_then(|_| positive(rearrange.shape[0], "channels"))
            }
            Self::Concat => positive(inputs.iter().sum(), "channels"),
            Self::Slice { start, len } => match start.checked_add(*len) {
                Some(end) if end <= one()? => positive(*len, "channels"),
                _ => Err(format!("takes channels {start}..+{len} of {}", one()?)),
            },
            Self::Linear { out } => one().and_then(|_| positive(*out, "outputs")),
            Self::SoftmaxCrossEntropy => one().map(|_| 1),
        }
    }

    /// The output's shape, given the inputs'; that of an input is its own affair.
    ///
    /// # Errors
    /// What does not fit.
    pub fn output(&self, inputs: &[Shape]) -> Result<Shape, String> {
        let channels: Vec<usize> = inputs.iter().map(|s| s[0]).collect();
        self.shape(self.channels(&channels)?, inputs)
    }

    /// The output's shape, given the inputs'. Channels have been checked before.
    pub(crate) fn shape(&self, channels: usize, inputs: &[Shape]) -> Result<Shape, String> {
        let size = |s: &Shape| [s[1], s[2]];
        let first = inputs.first().map(size).unwrap_or_default();
        let too_small = |w: &Window| format!("a window of {:?} does not fit into {first:?} pixels", w.kernel);
        let [h, w] = match self {
            Self::Conv { window, .. } => window.output(first).ok_or_else(|| too_small(window))?,
            Self::Pool { window, .. } => {
                let outputs = window.output(first).ok_or_else(|| too_small(window))?;
                if window.misses(first, outputs) {
                    return Err(format!("has taps {:?} apart, and {first:?} pixels lie between two", window.dilation));
                }
                outputs
            }
            Self::GlobalAvgPool => [1, 1],
            Self::Constant { shape } => size(shape),
            Self::Binary { .. } => {
                let second = size(&inputs[1]);
                let along = |axis: usize| broadcast(first[axis], second[axis]);
                let joined = along(0).zip(along(1)).ok_or_else(|| format!("joins {first:?} and {second:?} pixels"))?;
                joined.into()
            }
            Self::MatMul => {
                let second = size(&inputs[1]);
                if first[1] != second[0] {
                    return Err(format!("multiplies matrices of {first:?} and {second:?}"));
                }
                [first[0], second[1]]
            }
            Self::Reduce { axes, .. } => [0, 1].map(|axis| if axes[1 + axis] { 1 } else { first[axis] }),
            Self::Pad(pad) => [pad.len(Axis::Rows, first[0])?, pad.len(Axis::Columns, first[1])?],
            Self::Crop(Crop { axis: Axis::Channels, .. }) => first,
            Self::Crop(crop) => {
                let axis = crop.axis.index() - 1;
                crop.check(first[axis])?;
                let mut cropped = first;
                cropped[axis] = crop.len;
                cropped
            }
            Self::Resize(resize) => {
                let [rows, columns] = resize.output(first);
                [positive(rows, "rows")?, positive(columns, "columns")?]
            }
            Self::Rearrange(rearrange) if elements(&inputs[0]) != Some(rearrange.elements()) => {
                return Err(format!("makes {:?} of {:?}", rearrange.shape, inputs[0]));
            }
            Self::Rearrange(rearrange) => size(&rearrange.shape),
            Self::Linear { .. } | Self::SoftmaxCrossEntropy if first != [1, 1] => {
                return Err(format!("takes [c, 1, 1], not {first:?} pixels"));
            }
            _ => match inputs.iter().map(size).find(|s| *s != first) {
                Some(other) => return Err(format!("joins {first:?} and {other:?} pixels")),
                None => first,
            },
        };
        Ok([channels, h, w])
    }

    /// A word for tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input { .. } => "input",
            Self::Normalise { .. } => "normalise",
            Self::Conv { .. } => "conv",
            Self::BatchNorm { .. } => "batch norm",
            Self::Unary { function } => function.name(),
            Self::Binary { function } => function.name(),
            Self::Constant { .. } => "constant",
            Self::PRelu => "prelu",
            Self::Lrn { .. } => "local response norm",
            Self::Softmax { log: false, .. } => "softmax",
            Self::Softmax { log: true, .. } => "log softmax",
            Self::Reduce { reduction: Reduction::Mean, .. } => "mean",
            Self::Reduce { reduction: Reduction::Sum, .. } => "sum",
            Self::Reduce { reduction: Reduction::Max, .. } => "largest",
            Self::Reduce { reduction: Reduction::Min, .. } => "smallest",
            Self::Pad(_) => "pad",
            Self::Crop(_) => "crop",
            Self::Resize(_) => "resize",
            Self::Rearrange(_) => "rearrange",
            Self::MatMul => "matrix product",
            Self::Pool { kind: PoolKind::Max, .. } => "max pool",
            Self::Pool { kind: PoolKind::Average { .. }, .. } => "average pool",
            Self::GlobalAvgPool => "global average",
            Self::Concat => "concat",
            Self::Slice { .. } => "slice",
            Self::Linear { .. } => "linear",
            Self::Drop { unit: DropUnit::Element, .. } => "dropout",
            Self::Drop { unit: DropUnit::Image, .. } => "drop path",
            Self::SoftmaxCrossEntropy => "softmax cross entropy",
        }
    }
}

fn positive(n: usize, what: &str) -> Result<usize, String> {
    // More channels than this no machine could hold, and sums of them could overflow.
    if n == 0 || n > GraphError::MAX_CHANNELS { Err(format!("{n} {what}")) } else { Ok(n) }
}

/// The length of an axis of two operands of which one may be repeated.
fn broadcast(a: usize, b: usize) -> Option<usize> {
    (a == b || a == 1 || b == 1).then_some(if a == 1 { b } else { a })
}

/// How many numbers an array of these lengths has, if there are any and not more than a value may have.
pub(crate) fn elements(lengths: &[usize]) -> Option<usize> {
    let product = lengths.iter().try_fold(1_usize, |n, &len| n.checked_mul(len))?;
    (1..=GraphError::MAX_ELEMENTS).contains(&product).then_some(product)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_that_could_see_padding_alone_are_refused() {
        let pool = |kernel, stride, [before, after]: [usize; 2], dilation, ceil| Op::Pool {
            kind: PoolKind::Max,
            window: Window {
                kernel: [1, kernel],
                stride: [1, stride],
                padding: Padding { before: [0, before], after: [0, after] },
                dilation: [1, dilation],
                ceil,
            },
        };
        let mut refused = [0, 0];
        for (kernel, stride, dilation) in (1..5).flat_map(|k| (1..4).flat_map(move |s| (1..6).map(move |d| (k, s, d))))
        {
            let reach = dilation * (kernel - 1) + 1;
            let paddings = (0..=reach + 1)
                .flat_map(|before| [before, reach - 1 - before % reach, 0, reach].map(|after| [before, after]));
            for (padding, size) in paddings.flat_map(|p| (1..2 * reach + 3).map(move |n| (p, n))) {
                for ceil in [false, true] {
                    let op = pool(kernel, stride, padding, dilation, ceil);
                    let shape = op.shape(1, &[[1, 1, size]]);
                    if padding.iter().any(|&p| p >= reach) {
                        assert!(op.channels(&[1]).unwrap_err().contains("beyond"));
                        refused[0] += 1;
                        continue;
                    }
                    let [before, after] = padding;
                    let tap = |start: usize, k: usize| (start + k * dilation).wrapping_sub(before) < size;
                    let sees = |start: usize| (0..kernel).any(|k| tap(start, k));
                    let room = size + before + after;
                    let starts: Vec<usize> = if ceil {
                        let within = |start: &usize| start + reach < room + stride;
                        (0..size + before).step_by(stride).take_while(within).collect()
                    } else {
                        (0..(room + 1).saturating_sub(reach)).step_by(stride).collect()
                    };
                    let fits = !starts.is_empty() && starts.iter().all(|&start| sees(start));
                    assert_eq!(shape.as_ref().ok(), fits.then_some(&[1, 1, starts.len()]), "{op:?} on {size} pixels");
                    refused[1] += usize::from(shape.is_err() && !starts.is_empty());
                }
            }
        }
        assert!(refused.iter().all(|&n| n > 0), "{refused:?}");
    }

    #[test]
    fn wrong_inputs_are_told() {
        let conv = Op::Conv { out: 8, window: Window::square(3, 1, 1), groups: 3, bias: false };
        assert!(conv.channels(&[4]).unwrap_err().contains("groups"));
        assert!(Op::Slice { start: usize::MAX, len: 2 }.channels(&[4]).is_err());
        let up = Op::Conv { out: 8, window: Window { ceil: true, ..Window::square(3, 1, 1) }, groups: 1, bias: false };
        assert!(up.channels(&[4]).unwrap_err().contains("rounds its size up"));
        assert!(Op::Binary { function: Binary::Add }.channels(&[4, 5]).is_err());
        assert!(Op::Linear { out: 4 }.shape(4, &[[4, 2, 1]]).is_err());
        assert!(Op::Constant { shape: [1 << 20, 1 << 20, 1 << 30] }.channels(&[]).is_err());
        assert!(Op::Constant { shape: [1, 1, 0] }.channels(&[]).is_err());
        assert!(Op::Reduce { reduction: Reduction::Sum, axes: [false; 3] }.channels(&[4]).is_err());
        assert!(Op::Lrn { size: 0, alpha: 1.0, beta: 0.75, bias: 1.0 }.channels(&[4]).is_err());
        assert!(Op::Unary { function: Unary::Clip { min: 0.0, max: f64::INFINITY } }.channels(&[4]).is_err());
        assert!(Op::MatMul.shape(1, &[[1, 2, 3], [1, 2, 3]]).is_err());
        assert!(Op::Rearrange(Rearrange::flatten([2, 2, 2])).shape(8, &[[2, 2, 3]]).is_err());
    }

    #[test]
    fn lengths_of_one_are_repeated() {
        let op = Op::Binary { function: Binary::Mul };
        let shape = |a: Shape, b: Shape| op.output(&[a, b]);
        assert_eq!(shape([4, 5, 6], [4, 1, 1]), Ok([4, 5, 6]));
        assert_eq!(shape([1, 5, 1], [4, 1, 6]), Ok([4, 5, 6]));
        assert!(shape([4, 5, 6], [4, 5, 2]).is_err() && shape([4, 5, 6], [2, 5, 6]).is_err());
    }

    #[test]
    fn shapes_follow_the_operation() {
        let pad = Pad { before: [1, 0, 2], after: [0, 1, 0], fill: Fill::Edge };
        let crop = Crop { axis: Axis::Columns, start: 1, step: 2, len: 3 };
        let of = |op: Op, inputs: &[Shape]| op.output(inputs).unwrap();
        let x = [4, 5, 6];
        assert_eq!(of(Op::Pad(pad), &[x]), [5, 6, 8]);
        assert_eq!(of(Op::Crop(crop), &[x]), [4, 5, 3]);
        assert_eq!(of(Op::Crop(Crop { axis: Axis::Channels, len: 2, ..crop }), &[x]), [2, 5, 6]);
        assert_eq!(of(Op::Reduce { reduction: Reduction::Max, axes: [true, false, true] }, &[x]), [1, 5, 1]);
        assert_eq!(of(Op::Resize(Resize::repeat(2)), &[x]), [4, 10, 12]);
        assert_eq!(of(Op::Rearrange(Rearrange::transpose(x, [2, 0, 1])), &[x]), [6, 4, 5]);
        assert_eq!(of(Op::MatMul, &[x, [1, 6, 2]]), [4, 5, 2]);
        assert_eq!(of(Op::Constant { shape: x }, &[]), x);
    }

    #[test]
    fn operations_are_written_as_they_are_read() {
        let pad = Pad { before: [1, 0, 2], after: [0, 1, 0], fill: Fill::Constant { value: 0.5 } };
        let ops = [
            Op::Unary { function: Unary::Clip { min: -1.0, max: 0.5 } },
            Op::Constant { shape: [1, 2, 3] },
            Op::PRelu,
            Op::Softmax { axis: Axis::Rows, log: true },
            Op::Reduce { reduction: Reduction::Mean, axes: [false, true, true] },
            Op::Pad(pad),
            Op::Crop(Crop { axis: Axis::Columns, start: 1, step: -2, len: 3 }),
            Op::Resize(Resize::repeat(2)),
            Op::Rearrange(Rearrange::flatten([2, 3, 4])),
            Op::MatMul,
        ];
        for op in ops {
            let node = crate::Node { path: "a".into(), op, inputs: vec![0], params: vec![1] };
            let text = serde_json::to_string(&node).unwrap();
            assert_eq!(serde_json::from_str::<crate::Node>(&text).unwrap(), node, "{text}");
        }
        let unknown = r#"{"path":"a","op":"crop","axis":"rows","start":0,"step":1,"len":2,"more":3}"#;
        assert!(serde_json::from_str::<crate::Node>(unknown).is_err());
    }
}
