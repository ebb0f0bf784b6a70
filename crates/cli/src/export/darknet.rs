//! A network as Darknet's files: a `.cfg` file, a `.weights` file and, if it has labels, a `.names` file; and as they are read again.

use std::io::{self, Write};
use std::path::Path;

use cspnet::formats::Manifest;
use cspnet::formats::atomic::Pending;
use cspnet::formats::darknet::{self, Header};
use cspnet::formats::text::shown;
use cspnet::graph::LazyWeights;
use cspnet::graph::rewrite::with_normalise;
use cspnet::vision::{Preprocess, Resize};

use super::engine::{Engine, Pictures};
use super::written::Written;
use crate::failure::Failure;
use crate::source::Network;

/// Writes a network as a `.cfg` file, a `.weights` file beside it and, if it has labels, a `.names` file; the `.weights` file is the
/// first to get its name and the `.cfg` file the last, so that whoever sees it finds its weights.
pub fn export(network: &Network, manifest: &Manifest, size: [usize; 2], output: &Path) -> Result<Written, Failure> {
    // Two names with other endings would have the same files beside them.
    if output.extension().is_none_or(|e| e != "cfg") {
        return Err(Failure::Message(format!("{}: the file of the layers must end in .cfg", output.display())));
    }
    let graph = match &manifest.preprocess {
        // Darknet divides by 255 and does no more.
        Some(p) if p.mean != [0.0; 3] || p.std != [1.0; 3] => &with_normalise(&network.graph, &p.mean, &p.std)?,
        _ => &network.graph,
    };
    let header = manifest.training.get(Header::FACT).and_then(|fact| serde_json::from_value(fact.clone()).ok());
    let header: Header = header.unwrap_or_default();
    let written = darknet::write(graph, &network.weights().to_weights()?, size, header)?;
    if !written.beyond_redmon.is_empty() {
        let beyond = written.beyond_redmon.join(", ");
        writeln!(io::stderr(), "for AlexeyAB's Darknet only, since Redmon's has not or does otherwise: {beyond}")?;
    }
    let (weights, names) = (output.with_extension("weights"), output.with_extension("names"));
    let mut files = vec![Pending::new(&weights, &written.weights)?];
    if !manifest.labels.is_empty() {
        files.push(Pending::new(&names, format!("{}\n", manifest.labels.join("\n")).as_bytes())?);
    }
    files.push(Pending::new(output, written.cfg.as_bytes())?);
    let channels = network.graph.input_channels();
    Ok(Written {
        said: format!(
            "{}: {} for Darknet, input {channels} x {} x {}; {}: {:.1} MB",
            shown(&output.to_string_lossy()),
            network.described(manifest),
            size[0],
            size[1],
            shown(&weights.to_string_lossy()),
            written.weights.len() as f64 / 1e6,
        ),
        pictures: pictures(manifest.preprocess.as_ref(), channels, size),
        rounded: None,
        files,
    })
}

/// How photos are brought to the network at this size, which may be another than the model's own.
fn pictures(preprocess: Option<&Preprocess>, channels: usize, [height, width]: [usize; 2]) -> Pictures {
    let size = (height as u32, width as u32);
    match preprocess {
        Some(own) if own.size == size => Pictures::Prepared(own.clone()),
        Some(own) => Pictures::Prepared(Preprocess { size, resize: Resize::Stretch, ..own.clone() }),
        None => Pictures::Numbers([channels, height, width]),
    }
}

/// The network of files that [`export`] wrote and that have no names yet, for photos as they were brought to the one that was written.
pub fn engine(files: &[Pending], pictures: &Pictures) -> Result<Engine, Failure> {
    let [weights, .., cfg] = files else { unreachable!("a network has weights and layers") };
    let read = darknet::Network::read(cfg.path())?;
    let (weights, _) = read.read_weights(weights.path())?;
    let pictures = match pictures {
        // Its own first layer normalises what is divided by 255.
        Pictures::Prepared(p) => Pictures::Prepared(Preprocess { mean: [0.0; 3], std: [1.0; 3], ..p.clone() }),
        numbers => numbers.clone(),
    };
    Engine::new(&read.graph, LazyWeights::owned(weights), &pictures)
}
