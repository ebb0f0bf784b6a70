//! Runs into which numbers that are not finite are put from outside, in every part of a step.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use cspnet_data::{DataOptions, DataSet};
use cspnet_engine::Phase;
use cspnet_formats::Dtype;
use cspnet_graph::{Builder, Conv, Graph, Unary};
use cspnet_vision::Preprocess;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::batches::Batches;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::observer::Step;
use crate::recipe::{Freeze, Optimizer, Recipe};
use crate::resources::{Footprint, Resources};
use crate::run_folder::RunFolder;
use crate::trainer::Outcome;

const SIDE: usize = 8;

/// Does not want to be told.
struct Nobody;

impl Observer for Nobody {}

/// Keeps what it is told.
#[derive(Default)]
struct Told {
    divergences: Vec<Divergence>,
    rates: Vec<f64>,
    /// Steps that were first taken again.
    repeated: Option<usize>,
    /// Where the run stands.
    place: Rc<Cell<(u32, usize)>>,
    /// Where the process ends without a word.
    killed_at: Option<(u32, usize)>,
    /// At which time of going back it does, counted from 1.
    killed_going_back: usize,
}

impl Observer for Told {
    fn step(&mut self, step: &Step<'_>) {
        self.rates.push(step.lr);
        self.place.set((step.state.epoch, step.state.step));
        if self.killed_at == Some(self.place.get()) {
            resume_unwind(Box::new(()));
        }
    }

    fn repeating(&mut self, steps: usize) {
        self.repeated.get_or_insert(steps);
    }

    fn rolled_back(&mut self, divergence: &Divergence, state: &State) {
        assert_eq!(state.step, 0);
        self.divergences.push(divergence.clone());
        if self.killed_going_back == self.divergences.len() {
            resume_unwind(Box::new(()));
        }
    }
}

/// Photos of two classes, and runs.
struct Workshop {
    dir: TempDir,
    data: DataSet,
}

impl Workshop {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (split, photos) in [("train", 6), ("validation", 2)] {
            for (class, number) in [("dark", 0), ("light", 1)] {
                let folder = dir.path().join("data").join(split).join(class);
                fs::create_dir_all(&folder).unwrap();
                for i in 0..photos {
                    let shade = |p: usize| (150 * number + 3 * i + (p * 37 + photos) % 50) as u8;
                    fs::write(folder.join(format!("{i}.bmp")), bmp(shade)).unwrap();
                }
            }
        }
        let data = DataSet::open(&dir.path().join("data"), &DataOptions::default(), &mut |_, _| ()).unwrap();
        Self { dir, data }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self, recipe: Recipe) -> Config {
        Config {
            program: "0".into(),
            network: "test".into(),
            data: self.path("data"),
            validation_share: DataOptions::default().validation_share,
            label_column: None,
            preprocess: Preprocess { size: (SIDE as u32, SIDE as u32), ..Preprocess::torchvision() },
            train_size: (SIDE as u32, SIDE as u32),
            dtype: Dtype::F32,
            licence: None,
            recipe,
            classes: self.data.classes.clone(),
            fingerprint: self.data.fingerprint.clone(),
            begun_from: None,
        }
    }

    /// A new run from `start`.
    fn begin(&self, name: &str, recipe: Recipe, start: Checkpoint) -> Trainer {
        let config = self.config(recipe);
        let folder = RunFolder::create(&self.path(name), &config, &network(), &start).unwrap();
        Trainer::new(folder, config, network(), self.data.clone(), start, threads(2)).unwrap()
    }

    /// A run as another process would find it.
    fn resume(&self, name: &str) -> Trainer {
        let (folder, config) = RunFolder::open(&self.path(name)).unwrap();
        let checkpoint = folder.latest(&network(), &mut Nobody).unwrap();
        Trainer::new(folder, config, network(), self.data.clone(), checkpoint, threads(1)).unwrap()
    }

    /// A run that has stopped in the middle of its second epoch, of three steps or so each.
    fn in_second_epoch(&self, name: &str, recipe: Recipe) -> Trainer {
        let mut trainer = self.begin(name, recipe, start());
        assert_eq!(run_to(&mut trainer, &mut Told::default(), (1, 1)).unwrap(), Outcome::Stopped);
        trainer
    }

    fn events(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(name).join("events.jsonl")).unwrap();
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["event"] == "diverged").collect()
    }

    fn models(&self, name: &str) -> [Vec<u8>; 2] {
        ["best", "last"].map(|model| fs::read(self.path(name).join(format!("{model}.safetensors"))).unwrap())
    }
}

/// A picture in the BMP format, of one shade at each pixel.
fn bmp(shade: impl Fn(usize) -> u8) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    for n in [54 + 3 * SIDE * SIDE, 0, 54, 40, SIDE, SIDE] {
        bytes.extend((n as u32).to_le_bytes());
    }
    bytes.extend([1, 0, 24, 0]);
    bytes.resize(54, 0);
    bytes.extend((0..SIDE * SIDE).flat_map(|p| [shade(p); 3]));
    bytes
}

fn threads(threads: usize) -> Resources {
    Resources { threads, memory: Footprint::default() }
}

fn network() -> Graph {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("first", x, Conv::new(8, 3));
    let x = b.batch_norm("norm", x);
    let x = b.unary("relu", x, Unary::Relu);
    let x = b.conv("second", x, Conv::new(8, 1));
    let x = b.batch_norm("last", x);
    let x = b.global_avg_pool("pool", x);
    let x = b.linear("classifier", x, 2);
    b.finish(x).unwrap()
}

fn start() -> Checkpoint {
    Checkpoint::start(&network(), 1)
}

/// Three steps an epoch.
fn recipe() -> Recipe {
    Recipe { epochs: 3, batch_size: 4, lr: 0.125, warmup_epochs: 0.0, ..Recipe::default() }
}

fn numbers<'a>(of: &'a mut Checkpoint, name: &str) -> &'a mut [f32] {
    let param = network().params().iter().position(|p| p.name == name).unwrap();
    of.weights.get_mut(param)
}

/// Runs until a step was taken after which the run stands at `place`, or to the end.
fn run_to(trainer: &mut Trainer, told: &mut Told, place: (u32, usize)) -> Result<Outcome, TrainError> {
    let now = Rc::clone(&told.place);
    trainer.run(told, &|| now.get() == place)
}

fn finish(trainer: &mut Trainer, told: &mut Told) -> Result<Outcome, TrainError> {
    trainer.run(told, &|| false)
}

/// The same, but the process that runs it is killed after the step: nothing more is written.
fn killed_at(mut trainer: Trainer, place: (u32, usize)) {
    let mut told = Told { killed_at: Some(place), ..Told::default() };
    let run = AssertUnwindSafe(|| finish(&mut trainer, &mut told));
    assert!(catch_unwind(run).is_err(), "it does not come to {place:?}");
}

fn are_finite(checkpoint: &Checkpoint) -> bool {
    let Checkpoint { weights, momentum, average, .. } = checkpoint;
    let lists = [weights.tensors(), average.tensors(), &momentum.momentum, &momentum.square];
    lists.into_iter().flatten().flatten().all(|x| x.is_finite())
}

#[test]
fn a_run_goes_back_from_what_is_not_finite_and_comes_to_its_end_at_half_the_rate() {
    let workshop = Workshop::new();
    let cases = [
        ("second.weight", f32::NAN, "forward", "second"),
        ("first.weight", 1e30, "statistics", "first"),
        ("last.weight", f32::INFINITY, "forward", "last"),
        ("norm.running_mean", f32::NAN, "statistics", "norm"),
        ("last.running_var", f32::INFINITY, "statistics", "last"),
        ("classifier.bias", f32::NEG_INFINITY, "forward", "classifier"),
    ];
    for (i, (param, number, phase, layer)) in cases.into_iter().enumerate() {
        let name = format!("run-{i}");
        let mut trainer = workshop.in_second_epoch(&name, recipe());
        numbers(&mut trainer.now, param).fill(number);
        let mut told = Told::default();
        assert_eq!(finish(&mut trainer, &mut told).unwrap(), Outcome::Finished);
        let [divergence] = &told.divergences[..] else { panic!("{param}: {:?}", told.divergences) };
        assert_eq!((&divergence.phase[..], &divergence.layer[..]), (phase, layer), "{param}");
        assert_eq!((divergence.epoch, divergence.step, divergence.next_lr), (2, 2, 0.0625));
        // The second batch of the second epoch.
        let mut batch = Batch::default();
        Batches::new(&trainer.source, (1, 1), recipe().mix, 1).next_into(&mut batch);
        let expected = batch.samples.iter().map(|&i| trainer.source.samples[i].path.to_string_lossy().into_owned());
        assert_eq!(divergence.files, expected.collect::<Vec<_>>());
        // The whole second epoch again, and the third.
        let rate = |step: usize| recipe().lr_at((step / 3) as f64 + ((step % 3) as f64 + 0.5) / 3.0) / 2.0;
        assert_eq!(told.rates, (3..9).map(rate).collect::<Vec<_>>(), "{param}");
        assert_eq!(divergence.lr, 2.0 * rate(4));
        assert!(are_finite(&trainer.now) && trainer.now.state.rollbacks == 1, "{param}");
        let [event] = &workshop.events(&name)[..] else { panic!("one event") };
        assert_eq!(
            (&event["layer"], &event["rollbacks"], &event["given_up"]),
            (&layer.into(), &1.into(), &false.into())
        );
        assert_eq!((&event["back_to"]["epoch"], &event["back_to"]["step"]), (&1.into(), &0.into()));
        assert_eq!(event["files"].as_array().unwrap().len(), 4);
    }
}

#[test]
fn where_a_part_is_frozen_the_layer_is_that_of_the_whole_network() {
    let workshop = Workshop::new();
    let recipe = Recipe { freeze: Some(Freeze::To("relu".into())), ..recipe() };
    for (i, (param, phase, layer)) in
        [("second.weight", "forward", "second"), ("last.running_mean", "statistics", "last")].into_iter().enumerate()
    {
        let mut trainer = workshop.in_second_epoch(&format!("run-{i}"), recipe.clone());
        numbers(&mut trainer.now, param).fill(f32::NAN);
        let mut told = Told::default();
        assert_eq!(finish(&mut trainer, &mut told).unwrap(), Outcome::Finished);
        let [divergence] = &told.divergences[..] else { panic!("{param}: {:?}", told.divergences) };
        assert_eq!((&divergence.phase[..], &divergence.layer[..]), (phase, layer));
        assert!(are_finite(&trainer.now));
        let frozen = network().params().iter().position(|p| p.name == "first.weight").unwrap();
        assert_eq!(trainer.now.weights.get(frozen), start().weights.get(frozen));
    }
}

#[test]
fn averaged_weights_that_cannot_be_judged_begin_the_epoch_again() {
    let workshop = Workshop::new();
    let mut trainer = workshop.in_second_epoch("run", recipe());
    let bias = network().params().iter().position(|p| p.name == "classifier.bias").unwrap();
    trainer.now.average.get_mut(bias).fill(f32::NAN);
    let mut told = Told::default();
    assert_eq!(finish(&mut trainer, &mut told).unwrap(), Outcome::Finished);
    assert_eq!(
        told.divergences.iter().map(|d| (d.epoch, d.step, &d.phase[..])).collect::<Vec<_>>(),
        [(2, 3, "validation")]
    );
    assert!(are_finite(&trainer.now) && trainer.now.state.history.iter().all(|epoch| epoch.val_loss.is_finite()));
}

#[test]
fn a_run_by_the_clock_goes_back_in_its_weights_and_not_in_time() {
    let workshop = Workshop::new();
    let mut trainer = workshop.in_second_epoch("run", Recipe { time_budget: Some(0.5), ..recipe() });
    numbers(&mut trainer.now, "norm.weight").fill(f32::NAN);
    let (mut told, spent) = (Told::default(), trainer.now.state.spent);
    assert_eq!(finish(&mut trainer, &mut told).unwrap(), Outcome::Finished);
    assert_eq!((told.divergences.len(), &told.divergences[0].layer[..]), (1, "norm"));
    assert!(are_finite(&trainer.now) && trainer.now.state.spent > spent && trainer.now.state.spent < 5.0);
}

#[test]
fn a_loss_that_never_becomes_finite_ends_the_run_and_leaves_it_whole() {
    let workshop = Workshop::new();
    let mut trainer = workshop.in_second_epoch("run", recipe());
    let source = Arc::get_mut(&mut trainer.source).unwrap();
    source.recipe.class_weights = Some(vec![f64::NAN, 1.0]);
    let mut told = Told::default();
    let error = finish(&mut trainer, &mut told).unwrap_err();
    let TrainError::Diverged { divergence, .. } = &error else { panic!("{error}") };
    assert_eq!((&divergence.phase[..], divergence.next_lr), ("loss", 0.125 / 16.0));
    let message = error.to_string();
    assert!(message.contains("epoch 2, step 1") && message.contains("--lr 7.8e-3"), "{message}");
    assert_eq!(told.divergences.iter().map(|d| d.next_lr).collect::<Vec<_>>(), [0.0625, 0.03125, 0.015625]);
    assert_eq!(workshop.events("run").last().unwrap()["given_up"], true);
    drop(trainer);
    // Nothing is left to be done, and the run says so.
    let mut trainer = workshop.resume("run");
    assert!(are_finite(&trainer.now) && (trainer.now.state.epoch, trainer.now.state.step) == (1, 0));
    let before = fs::read_dir(workshop.path("run/checkpoints")).unwrap().count();
    assert_eq!(finish(&mut trainer, &mut Told::default()).unwrap_err().to_string(), message);
    assert_eq!(fs::read_dir(workshop.path("run/checkpoints")).unwrap().count(), before);
}

/// A checkpoint in which no number shows it, but whose gradient is not finite on its way through `second`.
fn steep() -> Checkpoint {
    let mut start = start();
    for (name, number) in [("first.weight", 0.0), ("norm.bias", 1e-37), ("second.weight", 3e38)] {
        numbers(&mut start, name).fill(number);
    }
    let classifier = numbers(&mut start, "classifier.weight");
    classifier.iter_mut().enumerate().for_each(|(i, w)| *w = if i < 8 { 100.0 } else { -100.0 });
    start
}

#[test]
fn a_gradient_is_found_though_the_step_has_changed_parameters() {
    let accumulating = Recipe { grad_accum_steps: 2, batch_size: 3, ..recipe() };
    let clipped = Recipe { clip_grad: Some(1.0), ..recipe() };
    let [adamw, muon] = [Optimizer::AdamW, Optimizer::Muon].map(|optimizer| Recipe { optimizer, ..recipe() });
    for (i, recipe) in [recipe(), accumulating, clipped, adamw, muon].into_iter().enumerate() {
        let (workshop, name) = (Workshop::new(), format!("run-{i}"));
        let mut trainer = workshop.begin(&name, recipe, steep());
        let error = finish(&mut trainer, &mut Told::default()).unwrap_err();
        let TrainError::Diverged { divergence, .. } = &error else { panic!("{error}") };
        assert_eq!((&divergence.phase[..], &divergence.layer[..]), ("gradient", "second"), "{i}");
        assert_eq!(workshop.events(&name).len(), 4);
        assert_eq!(divergence.files.len(), trainer.source.batch_size());
        assert!(trainer.now.weights == steep().weights);
    }
}

/// A checkpoint with a weight that nothing depends on, for its input is zero, but which weight decay makes larger with every step
/// until, in the second epoch, it is not finite; at half the rate it becomes smaller before.
fn growing() -> (Checkpoint, Recipe) {
    let mut start = start();
    for (name, number) in [("norm.weight", 0.0), ("norm.bias", -1.0), ("second.weight", 1e35)] {
        numbers(&mut start, name).fill(number);
    }
    (start, Recipe { epochs: 5, weight_decay: 40.0, momentum: 0.0, ..recipe() })
}

/// The same where the classifier alone learns: what it reads is zero.
fn growing_classifier() -> (Checkpoint, Recipe) {
    let (_, recipe) = growing();
    let mut start = start();
    for (name, number) in [("last.weight", 0.0), ("last.bias", 0.0), ("classifier.weight", 1e35)] {
        numbers(&mut start, name).fill(number);
    }
    (start, recipe.for_features())
}

/// The first step that is not finite, and where, found by keeping a copy of everything before each.
fn found_with_copies(mut trainer: Trainer) -> Option<(u32, usize, Diagnosis)> {
    let steps = trainer.source.steps();
    for _ in 0..trainer.config.recipe.epochs {
        let (mut batches, mut again) = (trainer.batches_left(), trainer.batches_left());
        for step in 0..steps {
            let (mut before, lr) = (trainer.now.clone(), trainer.lr());
            let mut batch = Batch::default();
            let spoilt = trainer.take_step(&mut batches, &mut batch, lr, None).unwrap();
            for _ in 0..trainer.source.batches_of(step) {
                again.next_into(&mut batch);
                let found = trainer.learner.diagnose(&mut before.weights, &batch).unwrap();
                if let (Some(found), true) = (found, spoilt.is_some()) {
                    return Some((before.state.epoch, step, found));
                }
            }
            if let Some(spoilt) = spoilt {
                return Some((before.state.epoch, step, trainer.learner.at_once(spoilt.symptom)));
            }
        }
        trainer.now.state.epoch += 1;
        trainer.now.state.step = 0;
    }
    None
}

#[test]
fn a_diagnosis_is_that_of_the_very_step() {
    let workshop = Workshop::new();
    let recipes = [
        recipe(),
        Recipe { grad_accum_steps: 2, ..recipe() },
        Recipe { clip_grad: Some(1.0), ..recipe() },
        Recipe { drop: 0.3, momentum: 0.0, ..recipe() },
        Recipe { weight_decay: 1e6, momentum: 0.0, ..recipe() },
        Recipe { optimizer: Optimizer::AdamW, weight_decay: 0.0, ..recipe() },
        Recipe { optimizer: Optimizer::Muon, weight_decay: 0.0, ..recipe() },
    ];
    let mut phases = BTreeSet::new();
    for (i, recipe) in recipes.into_iter().enumerate() {
        for lr in [1e3, 1e14, 1e20, 3e32, 1e33, 1e38, 1e39] {
            let recipe = Recipe { lr, ..recipe.clone() };
            let expected = found_with_copies(workshop.begin(&format!("copies-{i}-{lr}"), recipe.clone(), start()));
            let mut told = Told::default();
            let _ = finish(&mut workshop.begin(&format!("run-{i}-{lr}"), recipe, start()), &mut told);
            let steps = told.divergences.iter().filter(|d| d.phase != "validation");
            let (Some((epoch, step, found)), Some(got)) = (expected, steps.into_iter().next()) else { continue };
            // A validation may have sent it back before.
            if told.divergences[0] == *got {
                let got = (got.epoch - 1, got.step - 1, &got.phase[..], &got.layer[..]);
                assert_eq!(got, (epoch, step, &found.phase.to_string()[..], &found.layer[..]), "{i}, {lr:e}");
                phases.insert((found.phase.to_string(), step > 0));
            }
        }
    }
    let (growing, recipe) = growing();
    let expected = found_with_copies(workshop.begin("copies", recipe.clone(), growing.clone())).unwrap();
    let mut told = Told::default();
    finish(&mut workshop.begin("run", recipe, growing), &mut told).unwrap();
    let got = &told.divergences[0];
    assert_eq!((got.epoch, got.step, &got.phase[..], &got.layer[..]), (2, 2, "gradient", "second"));
    assert_eq!(told.repeated, Some(1));
    assert_eq!(expected, (1, 1, Diagnosis { phase: Phase::Gradient, layer: "second".into() }));
    let seen = ["forward", "statistics"].map(|phase| (phase.to_owned(), true));
    assert!(seen.iter().all(|s| phases.contains(s)) && phases.contains(&("update".into(), false)), "{phases:?}");
}

/// Wherever it is killed, and wherever it is stopped so that a checkpoint lies in the middle of an epoch. Where the classifier alone
/// learns, ends of epochs are not written in so short a time, but where a run is stopped they are.
#[test]
fn a_run_that_goes_back_and_is_killed_ends_as_one_that_is_not() {
    let (start, recipe) = growing();
    let accumulating = Recipe { grad_accum_steps: 2, batch_size: 2, ..recipe.clone() };
    for (start, recipe) in [(start.clone(), recipe), (start, accumulating), growing_classifier()] {
        let start = || start.clone();
        let workshop = Workshop::new();
        let mut told = Told::default();
        let mut whole = workshop.begin("whole", recipe.clone(), start());
        finish(&mut whole, &mut told).unwrap();
        assert!(told.divergences.iter().any(|d| d.epoch == 2 && d.step > 1), "{:?}", told.divergences);
        let (steps, expected) = (whole.source.steps(), workshop.models("whole"));
        let ends_alike = |name: &str| {
            let mut told = Told::default();
            finish(&mut workshop.resume(name), &mut told).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(workshop.models(name) == expected, "{name} ended otherwise");
        };
        // Before, within and after the epoch that is done again.
        for place in (0..3).flat_map(|epoch| (1..=steps).map(move |step| (epoch, step))) {
            let names = [format!("killed-{place:?}"), format!("stopped-{place:?}")];
            killed_at(workshop.begin(&names[0], recipe.clone(), start()), place);
            let mut trainer = workshop.begin(&names[1], recipe.clone(), start());
            assert_eq!(run_to(&mut trainer, &mut Told::default(), place).unwrap(), Outcome::Stopped);
            drop(trainer);
            names.iter().for_each(|name| ends_alike(name));
        }
        for rollback in 1..=told.divergences.len() {
            let name = format!("killed-going-back-{rollback}");
            let mut told = Told { killed_going_back: rollback, ..Told::default() };
            let mut trainer = workshop.begin(&name, recipe.clone(), start());
            let run = AssertUnwindSafe(|| finish(&mut trainer, &mut told));
            assert!(catch_unwind(run).is_err());
            drop(trainer);
            ends_alike(&name);
        }
    }
}

/// Of six batches the last step takes two, and the run stops behind it, before the epoch is judged.
#[test]
fn a_run_that_is_stopped_behind_a_short_step_goes_on() {
    let (workshop, recipe) = (Workshop::new(), Recipe { grad_accum_steps: 4, batch_size: 2, ..recipe() });
    let mut whole = workshop.begin("whole", recipe.clone(), start());
    finish(&mut whole, &mut Told::default()).unwrap();
    assert_eq!(whole.source.steps(), 2);
    let mut trainer = workshop.begin("stopped", recipe, start());
    assert_eq!(run_to(&mut trainer, &mut Told::default(), (1, 2)).unwrap(), Outcome::Stopped);
    drop(trainer);
    finish(&mut workshop.resume("stopped"), &mut Told::default()).unwrap();
    assert!(workshop.models("stopped") == workshop.models("whole"));
}
