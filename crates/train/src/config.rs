//! The resolved configuration of a run: `config.json`, all that a run is repeated or continued from.

use std::path::PathBuf;

use cspnet_formats::{Dtype, Manifest};
use cspnet_graph::Graph;
use cspnet_vision::Preprocess;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::frozen::check_for;
use crate::recipe::Recipe;

/// The model that a run began from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Its file; none for the program's own model.
    pub path: Option<PathBuf>,
    /// The hash that identifies it.
    pub hash: String,
}

/// The resolved configuration of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this program.
    pub program: String,
    /// The network with all its knobs.
    pub network: String,
    /// The folder of photos.
    pub data: PathBuf,
    /// Share of every class that is set aside for validation where there are no photos for that.
    pub validation_share: f64,
    /// The column of Parquet files that has the classes, if somebody has said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// How a photo is brought to the network.
    pub preprocess: Preprocess,
    /// Height and width of the views that are trained with. Random crops show things larger than evaluation does, so views somewhat
    /// smaller than the input are no loss (Touvron et al., arXiv:1906.06423), and cost less.
    pub train_size: (u32, u32),
    /// Precision of the model files that are written.
    pub dtype: Dtype,
    /// Licence of the weights, if it is stated.
    pub licence: Option<String>,
    /// How the network is trained.
    pub recipe: Recipe,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Hash of the photos (see `DataSet::fingerprint` in `cspnet-data`).
    pub fingerprint: String,
    /// The model that the run began from, if it began from one. It is not needed to go on: the first checkpoint holds what was taken
    /// from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begun_from: Option<Origin>,
}

impl Config {
    /// Whether a run can begin: what could not be trained or written at the end is found before anything is.
    ///
    /// # Errors
    /// If the recipe, the preprocessing or a name makes no sense, or the photos' sizes do not fit the network.
    pub fn check(&self, graph: &Graph) -> Result<(), TrainError> {
        self.recipe.validate()?;
        self.viewed().validate()?;
        self.manifest(graph).validate()?;
        check_for(&self.recipe, graph)?;
        if self.recipe.class_weights.as_ref().is_some_and(|w| w.len() != self.classes.len()) {
            return Err(TrainError::Recipe { field: "class-weights", rule: "as many as there are classes" });
        }
        for (height, width) in [self.preprocess.size, self.train_size] {
            graph.shapes([graph.input_channels(), height as usize, width as usize])?;
        }
        Ok(())
    }

    /// The manifest of the run's model files, without facts of the training.
    pub(crate) fn manifest(&self, graph: &Graph) -> Manifest {
        let mut manifest = Manifest::new(&self.network, graph.clone());
        manifest.labels.clone_from(&self.classes);
        manifest.preprocess = Some(self.preprocess.clone());
        manifest.licence.clone_from(&self.licence);
        manifest.dtype = self.dtype;
        manifest
    }

    /// How a photo becomes a view that is trained with.
    pub fn viewed(&self) -> Preprocess {
        Preprocess { size: self.train_size, ..self.preprocess.clone() }
    }
}
