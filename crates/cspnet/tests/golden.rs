//! Every network with reference values from PyTorch: the interpreter in double precision and the optimised plan.

#[path = "../../../examples/golden/file.rs"]
mod file;
#[path = "../../../examples/golden/judge.rs"]
mod judge;
#[path = "../../../examples/golden/runs.rs"]
mod runs;

use std::path::PathBuf;

use file::Golden;
use judge::{Rule, Verdict, judge};
use runs::Setting;

fn files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "json"));
    files.sort();
    assert!(files.len() >= 24, "the reference values are part of the project");
    files
}

fn check(rule: Rule) {
    for path in files() {
        let golden = Golden::read(&path).unwrap();
        let setting = Setting::of(&golden).unwrap();
        let outcome = if rule == Rule::Exact { setting.oracle(&golden) } else { setting.plan(&golden) }.unwrap();
        assert!(!outcome.kernels.is_empty());
        let verdicts = judge(&golden, &setting, &outcome, rule).unwrap();
        if let Some(Verdict { part, tensor, deviation, allowed }) = verdicts.iter().find(|v| !v.holds()) {
            panic!("{}: {part} {tensor}: {deviation:.1e} of {allowed:.1e}", path.display());
        }
    }
}

#[test]
fn the_interpreter_agrees_with_pytorch_in_every_figure() {
    check(Rule::Exact);
}

#[test]
fn the_optimised_plan_agrees_with_pytorch_as_far_as_rounding_allows() {
    check(Rule::Plan);
}
