//! Killing the program while it writes a file, or letting that fail (feature `crash-points` of `cspnet-formats`).
#![allow(dead_code, reason = "each test binary compiles this module and uses a part of it")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Part of the paths of all checkpoints, and of no other file.
pub const CHECKPOINTS: &str = if cfg!(windows) { "\\checkpoints" } else { "/checkpoints" };

/// Has a run wait at a point of writing files with this part in their paths, counted from 0: each file is created, half written,
/// written, brought to the disk, renamed, and its name brought to the disk.
pub fn waiting_at<'a>(command: &'a mut Command, part: &str, point: u32) -> &'a mut Command {
    command.env("CSPNET_CRASH_POINT", format!("{point}:{part}"))
}

/// Has what comes behind such a point fail from then on, with the system's error of this number.
pub fn failing_at<'a>(command: &'a mut Command, part: &str, point: u32, error: i32) -> &'a mut Command {
    command.env("CSPNET_CRASH_POINT", format!("{point}:{part}:{error}"))
}

/// Kills a run at such a point.
pub fn kill_at(command: &mut Command, part: &str, point: u32) {
    let mut child = waiting_at(command, part, point).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with(&format!("crash point {point}")) && line.contains(part), "{command:?}: {line}");
    child.kill().unwrap();
    child.wait().unwrap();
}
