//! What a command line names as a network: a model file, an ONNX file, or a network of the zoo.

use std::path::Path;

use cspnet::formats::darknet;
use cspnet::formats::onnx::{self, ReadOptions};
use cspnet::formats::{Manifest, ModelFile, OpenModel};
use cspnet::graph::{Graph, LazyWeights, Shape};
use cspnet::vision::Preprocess;
use cspnet::{Assume, Model, ModelOptions, zoo};

use crate::embedded;
use crate::failure::Failure;
use crate::making;
use crate::numbers::LARGEST_SIDE;

/// A network to look at: its graph, and the size of photo it is meant for.
pub struct Network {
    /// What it is called.
    pub name: String,
    /// Its graph.
    pub graph: Graph,
    /// Rows and columns of the photo.
    pub size: [usize; 2],
    /// Weights are taken from here where the network comes from a file.
    pub file: Option<File>,
}

/// A file with a network and its weights.
pub enum File {
    /// A model file.
    Model(Box<OpenModel<'static>>),
    /// An ONNX file, and what it says of itself.
    Onnx(Box<onnx::Network<'static>>, Box<Manifest>),
}

impl File {
    /// All that it says of its network.
    pub fn manifest(&self) -> &Manifest {
        match self {
            Self::Model(file) => file.manifest(),
            Self::Onnx(_, manifest) => manifest,
        }
    }

    fn weights(&self) -> LazyWeights<'_> {
        match self {
            Self::Model(file) => file.weights(),
            Self::Onnx(network, _) => network.weights(),
        }
    }
}

impl Network {
    /// What it is, for people, by what is said of it.
    pub fn described(&self, manifest: &Manifest) -> String {
        format!("{}{}", manifest.network, if self.file.is_none() { " (untrained)" } else { "" })
    }

    /// The file's weights, or those `cspnet new` gives a network of the zoo.
    pub fn weights(&self) -> LazyWeights<'_> {
        match &self.file {
            Some(file) => file.weights(),
            None => LazyWeights::published(&self.graph, 0),
        }
    }

    /// How photos are prepared, as the file says, or for a network of the zoo as timm does; nothing where that is not said.
    pub fn preprocess(&self) -> Result<Option<Preprocess>, Failure> {
        match &self.file {
            Some(file) => Ok(file.manifest().preprocess.clone()),
            None => making::preprocess(&self.name, &self.graph, Assume::Timm, None),
        }
    }

    /// What its ONNX file says of an input.
    pub fn input(&self, name: &str) -> Option<&onnx::Tensor> {
        let Some(File::Onnx(network, _)) = &self.file else { return None };
        let place = self.graph.inputs().iter().position(|&v| self.graph.node(v).path == name)?;
        network.inputs().get(place)
    }

    /// What its ONNX file says of an output.
    pub fn output(&self, name: &str) -> Option<&onnx::Tensor> {
        let Some(File::Onnx(network, _)) = &self.file else { return None };
        let place = self.graph.outputs().iter().position(|o| o.name == name)?;
        network.outputs().get(place)
    }

    /// Shapes of all that the network takes, of so many rows and columns or of those it is meant for.
    pub fn shapes(&self, size: Option<[usize; 2]>) -> Vec<Shape> {
        if let (Some(File::Onnx(network, _)), None) = (&self.file, size) {
            return network.inputs().iter().map(onnx::Tensor::shape).collect();
        }
        let [height, width] = size.unwrap_or(self.size);
        self.graph.inputs().iter().map(|&input| [self.graph.channels(input), height, width]).collect()
    }
}

/// Whether a path ends as those of models do.
pub fn is_model(path: &Path) -> bool {
    path.extension().is_some_and(|e| ["onnx", "safetensors"].iter().any(|model| e.eq_ignore_ascii_case(model)))
}

/// The model in `file`, or the one inside the program.
pub fn model(file: Option<&Path>, options: &ModelOptions) -> Result<Model, Failure> {
    Ok(match file {
        Some(path) => Model::open_with(path, options)?,
        None => Model::from_bytes_with(embedded::MODEL, options)?,
    })
}

/// The numbers and the manifest of the model in `file`, or of the one inside the program.
pub fn model_file(file: Option<&Path>) -> Result<ModelFile, Failure> {
    Ok(match file {
        Some(path) if onnx::is_onnx(path) => {
            let options = ReadOptions { without_softmax: true, ..ReadOptions::default() };
            onnx::Network::open(path, &options)?.to_model_file()?
        }
        Some(path) => ModelFile::read(path)?,
        None => ModelFile::read_bytes(embedded::MODEL)?,
    })
}

/// The network of the model inside the program.
pub fn embedded() -> Result<Network, Failure> {
    of_model(embedded::MODEL_NAME, OpenModel::from_bytes(embedded::MODEL)?)
}

/// The network that `name` stands for; where an ONNX file leaves rows and columns of pictures open, they are those of `size`.
pub fn network_of_size(name: &str, size: Option<[usize; 2]>) -> Result<Network, Failure> {
    network(name, &ReadOptions { size, ..ReadOptions::default() })
}

/// The network that `name` stands for: a file if there is one of that name, else a network of the zoo. An ONNX file is read as
/// `options` say.
pub fn network(name: &str, options: &ReadOptions) -> Result<Network, Failure> {
    let path = Path::new(name);
    if onnx::is_onnx(path) {
        let network = onnx::Network::open(path, options)?;
        let (size, manifest) = (network.size(), network.manifest()?);
        let file = File::Onnx(network.into(), manifest.into());
        return Ok(Network { name: name.into(), graph: file.manifest().graph.clone(), size, file: Some(file) });
    }
    // A folder may be called like a network.
    if path.exists() && !path.is_dir() || path.extension().is_some_and(|e| e == "safetensors") {
        return of_model(name, OpenModel::open(path)?);
    }
    let entry = zoo::entry(name)?;
    Ok(Network { name: name.into(), graph: zoo::build(name)?, size: [entry.input.size; 2], file: None })
}

fn of_model(name: &str, file: OpenModel<'static>) -> Result<Network, Failure> {
    file.verify()?;
    let manifest = file.manifest();
    let size = manifest.preprocess.as_ref().map(pixels).or_else(|| of_darknet(manifest)).unwrap_or([224, 224]);
    Ok(Network { name: name.into(), graph: file.manifest().graph.clone(), size, file: Some(File::Model(file.into())) })
}

/// The size of picture that a network of Darknet's was written for.
fn of_darknet(manifest: &Manifest) -> Option<[usize; 2]> {
    let size: [usize; 2] = serde_json::from_value(manifest.training.get(darknet::Network::SIZE_FACT)?.clone()).ok()?;
    Some(size).filter(|size| size.iter().all(|side| (1..=LARGEST_SIDE).contains(side)))
}

fn pixels(preprocess: &Preprocess) -> [usize; 2] {
    [preprocess.size.0 as usize, preprocess.size.1 as usize]
}
