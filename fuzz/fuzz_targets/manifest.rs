//! The manifest of a model file: whatever can be written with one can be read. In a file, its hash would keep the fuzzer out.
#![no_main]

use cspnet_formats::{Manifest, ModelFile};
use cspnet_fuzz::{SLACK, hold, seeds, told};
use cspnet_graph::Weights;
use libfuzzer_sys::fuzz_target;

/// Most numbers of a network that is written.
const FEW: usize = 1 << 16;

fuzz_target!(init: seeds::plant("manifest", seeds::manifests()), |data: &[u8]| {
    let read = || serde_json::from_slice::<Manifest>(data).map_err(told);
    let Some(manifest) = hold(data.len() + SLACK, read) else { return };
    let _ = hold(data.len() + SLACK, || manifest.graph.shapes([manifest.graph.input_channels(), 64, 48]).map_err(told));
    if manifest.graph.params().iter().map(|p| p.len()).fold(0, usize::saturating_add) > FEW {
        return;
    }
    let weights = Weights::new(&manifest.graph, manifest.graph.params().iter().map(|p| vec![0.0; p.len()]).collect());
    let model = ModelFile { weights: weights.expect("a number for each"), manifest };
    if let Some(bytes) = hold(data.len() + SLACK, || model.to_bytes()) {
        assert_eq!(ModelFile::read_bytes(&bytes).expect("what was written can be read"), model);
    }
});
