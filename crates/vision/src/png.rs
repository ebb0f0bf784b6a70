//! What a PNG file must prove before its decoder sees it (ISO 15948): that its palette consists of whole colours. The decoder takes that
//! for granted. And where its metadata are. Nothing is decoded here.

use crate::VisionError;

const SIGNATURE: usize = 8;
/// Length and name in front of a chunk's content, and the checksum behind it.
const CHUNK_HEADER: usize = 8;
const CHECKSUM: usize = 4;

/// Bytes of a colour of a palette, and of the largest palette.
const COLOUR: usize = 3;
const PALETTE: usize = 256 * COLOUR;

/// Bytes that what stands before a file's pixels may take, beyond those of the file.
const BEFORE_PIXELS: u64 = 16 << 20;

/// Returns the file if its palettes are whole. Where a chunk ends behind the file, that is for the decoder to say.
pub(crate) fn checked(bytes: &[u8]) -> Result<&[u8], VisionError> {
    for Chunk { name, length, .. } in chunks(bytes) {
        if name == b"PLTE" && !(length.is_multiple_of(COLOUR) && (COLOUR..=PALETTE).contains(&length)) {
            return Err(VisionError::damaged("PNG", format!("a palette of {length} bytes")));
        }
    }
    Ok(bytes)
}

/// The file's EXIF metadata, before or behind its pixels.
pub(crate) fn exif(bytes: &[u8]) -> Option<&[u8]> {
    let mut picture = chunks(bytes).take_while(|chunk| chunk.name != b"IEND");
    picture.find(|chunk| chunk.name == b"eXIf")?.content
}

/// A part of a file, as it says of itself.
struct Chunk<'a> {
    name: &'a [u8],
    length: usize,
    /// What is in it, if that is there.
    content: Option<&'a [u8]>,
}

fn chunks(bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut rest = bytes.get(SIGNATURE..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (header, content) = rest.split_first_chunk::<CHUNK_HEADER>()?;
        let (length, name) = header.split_at(4);
        let length = length.first_chunk().map_or(0, |&b| u32::from_be_bytes(b)) as usize;
        rest = length.checked_add(CHECKSUM).and_then(|end| content.get(end..)).unwrap_or_default();
        Some(Chunk { name, length, content: content.get(..length) })
    })
}

/// What the decoder may take for all but the picture, in bytes: it holds two rows, and unpacks a colour profile, which nothing here
/// uses, up to what it may take. Other decoders are given their limits when their pictures are known.
pub(crate) fn before_pixels(bytes: &[u8]) -> u64 {
    // Where the file says its width (11.2.2); a pixel has up to eight bytes.
    let width = bytes.get(16..20).and_then(|b| b.first_chunk()).map_or(0, |&b| u32::from_be_bytes(b));
    bytes.len() as u64 + BEFORE_PIXELS + 16 * u64::from(width)
}
