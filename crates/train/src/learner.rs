//! A network that learns: what a batch says about its parameters, and their change by a step.
//!
//! Not here: which batches, which learning rate, and what is kept ([`crate::trainer`]).

use cspnet_engine::{
    Diagnosis, Input, PlanOptions, Stepped, Symptom, TrainOptions, TrainPlan, TrainWorkspace, UpdateRule, UpdateState,
};
use cspnet_graph::rewrite::with_loss;
use cspnet_graph::{Graph, ParamId, Weights};
use cspnet_metrics::likeliest;

use crate::batches::Batch;
use crate::config::Config;
use crate::error::TrainError;
use crate::frozen::{Frozen, Parts, with_part};
use crate::recipe::Recipe;
use crate::resources::{Resources, tile_unit};

/// A network that learns by a recipe.
pub(crate) struct Learner {
    recipe: Recipe,
    /// What stays as it is of the network, unless batches hold what it has made of photos.
    frozen: Option<Frozen>,
    /// The parameters of the part that learns, if that is not the whole network.
    params: Option<Vec<ParamId>>,
    plan: TrainPlan,
    workspace: TrainWorkspace,
    /// Room for the logits of a photo.
    logits: Vec<f32>,
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
    /// `network` takes pixels; batches have at most so many `photos`. What is frozen has these `weights`.
    ///
    /// # Errors
    /// If it cannot be trained on photos of the configuration's size.
    pub fn new(
        config: &Config,
        network: &Graph,
        weights: &Weights,
        photos: usize,
        resources: Resources,
    ) -> Result<Self, TrainError> {
        let (height, width) = config.train_size;
        let mut picture = [3, height as usize, width as usize];
        let Parts { frozen, learns, rates } = Parts::of(network, &config.recipe)?;
        let mut running = None;
        let params = frozen.is_some().then(|| learns.params.clone());
        if let Some(part) = frozen {
            picture = part.graph.shapes(picture)?[part.graph.output()];
            if !config.recipe.is_head_only() {
                // All instruction sets choose alike, as they do in training.
                let options = PlanOptions { alike: true, ..PlanOptions::default() };
                running = Some(Frozen::new(&part, weights, config.train_size, (photos, resources.threads), &options)?);
            }
        }
        let recomputes = resources.memory.recomputes();
        let options = TrainOptions { recomputes, mixed: tile_unit(config.recipe.amp)?, ..TrainOptions::default() };
        let plan = TrainPlan::with(&with_loss(&learns.graph)?, picture, &options)?.with_rates(rates);
        Ok(Self {
            recipe: config.recipe.clone(),
            frozen: running,
            params,
            workspace: plan.workspace(photos, resources.threads),
            logits: vec![0.0; plan.classes()],
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

    /// Learns from a batch of a step, which [`Learner::update`] ends. `None` if there is nothing in it. Numbers are the whole
    /// network's.
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
        let Self { recipe, frozen, params, plan, workspace, logits } = self;
        let (input, targets) = (input_of(batch, frozen.as_mut())?, &batch.targets[..]);
        let Stepped { loss, symptom } = with_part(params.as_deref(), (weights, momentum), |weights, momentum| {
            if is_at_once {
                return plan.step(workspace, weights, (input, targets), momentum, rule);
            }
            let loss = plan.gradients(workspace, weights, input, targets)?;
            let symptom = plan.update_running(workspace, weights);
            if recipe.grad_accum_steps > 1 {
                plan.accumulate(workspace);
            }
            Ok(Stepped { loss, symptom })
        })?;
        let is_right = |i: &usize| {
            plan.logits_into(workspace, *i, logits);
            likeliest(logits) == batch.classes[*i]
        };
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
        with_part(self.params.as_deref(), (weights, momentum), |weights, momentum| {
            self.plan.update(&mut self.workspace, weights, momentum, rule)
        })
    }

    /// Forgets the batches of a step that is not brought to its end.
    pub fn forget(&mut self) {
        self.workspace.forget_accumulated();
    }

    /// Where numbers are first not finite when `weights` learn from a batch; `None` if all are, or there is nothing in it.
    pub fn diagnose(&mut self, weights: &mut Weights, batch: &Batch) -> Result<Option<Diagnosis>, TrainError> {
        if batch.images == 0 {
            return Ok(None);
        }
        self.take(batch);
        let input = input_of(batch, self.frozen.as_mut())?;
        let Some(params) = &self.params else {
            return Ok(self.plan.diagnose(&mut self.workspace, weights, input, &batch.targets)?);
        };
        let learnt = weights.take(params);
        let found = self.plan.diagnose(&mut self.workspace, &learnt, input, &batch.targets);
        weights.put_back(params, learnt);
        Ok(found?)
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

    /// Moves the average of the weights after an update; what is frozen stays as it is in both.
    pub fn average(&mut self, average: &mut Weights, weights: &mut Weights, updates: u64) -> Result<(), TrainError> {
        let decay = self.recipe.ema_decay_at(updates);
        let Some(params) = &self.params else {
            return Ok(self.plan.average(&mut self.workspace, average, weights, decay)?);
        };
        let (mut moved, learnt) = (average.take(params), weights.take(params));
        let done = self.plan.average(&mut self.workspace, &mut moved, &learnt, decay);
        average.put_back(params, moved);
        weights.put_back(params, learnt);
        Ok(done?)
    }
}

/// What the part that learns reads of a batch.
fn input_of<'a>(batch: &'a Batch, frozen: Option<&'a mut Frozen>) -> Result<Input<'a>, TrainError> {
    Ok(match frozen {
        _ if !batch.features.is_empty() => Input::Real(&batch.features),
        Some(frozen) => Input::Real(frozen.values(batch.images, &batch.pixels)?),
        None => Input::Pixels(&batch.pixels),
    })
}
