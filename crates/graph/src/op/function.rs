//! Functions of one number and of two, as operations apply them element by element.
//!
//! Not here: how they are computed.

use serde::{Deserialize, Serialize};

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
    /// `min(max(x, min), max)`
    Clip {
        /// Smallest number, finite.
        min: f64,
        /// Largest number, finite.
        max: f64,
    },
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `x * sigmoid(x)`, also called swish
    Silu,
    /// `x * tanh(ln(1 + exp(x)))` (Misra, arXiv:1908.08681)
    Mish,
    /// Hyperbolic tangent.
    Tanh,
    /// `min(max(alpha * x + beta, 0), 1)`; MobileNetV3 and PyTorch have 1/6 and 1/2, ONNX 1/5 and 1/2 unless told.
    HardSigmoid {
        /// Slope in the middle.
        alpha: f64,
        /// The value at zero.
        beta: f64,
    },
    /// `x * min(max(x / 6 + 1 / 2, 0), 1)` (Howard et al., arXiv:1905.02244)
    HardSwish,
    /// `x > 0 ? x : alpha * (exp(x) - 1)` (Clevert et al., arXiv:1511.07289)
    Elu {
        /// What it falls to, negated.
        alpha: f64,
    },
    /// `gamma * (x > 0 ? x : alpha * (exp(x) - 1))` (Klambauer et al., arXiv:1706.02515)
    Selu {
        /// What the exponential part falls to, negated and before it is scaled.
        alpha: f64,
        /// The scale of both parts.
        gamma: f64,
    },
    /// `ln(1 + exp(x))`
    Softplus,
    /// `x * (1 + erf(x / sqrt(2))) / 2` (Hendrycks and Gimpel, arXiv:1606.08415)
    Gelu,
    /// The authors' approximation of it by a hyperbolic tangent: `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`
    GeluTanh,
    /// Error function.
    Erf,
    /// `e` to the power of `x`.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `-x`
    Neg,
    /// Magnitude.
    Abs,
    /// `1 / x`
    Reciprocal,
}

impl Unary {
    /// Whether a larger number never gives a smaller one, however it is rounded, so that it may change places with a maximum.
    pub fn never_falls(self) -> bool {
        match self {
            Self::Relu | Self::Relu6 | Self::LeakyRelu { .. } | Self::Clip { .. } => true,
            Self::HardSigmoid { alpha, .. } => alpha >= 0.0,
            _ => false,
        }
    }

    /// A word for tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::LeakyRelu { .. } => "leaky relu",
            Self::Clip { .. } => "clip",
            Self::Sigmoid => "sigmoid",
            Self::Silu => "silu",
            Self::Mish => "mish",
            Self::Tanh => "tanh",
            Self::HardSigmoid { .. } => "hard sigmoid",
            Self::HardSwish => "hard swish",
            Self::Elu { .. } => "elu",
            Self::Selu { .. } => "selu",
            Self::Softplus => "softplus",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu by tanh",
            Self::Erf => "erf",
            Self::Exp => "exponential",
            Self::Log => "logarithm",
            Self::Sqrt => "square root",
            Self::Neg => "negate",
            Self::Abs => "magnitude",
            Self::Reciprocal => "reciprocal",
        }
    }

    /// Whether its constants make sense.
    pub(super) fn check(self) -> Result<(), String> {
        let finite = |numbers: &[f64]| match numbers.iter().find(|n| !n.is_finite()) {
            Some(n) => Err(format!("has {n} as a constant")),
            None => Ok(()),
        };
        match self {
            Self::LeakyRelu { slope } if !(0.0..=1.0).contains(&slope) => Err(format!("slope {slope} is not in 0..=1")),
            Self::Clip { min, max } if min > max => Err(format!("from {min} to {max} leaves nothing")),
            Self::Clip { min, max } => finite(&[min, max]),
            Self::HardSigmoid { alpha, beta } => finite(&[alpha, beta]),
            Self::Elu { alpha } => finite(&[alpha]),
            Self::Selu { alpha, gamma } => finite(&[alpha, gamma]),
            _ => Ok(()),
        }
    }
}

/// A function of two numbers, applied element by element to two values; an axis of length 1 is repeated along the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// `a` to the power of `b`
    Pow,
    /// The larger one.
    Max,
    /// The smaller one.
    Min,
}

impl Binary {
    /// Whether both operands may change places.
    pub fn commutes(self) -> bool {
        matches!(self, Self::Add | Self::Mul | Self::Max | Self::Min)
    }

    /// A word for tables.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "subtract",
            Self::Mul => "multiply",
            Self::Div => "divide",
            Self::Pow => "power",
            Self::Max => "maximum",
            Self::Min => "minimum",
        }
    }
}
