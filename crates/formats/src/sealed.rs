//! A safetensors file with a text in its metadata and a hash over everything.
//!
//! The metadata have two entries: `KEY`, the text, and `KEY.sha256`, the hash of the whole file as it would be with 64 zeros
//! in the hash's place. A reader demands that writing what it has read gives the same bytes: then every bit of the file has a
//! meaning, and the hash covers it. The header is compared with the one that would be written; the numbers stand in the file
//! as they would be written again, since every tensor has the precision that it is written with.

use safetensors::tensor::{Metadata, TensorInfo};
use sha2::{Digest, Sha256};

use crate::error::FormatError;
use crate::header::check_name;
use crate::pytorch;
use crate::tensors::{Bytes, Entry, Header, Stored};

/// Bytes of the header's length in front of it.
const LENGTH: usize = 8;

/// Bytes that are hashed at a time.
const CHUNK: usize = 1 << 18;

/// A hash as it is written: in its own place it counts as so many zeros.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A kind of sealed file.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Name of the text in the metadata.
    pub key: &'static str,
    /// Longest header that is read or written, in bytes.
    pub max_header: usize,
}

/// What is stored under one hash, apart from the numbers.
pub(crate) struct Sealed {
    /// What kind of file it is.
    pub kind: &'static Kind,
    /// The text.
    pub text: String,
    /// Every tensor, in the order of the file.
    pub tensors: Vec<Entry>,
}

/// A sealed file's parts, not yet compared with its hash.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    pub bytes: Bytes<'a>,
    pub text: String,
    /// Every tensor, in the order of the file.
    pub tensors: Vec<Stored>,
    /// The file's first bytes, up to the numbers.
    header: Vec<u8>,
    hash: Option<String>,
}

impl Sealed {
    /// A file with these tensors; they come into the order of the file.
    pub(crate) fn new(kind: &'static Kind, text: String, mut tensors: Vec<Entry>) -> Self {
        tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
        Self { kind, text, tensors }
    }

    /// The file's bytes; `numbers` appends those of a tensor.
    pub(crate) fn to_bytes(
        &self,
        numbers: impl Fn(&Entry, &mut Vec<u8>) -> Result<(), FormatError>,
    ) -> Result<Vec<u8>, FormatError> {
        let mut bytes = self.header(NO_HASH)?;
        bytes.reserve_exact(self.tensors.iter().map(Entry::bytes).sum());
        self.tensors.iter().try_for_each(|tensor| numbers(tensor, &mut bytes))?;
        let header = self.header(&hex(&Sha256::digest(&bytes)))?;
        bytes[..header.len()].copy_from_slice(&header);
        Ok(bytes)
    }

    /// The hash of the file; `numbers` appends those of a tensor.
    pub(crate) fn hash(
        &self,
        numbers: impl Fn(&Entry, &mut Vec<u8>) -> Result<(), FormatError>,
    ) -> Result<String, FormatError> {
        let mut hash = Sha256::new_with_prefix(self.header(NO_HASH)?);
        let mut bytes = Vec::new();
        for tensor in &self.tensors {
            bytes.clear();
            numbers(tensor, &mut bytes)?;
            hash.update(&bytes);
        }
        Ok(hex(&hash.finalize()))
    }

    /// The file's first bytes, up to the numbers. The metadata are put in by hand: in one fixed order, which the library's own
    /// map does not have.
    fn header(&self, hash: &str) -> Result<Vec<u8>, FormatError> {
        self.tensors.iter().try_for_each(|tensor| check_name(&tensor.name)).map_err(FormatError::Tensors)?;
        let mut end = 0;
        let place = |tensor: &Entry| {
            let begin = end;
            end += tensor.bytes();
            let info = TensorInfo { dtype: tensor.dtype, shape: tensor.shape.clone(), data_offsets: (begin, end) };
            (tensor.name.clone(), info)
        };
        let tensors = Metadata::new(None, self.tensors.iter().map(place).collect());
        let tensors = tensors.map_err(|e| FormatError::Tensors(e.to_string()))?;
        let json = |e: serde_json::Error| FormatError::Manifest(e.to_string());
        let &Kind { key, max_header } = self.kind;
        let mut header = vec![0; LENGTH];
        header.extend(format!("{{\"__metadata__\":{{\"{key}\":").bytes());
        // Written where they stay, for texts may be long.
        serde_json::to_writer(&mut header, &self.text).map_err(json)?;
        header.extend(format!(",\"{key}.sha256\":\"{hash}\"}},").bytes());
        let begin = header.len();
        serde_json::to_writer(&mut header, &tensors).map_err(json)?;
        // The brace with which they begin: they go on in the object that the metadata began.
        header.remove(begin);
        // Data begins on a multiple of eight bytes.
        header.resize(header.len().next_multiple_of(8), b' ');
        let len = header.len() - LENGTH;
        if len > max_header {
            return Err(FormatError::Manifest(format!("the header has {len} bytes; at most {max_header} are taken")));
        }
        header[..LENGTH].copy_from_slice(&(len as u64).to_le_bytes());
        Ok(header)
    }
}

impl<'a> Opened<'a> {
    /// Takes a file apart; `missing` is the error for one of another kind.
    pub(crate) fn new(bytes: Bytes<'a>, kind: &Kind, missing: FormatError) -> Result<Self, FormatError> {
        let key = kind.key;
        if pytorch::form(&bytes)?.is_some() {
            return Err(missing);
        }
        let Header { bytes: header, mut texts, tensors } = Header::read(&bytes, kind.max_header)?;
        let hash = texts.remove(&format!("{key}.sha256"));
        match texts.remove(key) {
            None => Err(missing),
            Some(text) => Ok(Self { bytes, text, tensors, header, hash }),
        }
    }

    /// Whether the file is what would be written of what was read, of which `expected` is all but the numbers. `look` sees the
    /// bytes of each tensor, some at a time.
    pub(crate) fn verify(
        &self,
        expected: &Sealed,
        look: impl Fn(&Entry, &[u8]) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        let Some(hash) = &self.hash else { return Err(FormatError::Changed("it has no hash")) };
        if expected.header(hash)? != self.header {
            return Err(FormatError::Changed("its hash does not fit"));
        }
        let mut found = Sha256::new_with_prefix(expected.header(NO_HASH)?);
        let mut chunk = vec![0; CHUNK];
        for tensor in &self.tensors {
            let all = tensor.entry.bytes();
            for at in (0..all).step_by(CHUNK) {
                let chunk = &mut chunk[..CHUNK.min(all - at)];
                tensor.read(&self.bytes, at, chunk)?;
                found.update(&chunk);
                look(&tensor.entry, chunk)?;
            }
        }
        if hex(&found.finalize()) == *hash { Ok(()) } else { Err(FormatError::Changed("its hash does not fit")) }
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
