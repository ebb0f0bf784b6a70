//! Choices of the command line in how a network is computed, which several verbs share.

use std::io::{self, Write};

use cspnet::engine::PlanOptions;
use cspnet::formats::text::shown;
use cspnet::{ModelOptions, TuneCache};

/// How a network is computed.
#[derive(Debug, clap::Args)]
pub struct Planning {
    /// Do without scratch memory for transforms: slower, and some megabytes less a thread
    #[arg(long)]
    low_memory: bool,

    /// Measure which algorithm is fastest for each layer, unless that is known from an earlier time: it takes seconds, and is
    /// kept in the user's cache folder
    #[arg(long, conflicts_with = "low_memory")]
    tune: bool,
}

impl Planning {
    /// As the library has it.
    pub fn options(&self) -> ModelOptions {
        let plan = PlanOptions { low_memory: self.low_memory, ..PlanOptions::default() };
        ModelOptions { plan, tune: self.tune.then(|| TuneCache::of_user(tell)) }
    }
}

/// Tells people what went wrong though the work goes on; if nobody can be told, it goes on all the same.
fn tell(what: &str) {
    let _ = writeln!(io::stderr(), "cspnet: {}", shown(what));
}
