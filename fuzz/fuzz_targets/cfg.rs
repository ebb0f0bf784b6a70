//! Darknet's `.cfg` files.
#![no_main]

use cspnet_formats::darknet::{Network, ORIGINALS, original};
use cspnet_fuzz::{SLACK, hold, seeds};
use libfuzzer_sys::fuzz_target;

fn files() -> Vec<Vec<u8>> {
    let originals = ORIGINALS.iter().filter_map(|name| original(name)).map(String::into_bytes);
    seeds::of("tests/golden/darknet", &[".cfg"]).into_iter().chain(originals).collect()
}

fuzz_target!(init: seeds::plant("cfg", files()), |data: &[u8]| {
    hold(data.len() + SLACK, || Network::parse(&String::from_utf8_lossy(data)));
});
