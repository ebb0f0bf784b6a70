//! Tensors of a safetensors file as numbers, and back.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::error::FormatError;
use crate::names;

/// Longest file that is read.
const MAX_LEN: u64 = 8 << 30;

/// A regular file's bytes.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, FormatError> {
    let io = |source| FormatError::Io { path: path.to_owned(), what: "read", source };
    let metadata = std::fs::metadata(path).map_err(io)?;
    let refuse = |why: String| Err(FormatError::NotAFile { path: path.to_owned(), why });
    if !metadata.is_file() {
        return refuse("is no file; give the path of a model".into());
    }
    if metadata.len() > MAX_LEN {
        return refuse(format!("has {} bytes; at most {MAX_LEN} are read", metadata.len()));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    File::open(path).map_err(io)?.take(MAX_LEN).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// The tensors and metadata of a file; names, offsets, lengths and shapes have been checked.
pub(crate) fn parse(bytes: &[u8]) -> Result<SafeTensors<'_>, FormatError> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| FormatError::Damaged(e.to_string()))?;
    names::check(header(bytes))?;
    Ok(file)
}

/// The header of a sound file, whose length stands before it.
fn header(bytes: &[u8]) -> &[u8] {
    let length = u64::from_le_bytes(std::array::from_fn(|i| bytes[i])) as usize;
    &bytes[8..8 + length]
}

/// A tensor's numbers in single precision; `None` for types that hold no weights.
pub(crate) fn numbers(tensor: &TensorView<'_>) -> Option<Vec<f32>> {
    let bytes = tensor.data();
    let pairs = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    match tensor.dtype() {
        Dtype::F32 => Some(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        Dtype::F16 => Some(pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect()),
        Dtype::BF16 => Some(pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect()),
        _ => None,
    }
}

/// Numbers as the bytes of a tensor; `None` where half precision cannot hold one.
pub(crate) fn bytes(numbers: &[f32], dtype: Dtype) -> Option<Vec<u8>> {
    if dtype == Dtype::F16 {
        let halves = numbers.iter().map(|&v| Some(f16::from_f32(v)).filter(|h| h.is_finite()));
        return halves.map(|h| h.map(f16::to_le_bytes)).collect::<Option<Vec<_>>>().map(|b| b.concat());
    }
    Some(numbers.iter().flat_map(|v| v.to_le_bytes()).collect())
}
