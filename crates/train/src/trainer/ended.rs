//! The end of an epoch whose checkpoint waits to be written, where the classifier alone learns: the numbers that change, in memory.
//!
//! Not here: when it is written (`trainer.rs`), and that a run goes back to it (`guard.rs`).

use cspnet_graph::ParamId;

use crate::checkpoint::Checkpoint;
use crate::state::State;

/// Where a run stood at the end of an epoch.
pub(super) struct Ended {
    state: State,
    learnt: Vec<Learnt>,
}

/// A parameter that learns, as it was.
struct Learnt {
    param: ParamId,
    weights: Vec<f32>,
    momentum: Vec<f32>,
    square: Vec<f32>,
    average: Vec<f32>,
}

impl Ended {
    /// Where the run stands `now`, of which these parameters learn.
    pub fn of(now: &Checkpoint, learns: &[ParamId]) -> Self {
        let learnt = |&param: &ParamId| Learnt {
            param,
            weights: now.weights.get(param).to_vec(),
            momentum: now.momentum.momentum[param].clone(),
            square: now.momentum.square[param].clone(),
            average: now.average.get(param).to_vec(),
        };
        Self { state: now.state.clone(), learnt: learns.iter().map(learnt).collect() }
    }

    /// The run as it was; what does not learn is as it is `now`.
    pub fn restored(self, now: &Checkpoint) -> Checkpoint {
        let mut then = Checkpoint { state: self.state, ..now.clone() };
        for Learnt { param, weights, momentum, square, average } in self.learnt {
            then.weights.get_mut(param).copy_from_slice(&weights);
            then.momentum.momentum[param] = momentum;
            then.momentum.square[param] = square;
            then.average.get_mut(param).copy_from_slice(&average);
        }
        then
    }
}
