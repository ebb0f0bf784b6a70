//! The `cspnet` program: what was typed becomes calls of the library, and answers become lines of a terminal, JSON or CSV.
//!
//! One file a verb. Not here: arithmetic and file formats.
#![forbid(unsafe_code)]

mod bench;
mod class_weights;
mod embedded;
mod eval;
mod export;
mod failure;
mod fine_tuning;
mod import;
mod inspect;
mod making;
mod models;
mod new;
mod numbers;
mod photos;
mod planning;
mod predict;
mod prepare;
mod progress;
mod records;
mod resources;
mod resume;
mod rewrites;
mod run;
mod running;
mod source;
mod table;
mod train;
mod tta;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Recognise what is on photos with dense and cross-stage-partial networks, on an ordinary CPU.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed; 2 wrong use of the command line; 3 some of the photos could not be
read; 4 an exported file does not answer as the network, and was not kept; 5 training diverged;
130, 143 stopped by a signal, a run with a checkpoint written.

Try: cspnet predict examples/photos";

#[derive(Debug, Subcommand)]
enum Verb {
    Predict(predict::Args),
    Run(run::Args),
    Eval(eval::Args),
    Inspect(inspect::Args),
    Models(models::Args),
    New(new::Args),
    Import(import::Args),
    Export(export::Args),
    Bench(bench::Args),
    // Its flags are many, and this is one value.
    Train(Box<train::Args>),
    Resume(resume::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Predict(args) => predict::run(&args),
        Verb::Run(args) => run::run(&args),
        Verb::Eval(args) => eval::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Models(args) => models::run(&args),
        Verb::New(args) => new::run(&args),
        Verb::Import(args) => import::run(&args),
        Verb::Export(args) => export::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Train(args) => train::run(&args),
        Verb::Resume(args) => resume::run(&args),
    };
    done.unwrap_or_else(Failure::report)
}
