//! Darknet's `.cfg` files.
#![no_main]

use cspnet_formats::darknet::{Network, original};
use cspnet_fuzz::{SLACK, hold, seeds};
use libfuzzer_sys::fuzz_target;

fn files() -> Vec<Vec<u8>> {
    // One of the long ones: they take milliseconds each.
    let long = original("resnext50").expect("a network of Darknet's").into_bytes();
    [seeds::of("tests/golden/darknet", &[".cfg"]), vec![long]].concat()
}

fuzz_target!(init: seeds::plant("cfg", files()), |data: &[u8]| {
    hold(data.len() + SLACK, || Network::parse(&String::from_utf8_lossy(data)));
});
