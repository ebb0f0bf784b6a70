//! The loop: epochs of steps, each judged by the averaged weights on the validation photos, with a checkpoint after each.

mod ended;
mod guard;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cspnet_data::{DataSet, Skipped, Split};
use cspnet_engine::Symptom;
use cspnet_formats::ModelFile;
use cspnet_graph::Graph;
use cspnet_graph::rewrite::with_normalise;
use serde_json::json;

use crate::batches::{Batch, Batches, Source};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::TrainError;
use crate::evaluate::{Evaluator, Validation};
use crate::features::Gathered;
use crate::learner::Learner;
use crate::observer::{Observer, Step};
use crate::recipe::Recipe;
use crate::resources::Resources;
use crate::run_folder::RunFolder;
use crate::state::State;
use ended::Ended;
use guard::Spoilt;

/// A checkpoint is written at the end of every epoch, and within one when the last is older than this.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(600);

/// Where the classifier alone learns, an epoch takes less time than writing its files: they then wait until the last are so old, the
/// run ends, or it goes back to the end of that epoch.
const WRITE_AFTER: Duration = Duration::from_secs(2);

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs are done.
    Finished,
    /// It was asked to stop, and wrote a checkpoint.
    Stopped,
}

/// A run in progress.
pub struct Trainer {
    folder: RunFolder,
    config: Config,
    /// The network, as it stands in model files.
    graph: Graph,
    /// The network that takes pixels.
    judged: Graph,
    data: DataSet,
    source: Arc<Source>,
    learner: Learner,
    /// What the network makes of the photos, where its classifier alone learns.
    gathered: Option<Gathered>,
    resources: Resources,
    now: Checkpoint,
    /// Learning rates of the steps since the last checkpoint, or since the end of the last epoch if that waits to be one.
    rates: Vec<f64>,
    /// The end of the last epoch, if it waits to be written.
    ended: Option<Ended>,
    /// Models of finished epochs that are to be written with the next checkpoint, by the names of their files.
    unwritten: BTreeMap<&'static str, Arc<ModelFile>>,
    last_written: Instant,
    /// When time was last counted.
    clock: Instant,
}

impl Trainer {
    /// A run of `config` in its `folder` that goes on from `checkpoint` with some resources.
    ///
    /// # Errors
    /// If the network cannot be trained on photos of that size, or its classes are not those of the photos.
    pub fn new(
        folder: RunFolder,
        config: Config,
        graph: Graph,
        data: DataSet,
        checkpoint: Checkpoint,
        resources: Resources,
    ) -> Result<Self, TrainError> {
        let judged = with_normalise(&graph, &config.preprocess.mean, &config.preprocess.std)?;
        let source = Arc::new(Source::of(&config, &data));
        let learner = Learner::new(&config, &judged, &checkpoint.weights, source.batch_size(), resources)?;
        Ok(Self {
            folder,
            config,
            graph,
            judged,
            data,
            source,
            learner,
            gathered: None,
            resources,
            now: checkpoint,
            rates: Vec::new(),
            ended: None,
            unwritten: BTreeMap::new(),
            last_written: Instant::now(),
            clock: Instant::now(),
        })
    }

    /// Where the run stands.
    pub fn state(&self) -> &State {
        &self.now.state
    }

    /// What is trained with.
    pub fn data(&self) -> &DataSet {
        &self.data
    }

    /// The folder of the run.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Trains until all epochs are done or `stop` says so; it is asked after every step.
    ///
    /// # Errors
    /// If steps diverge again and again, no photo can be read any more, or something cannot be written.
    pub fn run(&mut self, observer: &mut dyn Observer, stop: &dyn Fn() -> bool) -> Result<Outcome, TrainError> {
        if let Some(divergence) = &self.now.state.given_up {
            return Err(TrainError::diverged(self.folder.path(), divergence));
        }
        self.note_beginning()?;
        self.clock = Instant::now();
        let is_ready = self.gather_features(observer, stop)?;
        while !self.now.state.is_over {
            if !is_ready || !self.train_epoch(observer, stop)? || !self.judge_epoch(observer, stop)? {
                self.write_checkpoint(observer)?;
                self.folder.event("stopped", &self.place())?;
                return Ok(Outcome::Stopped);
            }
        }
        self.folder.event("finished", &json!({ "best": self.now.state.best }))?;
        Ok(Outcome::Finished)
    }

    /// Computes what is needed of the photos before the first step; whether it came to that.
    fn gather_features(&mut self, observer: &mut dyn Observer, stop: &dyn Fn() -> bool) -> Result<bool, TrainError> {
        if !self.config.recipe.is_head_only() || self.gathered.is_some() {
            return Ok(true);
        }
        let network = (&self.config, &self.judged, &self.now.weights);
        let told = &mut |done, all| observer.features(done, all);
        let Some((train, gathered)) = Gathered::of(network, &self.data, self.resources.threads, told, stop)? else {
            return Ok(false);
        };
        self.source = Arc::new(Source { features: Some(Arc::new(train)), ..Source::clone(&self.source) });
        self.gathered = Some(gathered);
        self.now.state.prepared += self.tick();
        match self.share_of_budget() {
            Some(1.0) if self.now.state.updates == 0 => Err(TrainError::NoTimeToLearn(self.now.state.prepared)),
            _ => Ok(true),
        }
    }

    /// How the network is trained.
    pub fn recipe(&self) -> &Recipe {
        &self.config.recipe
    }

    /// Counts the time since it was last counted.
    fn tick(&mut self) -> f64 {
        let passed = self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
        self.now.state.spent += passed;
        passed
    }

    /// Share of the time for steps that has passed, if time is limited: what comes before the first and a validation must have their
    /// time, too.
    fn share_of_budget(&self) -> Option<f64> {
        let State { spent, prepared, .. } = self.now.state;
        let for_steps = self.config.recipe.time_budget? - prepared - 1.1 * self.judging();
        Some(if for_steps > 0.0 { ((spent - prepared) / for_steps).min(1.0) } else { 1.0 })
    }

    /// Seconds of a validation: those of the last, or before the first what steps take for as many photos of its size. That is too
    /// much where photos are read in less time than steps are computed, for these go backward as well; where they are not it is right.
    fn judging(&self) -> f64 {
        let State { judging, seen, .. } = &self.now.state;
        if *judging > 0.0 {
            return *judging;
        }
        let pixels = |(height, width): (u32, u32)| f64::from(height) * f64::from(width);
        let larger = pixels(self.config.preprocess.size) / pixels(self.config.train_size);
        seen.seconds / seen.photos.max(1) as f64 * larger * self.data.validation.len() as f64
    }

    /// Notes in the events where the run begins or goes on, and what the photos are.
    fn note_beginning(&self) -> Result<(), TrainError> {
        let DataSet { train, validation, test, skipped, duplicates, notes, .. } = &self.data;
        let photos = json!({ "train": train.len(), "validation": validation.len(), "test": test.len() });
        self.folder.event("data", &json!({ "photos": photos, "fingerprint": self.data.fingerprint }))?;
        notes.iter().try_for_each(|note| self.folder.event("note", &json!({ "note": note })))?;
        skipped.iter().try_for_each(|s| self.note_skipped(s))?;
        for d in duplicates {
            let file = |(split, path): &(Split, PathBuf)| json!({ "split": split.to_string(), "file": path.to_string_lossy() });
            self.folder.event("duplicate", &json!({ "first": file(&d.first), "second": file(&d.second) }))?;
        }
        let begins = self.now.state == State::default();
        self.folder.event(if begins { "begun" } else { "resumed" }, &self.place())
    }

    fn note_skipped(&self, skipped: &Skipped) -> Result<(), TrainError> {
        self.folder.event("skipped", &json!({ "file": skipped.path.to_string_lossy(), "why": skipped.why }))
    }

    /// Where the run stands, for events.
    fn place(&self) -> serde_json::Value {
        json!({ "epoch": self.now.state.epoch, "step": self.now.state.step, "threads": self.resources.threads })
    }

    /// The steps of the epoch that are left; whether it came to its end.
    fn train_epoch(&mut self, observer: &mut dyn Observer, stop: &dyn Fn() -> bool) -> Result<bool, TrainError> {
        let steps = self.source.steps();
        let mut batches = self.batches_left();
        let mut batch = Batch::default();
        while self.now.state.step < steps && self.share_of_budget().is_none_or(|share| share < 1.0) {
            if stop() {
                return Ok(false);
            }
            let begin = Instant::now();
            let lr = self.lr();
            if let Some(spoilt) = self.take_step(&mut batches, &mut batch, lr, Some(observer))? {
                self.recover(spoilt, &batch, observer, stop)?;
                (batches, batch) = (self.batches_left(), Batch::default());
                continue;
            }
            self.rates.push(lr);
            self.now.state.seen.seconds += begin.elapsed().as_secs_f64();
            self.tick();
            observer.step(&Step { state: &self.now.state, steps, lr });
            if self.now.state.step < steps && self.last_written.elapsed() > CHECKPOINT_AFTER {
                self.write_checkpoint(observer)?;
            }
        }
        match (self.now.state.seen.photos, batch.skipped.last()) {
            (0, Some(last)) => Err(TrainError::NothingLoaded("training", last.why.clone())),
            _ => Ok(true),
        }
    }

    /// The batches of the epoch that are left.
    fn batches_left(&self) -> Batches {
        let (state, recipe) = (&self.now.state, &self.config.recipe);
        let epoch = f64::from(state.epoch);
        let epochs = self.share_of_budget().map_or(epoch, |share| share * f64::from(recipe.epochs));
        Batches::new(&self.source, (state.epoch, state.step), recipe.mix_at(epochs), self.resources.threads)
    }

    /// Takes the next step, unless it shows that numbers are not finite; `batch` is the last it has looked at. An observer is told
    /// of photos that cannot be read.
    fn take_step(
        &mut self,
        batches: &mut Batches,
        batch: &mut Batch,
        lr: f64,
        mut observer: Option<&mut dyn Observer>,
    ) -> Result<Option<Spoilt>, TrainError> {
        let mut samples = Vec::new();
        for _ in 0..self.source.batches_of(self.now.state.step) {
            let asked = Instant::now();
            batches.next_into(batch);
            self.now.state.seen.waited += asked.elapsed().as_secs_f64();
            if let Some(observer) = observer.as_deref_mut() {
                self.tell_skipped(&batch.skipped, observer)?;
            }
            if let Some(symptom) = self.learn(batch, lr)? {
                return Ok(Some(Spoilt { symptom, samples: batch.samples.clone(), lr }));
            }
            samples.extend_from_slice(&batch.samples);
        }
        if !samples.is_empty()
            && let Some(symptom) = self.update(lr)?
        {
            return Ok(Some(Spoilt { symptom, samples, lr }));
        }
        self.now.state.step += 1;
        Ok(None)
    }

    /// Learning rate of the next step.
    fn lr(&self) -> f64 {
        let State { epoch, step, .. } = self.now.state;
        match self.share_of_budget() {
            Some(share) => self.lr_at(share * f64::from(self.config.recipe.epochs)),
            // The middle of the step, so that the first is not lost.
            None => self.lr_at(f64::from(epoch) + (step as f64 + 0.5) / self.source.steps() as f64),
        }
    }

    /// Learning rate at the end of the epoch that has begun.
    fn last_lr(&self) -> f64 {
        match self.config.recipe.time_budget {
            Some(_) => self.lr(),
            None => self.lr_at(f64::from(self.now.state.epoch + 1)),
        }
    }

    /// Learning rate after so many epochs, halved as often as the run had to go back.
    fn lr_at(&self, epochs: f64) -> f64 {
        self.config.recipe.lr_at(epochs) * self.now.state.rate_factor()
    }

    /// Learns from a batch, if there is anything in it.
    fn learn(&mut self, batch: &Batch, lr: f64) -> Result<Option<Symptom>, TrainError> {
        let Checkpoint { state, weights, momentum, .. } = &mut self.now;
        let rule = self.learner.rule(lr, state.updates);
        let Some(learnt) = self.learner.learn(weights, momentum, &rule, batch)? else { return Ok(None) };
        state.seen.right += learnt.right;
        state.seen.photos += batch.images;
        state.seen.loss += learnt.loss * batch.images as f64;
        Ok(learnt.symptom)
    }

    /// Changes the parameters by what the batches of a step say, and moves their average.
    fn update(&mut self, lr: f64) -> Result<Option<Symptom>, TrainError> {
        let Checkpoint { state, weights, momentum, average } = &mut self.now;
        let rule = self.learner.rule(lr, state.updates);
        let symptom = self.learner.update(weights, momentum, &rule);
        if symptom.is_none() {
            self.learner.average(average, weights, state.updates)?;
            state.updates += 1;
        }
        Ok(symptom)
    }

    /// Judges the averaged weights and closes the epoch, if they are good for anything; whether it came to that.
    fn judge_epoch(&mut self, observer: &mut dyn Observer, stop: &dyn Fn() -> bool) -> Result<bool, TrainError> {
        let evaluator = Evaluator {
            graph: &self.judged,
            preprocess: &self.config.preprocess,
            samples: &self.data.validation,
            batch: self.source.batch_size(),
            threads: self.resources.threads,
        };
        let judged = match &self.gathered {
            Some(gathered) => Some(gathered.judge(&self.now.average, &self.data.validation)?),
            None => evaluator.run(&self.now.average, stop)?,
        };
        let Some((validation, skipped)) = judged else { return Ok(false) };
        self.tell_skipped(&skipped, observer)?;
        if validation.loss.is_finite() {
            self.close_epoch(&validation, observer)?;
        } else {
            self.recover_from_validation(observer)?;
        }
        Ok(true)
    }

    fn tell_skipped(&self, skipped: &[Skipped], observer: &mut dyn Observer) -> Result<(), TrainError> {
        skipped.iter().try_for_each(|s| {
            observer.skipped(s);
            self.note_skipped(s)
        })
    }

    /// Writes what an epoch leaves. The checkpoint comes last: until it is there, the epoch is done again, and leaves the same.
    fn close_epoch(&mut self, validation: &Validation, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let lr = self.last_lr();
        self.now.state.judging = self.tick();
        self.now.state.close_epoch(lr, validation);
        let is_best = self.now.state.note_best(validation);
        self.now.state.is_over = self.is_over();
        let model = Arc::new(self.model());
        if is_best {
            self.unwritten.insert("best", Arc::clone(&model));
        }
        self.unwritten.insert("last", model);
        match &self.gathered {
            Some(gathered) if !self.now.state.is_over && self.last_written.elapsed() < WRITE_AFTER => {
                self.ended = Some(Ended::of(&self.now, gathered.learns()));
                self.rates.clear();
            }
            _ => self.write_checkpoint(observer)?,
        }
        let epoch = self.now.state.history.last().expect("an epoch was closed");
        observer.epoch(epoch, is_best);
        self.folder.event("epoch", &serde_json::to_value(epoch).unwrap_or_default())
    }

    /// Whether the epoch just closed was the last.
    fn is_over(&self) -> bool {
        let (recipe, state) = (&self.config.recipe, &self.now.state);
        let is_done = match self.share_of_budget() {
            Some(share) => share >= 1.0,
            None => state.epoch >= recipe.epochs,
        };
        is_done || recipe.patience.is_some_and(|most| state.epochs_without_better() >= most)
    }

    /// Writes a checkpoint, and before it what the epochs since the last have left.
    fn write_checkpoint(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        if self.now.state.step > 0 {
            self.write_ended(observer)?;
        }
        // Between two epochs the run itself stands there.
        self.ended = None;
        self.write_models()?;
        let path = self.folder.write_checkpoint(&self.now, &self.graph)?;
        self.last_written = Instant::now();
        self.rates.clear();
        observer.checkpoint(&path);
        Ok(())
    }

    /// Writes the end of the last epoch, if that waits: a run goes back to it from wherever it stands.
    fn write_ended(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let Some(ended) = self.ended.take() else { return Ok(()) };
        self.write_models()?;
        let path = self.folder.write_checkpoint(&ended.restored(&self.now), &self.graph)?;
        observer.checkpoint(&path);
        Ok(())
    }

    /// Writes models and measurements of the epochs since the last checkpoint.
    fn write_models(&mut self) -> Result<(), TrainError> {
        if !self.unwritten.is_empty() {
            self.unwritten.iter().try_for_each(|(name, model)| self.folder.write_model(name, model))?;
            self.folder.write_metrics(&self.now.state.history)?;
            self.unwritten.clear();
        }
        Ok(())
    }

    /// The averaged weights as a model file. It holds no times and no paths: the same training gives the same file.
    fn model(&self) -> ModelFile {
        let mut manifest = self.config.manifest(&self.graph);
        manifest.training = self.facts();
        ModelFile { manifest, weights: self.now.average.clone() }
    }

    fn facts(&self) -> BTreeMap<String, serde_json::Value> {
        let state = &self.now.state;
        let mut facts = BTreeMap::from([
            ("program".to_owned(), format!("cspnet {}", self.config.program).into()),
            ("recipe".to_owned(), serde_json::to_value(&self.config.recipe).unwrap_or_default()),
            ("train_size".to_owned(), serde_json::json!(self.config.train_size)),
            ("data".to_owned(), self.data.fingerprint.clone().into()),
            ("train_photos".to_owned(), self.data.train.len().into()),
            ("epoch".to_owned(), state.epoch.into()),
        ]);
        if let Some(origin) = &self.config.begun_from {
            facts.insert("begun_from".to_owned(), origin.hash.clone().into());
        }
        if let Some(last) = state.history.last() {
            facts.insert("validation_photos".to_owned(), self.data.validation.len().into());
            facts.insert("validation_top1".to_owned(), last.val_top1.into());
        }
        facts
    }
}
