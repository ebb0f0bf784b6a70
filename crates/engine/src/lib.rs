//! Runs and trains a network on the CPU.
//!
//! A [`Graph`](cspnet_graph::Graph) and its weights become a [`Plan`] for pictures of one size: immutable, shared by any
//! number of callers, each of whom brings a [`Workspace`]. A graph that ends in a loss becomes a [`TrainPlan`]. Both lay
//! values out so that concatenating and splitting channels moves no float, and both are judged by [`mod@reference`], a naive
//! interpreter of the same graph. Not here: kernels (`cspnet-kernels`), file formats, schedules of training.
#![forbid(unsafe_code)]

mod error;
mod import;
mod input;
mod layout;
mod lower;
mod plan;
pub mod reference;
mod report;
mod rewrites;
mod storage;
mod threads;
mod train;
mod translate;
mod views;

pub use cspnet_kernels::{Isa, TileUnit};
pub use cspnet_kernels::{cpu, probe};
pub use error::{PlanError, RunError};
pub use input::Input;
pub use plan::{Algorithm, Choices, NoAlgorithm, Plan, PlanInput, PlanOptions, Workspace};
pub use report::{Pass, Report, StepReport};
pub use rewrites::{Rewrite, Rewrites, Saving};
pub use threads::default_threads;
pub use train::{
    AdamW, Diagnosis, Phase, Stepped, Symptom, TrainOptions, TrainPlan, TrainWorkspace, UpdateRule, UpdateState,
};
