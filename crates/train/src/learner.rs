//! A network that learns: what a batch says about its parameters, and their change by a step.
//!
//! Not here: which batches, which learning rate, and what is kept ([`crate::trainer`]).

use std::sync::Arc;

use cspnet_engine::{Input, Isa, PlanOptions, TrainPlan, TrainWorkspace, UpdateRule, UpdateState};
use cspnet_graph::rewrite::with_loss;
use cspnet_graph::{Graph, ParamId, Weights};
use cspnet_metrics::likeliest;

use crate::batches::Batch;
use crate::config::Config;
use crate::error::TrainError;
use crate::frozen::{Frozen, Parts, with_part};
use crate::recipe::Recipe;

/// A network that learns by a recipe.
pub(crate) struct Learner {
    recipe: Recipe,
    /// What stays as it is of the network, unless batches hold what it has made of photos.
    frozen: Option<Frozen>,
    /// The parameters of the part that learns.
    params: Arc<[ParamId]>,
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
    /// `network` takes pixels; batches have at most so many `photos`. What is frozen has these `weights`.
    ///
    /// # Errors
    /// If it cannot be trained on photos of the configuration's size.
    pub fn new(
        config: &Config,
        network: &Graph,
        weights: &Weights,
        photos: usize,
        threads: usize,
    ) -> Result<Self, TrainError> {
        let (height, width) = config.train_size;
        let mut picture = [3, height as usize, width as usize];
        let Parts { frozen, learns, rates } = Parts::of(network, &config.recipe)?;
        let mut running = None;
        if let Some(part) = frozen {
            picture = part.graph.shapes(picture)?[part.graph.output()];
            if !config.recipe.is_head_only() {
                // All instruction sets choose alike, as they do in training.
                let options = PlanOptions { alike: true, ..PlanOptions::default() };
                running = Some(Frozen::new(&part, weights, config.train_size, (photos, threads), &options)?);
            }
        }
        let plan = TrainPlan::new(&with_loss(&learns.graph)?, picture, Isa::detect())?.with_rates(rates);
        Ok(Self {
            recipe: config.recipe.clone(),
            frozen: running,
            params: learns.params.into(),
            workspace: plan.workspace(photos, threads),
            plan,
        })
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

    /// Learns from a batch of a step, which [`Learner::update`] ends. `None` if there is nothing in it; a loss that is no number
    /// changes nothing. Numbers are the whole network's.
    pub fn learn(
        &mut self,
        weights: &mut Weights,
        momentum: &mut UpdateState,
        rule: &UpdateRule,
        batch: &Batch,
    ) -> Result<Option<Learnt>, TrainError> {
        let params = Arc::clone(&self.params);
        with_part(&params, (weights, momentum), |weights, momentum| self.learn_part(weights, momentum, rule, batch))
    }

    fn learn_part(
        &mut self,
        weights: &mut Weights,
        momentum: &mut UpdateState,
        rule: &UpdateRule,
        batch: &Batch,
    ) -> Result<Option<Learnt>, TrainError> {
        if batch.images == 0 {
            return Ok(None);
        }
        self.workspace.set_images(batch.images);
        self.workspace.set_draw(batch.draw);
        let is_at_once = self.is_at_once();
        let Self { recipe, frozen, plan, workspace, .. } = self;
        let input = match frozen {
            _ if !batch.features.is_empty() => Input::Real(&batch.features),
            Some(frozen) => Input::Real(frozen.values(batch.images, &batch.pixels)?),
            None => Input::Pixels(&batch.pixels),
        };
        let targets = &batch.targets[..];
        let loss = if is_at_once {
            plan.step(workspace, weights, (input, targets), momentum, rule)?
        } else {
            let loss = plan.gradients(workspace, weights, input, targets)?;
            if loss.is_finite() {
                plan.update_running(workspace, weights);
            }
            if recipe.grad_accum_steps > 1 {
                plan.accumulate(workspace);
            }
            loss
        };
        let is_right = |i: &usize| likeliest(&plan.logits(workspace, *i)) == batch.classes[*i];
        Ok(Some(Learnt { loss, right: (0..batch.images).filter(is_right).count() }))
    }

    /// Ends a step: what its batches say about the parameters has changed them.
    pub fn update(&mut self, weights: &mut Weights, momentum: &mut UpdateState, rule: &UpdateRule) {
        if self.is_at_once() {
            return;
        }
        self.plan.average_accumulated(&mut self.workspace);
        if let Some(most) = self.recipe.clip_grad {
            self.plan.clip(&mut self.workspace, most);
        }
        with_part(&self.params, (weights, momentum), |weights, momentum| {
            self.plan.update(&mut self.workspace, weights, momentum, rule);
        });
    }

    /// Moves the average of the weights after an update; what is frozen stays as it is in both.
    pub fn average(&mut self, average: &mut Weights, weights: &mut Weights, updates: u64) -> Result<(), TrainError> {
        let (mut moved, learnt) = (average.take(&self.params), weights.take(&self.params));
        let done = self.plan.average(&mut self.workspace, &mut moved, &learnt, self.recipe.ema_decay_at(updates));
        average.put_back(&self.params, moved);
        weights.put_back(&self.params, learnt);
        Ok(done?)
    }
}
