//! `cspnet models`: which networks are there?

use std::io::{self, Write};
use std::process::ExitCode;

use cspnet::graph::analysis::Count;
use cspnet::zoo::{self, Entry};
use serde::Serialize;

use crate::failure::Failure;
use crate::table;

/// List the networks, with what can be chosen of each.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only names that match, such as 'csp*'
    #[arg(value_name = "GLOB", default_value = "*")]
    pattern: String,

    /// One JSON object a line instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed {
    name: &'static str,
    family: &'static str,
    about: &'static str,
    size: usize,
    params: usize,
    macs: u64,
    knobs: Vec<ListedKnob>,
}

#[derive(Serialize)]
struct ListedKnob {
    name: &'static str,
    default: &'static str,
    about: &'static str,
}

impl Listed {
    fn of(entry: &Entry) -> Result<Self, Failure> {
        let graph = zoo::build(entry.name)?;
        let size = entry.input.size;
        let count = Count::of(&graph, [graph.input_channels(), size, size])?;
        let knob = |k: &zoo::Knob| ListedKnob { name: k.name, default: k.default, about: k.about };
        Ok(Self {
            name: entry.name,
            family: entry.family,
            about: entry.about,
            size,
            params: count.params(),
            macs: count.macs(),
            knobs: entry.knobs.iter().map(knob).collect(),
        })
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let pattern = glob::Pattern::new(&args.pattern)
        .map_err(|e| Failure::Message(format!("`{}` is no pattern: {e}", args.pattern)))?;
    let entries: Vec<&Entry> = zoo::models().iter().filter(|e| pattern.matches(e.name)).collect();
    if entries.is_empty() {
        return Err(Failure::Message(format!("no network's name matches `{}`; try '*'", args.pattern)));
    }
    let listed = entries.into_iter().map(Listed::of).collect::<Result<Vec<_>, _>>()?;
    let mut out = io::stdout().lock();
    if args.json {
        for l in &listed {
            serde_json::to_writer(&mut out, l)?;
            writeln!(out)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table::plain(&["network", "parameters", "GMACs", "at", "what it is"], &[1, 2, 3]);
    for l in &listed {
        let params = format!("{:.2} M", l.params as f64 / 1e6);
        table.add_row([
            l.name.into(),
            params,
            format!("{:.3}", l.macs as f64 / 1e9),
            l.size.to_string(),
            l.about.into(),
        ]);
    }
    writeln!(out, "{table}\n\nA network takes knobs, as in NAME:knob=value,knob=value")?;
    for l in listed {
        let knobs: Vec<String> = l.knobs.iter().map(|k| format!("{}={}", k.name, k.default)).collect();
        writeln!(out, "  {}:{}", l.name, knobs.join(","))?;
    }
    Ok(ExitCode::SUCCESS)
}
