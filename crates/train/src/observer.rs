//! What a run, or the search for its learning rate, tells of itself while it goes on.

use std::path::Path;

use cspnet_data::Skipped;

use crate::divergence::Divergence;
use crate::state::{Epoch, State};

/// A step that has been taken.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Where the run stands now.
    pub state: &'a State,
    /// Steps of an epoch.
    pub steps: usize,
    /// Learning rate of the step.
    pub lr: f64,
}

/// A step of the search for a learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Its learning rate.
    pub lr: f64,
    /// Mean loss of its photos, before the step.
    pub loss: f64,
    /// The moving mean of the losses so far.
    pub smoothed: f64,
}

/// Who is told what a run does. Every method does nothing unless it is written.
pub trait Observer {
    /// A step was taken.
    fn step(&mut self, _step: &Step<'_>) {}
    /// What is frozen of the network has seen so many of all photos, before the first step; at first none.
    fn features(&mut self, _done: usize, _all: usize) {}
    /// A learning rate was tried.
    fn probe(&mut self, _probe: &Probe) {}
    /// An epoch has ended and was judged; `is_best` if no other was better.
    fn epoch(&mut self, _epoch: &Epoch, _is_best: bool) {}
    /// To find where numbers began to be not finite, so many steps since the last checkpoint are taken again.
    fn repeating(&mut self, _steps: usize) {}
    /// Numbers of a step were not finite, so the run has gone back to where `state` says, with half the learning rate.
    fn rolled_back(&mut self, _divergence: &Divergence, _state: &State) {}
    /// A photo that was readable when the run began is not any more; its batch goes on without it.
    fn skipped(&mut self, _skipped: &Skipped) {}
    /// A checkpoint is safely on the disk.
    fn checkpoint(&mut self, _path: &Path) {}
    /// A checkpoint that was found cannot be used, so an older one is.
    fn unusable(&mut self, _path: &Path, _why: &str) {}
}
