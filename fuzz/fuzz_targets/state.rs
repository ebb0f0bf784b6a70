//! A state file, as it stands on the disk.
#![no_main]

use cspnet_formats::StateFile;
use cspnet_fuzz::{SLACK, hold, place, seeds};
use libfuzzer_sys::fuzz_target;

fn files() -> Vec<Vec<u8>> {
    let place = place();
    let path = place.path().join("state");
    let tensors = [("a".into(), vec![1.5, f32::INFINITY]), ("b".into(), Vec::new())].into();
    StateFile { text: "{\"epoch\":3}".into(), tensors }.write(&path).expect("a state is written");
    vec![std::fs::read(&path).expect("what was written")]
}

fuzz_target!(init: seeds::plant("state", files()), |data: &[u8]| {
    hold(data.len() + SLACK, || StateFile::read_bytes(data));
});
