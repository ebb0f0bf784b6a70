//! Model files: safetensors whose metadata explain them.
//!
//! The metadata have two entries: `cspnet`, the manifest as JSON, and `cspnet.sha256`, the hash of the whole file as it would be
//! with 64 zeros in the hash's place. So no bit of the file can change unseen, and the same model is the same file.
//! Beside the parameters there is a counter `num_batches_tracked` for every normalisation, which PyTorch's modules expect.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use cspnet_graph::{Graph, Op, Param, Weights};
use safetensors::tensor::TensorView;
use sha2::{Digest, Sha256};

use crate::atomic;
use crate::error::FormatError;
use crate::manifest::{Dtype, Manifest};
use crate::tensors;

const MANIFEST: &str = "cspnet";
const HASH: &str = "cspnet.sha256";

/// Longest header that readers of safetensors take, in bytes.
const MAX_HEADER: usize = 100_000_000;

/// A model as it stands in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFile {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its numbers.
    pub weights: Weights,
}

impl ModelFile {
    /// Reads a model file.
    ///
    /// # Errors
    /// If it cannot be read, is damaged or changed, or is not a model file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        Self::read_bytes(&tensors::read_file(path)?).map_err(|e| e.at(path))
    }

    /// Reads a model file's bytes.
    ///
    /// # Errors
    /// As [`ModelFile::read`].
    pub fn read_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let file = tensors::parse(bytes)?;
        let (_, header) =
            safetensors::SafeTensors::read_metadata(bytes).map_err(|e| FormatError::Damaged(e.to_string()))?;
        let texts = header.metadata().as_ref().ok_or(FormatError::NoManifest)?;
        let text = texts.get(MANIFEST).ok_or(FormatError::NoManifest)?;
        let manifest = Manifest::from_json(text)?;
        let weights = weights(&manifest.graph, &file)?;
        let model = Self { manifest, weights };
        // What is read must be what would be written: then every bit of the file has a meaning, and the hash covers it.
        let again = model.to_bytes().map_err(|_| FormatError::Changed("its numbers cannot be written again"))?;
        match texts.get(HASH) {
            None => Err(FormatError::Changed("it has no hash")),
            Some(_) if again != bytes => Err(FormatError::Changed("its hash does not fit")),
            Some(_) => Ok(model),
        }
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If the model is not sound, a weight cannot be stored, or the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), FormatError> {
        atomic::write(path.as_ref(), &self.to_bytes()?)
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// If the model is not sound, or a weight cannot be stored.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        let unsigned = self.serialise(&"0".repeat(64))?;
        self.serialise(&hex(&Sha256::digest(&unsigned)))
    }

    /// The hash that identifies the model: that of its file.
    ///
    /// # Errors
    /// As [`ModelFile::to_bytes`].
    pub fn hash(&self) -> Result<String, FormatError> {
        Ok(hex(&Sha256::digest(self.serialise(&"0".repeat(64))?)))
    }

    fn serialise(&self, hash: &str) -> Result<Vec<u8>, FormatError> {
        let text = self.manifest.to_json()?;
        self.weights.check(self.manifest.graph.params())?;
        let stored = self.stored()?;
        let views = stored.iter().map(|(name, t)| {
            let view = TensorView::new(t.dtype, t.shape.clone(), &t.bytes);
            view.map(|v| (name.clone(), v)).map_err(|e| FormatError::Tensors(format!("{name}: {e}")))
        });
        let views: Vec<(String, TensorView<'_>)> = views.collect::<Result<_, _>>()?;
        let mut bytes = safetensors::serialize(views, None).map_err(|e| FormatError::Tensors(e.to_string()))?;
        insert_metadata(&mut bytes, &text, hash)?;
        Ok(bytes)
    }

    /// Every tensor of the file by name.
    fn stored(&self) -> Result<BTreeMap<String, Stored>, FormatError> {
        let mut stored = BTreeMap::new();
        let mut store = |name: String, tensor: Stored| match stored.insert(name.clone(), tensor) {
            None => Ok(()),
            Some(_) => {
                Err(FormatError::Tensors(format!("{name} would name two tensors; give each layer its own path")))
            }
        };
        for (param, numbers) in self.manifest.graph.params().iter().zip(self.weights.tensors()) {
            let dtype = stored_as(param, self.manifest.dtype);
            if numbers.iter().any(|v| !v.is_finite()) {
                return Err(FormatError::Tensors(format!("{} holds a number that is not finite", param.name)));
            }
            let bytes = tensors::bytes(numbers, dtype).ok_or_else(|| FormatError::Precision(param.name.clone()))?;
            store(param.name.clone(), Stored { dtype, shape: param.shape.clone(), bytes })?;
        }
        for name in counters(&self.manifest.graph) {
            store(name, Stored { dtype: safetensors::Dtype::I64, shape: Vec::new(), bytes: vec![0; 8] })?;
        }
        Ok(stored)
    }
}

/// A tensor as it is stored.
struct Stored {
    dtype: safetensors::Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn stored_as(param: &Param, dtype: Dtype) -> safetensors::Dtype {
    match dtype {
        Dtype::F16 if param.shape.len() > 1 => safetensors::Dtype::F16,
        _ => safetensors::Dtype::F32,
    }
}

/// Names of PyTorch's counters of batches.
fn counters(graph: &Graph) -> impl Iterator<Item = String> + '_ {
    let norms = graph.nodes().iter().filter(|n| matches!(n.op, Op::BatchNorm { .. }));
    norms.map(|n| format!("{}.num_batches_tracked", n.path))
}

/// The numbers of every parameter of `graph`, of which the file must have each and nothing else.
fn weights(graph: &Graph, file: &safetensors::SafeTensors<'_>) -> Result<Weights, FormatError> {
    let mut left: HashMap<String, TensorView<'_>> = file.tensors().into_iter().collect();
    let mut found = Vec::new();
    for param in graph.params() {
        let tensor =
            left.remove(&param.name).ok_or_else(|| FormatError::Tensors(format!("{} is missing", param.name)))?;
        if tensor.shape() != param.shape {
            let (found, expected) = (tensor.shape(), &param.shape);
            return Err(FormatError::Tensors(format!("{} has shape {found:?} instead of {expected:?}", param.name)));
        }
        let numbers = tensors::numbers(&tensor);
        found.push(numbers.ok_or_else(|| FormatError::Tensors(format!("{} holds no real numbers", param.name)))?);
    }
    counters(graph).for_each(|name| drop(left.remove(&name)));
    match left.keys().min() {
        Some(name) => Err(FormatError::Tensors(format!("{name} belongs to no parameter of the network"))),
        None => Ok(Weights::new(graph, found)?),
    }
}

/// Puts the metadata into a serialised file: in one fixed order, which the library's own map does not have.
fn insert_metadata(bytes: &mut Vec<u8>, manifest: &str, hash: &str) -> Result<(), FormatError> {
    let quoted = |s: &str| serde_json::to_string(s).map_err(|e| FormatError::Manifest(e.to_string()));
    let head = format!("{{\"__metadata__\":{{\"{MANIFEST}\":{},\"{HASH}\":\"{hash}\"}},", quoted(manifest)?);
    let old = u64::from_le_bytes(std::array::from_fn(|i| bytes[i])) as usize;
    let tensors = bytes[9..8 + old].trim_ascii_end();
    let mut header = [head.as_bytes(), tensors].concat();
    // Data begins on a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() > MAX_HEADER {
        return Err(FormatError::Manifest(format!(
            "the header has {} bytes; at most {MAX_HEADER} are taken",
            header.len()
        )));
    }
    let length = (header.len() as u64).to_le_bytes();
    bytes.splice(..8 + old, length.into_iter().chain(header));
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
