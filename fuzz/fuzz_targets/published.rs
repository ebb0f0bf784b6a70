//! Files of other libraries: safetensors and PyTorch's, told by their bytes.
#![no_main]

use std::sync::LazyLock;

use cspnet_formats::read_published_bytes;
use cspnet_fuzz::{SLACK, hold, network, pickle, seeds};
use cspnet_graph::Graph;
use libfuzzer_sys::fuzz_target;

static NETWORK: LazyLock<Graph> = LazyLock::new(network);

fn files() -> Vec<Vec<u8>> {
    let written = seeds::of("tests/golden/pytorch", &[".pth", ".pt"]);
    let made = pickle::pickles().iter().map(|code| pickle::file(code)).collect();
    [written, made, seeds::models()].concat()
}

fuzz_target!(init: seeds::plant("published", files()), |data: &[u8]| {
    hold(data.len() + SLACK, || read_published_bytes(data, &NETWORK));
});
