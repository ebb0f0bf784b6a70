//! NumPy's `.npy` and `.npz` files of arrays.
#![no_main]

use cspnet_formats::numpy::{self, Array};
use cspnet_fuzz::{SLACK, hold, seeds};
use libfuzzer_sys::fuzz_target;

fn files() -> Vec<Vec<u8>> {
    let numbers: Vec<f32> = (0..12).map(|i| i as f32 * 0.5 - 2.0).collect();
    let shapes = [("left", vec![2, 3, 1, 2]), ("b", vec![12])];
    let arrays = shapes.map(|(name, shape)| (name.to_owned(), Array::new(shape, &numbers)));
    vec![numpy::to_bytes(&arrays).expect("sound arrays")]
}

fuzz_target!(init: seeds::plant("numpy", files()), |data: &[u8]| {
    hold(data.len() + SLACK, || numpy::read_bytes(data).map(drop));
});
