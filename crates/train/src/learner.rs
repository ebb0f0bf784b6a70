//! A network that learns: what a batch says about its parameters, and their change by a step.
//!
//! Not here: which batches, which learning rate, and what is kept ([`crate::trainer`]).

use cspnet_engine::{Diagnosis, Input, Isa, Stepped, Symptom, TrainPlan, TrainWorkspace, UpdateRule, UpdateState};
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
    /// That not all numbers were finite, if so.
    pub symptom: Option<Symptom>,
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

    /// How a step with a learning rate changes parameters; `updates` were done before.
    pub fn rule(&self, lr: f64, updates: u64) -> UpdateRule {
        self.recipe.update_rule(lr, updates + 1)
    }

    /// Whether a step is one batch whose gradients are taken as they are. Parameters are then changed while it is learnt from, and
    /// gradients need not be kept.
    fn is_at_once(&self) -> bool {
        self.recipe.grad_accum_steps <= 1 && self.recipe.clip_grad.is_none()
    }

    /// Learns from a batch of a step, which [`Learner::update`] ends. `None` if there is nothing in it.
    pub fn learn(
        &mut self,
        weights: &mut Weights,
        momentum: &mut UpdateState,
        rule: &UpdateRule,
        batch: &Batch,
    ) -> Result<Option<Learnt>, TrainError> {
        if batch.images == 0 {
            return Ok(None);
        }
        self.take(batch);
        let is_at_once = self.is_at_once();
        let Self { recipe, plan, workspace } = self;
        let (input, targets) = (Input::Pixels(&batch.pixels), &batch.targets[..]);
        let Stepped { loss, symptom } = if is_at_once {
            plan.step(workspace, weights, (input, targets), momentum, rule)?
        } else {
            let loss = plan.gradients(workspace, weights, input, targets)?;
            let symptom = if loss.is_finite() { plan.update_running(workspace, weights) } else { Some(Symptom::Loss) };
            if recipe.grad_accum_steps > 1 {
                plan.accumulate(workspace);
            }
            Stepped { loss, symptom }
        };
        let is_right = |i: &usize| likeliest(&plan.logits(workspace, *i)) == batch.classes[*i];
        Ok(Some(Learnt { loss, right: (0..batch.images).filter(is_right).count(), symptom }))
    }

    /// Ends a step: what its batches say about the parameters has changed them.
    pub fn update(&mut self, weights: &mut Weights, momentum: &mut UpdateState, rule: &UpdateRule) -> Option<Symptom> {
        if self.is_at_once() {
            return None;
        }
        self.plan.average_accumulated(&mut self.workspace);
        if let Some(most) = self.recipe.clip_grad {
            self.plan.clip(&mut self.workspace, most);
        }
        self.plan.update(&mut self.workspace, weights, momentum, rule)
    }

    /// Forgets the batches of a step that is not brought to its end.
    pub fn forget(&mut self) {
        self.workspace.forget_accumulated();
    }

    /// Where numbers are first not finite when `weights` learn from a batch; `None` if all are, or there is nothing in it.
    pub fn diagnose(&mut self, weights: &Weights, batch: &Batch) -> Result<Option<Diagnosis>, TrainError> {
        if batch.images == 0 {
            return Ok(None);
        }
        self.take(batch);
        Ok(self.plan.diagnose(&mut self.workspace, weights, Input::Pixels(&batch.pixels), &batch.targets)?)
    }

    /// What a symptom says by itself.
    pub fn at_once(&self, symptom: Symptom) -> Diagnosis {
        self.plan.at_once(symptom)
    }

    /// Makes ready for a batch.
    fn take(&mut self, batch: &Batch) {
        self.workspace.set_images(batch.images);
        self.workspace.set_draw(batch.draw);
    }

    /// Moves the average of the weights after an update.
    pub fn average(&mut self, average: &mut Weights, weights: &Weights, updates: u64) -> Result<(), TrainError> {
        Ok(self.plan.average(&mut self.workspace, average, weights, self.recipe.ema_decay_at(updates))?)
    }
}
