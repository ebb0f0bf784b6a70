//! Files of other libraries: tensors by their published names, and nothing else. Whose a file is, is told by its bytes.

mod find;
pub(crate) mod matching;
pub(crate) mod numbers;
pub(crate) mod part;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use cspnet_graph::{Graph, Weights};

use crate::error::FormatError;
use crate::header::MAX_HEADER;
use crate::pytorch::{self, Form};
use crate::tensors::{Bytes, Header};
use find::Places;
pub use matching::Matching;
use numbers::Numbers;
use part::{Part, Tensor};

/// How many times their own bytes the storages of tensors may have, and what they may have in any case.
const MAX_AROUND: usize = 4;
const MIN_AROUND: usize = 256 << 20;

/// A file of another library, safetensors or PyTorch's, of which the tensors' names and places are known.
///
/// A checkpoint may have several sets of weights, as a run that averages them does. Each is a *part* of the file, named by the
/// dictionary it is in, such as `state_dict_ema`.
#[derive(Debug)]
pub struct Published<'a> {
    file: Bytes<'a>,
    parts: Vec<Part>,
}

impl<'a> Published<'a> {
    /// Opens a file. No number is read yet.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or is neither a safetensors file nor one of PyTorch.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        Self::new(Bytes::open(path)?).map_err(|e| e.at(path))
    }

    /// As [`Published::open`], from the bytes of the file.
    ///
    /// # Errors
    /// As [`Published::open`].
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, FormatError> {
        Self::new(Bytes::Memory(bytes))
    }

    fn new(file: Bytes<'a>) -> Result<Self, FormatError> {
        let parts = match pytorch::form(&file)? {
            Some(Form::Today) => pytorch::read(&file)?,
            Some(Form::Old) => return Err(FormatError::OldPyTorch),
            None => vec![safetensors(&file)?],
        };
        Ok(Self { file, parts })
    }

    /// The weights of `graph`, in single precision whatever the file has. They are looked for in the part of that name, or in the
    /// one that has most of them: of two that have as many, in the one that a run has averaged (`state_dict_ema`), as timm
    /// does. What all names begin with (`module.`, `model.`) is left out where that finds more of them.
    ///
    /// Tensors that belong to no parameter are told and left out.
    ///
    /// # Errors
    /// [`FormatError::Mismatch`] with all that did match and all that did not, if a parameter is missing, has another shape or
    /// holds something else than finite numbers; [`FormatError::NoPart`]; or if the file cannot be read or is damaged.
    pub fn weights(&self, graph: &Graph, part: Option<&str>) -> Result<(Weights, Matching), FormatError> {
        self.read(graph, part).map_err(|e| self.file.blame(e))
    }

    fn read(&self, graph: &Graph, part: Option<&str>) -> Result<(Weights, Matching), FormatError> {
        let Places { mut matching, numbers } = find::find(&self.parts, graph, part)?;
        if !matching.is_complete() {
            return Err(FormatError::Mismatch(matching.into()));
        }
        self.check_sizes(&numbers)?;
        let (mut weights, mut whole) = (Vec::new(), HashSet::new());
        for tensor in numbers {
            let name = &tensor.entry().name;
            if let Some(member) = tensor.member()
                && whole.insert(member.begin)
                && !member.is_whole(&self.file)?
            {
                return Err(
                    FormatError::PyTorch("has been damaged; copy or download the file again".into()).within(name)
                );
            }
            let numbers = tensor.read(&self.file)?;
            if numbers.iter().any(|v| !v.is_finite()) {
                matching.refuse(weights.len(), "does not hold finite real numbers");
            }
            weights.push(numbers);
        }
        if !matching.is_complete() {
            return Err(FormatError::Mismatch(matching.into()));
        }
        Ok((Weights::new(graph, weights)?, matching))
    }

    /// Whether the tensors have no more bytes than the file, and are not scattered over many more: in a file of PyTorch several may
    /// share theirs, and one may be a small part of what has one checksum.
    fn check_sizes(&self, numbers: &[&Numbers]) -> Result<(), FormatError> {
        let bytes = numbers.iter().fold(0_usize, |sum, n| sum.saturating_add(n.entry().bytes()));
        if bytes > self.file.len() {
            return Err(FormatError::PyTorch(format!(
                "its tensors share their numbers: together they would have {bytes} bytes, the file has {}",
                self.file.len()
            )));
        }
        let members: HashMap<usize, usize> =
            numbers.iter().filter_map(|n| n.member()).map(|m| (m.begin, m.len)).collect();
        let around: usize = members.values().sum();
        if around > bytes.saturating_mul(MAX_AROUND).saturating_add(MIN_AROUND) {
            return Err(FormatError::PyTorch(format!(
                "its tensors have {bytes} bytes and lie in storages of {around}, all of which would have to be read; with PyTorch, \
                 save them after clone()"
            )));
        }
        Ok(())
    }
}

/// The tensors of a safetensors file.
fn safetensors(file: &Bytes<'_>) -> Result<Part, FormatError> {
    // The header's length, and the header's first byte. Where there is none, that is told better by who reads it.
    let mut begin = [0; 9];
    if begin.len() <= file.len() {
        file.read(0, &mut begin)?;
        if begin[8] != b'{' {
            return Err(FormatError::Unknown);
        }
    }
    let tensors = Header::read(file, MAX_HEADER)?.tensors.into_iter();
    let tensors = tensors.map(|t| Tensor { name: t.entry.name.clone(), content: Ok(t.into()) }).collect();
    Ok(Part { path: String::new(), tensors })
}

/// The weights of `graph` from a file of timm, torchvision or Hugging Face; see [`Published::weights`].
///
/// # Errors
/// As [`Published::open`] and [`Published::weights`].
pub fn read_published(path: impl AsRef<Path>, graph: &Graph) -> Result<(Weights, Matching), FormatError> {
    Published::open(path)?.weights(graph, None)
}

/// As [`read_published`], from the bytes of the file.
///
/// # Errors
/// As [`read_published`].
pub fn read_published_bytes(bytes: &[u8], graph: &Graph) -> Result<(Weights, Matching), FormatError> {
    Published::from_bytes(bytes)?.weights(graph, None)
}
