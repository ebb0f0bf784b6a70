//! Bytes of a photo -> upright RGB, within limits that are checked before memory is taken.
//!
//! Not here: the limits themselves ([`crate::options`]), and JPEG ([`crate::jpeg`]).

use std::borrow::Cow;
use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use crate::colour::Meaning;
use crate::options::{Budget, DecodeOptions};
use crate::orient::{from_exif, upright};
use crate::{Photo, VisionError, colour, jpeg, png, tiff, webp};

/// How names of files end that [`decode`] reads.
const ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// Whether a file is called like a photo, which says nothing of what is in it.
pub fn is_called_a_photo(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| ENDINGS.iter().any(|p| e.eq_ignore_ascii_case(p)))
}

/// Decodes the bytes of a JPEG, PNG, WebP, GIF, BMP or TIFF file to an upright RGB photo.
///
/// - The format is told from the first bytes. Of an animation the first frame is taken.
/// - The orientation of the metadata (EXIF, TIFF) is applied. Colour profiles are not, as in Pillow and torchvision.
/// - Grey becomes equal RGB. 16-bit samples become `v * 255 / 65535`, floating-point ones `v * 255`, each rounded to the
///   nearest integer, the latter limited to 0..=255. CMYK becomes `(255 - ink) * (255 - black) / 255`, rounded (JPEG)
///   or within 1 of it (TIFF); the inks of JPEGs are taken as inverted, as Adobe writes them and Pillow reads them.
/// - Pixels with alpha are laid on [`DecodeOptions::background`], after rounding to 8 bits.
///
/// # Errors
/// A file that is truncated or damaged, of an unknown or unsupported format, or beyond the limits of `options`. The limits
/// are checked on the header, before memory for pixels is taken.
///
/// ```
/// use cspnet_vision::{DecodeOptions, VisionError, decode};
///
/// let error = decode(b"not a photo", &DecodeOptions::default()).unwrap_err();
/// assert!(matches!(error, VisionError::UnknownFormat));
/// ```
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Photo, VisionError> {
    let budget = Budget(options);
    budget.bytes(bytes.len() as u64)?;
    let format = image::guess_format(bytes).ok().or(tiff::is_big(bytes).then_some(ImageFormat::Tiff));
    let plain = |bytes, exif: Option<&[u8]>| Known {
        bytes: Cow::Borrowed(bytes),
        meaning: Meaning::Plain,
        orientation: Some(exif.map_or(Orientation::NoTransforms, from_exif)),
    };
    let (format, name, known) = match format {
        Some(ImageFormat::Jpeg) => return jpeg::decode(bytes, budget),
        Some(format @ ImageFormat::Png) => (format, "PNG", plain(png::checked(bytes)?, png::exif(bytes))),
        Some(format @ ImageFormat::WebP) => {
            let container = webp::checked(bytes)?;
            (format, "WebP", plain(container, webp::exif(container)))
        }
        Some(format @ ImageFormat::Gif) => (format, "GIF", plain(bytes, None)),
        Some(format @ ImageFormat::Bmp) => (format, "BMP", plain(bytes, None)),
        Some(format @ ImageFormat::Tiff) => {
            let tiff::Checked { bytes, meaning } = tiff::checked(bytes, budget)?;
            (format, "TIFF", Known { bytes, meaning, orientation: None })
        }
        _ => return Err(VisionError::UnknownFormat),
    };
    decode_as(format, name, &known, budget)
}

/// What is known of a file before its decoder sees it.
struct Known<'a> {
    /// What the decoder sees.
    bytes: Cow<'a, [u8]>,
    /// What its samples mean.
    meaning: Meaning,
    /// How the photo is turned, unless the decoder is asked.
    orientation: Option<Orientation>,
}

/// Reads and decodes the photo at `path` as [`decode`] does. Only regular files are opened, and not beyond
/// [`DecodeOptions::max_bytes`].
///
/// # Errors
/// Those of [`decode`], those of the operating system, and [`VisionError::NotAFile`], each within a
/// [`VisionError::File`] that names the path.
///
/// ```
/// use cspnet_vision::{DecodeOptions, decode_file};
///
/// let error = decode_file(".", &DecodeOptions::default()).unwrap_err();
/// assert_eq!(error.to_string(), ".: this is a directory, not a file; give the path of a photo");
/// ```
pub fn decode_file(path: impl AsRef<Path>, options: &DecodeOptions) -> Result<Photo, VisionError> {
    let path = path.as_ref();
    read_file(path, options)
        .and_then(|bytes| decode(&bytes, options))
        .map_err(|source| VisionError::File { path: path.to_path_buf(), source: Box::new(source) })
}

/// The bytes of the file at `path`, for [`decode`]. Only regular files are opened, and not beyond
/// [`DecodeOptions::max_bytes`].
///
/// # Errors
/// Those of the operating system, [`VisionError::NotAFile`], [`VisionError::Empty`] and [`VisionError::TooManyBytes`]. They do
/// not name the path.
pub fn read_file(path: impl AsRef<Path>, options: &DecodeOptions) -> Result<Vec<u8>, VisionError> {
    let path = path.as_ref();
    // Looked at before opening, because opening a pipe waits for its writer.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() { "a directory" } else { "a pipe, socket or device" };
        return Err(VisionError::NotAFile { kind });
    }
    Budget(options).bytes(metadata.len())?;
    let mut bytes = Vec::new();
    // One byte more, so that `decode` refuses a file that grew in the meantime.
    let most = options.max_bytes.saturating_add(1);
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn decode_as(
    format: ImageFormat,
    name: &'static str,
    known: &Known<'_>,
    budget: Budget<'_>,
) -> Result<Photo, VisionError> {
    let bytes = &known.bytes[..];
    let copied = if matches!(known.bytes, Cow::Owned(_)) { bytes.len() as u64 } else { 0 };
    let limit = budget.0.max_alloc;
    let error = |error| from_image(error, name, limit);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits(if format == ImageFormat::Png { png::before_pixels(bytes).min(limit) } else { limit }));
    let mut decoder = reader.into_decoder().map_err(error)?;
    let (width, height) = decoder.dimensions();
    let colour = decoder.color_type();
    let orientation = known.orientation.map_or_else(|| decoder.orientation(), Ok).map_err(error)?;
    let rgb = 3 * budget.pixels(name, width, height)?;
    let raw = decoder.total_bytes();
    let converted = if colour == ColorType::Rgb8 { 0 } else { rgb };
    let turned = if orientation == Orientation::NoTransforms { 0 } else { 2 * rgb };
    let peak = raw.saturating_add(converted.max(scratch(format, rgb / 3, raw)));
    budget.memory(copied.saturating_add(peak.max(turned)))?;
    decoder.set_limits(limits(limit - raw)).map_err(error)?;

    let mut samples = vec![0; raw as usize];
    decoder.read_image(&mut samples).map_err(error)?;
    let pixels = colour::to_rgb(samples, colour, &known.meaning, budget.0.background);
    let pixels = pixels.ok_or_else(|| VisionError::Unsupported {
        format: name,
        reason: format!("the decoder gave the colour type {colour:?}"),
    })?;
    Ok(upright(Photo::new(width, height, pixels)?, orientation))
}

fn limits(max_alloc: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_alloc);
    limits
}

/// What a decoder holds for itself besides the samples it puts out, in bytes, where it knows no limits or hits them late.
fn scratch(format: ImageFormat, pixels: u64, raw: u64) -> u64 {
    match format {
        // A frame and the canvas it is drawn on, both with alpha.
        ImageFormat::WebP => 8 * pixels,
        // The whole picture once more.
        ImageFormat::Tiff => raw,
        _ => 0,
    }
}

fn from_image(error: ImageError, format: &'static str, limit: u64) -> VisionError {
    match error {
        ImageError::Limits(_) => VisionError::TooMuchMemory { limit },
        ImageError::Unsupported(error) => VisionError::Unsupported { format, reason: error.to_string() },
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            VisionError::damaged(format, "the data end too early")
        }
        other => VisionError::damaged(format, other),
    }
}
