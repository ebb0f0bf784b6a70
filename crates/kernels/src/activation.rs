//! The unary functions of networks, on one vector of eight floats: what they are and how they are computed.
//!
//! Not here: loops over planes ([`crate::Map`]) and their fusion into convolutions ([`crate::Conv`]).

use crate::Function;
use crate::simd::Simd;

/// A function of one number, applied to every element.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Activation {
    /// `x`
    #[default]
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, low), high)`
    Clip(f32, f32),
    /// `x > 0 ? x : slope * x`, for a slope in `0..=1`
    LeakyRelu(f32),
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `x * sigmoid(x)`, also called swish
    Silu,
    /// `x * tanh(ln(1 + exp(x)))` (Misra, arXiv:1908.08681)
    Mish,
    /// `min(max(slope * x + offset, 0), 1)`
    HardSigmoid(f32, f32),
    /// `x * min(max(x / 6 + 1 / 2, 0), 1)`
    HardSwish,
    /// One that is computed lane by lane, and so somewhat slower.
    Other(Function),
}

impl Activation {
    /// The function's value, lane by lane, to 4 units in the last place: also where it vanishes, down to the smallest
    /// float. A NaN stays one: `max` and `min` give their second operand then.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, s: S, x: S::V) -> S::V {
        let zero = s.splat(0.0);
        match self {
            Self::Identity => x,
            Self::Relu => s.max(zero, x),
            Self::Clip(low, high) => s.min(s.splat(high), s.max(s.splat(low), x)),
            Self::LeakyRelu(slope) => s.max(s.mul(x, s.splat(slope)), x),
            Self::Sigmoid => {
                let Exp { head, scale } = exp(s, x, 88.0);
                s.mul(s.div(head, s.fma(head, scale, s.splat(1.0))), scale)
            }
            Self::Silu => {
                let Exp { head, scale } = exp(s, x, 88.0);
                let sigmoid = s.div(head, s.fma(head, scale, s.splat(1.0)));
                s.mul(s.mul(s.max(s.splat(LOWEST), x), sigmoid), scale)
            }
            Self::Mish => {
                // tanh(ln(1 + e)) for e = exp(x) is n / (n + 2) with n = e (e + 2): one exponential, no logarithm.
                let two = s.splat(2.0);
                let Exp { head, scale } = exp(s, x, ONE_FROM);
                let more = s.fma(head, scale, two);
                let tanh = s.div(s.mul(head, more), s.fma(s.mul(head, scale), more, two));
                s.mul(s.mul(s.max(s.splat(LOWEST), x), tanh), scale)
            }
            Self::HardSigmoid(slope, offset) => gate(s, x, slope, offset),
            // Below -3 the gate is shut, whatever knocks.
            Self::HardSwish => s.mul(s.max(s.splat(-3.0), x), gate(s, x, SIXTH, 0.5)),
            Self::Other(function) => {
                let values = function.values(s.to_array(x));
                // SAFETY: the array has eight floats.
                unsafe { s.load(values.as_ptr()) }
            }
        }
    }

    /// Whether it is curved, so that its value and slope take an exponential.
    #[inline(always)]
    pub(crate) fn is_curved(self) -> bool {
        matches!(self, Self::Sigmoid | Self::Silu | Self::Mish | Self::Other(_))
    }

    /// The function's derivative, lane by lane, to 5e-7; at a kink 0 or `slope`, as in PyTorch. A NaN stays one
    /// where the function is curved; where it is straight in pieces, a NaN belongs to the piece on the left.
    #[inline(always)]
    pub(crate) fn slope<S: Simd>(self, s: S, x: S::V) -> S::V {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        match self {
            Self::Identity => one,
            Self::Relu => s.select_gt(x, zero, one, zero),
            Self::Clip(low, high) => s.select_gt(x, s.splat(low), s.select_gt(s.splat(high), x, one, zero), zero),
            Self::LeakyRelu(slope) => s.select_gt(x, zero, one, s.splat(slope)),
            Self::Sigmoid => {
                let [y, rest] = sigmoid_and_rest(s, x);
                s.mul(y, rest)
            }
            Self::Silu => {
                let [y, rest] = sigmoid_and_rest(s, x);
                let x = s.min(s.splat(HIGHEST), s.max(s.splat(LOWEST), x));
                s.mul(y, s.fma(x, rest, one))
            }
            Self::Mish => {
                // With e, n as in `apply` and d = n + 2 it is (n + 4 x e (e + 1) / d) / d.
                let Exp { head, scale } = exp(s, x, ONE_FROM);
                let e = s.mul(head, scale);
                let n = s.mul(e, s.add(e, s.splat(2.0)));
                let d = s.add(n, s.splat(2.0));
                let x = s.min(s.splat(ONE_FROM), s.max(s.splat(LOWEST), x));
                let grown = s.mul(s.mul(s.splat(4.0), x), s.div(s.fma(e, e, e), d));
                s.div(s.add(n, grown), d)
            }
            Self::HardSigmoid(slope, offset) => {
                let line = s.fma(x, s.splat(slope), s.splat(offset));
                s.select_gt(line, zero, s.select_gt(one, line, s.splat(slope), zero), zero)
            }
            Self::HardSwish => {
                let line = s.fma(x, s.splat(SIXTH), s.splat(0.5));
                let inside = s.fma(x, s.splat(SIXTH), line);
                s.select_gt(line, zero, s.select_gt(one, line, inside, one), zero)
            }
            Self::Other(function) => {
                let slopes = function.slopes(s.to_array(x));
                // SAFETY: the array has eight floats.
                unsafe { s.load(slopes.as_ptr()) }
            }
        }
    }
}

const SIXTH: f32 = 1.0 / 6.0;

/// `slope * x + offset`, held in `0..=1`; a NaN stays one.
#[inline(always)]
fn gate<S: Simd>(s: S, x: S::V, slope: f32, offset: f32) -> S::V {
    let line = s.fma(x, s.splat(slope), s.splat(offset));
    s.min(s.splat(1.0), s.max(s.splat(0.0), line))
}

/// Evaluates `$body` with `$f` bound to the activation as a constant, so that loops in it carry no branch; those that networks have
/// seldom share one copy of it, with a branch.
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
            $crate::Activation::Clip(low, high) => {
                let $f = $crate::Activation::Clip(low, high);
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
            seldom => {
                let $f = seldom;
                $body
            }
        }
    };
}
pub(crate) use with_activation;

/// Below it the exponential is zero, even times `x`.
const LOWEST: f32 = -120.0;

/// Up to it the exponential is finite, and so is one over it.
const HIGHEST: f32 = 87.0;

/// From here on `tanh(ln(1 + exp(x)))` is 1 in single precision.
const ONE_FROM: f32 = 20.0;

/// `sigmoid(x)` and `1 - sigmoid(x)`, each without cancellation.
#[inline(always)]
fn sigmoid_and_rest<S: Simd>(s: S, x: S::V) -> [S::V; 2] {
    let Exp { head, scale } = exp(s, x, HIGHEST);
    let e = s.mul(head, scale);
    let rest = s.div(s.splat(1.0), s.add(s.splat(1.0), e));
    [s.mul(e, rest), rest]
}

/// An exponential in two factors, `head * scale`. The second is a power of two: multiplied last, it is all that rounds a
/// result too small for the full precision of a float.
struct Exp<V> {
    head: V,
    scale: V,
}

/// `exp(min(x, highest))`, `highest` at most 88: `x = n ln 2 + r`, `exp(x) = 2^n exp(r)`, with the Taylor polynomial of
/// `exp(r)` on `|r| <= ln 2 / 2`.
#[inline(always)]
fn exp<S: Simd>(s: S, x: S::V, highest: f32) -> Exp<S::V> {
    let x = s.min(s.splat(highest), s.max(s.splat(LOWEST), x));
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, so that n ln 2 is subtracted without rounding (Cody and Waite).
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    let mut p = s.splat(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = s.fma(p, r, s.splat(c));
    }
    let half = s.round(s.mul(n, s.splat(0.5)));
    Exp { head: s.mul(p, s.exp2_whole(half)), scale: s.exp2_whole(s.sub(n, half)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::simd::Body;

    const ALL: [Activation; 9] = [
        Activation::Identity,
        Activation::Relu,
        Activation::Clip(-0.5, 6.0),
        Activation::LeakyRelu(0.1),
        Activation::Sigmoid,
        Activation::Silu,
        Activation::Mish,
        Activation::HardSigmoid(0.2, 0.5),
        Activation::HardSwish,
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

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    /// The function itself; at infinities its limit.
    fn exact(f: Activation, x: f64) -> f64 {
        match f {
            Activation::Identity => x,
            Activation::Relu if x <= 0.0 => 0.0,
            Activation::Relu => x,
            Activation::Clip(low, high) => x.max(f64::from(low)).min(f64::from(high)),
            Activation::LeakyRelu(slope) if x <= 0.0 => f64::from(slope) * x,
            Activation::LeakyRelu(_) => x,
            Activation::Sigmoid => sigmoid(x),
            Activation::Silu | Activation::Mish if x == f64::NEG_INFINITY => 0.0,
            Activation::Silu => x * sigmoid(x),
            Activation::Mish => x * x.exp().ln_1p().tanh(),
            Activation::HardSigmoid(slope, offset) => (f64::from(slope) * x + f64::from(offset)).clamp(0.0, 1.0),
            Activation::HardSwish => x.max(-3.0) * (f64::from(SIXTH) * x + 0.5).clamp(0.0, 1.0),
            Activation::Other(_) => unreachable!("it has a test of its own"),
        }
    }

    /// Its derivative.
    fn exact_slope(f: Activation, x: f64) -> f64 {
        // Further out nothing changes, and infinity times zero is avoided.
        let far = x.clamp(-800.0, 800.0);
        match f {
            Activation::Identity => 1.0,
            Activation::Relu => f64::from(x > 0.0),
            Activation::Clip(low, high) => f64::from(x > f64::from(low) && x < f64::from(high)),
            Activation::LeakyRelu(slope) => {
                if x > 0.0 {
                    1.0
                } else {
                    f64::from(slope)
                }
            }
            Activation::Sigmoid => sigmoid(x) * sigmoid(-x),
            Activation::Silu => sigmoid(x) * (1.0 + far * sigmoid(-far)),
            Activation::Mish => {
                let tanh = x.exp().ln_1p().tanh();
                tanh + far * sigmoid(x) * (1.0 - tanh * tanh)
            }
            Activation::HardSigmoid(slope, offset) => {
                let line = f64::from(slope) * x + f64::from(offset);
                f64::from(slope) * f64::from(line > 0.0 && line < 1.0)
            }
            Activation::HardSwish => match f64::from(SIXTH) * x + 0.5 {
                line if line <= 0.0 => 0.0,
                line if line < 1.0 => f64::from(SIXTH) * x + line,
                _ => 1.0,
            },
            Activation::Other(_) => unreachable!("it has a test of its own"),
        }
    }

    /// Every 1021st float: all signs and exponents, denormal floats and NaNs among them; and the infinities.
    fn sweep() -> impl Iterator<Item = [f32; 8]> {
        let infinities = [f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, f32::MAX, f32::MIN, f32::NAN, 1.0];
        let floats = |i: u32| std::array::from_fn(|l| f32::from_bits((8 * i + l as u32) * 1021));
        (0..=(u32::MAX / 1021 - 7) / 8).map(floats).chain([infinities])
    }

    /// The distance from a float to the next near `x`.
    fn unit(x: f64) -> f64 {
        let exponent = x.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
        (exponent - 23.0).exp2()
    }

    #[test]
    fn values_are_right_to_four_units_over_all_floats() {
        for (isa, f) in Isa::available().flat_map(|isa| ALL.map(|f| (isa, f))) {
            for x in sweep() {
                let (y, _) = isa.run(Both(f, x));
                for (x, y) in x.into_iter().zip(y.map(f64::from)) {
                    let e = exact(f, f64::from(x));
                    // Where a line is rounded before it crosses zero, little of it is left.
                    let line = matches!(f, Activation::HardSigmoid(..) | Activation::HardSwish);
                    let least = if line { 2e-7 } else { 0.0 };
                    let near = y == e || (y - e).abs() <= least + 4.0 * unit(e);
                    assert!(if x.is_nan() { y.is_nan() } else { near }, "{isa}: {f:?}({x:e}) = {y:e}, not {e:e}");
                }
            }
        }
    }

    #[test]
    fn slopes_are_right_over_all_floats() {
        for (isa, f) in Isa::available().flat_map(|isa| ALL.map(|f| (isa, f))) {
            for x in sweep() {
                let (_, slope) = isa.run(Both(f, x));
                for (x, slope) in x.into_iter().zip(slope.map(f64::from)) {
                    let e = exact_slope(f, f64::from(x));
                    let curved = matches!(f, Activation::Sigmoid | Activation::Silu | Activation::Mish);
                    let right = if x.is_nan() { slope.is_nan() == curved } else { (slope - e).abs() <= 5e-7 };
                    assert!(right, "{isa}: {f:?}'({x:e}) = {slope:e}, not {e:e}");
                }
            }
        }
    }

    #[test]
    fn exact_slopes_are_those_of_the_exact_functions() {
        for f in ALL {
            for i in -400..400 {
                let (x, h) = (0.05 * f64::from(i) + 0.013, 1e-5);
                let slope = (exact(f, x + h) - exact(f, x - h)) / (2.0 * h);
                assert!((exact_slope(f, x) - slope).abs() < 1e-8, "{f:?}'({x}) is {slope}");
            }
        }
    }

    #[test]
    fn at_a_kink_the_slope_is_that_of_pytorch() {
        for isa in Isa::available() {
            let at = |f, x| isa.run(Both(f, [x; 8])).1[0];
            let kinks =
                [at(Activation::Relu, 0.0), at(Activation::Clip(0.0, 6.0), 0.0), at(Activation::LeakyRelu(0.1), 0.0)];
            assert_eq!(kinks, [0.0, 0.0, 0.1]);
            assert_eq!(at(Activation::Clip(0.0, 6.0), 6.0), 0.0);
        }
    }
}
