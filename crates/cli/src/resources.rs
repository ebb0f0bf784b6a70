//! Flags for what a run takes of the machine, alike wherever runs begin or go on.

use clap::ValueEnum;
use cspnet::engine::default_threads;
use cspnet_data::DataOptions;
use cspnet_train::{Footprint, Resources};

use crate::numbers::bytes;

/// What a run takes of the machine; the result does not depend on it.
#[derive(Debug, clap::Args)]
pub struct ResourceArgs {
    /// Threads that compute, and as many that read photos; by default as many as this process may really use. The result does
    /// not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,

    /// How much memory a step may take. The result does not depend on it
    #[arg(long, value_enum, default_value_t = Memory::Fast)]
    memory: Memory,

    /// Bytes of encoded photos of Parquet files that may be held in memory, like 8G
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_packed: Option<u64>,
}

/// How much memory a step of training may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Memory {
    /// As much as makes it fast
    Fast,
    /// Less, for some more time: what normalisations and activations give is computed again for the backward pass
    Low,
}

impl ResourceArgs {
    /// How photos are read with them.
    pub fn data_options(&self) -> DataOptions {
        let usual = DataOptions::default();
        DataOptions { threads: self.threads(), max_packed: self.max_packed.unwrap_or(usual.max_packed), ..usual }
    }

    fn threads(&self) -> usize {
        self.threads.map_or_else(default_threads, |n| n as usize)
    }

    /// What they say.
    pub fn resources(&self) -> Resources {
        Resources { threads: self.threads(), memory: self.memory.into() }
    }
}

impl From<Memory> for Footprint {
    fn from(memory: Memory) -> Self {
        match memory {
            Memory::Fast => Self::Fast,
            Memory::Low => Self::Low,
        }
    }
}
