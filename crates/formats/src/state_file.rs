//! State files: named numbers and a text under one hash, for what a program must find again exactly as it left it.
//!
//! Not here: what the numbers mean. A checkpoint of training is one (`cspnet-train`); a model is a [`crate::ModelFile`].

use std::collections::BTreeMap;
use std::path::Path;

use crate::atomic;
use crate::error::FormatError;
use crate::header::MAX_HEADER;
use crate::sealed::{Kind, Opened, Sealed};
use crate::tensors::{Bytes, Entry, append};

/// The text has some three hundred bytes for each epoch of a run.
const KIND: Kind = Kind { key: "cspnet.state", max_header: 3 * MAX_HEADER };

/// Named numbers and a text in one safetensors file, which says by its hash whether it is whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateFile {
    /// A text, such as JSON.
    pub text: String,
    /// Numbers by name; every bit of them is kept, infinities and NaN included.
    pub tensors: BTreeMap<String, Vec<f32>>,
}

impl StateFile {
    /// Reads a state file.
    ///
    /// # Errors
    /// If it cannot be read, is damaged or changed, or is no state file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        Self::read_from(Bytes::open(path)?).map_err(|e| e.at(path))
    }

    /// Reads a state file's bytes.
    ///
    /// # Errors
    /// As [`StateFile::read`].
    pub fn read_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        Self::read_from(Bytes::Memory(bytes))
    }

    fn read_from(bytes: Bytes<'_>) -> Result<Self, FormatError> {
        let mut opened = Opened::new(bytes, &KIND, FormatError::NoState)?;
        let mut tensors = BTreeMap::new();
        for tensor in &opened.tensors {
            let name = &tensor.entry.name;
            // No other is written, and of half precision the numbers would take twice the file's bytes.
            if tensor.entry.dtype != safetensors::Dtype::F32 {
                return Err(FormatError::Tensors(format!("{name} holds no numbers of single precision")));
            }
            tensors.insert(name.clone(), tensor.numbers(&opened.bytes)?);
        }
        let state = Self { text: std::mem::take(&mut opened.text), tensors };
        opened.verify(&state.sealed(), |_, _| Ok(())).map(|()| state)
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), FormatError> {
        atomic::write(path.as_ref(), &self.to_bytes()?)
    }

    fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        self.sealed().to_bytes(|tensor, bytes| {
            append(&self.tensors[&tensor.name], tensor.dtype, bytes);
            Ok(())
        })
    }

    fn sealed(&self) -> Sealed {
        let entry = |(name, numbers): (&String, &Vec<f32>)| Entry {
            name: name.clone(),
            dtype: safetensors::Dtype::F32,
            shape: vec![numbers.len()],
        };
        Sealed::new(&KIND, self.text.clone(), self.tensors.iter().map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> StateFile {
        let numbers = vec![1.5, -0.0, f32::INFINITY, f32::from_bits(0x7FC0_1234), f32::MIN_POSITIVE / 8.0];
        StateFile { text: "{\"epoch\":3}".into(), tensors: [("a".into(), numbers), ("b".into(), Vec::new())].into() }
    }

    #[test]
    fn every_bit_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        state().write(&path).unwrap();
        let read = StateFile::read(&path).unwrap();
        let bits = |s: &StateFile| s.tensors["a"].iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!((bits(&read), read.text, read.tensors["b"].len()), (bits(&state()), state().text, 0));
    }

    #[test]
    fn a_file_that_is_not_whole_is_refused() {
        let bytes = state().to_bytes().unwrap();
        assert!(StateFile::read_bytes(&bytes).is_ok());
        for len in 0..bytes.len() {
            assert!(StateFile::read_bytes(&bytes[..len]).is_err(), "{len} bytes");
            let mut zero_tail = bytes.clone();
            zero_tail[len..].fill(0);
            assert!(zero_tail == bytes || StateFile::read_bytes(&zero_tail).is_err(), "zeros from {len}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(StateFile::read_bytes(&flipped).is_err(), "byte {at}");
        }
    }
}
