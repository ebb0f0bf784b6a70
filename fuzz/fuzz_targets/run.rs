//! The folder of a run: its configuration, and the text of its checkpoint. The first byte says which of them is read.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use cspnet_formats::StateFile;
use cspnet_fuzz::{SLACK, hold, network, place, seeds, told};
use cspnet_graph::Graph;
use cspnet_train::{Checkpoint, Observer, RunFolder};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// A run as it began.
struct Begun {
    _place: TempDir,
    path: PathBuf,
    graph: Graph,
    config: Vec<u8>,
    /// The checkpoint's file, and what it holds.
    checkpoint: PathBuf,
    state: StateFile,
}

static RUN: LazyLock<Begun> = LazyLock::new(|| {
    let (place, graph) = (place(), network());
    let path = place.path().join("run");
    drop(RunFolder::create(&path, &seeds::config(), &graph, &Checkpoint::start(&graph, 1)).expect("a run begins"));
    let checkpoint = path.join("checkpoints/epoch-000000-step-000000.safetensors");
    let config = fs::read(path.join("config.json")).expect("the configuration");
    let state = StateFile::read(&checkpoint).expect("the checkpoint");
    Begun { _place: place, path, graph, config, checkpoint, state }
});

struct Silent;

impl Observer for Silent {
    fn unusable(&mut self, _: &Path, _: &str) {}
}

fn files() -> Vec<Vec<u8>> {
    let with = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    let states = seeds::states();
    [vec![with(0, &RUN.config)], states.iter().map(|state| with(1, state)).collect()].concat()
}

fuzz_target!(init: seeds::plant("run", files()), |data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    let text = match kind % 2 {
        0 => RUN.state.text.clone(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    let config = if kind % 2 == 0 { bytes } else { &RUN.config };
    fs::write(RUN.path.join("config.json"), config).expect("the configuration is written");
    StateFile { text, ..RUN.state.clone() }.write(&RUN.checkpoint).expect("the checkpoint is written");
    hold(data.len() + SLACK, || {
        let (folder, config) = RunFolder::open(&RUN.path).map_err(told)?;
        config.check(&RUN.graph).map_err(told)?;
        folder.latest(&RUN.graph, &mut Silent).map_err(told)
    });
});
