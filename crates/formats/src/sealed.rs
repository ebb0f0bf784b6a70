//! A safetensors file with a text in its metadata and a hash over everything.
//!
//! The metadata have two entries: `KEY`, the text, and `KEY.sha256`, the hash of the whole file as it would be with 64 zeros
//! in the hash's place. A reader demands that writing what it has read gives the same bytes: then every bit of the file has a
//! meaning, and the hash covers it.

use std::collections::{BTreeMap, HashMap};

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use sha2::{Digest, Sha256};

use crate::error::FormatError;
use crate::tensors;

/// Longest header that readers of safetensors take, in bytes.
const MAX_HEADER: usize = 100_000_000;

/// What is stored under one hash.
pub(crate) struct Sealed {
    /// Name of the text in the metadata.
    pub key: &'static str,
    /// The text.
    pub text: String,
    /// Every tensor by name.
    pub tensors: BTreeMap<String, Stored>,
}

/// A tensor as it is stored.
pub(crate) struct Stored {
    pub dtype: safetensors::Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// A sealed file's parts, not yet compared with its hash.
pub(crate) struct Opened<'a> {
    pub file: SafeTensors<'a>,
    pub text: String,
    bytes: &'a [u8],
    has_hash: bool,
}

impl Sealed {
    /// The file's bytes.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        self.serialise(&self.hash()?)
    }

    /// The hash of the file.
    pub(crate) fn hash(&self) -> Result<String, FormatError> {
        Ok(hex(&Sha256::digest(self.serialise(&"0".repeat(64))?)))
    }

    fn serialise(&self, hash: &str) -> Result<Vec<u8>, FormatError> {
        let views = self.tensors.iter().map(|(name, t)| {
            let view = TensorView::new(t.dtype, t.shape.clone(), &t.bytes);
            view.map(|v| (name.clone(), v)).map_err(|e| FormatError::Tensors(format!("{name}: {e}")))
        });
        let views: Vec<(String, TensorView<'_>)> = views.collect::<Result<_, _>>()?;
        let mut bytes = safetensors::serialize(views, None).map_err(|e| FormatError::Tensors(e.to_string()))?;
        self.insert_metadata(&mut bytes, hash)?;
        Ok(bytes)
    }

    /// Puts the metadata into a serialised file: in one fixed order, which the library's own map does not have.
    fn insert_metadata(&self, bytes: &mut Vec<u8>, hash: &str) -> Result<(), FormatError> {
        let text = serde_json::to_string(&self.text).map_err(|e| FormatError::Manifest(e.to_string()))?;
        let head = format!("{{\"__metadata__\":{{\"{0}\":{text},\"{0}.sha256\":\"{hash}\"}},", self.key);
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
}

impl<'a> Opened<'a> {
    /// Takes a file apart; `missing` is the error for one without a text of that name.
    pub(crate) fn new(bytes: &'a [u8], key: &str, missing: FormatError) -> Result<Self, FormatError> {
        let file = tensors::parse(bytes)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| FormatError::Damaged(e.to_string()))?;
        let mut texts: HashMap<String, String> = header.metadata().clone().unwrap_or_default();
        match texts.remove(key) {
            None => Err(missing),
            Some(text) => Ok(Self { file, text, bytes, has_hash: texts.contains_key(&format!("{key}.sha256")) }),
        }
    }

    /// Whether the file is what would be written of what was read.
    pub(crate) fn verify(&self, again: &Sealed) -> Result<(), FormatError> {
        let again = again.to_bytes().map_err(|_| FormatError::Changed("its numbers cannot be written again"))?;
        match self.has_hash {
            false => Err(FormatError::Changed("it has no hash")),
            true if again != self.bytes => Err(FormatError::Changed("its hash does not fit")),
            true => Ok(()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
