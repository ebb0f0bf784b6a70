//! How gradients change parameters.
//!
//! Not here: what the learning rate should be at a step (`cspnet-train`).

use cspnet_graph::{Param, ParamId, Role, Weights};
use cspnet_kernels::{AdamWStep, MuonScratch, MuonStep, SgdStep, Team, adamw_step, muon_step, sgd_step};

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
    AdamW(AdamW),
    /// Muon (Jordan et al., 2024) for the weights of convolutions, each a matrix with a row for every output channel, and AdamW for all
    /// else, as PyTorch defines both. Muon's steps are as large as AdamW's are on the average (Liu et al., arXiv:2502.16982, section
    /// 2.2; PyTorch's `match_rms_adamw`), so that one rate and one decay do for both.
    Muon {
        /// Share of the past in the moving mean of gradients that is made orthogonal.
        momentum: f64,
        /// Rate and decay of all parameters, and how those that are not of convolutions change.
        adamw: AdamW,
    },
}

/// An update by AdamW.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub rate: f64,
    /// Shares of the past in the moving means of gradients and of their squares.
    pub betas: [f64; 2],
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Weight decay, times the rate, of weights; scales, shifts and biases have none.
    pub decay: f64,
    /// Which update this is, counted from 1.
    pub update: u64,
}

/// Root of the mean square of AdamW's steps, in learning rates (arXiv:2502.16982, section 2.2).
const ADAM_SIZE: f64 = 0.2;

/// What a rule remembers between updates: for every parameter as many numbers as it has, or none where it is not trained or the
/// rule needs none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateState {
    /// Momentum of every parameter; with AdamW and Muon the moving mean of its gradients.
    pub momentum: Vec<Vec<f32>>,
    /// With AdamW the moving mean of the gradients' squares; with Muon as well, of what that leaves to AdamW.
    pub square: Vec<Vec<f32>>,
}

impl UpdateRule {
    /// Makes `state` remember as much as the rule needs.
    pub(super) fn begin(&self, params: &[Param], state: &mut UpdateState) {
        let is_trained = |param: &Param| param.role.is_trained();
        remember(&mut state.momentum, params, is_trained);
        match self {
            Self::Sgd { .. } => {}
            Self::AdamW(_) => remember(&mut state.square, params, is_trained),
            Self::Muon { .. } => remember(&mut state.square, params, |p| is_trained(p) && !is_of_convolution(p)),
        }
    }

    /// Changes a trained parameter, after [`UpdateRule::begin`], with so many times the rule's learning rate; whether it, and all
    /// that is remembered of it, is finite then.
    pub(super) fn apply(
        &self,
        (id, param, times): (ParamId, &Param, f64),
        weights: &mut Weights,
        gradient: &[f32],
        (state, scratch): (&mut UpdateState, &mut MuonScratch),
        team: &mut Team,
    ) -> bool {
        let (weights, momentum) = (weights.get_mut(id), &mut state.momentum[id]);
        let decayed = |decay: f64| if param.role == Role::Weight { decay } else { 0.0 };
        match *self {
            Self::Sgd { rate, momentum: share, nesterov, decay } => {
                let (rate, decay) = ((f64::from(rate) * times) as f32, decayed(f64::from(decay)) as f32);
                sgd_step(SgdStep { rate, momentum: share, nesterov, decay }, weights, gradient, momentum, team)
            }
            Self::Muon { momentum: share, adamw } if is_of_convolution(param) => {
                let (rows, rate) = (param.shape[0], adamw.rate * times);
                let longer = rows.max(param.len() / rows) as f64;
                let step = MuonStep {
                    kept: (1.0 - rate * adamw.decay) as f32,
                    rate: (rate * ADAM_SIZE * longer.sqrt()) as f32,
                    momentum: share as f32,
                };
                muon_step(step, rows, (weights, gradient, momentum), scratch, team)
            }
            Self::AdamW(adamw) | Self::Muon { adamw, .. } => {
                let step = AdamW { rate: adamw.rate * times, decay: decayed(adamw.decay), ..adamw }.step();
                adamw_step(step, weights, gradient, momentum, &mut state.square[id], team)
            }
        }
    }
}

/// Whether a parameter is a convolution's weight, `[out, in / groups, kh, kw]`.
fn is_of_convolution(param: &Param) -> bool {
    param.role == Role::Weight && param.shape.len() == 4
}

/// Zeros for every parameter of a kind of which nothing is remembered yet.
fn remember(remembered: &mut Vec<Vec<f32>>, params: &[Param], of: impl Fn(&Param) -> bool) {
    remembered.resize(params.len(), Vec::new());
    for (list, param) in remembered.iter_mut().zip(params).filter(|(list, p)| list.is_empty() && of(p)) {
        list.resize(param.len(), 0.0);
    }
}

impl AdamW {
    /// The step with its corrections for moments that began at zero, in double precision as in PyTorch.
    fn step(self) -> AdamWStep {
        let [first, second] = self.betas.map(|beta| 1.0 - beta.powf(self.update as f64));
        AdamWStep {
            kept: (1.0 - self.rate * self.decay) as f32,
            rate: (self.rate / first) as f32,
            betas: self.betas.map(|beta| beta as f32),
            root_correction: second.sqrt() as f32,
            eps: self.eps as f32,
        }
    }
}
