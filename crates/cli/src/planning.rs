//! Choices of the command line in how a network is computed, which several verbs share.

use cspnet::engine::PlanOptions;

/// How a network is computed.
#[derive(Debug, clap::Args)]
pub struct Planning {
    /// Keep no weights in a larger form than the model's own: slower, with about a third of the memory
    #[arg(long)]
    low_memory: bool,
}

impl Planning {
    /// The plan's options.
    pub fn options(&self) -> PlanOptions {
        PlanOptions { low_memory: self.low_memory, ..PlanOptions::default() }
    }
}
