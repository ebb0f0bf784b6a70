//! `.weights` files: a header and numbers, layer after layer, without names.
//!
//! Little-endian. Three numbers of version and the count of images seen, in four bytes or, since version 0.2, in eight; then the
//! numbers of every layer that has some, in single precision, in the order of [`super::graph::order`].

use std::path::Path;

use cspnet_graph::{Graph, ParamId, Weights};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use crate::error::FormatError;
use crate::tensors::{Bytes, Entry, Stored, append};

/// What a `.weights` file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version: major, minor, revision.
    pub version: [u32; 3],
    /// Images that the network was trained on, from which Darknet reckons its step.
    pub seen: u64,
}

impl Default for Header {
    /// That of today's Darknets, of a network that has seen nothing.
    fn default() -> Self {
        Self { version: [0, 2, 5], seen: 0 }
    }
}

impl Header {
    /// What it is called among the facts of a model's training.
    pub const FACT: &str = "darknet";

    /// Bytes of the version.
    const VERSION_LEN: usize = 12;

    /// Largest number of a version. Larger ones once stood for weights of connected layers that lie transposed.
    const MAX_VERSION: u32 = 999;

    /// Bytes of the count of images.
    fn seen_len(&self) -> usize {
        if self.version[0] * 10 + self.version[1] >= 2 { 8 } else { 4 }
    }

    fn len(&self) -> usize {
        Self::VERSION_LEN + self.seen_len()
    }

    fn read(file: &Bytes<'_>) -> Result<Self, FormatError> {
        let short = || FormatError::DarknetWeights("the file is too short for a header".into());
        let mut bytes = [0; Self::VERSION_LEN];
        if file.len() < bytes.len() {
            return Err(short());
        }
        file.read(0, &mut bytes)?;
        let version = [0, 4, 8].map(|at| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
        if version.iter().any(|&n| n > Self::MAX_VERSION) {
            let why = format!("version {version:?} is none of Darknet's; is it a .weights file?");
            return Err(FormatError::DarknetWeights(why));
        }
        let header = Self { version, seen: 0 };
        if file.len() < header.len() {
            return Err(short());
        }
        let mut seen = [0; 8];
        file.read(Self::VERSION_LEN, &mut seen[..header.seen_len()])?;
        Ok(Self { seen: u64::from_le_bytes(seen), ..header })
    }

    fn append(&self, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        let seen = self.seen.to_le_bytes();
        let (kept, lost) = seen.split_at(self.seen_len());
        if lost.iter().any(|&b| b != 0) || self.version.iter().any(|&n| n > Self::MAX_VERSION) {
            return Err(FormatError::DarknetWeights(format!("no header can say {self:?}")));
        }
        self.version.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        bytes.extend(kept);
        Ok(())
    }
}

/// Numbers in a `.weights` file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// Those of a parameter.
    Param(ParamId),
    /// Those of a normalisation's running variance, to which the network adds this.
    Variance { id: ParamId, eps: f64 },
    /// Those that a layer must have and the graph has no parameter for.
    Given(Vec<f32>),
}

impl Part {
    fn numbers<'a>(&'a self, weights: &'a Weights) -> &'a [f32] {
        match self {
            &Self::Param(id) | &Self::Variance { id, .. } => weights.get(id),
            Self::Given(numbers) => numbers,
        }
    }
}

/// The weights of a graph from the file of a network whose parameters lie in this order.
pub(super) fn read(path: &Path, graph: &Graph, order: &[ParamId]) -> Result<(Weights, Header), FormatError> {
    read_bytes(&Bytes::open(path)?, graph, order).map_err(|e| e.at(path))
}

/// The same from a file's bytes.
pub(super) fn read_bytes(file: &Bytes<'_>, graph: &Graph, order: &[ParamId]) -> Result<(Weights, Header), FormatError> {
    let header = Header::read(file)?;
    check_length(file.len() - header.len(), graph, order)?;
    let mut begin = header.len();
    let mut tensors = vec![Vec::new(); graph.params().len()];
    for &id in order {
        let param = &graph.params()[id];
        let entry = Entry { name: param.name.clone(), dtype: Dtype::F32, shape: param.shape.clone() };
        let stored = Stored { entry, begin };
        begin += stored.entry.bytes();
        tensors[id] = stored.numbers(file)?;
        if tensors[id].iter().any(|v| !v.is_finite()) {
            return Err(FormatError::DarknetWeights(format!("{} holds a number that is not finite", param.name)));
        }
    }
    Ok((Weights::new(graph, tensors)?, header))
}

/// Whether so many bytes are those of all parameters; before any memory is taken for them.
fn check_length(bytes: usize, graph: &Graph, order: &[ParamId]) -> Result<(), FormatError> {
    let mut left = bytes;
    for &id in order {
        let param = &graph.params()[id];
        let Some(rest) = left.checked_sub(4 * param.len()) else {
            return Err(FormatError::DarknetWeights(format!(
                "the file ends before or within {}; a backbone's file (.conv.N) is for the first N layers of a .cfg file, and one \
                 of another number of classes for another .cfg file",
                param.name
            )));
        };
        left = rest;
    }
    match left {
        0 => Ok(()),
        _ => Err(FormatError::DarknetWeights(format!("{left} of {bytes} bytes of numbers are left over"))),
    }
}

/// The bytes of a file with these numbers, for a Darknet that adds `eps` to variances.
pub(super) fn to_bytes(parts: &[Part], weights: &Weights, header: &Header, eps: f64) -> Result<Vec<u8>, FormatError> {
    let mut bytes = Vec::new();
    header.append(&mut bytes)?;
    bytes.reserve_exact(parts.iter().map(|part| 4 * part.numbers(weights).len()).sum());
    for part in parts {
        let numbers = part.numbers(weights);
        let moved = match part {
            Part::Variance { eps: own, .. } if *own != eps => Some(moved(numbers, own - eps)?),
            _ => None,
        };
        // Single precision holds every number.
        append(moved.as_deref().unwrap_or(numbers), Dtype::F32, &mut bytes);
    }
    Ok(bytes)
}

/// Variances that together with what Darknet adds come to what they are in the network.
fn moved(variances: &[f32], by: f64) -> Result<Vec<f32>, FormatError> {
    let move_one = |&variance: &f32| {
        let moved = f64::from(variance) + by;
        if moved < 0.0 {
            let why = format!("a variance of {variance} is smaller than what Darknet adds to it ({:e} more)", -by);
            return Err(FormatError::DarknetWeights(why));
        }
        Ok(moved as f32)
    };
    variances.iter().map(move_one).collect()
}
