//! Runs into which numbers that are not finite are put from outside, in every part of a step.

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::rc::Rc;

use cspnet_data::{DataOptions, DataSet};
use cspnet_formats::Dtype;
use cspnet_graph::{Builder, Conv, Graph, Unary};
use cspnet_vision::Preprocess;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::observer::Step;
use crate::recipe::Recipe;
use crate::run_folder::RunFolder;
use crate::trainer::Outcome;

const SIDE: usize = 8;

/// Keeps what it is told.
#[derive(Default)]
struct Told {
    divergences: Vec<Divergence>,
    rates: Vec<f64>,
    /// Where the run stands.
    place: Rc<Cell<(u32, usize)>>,
    /// Where the process ends without a word.
    killed_at: Option<(u32, usize)>,
}

impl Observer for Told {
    fn step(&mut self, step: &Step<'_>) {
        self.rates.push(step.lr);
        self.place.set((step.state.epoch, step.state.step));
        if self.killed_at == Some(self.place.get()) {
            resume_unwind(Box::new(()));
        }
    }

    fn rolled_back(&mut self, divergence: &Divergence, state: &State) {
        assert_eq!(state.step, 0);
        self.divergences.push(divergence.clone());
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
            preprocess: Preprocess { size: (SIDE as u32, SIDE as u32), ..Preprocess::torchvision() },
            train_size: (SIDE as u32, SIDE as u32),
            dtype: Dtype::F32,
            licence: None,
            recipe,
            classes: self.data.classes.clone(),
            fingerprint: self.data.fingerprint.clone(),
        }
    }

    /// A new run from `start`.
    fn begin(&self, name: &str, recipe: Recipe, start: Checkpoint) -> Trainer {
        let config = self.config(recipe);
        let folder = RunFolder::create(&self.path(name), &config, &network(), &start).unwrap();
        Trainer::new(folder, config, network(), self.data.clone(), start, 2).unwrap()
    }

    /// A run as another process would find it.
    fn resume(&self, name: &str) -> Trainer {
        let (folder, config) = RunFolder::open(&self.path(name)).unwrap();
        let checkpoint = folder.latest(&network(), &mut Nobody).unwrap();
        Trainer::new(folder, config, network(), self.data.clone(), checkpoint, 1).unwrap()
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

#[test]
fn scan() {
    for wd in [0.0005, 1.0, 100.0, 1e4] {
        for exp in -3..80 {
            let lr = 10_f64.powf(exp as f64 / 2.0);
            let workshop = Workshop::new();
            let mut trainer = workshop.begin("run", Recipe { lr, weight_decay: wd, ..recipe() }, start());
            let mut told = Told::default();
            let result = finish(&mut trainer, &mut told);
            let list: Vec<_> =
                told.divergences.iter().map(|d| format!("{}.{} {} {}", d.epoch, d.step, d.phase, d.layer)).collect();
            println!("{wd} {lr:.1e} {} {:?}", result.is_ok(), list);
        }
    }
}
