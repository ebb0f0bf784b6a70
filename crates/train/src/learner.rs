//! A network that learns: what a batch says about its parameters, and their change by a step.
//!
//! Not here: which batches, which learning rate, and what is kept ([`crate::trainer`]).

use cspnet_engine::{Input, Isa, TrainPlan, TrainWorkspace, UpdateState};
use cspnet_graph::rewrite::with_loss;
use cspnet_graph::{Graph, Weights};
use cspnet_metrics::likeliest;

use crate::batches::Batch;
use crate::config::Config;
use crate::drops::with_drops;
use crate::error::TrainError;
use crate::recipe::Recipe;

/// A network that learns by a recipe.
pub(crate) struct Learner {
    recipe: Recipe,
    plan: TrainPlan,
    workspace: TrainWorkspace,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Learnt {
    /// Mean loss of its photos.
    pub loss: f64,
    /// Photos whose likeliest class was the target's.
    pub right: usize,
}

impl Learner {
    /// `network` takes pixels; batches have at most so many `photos`.
    ///
    /// # Errors
    /// If it cannot be trained on photos of the configuration's size.
    pub fn new(config: &Config, network: &Graph, photos: usize, threads: usize) -> Result<Self, TrainError> {
        let (height, width) = config.train_size;
        let learning = with_loss(&with_drops(network, &config.recipe)?)?;
        let plan = TrainPlan::new(&learning, [3, height as usize, width as usize], Isa::detect())?;
        Ok(Self { recipe: config.recipe.clone(), workspace: plan.workspace(photos, threads), plan })
    }

    /// What a batch says about the parameters: their gradients, which are kept where a step has several batches. `None` if there
    /// is nothing in it; a loss that is no number changes nothing.
    pub fn learn(&mut self, weights: &mut Weights, batch: &Batch) -> Result<Option<Learnt>, TrainError> {
        if batch.images == 0 {
            return Ok(None);
        }
        self.workspace.set_images(batch.images);
        self.workspace.set_draw(batch.draw);
        let loss = self.plan.gradients(&mut self.workspace, weights, Input::Pixels(&batch.pixels), &batch.targets)?;
        if loss.is_finite() {
            self.plan.update_running(&self.workspace, weights);
        }
        if self.recipe.grad_accum_steps > 1 {
            self.plan.accumulate(&mut self.workspace);
        }
        let is_right = |i: &usize| likeliest(&self.plan.logits(&self.workspace, *i)) == batch.classes[*i];
        Ok(Some(Learnt { loss, right: (0..batch.images).filter(is_right).count() }))
    }

    /// Changes the parameters by what the batches of a step say; `updates` were done before.
    pub fn update(&mut self, weights: &mut Weights, momentum: &mut UpdateState, lr: f64, updates: u64) {
        self.plan.average_accumulated(&mut self.workspace);
        if let Some(most) = self.recipe.clip_grad {
            self.plan.clip(&mut self.workspace, most);
        }
        let rule = self.recipe.update_rule(lr, updates + 1);
        self.plan.update(&mut self.workspace, weights, momentum, &rule);
    }

    /// Moves the average of the weights after an update.
    pub fn average(&mut self, average: &mut Weights, weights: &Weights, updates: u64) -> Result<(), TrainError> {
        Ok(self.plan.average(&mut self.workspace, average, weights, self.recipe.ema_decay_at(updates))?)
    }
}
