//! How a verb fails: a message for people and an exit code for scripts.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use cspnet::formats::text::shown;
use cspnet_train::TrainError;

/// Some of the photos could not be read.
pub const SOME_FAILED: u8 = 3;

/// A file that was written does not give the answers that it should.
const UNEQUAL: u8 = 4;

/// Numbers of a training run were not finite, again and again.
const DIVERGED: u8 = 5;

/// Why a verb gave up.
#[derive(Debug)]
pub enum Failure {
    /// Something to tell.
    Message(String),
    /// What was written does not answer as it should, and was not kept: what to tell of it.
    Unequal(String),
    /// Training diverged: what to tell of it.
    Diverged(String),
    /// Whoever read our output has had enough: nothing to tell.
    ClosedPipe,
}

impl Failure {
    /// Tells it and gives the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Self::Message(message) => {
                tell(&message);
                ExitCode::FAILURE
            }
            Self::Unequal(message) => {
                tell(&message);
                ExitCode::from(UNEQUAL)
            }
            Self::Diverged(message) => {
                tell(&message);
                ExitCode::from(DIVERGED)
            }
            Self::ClosedPipe => ExitCode::SUCCESS,
        }
    }
}

/// Tells people what failed. If nobody can be told, the exit code still tells.
fn tell(message: &str) {
    let _ = writeln!(io::stderr(), "cspnet: {}", shown(message));
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Diverged { .. } => Self::Diverged(error.to_string()),
            _ => Self::Message(error.to_string()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ClosedPipe
        } else {
            Self::Message(format!("cannot write the answer: {error}"))
        }
    }
}

impl From<csv::Error> for Failure {
    fn from(error: csv::Error) -> Self {
        match error.into_kind() {
            csv::ErrorKind::Io(error) => error.into(),
            other => Self::Message(format!("cannot write the answer: {other:?}")),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}

/// Errors of the library are told as they are.
macro_rules! told {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Message(error.to_string())
            }
        })*
    };
}

told!(cspnet::Error, cspnet::engine::PlanError, cspnet::formats::FormatError, cspnet::graph::GraphError);
told!(cspnet::graph::ReadError);
told!(cspnet::vision::VisionError, cspnet::zoo::ZooError, cspnet_data::DataError);

/// A message without the path it begins with, where the path is told already.
pub fn without_path(message: &str, path: &Path) -> String {
    let prefix = format!("{}: ", path.display());
    message.strip_prefix(&prefix).unwrap_or(message).to_owned()
}
