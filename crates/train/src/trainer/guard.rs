//! What a run does when numbers are not finite any more: it finds where that began, goes back and halves its learning rate.
//!
//! It goes back to the end of the last epoch and not to a checkpoint within one, for when these are written depends on the clock
//! and on signals, and a run that was killed must end as one that was not. Not here: how a step notices it (`cspnet-engine`).

use cspnet_engine::{Diagnosis, Symptom};
use serde_json::json;

use super::Trainer;
use crate::batches::Batch;
use crate::divergence::{Divergence, MOST_FILES};
use crate::error::TrainError;
use crate::observer::Observer;
use crate::state::State;

/// A step that was left because of a symptom.
pub(super) struct Spoilt {
    pub symptom: Symptom,
    /// The photos that may have done it, as places in the source.
    pub samples: Vec<usize>,
    /// Learning rate of the step.
    pub lr: f64,
}

impl Trainer {
    /// Goes back to where the epoch began, with half the learning rate; `batch` is that in which the symptom was seen.
    ///
    /// # Errors
    /// If this has been done too often, or a checkpoint can be neither read nor written.
    pub(super) fn recover(
        &mut self,
        spoilt: Spoilt,
        batch: &Batch,
        observer: &mut dyn Observer,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), TrainError> {
        self.tick();
        let before = self.now.state.clone();
        let found = match spoilt.symptom {
            // The parameters are those the step began with.
            Symptom::Loss | Symptom::Statistic(_) => self.diagnose(batch)?,
            Symptom::Parameter(_) => self.repeat(observer, stop)?,
        };
        let (diagnosis, samples) = found.unwrap_or_else(|| (self.learner.at_once(spoilt.symptom), spoilt.samples));
        self.learner.forget();
        let divergence = Divergence {
            epoch: before.epoch + 1,
            step: before.step + 1,
            phase: diagnosis.phase.to_string(),
            layer: diagnosis.layer,
            files: samples
                .iter()
                .take(MOST_FILES)
                .map(|&i| self.source.samples[i].path.to_string_lossy().into_owned())
                .collect(),
            lr: spoilt.lr,
            next_lr: self.next_lr(&before),
        };
        self.go_back(divergence, &before, observer)
    }

    /// The same for an epoch whose steps were finite, but not the loss of the averaged weights on the validation photos.
    ///
    /// # Errors
    /// As [`Trainer::recover`].
    pub(super) fn recover_from_validation(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        self.tick();
        let before = self.now.state.clone();
        let divergence = Divergence {
            epoch: before.epoch + 1,
            step: before.step,
            phase: "validation".into(),
            layer: "loss".into(),
            files: Vec::new(),
            lr: self.last_lr(),
            next_lr: self.next_lr(&before),
        };
        self.go_back(divergence, &before, observer)
    }

    fn next_lr(&self, before: &State) -> f64 {
        self.config.recipe.lr * before.rate_factor() / 2.0
    }

    fn go_back(
        &mut self,
        divergence: Divergence,
        before: &State,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let is_too_often = before.rollbacks >= State::MOST_ROLLBACKS;
        self.write_ended(observer)?;
        self.now = self.folder.go_back(&self.graph, observer)?;
        let state = &mut self.now.state;
        // Time that was spent in vain is spent all the same.
        state.spent = before.spent;
        state.rollbacks = before.rollbacks + u32::from(!is_too_often);
        state.given_up = is_too_often.then(|| divergence.clone());
        self.note_divergence(&divergence)?;
        self.write_checkpoint(observer)?;
        if is_too_often {
            return Err(TrainError::diverged(self.folder.path(), &divergence));
        }
        observer.rolled_back(&divergence, &self.now.state);
        Ok(())
    }

    fn note_divergence(&self, divergence: &Divergence) -> Result<(), TrainError> {
        let state = &self.now.state;
        let mut facts = serde_json::to_value(divergence).unwrap_or_default();
        facts["rollbacks"] = json!(state.rollbacks);
        facts["given_up"] = json!(state.given_up.is_some());
        facts["back_to"] = self.place();
        self.folder.event("diverged", &facts)
    }

    /// Where numbers of a batch are first not finite, and its photos.
    fn diagnose(&mut self, batch: &Batch) -> Result<Option<(Diagnosis, Vec<usize>)>, TrainError> {
        let found = self.learner.diagnose(&mut self.now.weights, batch)?;
        Ok(found.map(|diagnosis| (diagnosis, batch.samples.clone())))
    }

    /// Takes the steps since the newest checkpoint again, up to the one that was left, and looks into the batches of this one. A
    /// step that has changed parameters cannot be looked into afterwards, and to keep a copy of all before each would cost more
    /// than this, which is seldom needed. `None` if it does not come to the same place or is asked to stop.
    fn repeat(
        &mut self,
        observer: &mut dyn Observer,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<(Diagnosis, Vec<usize>)>, TrainError> {
        let rates = std::mem::take(&mut self.rates);
        observer.repeating(rates.len());
        let place = (self.now.state.epoch, self.now.state.step);
        self.write_ended(observer)?;
        self.now = self.folder.latest(&self.graph, observer)?;
        let state = &self.now.state;
        if (state.epoch, state.step + rates.len()) != place {
            return Ok(None);
        }
        self.learner.forget();
        let mut batches = self.batches_left();
        let mut batch = Batch::default();
        for lr in rates {
            if stop() || self.take_step(&mut batches, &mut batch, lr, None)?.is_some() {
                return Ok(None);
            }
        }
        for _ in 0..self.source.batches_of(place.1) {
            batches.next_into(&mut batch);
            if let Some(found) = self.diagnose(&batch)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
