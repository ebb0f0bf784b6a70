//! What is left of a run, to compare runs by.

use std::fs;
use std::path::Path;

/// As far as it must not depend on how the run went.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub last: Vec<u8>,
    pub best: Vec<u8>,
    /// `metrics.csv` without times: a heading, and a line for each epoch.
    pub metrics: Vec<String>,
}

impl Outcome {
    pub fn of(run: &Path) -> Self {
        let read = |name: &str| fs::read(run.join(name)).unwrap();
        let metrics = String::from_utf8(read("metrics.csv")).unwrap();
        let untimed = |line: &str| line.split(',').take(7).collect::<Vec<_>>().join(",");
        Self {
            last: read("last.safetensors"),
            best: read("best.safetensors"),
            metrics: metrics.lines().map(untimed).collect(),
        }
    }
}
