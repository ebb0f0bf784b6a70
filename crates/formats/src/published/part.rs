//! Tensors of a file by their names, dictionary by dictionary.

use super::numbers::Numbers;

/// The tensors of a dictionary in a file.
#[derive(Debug)]
pub(crate) struct Part {
    /// Names of the dictionaries around it, with points between them; empty for the file's own tensors.
    pub path: String,
    /// In the order of the file.
    pub tensors: Vec<Tensor>,
}

/// A tensor in a file.
#[derive(Debug)]
pub(crate) struct Tensor {
    pub name: String,
    /// Where its numbers are, or why they are not read.
    pub content: Result<Numbers, String>,
}
