//! The one error type of this crate: what failed, why, and what to do about it.

use std::path::PathBuf;

/// Everything that can go wrong between the bytes of a photo and the pixels for a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VisionError {
    /// The error `source` happened while reading the photo `path`.
    #[error("{}: {source}", path.display())]
    File {
        /// The photo.
        path: PathBuf,
        /// What went wrong with it.
        source: Box<VisionError>,
    },
    /// The operating system refused.
    #[error("cannot read the file: {0}; check that it exists and that you may read it")]
    Io(#[from] std::io::Error),
    /// The path names a directory, a pipe or a device.
    #[error("this is {kind}, not a file; give the path of a photo")]
    NotAFile {
        /// What the path names.
        kind: &'static str,
    },
    /// There are no bytes at all.
    #[error("the photo is empty (0 bytes); copy or download it again")]
    Empty,
    /// The first bytes belong to no picture format known here.
    #[error("the bytes are no picture format known here; convert the photo to JPEG, PNG, WebP, GIF, BMP or TIFF")]
    UnknownFormat,
    /// The format, or the variant of it, is known but cannot be decoded.
    #[error("unsupported {format}: {reason}; convert the photo to a baseline JPEG or an 8-bit PNG")]
    Unsupported {
        /// The format, by its usual name.
        format: &'static str,
        /// What is not supported.
        reason: String,
    },
    /// The bytes break the rules of their format, or end too early.
    #[error("damaged {format}: {reason}; copy or download the photo again")]
    Damaged {
        /// The format, by its usual name.
        format: &'static str,
        /// The rule that is broken.
        reason: String,
    },
    /// The file is longer than [`DecodeOptions::max_bytes`](crate::DecodeOptions::max_bytes).
    #[error("the photo has {bytes} bytes, the limit is {limit}; make it smaller or raise `max_bytes`")]
    TooManyBytes {
        /// Length of the file.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The header declares more pixels than [`DecodeOptions::max_pixels`](crate::DecodeOptions::max_pixels).
    #[error(
        "the photo declares {width} x {height} pixels, the limit is {limit}; make it smaller or raise `max_pixels`"
    )]
    TooManyPixels {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// The limit, in pixels.
        limit: u64,
    },
    /// Decoding needs more memory than [`DecodeOptions::max_alloc`](crate::DecodeOptions::max_alloc).
    #[error("decoding the photo takes more than {limit} bytes of memory; make it smaller or raise `max_alloc`")]
    TooMuchMemory {
        /// The limit, in bytes.
        limit: u64,
    },
    /// A photo has no pixels, or a buffer does not hold `width * height` RGB pixels.
    #[error(
        "{bytes} bytes are no photo of {width} x {height} pixels; pass 3 * width * height bytes and sides of at least 1"
    )]
    Shape {
        /// Width asked for.
        width: u32,
        /// Height asked for.
        height: u32,
        /// Length of the buffer.
        bytes: usize,
    },
    /// A side of zero was asked for, or resizing would hold more than
    /// [`MAX_RESIZED_PIXELS`](crate::geometry::MAX_RESIZED_PIXELS) pixels.
    #[error(
        "cannot resize {from_width} x {from_height} pixels to {width} x {height}: a step of it would hold {pixels} pixels, \
         allowed are 1 to {limit}; crop the photo to a less extreme shape first"
    )]
    ResizeTooLarge {
        /// Width of the photo.
        from_width: u32,
        /// Height of the photo.
        from_height: u32,
        /// Width asked for.
        width: u64,
        /// Height asked for.
        height: u64,
        /// Pixels of the largest picture on the way.
        pixels: u64,
        /// The most pixels allowed.
        limit: u64,
    },
    /// A field of a [`Preprocess`](crate::Preprocess) makes no sense.
    #[error("preprocessing: `{field}` is {value}, but must be {rule}; correct the model file")]
    Preprocess {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
}

impl VisionError {
    pub(crate) fn damaged(format: &'static str, reason: impl ToString) -> Self {
        Self::Damaged { format, reason: reason.to_string() }
    }
}
