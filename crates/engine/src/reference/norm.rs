//! Batch normalisation, by running statistics and by the batch's own.

use super::tensor::{Real, Tensor};

/// What a batch normalisation is given: scale, shift, running mean, running variance `[c]`.
pub(super) struct Norm<'a, T> {
    pub scale: &'a [T],
    pub shift: &'a [T],
    pub mean: &'a [T],
    pub variance: &'a [T],
    pub eps: T,
}

/// Mean and biased variance of every channel of a batch.
pub(super) struct Statistics<T> {
    pub mean: Vec<T>,
    pub variance: Vec<T>,
    pub count: usize,
}

impl<T: Real> Statistics<T> {
    pub fn of(x: &Tensor<T>) -> Self {
        let count = x.shape[0] * x.pixels();
        let n = T::of(count as f64);
        let sum = |c: usize, f: &dyn Fn(T) -> T| -> T {
            (0..x.shape[0]).map(|i| x.plane(i, c).iter().map(|&v| f(v)).sum()).sum()
        };
        let mean: Vec<T> = (0..x.shape[1]).map(|c| sum(c, &|v| v) / n).collect();
        let square = |c: usize| sum(c, &|v| (v - mean[c]) * (v - mean[c])) / n;
        let variance = (0..x.shape[1]).map(square).collect();
        Self { mean, variance, count }
    }

    /// Running mean and variance after this batch, the variance unbiased.
    pub fn running(&self, mean: &[T], variance: &[T], momentum: f64) -> [Vec<f64>; 2] {
        let unbiased = self.count as f64 / (self.count.max(2) - 1) as f64;
        let mix = |old: T, new: f64| (1.0 - momentum) * old.get() + momentum * new;
        let means = mean.iter().zip(&self.mean).map(|(&r, m)| mix(r, m.get()));
        let variances = variance.iter().zip(&self.variance).map(|(&r, v)| mix(r, v.get() * unbiased));
        [means.collect(), variances.collect()]
    }
}

/// `scale * (x - mean) / sqrt(variance + eps) + shift`
pub(super) fn forward<T: Real>(x: &Tensor<T>, norm: &Norm<'_, T>) -> Tensor<T> {
    let mut y = x.clone();
    for (n, c) in x.planes() {
        let factor = norm.scale[c] / (norm.variance[c] + norm.eps).sqrt();
        y.plane_mut(n, c).iter_mut().for_each(|v| *v = (*v - norm.mean[c]) * factor + norm.shift[c]);
    }
    y
}

/// Gradients of input, scale and shift, where `norm` holds the batch's own statistics.
pub(super) fn backward<T: Real>(x: &Tensor<T>, dy: &Tensor<T>, norm: &Norm<'_, T>) -> (Tensor<T>, Vec<T>, Vec<T>) {
    let [images, channels, ..] = x.shape;
    let count = T::of((images * x.pixels()) as f64);
    let mut dx = dy.clone();
    let (mut d_scale, mut d_shift) = (Vec::new(), Vec::new());
    for c in 0..channels {
        let inv_std = T::of(1.0) / (norm.variance[c] + norm.eps).sqrt();
        let normal = |v: T| (v - norm.mean[c]) * inv_std;
        let along = |n: usize| x.plane(n, c).iter().zip(dy.plane(n, c));
        let sum: T = (0..images).map(|n| dy.plane(n, c).iter().copied().sum()).sum();
        let moment: T = (0..images).map(|n| along(n).map(|(&v, &d)| normal(v) * d).sum()).sum();
        for n in 0..images {
            for (d, &v) in dx.plane_mut(n, c).iter_mut().zip(x.plane(n, c)) {
                *d = norm.scale[c] * inv_std * (*d - sum / count - normal(v) * moment / count);
            }
        }
        d_scale.push(moment);
        d_shift.push(sum);
    }
    (dx, d_scale, d_shift)
}
