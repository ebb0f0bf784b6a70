//! Where the time goes: every step of a plan with its kernel and its share.

use std::collections::HashMap;
use std::time::Duration;

use cspnet::engine::{Pass, StepReport};
use cspnet::graph::Shape;
use cspnet::graph::analysis::Count;
use serde::Serialize;

/// A step of the plan, as measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// What it is for.
    pub pass: &'static str,
    /// Paths of the nodes that it computes together.
    pub nodes: Vec<String>,
    pub kernel: String,
    /// Of its answer for one picture.
    pub shape: Shape,
    /// Median of the runs.
    pub ms: f64,
    /// Of all steps' time.
    pub share: f64,
    /// Of convolutions and fully connected layers, two for every multiply-add as they are defined, whatever the kernel does; what a
    /// rewrite has merged into another layer does not count.
    pub gflop_per_s: Option<f64>,
}

/// The steps of a plan with their times in several runs of a batch.
pub fn layers(steps: &[StepReport], count: &Count, batch: usize, runs: &[Vec<Duration>]) -> Vec<Layer> {
    let of = Macs::of(count);
    let ms: Vec<f64> = (0..steps.len()).map(|step| median_ms(runs, step)).collect();
    let all: f64 = ms.iter().sum();
    let layer = |(step, &ms): (&StepReport, &f64)| {
        let macs = of.step(step);
        let gflops = 2.0 * (batch as u64 * macs) as f64 / 1e9;
        Layer {
            pass: step.pass.name(),
            nodes: step.nodes.clone(),
            kernel: step.kernel.clone(),
            shape: step.shape,
            ms,
            share: ms / all,
            gflop_per_s: (macs > 0).then_some(1e3 * gflops / ms),
        }
    };
    steps.iter().zip(&ms).map(layer).collect()
}

/// Multiply-adds of all steps for one picture, as they are defined: of the network forward, and of convolutions backward.
pub fn macs(steps: &[StepReport], count: &Count) -> u64 {
    let of = Macs::of(count);
    let backward = steps.iter().filter(|s| s.pass != Pass::Forward).map(|s| of.step(s)).sum::<u64>();
    count.macs() + backward
}

/// Multiply-adds of every layer for one picture.
struct Macs<'a>(HashMap<&'a str, u64>);

impl<'a> Macs<'a> {
    fn of(count: &'a Count) -> Self {
        Self(count.layers.iter().map(|l| (l.path.as_str(), l.macs)).collect())
    }

    /// Of a step: those of the layers it computes together, or of one of the two products backward.
    fn step(&self, step: &StepReport) -> u64 {
        match step.pass {
            Pass::Statistics | Pass::Backward => 0,
            Pass::Forward | Pass::BackwardData | Pass::BackwardWeight => {
                step.nodes.iter().filter_map(|n| self.0.get(n.as_str())).sum()
            }
        }
    }
}

fn median_ms(runs: &[Vec<Duration>], step: usize) -> f64 {
    let mut times: Vec<Duration> = runs.iter().map(|run| run[step]).collect();
    times.sort_unstable();
    times[times.len() / 2].as_nanos() as f64 / 1e6
}
