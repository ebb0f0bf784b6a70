//! Judges networks by files of reference values from PyTorch.
//!
//!     cargo run --release --example golden -- [--oracle] FILE...
//!
//! runs the optimised plan, or with `--oracle` the interpreter in double precision, says which kernels ran, prints the worst
//! deviation of every part, and exits with 1 on a miss, with 2 if a file cannot be read or run.

mod file;
mod judge;
mod runs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use file::Golden;
use judge::{Rule, Verdict, judge};
use runs::Setting;

fn main() -> ExitCode {
    let (flags, files): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| a.starts_with("--"));
    if files.is_empty() || flags.iter().any(|f| f != "--oracle") {
        eprintln!("usage: golden [--oracle] FILE...");
        return ExitCode::from(2);
    }
    let rule = if flags.is_empty() { Rule::Plan } else { Rule::Exact };
    let mut worst = 0;
    for path in files.iter().map(PathBuf::from) {
        worst = worst.max(match run(&path, rule) {
            Ok(true) => 0,
            Ok(false) => 1,
            Err(why) => {
                eprintln!("{why}");
                2
            }
        });
    }
    ExitCode::from(worst)
}

/// Whether everything in a file holds.
fn run(path: &Path, rule: Rule) -> Result<bool, String> {
    let golden = Golden::read(path)?;
    let at = |why: String| format!("{}: {why}", path.display());
    let setting = Setting::of(&golden).map_err(at)?;
    let outcome = if rule == Rule::Exact { setting.oracle(&golden) } else { setting.plan(&golden) }.map_err(at)?;
    let purpose = if golden.trains() { "training" } else { "inference" };
    println!("{}: {} {:?}, {purpose}", path.display(), golden.network, golden.input);
    for (kernel, times) in count(&outcome.kernels) {
        println!("    {times:>4} x {kernel}");
    }
    match judge(&golden, &setting, &outcome, rule) {
        Ok(verdicts) => {
            verdicts.iter().for_each(print);
            Ok(verdicts.iter().all(Verdict::holds))
        }
        Err(why) => {
            println!("  MISS {why}");
            Ok(false)
        }
    }
}

fn print(v: &Verdict) {
    let mark = if v.holds() { "ok" } else { "MISS" };
    println!("  {mark:<4} {:<16} {:.1e} of {:.1e}  {}", v.part, v.deviation, v.allowed, v.tensor);
}

fn count(kernels: &[String]) -> BTreeMap<&str, usize> {
    let mut times = BTreeMap::new();
    kernels.iter().for_each(|k| *times.entry(k.as_str()).or_default() += 1);
    times
}
