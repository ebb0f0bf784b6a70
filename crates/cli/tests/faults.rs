//! `cspnet train` on a disk that fails: it ends and says why, and the run goes on as if nothing had been once the disk works again.
#![cfg(target_os = "linux")]

mod common;
#[path = "common/killing.rs"]
mod killing;
#[path = "common/outcome.rs"]
mod outcome;
#[path = "common/stripes.rs"]
mod stripes;
#[path = "common/workshop.rs"]
mod workshop;

use std::fs;
use std::io::{BufRead, BufReader, Error};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::text;
use killing::{CHECKPOINTS, failing_at};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use workshop::Workshop;

/// A disk that is full, read-only, closed to us or broken; more than one is allowed to have; a server that has forgotten the file.
const FAULTS: [Errno; 6] = [Errno::NOSPC, Errno::ROFS, Errno::ACCESS, Errno::IO, Errno::DQUOT, Errno::STALE];

/// What the system says of a fault.
fn said(fault: Errno) -> String {
    Error::from_raw_os_error(fault.raw_os_error()).to_string()
}

impl Workshop {
    /// What is told of a run in which files with `part` in their paths cannot be written from a point on.
    fn refused(&self, name: &str, part: &str, point: u32, fault: Errno) -> String {
        let output = failing_at(&mut self.train(name), part, point, fault.raw_os_error()).output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{part}, point {point}: {told}");
        assert!(told.contains(&said(fault)) && told.contains(part) && !told.contains("panicked"), "{told}");
        told
    }
}

/// Files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_checkpoint_that_cannot_be_written_ends_the_run_and_leaves_the_ones_before() {
    let workshop = Workshop::new();
    let expected = workshop.finish("whole");
    let names: Vec<_> =
        files(&workshop.path("whole/checkpoints")).iter().map(|p| p.file_name().unwrap().to_owned()).collect();
    assert_eq!(names.len(), 2);
    // Every fault within the third checkpoint, at one step after the other: writing both halves, bringing them to the disk, renaming,
    // and bringing the name to the disk; and each of these steps on a full disk.
    let cases = FAULTS.iter().zip((0..5).cycle()).map(|(&fault, step)| (fault, step));
    for (i, (fault, step)) in cases.chain((0..5).map(|step| (Errno::NOSPC, step))).enumerate() {
        let name = format!("run-{i}");
        let told = workshop.refused(&name, CHECKPOINTS, 12 + step, fault);
        assert!(told.contains("a checkpoint cannot be written") && told.contains("make room"), "{told}");
        assert!(told.contains(&format!("cspnet resume {}", workshop.path(&name).display())), "{told}");
        let left = files(&workshop.path(&name));
        assert!(left.iter().all(|path| path.extension().is_none_or(|e| e != "part")), "{left:?}");
        // The two before it are there, and the third only if nothing but its name on the disk was in doubt.
        let checkpoints = left.iter().filter(|path| path.parent().is_some_and(|p| p.ends_with("checkpoints"))).count();
        assert_eq!(checkpoints, if step == 4 { 3 } else { 2 }, "{left:?}");
        assert!(workshop.finish(&name) == expected, "{name} ended otherwise");
    }
}

#[test]
fn models_and_measurements_that_cannot_be_written_end_the_run() {
    let workshop = Workshop::new();
    let expected = workshop.finish("whole");
    // Within the second epoch, and the best model within whatever epoch writes it first.
    for (i, (file, point)) in
        [("best.safetensors", 0), ("last.safetensors", 6), ("metrics.csv", 12)].into_iter().enumerate()
    {
        for step in [0, 2, 3] {
            let name = format!("run-{i}-{step}");
            let told = workshop.refused(&name, file, point + step, FAULTS[(i + step as usize) % FAULTS.len()]);
            assert!(told.contains("cannot be written"), "{told}");
            assert!(files(&workshop.path(&name)).iter().all(|path| path.extension().is_none_or(|e| e != "part")));
            assert!(workshop.finish(&name) == expected, "{name} ended otherwise");
        }
    }
}

#[test]
fn a_run_that_cannot_begin_leaves_nothing() {
    let workshop = Workshop::new();
    let before = files(&workshop.path("")).len();
    for file in ["config.json", "metrics.csv", CHECKPOINTS] {
        for (step, fault) in FAULTS.into_iter().enumerate().take(4) {
            workshop.refused("run", file, step as u32, fault);
            assert_eq!(files(&workshop.path("")).len(), before, "{file}, {fault}");
        }
    }
    workshop.finish("run");
}

/// On a device that is always full.
#[test]
fn events_that_cannot_be_written_end_the_run() {
    let workshop = Workshop::new();
    let events = workshop.path("run/events.jsonl");
    let mut child = workshop.train_for("run", 100_000).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(told.any(|line| line.starts_with("epoch 2/")));
    // It takes the file's place at once: were there none for a moment, the run could make another.
    let full = workshop.path("full");
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    fs::rename(&full, &events).unwrap();
    told.for_each(drop);
    let output = child.wait_with_output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("events.jsonl: cannot be written") && error.contains(&said(Errno::NOSPC)), "{error}");
    fs::remove_file(&events).unwrap();
    // It goes on, and can be stopped as ever.
    let mut child = workshop.resume("run").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(told.any(|line| line.starts_with("epoch ")));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    told.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}
