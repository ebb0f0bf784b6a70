//! Steps of optimisers, from a gradient to new parameters; sums, sizes and means of gradients; the moving average of parameters.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Team;
use crate::share::{share, share_evenly};

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

/// Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101), as PyTorch computes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Share of every parameter that stays before the step: one less learning rate times decay.
    pub kept: f32,
    /// Learning rate over the first moment's bias correction.
    pub rate: f32,
    /// Shares of the past in the moving means of gradients and of their squares.
    pub betas: [f32; 2],
    /// Root of the second moment's bias correction.
    pub root_correction: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
}

/// Numbers one part works on.
pub(crate) const PART: usize = 1 << 14;

/// Sums of parts, at most, that are added in the end.
const SUMS: usize = 64;

/// Changes `parameters` by their `gradients`; `momentum` is what the rule remembers, zeros at first. Whether all parameters are
/// finite then: a gradient or a momentum that is not makes its parameter so as well.
///
/// # Panics
/// If the three lists are not equally long.
pub fn sgd_step(
    step: SgdStep,
    parameters: &mut [f32],
    gradients: &[f32],
    momentum: &mut [f32],
    team: &mut Team,
) -> bool {
    let len = parameters.len();
    assert!(gradients.len() == len && momentum.len() == len, "{len} parameters, {} gradients", gradients.len());
    all([parameters, momentum], PART, team, |range, [p, m]| {
        let mut seen = Exponents::default();
        for ((p, &g), m) in p.iter_mut().zip(&gradients[range]).zip(m) {
            let g = g + step.decay * *p;
            *m = step.momentum * *m + g;
            *p -= step.rate * if step.nesterov { g + step.momentum * *m } else { *m };
            seen.see(*p);
        }
        seen.are_finite()
    })
}

/// Changes `parameters` by their `gradients`; `mean` and `square` are the moving means of gradients and of their squares, zeros at
/// first. Whether all parameters and squares are finite then; a square that is not would hold its parameter still for ever.
///
/// # Panics
/// If the four lists are not equally long.
pub fn adamw_step(
    step: AdamWStep,
    parameters: &mut [f32],
    gradients: &[f32],
    mean: &mut [f32],
    square: &mut [f32],
    team: &mut Team,
) -> bool {
    let len = parameters.len();
    let all_alike = [gradients.len(), mean.len(), square.len()].iter().all(|&l| l == len);
    assert!(all_alike, "{len} parameters, {} gradients", gradients.len());
    let [beta, beta_square] = step.betas;
    all([parameters, mean, square], PART, team, |range, [p, m, v]| {
        let mut seen = Exponents::default();
        for (((p, &g), m), v) in p.iter_mut().zip(&gradients[range]).zip(m).zip(v) {
            *m += (1.0 - beta) * (g - *m);
            *v = beta_square * *v + (1.0 - beta_square) * g * g;
            *p = step.kept * *p - step.rate * *m / (v.sqrt() / step.root_correction + step.eps);
            seen.see(*p);
            seen.see(*v);
        }
        seen.are_finite()
    })
}

/// The sum of the squares of all `numbers`, in double precision; its bits do not depend on the team.
pub fn sum_of_squares(numbers: &[f32], team: &mut Team) -> f64 {
    let mut sums = [0.0; SUMS];
    let size = numbers.len().div_ceil(SUMS).max(PART);
    let parts = numbers.len().div_ceil(size);
    share(
        [&mut sums[..]],
        parts,
        |part| part,
        team,
        |part, [sum]| {
            let numbers = &numbers[part * size..((part + 1) * size).min(numbers.len())];
            // Lanes of their own, so that additions need not wait for each other.
            let mut lanes = [0.0_f64; 8];
            let (groups, rest) = numbers.as_chunks::<8>();
            for group in groups {
                lanes.iter_mut().zip(group).for_each(|(lane, &x)| *lane += f64::from(x) * f64::from(x));
            }
            sum[0] = rest.iter().fold(lanes.iter().sum(), |sum, &x| sum + f64::from(x) * f64::from(x));
        },
    );
    sums[..parts].iter().sum()
}

/// Multiplies all `numbers` by `factor`.
pub fn scale(factor: f32, numbers: &mut [f32], team: &mut Team) {
    share_evenly([numbers], PART, team, |_, [part]| part.iter_mut().for_each(|x| *x *= factor));
}

/// Adds `numbers` to `sums`.
///
/// # Panics
/// If the two lists are not equally long.
pub fn add(sums: &mut [f32], numbers: &[f32], team: &mut Team) {
    assert!(sums.len() == numbers.len(), "sums of {} for {} numbers", sums.len(), numbers.len());
    share_evenly([sums], PART, team, |range, [s]| s.iter_mut().zip(&numbers[range]).for_each(|(s, &n)| *s += n));
}

/// Moves an exponential moving average towards new numbers: `average = decay * average + (1 - decay) * numbers`.
///
/// # Panics
/// If the two lists are not equally long.
pub fn average_step(decay: f32, average: &mut [f32], numbers: &[f32], team: &mut Team) {
    assert!(average.len() == numbers.len(), "an average of {} for {} numbers", average.len(), numbers.len());
    share_evenly([average], PART, team, |range, [a]| {
        // As a step towards the new number, so that equal numbers stay what they are.
        a.iter_mut().zip(&numbers[range]).for_each(|(a, &n)| *a += (1.0 - decay) * (n - *a));
    });
}

/// Whether numbers are finite, found out beside other work on them: a bit that stands as soon as the exponent of one is all ones.
#[derive(Clone, Copy, Default)]
pub(crate) struct Exponents(u32);

impl Exponents {
    #[inline(always)]
    pub(crate) fn see(&mut self, number: f32) {
        const EXPONENT: u32 = 0x7f80_0000;
        const LOWEST: u32 = 0x0080_0000;
        self.0 |= (number.to_bits() & EXPONENT) + LOWEST;
    }

    pub(crate) fn are_finite(self) -> bool {
        self.0 >> 31 == 0
    }
}

/// Has a team do something with every part of some lists, of so many numbers; whether it holds for all.
pub(crate) fn all<const N: usize>(
    lists: [&mut [f32]; N],
    size: usize,
    team: &mut Team,
    work: impl Fn(Range<usize>, [&mut [f32]; N]) -> bool + Sync,
) -> bool {
    let holds = AtomicBool::new(true);
    share_evenly(lists, size, team, |range, pieces| {
        if !work(range, pieces) {
            holds.store(false, Ordering::Relaxed);
        }
    });
    holds.into_inner()
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
    fn adamw_takes_the_first_step_by_its_rate_alone_and_forgets_no_moment() {
        // Corrected for their bias, the moments of one gradient g are g and g^2, so the step is the rate, whatever g is.
        let first = AdamWStep { kept: 0.99, rate: 0.1 / 0.1, betas: [0.9, 0.99], root_correction: 0.1, eps: 0.0 };
        let (mut p, mut m, mut v) = (vec![1.0, 1.0], vec![0.0; 2], vec![0.0; 2]);
        adamw_step(first, &mut p, &[3.0, -0.01], &mut m, &mut v, &mut Team::new(1));
        assert!((p[0] - 0.89).abs() < 1e-6 && (p[1] - 1.09).abs() < 1e-6, "{p:?}");
        assert!((m[0] - 0.3).abs() < 1e-6 && (v[0] - 0.09).abs() < 1e-6, "{m:?} {v:?}");
    }

    #[test]
    fn steps_tell_whether_what_they_leave_is_finite() {
        let len = 2 * PART + 5;
        let sgd = SgdStep { rate: 0.1, momentum: 0.9, nesterov: true, decay: 0.0 };
        let adamw = AdamWStep { kept: 1.0, rate: 0.1, betas: [0.9, 0.999], root_correction: 1.0, eps: 1e-8 };
        let step = |gradients: &[f32], threads| {
            let (team, ones) = (&mut Team::new(threads), || vec![1.0; len]);
            let [first, second] = [
                sgd_step(sgd, &mut ones(), gradients, &mut ones(), team),
                adamw_step(adamw, &mut ones(), gradients, &mut ones(), &mut ones(), team),
            ];
            assert_eq!(first, second);
            first
        };
        for threads in [1, 3] {
            assert!(step(&vec![-1e18; len], threads));
            for (bad, at) in [(f32::NAN, 0), (f32::INFINITY, PART + 1), (f32::NEG_INFINITY, len - 1), (-f32::NAN, 77)] {
                let mut gradients = vec![0.5; len];
                gradients[at] = bad;
                assert!(!step(&gradients, threads), "{bad} at {at}");
            }
        }
        // What overflows with finite gradients: the parameter itself, and with AdamW the square.
        assert!(!sgd_step(sgd, &mut [-f32::MAX], &[f32::MAX], &mut [0.0], &mut Team::new(1)));
        assert!(!adamw_step(adamw, &mut [1.0], &[1e30], &mut [0.0], &mut [0.0], &mut Team::new(1)));
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
    fn sums_and_sizes_are_those_of_the_numbers_on_any_team() {
        let numbers: Vec<f32> = (0..2 * PART + 13).map(|i| (i % 7) as f32 - 2.0).collect();
        let exact: f64 = numbers.iter().map(|&x| f64::from(x).powi(2)).sum();
        for threads in [1, 3] {
            let mut team = Team::new(threads);
            assert_eq!(sum_of_squares(&numbers, &mut team), exact);
            let mut sums = numbers.clone();
            add(&mut sums, &numbers, &mut team);
            scale(0.25, &mut sums, &mut team);
            assert!(sums.iter().zip(&numbers).all(|(s, n)| *s == n / 2.0));
        }
        assert_eq!(sum_of_squares(&[], &mut Team::new(2)), 0.0);
    }

    #[test]
    fn parts_change_nothing() {
        let step = SgdStep { rate: 0.1, momentum: 0.5, nesterov: false, decay: 0.0 };
        let gradients: Vec<f32> = (0..3 * PART + 5).map(|i| i as f32 * 1e-4).collect();
        let (mut p, mut m) = (vec![1.0; gradients.len()], vec![0.0; gradients.len()]);
        sgd_step(step, &mut p, &gradients, &mut m, &mut Team::new(3));
        assert!(p.iter().zip(&gradients).all(|(p, g)| *p == 1.0 - 0.1 * g));
        let step = AdamWStep { kept: 0.9, rate: 0.1, betas: [0.9, 0.999], root_correction: 0.5, eps: 1e-8 };
        let run = |threads| {
            let lists = || vec![0.25; gradients.len()];
            let (mut p, mut m, mut v) = (lists(), lists(), lists());
            adamw_step(step, &mut p, &gradients, &mut m, &mut v, &mut Team::new(threads));
            [p, m, v]
        };
        assert_eq!(run(1), run(3));
    }
}
