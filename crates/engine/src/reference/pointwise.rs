//! Functions of one element and of two, concatenation and slices.

use cspnet_graph::Unary;

use super::tensor::{Real, Tensor};

fn sigmoid<T: Real>(x: T) -> T {
    T::of(1.0) / (T::of(1.0) + (-x).exp())
}

/// `tanh(ln(1 + e^x))`, where `e^x` would overflow simply 1.
fn tanh_softplus<T: Real>(x: T) -> T {
    if x > T::of(40.0) { T::of(1.0) } else { x.exp().ln_1p().tanh() }
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
