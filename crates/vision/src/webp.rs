//! What a WebP file must prove before its decoder sees it (RFC 9649): every chunk lies inside the file, and no frame is
//! larger than the canvas. The decoder believes both and allocates accordingly. Nothing is decoded here.

use crate::VisionError;

const CHUNK_HEADER: usize = 8;
/// Position and size, duration and flags in front of the chunks of an animation frame.
const FRAME_HEADER: usize = 16;

/// Returns the file without anything that follows its RIFF container.
pub(crate) fn checked(bytes: &[u8]) -> Result<&[u8], VisionError> {
    let size = read_u32(bytes, 4).ok_or_else(truncated)?;
    let end = CHUNK_HEADER.checked_add(size as usize);
    let container = end.and_then(|end| bytes.get(..end)).ok_or_else(truncated)?;
    let chunks = container.get(12..).ok_or_else(truncated)?;
    let canvas = match chunks.get(..4) {
        Some(b"VP8X") => Some(canvas(chunks).ok_or_else(truncated)?),
        _ => None,
    };
    check_chunks(chunks, canvas, false)?;
    Ok(container)
}

/// The EXIF metadata of a file that has been checked.
pub(crate) fn exif(container: &[u8]) -> Option<&[u8]> {
    let mut rest = container.get(12..).filter(|chunks| chunks.starts_with(b"VP8X"))?;
    loop {
        let (header, body) = rest.split_first_chunk::<CHUNK_HEADER>()?;
        let size = read_u32(header, 4)? as usize;
        if header.starts_with(b"EXIF") {
            return body.get(..size);
        }
        rest = body.get(size.checked_add(size % 2)?..)?;
    }
}

fn check_chunks(mut rest: &[u8], canvas: Option<(u32, u32)>, in_frame: bool) -> Result<(), VisionError> {
    while rest.len() >= CHUNK_HEADER {
        let (header, body) = rest.split_at(CHUNK_HEADER);
        let size = read_u32(header, 4).ok_or_else(truncated)? as usize;
        let payload = body.get(..size).ok_or_else(truncated)?;
        match &header[..4] {
            // Frames do not nest; else so would this function.
            b"ANMF" if in_frame => return Err(VisionError::damaged("WebP", "a frame within a frame")),
            b"ANMF" => check_chunks(payload.get(FRAME_HEADER..).unwrap_or_default(), canvas, true)?,
            b"VP8 " => check_frame(payload, canvas)?,
            _ => {}
        }
        rest = body.get(size + size % 2..).unwrap_or_default();
    }
    Ok(())
}

fn check_frame(payload: &[u8], canvas: Option<(u32, u32)>) -> Result<(), VisionError> {
    let size = read_u32(payload, 6).ok_or_else(truncated)?;
    let (width, height) = (size & 0x3fff, (size >> 16) & 0x3fff);
    match canvas {
        Some(canvas) if width > canvas.0 || height > canvas.1 => Err(VisionError::damaged(
            "WebP",
            format!("a frame of {width} x {height} does not fit the canvas of {canvas:?}"),
        )),
        _ => Ok(()),
    }
}

/// Width and height of the canvas, stored less one in 24 bits each.
fn canvas(vp8x: &[u8]) -> Option<(u32, u32)> {
    let width = read_u32(vp8x, CHUNK_HEADER + 4)? & 0x00ff_ffff;
    let height = read_u32(vp8x, CHUNK_HEADER + 6)? >> 8;
    Some((width + 1, height + 1))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn truncated() -> VisionError {
    VisionError::damaged("WebP", "the data end too early")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: &[u8; 4], payload: &[u8]) -> Vec<u8> {
        let size = (payload.len() as u32).to_le_bytes();
        let padding = &[0][..payload.len() % 2];
        [&name[..], &size, payload, padding].concat()
    }

    fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
        chunk(b"RIFF", &[&b"WEBP"[..], &chunks.concat()].concat())
    }

    fn vp8x(width: u8, height: u8) -> Vec<u8> {
        chunk(b"VP8X", &[0, 0, 0, 0, width - 1, 0, 0, height - 1, 0, 0])
    }

    fn vp8(width: u8, height: u8) -> Vec<u8> {
        chunk(b"VP8 ", &[0, 0, 0, 0x9d, 1, 0x2a, width, 0, height, 0])
    }

    #[test]
    fn drops_what_follows_the_container() {
        let whole = file(&[vp8x(3, 4), vp8(3, 4)]);
        let longer = [&whole[..], b"EXIF\xff\xff\xff\xff"].concat();
        assert_eq!(checked(&longer).unwrap(), whole);
    }

    #[test]
    fn refuses_chunks_beyond_the_file_and_frames_beyond_the_canvas() {
        let whole = file(&[vp8x(3, 4), vp8(3, 4)]);
        for end in 0..whole.len() {
            assert!(checked(&whole[..end]).is_err());
        }
        let mut long_chunk = whole.clone();
        long_chunk[16] = 200;
        assert!(checked(&long_chunk).is_err());
        assert!(checked(&file(&[vp8x(3, 4), vp8(4, 4)])).is_err());
        let animated = |frame| chunk(b"ANMF", &[vec![0; FRAME_HEADER], frame].concat());
        assert!(checked(&file(&[vp8x(3, 4), animated(vp8(3, 4))])).is_ok());
        assert!(checked(&file(&[vp8x(3, 4), animated(vp8(3, 5))])).is_err());
    }

    #[test]
    fn frames_within_frames_are_refused_however_deep() {
        const DEEP: usize = 100_000;
        let head = CHUNK_HEADER + FRAME_HEADER;
        let level =
            |i: usize| [&b"ANMF"[..], &((head * i - CHUNK_HEADER) as u32).to_le_bytes(), &[0; FRAME_HEADER]].concat();
        let nested: Vec<u8> = (1..=DEEP).rev().flat_map(level).collect();
        let error = checked(&file(&[vp8x(3, 4), nested])).unwrap_err().to_string();
        assert!(error.contains("a frame within a frame"), "{error}");
    }
}
