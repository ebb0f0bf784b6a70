//! The rewrites of a plan, as users name them and as they are told.
//!
//! Not here: what each does (`cspnet::engine::Rewrite`).

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use cspnet::engine::{Report, Rewrite};
use serde::Serialize;

use crate::numbers::grouped;
use crate::table;

/// A rewrite by its name.
pub fn parser() -> impl TypedValueParser<Value = Rewrite> {
    let names = Rewrite::ALL.map(|r| PossibleValue::new(r.name()).help(r.about()));
    PossibleValuesParser::new(names).map(|name| {
        let named = Rewrite::ALL.into_iter().find(|r| r.name() == name);
        named.expect("the parser takes the names of rewrites only")
    })
}

/// What a rewrite has saved for one picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Saved {
    pub rewrite: &'static str,
    /// Places in the network.
    pub times: usize,
    /// Multiply-adds.
    pub macs: u64,
    /// Read and written.
    pub bytes: u64,
}

/// Every rewrite that a plan has applied.
pub fn saved(report: &Report) -> Vec<Saved> {
    let saved =
        |s: &cspnet::engine::Saving| Saved { rewrite: s.rewrite.name(), times: s.times, macs: s.macs, bytes: s.bytes };
    report.rewrites.iter().map(saved).collect()
}

/// The same for people.
pub fn told(rewrites: &[Saved]) -> comfy_table::Table {
    let mut table = table::plain(&["rewrite", "times", "MACs saved", "bytes saved"], &[1, 2, 3]);
    for saved in rewrites {
        table.add_row([saved.rewrite.into(), saved.times.to_string(), grouped(saved.macs), grouped(saved.bytes)]);
    }
    table
}
