//! Darknet's files for `cspnet import` and `cspnet export`: a model file from a `.cfg` and a `.weights` file, and back.

use std::path::Path;
use std::process::ExitCode;

use cspnet::formats::atomic::Pending;
use cspnet::formats::darknet::{self, Header, ORIGINALS, original};
use cspnet::formats::text::shown;
use cspnet::formats::{Dtype, Manifest, ModelFile};
use cspnet::graph::LazyWeights;
use cspnet::graph::rewrite::with_normalise;
use cspnet::vision::{Filter, Preprocess, Resize};

use crate::export::Written;
use crate::export::engine::{Engine, Pictures};
use crate::failure::Failure;
use crate::import::say_written;
use crate::source::Network;

/// The fact of a model's training that is the header of its `.weights` file.
const HEADER: &str = "darknet";

/// What `cspnet import` asks for.
pub struct Import<'a> {
    /// A `.cfg` file, or the name of a network whose text is known.
    pub cfg: &'a Path,
    /// The `.weights` file.
    pub weights: &'a Path,
    /// Names of the classes.
    pub labels: Vec<String>,
    /// Precision of the stored weights.
    pub dtype: Dtype,
    /// Licence of the weights.
    pub licence: Option<String>,
    /// The model file to write.
    pub output: &'a Path,
}

/// Makes a model file of Darknet's.
pub fn import(args: Import<'_>) -> Result<ExitCode, Failure> {
    let network = network(args.cfg)?;
    let (weights, header) = network.read_weights(args.weights)?;
    let name = args.cfg.file_stem().unwrap_or_default().to_string_lossy();
    let mut manifest = Manifest::new(shown(&name), network.graph);
    manifest.preprocess = preprocess(network.size, manifest.graph.input_channels());
    manifest.labels = args.labels;
    manifest.licence = args.licence;
    manifest.dtype = args.dtype;
    manifest.training.insert(HEADER.into(), serde_json::to_value(header)?);
    let model = ModelFile { manifest, weights };
    model.write(args.output)?;
    say_written(&model, args.output)
}

/// The network of a file, or the known one of this name if there is no such file.
fn network(path: &Path) -> Result<darknet::Network, Failure> {
    let known = path.to_str().and_then(original);
    match known.filter(|_| !path.exists()) {
        Some(text) => Ok(darknet::Network::parse(&text)?),
        None if !path.exists() && path.extension().is_none() => Err(Failure::Message(format!(
            "{}: no such file, and none of the networks of Darknet that are known by name: {}",
            path.display(),
            ORIGINALS.join(", ")
        ))),
        None => Ok(darknet::Network::read(path)?),
    }
}

/// How Darknet prepares a photo to classify it: the shorter side to the picture's, the centre of that, divided by 255. Darknet's
/// way of resizing takes the nearest four pixels, also where many become one; ours all of them.
fn preprocess([height, width]: [usize; 2], channels: usize) -> Option<Preprocess> {
    let (height, width) = (height as u32, width as u32);
    (channels == 3).then_some(Preprocess {
        size: (height, width),
        resize: Resize::ShorterSide(height.max(width)),
        filter: Filter::Bilinear,
        mean: [0.0; 3],
        std: [1.0; 3],
        background: [255; 3],
    })
}

/// Writes a network as a `.cfg` file, a `.weights` file beside it and, if it has labels, a `.names` file; the `.weights` file is the
/// first to get its name and the `.cfg` file the last, so that whoever sees it finds its weights.
pub fn export(network: &Network, manifest: &Manifest, size: [usize; 2], output: &Path) -> Result<Written, Failure> {
    let graph = match &manifest.preprocess {
        // Darknet divides by 255 and does no more.
        Some(p) if p.mean != [0.0; 3] || p.std != [1.0; 3] => &with_normalise(&network.graph, &p.mean, &p.std)?,
        _ => &network.graph,
    };
    let header = manifest.training.get(HEADER).and_then(|fact| serde_json::from_value(fact.clone()).ok());
    let header: Header = header.unwrap_or_default();
    let written = darknet::write(graph, &network.weights().to_weights()?, size, header)?;
    let (weights, names) = (output.with_extension("weights"), output.with_extension("names"));
    if weights == output || names == output {
        return Err(Failure::Message(format!(
            "{}: the file of the layers is to be another than that of the weights; end its name with .cfg",
            output.display()
        )));
    }
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
