//! Trains a network on photos in class folders, so that a run that was stopped at any moment ends as if it never had been.
//!
//! A [`Recipe`] says how; a [`RunFolder`] holds what a run writes; [`Trainer`] is the loop. What it does is told to an
//! [`Observer`] as it happens. Everything a step depends on is in the [`State`] and in the numbers a checkpoint holds beside it:
//! weights, momentum, averaged weights. Randomness is none of it, for draws are pure functions of seed, epoch and sample
//! (`cspnet-data`).
//!
//! Not here: kernels and the arithmetic of an update (`cspnet-engine`), decoding (`cspnet-vision`), terminals.
#![forbid(unsafe_code)]

mod balance;
mod batches;
mod checkpoint;
mod config;
mod divergence;
mod drops;
mod error;
mod evaluate;
mod features;
mod find_lr;
mod frozen;
mod learner;
mod observer;
mod recipe;
mod resources;
mod run_folder;
mod start;
mod state;
mod trainer;
mod whiten;

pub use balance::balanced_weights;
pub use checkpoint::Checkpoint;
pub use config::{Config, Origin};
pub use divergence::Divergence;
pub use error::TrainError;
pub use evaluate::Validation;
pub use find_lr::{find_lr, plot, suggested_lr};
pub use frozen::check_for;
pub use observer::{Observer, Probe, Step};
pub use recipe::{Freeze, Optimizer, Recipe};
pub use resources::{Footprint, Resources, tile_unit};
pub use run_folder::RunFolder;
pub use start::{Loaded, start_from};
pub use state::{Best, Epoch, State};
pub use trainer::{Outcome, Trainer};
pub use whiten::whitened;
