//! Files of measured choices.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use cspnet_formats::{ChoicesFile, Circumstances};
use cspnet_fuzz::{SLACK, hold, network, place, seeds};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static PLACE: LazyLock<TempDir> = LazyLock::new(place);

static HERE: LazyLock<Circumstances> =
    LazyLock::new(|| Circumstances::new("CPU".into(), "avx2".into(), &network(), &[[3, 8, 8]]));

fn files() -> Vec<Vec<u8>> {
    let choices = [("conv".into(), "winograd".into()), ("fc".into(), "direct".into())].into();
    let file = ChoicesFile { circumstances: HERE.clone(), choices };
    vec![serde_json::to_vec(&file).expect("choices are written as JSON")]
}

fuzz_target!(init: seeds::plant("choices", files()), |data: &[u8]| {
    let path = PLACE.path().join("choices.json");
    fs::write(&path, data).expect("the file is written");
    hold(data.len() + SLACK, || ChoicesFile::read(&path, &HERE));
});
