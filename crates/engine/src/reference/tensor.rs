//! Numbers `[n, c, h, w]` of either precision.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// A precision to compute in.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + Sum
    + 'static
{
    /// The nearest number of this precision.
    fn of(x: f64) -> Self;
    /// The number in double precision.
    fn get(self) -> f64;
    /// `e^x`
    fn exp(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// `ln(1 + x)`
    fn ln_1p(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// To a power.
    fn powf(self, power: Self) -> Self;
    /// Error function.
    fn erf(self) -> Self {
        Self::of(erf(self.get()))
    }
}

/// The error function by the series `2 / sqrt(pi) * exp(-x^2) * sum of 2^n x^(2n + 1) / (1 3 5 ... (2n + 1))`, whose terms all have
/// one sign; from 6 on it is 1 in double precision.
fn erf(x: f64) -> f64 {
    if x.abs() >= 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

macro_rules! real {
    ($type:ty) => {
        impl Real for $type {
            fn of(x: f64) -> Self {
                x as $type
            }
            fn get(self) -> f64 {
                f64::from(self)
            }
            fn exp(self) -> Self {
                <$type>::exp(self)
            }
            fn sqrt(self) -> Self {
                <$type>::sqrt(self)
            }
            fn tanh(self) -> Self {
                <$type>::tanh(self)
            }
            fn ln_1p(self) -> Self {
                <$type>::ln_1p(self)
            }
            fn ln(self) -> Self {
                <$type>::ln(self)
            }
            fn powf(self, power: Self) -> Self {
                <$type>::powf(self, power)
            }
        }
    };
}

real!(f32);
real!(f64);

/// Numbers `[n, c, h, w]`, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T> {
    /// Images, channels, rows, columns.
    pub shape: [usize; 4],
    /// As many numbers as the shape says.
    pub data: Vec<T>,
}

impl<T: Real> Tensor<T> {
    /// Zeros.
    pub fn zeros(shape: [usize; 4]) -> Self {
        Self { shape, data: vec![T::default(); shape.iter().product()] }
    }

    /// Numbers given in single precision.
    ///
    /// # Panics
    /// If there are not as many as the shape says.
    pub fn from_f32(shape: [usize; 4], data: &[f32]) -> Self {
        assert!(data.len() == shape.iter().product::<usize>(), "{} numbers for {shape:?}", data.len());
        Self { shape, data: data.iter().map(|&x| T::of(f64::from(x))).collect() }
    }

    /// Pixels of a plane.
    pub fn pixels(&self) -> usize {
        self.shape[2] * self.shape[3]
    }

    /// Where the plane of an image's channel begins.
    pub fn at(&self, n: usize, c: usize) -> usize {
        (n * self.shape[1] + c) * self.pixels()
    }

    /// The plane of an image's channel.
    pub fn plane(&self, n: usize, c: usize) -> &[T] {
        &self.data[self.at(n, c)..][..self.pixels()]
    }

    /// The plane of an image's channel, to change.
    pub fn plane_mut(&mut self, n: usize, c: usize) -> &mut [T] {
        let (at, len) = (self.at(n, c), self.pixels());
        &mut self.data[at..][..len]
    }

    /// Every image and channel.
    pub fn planes(&self) -> impl Iterator<Item = (usize, usize)> + use<T> {
        let [n, c, ..] = self.shape;
        (0..n).flat_map(move |i| (0..c).map(move |j| (i, j)))
    }

    /// Adds numbers of the same shape.
    pub fn add(&mut self, other: &Self) {
        self.data.iter_mut().zip(&other.data).for_each(|(a, &b)| *a += b);
    }

    /// A function of every number.
    pub fn map(&self, f: impl Fn(T) -> T) -> Self {
        Self { shape: self.shape, data: self.data.iter().map(|&x| f(x)).collect() }
    }

    /// A function of the numbers of two tensors of one shape.
    pub fn zip(&self, other: &Self, f: impl Fn(T, T) -> T) -> Self {
        Self { shape: self.shape, data: self.data.iter().zip(&other.data).map(|(&a, &b)| f(a, b)).collect() }
    }
}
