//! ONNX files.
#![no_main]

use cspnet_formats::onnx::{Network, ReadOptions};
use cspnet_fuzz::{SLACK, hold, seeds};
use libfuzzer_sys::fuzz_target;

fn files() -> Vec<Vec<u8>> {
    [seeds::of("tests/golden/onnx", &[".onnx"]), seeds::onnx_files()].concat()
}

fuzz_target!(init: seeds::plant("onnx", files()), |data: &[u8]| {
    hold(data.len() + SLACK, || Network::from_bytes(data, &ReadOptions::default()).map(drop));
});
