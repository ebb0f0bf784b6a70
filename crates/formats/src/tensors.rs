//! Tensors of a file, and of a safetensors file in particular: where they stand, and their numbers, which are read piece by piece.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::error::FormatError;
use crate::header::Entries;

/// Longest file that is read.
const MAX_LEN: u64 = 8 << 30;

/// Bytes of numbers that are read at a time: they stay in the first-level cache until they are converted.
const CHUNK: usize = 16 << 10;

/// The bytes of a file, in memory or not.
#[derive(Debug)]
pub(crate) enum Bytes<'a> {
    Memory(&'a [u8]),
    File(OpenFile),
}

/// A regular file that is read here and there.
#[derive(Debug)]
pub(crate) struct OpenFile {
    /// Its cursor is shared by all threads, so one reads at a time.
    file: Mutex<File>,
    path: PathBuf,
    len: usize,
}

impl Bytes<'_> {
    /// Those of a regular file.
    pub(crate) fn open(path: &Path) -> Result<Self, FormatError> {
        let io = |source| FormatError::Io { path: path.to_owned(), what: "read", source };
        let metadata = fs::metadata(path).map_err(io)?;
        let refuse = |why: String| Err(FormatError::NotAFile { path: path.to_owned(), why });
        if !metadata.is_file() {
            return refuse("is no file; give the path of one".into());
        }
        if metadata.len() > MAX_LEN {
            return refuse(format!("has {} bytes; at most {MAX_LEN} are read", metadata.len()));
        }
        let file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len().min(MAX_LEN) as usize;
        Ok(Self::File(OpenFile { file: Mutex::new(file), path: path.to_owned(), len }))
    }

    /// How many they are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::File(file) => file.len,
        }
    }

    /// Fills a slice with the bytes from a place on. Whether they are there has been checked, but files may become shorter.
    pub(crate) fn read(&self, at: usize, out: &mut [u8]) -> Result<(), FormatError> {
        match self {
            Self::Memory(bytes) => out.copy_from_slice(&bytes[at..][..out.len()]),
            Self::File(OpenFile { file, path, .. }) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let read = file.seek(SeekFrom::Start(at as u64)).and_then(|_| file.read_exact(out));
                read.map_err(|source| FormatError::Io { path: path.clone(), what: "read", source })?;
            }
        }
        Ok(())
    }

    /// The error with the file it is about, if there is one.
    pub(crate) fn blame(&self, error: FormatError) -> FormatError {
        match self {
            Self::Memory(_) => error,
            Self::File(OpenFile { path, .. }) => error.at(path),
        }
    }

    /// What changes when a file is written to, where the system tells.
    pub(crate) fn state(&self) -> Option<(u64, SystemTime)> {
        let metadata = self.metadata()?;
        Some((metadata.len(), metadata.modified().ok()?))
    }

    /// What the system says of the file that was opened.
    pub(crate) fn metadata(&self) -> Option<fs::Metadata> {
        let Self::File(OpenFile { file, .. }) = self else { return None };
        file.lock().unwrap_or_else(PoisonError::into_inner).metadata().ok()
    }
}

/// What a header says of a tensor, apart from its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
}

impl Entry {
    /// Bytes of its numbers.
    pub(crate) fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// A tensor in a file.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub entry: Entry,
    /// Where in the file its numbers begin.
    pub begin: usize,
}

impl Stored {
    /// Of which the numbers begin at this place of the file.
    pub(crate) fn new(entry: Entry, begin: usize) -> Self {
        Self { entry, begin }
    }

    /// Whether its numbers can be weights.
    pub(crate) fn holds_numbers(&self) -> bool {
        matches!(self.entry.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
    }

    /// Fills a slice with the bytes of its numbers from a place on.
    pub(crate) fn read(&self, bytes: &Bytes<'_>, at: usize, out: &mut [u8]) -> Result<(), FormatError> {
        bytes.read(self.begin + at, out)
    }

    /// Fills a slice with the numbers from a place on, in single precision.
    pub(crate) fn read_numbers(&self, bytes: &Bytes<'_>, first: usize, out: &mut [f32]) -> Result<(), FormatError> {
        let size = self.entry.dtype.bitsize() / 8;
        let mut chunk = [0; CHUNK];
        for (i, out) in out.chunks_mut(CHUNK / size).enumerate() {
            let chunk = &mut chunk[..out.len() * size];
            self.read(bytes, (first + i * (CHUNK / size)) * size, chunk)?;
            convert(chunk, self.entry.dtype, out);
        }
        Ok(())
    }

    /// All its numbers in single precision.
    pub(crate) fn numbers(&self, bytes: &Bytes<'_>) -> Result<Vec<f32>, FormatError> {
        let mut numbers = vec![0.0; self.entry.shape.iter().product()];
        self.read_numbers(bytes, 0, &mut numbers).map(|()| numbers)
    }
}

/// Bytes as numbers in single precision.
fn convert(bytes: &[u8], dtype: Dtype, out: &mut [f32]) {
    let pairs = bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    match dtype {
        Dtype::F16 => out.iter_mut().zip(pairs).for_each(|(v, b)| *v = f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => out.iter_mut().zip(pairs).for_each(|(v, b)| *v = bf16::from_le_bytes(b).to_f32()),
        Dtype::F64 => {
            let eights = bytes.chunks_exact(8).map(|b| [b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
            out.iter_mut().zip(eights).for_each(|(v, b)| *v = f64::from_le_bytes(b) as f32);
        }
        _ => {
            let fours = bytes.chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            out.iter_mut().zip(fours).for_each(|(v, b)| *v = f32::from_le_bytes(b));
        }
    }
}

/// Whether all numbers of which these are the bytes are finite.
pub(crate) fn are_finite(bytes: &[u8], dtype: Dtype) -> bool {
    match dtype {
        // The largest exponent stands for infinities and for what is no number.
        Dtype::F16 => bytes.chunks_exact(2).all(|b| b[1] & 0x7C != 0x7C),
        Dtype::BF16 => bytes.chunks_exact(2).all(|b| b[1] & 0x7F != 0x7F || b[0] & 0x80 == 0),
        _ => bytes.chunks(CHUNK).all(|bytes| {
            let finite = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).is_finite();
            // Without an end in between, which would make vectors impossible.
            bytes.chunks_exact(4).fold(true, |all, b| all & finite(b))
        }),
    }
}

/// A file's first bytes, and what they say.
pub(crate) struct Header {
    /// Up to the first number.
    pub bytes: Vec<u8>,
    /// Texts by name.
    pub texts: HashMap<String, String>,
    /// In the order of the file.
    pub tensors: Vec<Stored>,
}

impl Header {
    /// Reads a header of at most so many bytes; names, offsets, lengths and shapes are checked.
    pub(crate) fn read(file: &Bytes<'_>, max_len: usize) -> Result<Self, FormatError> {
        let damaged = |why: &dyn std::fmt::Display| FormatError::Damaged(why.to_string());
        let mut length = [0; 8];
        if file.len() < length.len() {
            return Err(damaged(&"it is too short for a header"));
        }
        file.read(0, &mut length)?;
        let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > max_len.min(file.len() - 8) {
            return Err(damaged(&format!(
                "its header would have {length} bytes; the file has {}, and at most {max_len} are read",
                file.len()
            )));
        }
        let mut bytes = vec![0; 8 + length];
        file.read(0, &mut bytes)?;
        let Entries { texts, mut tensors } = serde_json::from_slice(&bytes[8..]).map_err(|e| damaged(&e))?;
        // Files need not name tensors in the order in which they lie.
        tensors.sort_by_key(|(_, info)| info.data_offsets);
        let stored = |(name, info): &(String, TensorInfo)| {
            let entry = Entry { name: name.clone(), dtype: info.dtype, shape: info.shape.clone() };
            Stored { entry, begin: bytes.len().saturating_add(info.data_offsets.0) }
        };
        let places = tensors.iter().map(stored).collect();
        // Whether offsets, lengths and shapes agree.
        let metadata = Metadata::new(None, tensors).map_err(|e| damaged(&e))?;
        if Some(file.len()) != bytes.len().checked_add(metadata.data_len()) {
            return Err(damaged(&"its length is not the one that its header says"));
        }
        Ok(Self { texts, tensors: places, bytes })
    }
}

/// Appends numbers as the bytes of a tensor; `None` where half precision cannot hold one.
pub(crate) fn append(numbers: &[f32], dtype: Dtype, bytes: &mut Vec<u8>) -> Option<()> {
    match dtype {
        Dtype::F16 => {
            for &number in numbers {
                bytes.extend(Some(f16::from_f32(number)).filter(|h| h.is_finite())?.to_le_bytes());
            }
        }
        Dtype::BF16 => {
            for &number in numbers {
                bytes.extend(Some(bf16::from_f32(number)).filter(|h| h.is_finite())?.to_le_bytes());
            }
        }
        _ => {
            // As a loop over places of known length, which takes a tenth of the time of an iterator over bytes.
            let begin = bytes.len();
            bytes.resize(begin + 4 * numbers.len(), 0);
            bytes[begin..].chunks_exact_mut(4).zip(numbers).for_each(|(b, v)| b.copy_from_slice(&v.to_le_bytes()));
        }
    }
    Some(())
}

/// Numbers as they come back from a tensor of a file; `None` where half precision cannot hold one.
pub(crate) fn stored(numbers: &[f32], dtype: Dtype) -> Option<Vec<f32>> {
    let (mut bytes, mut back) = (Vec::new(), vec![0.0; numbers.len()]);
    append(numbers, dtype, &mut bytes)?;
    convert(&bytes, dtype, &mut back);
    Some(back)
}
