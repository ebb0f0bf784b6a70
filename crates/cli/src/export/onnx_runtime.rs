//! ONNX Runtime, if a Python has it: an independent reader of what was written.
//!
//! A small script (`onnx_runtime.py`) loads the file and answers for photos, which it is given as they were decoded: it prepares
//! them as the file's metadata say, or gives them to a file that does so itself. So what is compared is all that another program would
//! do with the file.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use cspnet::Photo;
use cspnet::formats::text::shown;
use serde::Deserialize;
use serde_json::json;

use super::engine::{Pictures, numbers};
use super::reader::Reader;
use crate::failure::Failure;

const SCRIPT: &str = include_str!("onnx_runtime.py");

/// The Python that is asked if none is named.
const PYTHON: &str = "python3";

/// A Python that has loaded the file.
pub struct OnnxRuntime {
    child: Child,
    photos: ChildStdin,
    answers: BufReader<ChildStdout>,
    name: String,
    pictures: Pictures,
    /// Whether the file answers with probabilities.
    probabilities: bool,
}

/// What the script says.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Version { version: String },
    Missing { missing: String },
    Error { error: String },
    Answer(Vec<f32>),
}

impl OnnxRuntime {
    /// Loads `file`, which says itself how photos are prepared, or is given `pictures` otherwise. Of a Python that nobody named, it
    /// is no error that it is not there or has no ONNX Runtime: then the reason is given.
    ///
    /// # Errors
    /// [`Failure::Unequal`] if ONNX Runtime cannot load the file, and if a Python that was named cannot be used.
    pub fn start(
        python: Option<&Path>,
        file: &Path,
        pictures: &Pictures,
        probabilities: bool,
    ) -> Result<Result<Self, String>, Failure> {
        let program = python.unwrap_or(Path::new(PYTHON));
        let shown_program = shown(&program.to_string_lossy()).into_owned();
        let unusable = |why: String| match python {
            Some(_) => Err(Failure::Message(format!("{shown_program} cannot be used to compare: {why}"))),
            None => Ok(Err(format!(
                "{why}; `--python PROGRAM` names a Python that has ONNX Runtime (`pip install onnxruntime`)"
            ))),
        };
        let mut command = Command::new(program);
        command.arg("-c").arg(SCRIPT).arg(file);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) => return unusable(format!("{shown_program} cannot be started: {e}")),
        };
        let photos = child.stdin.take().expect("standard input is a pipe");
        let answers = BufReader::new(child.stdout.take().expect("standard output is a pipe"));
        let (name, pictures) = (String::new(), pictures.clone());
        let mut new = Self { child, photos, answers, name, pictures, probabilities };
        match new.said() {
            Ok(Said::Version { version }) => {
                new.name = format!("ONNX Runtime {} of {shown_program}", shown(&version));
                Ok(Ok(new))
            }
            Ok(Said::Missing { missing }) => {
                unusable(format!("{shown_program} has no ONNX Runtime ({})", shown(&missing)))
            }
            Ok(Said::Error { error }) => Err(refused("load", &error)),
            Ok(Said::Answer(_)) | Err(_) => unusable(format!("{shown_program} does not do what a Python does")),
        }
    }

    /// The next line.
    fn said(&mut self) -> Result<Said, Failure> {
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(1..) => serde_json::from_str(&line).map_err(|_| nonsense()),
            _ => Err(nonsense()),
        }
    }

    fn send(&mut self, photo: &Photo) -> Result<(), Failure> {
        let (header, bytes) = match &self.pictures {
            Pictures::Prepared(_) => {
                let shape = [photo.height(), photo.width(), 3];
                (json!({"shape": shape, "photo": true}), photo.pixels().to_vec())
            }
            Pictures::Numbers(shape) => {
                let numbers = numbers(photo, *shape)?;
                (json!({"shape": shape, "photo": false}), numbers.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
        };
        let sent = writeln!(self.photos, "{header}").and_then(|()| self.photos.write_all(&bytes));
        // Why it does not listen any more is said instead of an answer, or is not said.
        sent.and_then(|()| self.photos.flush()).map_err(|_| nonsense())
    }
}

impl Reader for OnnxRuntime {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn answer(&mut self, photo: &Photo) -> Result<Vec<f32>, Failure> {
        self.send(photo)?;
        match self.said()? {
            Said::Answer(answer) if self.probabilities => Ok(answer),
            Said::Answer(answer) => Ok(cspnet::softmax(&answer)),
            Said::Error { error } => Err(refused("run", &error)),
            Said::Version { .. } | Said::Missing { .. } => Err(nonsense()),
        }
    }
}

impl Drop for OnnxRuntime {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file is one that ONNX Runtime does not take.
fn refused(what: &str, why: &str) -> Failure {
    Failure::Unequal(format!("the file is not written: ONNX Runtime cannot {what} it: {}", shown(why)))
}

/// Python died, or is no Python.
fn nonsense() -> Failure {
    Failure::Message(
        "the Python that was to run ONNX Runtime gives no answer; name another by --python, or do without by --no-check".into(),
    )
}
