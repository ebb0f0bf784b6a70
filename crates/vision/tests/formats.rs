//! Every supported format and colour type against Pillow, orientation, and the options of decoding.

mod common;

use std::collections::BTreeMap;

use common::{data, from_hex, max_difference, photo_file, photos};
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
