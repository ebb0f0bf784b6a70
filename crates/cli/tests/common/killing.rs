//! Killing the program while it writes a checkpoint (feature `crash-points` of `cspnet-formats`).

use std::io::{BufRead, BufReader};
use std::path::MAIN_SEPARATOR;
use std::process::{Command, Stdio};

/// Has a run wait at a point of writing checkpoints, counted from 0: each file is created, half written, written, brought to the disk,
/// renamed, and its name brought to the disk.
pub fn waiting_at(command: &mut Command, point: u32) -> &mut Command {
    command.env("CSPNET_CRASH_POINT", format!("{point}:{MAIN_SEPARATOR}checkpoints"))
}

/// Kills a run at such a point.
pub fn kill_at(command: &mut Command, point: u32) {
    let mut child = waiting_at(command, point).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with(&format!("crash point {point}")), "{command:?}: {line}");
    child.kill().unwrap();
    child.wait().unwrap();
}
