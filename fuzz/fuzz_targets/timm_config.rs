//! `config.json` of timm's networks.
#![no_main]

use cspnet_formats::TimmConfig;
use cspnet_fuzz::{SLACK, hold, seeds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: seeds::plant("timm_config", seeds::timm_configs()), |data: &[u8]| {
    hold(data.len() + SLACK, || TimmConfig::from_json(&String::from_utf8_lossy(data)));
});
