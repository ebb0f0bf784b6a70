//! Where a run stands: what a checkpoint holds beside its numbers.

use serde::{Deserialize, Serialize};

use crate::divergence::Divergence;
use crate::evaluate::Validation;

/// Where a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Finished epochs.
    pub epoch: u32,
    /// Finished steps of the epoch that has begun.
    pub step: usize,
    /// Updates of all epochs.
    pub updates: u64,
    /// What has been seen in the epoch that has begun.
    pub seen: Seen,
    /// The finished epochs.
    pub history: Vec<Epoch>,
    /// The best of them.
    pub best: Option<Best>,
    /// Seconds of all epochs, validation included.
    pub spent: f64,
    /// Of these, seconds before the first step, in which photos are computed to features once; again where a run goes on.
    #[serde(default)]
    pub prepared: f64,
    /// Seconds of the last validation.
    pub judging: f64,
    /// Whether the run has come to its end.
    pub is_over: bool,
    /// How often the run has gone back because numbers were not finite, each time with half the learning rate.
    #[serde(default)]
    pub rollbacks: u32,
    /// Why the run was given up, if it was.
    #[serde(default)]
    pub given_up: Option<Divergence>,
}

/// Sums over the steps of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Photos.
    pub photos: usize,
    /// Photos whose likeliest class was the target's.
    pub right: usize,
    /// Sum of the photos' losses.
    pub loss: f64,
    /// Seconds, and those of them in which the step waited for photos.
    pub seconds: f64,
    /// Of these, seconds of waiting for photos.
    pub waited: f64,
}

impl Seen {
    /// Mean loss of a photo.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.photos.max(1) as f64
    }

    /// Share of photos that were recognised.
    pub fn accuracy(&self) -> f64 {
        self.right as f64 / self.photos.max(1) as f64
    }
}

/// A finished epoch: a line of `metrics.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// Its number, from 1.
    pub epoch: u32,
    /// Learning rate of its last step.
    pub lr: f64,
    /// Mean loss of the varied photos it was trained with.
    pub train_loss: f64,
    /// Share of them whose likeliest class was right.
    pub train_top1: f64,
    /// Mean cross entropy of the averaged weights on the validation photos.
    pub val_loss: f64,
    /// Share of the validation photos that the averaged weights recognise.
    pub val_top1: f64,
    /// Share whose class is among the five likeliest.
    pub val_top5: f64,
    /// Seconds of training, without validation.
    pub seconds: f64,
    /// Photos a second while training.
    pub images_per_s: f64,
    /// Share of the seconds in which computing waited for photos.
    pub decode_wait: f64,
}

/// The best epoch so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Its number, from 1.
    pub epoch: u32,
    /// How the averaged weights did on the validation photos.
    pub validation: Validation,
}

impl Epoch {
    /// Names of the columns in `metrics.csv`.
    pub const COLUMNS: [&str; 10] = [
        "epoch",
        "lr",
        "train_loss",
        "train_top1",
        "val_loss",
        "val_top1",
        "val_top5",
        "seconds",
        "images_per_s",
        "decode_wait",
    ];
}

impl State {
    /// So often a run goes back; the next time it ends.
    pub const MOST_ROLLBACKS: u32 = 3;

    /// Whether the numbers can be those of a run.
    pub(crate) fn check(&self) -> Result<(), String> {
        let best = self.best.map_or(0, |best| best.epoch);
        let counts =
            [u64::from(self.epoch), self.step as u64, self.updates, self.seen.photos as u64, self.seen.right as u64];
        if best > self.epoch || self.history.len() != self.epoch as usize || self.rollbacks > Self::MOST_ROLLBACKS {
            return Err(format!(
                "{} epochs of which {} are told, the best the {best}-th, with {} steps back",
                self.epoch,
                self.history.len(),
                self.rollbacks
            ));
        }
        // More than any machine does, and sums of them do not overflow.
        if counts.iter().any(|&n| n > 1 << 48) {
            return Err(format!("counts of {counts:?}"));
        }
        Ok(())
    }

    /// What is left of the recipe's learning rate.
    pub fn rate_factor(&self) -> f64 {
        0.5_f64.powi(self.rollbacks as i32)
    }

    /// Closes the epoch that has begun.
    pub(crate) fn close_epoch(&mut self, lr: f64, validation: &Validation) {
        let seen = std::mem::take(&mut self.seen);
        self.epoch += 1;
        self.step = 0;
        self.history.push(Epoch {
            epoch: self.epoch,
            lr,
            train_loss: seen.mean_loss(),
            train_top1: seen.accuracy(),
            val_loss: validation.mean_loss(),
            val_top1: validation.top1(),
            val_top5: validation.top5(),
            seconds: seen.seconds,
            images_per_s: seen.photos as f64 / seen.seconds.max(1e-9),
            decode_wait: seen.waited / seen.seconds.max(1e-9),
        });
    }

    /// Epochs since the best.
    pub(crate) fn epochs_without_better(&self) -> u32 {
        self.best.map_or(0, |best| self.epoch - best.epoch)
    }

    /// Notes the validation of the epoch just closed; whether it is the best so far: more right, and of equals the smaller loss.
    pub(crate) fn note_best(&mut self, validation: &Validation) -> bool {
        let better = self.best.is_none_or(|b| {
            let (old, new) = (b.validation, validation);
            new.right > old.right || (new.right == old.right && new.mean_loss() < old.mean_loss())
        });
        if better {
            self.best = Some(Best { epoch: self.epoch, validation: *validation });
        }
        better
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validation(right: usize, loss: f64) -> Validation {
        Validation { photos: 10, right, among_five: 10, loss }
    }

    #[test]
    fn a_state_of_before_there_were_divergences_is_read() {
        let mut text = serde_json::to_value(State::default()).unwrap();
        for field in ["rollbacks", "given_up"] {
            text.as_object_mut().unwrap().remove(field).unwrap();
        }
        let state: State = serde_json::from_value(text).unwrap();
        assert!(state == State::default() && state.rate_factor() == 1.0);
        assert_eq!(State { rollbacks: 3, ..state }.rate_factor(), 0.125);
    }

    #[test]
    fn numbers_that_no_run_has_are_refused() {
        let mut state = State::default();
        state.close_epoch(0.1, &validation(5, 9.0));
        state.note_best(&validation(5, 9.0));
        assert_eq!(state.check(), Ok(()));
        let best = Best { epoch: 2, validation: validation(5, 9.0) };
        for wrong in [
            State { epoch: 2, ..state.clone() },
            State { best: Some(best), ..state.clone() },
            State { rollbacks: 4, ..state.clone() },
            State { step: usize::MAX, ..state.clone() },
            State { updates: u64::MAX, ..state.clone() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_best_is_the_first_of_equals() {
        let mut state = State::default();
        let mut bests = Vec::new();
        for v in [validation(5, 9.0), validation(5, 9.0), validation(5, 8.0), validation(4, 1.0), validation(6, 99.0)] {
            state.close_epoch(0.1, &v);
            bests.push(state.note_best(&v));
        }
        assert_eq!(bests, [true, false, true, false, true]);
        assert_eq!((state.best.unwrap().epoch, state.history.len()), (5, 5));
    }
}
