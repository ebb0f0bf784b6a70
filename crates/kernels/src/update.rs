//! Steps of optimisers, from a gradient to new parameters, and the moving average of parameters.

use std::sync::{Mutex, PoisonError};

use crate::Team;

/// Stochastic gradient descent with momentum, as PyTorch defines it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Learning rate.
    pub rate: f32,
    /// Share of the past steps that is kept.
    pub momentum: f32,
    /// Whether the step looks ahead (Nesterov).
    pub nesterov: bool,
    /// Added to the gradient: `decay * parameter`.
    pub decay: f32,
}

/// Numbers one part works on.
const PART: usize = 1 << 14;

/// Changes `parameters` by their `gradients`; `momentum` is what the rule remembers, zeros at first.
///
/// # Panics
/// If the three lists are not equally long.
pub fn sgd_step(step: SgdStep, parameters: &mut [f32], gradients: &[f32], momentum: &mut [f32], team: &mut Team) {
    let len = parameters.len();
    assert!(gradients.len() == len && momentum.len() == len, "{len} parameters, {} gradients", gradients.len());
    let parts = parameters.chunks_mut(PART).zip(gradients.chunks(PART)).zip(momentum.chunks_mut(PART));
    share(parts, team, |((p, g), m)| {
        for ((p, &g), m) in p.iter_mut().zip(g).zip(m) {
            let g = g + step.decay * *p;
            *m = step.momentum * *m + g;
            *p -= step.rate * if step.nesterov { g + step.momentum * *m } else { *m };
        }
    });
}

/// Moves an exponential moving average towards new numbers: `average = decay * average + (1 - decay) * numbers`.
///
/// # Panics
/// If the two lists are not equally long.
pub fn average_step(decay: f32, average: &mut [f32], numbers: &[f32], team: &mut Team) {
    assert!(average.len() == numbers.len(), "an average of {} for {} numbers", average.len(), numbers.len());
    share(average.chunks_mut(PART).zip(numbers.chunks(PART)), team, |(a, n)| {
        // As a step towards the new number, so that equal numbers stay what they are.
        a.iter_mut().zip(n).for_each(|(a, &n)| *a += (1.0 - decay) * (n - *a));
    });
}

/// Has a team do something with every part.
fn share<P: Send>(parts: impl ExactSizeIterator<Item = P>, team: &mut Team, work: impl Fn(P) + Sync) {
    if parts.len() <= 1 {
        return parts.for_each(work);
    }
    let parts: Vec<_> = parts.map(|p| Mutex::new(Some(p))).collect();
    team.run(parts.len(), &|i, _| {
        let taken = parts[i].lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.into_iter().for_each(&work);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_as_pytorch_takes_them() {
        // torch.optim.SGD([p], lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01), p = 1, gradients 0.5 then -0.25.
        let step = SgdStep { rate: 0.1, momentum: 0.9, nesterov: true, decay: 0.01 };
        let (mut p, mut m) = (vec![1.0], vec![0.0]);
        sgd_step(step, &mut p, &[0.5], &mut m, &mut Team::new(1));
        assert!((p[0] - 0.9031).abs() < 1e-6, "{p:?}");
        sgd_step(step, &mut p, &[-0.25], &mut m, &mut Team::new(1));
        // g = -0.25 + 0.009031, m = 0.459 + g, p -= 0.1 (g + 0.9 m)
        let g = -0.25 + 0.009_031_f32;
        let expected = 0.9031 - 0.1 * (g + 0.9 * (0.459 + g));
        assert!((p[0] - expected).abs() < 1e-6, "{p:?} {expected}");
    }

    #[test]
    fn an_average_follows_and_stays_where_it_is_right() {
        let (mut average, numbers) = (vec![1.0, 0.3], [3.0, 0.3]);
        average_step(0.75, &mut average, &numbers, &mut Team::new(1));
        assert_eq!(average, [1.5, 0.3]);
        let (mut long, numbers) = (vec![0.0; 2 * PART + 7], vec![1.0; 2 * PART + 7]);
        average_step(0.5, &mut long, &numbers, &mut Team::new(3));
        assert!(long.iter().all(|&a| a == 0.5));
    }

    #[test]
    fn parts_change_nothing() {
        let step = SgdStep { rate: 0.1, momentum: 0.5, nesterov: false, decay: 0.0 };
        let gradients: Vec<f32> = (0..3 * PART + 5).map(|i| i as f32 * 1e-4).collect();
        let (mut p, mut m) = (vec![1.0; gradients.len()], vec![0.0; gradients.len()]);
        sgd_step(step, &mut p, &gradients, &mut m, &mut Team::new(3));
        assert!(p.iter().zip(&gradients).all(|(p, g)| *p == 1.0 - 0.1 * g));
    }
}
