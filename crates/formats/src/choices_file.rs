//! Files of choices that were measured: by which algorithm each layer of a network is fastest on some CPU.
//!
//! They are worth no more than the seconds that measuring takes: whoever finds one broken measures anew. Not here: what the
//! algorithms are, and where the files lie.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use cspnet_graph::{Graph, Shape};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::atomic;
use crate::error::FormatError;
use crate::json;
use crate::sealed::hex;

/// Longest file that is read, in bytes: a hundred bytes a layer.
const MAX_LEN: usize = 1 << 20;

/// What measurements depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circumstances {
    /// The CPU's name.
    pub cpu: String,
    /// The instruction set of the kernels.
    pub instructions: String,
    /// The version of the program: kernels become faster.
    pub version: String,
    /// A hash of the network's graph.
    pub graph: String,
    /// Channels, rows and columns of each of the network's inputs.
    pub inputs: Vec<Shape>,
}

impl Circumstances {
    /// Those of this version of the program.
    pub fn new(cpu: String, instructions: String, graph: &Graph, inputs: &[Shape]) -> Self {
        let json = serde_json::to_vec(graph).expect("a graph is written as JSON");
        let (version, graph) = (env!("CARGO_PKG_VERSION").into(), hex(&Sha256::digest(json)));
        Self { cpu, instructions, version, graph, inputs: inputs.to_vec() }
    }

    /// A name for the file of their choices, which no others have.
    pub fn file_name(&self) -> String {
        let json = serde_json::to_vec(self).expect("texts and numbers are written as JSON");
        format!("{}.json", hex(&Sha256::digest(json)))
    }
}

/// Choices with the circumstances in which they were measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChoicesFile {
    /// In which they were measured.
    pub circumstances: Circumstances,
    /// For the name of every layer the name of its algorithm.
    pub choices: BTreeMap<String, String>,
}

impl ChoicesFile {
    /// Reads a file that was written under the same circumstances; nothing if there is none.
    ///
    /// # Errors
    /// If there is something that cannot be read, or is no such file.
    pub fn read(path: &Path, circumstances: &Circumstances) -> Result<Option<Self>, FormatError> {
        let text = match json::read(path, MAX_LEN) {
            Err(FormatError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let file: Self = serde_json::from_str(&text).map_err(|e| FormatError::Choices(e.to_string()).at(path))?;
        match file.circumstances == *circumstances {
            true => Ok(Some(file)),
            false => Err(FormatError::Choices("they were measured under other circumstances".into()).at(path)),
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), FormatError> {
        let mut json = serde_json::to_vec_pretty(self).map_err(|e| FormatError::Choices(e.to_string()))?;
        json.push(b'\n');
        atomic::write(path, &json)
    }
}

#[cfg(test)]
mod tests {
    use cspnet_graph::Builder;

    use super::*;

    fn circumstances(size: usize) -> Circumstances {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.global_avg_pool("pool", x);
        Circumstances::new("CPU".into(), "avx2".into(), &b.finish(x).unwrap(), &[[3, size, size]])
    }

    #[test]
    fn choices_come_back_under_the_same_circumstances_only() {
        let dir = tempfile::tempdir().unwrap();
        let here = circumstances(8);
        let path = dir.path().join(here.file_name());
        assert_eq!(ChoicesFile::read(&path, &here).unwrap(), None);
        let choices = [("a \u{1b} layer".into(), "an algorithm".into())].into();
        let file = ChoicesFile { circumstances: here.clone(), choices };
        file.write(&path).unwrap();
        assert_eq!(ChoicesFile::read(&path, &here).unwrap(), Some(file));
        assert_ne!(circumstances(9).file_name(), here.file_name());
        assert!(ChoicesFile::read(&path, &circumstances(9)).is_err());
    }

    #[test]
    fn what_is_no_file_of_choices_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (here, path) = (circumstances(8), dir.path().join("f"));
        let file = ChoicesFile { circumstances: here.clone(), choices: BTreeMap::new() };
        file.write(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let deep = [b'['; 100_000];
        for broken in [&b""[..], b"{}", &whole[..whole.len() / 2], &deep, b"\xff\xfe", &vec![b' '; 2 << 20]] {
            std::fs::write(&path, broken).unwrap();
            let error = ChoicesFile::read(&path, &here).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{}: ", path.display())) && !error.contains(char::is_control),
                "{error}"
            );
        }
        assert!(ChoicesFile::read(dir.path(), &here).is_err());
    }
}
