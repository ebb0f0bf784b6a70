//! The kinds of operation a network is made of, and what each does to a shape.
//!
//! Not here: how an operation is computed, and its parameters' numbers.

use serde::{Deserialize, Serialize};

use crate::error::GraphError;

/// Channels, rows, columns of a value: `[c, h, w]`.
pub type Shape = [usize; 3];

/// Cells added around the rows and columns of a value; every pair is `[vertical, horizontal]`.
///
/// A file has two numbers where they are the same on both sides, and else four in ONNX's order, top, left, bottom, right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<usize>", into = "Vec<usize>")]
pub struct Padding {
    /// Before the first row and column.
    pub before: [usize; 2],
    /// After the last row and column.
    pub after: [usize; 2],
}

impl Padding {
    /// No cells.
    pub const NONE: Self = Self::even([0; 2]);

    /// The same on both sides.
    pub const fn even(cells: [usize; 2]) -> Self {
        Self { before: cells, after: cells }
    }

    /// Whether it is the same on both sides.
    pub fn is_even(self) -> bool {
        self.before == self.after
    }
}

impl TryFrom<Vec<usize>> for Padding {
    type Error = &'static str;

    fn try_from(cells: Vec<usize>) -> Result<Self, &'static str> {
        match cells[..] {
            [vertical, horizontal] => Ok(Self::even([vertical, horizontal])),
            [top, left, bottom, right] => Ok(Self { before: [top, left], after: [bottom, right] }),
            _ => Err("a padding has two numbers, or four if its sides differ"),
        }
    }
}

impl From<Padding> for Vec<usize> {
    fn from(padding: Padding) -> Self {
        if padding.is_even() { padding.before.into() } else { [padding.before, padding.after].concat() }
    }
}

/// A sliding window over rows and columns; every pair is `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Taps.
    pub kernel: [usize; 2],
    /// Steps between two outputs.
    pub stride: [usize; 2],
    /// Cells around the value.
    pub padding: Padding,
    /// Steps between two taps.
    pub dilation: [usize; 2],
    /// Whether a last window that reaches beyond the padding is there, too, if it begins before the padding behind the value
    /// (PyTorch's and ONNX's ceil mode). Cells beyond the padding never count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ceil: bool,
}

impl Window {
    /// A square window of `kernel` taps with steps of `stride` and `padding` cells on every side.
    pub const fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        let padding = Padding::even([padding; 2]);
        Self { kernel: [kernel; 2], stride: [stride; 2], padding, dilation: [1; 2], ceil: false }
    }

    /// The window with the least padding that gives `ceil(size / stride)` rows and columns: `SAME_UPPER` and `SAME_LOWER` of
    /// ONNX's `auto_pad`, the former being TensorFlow's. A cell without a partner lies after the value, or before it if
    /// `is_lower`. At other sizes this may be another padding.
    #[must_use]
    pub fn same(self, size: [usize; 2], is_lower: bool) -> Self {
        let cells = [0, 1].map(|axis| {
            let strides = size[axis].saturating_sub(1).checked_div(self.stride[axis]).unwrap_or(0);
            let seen = strides.saturating_mul(self.stride[axis]).saturating_add(self.reach(axis).unwrap_or(0));
            seen.saturating_sub(size[axis])
        });
        let (less, more) = (cells.map(|n| n / 2), cells.map(|n| n.div_ceil(2)));
        let [before, after] = if is_lower { [more, less] } else { [less, more] };
        Self { padding: Padding { before, after }, ceil: false, ..self }
    }

    /// Rows and columns of the output: `floor((size + padding - dilation (kernel - 1) - 1) / stride) + 1`, rounded up in ceil
    /// mode, or `None` where the window does not fit.
    pub fn output(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let (reach, stride) = (self.reach(axis)?, self.stride[axis]);
            let before_end = size[axis].checked_add(self.padding.before[axis])?;
            let end = before_end.checked_add(self.padding.after[axis])?;
            let last = if self.ceil {
                let last = end.checked_add(stride.checked_sub(1)?)?.checked_sub(reach)? / stride;
                last.min(before_end.checked_sub(1)? / stride)
            } else {
                end.checked_sub(reach)?.checked_div(stride)?
            };
            Some(last + 1)
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
            let place = |k: usize| {
                (output * self.stride[axis] + k * self.dilation[axis]).checked_sub(self.padding.before[axis])
            };
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
        /// Whether padding counts as zeros or not at all. Cells beyond it, which ceil mode sees, do not count in any case.
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
    /// The picture: no inputs, `channels` channels of any size.
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
            Self::Unary { function } => match function {
                Unary::LeakyRelu { slope } if !(0.0..=1.0).contains(slope) => {
                    Err(format!("slope {slope} is not in 0..=1"))
                }
                _ => one(),
            },
            Self::Pool { window, .. } => {
                window_is_sound(window)?;
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
    let Padding { before, after } = w.padding;
    if all.contains(&0) || all.iter().chain(&before).chain(&after).any(|&n| n > GraphError::MAX_WINDOW) {
        return Err(format!(
            "a window of kernel {:?}, stride {:?}, padding {before:?} and {after:?}, dilation {:?}",
            w.kernel, w.stride, w.dilation
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
    fn pools_round_up_like_pytorch() {
        // What torch.nn.functional.max_pool2d(..., ceil_mode=True) gives for so many rows.
        let rows = |kernel, stride, padding, dilation, rows| {
            let window = Window { dilation: [dilation; 2], ceil: true, ..Window::square(kernel, stride, padding) };
            Some(window.output([rows, rows])?[0])
        };
        let sizes = |kernel, stride, padding| [1, 2, 3, 4, 5, 6, 7, 8].map(|n| rows(kernel, stride, padding, 1, n));
        assert_eq!(sizes(3, 2, 0), [None, Some(1), Some(1), Some(2), Some(2), Some(3), Some(3), Some(4)]);
        assert_eq!(sizes(3, 2, 1), [1, 2, 2, 3, 3, 4, 4, 5].map(Some));
        assert_eq!(rows(2, 3, 1, 1, 5), Some(2));
        assert_eq!(rows(3, 2, 0, 2, 8), Some(3));
    }

    #[test]
    fn the_same_size_takes_the_least_padding() {
        let cells = |window: Window, size, is_lower| {
            let Padding { before, after } = window.same([size, 1], is_lower).padding;
            [before[0], after[0]]
        };
        let plain = |kernel, stride| Window::square(kernel, stride, 0);
        assert_eq!(cells(plain(3, 2), 224, false), [0, 1]);
        assert_eq!(cells(plain(3, 2), 224, true), [1, 0]);
        assert_eq!(cells(plain(3, 2), 225, false), [1, 1]);
        assert_eq!(cells(plain(2, 3), 6, false), [0, 0]);
        assert_eq!(cells(Window { dilation: [2; 2], ..plain(4, 1) }, 9, true), [3, 3]);
        for (kernel, stride, size) in (1..6).flat_map(|k| (1..5).flat_map(move |s| (1..20).map(move |n| (k, s, n)))) {
            for is_lower in [false, true] {
                let output = plain(kernel, stride).same([size; 2], is_lower).output([size; 2]);
                assert_eq!(output, Some([size.div_ceil(stride); 2]), "{kernel} {stride} {size}");
            }
        }
    }

    #[test]
    fn equal_paddings_are_written_as_they_always_were() {
        let old = r#"{"kernel":[3,3],"stride":[2,2],"padding":[1,1],"dilation":[1,1]}"#;
        let window = Window::square(3, 2, 1);
        assert_eq!(serde_json::to_string(&window).unwrap(), old);
        assert_eq!(serde_json::from_str::<Window>(old).unwrap(), window);
        let window = Window { padding: Padding { before: [0, 1], after: [2, 1] }, ceil: true, ..window };
        let new = r#"{"kernel":[3,3],"stride":[2,2],"padding":[0,1,2,1],"dilation":[1,1],"ceil":true}"#;
        assert_eq!(serde_json::to_string(&window).unwrap(), new);
        assert_eq!(serde_json::from_str::<Window>(new).unwrap(), window);
        let told = serde_json::from_str::<Window>(&old.replace("[1,1],\"d", "[1,1,1],\"d")).unwrap_err().to_string();
        assert!(told.contains("two numbers, or four"), "{told}");
    }

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
    }
}
