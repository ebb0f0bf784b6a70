//! Files of NumPy: arrays of numbers, one in an `.npy` file, several by name in an `.npz` file.
//!
//! What is read is what `numpy.save`, `numpy.savez` and `numpy.savez_compressed` write of booleans, integers and real numbers, in
//! either order of bytes and of axes (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>); what is written is
//! what `numpy.savez` writes of single precision. An array keeps its bytes and gives its numbers when they are asked for, so it takes
//! no more memory than its file; what is deflated may become [`MAX_GAIN`] longer than the file. Not here: objects, texts, fields and
//! complex numbers, and what the arrays mean.

mod header;
mod write;

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use flate2::read::DeflateDecoder;

use crate::archive::{Archive, Member};
use crate::error::FormatError;
use crate::tensors::Bytes;
use header::Header;

pub use write::to_bytes;

/// How many bytes all arrays of a file together may be longer than the file.
pub const MAX_GAIN: usize = 48 << 20;

/// Most arrays of a file: each may take two kilobytes beside its numbers.
const MAX_ARRAYS: usize = 1 << 12;

/// How an `.npy` file begins.
const NPY: &[u8] = b"\x93NUMPY";

/// How a zip archive begins, and one that is empty.
const ZIP: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// Bytes that are unpacked at a time.
const CHUNK: usize = 64 << 10;

/// Numbers in the order of their axes, the last axis running fastest, as they stand in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    header: Header,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Array {
    /// Numbers of single precision.
    ///
    /// # Panics
    /// If they are not as many as the shape says.
    pub fn new(shape: Vec<usize>, numbers: &[f32]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), numbers.len(), "numbers of shape {shape:?}");
        let bytes = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { header: Header::single(shape.clone()), shape, bytes }
    }

    /// The same numbers in the same order, with axes of other lengths.
    ///
    /// # Panics
    /// If they are not as many as the shape says.
    #[must_use]
    pub fn reshaped(self, shape: Vec<usize>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), self.len(), "numbers of shape {shape:?}");
        Self { shape, ..self }
    }

    /// Lengths of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of the numbers in single precision: integers and numbers of double precision become the nearest, and true becomes 1.
    ///
    /// # Panics
    /// If there are not so many.
    ///
    /// ```
    /// use cspnet_formats::numpy::Array;
    ///
    /// let array = Array::new(vec![2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    /// assert_eq!(array.numbers(2..5), [3.0, 4.0, 5.0]);
    /// ```
    pub fn numbers(&self, places: Range<usize>) -> Vec<f32> {
        assert!(places.end <= self.len(), "{places:?} of {} numbers", self.len());
        let Header { kind, shape, .. } = &self.header;
        let size = kind.size();
        let number = |place: usize| kind.number(&self.bytes[place * size..][..size]);
        match self.header.first_axis_runs_fastest {
            false => places.map(number).collect(),
            true => places.map(|place| number(turned(shape, place))).collect(),
        }
    }

    /// The array in the bytes of an `.npy` file.
    fn of_bytes(mut bytes: Vec<u8>) -> Result<Self, FormatError> {
        let (header, begin) = Header::parse(&bytes).map_err(FormatError::NumPy)?;
        let expected = header.bytes();
        if Some(bytes.len() - begin) != expected {
            let shape = &header.shape;
            return Err(FormatError::NumPy(format!("{} bytes of numbers for shape {shape:?}", bytes.len() - begin)));
        }
        bytes.drain(..begin);
        Ok(Self { shape: header.shape.clone(), header, bytes })
    }
}

/// Where a number stands if the first axis runs fastest, given its place if the last one does.
fn turned(shape: &[usize], place: usize) -> usize {
    let (mut rest, mut step) = (place, shape.iter().product::<usize>());
    let mut turned = 0;
    for &len in shape.iter().rev() {
        step /= len;
        turned += rest % len * step;
        rest /= len;
    }
    turned
}

/// The arrays of a file by name; that of an `.npy` file has none. `None` if the file is neither by its first bytes.
///
/// # Errors
/// If it cannot be read, is damaged, holds something else than numbers or more than 4096 arrays, or would become more than
/// [`MAX_GAIN`] longer than it is.
pub fn read(path: impl AsRef<Path>) -> Result<Option<BTreeMap<String, Array>>, FormatError> {
    let file = Bytes::open(path.as_ref())?;
    read_from(&file).map_err(|error| file.blame(error))
}

/// The arrays in the bytes of a file, as [`read`] has them.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(bytes: &[u8]) -> Result<Option<BTreeMap<String, Array>>, FormatError> {
    read_from(&Bytes::Memory(bytes))
}

fn read_from(file: &Bytes<'_>) -> Result<Option<BTreeMap<String, Array>>, FormatError> {
    let mut begin = [0; NPY.len()];
    let begin = &mut begin[..file.len().min(NPY.len())];
    file.read(0, begin)?;
    if ZIP.iter().any(|zip| begin.starts_with(zip)) {
        return archived(file).map(Some);
    }
    if begin != NPY {
        return Ok(None);
    }
    let mut bytes = vec![0; file.len()];
    file.read(0, &mut bytes)?;
    Ok(Some(BTreeMap::from([(String::new(), Array::of_bytes(bytes)?)])))
}

/// The arrays in an archive; members that are none by their names are left where they are.
fn archived(file: &Bytes<'_>) -> Result<BTreeMap<String, Array>, FormatError> {
    let archive = Archive::open(file, FormatError::NumPy)?;
    let members = archive.members().filter_map(|(name, member)| Some((name.strip_suffix(".npy")?, member)));
    let members: BTreeMap<&str, &Member> = members.collect();
    if members.len() > MAX_ARRAYS {
        return Err(FormatError::NumPy(format!("it has {} arrays; at most {MAX_ARRAYS} are read", members.len())));
    }
    let length = |member: &&Member| member.unpacked.unwrap_or(member.len);
    let whole = members.values().try_fold(0_usize, |sum, member| sum.checked_add(length(member)));
    if whole.is_none_or(|whole| whole > file.len() + MAX_GAIN) {
        return Err(FormatError::NumPy(format!(
            "it would unpack to {} bytes, and at most {MAX_GAIN} more than the file has are taken; write it without compression, \
             with `numpy.savez`",
            whole.map_or("countless".into(), |whole| whole.to_string())
        )));
    }
    let array = |(name, member): (&str, &Member)| {
        let array = unpacked(file, member).and_then(Array::of_bytes).map_err(|e| e.within(name))?;
        Ok((name.to_owned(), array))
    };
    members.into_iter().map(array).collect()
}

/// What a member's bytes become.
fn unpacked(file: &Bytes<'_>, member: &Member) -> Result<Vec<u8>, FormatError> {
    let damaged = |why: &str| FormatError::NumPy(format!("{why}; copy or write the file again"));
    let bytes = match member.unpacked {
        None => member.read(file)?,
        Some(len) => inflated(file, member, len).map_err(|why| damaged(&why))?,
    };
    match crc32fast::hash(&bytes) == member.crc {
        true => Ok(bytes),
        false => Err(damaged("its bytes are not those written")),
    }
}

/// The so many bytes that those of a deflated member become.
fn inflated(file: &Bytes<'_>, member: &Member, len: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; len];
    let mut inflating = DeflateDecoder::new_with_buf(Piece { file, member, at: 0 }, vec![0; CHUNK]);
    inflating.read_exact(&mut bytes).map_err(|e| format!("cannot be unpacked to {len} bytes: {e}"))?;
    match inflating.read(&mut [0]) {
        Ok(0) => Ok(bytes),
        _ => Err(format!("unpacks to more than the {len} bytes that the archive says")),
    }
}

/// A member's bytes from a place on.
struct Piece<'a> {
    file: &'a Bytes<'a>,
    member: &'a Member,
    at: usize,
}

impl Read for Piece<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = out.len().min(self.member.len - self.at);
        self.file.read(self.member.begin + self.at, &mut out[..len]).map_err(io::Error::other)?;
        self.at += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests;
