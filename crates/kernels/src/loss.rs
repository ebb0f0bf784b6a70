//! The loss of classification and its gradient.

use crate::{Memory, Planes};

/// Mean over the images of the cross entropy between softmax and a target distribution.
#[derive(Debug)]
pub struct SoftmaxCrossEntropy {
    logits: Planes,
    d_logits: Planes,
}

impl SoftmaxCrossEntropy {
    /// Of logits `[classes, 1, 1]`, with the place of their gradient.
    ///
    /// # Panics
    /// If the values are not vectors of the same blocks, or overlap without being the same.
    pub fn new(logits: &Planes, d_logits: &Planes) -> Self {
        assert!(logits.pixels() == 1 && d_logits.pixels() == 1, "logits are [classes, 1, 1]");
        assert!(logits.is_cut_like(d_logits), "values with different blocks");
        let same = logits.blocks() == d_logits.blocks();
        assert!(same || logits.is_apart_from(d_logits), "a gradient over what it comes from");
        Self { logits: logits.clone(), d_logits: d_logits.clone() }
    }

    /// The loss for targets `[n, classes]`; the gradient `(softmax - target) / n` is written to its place. In double
    /// precision inside.
    ///
    /// # Panics
    /// If there are not as many targets as logits, or the memory has no room for the values.
    pub fn run(&self, targets: &[f32], memory: &mut Memory) -> f64 {
        let (images, classes) = (memory.images(), self.logits.channels());
        assert!(targets.len() == images * classes, "{} targets for {images} x {classes} logits", targets.len());
        let losses = (0..images).map(|n| self.image(&targets[n * classes..][..classes], memory.image_mut(n), images));
        losses.sum::<f64>() / images as f64
    }

    fn image(&self, targets: &[f32], arena: &mut [f32], images: usize) -> f64 {
        let logits = || lanes(&self.logits).map(|at| f64::from(arena[at]));
        let max = logits().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = logits().map(|l| (l - max).exp()).sum::<f64>().ln() + max;
        let total: f64 = targets.iter().map(|&t| f64::from(t)).sum();
        let mut loss = 0.0;
        for ((from, to), &target) in lanes(&self.logits).zip(lanes(&self.d_logits)).zip(targets) {
            let (log_share, target) = (f64::from(arena[from]) - log_sum, f64::from(target));
            loss -= target * log_share;
            arena[to] = ((total * log_share.exp() - target) / images as f64) as f32;
        }
        for (b, block) in self.d_logits.blocks().iter().enumerate() {
            arena[self.d_logits.range(b)][block.count..].fill(0.0);
        }
        loss
    }
}

/// Places of a vector's channels.
fn lanes(planes: &Planes) -> impl Iterator<Item = usize> + '_ {
    planes.blocks().iter().flat_map(|b| b.offset..b.offset + b.count)
}
