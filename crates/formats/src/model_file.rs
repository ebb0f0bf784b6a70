//! Model files: safetensors whose metadata explain them.
//!
//! The manifest stands as JSON in the metadata, and a hash covers the whole file (see [`crate::sealed`]), so the same model is
//! the same file.
//! Beside the parameters there is a counter `num_batches_tracked` for every normalisation, which PyTorch's modules expect.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::SystemTime;

use cspnet_graph::{Graph, LazyTensor, LazyWeights, Op, Param, ReadError, Weights};

use crate::atomic;
use crate::error::FormatError;
use crate::manifest::{Dtype, Manifest};
use crate::sealed::{Opened, Sealed};
use crate::tensors::{Bytes, Entry, Stored, append, are_finite, stored};

const MANIFEST: &str = "cspnet";

/// What is wrong with a number that is none.
const NOT_FINITE: &str = "holds a number that is not finite";

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
        OpenModel::open(path)?.into_file()
    }

    /// Reads a model file's bytes.
    ///
    /// # Errors
    /// As [`ModelFile::read`].
    pub fn read_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        OpenModel::from_bytes(bytes)?.into_file()
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
        self.sealed()?.to_bytes(self.numbers())
    }

    /// Its weights as they come back from its file, rounded where it has half precision.
    ///
    /// # Errors
    /// If a weight cannot be stored.
    ///
    /// ```
    /// use cspnet_formats::{Dtype, Manifest, ModelFile};
    /// use cspnet_graph::{Builder, Weights};
    ///
    /// let mut b = Builder::new();
    /// let x = b.input(1);
    /// let x = b.linear("fc", x, 1);
    /// let graph = b.finish(x)?;
    /// let weights = Weights::new(&graph, vec![vec![1.001], vec![1.001]])?;
    /// let manifest = Manifest { dtype: Dtype::Bf16, ..Manifest::new("small", graph) };
    /// // The bias, of which there is one number a channel, stays as it is.
    /// assert_eq!(ModelFile { manifest, weights }.rounded()?.tensors(), [vec![1.0], vec![1.001]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rounded(&self) -> Result<Weights, FormatError> {
        let graph = &self.manifest.graph;
        let round = |(param, numbers): (&Param, &Vec<f32>)| {
            stored(numbers, stored_as(param, self.manifest.dtype))
                .ok_or_else(|| FormatError::Precision(param.name.clone()))
        };
        let rounded = graph.params().iter().zip(self.weights.tensors()).map(round).collect::<Result<_, _>>()?;
        Ok(Weights::new(graph, rounded)?)
    }

    /// The hash that identifies the model: that of its file.
    ///
    /// # Errors
    /// As [`ModelFile::to_bytes`].
    pub fn hash(&self) -> Result<String, FormatError> {
        self.sealed()?.hash(self.numbers())
    }

    fn sealed(&self) -> Result<Sealed, FormatError> {
        self.weights.check(self.manifest.graph.params())?;
        sealed(&self.manifest)
    }

    /// What appends the bytes of a tensor.
    fn numbers(&self) -> impl Fn(&Entry, &mut Vec<u8>) -> Result<(), FormatError> {
        let params = self.manifest.graph.params().iter();
        let numbers: HashMap<&str, &[f32]> =
            params.zip(self.weights.tensors()).map(|(p, t)| (p.name.as_str(), t.as_slice())).collect();
        move |tensor, bytes| {
            let Some(numbers) = numbers.get(tensor.name.as_str()) else {
                bytes.extend([0; COUNTER]);
                return Ok(());
            };
            if numbers.iter().any(|v| !v.is_finite()) {
                return Err(FormatError::Tensors(format!("{} {NOT_FINITE}", tensor.name)));
            }
            append(numbers, tensor.dtype, bytes).ok_or_else(|| FormatError::Precision(tensor.name.clone()))
        }
    }
}

/// A model file that is open: what it says of itself is known, its numbers are read when they are asked for.
///
/// Whether every bit is as it was written is not known before [`OpenModel::verify`] has read the whole file, which may go on
/// beside whatever is done with the numbers. Before it is known, nothing that came of them should be given to anybody.
#[derive(Debug)]
pub struct OpenModel<'a> {
    manifest: Manifest,
    opened: Opened<'a>,
    /// For every parameter its tensor's place in the file.
    places: Vec<usize>,
    /// The file's length and age when it was opened.
    state: Option<(u64, SystemTime)>,
}

impl OpenModel<'static> {
    /// Opens a model file.
    ///
    /// # Errors
    /// If it cannot be read, or its header is not that of a model file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        Self::new(Bytes::open(path)?).map_err(|e| e.at(path))
    }
}

impl<'a> OpenModel<'a> {
    /// Opens a model file in memory.
    ///
    /// # Errors
    /// As [`OpenModel::open`].
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, FormatError> {
        Self::new(Bytes::Memory(bytes))
    }

    fn new(bytes: Bytes<'a>) -> Result<Self, FormatError> {
        let state = bytes.state();
        let opened = Opened::new(bytes, MANIFEST, FormatError::NoManifest)?;
        let manifest = Manifest::from_json(&opened.text)?;
        let places = places(&manifest.graph, &opened.tensors)?;
        Ok(Self { manifest, opened, places, state })
    }

    /// What it says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it says of itself, to keep.
    pub fn into_manifest(self) -> Manifest {
        self.manifest
    }

    /// Its numbers, which are read when they are asked for.
    pub fn weights(&self) -> LazyWeights<'_> {
        let tensor = |&place: &usize| {
            let stored = &self.opened.tensors[place];
            LazyTensor::new(stored.entry.shape.iter().product(), move || {
                Ok(Box::new(move |first, out| {
                    let read = stored.read_numbers(&self.opened.bytes, first, out);
                    read.map_err(|e| ReadError::new(self.opened.bytes.blame(e)))
                }))
            })
        };
        LazyWeights::new(self.places.iter().map(tensor).collect())
    }

    /// Whether the file is as it was written, and has not been written to since it was opened.
    ///
    /// # Errors
    /// If it is not, or cannot be read.
    pub fn verify(&self) -> Result<(), FormatError> {
        self.verified().map_err(|e| self.opened.bytes.blame(e))
    }

    fn verified(&self) -> Result<(), FormatError> {
        let counters: HashSet<String> = counters(&self.manifest.graph).collect();
        let look = |tensor: &Entry, bytes: &[u8]| {
            let sound = match counters.contains(&tensor.name) {
                true => bytes.iter().all(|b| *b == 0),
                false => are_finite(bytes, tensor.dtype),
            };
            if sound { Ok(()) } else { Err(FormatError::Changed("its numbers cannot be written again")) }
        };
        let expected =
            sealed(&self.manifest).map_err(|_| FormatError::Changed("its header cannot be written again"))?;
        self.opened.verify(&expected, look)?;
        match self.opened.bytes.state() == self.state {
            true => Ok(()),
            false => Err(FormatError::Changed("it was written to while it was read")),
        }
    }

    fn into_file(self) -> Result<ModelFile, FormatError> {
        let weights = self.weights().to_weights()?;
        self.verify()?;
        Ok(ModelFile { manifest: self.manifest, weights })
    }
}

/// Bytes of a counter.
const COUNTER: usize = 8;

/// The file of a model, apart from the numbers.
fn sealed(manifest: &Manifest) -> Result<Sealed, FormatError> {
    let param = |p: &Param| Entry { name: p.name.clone(), dtype: stored_as(p, manifest.dtype), shape: p.shape.clone() };
    let counter = |name| Entry { name, dtype: safetensors::Dtype::I64, shape: Vec::new() };
    let params = manifest.graph.params().iter().map(param);
    let tensors: Vec<Entry> = params.chain(counters(&manifest.graph).map(counter)).collect();
    let mut names = HashSet::new();
    if let Some(twice) = tensors.iter().find(|t| !names.insert(t.name.as_str())) {
        let name = &twice.name;
        return Err(FormatError::Tensors(format!("{name} would name two tensors; give each layer its own path")));
    }
    Ok(Sealed::new(MANIFEST, manifest.to_json()?, tensors))
}

fn stored_as(param: &Param, dtype: Dtype) -> safetensors::Dtype {
    match dtype {
        Dtype::F16 if param.shape.len() > 1 => safetensors::Dtype::F16,
        Dtype::Bf16 if param.shape.len() > 1 => safetensors::Dtype::BF16,
        _ => safetensors::Dtype::F32,
    }
}

/// Names of PyTorch's counters of batches.
fn counters(graph: &Graph) -> impl Iterator<Item = String> + '_ {
    let norms = graph.nodes().iter().filter(|n| matches!(n.op, Op::BatchNorm { .. }));
    norms.map(|n| format!("{}.num_batches_tracked", n.path))
}

/// The place of every parameter of `graph` among the tensors, of which there must be one for each and no other.
fn places(graph: &Graph, tensors: &[Stored]) -> Result<Vec<usize>, FormatError> {
    let mut left: HashMap<&str, usize> = tensors.iter().enumerate().map(|(i, t)| (t.entry.name.as_str(), i)).collect();
    let mut places = Vec::new();
    for param in graph.params() {
        let name = &param.name;
        let place = left.remove(name.as_str()).ok_or_else(|| FormatError::Tensors(format!("{name} is missing")))?;
        let (found, expected) = (&tensors[place].entry.shape, &param.shape);
        if found != expected {
            return Err(FormatError::Tensors(format!("{name} has shape {found:?} instead of {expected:?}")));
        }
        if !tensors[place].holds_numbers() {
            return Err(FormatError::Tensors(format!("{name} holds no real numbers")));
        }
        places.push(place);
    }
    for name in counters(graph) {
        left.remove(name.as_str());
    }
    match left.keys().min() {
        Some(name) => Err(FormatError::Tensors(format!("{name} belongs to no parameter of the network"))),
        None => Ok(places),
    }
}
