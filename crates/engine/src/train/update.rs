//! How gradients change parameters.
//!
//! Not here: what the learning rate should be at a step (`cspnet-train`).

use cspnet_graph::{Param, Role, Weights};
use cspnet_kernels::{SgdStep, Team, sgd_step};

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
}

/// What a rule remembers between updates: for every parameter as many numbers as it has, or none where it is not trained.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateState {
    /// Momentum of every parameter.
    pub momentum: Vec<Vec<f32>>,
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
        let Self::Sgd { rate, momentum, nesterov, decay } = *self;
        if state.momentum.is_empty() {
            state.momentum = gradients.iter().map(|g| vec![0.0; g.len()]).collect();
        }
        for (param, role) in params.iter().map(|p| p.role).enumerate().filter(|(_, role)| role.is_trained()) {
            let decay = if role == Role::Weight { decay } else { 0.0 };
            let step = SgdStep { rate, momentum, nesterov, decay };
            sgd_step(step, weights.get_mut(param), &gradients[param], &mut state.momentum[param], team);
        }
    }
}
