//! Why a file cannot be used.

use std::path::{Path, PathBuf};

use cspnet_graph::{GraphError, ReadError, WeightsError};
use cspnet_vision::VisionError;

use crate::published::matching::Matching;
use crate::text::{shown, told};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The operating system refused.
    #[error("{}: cannot be {what}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A folder, a pipe, or a file of an unbelievable length.
    #[error("{}: {why}", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// What is wrong with a file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<FormatError>,
    },
    /// The bytes are no sound safetensors file.
    #[error("not a sound safetensors file: {}; copy or download it again", told(.0))]
    Damaged(String),
    /// A file of another program, and of none that is read.
    #[error("neither a safetensors file nor one that PyTorch's `torch.save` wrote")]
    Unknown,
    /// What PyTorch wrote before its version 1.6, and writes on demand.
    #[error(
        "a PyTorch file in the form of before version 1.6, which is not read; with PyTorch, write it anew: \
         python -c \"import torch; torch.save(torch.load('OLD.pth', map_location='cpu', weights_only=True), 'NEW.pth')\""
    )]
    OldPyTorch,
    /// A PyTorch file that is damaged, or holds what is not read; where in it, and what.
    #[error("not a PyTorch file that can be read: {}", told(.0))]
    PyTorch(String),
    /// A file of NumPy that is damaged, or holds what is not read; where in it, and what.
    #[error("not a NumPy file that can be read: {}", told(.0))]
    NumPy(String),
    /// Arrays that do not fit into a NumPy file.
    #[error("cannot be written as a NumPy file: {}", told(.0))]
    NumPyLength(String),
    /// The bytes are not those that were written.
    #[error("the file has been changed since it was written ({0}); copy or download it again")]
    Changed(&'static str),
    /// A safetensors file of something else.
    #[error(
        "the file does not say which network it holds; if it comes from timm or torchvision, say what it is: \
         `cspnet import FILE --network NAME --assume timm -o MODEL`"
    )]
    NoManifest,
    /// A safetensors file of something else.
    #[error("the file holds no state of this program")]
    NoState,
    /// No choices of algorithms, or not those of this program, CPU and network.
    #[error("these choices cannot be used: {}", told(.0))]
    Choices(String),
    /// The manifest cannot be understood.
    #[error("the file's manifest cannot be used: {}", told(.0))]
    Manifest(String),
    /// The preprocessing in the manifest makes no sense.
    #[error("the file's preprocessing cannot be used: {0}")]
    Preprocess(#[from] VisionError),
    /// Tensors that do not fit the network.
    #[error("{}", told(.0))]
    Tensors(String),
    /// Tensors of another library's file that are not those of the network.
    #[error("{}", shown(&.0.to_string()))]
    Mismatch(Box<Matching>),
    /// A part that another library's file does not have.
    #[error("there is no `{}` in the file; it has {}", told(part), told(there))]
    NoPart {
        /// What was asked for.
        part: String,
        /// What there is.
        there: String,
    },
    /// A `config.json` that does not say how photos are prepared, or in a way that is not known.
    #[error("not a `config.json` of timm that can be used: {}", told(.0))]
    TimmConfig(String),
    /// Weights that do not fit the graph they are written with.
    #[error("the weights do not fit the network: {0}")]
    Weights(#[from] WeightsError),
    /// Numbers that could not be read where they are.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A size of picture that does not fit the network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An operation that ONNX has no words for.
    #[error("{path} cannot be written as ONNX: {why}")]
    Onnx {
        /// The operation's path.
        path: String,
        /// Why not.
        why: &'static str,
    },
    /// A network that is too large for one ONNX file.
    #[error("as ONNX the network would have {bytes} bytes; at most {} fit into one file", i32::MAX)]
    OnnxLength {
        /// Bytes it would have.
        bytes: usize,
    },
    /// An ONNX file that is damaged, or is none; what is wrong, and where.
    #[error("not an ONNX file that can be read: {}", shown(.0))]
    OnnxFile(String),
    /// Nodes of an ONNX file that cannot be run here, each with its name.
    #[error("the network has operations that this program cannot run: {}", shown(.0))]
    OnnxUnsupported(String),
    /// A line of a Darknet `.cfg` file.
    #[error("line {line}: {}", told(why))]
    Cfg {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Layers of a Darknet `.cfg` file that cannot be run here, each with its line.
    #[error("the network has layers that this program cannot run: {}", shown(.0))]
    CfgUnsupported(String),
    /// A Darknet `.weights` file that is not one of the network.
    #[error("not the weights of this network: {}", told(.0))]
    DarknetWeights(String),
    /// An operation that Darknet has no layer for.
    #[error("{path} cannot be written for Darknet: {why}")]
    Darknet {
        /// The operation's path.
        path: String,
        /// Why not.
        why: String,
    },
    /// A number that half precision cannot hold.
    #[error("{0} holds a number that half precision cannot; store the model as f32")]
    Precision(String),
}

impl FormatError {
    /// What is wrong with an archive, with the place in it.
    pub(crate) fn within(self, place: &str) -> Self {
        match self {
            Self::PyTorch(why) => Self::PyTorch(format!("{place}: {why}")),
            Self::NumPy(why) => Self::NumPy(format!("{place}: {why}")),
            other => other,
        }
    }

    /// The error with the file it is about, unless it names it already.
    pub(crate) fn at(self, path: &Path) -> Self {
        match self {
            Self::Io { .. } | Self::NotAFile { .. } | Self::File { .. } => self,
            other => Self::File { path: path.to_owned(), source: Box::new(other) },
        }
    }
}
