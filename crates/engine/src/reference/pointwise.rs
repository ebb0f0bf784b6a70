//! Functions of one number and of two, concatenation and slices.

use cspnet_graph::{Binary, Unary};

use super::tensor::{Real, Tensor};

fn sigmoid<T: Real>(x: T) -> T {
    T::of(1.0) / (T::of(1.0) + (-x).exp())
}

/// `tanh(ln(1 + e^x))`, where `e^x` would overflow simply 1.
fn tanh_softplus<T: Real>(x: T) -> T {
    if x > T::of(40.0) { T::of(1.0) } else { x.exp().ln_1p().tanh() }
}

/// `alpha * x + beta`, held in `0..=1`.
fn hard_sigmoid<T: Real>(x: T, alpha: f64, beta: f64) -> T {
    clip(T::of(alpha) * x + T::of(beta), T::default(), T::of(1.0))
}

fn clip<T: Real>(x: T, min: T, max: T) -> T {
    if x < min {
        min
    } else if x > max {
        max
    } else {
        x
    }
}

/// `ln(1 + e^x)`, where `e^x` would overflow simply `x`.
fn softplus<T: Real>(x: T) -> T {
    if x > T::of(40.0) { x } else { x.exp().ln_1p() }
}

/// `x > 0 ? x : alpha (e^x - 1)`
fn elu<T: Real>(x: T, alpha: f64) -> T {
    if x > T::default() { x } else { T::of(alpha) * (x.exp() - T::of(1.0)) }
}

/// The share of `x` that GELU lets through.
fn gaussian<T: Real>(x: T) -> T {
    T::of(0.5) * (T::of(1.0) + (x * T::of(std::f64::consts::FRAC_1_SQRT_2)).erf())
}

/// The tangent by which GELU's share is approximated, and its derivative.
fn gelu_tanh<T: Real>(x: T) -> [T; 2] {
    let (root, cube) = (T::of((2.0 / std::f64::consts::PI).sqrt()), T::of(0.044_715));
    let tanh = (root * (x + cube * x * x * x)).tanh();
    [tanh, (T::of(1.0) - tanh * tanh) * root * (T::of(1.0) + T::of(3.0) * cube * x * x)]
}

/// The function's value.
pub(super) fn value<T: Real>(f: Unary, x: T) -> T {
    let zero = T::default();
    match f {
        Unary::Relu => {
            if x > zero {
                x
            } else {
                zero
            }
        }
        Unary::Relu6 => {
            if x > T::of(6.0) {
                T::of(6.0)
            } else if x > zero {
                x
            } else {
                zero
            }
        }
        Unary::LeakyRelu { slope } => {
            if x > zero {
                x
            } else {
                T::of(slope) * x
            }
        }
        Unary::Sigmoid => sigmoid(x),
        Unary::Silu => x * sigmoid(x),
        Unary::Mish => x * tanh_softplus(x),
        Unary::Clip { min, max } => clip(x, T::of(min), T::of(max)),
        Unary::Tanh => x.tanh(),
        Unary::HardSigmoid { alpha, beta } => hard_sigmoid(x, alpha, beta),
        Unary::HardSwish => x * hard_sigmoid(x, 1.0 / 6.0, 0.5),
        Unary::Elu { alpha } => elu(x, alpha),
        Unary::Selu { alpha, gamma } => T::of(gamma) * elu(x, alpha),
        Unary::Softplus => softplus(x),
        Unary::Gelu => x * gaussian(x),
        Unary::GeluTanh => x * T::of(0.5) * (T::of(1.0) + gelu_tanh(x)[0]),
        Unary::Erf => x.erf(),
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Neg => -x,
        Unary::Abs => {
            if x < zero {
                -x
            } else {
                x
            }
        }
        Unary::Reciprocal => T::of(1.0) / x,
    }
}

/// The function's derivative; at a kink PyTorch's.
pub(super) fn slope<T: Real>(f: Unary, x: T) -> T {
    let (zero, one) = (T::default(), T::of(1.0));
    match f {
        Unary::Relu => {
            if x > zero {
                one
            } else {
                zero
            }
        }
        Unary::Relu6 => {
            if x > zero && x < T::of(6.0) {
                one
            } else {
                zero
            }
        }
        Unary::LeakyRelu { slope } => {
            if x > zero {
                one
            } else {
                T::of(slope)
            }
        }
        Unary::Sigmoid => sigmoid(x) * (one - sigmoid(x)),
        Unary::Silu => sigmoid(x) * (one + x * (one - sigmoid(x))),
        Unary::Mish => {
            let t = tanh_softplus(x);
            t + x * sigmoid(x) * (one - t * t)
        }
        Unary::Clip { min, max } => inside(x, T::of(min), T::of(max)),
        Unary::Tanh => one - x.tanh() * x.tanh(),
        Unary::HardSigmoid { alpha, beta } => T::of(alpha) * inside(T::of(alpha) * x + T::of(beta), zero, one),
        Unary::HardSwish => {
            let gate = T::of(1.0 / 6.0) * x + T::of(0.5);
            clip(gate, zero, one) + x * T::of(1.0 / 6.0) * inside(gate, zero, one)
        }
        Unary::Elu { alpha } => elu_slope(x, alpha),
        Unary::Selu { alpha, gamma } => T::of(gamma) * elu_slope(x, alpha),
        Unary::Softplus => sigmoid(x),
        Unary::Gelu => {
            gaussian(x)
                + T::of(0.5)
                    * x
                    * T::of(std::f64::consts::FRAC_1_SQRT_2)
                    * erf_slope(x * T::of(std::f64::consts::FRAC_1_SQRT_2))
        }
        Unary::GeluTanh => {
            let [tanh, slope] = gelu_tanh(x);
            T::of(0.5) * (one + tanh + x * slope)
        }
        Unary::Erf => erf_slope(x),
        Unary::Exp => x.exp(),
        Unary::Log => one / x,
        Unary::Sqrt => T::of(0.5) / x.sqrt(),
        Unary::Neg => -one,
        Unary::Abs if x > zero => one,
        Unary::Abs if x < zero => -one,
        Unary::Abs => zero,
        Unary::Reciprocal => -one / (x * x),
    }
}

/// 1 between the bounds, 0 on them and beyond.
fn inside<T: Real>(x: T, min: T, max: T) -> T {
    if x > min && x < max { T::of(1.0) } else { T::default() }
}

fn elu_slope<T: Real>(x: T, alpha: f64) -> T {
    if x > T::default() { T::of(1.0) } else { T::of(alpha) * x.exp() }
}

fn erf_slope<T: Real>(x: T) -> T {
    T::of(std::f64::consts::FRAC_2_SQRT_PI) * (-(x * x)).exp()
}

/// A function of two numbers.
pub(super) fn combined<T: Real>(f: Binary, a: T, b: T) -> T {
    match f {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Pow => a.powf(b),
        Binary::Max => {
            if a > b {
                a
            } else {
                b
            }
        }
        Binary::Min => {
            if a < b {
                a
            } else {
                b
            }
        }
    }
}

/// Its derivatives by both; where both numbers are the largest, each has half.
pub(super) fn slopes<T: Real>(f: Binary, a: T, b: T) -> [T; 2] {
    let (zero, half, one) = (T::default(), T::of(0.5), T::of(1.0));
    match f {
        Binary::Add => [one, one],
        Binary::Sub => [one, -one],
        Binary::Mul => [b, a],
        Binary::Div => [one / b, -a / (b * b)],
        Binary::Pow => [b * a.powf(b - one), a.powf(b) * a.ln()],
        Binary::Max | Binary::Min if a == b => [half, half],
        Binary::Max | Binary::Min if (a > b) == (f == Binary::Max) => [one, zero],
        Binary::Max | Binary::Min => [zero, one],
    }
}

/// Channels of all parts, one after another.
pub(super) fn concat<T: Real>(parts: &[&Tensor<T>]) -> Tensor<T> {
    let [n, _, h, w] = parts[0].shape;
    let channels = parts.iter().map(|p| p.shape[1]).sum();
    let mut data = Vec::with_capacity(n * channels * h * w);
    for image in 0..n {
        for part in parts {
            data.extend_from_slice(&part.data[part.at(image, 0)..][..part.shape[1] * h * w]);
        }
    }
    Tensor { shape: [n, channels, h, w], data }
}

/// `len` channels from `start` on.
pub(super) fn slice<T: Real>(x: &Tensor<T>, start: usize, len: usize) -> Tensor<T> {
    let [n, _, h, w] = x.shape;
    let data = (0..n).flat_map(|i| x.data[x.at(i, start)..][..len * h * w].iter().copied()).collect();
    Tensor { shape: [n, len, h, w], data }
}

/// Puts the gradient of a slice into zeros of the whole.
pub(super) fn unslice<T: Real>(dy: &Tensor<T>, shape: [usize; 4], start: usize) -> Tensor<T> {
    let mut dx = Tensor::zeros(shape);
    for (n, c) in dy.planes() {
        dx.plane_mut(n, start + c).copy_from_slice(dy.plane(n, c));
    }
    dx
}
