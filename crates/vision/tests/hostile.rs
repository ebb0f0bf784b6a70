//! Hostile bytes: whatever comes in, decoding returns, and takes no more memory than its limits say.

mod common;

use std::io::Write;

use allocation_counter::measure;
use common::{chunk, crc32, from_hex, photo_file, photos, tiff, tiff_tags};
use cspnet_vision::{DecodeOptions, Photo, VisionError, decode};
use proptest::prelude::*;

/// Small limits keep thousands of damaged pictures quick; the fixtures themselves stay far below.
fn small() -> DecodeOptions {
    DecodeOptions { max_pixels: 1 << 16, max_alloc: 1 << 20, ..DecodeOptions::default() }
}

/// Decodes and checks what must hold for any bytes.
fn survive(bytes: &[u8]) -> Result<Photo, VisionError> {
    let result = decode(bytes, &small());
    match &result {
        Ok(photo) => {
            let pixels = u64::from(photo.width()) * u64::from(photo.height());
            assert_eq!(photo.pixels().len() as u64, 3 * pixels);
            assert!(pixels <= small().max_pixels);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    result
}

/// Bytes that decoding holds at a time on this thread, and what comes of it. Other tests take memory meanwhile.
fn measured(decode: impl FnOnce() -> Result<Photo, VisionError>) -> (usize, Result<Photo, VisionError>) {
    let mut result = None;
    let memory = measure(|| result = Some(decode()));
    (memory.bytes_max as usize, result.expect("decoding returned"))
}

#[test]
fn truncations_of_every_photo_end_in_a_value() {
    for (name, bytes) in photos() {
        assert!(survive(&bytes).is_ok(), "{name}");
        for end in 0..bytes.len() {
            let decoded = survive(&bytes[..end]);
            // A JPEG without its end must never pass: its decoder would make up the rest in grey. WebP says its length.
            let refused = name.ends_with(".jpg") || name.ends_with(".webp");
            assert!(!refused || decoded.is_err(), "{name}, {end} of {} bytes", bytes.len());
        }
    }
}

/// Half a file never holds a whole photo, except that of an animation it may hold the first frame.
#[test]
fn half_photos_are_refused() {
    for (name, bytes) in photos().into_iter().filter(|(name, _)| !name.starts_with("two_frames")) {
        assert!(survive(&bytes[..bytes.len() / 2]).is_err(), "{name}");
    }
}

#[test]
fn single_damaged_bytes_end_in_a_value() {
    for (_, mut bytes) in photos() {
        for at in 0..bytes.len() {
            let original = bytes[at];
            for damaged in [0, 0xff, original ^ 1, original ^ 0x80] {
                bytes[at] = damaged;
                let _ = survive(&bytes);
            }
            bytes[at] = original;
        }
    }
}

/// Numbers that look random and are the same every time (xorshift64*; Vigna 2016).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % end
    }
}

/// A file of which one bit in so many is turned.
fn noisy(bytes: &[u8], one_in: usize, dice: &mut Dice) -> Vec<u8> {
    let mut noisy = bytes.to_vec();
    for _ in 0..(8 * bytes.len()).div_ceil(one_in) {
        noisy[dice.below(bytes.len())] ^= 1 << dice.below(8);
    }
    noisy
}

/// Where names of parts stand: markers of JPEG, one byte, and chunks of PNG and WebP, four letters.
fn marks(name: &str, bytes: &[u8]) -> (usize, Vec<usize>) {
    let is_jpeg = name.ends_with(".jpg");
    let is_mark = |w: &[u8]| if is_jpeg { w[0] == 0xff && w[1] != 0 } else { w.iter().all(u8::is_ascii_alphabetic) };
    let places = (0..bytes.len().saturating_sub(3)).filter(|&at| is_mark(&bytes[at..at + if is_jpeg { 2 } else { 4 }]));
    if is_jpeg { (1, places.map(|at| at + 1).collect()) } else { (4, places.collect()) }
}

/// A file in which two parts have each other's names; `None` if there are none.
fn swapped(name: &str, bytes: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
    let (len, places) = marks(name, bytes);
    let mut swapped = bytes.to_vec();
    let [a, b] = [*places.get(dice.below(places.len().max(1)))?, *places.get(dice.below(places.len().max(1)))?];
    (0..len).for_each(|i| swapped.swap(a + i, b + i));
    Some(swapped)
}

/// Decodes each photo in `rounds` damaged forms of each kind and cut at each sixty-fourth; returns how many forms that were.
fn decode_damaged(rounds: u64) -> usize {
    let mut forms = 0;
    let mut hold = |name: &str, bytes: &[u8]| {
        let (taken, _) = measured(|| survive(bytes));
        assert!(taken as u64 <= small().max_alloc + (32 << 20), "{name}: {taken} bytes");
        forms += 1;
    };
    for (name, bytes) in photos() {
        (0..64).for_each(|part| hold(&name, &bytes[..bytes.len() * part / 64]));
        for round in 0..rounds {
            let mut dice = Dice(1 + round);
            // Shares of 0.05, 0.01, 0.004 and 0.001.
            for one_in in [20, 100, 250, 1000] {
                hold(&name, &noisy(&bytes, one_in, &mut dice));
            }
            if let Some(swapped) = swapped(&name, &bytes, &mut dice) {
                hold(&name, &swapped);
            }
        }
    }
    forms
}

#[test]
fn noise_and_parts_under_other_names_end_in_a_value() {
    assert!(decode_damaged(40) > 8000);
}

/// To be run by hand, when a decoder has another version.
#[test]
#[ignore = "takes half a minute"]
fn a_million_damaged_photos_end_in_a_value() {
    assert!(decode_damaged(5500) > 1_000_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_after_a_signature_end_in_a_value(
        signature in 0_usize..7,
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let signatures: [&[u8]; 7] = [
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"RIFF\x80\0\0\0WEBP",
            b"GIF89a",
            b"BM",
            b"II*\0",
            b"",
        ];
        let _ = survive(&[signatures[signature], &bytes].concat());
    }

    #[test]
    fn several_damaged_bytes_end_in_a_value(
        which: prop::sample::Index,
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let photos = photos();
        let (_, mut bytes) = photos[which.index(photos.len())].clone();
        for (at, byte) in damages {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = survive(&bytes);
    }
}

/// Overwrites `value` at the place where `bytes` first has `after`, behind it.
fn patch(name: &str, after: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = photo_file(name);
    let at = bytes.windows(after.len()).position(|window| window == after);
    let at = at.unwrap() + after.len();
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

/// A PNG with a valid header of that size.
fn png(width: u32, height: u32) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let mut bytes = patch("rgb.png", b"\0\0\0\x0dIHDR", &size);
    let checksum = crc32(&bytes[12..29]).to_be_bytes();
    bytes[29..33].copy_from_slice(&checksum);
    bytes
}

/// Each header declares more pixels than allowed, or a part larger than the whole; none may cost memory.
#[test]
fn hostile_headers_take_no_memory() {
    let files = [
        ("PNG", png(0x7fff_ffff, 0x7fff_ffff)),
        ("PNG of one row", png(0x7fff_ffff, 1)),
        ("JPEG", patch("rgb_444.jpg", b"\xff\xc0\0\x11\x08", &[0xff; 4])),
        ("progressive JPEG", patch("progressive.jpg", b"\xff\xc2\0\x11\x08", &[0xff; 4])),
        ("GIF", patch("palette.gif", b"GIF87a", &[0xff; 4])),
        ("BMP", patch("rgb.bmp", b"\x28\0\0\0", &[0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0])),
        ("TIFF", patch("rgb.tif", b"\0\x01\x04\0\x01\0\0\0", &[0xff, 0xff, 0xff, 0x0f])),
        ("WebP canvas", patch("alpha_lossy.webp", b"VP8X\x0a\0\0\0\x10\0\0\0", &[0xff, 0x3f, 0, 0xff, 0x3f, 0])),
        ("PNG of 65500 a side", png(65_500, 65_500)),
        ("PNG of a thousand million pixels", png(31_623, 31_623)),
        ("JPEG of 65500 a side", patch("rgb_444.jpg", b"\xff\xc0\0\x11\x08", &[0xff, 0xdc, 0xff, 0xdc])),
        ("GIF of 65500 a side", patch("palette.gif", b"GIF87a", &[0xdc, 0xff, 0xdc, 0xff])),
        (
            "WebP of 65500 a side",
            patch("alpha_lossy.webp", b"VP8X\x0a\0\0\0\x10\0\0\0", &[0xdb, 0xff, 0, 0xdb, 0xff, 0]),
        ),
        ("BMP of a thousand million pixels", patch("rgb.bmp", b"\x28\0\0\0", &[0x87, 0x7b, 0, 0, 0x87, 0x7b, 0, 0])),
        ("WebP frame", patch("alpha_lossy.webp", b"\x9d\x01\x2a", &[0xff, 0x3f, 0xff, 0x3f])),
        ("WebP chunk", patch("turned.webp", b"EXIF", &[0xff, 0xff, 0xff, 0x7f])),
    ];
    for (name, bytes) in files {
        let (taken, result) = measured(|| decode(&bytes, &DecodeOptions::default()));
        let error = result.unwrap_err().to_string();
        // The last two claim a part that is larger than the whole.
        let is_larger = ["WebP frame", "WebP chunk"].contains(&name);
        let names_limit =
            error.contains("the limit is 178956970") || error.contains("takes more than 1073741824 bytes");
        assert!(is_larger || names_limit, "{name}: {error}");
        assert!(taken < 1 << 20, "{name} took {taken} bytes");
    }
}

/// A PNG with one more chunk behind its header.
fn with_chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut bytes = photo_file("rgb.png");
    bytes.splice(33..33, chunk(kind, content));
    bytes
}

/// What unpacks to many times its size beside the picture: a colour profile and texts.
#[test]
fn bombs_beside_the_picture_take_no_memory() {
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    (0..256).for_each(|_| packer.write_all(&[0; 1 << 20]).unwrap());
    let bomb = packer.finish().unwrap();
    let named = |between: &[u8]| [b"name\0", between, &bomb].concat();
    for (kind, content) in [(b"iCCP", named(b"\0")), (b"zTXt", named(b"\0")), (b"iTXt", named(b"\x01\0\0\0"))] {
        let bytes = with_chunk(kind, &content);
        let (taken, result) = measured(|| decode(&bytes, &DecodeOptions::default()));
        assert!(taken < bytes.len() + (64 << 20), "{taken} bytes for {}", String::from_utf8_lossy(kind));
        assert_eq!(result.unwrap(), decode(&photo_file("rgb.png"), &DecodeOptions::default()).unwrap());
    }
    // A text as it is has no limit but the file's.
    let bytes = with_chunk(b"tEXt", &[b"name\0", &vec![b'a'; 40 << 20][..]].concat());
    assert!(measured(|| decode(&bytes, &DecodeOptions::default())).0 < bytes.len() + (64 << 20));
}

/// What fuzzing found: directories of TIFF whose lists claim gigabytes, for which memory was taken before any limit was known.
#[test]
fn lists_that_claim_many_values_take_no_memory() {
    let found = from_hex(
        "49492a0008000000090000010400010000000d0000000101040001004d00000900000002010300010000000800000003\
         0101000100000001000000060103000100000001000049492a0008000000090000010400010000000d00000001010411\
         010400010000007a0000001601040001000000090000001789504e470d0a1a0a010400010000",
    );
    let (taken, result) = measured(|| decode(&found, &DecodeOptions::default()));
    assert!(result.is_err() && taken < 1 << 20, "{taken}");
    let sound = photo_file("rgb.tif");
    let first = u32::from_le_bytes(sound[4..8].try_into().unwrap()) as usize;
    let entries = u16::from_le_bytes([sound[first], sound[first + 1]]);
    for at in (0..usize::from(entries)).map(|i| first + 2 + 12 * i) {
        for count in [u32::MAX, 1 << 24, 1 << 20] {
            let mut bytes = sound.clone();
            bytes[at + 4..at + 8].copy_from_slice(&count.to_le_bytes());
            let (taken, result) = measured(|| decode(&bytes, &DecodeOptions::default()));
            assert!(result.is_err() && taken < 1 << 20, "{taken} bytes for {count} values at {at}");
        }
    }
}

/// The same in files of 64 bits, with a palette and with a description that claims all of the file.
#[test]
fn big_tiffs_and_copies_of_tiffs_take_no_more_memory_than_their_files() {
    let mut tags = tiff_tags((3, 2), 3, 1);
    tags.push((320, 3, vec![0x5A00; 768]));
    tags.push((270, 2, vec![b'x'.into(); 1 << 20]));
    for big in [false, true] {
        let sound = tiff(&tags, &[1; 6], true, big);
        let (taken, result) = measured(|| decode(&sound, &DecodeOptions::default()));
        assert!(result.is_ok() && taken < sound.len() + (1 << 20), "{taken}");
        let no_copy = DecodeOptions { max_alloc: sound.len() as u64, ..DecodeOptions::default() };
        assert!(matches!(decode(&sound, &no_copy), Err(VisionError::TooMuchMemory { .. })));
        let (word, head, entry) = if big { (8, 8, 20) } else { (4, 2, 12) };
        let place = |at: usize| sound[at..at + word].iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte));
        let first = place(word) + head;
        for at in (0..tags.len() + 2).map(|i| first + entry * i + 4) {
            for count in [u64::MAX, u32::MAX.into(), 1 << 24, 1 << 21] {
                let mut bytes = sound.clone();
                bytes[at..at + word].copy_from_slice(&count.to_le_bytes()[..word]);
                let (taken, result) = measured(|| decode(&bytes, &DecodeOptions::default()));
                assert!(result.is_err() && taken < 1 << 20, "{taken} bytes for {count} values at {at}");
            }
        }
        (0..sound.len()).step_by(997).for_each(|end| assert!(survive(&sound[..end]).is_err()));
    }
}

/// The strict decoder sees a copy of a JPEG that has something between its segments.
#[test]
fn copies_of_jpegs_count_as_memory() {
    let mut bytes = photo_file("rgb_444.jpg");
    let first = 4 + usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
    bytes.splice(first..first, vec![b'x'; 10 << 20]);
    let with = |max_alloc| decode(&bytes, &DecodeOptions { max_alloc, ..DecodeOptions::default() });
    let (taken, result) = measured(|| with(11 << 20));
    assert!(result.is_ok() && (10 << 20..12 << 20).contains(&taken), "{taken}");
    assert!(matches!(with(9 << 20), Err(VisionError::TooMuchMemory { .. })));
}

/// What fuzzing found: palettes of PNG that end within a colour, on which the decoder panicked.
#[test]
fn palettes_of_broken_colours_are_refused() {
    let sound = photo_file("palette.png");
    let at = sound.windows(4).position(|w| w == b"PLTE").unwrap() - 4;
    let length = u32::from_be_bytes(sound[at..at + 4].try_into().unwrap()) as usize;
    let colours = &sound[at + 8..at + 8 + length];
    for palette in
        [&colours[..length - 1], &colours[..length - 2], &colours[..1], &[], &[7; 3 * 257], &[7; 3 * 256 + 1]]
    {
        for kind in [b"PLTE", b"tRNS"] {
            let mut bytes = sound.clone();
            let (end, more) = if kind == b"PLTE" { (at + 12 + length, vec![]) } else { (at, chunk(b"PLTE", colours)) };
            bytes.splice(at..end, [chunk(kind, palette), more].concat());
            let result = survive(&bytes);
            if kind == b"PLTE" {
                let error = result.unwrap_err().to_string();
                assert!(error.contains(&format!("a palette of {} bytes", palette.len())), "{error}");
            }
        }
    }
}

/// What is small and takes long: pictures of many passes, of which one would do.
#[test]
fn pictures_of_many_passes_are_refused_or_end_with_the_first() {
    let progressive = photo_file("progressive.jpg");
    let last = progressive.windows(2).rposition(|w| w == b"\xff\xda").unwrap();
    let (head, scan) = progressive.split_at(last);
    let scans = |count: usize| [head, &scan[..scan.len() - 2].repeat(count), b"\xff\xd9"].concat();
    let error = decode(&scans(1000), &DecodeOptions::default()).unwrap_err().to_string();
    assert!(error.contains("at most 100 are read"), "{error}");
    let frame = b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0";
    let gif = [b"GIF89a\x01\0\x01\0\x80\0\0\xff\0\0\0\0\0", &frame.repeat(10_000)[..], b"\x3b"].concat();
    let (taken, photo) = measured(|| decode(&gif, &DecodeOptions::default()));
    assert_eq!(photo.unwrap().pixels(), [255, 0, 0]);
    assert!(taken < 1 << 20, "{taken}");
    // A directory whose next is itself.
    let mut tiff = photo_file("rgb.tif");
    let place = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let first = place(&tiff, 4);
    let next = first + 2 + 12 * usize::from(u16::from_le_bytes([tiff[first], tiff[first + 1]]));
    let itself = (first as u32).to_le_bytes();
    tiff[next..next + 4].copy_from_slice(&itself);
    let error = decode(&tiff, &DecodeOptions::default()).unwrap_err().to_string();
    assert!(error.contains("cycle"), "{error}");
}
