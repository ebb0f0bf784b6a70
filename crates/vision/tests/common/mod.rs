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

/// A TIFF of one strip with these tags, their types and values, in either order of bytes, with places of 32 bits or of 64 (BigTIFF).
pub fn tiff(tags: &[(u16, u16, Vec<u64>)], strip: &[u8], little: bool, big: bool) -> Vec<u8> {
    let number = |n: u64, len: usize| -> Vec<u8> {
        let mut bytes = n.to_le_bytes()[..len].to_vec();
        if !little {
            bytes.reverse();
        }
        bytes
    };
    let word = if big { 8 } else { 4 };
    let head = if big { 16 } else { 8 };
    let mut tags = tags.to_vec();
    let place = if big { 16 } else { 4 };
    tags.extend([(273, place, vec![head]), (279, place, vec![strip.len() as u64])]);
    tags.sort();
    let (mut beside, mut entries) = (strip.to_vec(), Vec::new());
    for (tag, kind, values) in &tags {
        let size = [0, 1, 1, 2, 4].get(usize::from(*kind)).copied().unwrap_or(8);
        let mut bytes: Vec<u8> = values.iter().flat_map(|&n| number(n, size)).collect();
        if bytes.len() > word {
            let at = number(head + beside.len() as u64, word);
            beside.extend(std::mem::replace(&mut bytes, at));
        }
        bytes.resize(word, 0);
        let entry = [number((*tag).into(), 2), number((*kind).into(), 2), number(values.len() as u64, word), bytes];
        entries.extend(entry.concat());
    }
    let directory = number(head + beside.len() as u64, word);
    let magic = if big { [number(43, 2), number(8, 2), number(0, 2)].concat() } else { number(42, 2) };
    let count = number(tags.len() as u64, if big { 8 } else { 2 });
    [if little { b"II" } else { b"MM" }, &magic[..], &directory, &beside, &count, &entries, &number(0, word)].concat()
}

/// Tags of a TIFF of this size without compression: so many samples of 8 bits, which mean this.
pub fn tiff_tags((width, height): (u64, u64), photometric: u64, samples: u64) -> Vec<(u16, u16, Vec<u64>)> {
    let bits = vec![8; samples as usize];
    let tags = [(256, vec![width]), (257, vec![height]), (258, bits), (259, vec![1]), (262, vec![photometric])];
    let more = [(277, vec![samples]), (278, vec![height])];
    tags.into_iter().chain(more).map(|(tag, values)| (tag, 3, values)).collect()
}
