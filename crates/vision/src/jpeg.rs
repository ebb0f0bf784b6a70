//! JPEG: a walk over the markers that proves the file complete, then the strict decoder.
//!
//! The decoder fills what is missing with grey and stays silent where it can, so completeness is proven here.

use std::borrow::Cow;
use std::ops::Range;

use image::metadata::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use crate::options::Budget;
use crate::orient::upright;
use crate::{Photo, VisionError};

const FORMAT: &str = "JPEG";

/// Most scans of a picture. Encoders write some ten; each one makes the decoder go through the whole picture, however few its bytes.
const MAX_SCANS: u32 = 100;

/// Decodes a JPEG of one (grey), three (YCbCr, RGB) or four (CMYK, YCCK) components. Inks are taken as inverted, as Adobe
/// writes them, with or without an Adobe segment; so does Pillow.
pub(crate) fn decode(bytes: &[u8], budget: Budget<'_>) -> Result<Photo, VisionError> {
    let outline =
        Outline::read(bytes).ok_or_else(|| VisionError::damaged(FORMAT, "the data end before the end marker"))?;
    if outline.scans > MAX_SCANS {
        let reason = format!("it has {} scans, and at most {MAX_SCANS} are read", outline.scans);
        return Err(VisionError::Unsupported { format: FORMAT, reason });
    }
    let bytes = without_strays(bytes, budget)?;
    let copied = if matches!(bytes, Cow::Owned(_)) { bytes.len() as u64 } else { 0 };
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&bytes[..]), options());
    decoder.decode_headers().map_err(error)?;
    let info = decoder.info().ok_or_else(|| VisionError::damaged(FORMAT, "no frame header"))?;

    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    let pixels = budget.pixels(FORMAT, width, height)?;
    let turned = if orientation == Orientation::NoTransforms { 0 } else { 3 * pixels };
    let held = outline.coefficients_held(width, height, info.components);
    budget.memory(copied + 3 * pixels + turned.max(held))?;

    let mut rgb = vec![0; 3 * pixels as usize];
    decoder.decode_into(&mut rgb).map_err(error)?;
    Ok(upright(Photo::new(width, height, rgb)?, orientation))
}

fn options() -> DecoderOptions {
    // 65535 is the longest side the format knows; the limit on pixels is checked before anything is allocated.
    DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
}

fn error(error: DecodeErrors) -> VisionError {
    match error {
        DecodeErrors::Unsupported(_) => VisionError::Unsupported {
            format: FORMAT,
            reason: "its coding is lossless, arithmetic or extended sequential".into(),
        },
        other => VisionError::damaged(FORMAT, format!("{other:?}").trim().replace('\n', " ")),
    }
}

/// The file without what lies between the segments before its first scan. Other decoders skip it, ours would take it for damage.
fn without_strays<'a>(bytes: &'a [u8], budget: Budget<'_>) -> Result<Cow<'a, [u8]>, VisionError> {
    let mut headers: Vec<Range<usize>> = Vec::new();
    let mut at = 2;
    while let Some(segment) = Segment::next(bytes, at) {
        at = segment.place.end;
        if matches!(segment.marker, 0xda | 0xd9) {
            headers.push(segment.place.start..bytes.len());
            break;
        }
        // A stuffed byte marks nothing.
        if segment.marker != 0 {
            headers.push(segment.place);
        }
    }
    if headers.iter().map(Range::len).sum::<usize>() + 2 == bytes.len() {
        return Ok(Cow::Borrowed(bytes));
    }
    budget.memory(bytes.len() as u64)?;
    let mut whole = Vec::with_capacity(bytes.len());
    whole.extend_from_slice(&bytes[..2]);
    headers.into_iter().for_each(|header| whole.extend_from_slice(&bytes[header]));
    Ok(Cow::Owned(whole))
}

/// A marker, and what belongs to it.
struct Segment {
    marker: u8,
    place: Range<usize>,
}

impl Segment {
    /// The first from a place on; `None` if the data end before its end.
    fn next(bytes: &[u8], from: usize) -> Option<Self> {
        let at = from + bytes.get(from..)?.iter().position(|&byte| byte == 0xff)?;
        let at = at + bytes[at..].iter().position(|&byte| byte != 0xff)?;
        let marker = bytes[at];
        let length = match marker {
            // Stuffed bytes, TEM, the restart markers and both ends of the image stand alone.
            0x00 | 0x01 | 0xd0..=0xd9 => 0,
            _ => bytes.get(at + 1..)?.first_chunk().map(|&b| u16::from_be_bytes(b))?.into(),
        };
        let end = at + 1 + length;
        (end <= bytes.len()).then_some(Self { marker, place: at - 1..end })
    }
}

/// What the markers tell (ITU-T T.81, annex B).
#[derive(Debug, Default, PartialEq)]
struct Outline {
    progressive: bool,
    scans: u32,
}

impl Outline {
    /// Follows the markers from the first to the end-of-image marker; `None` if the data end before it.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut outline = Self::default();
        let mut at = 2;
        loop {
            let segment = Segment::next(bytes, at)?;
            match segment.marker {
                0xd9 => return Some(outline),
                0xc2 => outline.progressive = true,
                0xda => outline.scans += 1,
                _ => {}
            }
            at = segment.place.end;
        }
    }

    /// Bytes for the coefficients, two each, of a picture that cannot be put out row by row.
    fn coefficients_held(&self, width: u32, height: u32, components: u8) -> u64 {
        if !self.progressive && self.scans <= 1 {
            return 0;
        }
        let padded = |side: u32| u64::from(side).next_multiple_of(32);
        padded(width) * padded(height) * u64::from(components) * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"\xff\xd8\xff\xee\0\x08Adobe\0\xff\xc2\0\x03x\xff\xda\0\x03yab\xff\0cd\xff\xd0e\xff\xff\xd9";

    #[test]
    fn reads_the_outline() {
        let expected = Outline { progressive: true, scans: 1 };
        assert_eq!(Outline::read(FILE), Some(expected));
    }

    #[test]
    fn a_file_without_its_end_has_no_outline() {
        for end in 0..FILE.len() {
            assert_eq!(Outline::read(&FILE[..end]), None, "{end} bytes");
        }
    }

    /// The thumbnail in a metadata segment is a whole JPEG: its end marker must not count.
    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end() {
        let bytes = b"\xff\xd8\xff\xe1\0\x06\xff\xd8\xff\xd9\xff\xda\0\x02ab";
        assert_eq!(Outline::read(bytes), None);
    }
}
