//! Mean cross entropy between softmax and target distributions.

use super::tensor::{Real, Tensor};

/// The loss of logits `[n, k, 1, 1]` for targets `[n, k]`, and its gradient.
pub(super) fn softmax_cross_entropy<T: Real>(logits: &Tensor<T>, targets: &[f32]) -> (T, Tensor<T>) {
    let [n, k, ..] = logits.shape;
    let images = T::of(n as f64);
    let mut gradient = logits.clone();
    let mut loss = T::default();
    for (row, targets) in gradient.data.chunks_exact_mut(k).zip(targets.chunks_exact(k)) {
        let targets: Vec<T> = targets.iter().map(|&t| T::of(f64::from(t))).collect();
        let max = row.iter().copied().reduce(|a, b| if b > a { b } else { a }).unwrap_or_default();
        let log_sum = row.iter().map(|&l| (l - max).exp()).sum::<T>().ln() + max;
        let total: T = targets.iter().copied().sum();
        loss += row.iter().zip(&targets).map(|(&l, &t)| t * (log_sum - l)).sum::<T>() / images;
        for (l, &t) in row.iter_mut().zip(&targets) {
            *l = (total * (*l - log_sum).exp() - t) / images;
        }
    }
    (loss, gradient)
}
