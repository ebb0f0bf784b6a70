//! Reading every file once: what it is, whether it decodes, and the hash of its bytes.

use std::path::{Path, PathBuf};

use cspnet_vision::{DecodeOptions, VisionError, decode, read_file};
use sha2::{Digest, Sha256};

use crate::ordered::Ordered;

/// Hash of a file's bytes.
pub(crate) type ContentHash = [u8; 32];

/// Hashes of all files, in order; or why one cannot be used.
pub(crate) fn check(
    files: Vec<PathBuf>,
    options: &DecodeOptions,
    threads: usize,
    looked_at: &mut dyn FnMut(usize),
) -> Vec<Result<ContentHash, String>> {
    let (count, options) = (files.len(), options.clone());
    let checked =
        Ordered::new(count, threads, 16 * threads, move |i| look(&files[i], &options).map_err(|e| e.to_string()));
    checked.enumerate().inspect(|(i, _)| looked_at(i + 1)).map(|(_, hash)| hash).collect()
}

fn look(path: &Path, options: &DecodeOptions) -> Result<ContentHash, VisionError> {
    let bytes = read_file(path, options)?;
    decode(&bytes, options)?;
    Ok(Sha256::digest(&bytes).into())
}
