//! Photos of every format.
#![no_main]

use cspnet_fuzz::{hold, seeds, told};
use cspnet_vision::{DecodeOptions, decode};
use libfuzzer_sys::fuzz_target;

/// The limits, and what tables, metadata and the decoder's own may take beside the pixels.
const PIXELS: u64 = 1 << 20;
const PICTURE: u64 = 16 << 20;
const BESIDE: usize = 32 << 20;

fuzz_target!(init: seeds::plant("photo", seeds::of("crates/vision/tests/data/photos", &[""])), |data: &[u8]| {
    let options = DecodeOptions { max_pixels: PIXELS, max_alloc: PICTURE, ..DecodeOptions::default() };
    let read = || decode(data, &options).map_err(told);
    if let Some(photo) = hold(data.len() + PICTURE as usize + BESIDE, read) {
        let pixels = u64::from(photo.width()) * u64::from(photo.height());
        assert!((1..=PIXELS).contains(&pixels) && photo.pixels().len() as u64 == 3 * pixels);
    }
});
