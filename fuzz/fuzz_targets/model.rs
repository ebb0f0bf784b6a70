//! A model file, as it stands on the disk.
#![no_main]

use cspnet_formats::ModelFile;
use cspnet_fuzz::{SLACK, hold, seeds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: seeds::plant("model", seeds::models()), |data: &[u8]| {
    if let Some(model) = hold(2 * data.len() + SLACK, || ModelFile::read_bytes(data)) {
        assert_eq!(model.to_bytes().expect("what was read can be written"), data);
    }
});
