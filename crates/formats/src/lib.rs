//! Files to networks, weights and manifests, and back.
//!
//! A [`ModelFile`] is one safetensors file whose tensors any tool can read, and which explains itself: its metadata hold the
//! network's graph, the labels, the exact preprocessing, and a hash over everything. [`read_published`] reads the files of
//! other libraries, which hold tensors only, [`darknet`] reads and writes networks of Darknet, and [`onnx`] writes what other
//! engines run. What goes into a network and comes out of it lies in files of NumPy ([`numpy`]). A [`StateFile`] keeps what a run must
//! find again, a [`ChoicesFile`] what was measured. Not here: running a network.
#![forbid(unsafe_code)]

mod archive;
pub mod atomic;
mod choices_file;
mod crash;
pub mod darknet;
mod error;
mod header;
pub mod json;
mod labels;
mod manifest;
mod model_file;
pub mod numpy;
pub mod onnx;
mod published;
mod pytorch;
mod sealed;
mod state_file;
mod tensors;
pub mod text;
mod timm_config;

pub use choices_file::{ChoicesFile, Circumstances};
pub use error::FormatError;
pub use manifest::{Dtype, Manifest};
pub use model_file::{ModelFile, OpenModel};
pub use published::{Matching, Published, read_published, read_published_bytes};
pub use state_file::StateFile;
pub use timm_config::TimmConfig;
