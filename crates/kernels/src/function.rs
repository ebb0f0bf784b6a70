//! Functions of one number that networks have seldom, computed lane by lane: the same on every instruction set.
//!
//! Not here: the common ones, which are computed on whole vectors ([`crate::Activation`]).

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

use crate::LANES;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// Hyperbolic tangent.
    Tanh,
    /// `gamma * (x > 0 ? x : alpha * (exp(x) - 1))`
    Elu {
        /// What the exponential part falls to, negated and before it is scaled.
        alpha: f32,
        /// The scale of both parts.
        gamma: f32,
    },
    /// `ln(1 + exp(x))`
    Softplus,
    /// `x * (1 + erf(x / sqrt(2))) / 2`
    Gelu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`
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

impl Function {
    /// Whether it makes finite numbers of all finite ones, and none grows much: then pad lanes stay harmless without being cleared.
    pub fn keeps_finite(self) -> bool {
        !matches!(self, Self::Exp | Self::Log | Self::Sqrt | Self::Reciprocal)
    }

    /// The function's value, lane by lane. Not inlined, so that not every loop of every instruction set has a copy of it.
    #[inline(never)]
    pub(crate) fn values(self, x: [f32; LANES]) -> [f32; LANES] {
        match self {
            Self::Tanh => x.map(f32::tanh),
            Self::Elu { alpha, gamma } => x.map(|x| gamma * if x > 0.0 { x } else { alpha * x.exp_m1() }),
            Self::Softplus => x.map(|x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
            Self::Gelu => x.map(|x| x * gaussian(x)),
            Self::GeluTanh => x.map(|x| x * sigmoid(2.0 * tanh_argument(x))),
            Self::Erf => x.map(erf),
            Self::Exp => x.map(f32::exp),
            Self::Log => x.map(f32::ln),
            Self::Sqrt => x.map(f32::sqrt),
            Self::Neg => x.map(|x| -x),
            Self::Abs => x.map(f32::abs),
            Self::Reciprocal => x.map(|x| 1.0 / x),
        }
    }

    /// The function's derivative, lane by lane; at a kink as in PyTorch.
    #[inline(never)]
    pub(crate) fn slopes(self, x: [f32; LANES]) -> [f32; LANES] {
        match self {
            Self::Tanh => x.map(|x| 1.0 - x.tanh() * x.tanh()),
            Self::Elu { alpha, gamma } => x.map(|x| gamma * if x > 0.0 { 1.0 } else { alpha * x.exp() }),
            Self::Softplus => x.map(sigmoid),
            Self::Gelu => x.map(|x| gaussian(x) + 0.5 * x * FRAC_1_SQRT_2 * erf_slope(x * FRAC_1_SQRT_2)),
            Self::GeluTanh => x.map(|x| {
                let share = sigmoid(2.0 * tanh_argument(x));
                share + 2.0 * x * share * (1.0 - share) * (2.0 / PI).sqrt() * (1.0 + 3.0 * CUBE * x * x)
            }),
            Self::Erf => x.map(erf_slope),
            Self::Exp => x.map(f32::exp),
            Self::Log => x.map(|x| 1.0 / x),
            Self::Sqrt => x.map(|x| 0.5 / x.sqrt()),
            Self::Neg => [-1.0; LANES],
            Self::Abs => x.map(|x| if x == 0.0 { 0.0 } else { x.signum() }),
            Self::Reciprocal => x.map(|x| -1.0 / (x * x)),
        }
    }
}

/// The share of the cube in the argument of GELU's tangent.
const CUBE: f32 = 0.044_715;

fn tanh_argument(x: f32) -> f32 {
    (2.0 / PI).sqrt() * (x + CUBE * x * x * x)
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The share of `x` that GELU lets through.
fn gaussian(x: f32) -> f32 {
    0.5 * (1.0 + erf(x * FRAC_1_SQRT_2))
}

fn erf_slope(x: f32) -> f32 {
    FRAC_2_SQRT_PI * (-x * x).exp()
}

/// The error function to 2 units in the last place: near zero a polynomial, further out one minus the exponential of one (minimax
/// polynomials by N. Juffa).
fn erf(x: f32) -> f32 {
    let (t, s) = (x.abs(), x * x);
    if t > 0.927_734_4 {
        let low = (-1.728_534_7e-5_f32).mul_add(t, 3.831_972e-4);
        let high = (-3.883_964_4e-3_f32).mul_add(t, 2.425_462_2e-2);
        let mut r = low.mul_add(s, high);
        for c in [-1.067_777_8e-1, -6.348_468_7e-1, -1.287_175_1e-1] {
            r = r.mul_add(t, c);
        }
        return (1.0 - r.mul_add(t, -t).exp()).copysign(x);
    }
    let mut r = -5.967_617e-4_f32;
    for c in [4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_3e-1, -3.761_253_4e-1, 1.283_791_7e-1] {
        r = r.mul_add(s, c);
    }
    r.mul_add(x, x)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Function; 12] = [
        Function::Tanh,
        Function::Elu { alpha: 0.7, gamma: 1.5 },
        Function::Softplus,
        Function::Gelu,
        Function::GeluTanh,
        Function::Erf,
        Function::Exp,
        Function::Log,
        Function::Sqrt,
        Function::Neg,
        Function::Abs,
        Function::Reciprocal,
    ];

    /// By the series whose terms all have one sign.
    fn exact_erf(x: f64) -> f64 {
        let (mut term, mut sum, mut odd) = (x, x, 1.0);
        while term.abs() > 1e-17 * sum.abs() {
            odd += 2.0;
            term *= 2.0 * x * x / odd;
            sum += term;
        }
        std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
    }

    fn exact(f: Function, x: f64) -> f64 {
        match f {
            Function::Tanh => x.tanh(),
            Function::Elu { alpha, gamma } => {
                f64::from(gamma) * if x > 0.0 { x } else { f64::from(alpha) * x.exp_m1() }
            }
            Function::Softplus => x.exp().ln_1p(),
            Function::Gelu => 0.5 * x * (1.0 + exact_erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            Function::GeluTanh => {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).tanh())
            }
            Function::Erf => exact_erf(x),
            Function::Exp => x.exp(),
            Function::Log => x.ln(),
            Function::Sqrt => x.sqrt(),
            Function::Neg => -x,
            Function::Abs => x.abs(),
            Function::Reciprocal => 1.0 / x,
        }
    }

    #[test]
    fn values_and_slopes_are_those_of_the_functions() {
        for f in ALL {
            for i in -2000..2000 {
                let x = 0.004 * i as f32 + 0.001;
                let (e, h) = (exact(f, f64::from(x)), 1e-6);
                let slope = (exact(f, f64::from(x) + h) - exact(f, f64::from(x) - h)) / (2.0 * h);
                let [y, d] = [f.values([x; LANES])[0], f.slopes([x; LANES])[0]].map(f64::from);
                if e.is_nan() {
                    assert!(y.is_nan(), "{f:?}({x}) = {y}");
                    continue;
                }
                assert!((y - e).abs() <= 4e-7 * (1.0 + e.abs()), "{f:?}({x}) = {y}, not {e}");
                assert!((d - slope).abs() <= 2e-6 * (1.0 + slope.abs() + e.abs()), "{f:?}'({x}) = {d}, not {slope}");
            }
        }
    }

    #[test]
    fn far_out_and_nowhere_the_limits_are_right() {
        let at = |f: Function, x: f32| f.values([x; LANES])[0];
        for f in ALL {
            assert!(at(f, f32::NAN).is_nan(), "{f:?}");
        }
        assert_eq!([100.0, -100.0].map(|x| at(Function::Softplus, x)), [100.0, at(Function::Exp, -100.0)]);
        assert_eq!([9.0, -9.0].map(|x| at(Function::Erf, x)), [1.0, -1.0]);
        assert_eq!([60.0, -60.0].map(|x| at(Function::Gelu, x)), [60.0, -0.0]);
        assert_eq!([1e30, -1e30].map(|x| at(Function::GeluTanh, x)), [1e30, -0.0]);
        assert_eq!((at(Function::Log, 0.0), at(Function::Log, -1.0).is_nan()), (f32::NEG_INFINITY, true));
    }
}
