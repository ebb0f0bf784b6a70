//! How gradients change parameters.
//!
//! Not here: what the learning rate should be at a step (`cspnet-train`).

use cspnet_graph::{Param, Role, Weights};
use cspnet_kernels::{AdamWStep, SgdStep, Team, adamw_step, sgd_step};

/// The rule of an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UpdateRule {
    /// Stochastic gradient descent with momentum as PyTorch defines it.
    Sgd {
        /// Learning rate.
        rate: f32,
        /// Share of the past steps that is kept.
        momentum: f32,
        /// Whether the step looks ahead (Nesterov).
        nesterov: bool,
        /// Weight decay (added to the gradient) of weights; scales, shifts and biases have none.
        decay: f32,
    },
    /// Adam with decoupled weight decay as PyTorch defines it.
    AdamW {
        /// Learning rate.
        rate: f64,
        /// Shares of the past in the moving means of gradients and of their squares.
        betas: [f64; 2],
        /// Added to the root of the mean square.
        eps: f64,
        /// Weight decay, times the rate, of weights; scales, shifts and biases have none.
        decay: f64,
        /// Which update this is, counted from 1.
        update: u64,
    },
}

/// What a rule remembers between updates: for every parameter as many numbers as it has, or none where it is not trained or the
/// rule needs none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateState {
    /// Momentum of every parameter; with AdamW the moving mean of its gradients.
    pub momentum: Vec<Vec<f32>>,
    /// With AdamW the moving mean of the gradients' squares.
    pub square: Vec<Vec<f32>>,
}

impl UpdateRule {
    /// Changes the trained parameters.
    pub(super) fn apply(
        &self,
        params: &[Param],
        weights: &mut Weights,
        gradients: &[Vec<f32>],
        state: &mut UpdateState,
        team: &mut Team,
    ) {
        begin(&mut state.momentum, gradients);
        if matches!(self, Self::AdamW { .. }) {
            begin(&mut state.square, gradients);
        }
        for (param, role) in params.iter().map(|p| p.role).enumerate().filter(|(_, role)| role.is_trained()) {
            let (weights, gradients) = (weights.get_mut(param), &gradients[param][..]);
            let momentum = &mut state.momentum[param];
            match *self {
                Self::Sgd { rate, momentum: share, nesterov, decay } => {
                    let decay = if role == Role::Weight { decay } else { 0.0 };
                    sgd_step(SgdStep { rate, momentum: share, nesterov, decay }, weights, gradients, momentum, team);
                }
                Self::AdamW { rate, betas, eps, decay, update } => {
                    let decay = if role == Role::Weight { decay } else { 0.0 };
                    let step = adamw(rate, betas, eps, decay, update);
                    adamw_step(step, weights, gradients, momentum, &mut state.square[param], team);
                }
            }
        }
    }
}

/// Zeros for every gradient that nothing is remembered of yet.
fn begin(remembered: &mut Vec<Vec<f32>>, gradients: &[Vec<f32>]) {
    remembered.resize(gradients.len(), Vec::new());
    for (r, g) in remembered.iter_mut().zip(gradients).filter(|(r, _)| r.is_empty()) {
        r.resize(g.len(), 0.0);
    }
}

/// An update's corrections for moments that began at zero, in double precision as in PyTorch.
fn adamw(rate: f64, betas: [f64; 2], eps: f64, decay: f64, update: u64) -> AdamWStep {
    let [first, second] = betas.map(|beta| 1.0 - beta.powf(update as f64));
    AdamWStep {
        kept: (1.0 - rate * decay) as f32,
        rate: (rate / first) as f32,
        betas: betas.map(|beta| beta as f32),
        root_correction: second.sqrt() as f32,
        eps: eps as f32,
    }
}
