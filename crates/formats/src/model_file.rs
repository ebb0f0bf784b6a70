//! Model files: safetensors whose metadata explain them.
//!
//! The manifest stands as JSON in the metadata, and a hash covers the whole file (see [`crate::sealed`]), so the same model is
//! the same file.
//! Beside the parameters there is a counter `num_batches_tracked` for every normalisation, which PyTorch's modules expect.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use cspnet_graph::{Graph, Op, Param, Weights};
use safetensors::tensor::TensorView;

use crate::atomic;
use crate::error::FormatError;
use crate::manifest::{Dtype, Manifest};
use crate::sealed::{Opened, Sealed, Stored};
use crate::tensors;

const MANIFEST: &str = "cspnet";

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
        let opened = Opened::new(bytes, MANIFEST, FormatError::NoManifest)?;
        let manifest = Manifest::from_json(&opened.text)?;
        let weights = weights(&manifest.graph, &opened.file)?;
        let model = Self { manifest, weights };
        let again = model.sealed().map_err(|_| FormatError::Changed("its numbers cannot be written again"))?;
        opened.verify(&again).map(|()| model)
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
        self.sealed()?.to_bytes()
    }

    /// The hash that identifies the model: that of its file.
    ///
    /// # Errors
    /// As [`ModelFile::to_bytes`].
    pub fn hash(&self) -> Result<String, FormatError> {
        self.sealed()?.hash()
    }

    fn sealed(&self) -> Result<Sealed, FormatError> {
        self.weights.check(self.manifest.graph.params())?;
        Ok(Sealed { key: MANIFEST, text: self.manifest.to_json()?, tensors: self.stored()? })
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
