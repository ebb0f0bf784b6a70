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

/// Lossless formats agree to the bit. The lossy ones leave the last bits of their transforms to the decoder.
fn tolerance(name: &str) -> u8 {
    match name {
        _ if name.ends_with(".jpg") => 2,
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
        println!("{name} {difference}");
        assert!(difference <= tolerance(&name), "{name} differs by {difference}");
    }
}
