//! The unary functions of networks, on one vector of eight floats: what they are and how they are computed.
//!
//! Not here: loops over planes (`pointwise`) and their fusion into convolutions (`conv`).

use crate::simd::Simd;

/// A function of one number, applied to every element.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Activation {
    /// `x`
    #[default]
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x > 0 ? x : slope * x`, for a slope in `0..=1`
    LeakyRelu(f32),
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `x * sigmoid(x)`, also called swish
    Silu,
    /// `x * tanh(ln(1 + exp(x)))` (Misra, arXiv:1908.08681)
    Mish,
}

impl Activation {
    /// The function's value, lane by lane.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, s: S, x: S::V) -> S::V {
        let zero = s.splat(0.0);
        match self {
            Self::Identity => x,
            Self::Relu => s.max(x, zero),
            Self::Relu6 => s.min(s.max(x, zero), s.splat(6.0)),
            Self::LeakyRelu(slope) => s.max(x, s.mul(x, s.splat(slope))),
            Self::Sigmoid => sigmoid(s, x),
            Self::Silu => s.mul(x, sigmoid(s, x)),
            Self::Mish => s.mul(x, tanh_softplus(s, x)),
        }
    }
}

#[inline(always)]
fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))))
}

/// `tanh(ln(1 + e))` for `e = exp(x)` is `n / (n + 2)` with `n = e (e + 2)`: one exponential, no logarithm.
#[inline(always)]
fn tanh_softplus<S: Simd>(s: S, x: S::V) -> S::V {
    let two = s.splat(2.0);
    // Above 20 the quotient is 1 in single precision, and `n` must not overflow.
    let e = exp(s, s.min(x, s.splat(20.0)));
    let n = s.mul(e, s.add(e, two));
    s.div(n, s.add(n, two))
}

/// `exp(x)`: `x = n ln 2 + r`, `exp(x) = 2^n exp(r)`, with the Taylor polynomial of `exp(r)` on `|r| <= ln 2 / 2`.
#[inline(always)]
fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    // Outside these bounds the result would leave the range of whole powers of two.
    let x = s.min(s.max(x, s.splat(-87.0)), s.splat(88.0));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, so that n ln 2 is subtracted without rounding (Cody and Waite).
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = s.fma(p, r, s.splat(c));
    }
    s.mul(p, s.exp2_whole(n))
}
