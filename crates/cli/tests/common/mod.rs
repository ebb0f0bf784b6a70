//! Running the built program.
#![allow(dead_code, reason = "each test binary compiles this module and uses a part of it")]

use std::path::PathBuf;
use std::process::{Command, Output};

/// A path of the project.
pub fn project(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The built program with arguments, in the project's folder.
pub fn cspnet(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cspnet"));
    command.args(arguments).current_dir(project(""));
    command
}

/// What it does with arguments.
pub fn run(arguments: &[&str]) -> Output {
    cspnet(arguments).output().unwrap()
}

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
