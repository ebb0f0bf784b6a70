//! A model file from Darknet's files: a `.cfg` and a `.weights` file.

use std::path::Path;
use std::process::ExitCode;

use cspnet::formats::darknet::{self, Header, ORIGINALS, original};
use cspnet::formats::text::shown;
use cspnet::formats::{Dtype, Manifest, ModelFile};
use cspnet::vision::{Filter, Preprocess, Resize};

use crate::failure::Failure;
use crate::making::say_written;

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
    manifest.training.insert(Header::FACT.into(), serde_json::to_value(header)?);
    manifest.training.insert(darknet::Network::SIZE_FACT.into(), serde_json::to_value(network.size)?);
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
