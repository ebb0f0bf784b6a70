//! The unary functions of networks, on one vector of eight floats: what they are and how they are computed.
//!
//! Not here: loops over planes ([`crate::Map`]) and their fusion into convolutions ([`crate::Conv`]).

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
    /// The function's value, lane by lane. A NaN stays one: `max` and `min` give their second operand then.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, s: S, x: S::V) -> S::V {
        let zero = s.splat(0.0);
        match self {
            Self::Identity => x,
            Self::Relu => s.max(zero, x),
            Self::Relu6 => s.min(s.splat(6.0), s.max(zero, x)),
            Self::LeakyRelu(slope) => s.max(s.mul(x, s.splat(slope)), x),
            Self::Sigmoid => sigmoid(s, x),
            Self::Silu => s.mul(x, sigmoid(s, x)),
            Self::Mish => s.mul(x, tanh_softplus(s, x)),
        }
    }

    /// The function's derivative, lane by lane; at a kink the one from the left, as in PyTorch.
    #[inline(always)]
    pub(crate) fn slope<S: Simd>(self, s: S, x: S::V) -> S::V {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        match self {
            Self::Identity => one,
            Self::Relu => s.select_gt(x, zero, one, zero),
            Self::Relu6 => s.select_gt(x, zero, s.select_gt(s.splat(6.0), x, one, zero), zero),
            Self::LeakyRelu(slope) => s.select_gt(x, zero, one, s.splat(slope)),
            Self::Sigmoid => {
                let y = sigmoid(s, x);
                s.mul(y, s.sub(one, y))
            }
            Self::Silu => {
                let y = sigmoid(s, x);
                s.mul(y, s.fma(x, s.sub(one, y), one))
            }
            Self::Mish => {
                let t = tanh_softplus(s, x);
                s.fma(s.mul(x, sigmoid(s, x)), s.sub(one, s.mul(t, t)), t)
            }
        }
    }
}

/// Evaluates `$body` with `$f` bound to the activation as a constant, so that loops in it carry no branch.
macro_rules! with_activation {
    ($activation:expr, $f:ident => $body:expr) => {
        match $activation {
            $crate::Activation::Identity => {
                let $f = $crate::Activation::Identity;
                $body
            }
            $crate::Activation::Relu => {
                let $f = $crate::Activation::Relu;
                $body
            }
            $crate::Activation::Relu6 => {
                let $f = $crate::Activation::Relu6;
                $body
            }
            $crate::Activation::LeakyRelu(slope) => {
                let $f = $crate::Activation::LeakyRelu(slope);
                $body
            }
            $crate::Activation::Sigmoid => {
                let $f = $crate::Activation::Sigmoid;
                $body
            }
            $crate::Activation::Silu => {
                let $f = $crate::Activation::Silu;
                $body
            }
            $crate::Activation::Mish => {
                let $f = $crate::Activation::Mish;
                $body
            }
        }
    };
}
pub(crate) use with_activation;

#[inline(always)]
fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    let y = s.div(one, s.add(one, exp(s, s.sub(s.splat(0.0), x))));
    s.select_gt(s.splat(LOWEST), x, s.splat(0.0), y)
}

/// `tanh(ln(1 + e))` for `e = exp(x)` is `n / (n + 2)` with `n = e (e + 2)`: one exponential, no logarithm.
#[inline(always)]
fn tanh_softplus<S: Simd>(s: S, x: S::V) -> S::V {
    let two = s.splat(2.0);
    // Above 20 the quotient is 1 in single precision, and `n` must not overflow.
    let e = exp(s, s.min(s.splat(20.0), x));
    let n = s.mul(e, s.add(e, two));
    s.select_gt(s.splat(LOWEST), x, s.splat(0.0), s.div(n, s.add(n, two)))
}

/// Below it the exponential leaves the range of whole powers of two, and what is proportional to it is as good as zero.
const LOWEST: f32 = -87.0;

/// `exp(x)`: `x = n ln 2 + r`, `exp(x) = 2^n exp(r)`, with the Taylor polynomial of `exp(r)` on `|r| <= ln 2 / 2`.
#[inline(always)]
fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    // Outside these bounds the result would leave the range of whole powers of two.
    let x = s.min(s.splat(88.0), s.max(s.splat(LOWEST), x));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::simd::Body;

    const ALL: [Activation; 7] = [
        Activation::Identity,
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu(0.1),
        Activation::Sigmoid,
        Activation::Silu,
        Activation::Mish,
    ];

    /// Value and slope of eight numbers.
    struct Both(Activation, [f32; 8]);

    impl Body for Both {
        type Output = ([f32; 8], [f32; 8]);

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            // SAFETY: the array has eight floats.
            let x = unsafe { s.load(self.1.as_ptr()) };
            (s.to_array(self.0.apply(s, x)), s.to_array(self.0.slope(s, x)))
        }
    }

    fn exact(f: Activation, x: f64) -> f64 {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match f {
            Activation::Identity => x,
            Activation::Relu => x.max(0.0),
            Activation::Relu6 => x.clamp(0.0, 6.0),
            Activation::LeakyRelu(slope) => {
                if x > 0.0 {
                    x
                } else {
                    f64::from(slope) * x
                }
            }
            Activation::Sigmoid => sigmoid(x),
            Activation::Silu => x * sigmoid(x),
            Activation::Mish => x * x.exp().ln_1p().tanh(),
        }
    }

    /// Every 1021st float: all signs and exponents, infinities and NaNs among them.
    fn sweep() -> impl Iterator<Item = [f32; 8]> {
        (0..=u32::MAX / (8 * 1021)).map(|i| std::array::from_fn(|l| f32::from_bits((8 * i + l as u32) * 1021)))
    }

    #[test]
    fn values_are_right_over_the_whole_range_of_floats() {
        for isa in Isa::available() {
            for f in ALL {
                for x in sweep() {
                    let (y, _) = isa.run(Both(f, x));
                    for (&x, &y) in x.iter().zip(&y) {
                        let e = exact(f, f64::from(x));
                        // Below 1e-30 the exponential is cut off: the value is as good as zero.
                        let near = (f64::from(y) - e).abs() <= 1e-6 * e.abs() + 1e-30;
                        assert!(
                            near || f64::from(y) == e || (x.is_nan() && y.is_nan()) || x == f32::NEG_INFINITY,
                            "{f:?}({x}) = {y}, not {e}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn limits_and_nan() {
        for isa in Isa::available() {
            for f in ALL {
                let (y, _) = isa.run(Both(f, [f32::NAN, f32::INFINITY, -1e30, 0.0, -0.0, 1e30, -90.0, 90.0]));
                assert!(y[0].is_nan(), "{f:?}");
                assert_eq!(
                    f64::from(y[1]),
                    if f == Activation::Relu6 { 6.0 } else { exact(f, f64::INFINITY) },
                    "{f:?}"
                );
                assert!(f64::from(y[2]) <= 0.0 || f == Activation::Sigmoid, "{f:?}");
            }
        }
    }

    #[test]
    fn slopes_are_those_of_the_exact_functions() {
        for isa in Isa::available() {
            for f in ALL {
                for i in -400..400 {
                    let x = 0.05 * i as f32 + 0.013;
                    let (_, slope) = isa.run(Both(f, [x; 8]));
                    let h = 1e-5;
                    let e = (exact(f, f64::from(x) + h) - exact(f, f64::from(x) - h)) / (2.0 * h);
                    assert!((f64::from(slope[0]) - e).abs() < 2e-6, "{f:?}'({x}) = {}, not {e}", slope[0]);
                }
            }
            let at = |f, x| isa.run(Both(f, [x; 8])).1[0];
            assert_eq!(
                [at(Activation::Relu, 0.0), at(Activation::Relu6, 6.0), at(Activation::LeakyRelu(0.1), 0.0)],
                [0.0, 0.0, 0.1]
            );
        }
    }
}
