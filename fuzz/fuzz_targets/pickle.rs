//! The pickle of a PyTorch file, by itself: around it the archive is sound.
#![no_main]

use std::sync::LazyLock;

use cspnet_formats::read_published_bytes;
use cspnet_fuzz::{SLACK, hold, network, pickle, seeds};
use cspnet_graph::Graph;
use libfuzzer_sys::fuzz_target;

static NETWORK: LazyLock<Graph> = LazyLock::new(network);

fuzz_target!(init: seeds::plant("pickle", pickle::pickles()), |data: &[u8]| {
    let file = pickle::file(data);
    hold(file.len() + SLACK, || read_published_bytes(&file, &NETWORK));
});
