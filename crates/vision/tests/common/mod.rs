//! What the tests of this crate share: the fixture files and synthetic pictures.
#![allow(dead_code, reason = "each test binary compiles this module and uses a part of it")]

use std::path::PathBuf;

use cspnet_vision::Photo;

/// Path of a file under `tests/data`.
pub fn data(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "data", name].iter().collect()
}

/// The photos under `tests/data/photos`: name and bytes.
pub fn photos() -> Vec<(String, Vec<u8>)> {
    let mut photos: Vec<_> = std::fs::read_dir(data("photos"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    photos.sort();
    photos
}

/// The photo `name` under `tests/data/photos`.
pub fn photo_file(name: &str) -> Vec<u8> {
    std::fs::read(data("photos").join(name)).unwrap()
}

/// Bytes written as hexadecimal digits.
pub fn from_hex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Noise that is a pure function of position, channel and `seed`; `binary` noise is black and white only.
pub fn noise(width: u32, height: u32, seed: u32, binary: bool) -> Photo {
    let mut pixels = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            pixels.extend((0..3).map(|channel| {
                let byte = hash([x, y, channel, seed]);
                if binary { (byte >> 7) * 255 } else { byte }
            }));
        }
    }
    Photo::new(width, height, pixels).unwrap()
}

fn hash(key: [u32; 4]) -> u8 {
    const FACTORS: [u32; 4] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f];
    let products = key.iter().zip(FACTORS).map(|(k, factor)| k.wrapping_mul(factor));
    let mut v = products.fold(0, u32::wrapping_add);
    v = (v ^ (v >> 15)).wrapping_mul(0x2c1b_3c6d);
    v = (v ^ (v >> 12)).wrapping_mul(0x297a_2d39);
    (v ^ (v >> 15)) as u8
}

/// The largest difference of two pictures in any channel.
pub fn max_difference(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// The checksum of PNG chunks (ISO 3309).
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// A chunk of a PNG file.
pub fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let body = [kind, content].concat();
    [&(content.len() as u32).to_be_bytes()[..], &body, &crc32(&body).to_be_bytes()].concat()
}
