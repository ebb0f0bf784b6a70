//! What the built program takes of the machine's memory.
#![cfg(target_os = "linux")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use common::{cspnet, project, run, text};

/// Bytes of memory that may be needed beside the weights: the program itself, the values between layers, pieces of weights on
/// their way.
const BESIDE: f64 = 64e6;

/// The most memory that `cspnet predict` has taken when the first photo is answered, in bytes.
fn peak(model: &str, flags: &[&str]) -> f64 {
    let arguments = [&["predict", "--batch", "1", "--model", model], flags, &["-"]].concat();
    let mut child =
        cspnet(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut list = child.stdin.take().unwrap();
    writeln!(list, "{}", project("examples/photos/chelsea.jpg").display()).unwrap();
    let mut answer = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut answer).unwrap();
    assert!(answer.contains("\"classes\""), "{answer}");
    // It waits for the next photo.
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    drop(list);
    child.wait().unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    1024.0 * peak.trim().strip_suffix(" kB").unwrap().parse::<f64>().unwrap()
}

#[test]
fn weights_are_in_memory_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.safetensors");
    let model = path.to_str().unwrap();
    // Its stages are 3x3 convolutions, whose weights would be four times as large at the points of Winograd's method.
    let written = run(&["new", "cspdarknet53", "-o", model]);
    assert!(written.status.success(), "{}", text(&written.stderr));
    let weights = std::fs::metadata(&path).unwrap().len() as f64;
    let (lean, fast) = (peak(model, &["--low-memory"]), peak(model, &[]));
    for peak in [lean, fast] {
        assert!(peak < 1.3 * weights + BESIDE, "{peak} bytes for {weights} of weights");
    }
}
