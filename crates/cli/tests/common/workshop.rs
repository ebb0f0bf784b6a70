//! Runs of the program to compare, and photos to learn from.
#![allow(dead_code, reason = "each test binary compiles this module and uses a part of it")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::common::{cspnet, text};
use crate::killing::{CHECKPOINTS, kill_at};
use crate::outcome::Outcome;
use crate::stripes::striped;

/// Splits, their photos of each class, and the number of the first.
pub const PHOTOS: [(&str, usize, usize); 2] = [("train", 12, 0), ("validation", 4, 12)];
pub const EPOCHS: u32 = 4;

/// A folder with photos of two classes, striped along and across, and with runs.
pub struct Workshop(TempDir);

impl Workshop {
    pub fn new() -> Self {
        let workshop = Self(tempfile::tempdir().unwrap());
        for (split, photos, first) in PHOTOS {
            for (class, along) in [("along", true), ("across", false)] {
                for i in 0..photos {
                    workshop.write(&format!("data/{split}/{class}/{i}.bmp"), &striped(along, first + i));
                }
            }
        }
        workshop
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The command that begins a run.
    pub fn train(&self, name: &str) -> Command {
        self.train_for(name, EPOCHS)
    }

    pub fn train_for(&self, name: &str, epochs: u32) -> Command {
        let mut command = cspnet(&[]);
        command.args(["train", "--network", "densenet_bc:depth=10,growth=4", "--size", "16", "--batch-size", "5"]);
        command.args(["--epochs", &epochs.to_string(), "--threads", "2", "--seed", "3", "--out"]);
        command.arg(self.path(name)).arg(self.path("data"));
        command
    }

    /// A run with these flags that is killed at a point of writing checkpoints, of which each has six, and then brought to its end
    /// by other threads.
    pub fn interrupted(&self, name: &str, flags: &str, point: u32) -> Outcome {
        kill_at(self.train(name).args(flags.split(' ')), CHECKPOINTS, point);
        let output = self.resume(name).args(["--threads", "3", "--memory", "low"]).output().unwrap();
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        self.outcome(name)
    }

    pub fn resume(&self, name: &str) -> Command {
        let mut command = cspnet(&["resume"]);
        command.arg(self.path(name));
        command
    }

    /// Brings a run to its end, wherever it stands, and says what came of it.
    pub fn finish(&self, name: &str) -> Outcome {
        let mut command = if self.path(name).exists() { self.resume(name) } else { self.train(name) };
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        self.outcome(name)
    }
    /// What came of a run that has taken all its epochs.
    pub fn outcome(&self, name: &str) -> Outcome {
        let outcome = Outcome::of(&self.path(name));
        assert_eq!(outcome.metrics.len() as u32, 1 + EPOCHS);
        outcome
    }
}
