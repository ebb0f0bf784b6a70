//! Numbers that are not finite: the signs by which a step notices them at no cost, and a slow pass that finds where they began.
//!
//! Not here: what is done about them (`cspnet-train`).

use std::fmt;

use cspnet_graph::{ParamId, Weights};
use cspnet_kernels::{Planes, export_nchw};

use super::kernel::{Batch, Kernel};
use super::{Running, TrainPlan, TrainWorkspace};
use crate::error::RunError;
use crate::input::Input;
use crate::report::Pass;

/// By what a step notices that numbers are not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symptom {
    /// The loss is not. Nothing was changed.
    Loss,
    /// The running statistic is not any more. No parameter was changed.
    Statistic(ParamId),
    /// The parameter is not any more, by its gradient, what is remembered of gradients before, or the length of the step. It and
    /// those before it were changed.
    Parameter(ParamId),
}

/// The part of a step in which numbers are first not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From pictures to answers; the weights that a layer has belong to it.
    Forward,
    /// From answers to the loss.
    Loss,
    /// Means and variances, a batch's or the running ones. Those that several normalisations share, or that convolutions take in,
    /// belong to the layer whose output they are of.
    Statistics,
    /// From the loss to the gradients.
    Gradient,
    /// From gradients to new parameters.
    Update,
}

/// Where numbers are first not finite, in the order in which a step computes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The part of the step.
    pub phase: Phase,
    /// Path of the layer.
    pub layer: String,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward",
            Self::Loss => "loss",
            Self::Statistics => "statistics",
            Self::Gradient => "gradient",
            Self::Update => "update",
        })
    }
}

impl TrainPlan {
    /// Goes through a step, gradients included, and looks at all that each kernel writes. It changes nothing but the workspace.
    ///
    /// `None` if all is finite: then an update by these gradients is not, if anything.
    ///
    /// # Errors
    /// As [`TrainPlan::gradients`].
    pub fn diagnose(
        &self,
        workspace: &mut TrainWorkspace,
        weights: &Weights,
        input: Input<'_>,
        targets: &[f32],
    ) -> Result<Option<Diagnosis>, RunError> {
        self.check(workspace, weights, input, targets)?;
        workspace.state.gradients.keep(&self.params);
        let batch = Batch { input, targets, weights };
        for at in 0..self.kernels.len() {
            if let Some(phase) = self.look(at, workspace, &batch) {
                let layer = match phase {
                    Phase::Loss => "loss".to_owned(),
                    _ => self.steps[at].nodes.first().cloned().unwrap_or_default(),
                };
                return Ok(Some(Diagnosis { phase, layer }));
            }
            if let (Kernel::Loss(_), Some(statistic)) = (&self.kernels[at], self.bad_running(workspace, weights)) {
                return Ok(Some(self.at_once(Symptom::Statistic(statistic))));
            }
        }
        Ok(None)
    }

    /// What a symptom alone says, for when [`TrainPlan::diagnose`] finds nothing or cannot be asked.
    pub fn at_once(&self, symptom: Symptom) -> Diagnosis {
        let layer = |param: ParamId| {
            let name = &self.params[param].name;
            name.rsplit_once('.').map_or(&name[..], |(layer, _)| layer).to_owned()
        };
        match symptom {
            Symptom::Loss => Diagnosis { phase: Phase::Loss, layer: "loss".into() },
            Symptom::Statistic(param) => Diagnosis { phase: Phase::Statistics, layer: layer(param) },
            Symptom::Parameter(param) => Diagnosis { phase: Phase::Update, layer: layer(param) },
        }
    }

    /// Runs a kernel; the phase if what it reads of the weights or writes is not finite.
    fn look(&self, at: usize, workspace: &mut TrainWorkspace, batch: &Batch<'_>) -> Option<Phase> {
        let kernel = &self.kernels[at];
        if !kernel.reads().into_iter().flatten().all(|param| are_finite(batch.weights.get(param))) {
            return Some(Phase::Forward);
        }
        let TrainWorkspace { memory, team, state } = workspace;
        kernel.run(batch, state, memory, team);
        if let Kernel::Norm { assemble, .. } = kernel
            && !state.stats[assemble.stats()].is_finite()
        {
            return Some(Phase::Statistics);
        }
        if matches!(kernel, Kernel::Loss(_)) && !state.loss.is_finite() {
            return Some(Phase::Loss);
        }
        let are_moments_finite = kernel.moments().is_none_or(|slot| state.moments[slot].is_finite());
        let is_finite = kernel.learns().into_iter().flatten().all(|param| are_finite(state.gradients.get(param)))
            && self.written[at].as_ref().is_none_or(|planes| workspace.is_finite(planes));
        if !is_finite {
            return Some(if self.steps[at].pass == Pass::Forward { Phase::Forward } else { Phase::Gradient });
        }
        (!are_moments_finite).then_some(Phase::Statistics)
    }

    /// The first running statistic that the batch's would leave not finite.
    fn bad_running(&self, workspace: &TrainWorkspace, weights: &Weights) -> Option<ParamId> {
        self.running.iter().zip(&workspace.state.stats).find_map(|(running, stats)| {
            let mut mixed = [running.mean, running.variance].map(|param| weights.get(param).to_vec());
            let [mean, variance] = &mut mixed;
            stats.update_running(running.momentum, mean, variance);
            running.bad(mean, variance)
        })
    }
}

impl Running {
    /// Which of the two is not finite, if any.
    pub(super) fn bad(&self, mean: &[f32], variance: &[f32]) -> Option<ParamId> {
        let statistics = [(self.mean, mean), (self.variance, variance)];
        statistics.into_iter().find(|(_, numbers)| !are_finite(numbers)).map(|(param, _)| param)
    }
}

impl TrainWorkspace {
    /// Whether a value of all images is finite.
    fn is_finite(&self, planes: &Planes) -> bool {
        let mut numbers = vec![0.0; planes.channels() * planes.pixels()];
        (0..self.memory.images()).all(|image| {
            export_nchw(planes, &self.memory, image, &mut numbers);
            are_finite(&numbers)
        })
    }
}

fn are_finite(numbers: &[f32]) -> bool {
    numbers.iter().all(|x| x.is_finite())
}
