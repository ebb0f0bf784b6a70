//! Darknet's `.weights` files: what is read is written again to the byte.
#![no_main]

use std::sync::LazyLock;

use cspnet_formats::darknet::{self, Network};
use cspnet_fuzz::{SLACK, hold, seeds};
use libfuzzer_sys::fuzz_target;

static NETWORK: LazyLock<Network> = LazyLock::new(|| {
    let text =
        b"[net]\nwidth=8\nheight=8\n[convolutional]\nfilters=2\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n\
        [avgpool]\n[connected]\noutput=3\nactivation=linear\n";
    Network::parse(&String::from_utf8_lossy(text)).expect("a sound network")
});

fn files() -> Vec<Vec<u8>> {
    let numbers: Vec<u8> = (0..2 * 27 + 8 + 9).flat_map(|i| (i as f32 * 0.37 - 5.0).to_le_bytes()).collect();
    let file = |version: [u8; 2], seen: usize| {
        [&[version[0], 0, 0, 0, version[1], 0, 0, 0, 0, 0, 0, 0][..], &vec![7; seen], &numbers].concat()
    };
    vec![file([0, 1], 4), file([0, 2], 8), file([1, 0], 8)]
}

fuzz_target!(init: seeds::plant("weights", files()), |data: &[u8]| {
    if let Some((weights, header)) = hold(data.len() + SLACK, || NETWORK.read_weights_bytes(data)) {
        let written = darknet::write(&NETWORK.graph, &weights, NETWORK.size, header);
        assert_eq!(written.expect("what was read can be written").weights, data);
    }
});
