//! Reading every photo once: whether it decodes, and the hash of its bytes.

use cspnet_vision::{DecodeOptions, VisionError, decode};
use sha2::{Digest, Sha256};

use crate::ordered::Ordered;
use crate::sample::Sample;

/// Hash of a photo's encoded bytes.
pub(crate) type ContentHash = [u8; 32];

/// Hashes of all photos, in order; or why one cannot be used.
pub(crate) fn check(
    photos: Vec<Sample>,
    options: &DecodeOptions,
    threads: usize,
    looked_at: &mut dyn FnMut(usize),
) -> Vec<Result<ContentHash, String>> {
    let (count, options) = (photos.len(), options.clone());
    let checked =
        Ordered::new(count, threads, 16 * threads, move |i| look(&photos[i], &options).map_err(|e| e.to_string()));
    checked.enumerate().inspect(|(i, _)| looked_at(i + 1)).map(|(_, hash)| hash).collect()
}

fn look(photo: &Sample, options: &DecodeOptions) -> Result<ContentHash, VisionError> {
    let bytes = photo.bytes(options)?;
    decode(&bytes, options)?;
    Ok(Sha256::digest(&bytes).into())
}
