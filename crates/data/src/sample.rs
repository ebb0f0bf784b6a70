//! A photo of a data set: where it is, and how it is read; and what is none.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use cspnet_vision::{DecodeOptions, Photo, VisionError, decode, read_file};
use parquet::data_type::ByteArray;

/// A photo and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its file; of a photo in a Parquet file, that file and the number of its row.
    pub path: PathBuf,
    /// Its class, a place in [`DataSet::classes`](crate::DataSet::classes).
    pub class: usize,
    /// The encoded photo, where it is no file of its own.
    packed: Option<Packed>,
}

/// What is not used, and why: a file, a row of one, or all of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file or folder.
    pub path: PathBuf,
    /// Why it is not used.
    pub why: String,
    /// Whether it lies in a class folder, in sight, and cannot be read as a photo: what somebody should look at. Otherwise it is
    /// hidden or beside the class folders, and was probably never meant to be used.
    pub unreadable: bool,
}

/// An encoded photo in memory: a part of a page of its file, which lives as long as any of its photos.
#[derive(Clone)]
struct Packed(ByteArray);

impl PartialEq for Packed {
    fn eq(&self, other: &Self) -> bool {
        self.0.data() == other.0.data()
    }
}

impl Eq for Packed {}

/// Names the size only: a failing assertion shall not print thousands of bytes.
impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({} bytes)", self.0.data().len())
    }
}

impl Sample {
    /// A photo that is a file.
    pub fn file(path: impl Into<PathBuf>, class: usize) -> Self {
        Self { path: path.into(), class, packed: None }
    }

    /// A photo that is in memory.
    pub(crate) fn packed(path: PathBuf, class: usize, bytes: ByteArray) -> Self {
        Self { path, class, packed: Some(Packed(bytes)) }
    }

    /// The encoded photo.
    ///
    /// # Errors
    /// Those of [`read_file`].
    pub(crate) fn bytes(&self, options: &DecodeOptions) -> Result<Cow<'_, [u8]>, VisionError> {
        match &self.packed {
            Some(Packed(bytes)) => Ok(Cow::Borrowed(bytes.data())),
            None => read_file(&self.path, options).map(Cow::Owned),
        }
    }

    /// Reads and decodes the photo.
    ///
    /// # Errors
    /// Those of [`decode_file`](cspnet_vision::decode_file), which name the path.
    pub fn decode(&self, options: &DecodeOptions) -> Result<Photo, VisionError> {
        let photo = self.bytes(options).and_then(|bytes| decode(&bytes, options));
        photo.map_err(|source| VisionError::File { path: self.path.clone(), source: Box::new(source) })
    }
}
