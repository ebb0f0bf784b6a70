//! What a command line names as a network: a model file, or a network of the zoo.

use std::path::Path;

use cspnet::formats::{Manifest, ModelFile, OpenModel};
use cspnet::graph::{Graph, LazyWeights};
use cspnet::vision::Preprocess;
use cspnet::{Model, ModelOptions, zoo};

use crate::embedded;
use crate::failure::Failure;

/// A network to look at: its graph, and the size of photo it is meant for.
pub struct Network {
    /// What it is called.
    pub name: String,
    /// Its graph.
    pub graph: Graph,
    /// Rows and columns of the photo.
    pub size: [usize; 2],
    /// Weights are taken from here where the network comes from a file.
    pub file: Option<OpenModel<'static>>,
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
        Some(path) => ModelFile::read(path)?,
        None => ModelFile::read_bytes(embedded::MODEL)?,
    })
}

/// The network of the model inside the program.
pub fn embedded() -> Result<Network, Failure> {
    of_model(embedded::MODEL_NAME, OpenModel::from_bytes(embedded::MODEL)?)
}

/// The network that `name` stands for: a file if there is one of that name, else a network of the zoo.
pub fn network(name: &str) -> Result<Network, Failure> {
    let path = Path::new(name);
    if path.exists() || path.extension().is_some_and(|e| e == "safetensors") {
        return of_model(name, OpenModel::open(path)?);
    }
    let entry = zoo::entry(name)?;
    Ok(Network { name: name.into(), graph: zoo::build(name)?, size: [entry.input.size; 2], file: None })
}

fn of_model(name: &str, file: OpenModel<'static>) -> Result<Network, Failure> {
    file.verify()?;
    let size = file.manifest().preprocess.as_ref().map(pixels).unwrap_or([224, 224]);
    Ok(Network { name: name.into(), graph: file.manifest().graph.clone(), size, file: Some(file) })
}

fn pixels(preprocess: &Preprocess) -> [usize; 2] {
    [preprocess.size.0 as usize, preprocess.size.1 as usize]
}
