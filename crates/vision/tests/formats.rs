//! Every supported format and colour type against Pillow, orientation, and the options of decoding.

mod common;

use std::collections::BTreeMap;
use std::io::Write;

use common::{chunk, crc32, data, from_hex, max_difference, photo_file, photos};
use cspnet_vision::{DecodeOptions, VisionError, decode, decode_file};
use serde::Deserialize;

/// The background on which the expected pixels of photos with alpha were laid.
const BACKGROUND: [u8; 3] = [10, 200, 30];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    size: (u32, u32),
    pixels: String,
}

fn options() -> DecodeOptions {
    DecodeOptions { background: BACKGROUND, ..DecodeOptions::default() }
}

/// All agree to the bit, but for JPEGs, whose standard leaves the last bits of the transform to the decoder, and the
/// inks of TIFF, which its decoder does not round to the nearest.
fn tolerance(name: &str) -> u8 {
    match name {
        "cmyk.tif" => 1,
        jpeg if jpeg.ends_with(".jpg") => 2,
        _ => 0,
    }
}

#[test]
fn photos_decode_as_in_pillow() {
    let json = std::fs::read(data("photos.json")).unwrap();
    let expected: BTreeMap<String, Expected> = serde_json::from_slice(&json).unwrap();
    let photos = photos();
    assert_eq!(photos.len(), expected.len());
    for (name, bytes) in photos {
        let expected = &expected[&name];
        let photo = decode(&bytes, &options()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((photo.width(), photo.height()), expected.size, "{name}");
        let difference = max_difference(photo.pixels(), &from_hex(&expected.pixels));
        assert!(difference <= tolerance(&name), "{name} differs by {difference}");
    }
}

/// `bytes` of a JPEG with an EXIF segment that holds the orientation `tag` and nothing else.
fn with_orientation(bytes: &[u8], tag: u8) -> Vec<u8> {
    let mut exif = b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".to_vec();
    exif.extend([0, tag, 0, 0, 0, 0, 0, 0]);
    [&bytes[..2], &exif, &bytes[2..]].concat()
}

/// Where the stored pixel (x, y) of a `w` x `h` picture is seen, by the table of EXIF 2.32, 4.6.5.1 (orientation).
fn seen_at(tag: u8, (x, y): (u32, u32), (w, h): (u32, u32)) -> (u32, u32) {
    match tag {
        2 => (w - 1 - x, y),
        3 => (w - 1 - x, h - 1 - y),
        4 => (x, h - 1 - y),
        5 => (y, x),
        6 => (h - 1 - y, x),
        7 => (h - 1 - y, w - 1 - x),
        8 => (y, w - 1 - x),
        _ => (x, y),
    }
}

#[test]
fn every_orientation_is_applied() {
    let bytes = photo_file("rgb_444.jpg");
    let stored = decode(&bytes, &options()).unwrap();
    let (w, h) = (stored.width(), stored.height());
    // 0, 9 and 200 are no orientations; such photos are left as they are.
    for tag in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 200] {
        let upright = decode(&with_orientation(&bytes, tag), &options()).unwrap();
        let size = if (5..=8).contains(&tag) { (h, w) } else { (w, h) };
        assert_eq!((upright.width(), upright.height()), size, "tag {tag}");
        for (i, pixel) in stored.pixels().chunks(3).enumerate() {
            let (x, y) = seen_at(tag, (i as u32 % w, i as u32 / w), (w, h));
            let at = (y * size.0 + x) as usize * 3;
            assert_eq!(&upright.pixels()[at..at + 3], pixel, "tag {tag}");
        }
    }
}

/// Where a photo says how it is turned (tag 0x0112, one number of 16 bits), in either order of bytes.
fn with_tag(name: &str, tag: u8) -> Vec<u8> {
    let mut bytes = photo_file(name);
    let entries = [&b"\x01\x12\0\x03\0\0\0\x01\0"[..], b"\x12\x01\x03\0\x01\0\0\0"];
    let place =
        entries.iter().find_map(|entry| Some(bytes.windows(entry.len()).position(|w| w == *entry)? + entry.len()));
    bytes[place.unwrap()] = tag;
    if name.ends_with(".png") {
        let at = bytes.windows(4).position(|w| w == b"eXIf").unwrap();
        let end = at + 4 + u32::from_be_bytes(bytes[at - 4..at].try_into().unwrap()) as usize;
        let checksum = crc32(&bytes[at..end]).to_be_bytes();
        bytes[end..end + 4].copy_from_slice(&checksum);
    }
    bytes
}

#[test]
fn every_orientation_is_applied_in_every_format_that_has_one() {
    for name in ["turned.jpg", "turned.png", "turned.webp", "turned.tif"] {
        let decoded = |tag| decode(&with_tag(name, tag), &options()).unwrap_or_else(|e| panic!("{name}, {tag}: {e}"));
        let stored = decoded(1);
        let (w, h) = (stored.width(), stored.height());
        for tag in 1..=8 {
            let upright = decoded(tag);
            let width = if tag < 5 { w } else { h };
            assert_eq!((upright.width(), upright.height()), (width, w * h / width), "{name}, {tag}");
            for (i, pixel) in stored.pixels().chunks(3).enumerate() {
                let (x, y) = seen_at(tag, (i as u32 % w, i as u32 / w), (w, h));
                let at = 3 * (y * width + x) as usize;
                assert_eq!(&upright.pixels()[at..at + 3], pixel, "{name}, {tag}");
            }
        }
    }
}

/// The first part of a file of chunks that has this name: where it is, and what is in it.
fn part(bytes: &[u8], name: &[u8; 4]) -> (std::ops::Range<usize>, Vec<u8>) {
    let at = bytes.windows(4).position(|w| w == name).unwrap();
    if bytes.starts_with(b"RIFF") {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        (at..at + 8 + length.next_multiple_of(2), bytes[at + 8..at + 8 + length].to_vec())
    } else {
        let length = u32::from_be_bytes(bytes[at - 4..at].try_into().unwrap()) as usize;
        (at - 4..at + 8 + length, bytes[at + 4..at + 4 + length].to_vec())
    }
}

#[test]
fn exif_may_begin_as_in_jpeg_and_stand_behind_the_pixels() {
    let upright = |bytes: &[u8]| decode(bytes, &options()).unwrap();
    let png = photo_file("turned.png");
    let (place, exif) = part(&png, b"eXIf");
    let prefixed = [b"Exif\0\0", &exif[..]].concat();
    for exif in [&exif, &prefixed, &[b"Exif\0\0", &prefixed[..]].concat()] {
        let mut moved = png.clone();
        moved.drain(place.clone());
        let end = moved.len() - 12;
        moved.splice(end..end, chunk(b"eXIf", exif));
        assert!(upright(&moved) == upright(&png));
        let mut there = png.clone();
        there.splice(place.clone(), chunk(b"eXIf", exif));
        assert!(upright(&there) == upright(&png));
    }
    let webp = photo_file("turned.webp");
    let (place, exif) = part(&webp, b"EXIF");
    let exif = [b"Exif\0\0", &exif[..]].concat();
    let padding = &[0][..exif.len() % 2];
    let mut prefixed = webp.clone();
    prefixed.splice(place, [b"EXIF", &(exif.len() as u32).to_le_bytes()[..], &exif, padding].concat());
    let length = (prefixed.len() as u32 - 8).to_le_bytes();
    prefixed[4..8].copy_from_slice(&length);
    assert!(upright(&prefixed) == upright(&webp));
}

#[test]
fn bytes_between_segments_of_a_jpeg_are_passed_over() {
    for name in ["rgb_444.jpg", "progressive.jpg", "turned.jpg", "restarts.jpg"] {
        let bytes = photo_file(name);
        let whole = decode(&bytes, &options()).unwrap();
        let first = 4 + usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
        let second = first + 2 + usize::from(u16::from_be_bytes([bytes[first + 2], bytes[first + 3]]));
        for stray in [&b"\0\0\0\0\0\0"[..], b"stray bytes", b"\xff\0ab\xff\0\xda\xc0", &[0xff; 9]] {
            let mut longer = bytes.clone();
            longer.splice(second..second, stray.iter().copied());
            assert!(decode(&longer, &options()).unwrap() == whole, "{name}, {stray:?}");
            for cut in 1..longer.len().min(60) {
                assert!(decode(&longer[..longer.len() - cut], &options()).is_err(), "{name}, {cut} bytes less");
            }
        }
    }
}

/// A PNG of this depth and kind (ISO 15948), whose samples are a function of their place: in one pass, or in Adam7's seven.
fn png((width, height): (usize, usize), depth: usize, colour: u8, interlaced: bool) -> Vec<u8> {
    // First row and column of each pass, and how far apart its rows and columns are.
    const ADAM7: [[usize; 4]; 7] =
        [[0, 0, 8, 8], [0, 4, 8, 8], [4, 0, 8, 4], [0, 2, 4, 4], [2, 0, 4, 2], [0, 1, 2, 2], [1, 0, 2, 1]];
    let channels = [1, 0, 3, 1, 2, 0, 4][usize::from(colour)];
    let sample = |x: usize, y: usize, c: usize| ((x * 40_503 + y * 30_011 + c * 20_201) % 65_536) >> (16 - depth);
    let mut rows = Vec::new();
    let whole = [[0, 0, 1, 1]];
    let passes: &[[usize; 4]] = if interlaced { &ADAM7 } else { &whole };
    for &[top, left, down, right] in passes {
        for y in (top..height).step_by(down).filter(|_| left < width) {
            let samples = (left..width).step_by(right).flat_map(|x| (0..channels).map(move |c| sample(x, y, c)));
            let bits: Vec<bool> = samples.flat_map(|s| (0..depth).rev().map(move |bit| s >> bit & 1 == 1)).collect();
            rows.push(0);
            rows.extend(
                bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |b, (i, &bit)| b | u8::from(bit) << (7 - i))),
            );
        }
    }
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&rows).unwrap();
    let size = [(width as u32).to_be_bytes(), (height as u32).to_be_bytes()].concat();
    let header = [&size[..], &[depth as u8, colour, 0, 0, u8::from(interlaced)]].concat();
    let palette: Vec<u8> = (0..=255).flat_map(|i: u8| [i, i.wrapping_mul(7), 255 - i]).collect();
    let palette = if colour == 3 { chunk(b"PLTE", &palette[..3 << depth]) } else { Vec::new() };
    let picture = chunk(b"IDAT", &packer.finish().unwrap());
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), palette, picture, chunk(b"IEND", b"")].concat()
}

#[test]
fn interlaced_pictures_have_the_pixels_of_those_that_are_not() {
    for size in [(13, 9), (1, 1), (5, 2), (2, 5), (8, 8)] {
        for (colour, depths) in
            [(0, &[1, 2, 4, 8, 16][..]), (2, &[8, 16]), (3, &[1, 2, 4, 8]), (4, &[8, 16]), (6, &[8, 16])]
        {
            for &depth in depths {
                let [plain, interlaced] =
                    [false, true].map(|interlaced| decode(&png(size, depth, colour, interlaced), &options()).unwrap());
                assert_eq!((plain.width() as usize, plain.height() as usize), size);
                assert!(plain == interlaced, "{size:?}, colour {colour}, depth {depth}");
            }
        }
    }
    // The samples themselves.
    let photo = decode(&png((13, 9), 8, 2, true), &options()).unwrap();
    assert_eq!(photo.pixels()[3 * (4 * 13 + 7) + 1], (((7 * 40_503 + 4 * 30_011 + 20_201) % 65_536) >> 8) as u8);
}

#[test]
fn transparent_pixels_lie_on_white_unless_told_otherwise() {
    let bytes = photo_file("transparent.png");
    let white = decode(&bytes, &DecodeOptions::default()).unwrap();
    let green = decode(&bytes, &options()).unwrap();
    let differing = white.pixels().chunks(3).zip(green.pixels().chunks(3));
    let behind: Vec<_> = differing.filter(|(white, green)| white != green).collect();
    assert!(!behind.is_empty());
    assert!(behind.iter().all(|&(white, green)| white == [255; 3] && green == BACKGROUND));
}

#[test]
fn limits_are_exact_and_each_has_its_error() {
    let bytes = photo_file("rgb.png");
    let tight = DecodeOptions {
        max_bytes: bytes.len() as u64,
        max_pixels: 13 * 9,
        max_alloc: 13 * 9 * 3,
        ..DecodeOptions::default()
    };
    assert!(decode(&bytes, &tight).is_ok());
    let refused = |options| decode(&bytes, &options).unwrap_err();
    let fewer_bytes = DecodeOptions { max_bytes: tight.max_bytes - 1, ..tight.clone() };
    assert!(matches!(refused(fewer_bytes), VisionError::TooManyBytes { .. }));
    let fewer_pixels = DecodeOptions { max_pixels: tight.max_pixels - 1, ..tight.clone() };
    assert!(matches!(refused(fewer_pixels), VisionError::TooManyPixels { width: 13, height: 9, limit: 116 }));
    let less_memory = DecodeOptions { max_alloc: tight.max_alloc - 1, ..tight };
    assert!(matches!(refused(less_memory), VisionError::TooMuchMemory { limit: 350 }));
}

#[test]
fn conversions_and_turns_count_as_memory() {
    let pixels = 13 * 9;
    let needs = [
        ("alpha.png", 7 * pixels),
        ("alpha_16.png", 11 * pixels),
        ("turned.png", 6 * pixels),
        ("turned.jpg", 6 * pixels),
        ("rgb_420.jpg", 3 * pixels),
        ("progressive.jpg", 3 * pixels + 2 * 3 * 32 * 32),
    ];
    for (name, bytes) in needs {
        let file = photo_file(name);
        let with = |max_alloc| {
            let options = DecodeOptions { max_alloc, ..DecodeOptions::default() };
            decode(&file, &options)
        };
        assert!(with(bytes).is_ok(), "{name}");
        assert!(with(bytes - 1).is_err(), "{name}");
    }
}

#[test]
fn files_are_read_and_errors_name_them() {
    let path = data("photos").join("rgb.png");
    let photo = decode_file(&path, &options()).unwrap();
    assert!(photo == decode(&photo_file("rgb.png"), &options()).unwrap());

    let missing = decode_file(data("missing.png"), &options()).unwrap_err().to_string();
    assert!(missing.contains("missing.png: cannot read the file"), "{missing}");
    let table = decode_file(data("photos.json"), &options()).unwrap_err().to_string();
    assert!(table.contains("photos.json: the bytes are no picture format"), "{table}");
    let tiny = DecodeOptions { max_bytes: 10, ..options() };
    let long = decode_file(&path, &tiny).unwrap_err().to_string();
    assert!(long.contains("rgb.png: the photo has") && long.contains("limit is 10"), "{long}");
    assert!(matches!(decode(&[], &options()), Err(VisionError::Empty)));
}

/// Opening a pipe would wait for its writer for ever.
#[cfg(unix)]
#[test]
fn devices_are_refused() {
    let error = decode_file("/dev/null", &options()).unwrap_err().to_string();
    assert!(error.starts_with("/dev/null: this is a pipe, socket or device"), "{error}");
}
