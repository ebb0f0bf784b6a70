//! The kinds of operation a network is made of, and what each does to a shape.
//!
//! Not here: how an operation is computed, and its parameters' numbers.

use serde::{Deserialize, Serialize};

use crate::error::GraphError;

/// Channels, rows, columns of a value: `[c, h, w]`.
pub type Shape = [usize; 3];

/// A sliding window over rows and columns; every pair is `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Taps.
    pub kernel: [usize; 2],
    /// Steps between two outputs.
    pub stride: [usize; 2],
    /// Cells added before the first and after the last row and column.
    pub padding: [usize; 2],
    /// Steps between two taps.
    pub dilation: [usize; 2],
}

impl Window {
    /// A square window of `kernel` taps with steps of `stride` and `padding` cells on every side.
    pub fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2], dilation: [1; 2] }
    }

    /// Rows and columns of the output: `floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1`, or `None` where
    /// the window does not fit.
    pub fn output(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let reach = self.reach(axis)?;
            let room = size[axis].checked_add(self.padding[axis].checked_mul(2)?)?.checked_sub(reach)?;
            Some(room.checked_div(self.stride[axis])? + 1)
        };
        Some([along(0)?, along(1)?])
    }

    /// Rows or columns from the first tap to the last.
    fn reach(&self, axis: usize) -> Option<usize> {
        self.dilation[axis].checked_mul(self.kernel[axis].checked_sub(1)?)?.checked_add(1)
    }

    /// Whether a window of some output has all its taps on padding, where that is less than the reach.
    fn misses(&self, size: [usize; 2], outputs: [usize; 2]) -> bool {
        let hits = |axis: usize, output: usize| {
            let place =
                |k: usize| (output * self.stride[axis] + k * self.dilation[axis]).checked_sub(self.padding[axis]);
            (0..self.kernel[axis]).filter_map(place).any(|place| place < size[axis])
        };
        // Only a picture smaller than a dilation can lie between two taps.
        let narrow = |axis: &usize| size[*axis] < self.dilation[*axis];
        (0..2).filter(narrow).any(|axis| !(0..outputs[axis]).all(|output| hits(axis, output)))
    }
}

/// A function of one number, applied to every element.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Unary {
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x > 0 ? x : slope * x`
    LeakyRelu {
        /// Slope below zero, in `0..=1`; Darknet has 0.1, PyTorch and timm 0.01.
        slope: f64,
    },
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `x * sigmoid(x)`, also called swish
    Silu,
    /// `x * tanh(ln(1 + exp(x)))` (Misra, arXiv:1908.08681)
    Mish,
}

impl Unary {
    /// Whether a larger number never gives a smaller one, however it is rounded, so that it may change places with a maximum.
    pub fn never_falls(self) -> bool {
        matches!(self, Self::Relu | Self::Relu6 | Self::LeakyRelu { .. })
    }
}

/// A function of two numbers, applied element by element to two values of one shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a * b`
    Mul,
}

/// What a pooling window does with its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PoolKind {
    /// The largest; padding never counts.
    Max,
    /// The mean.
    Average {
        /// Whether padding counts as zeros or not at all.
        count_include_pad: bool,
    },
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
    /// A function of two values of equal shape.
    Binary {
        /// Which.
        function: Binary,
    },
    /// Pooling by a window; wherever it lies, some tap must be on the picture.
    Pool {
        /// What is taken of the window.
        kind: PoolKind,
        /// The window; its padding is less than what it reaches over.
        window: Window,
    },
    /// The mean over all pixels: `[c, h, w]` to `[c, 1, 1]`.
    GlobalAvgPool,
    /// The inputs' channels one after another.
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
                window_is_sound(window)?;
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
            Self::Unary { function } => match function {
                Unary::LeakyRelu { slope } if !(0.0..=1.0).contains(slope) => {
                    Err(format!("slope {slope} is not in 0..=1"))
                }
                _ => one(),
            },
            Self::Pool { window, .. } => {
                window_is_sound(window)?;
                // The first window would lie on padding alone, of which there is no largest and no mean.
                if (0..2).any(|axis| window.reach(axis).is_none_or(|reach| window.padding[axis] >= reach)) {
                    return Err(format!("pads by {:?}, which is beyond its window", window.padding));
                }
                one()
            }
            Self::GlobalAvgPool => one(),
            Self::Drop { rate, .. } if !(0.0..1.0).contains(rate) => Err(format!("rate {rate} is not in 0..1")),
            Self::Drop { .. } => one(),
            Self::Binary { .. } => match inputs {
                [a, b] if a == b => Ok(*a),
                [a, b] => Err(format!("joins {a} and {b} channels")),
                _ => Err(format!("takes two inputs, has {}", inputs.len())),
            },
            Self::Concat => positive(inputs.iter().sum(), "channels"),
            Self::Slice { start, len } => match start.checked_add(*len) {
                Some(end) if end <= one()? => positive(*len, "channels"),
                _ => Err(format!("takes channels {start}..+{len} of {}", one()?)),
            },
            Self::Linear { out } => one().and_then(|_| positive(*out, "outputs")),
            Self::SoftmaxCrossEntropy => one().map(|_| 1),
        }
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
            Self::Unary { function } => match function {
                Unary::Relu => "relu",
                Unary::Relu6 => "relu6",
                Unary::LeakyRelu { .. } => "leaky relu",
                Unary::Sigmoid => "sigmoid",
                Unary::Silu => "silu",
                Unary::Mish => "mish",
            },
            Self::Binary { function: Binary::Add } => "add",
            Self::Binary { function: Binary::Mul } => "multiply",
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

fn window_is_sound(w: &Window) -> Result<(), String> {
    let all = [w.kernel, w.stride, w.dilation].concat();
    if all.contains(&0) || all.iter().chain(&w.padding).any(|&n| n > GraphError::MAX_WINDOW) {
        return Err(format!(
            "a window of kernel {:?}, stride {:?}, padding {:?}, dilation {:?}",
            w.kernel, w.stride, w.padding, w.dilation
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_count_like_pytorch() {
        assert_eq!(Window::square(7, 2, 3).output([224, 225]), Some([112, 113]));
        assert_eq!(Window::square(3, 2, 1).output([112, 1]), Some([56, 1]));
        assert_eq!(Window::square(2, 2, 0).output([7, 8]), Some([3, 4]));
        assert_eq!(Window::square(3, 1, 0).output([2, 8]), None);
        assert_eq!(Window { dilation: [2, 2], ..Window::square(3, 1, 2) }.output([9, 9]), Some([9, 9]));
    }

    #[test]
    fn pools_that_could_see_padding_alone_are_refused() {
        let pool = |kernel, stride, padding, dilation| Op::Pool {
            kind: PoolKind::Max,
            window: Window { kernel: [1, kernel], stride: [1, stride], padding: [0, padding], dilation: [1, dilation] },
        };
        let mut refused = [0, 0];
        for (kernel, stride, dilation) in (1..5).flat_map(|k| (1..4).flat_map(move |s| (1..6).map(move |d| (k, s, d))))
        {
            let reach = dilation * (kernel - 1) + 1;
            for (padding, size) in (0..=reach + 1).flat_map(|p| (1..2 * reach + 3).map(move |n| (p, n))) {
                let op = pool(kernel, stride, padding, dilation);
                let shape = op.shape(1, &[[1, 1, size]]);
                if padding >= reach {
                    assert!(op.channels(&[1]).unwrap_err().contains("beyond"));
                    refused[0] += 1;
                } else if let Some(starts) = (size + 2 * padding).checked_sub(reach) {
                    let tap = |start: usize, k: usize| (start + k * dilation).wrapping_sub(padding) < size;
                    let sees = |start: usize| (0..kernel).any(|k| tap(start, k));
                    assert_eq!(shape.is_ok(), (0..=starts).step_by(stride).all(sees), "{op:?} on {size} pixels");
                    refused[1] += usize::from(shape.is_err());
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
        assert!(Op::Binary { function: Binary::Add }.channels(&[4, 5]).is_err());
        assert!(Op::Linear { out: 4 }.shape(4, &[[4, 2, 1]]).is_err());
    }
}
