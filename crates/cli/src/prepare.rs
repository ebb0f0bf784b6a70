//! A photo file as a model's network takes it.

use std::path::Path;

use cspnet::vision::{DecodeOptions, Preprocess, decode_file};
use cspnet::{Model, Photo};
use cspnet_data::Sample;

use crate::failure::without_path;

/// How photo files are read and brought to a model's size; for threads that live longer than they borrow the model.
#[derive(Clone, Debug)]
pub struct Prepare {
    options: DecodeOptions,
    preprocess: Preprocess,
}

impl Prepare {
    /// As `model` asks for.
    pub fn of(model: &Model) -> Self {
        Self { options: model.decode_options(), preprocess: model.preprocess().clone() }
    }

    /// A photo of a data set, or why there is none, as [`Prepare::photo`] does.
    pub fn sample(&self, sample: &Sample) -> Result<Photo, String> {
        let photo = sample.decode(&self.options).and_then(|photo| self.preprocess.apply(&photo));
        photo.map_err(|e| without_path(&e.to_string(), &sample.path))
    }

    /// The photo at `path`, or why there is none, in words that do not name the path: who asks knows it.
    pub fn photo(&self, path: &Path) -> Result<Photo, String> {
        let photo = decode_file(path, &self.options).and_then(|photo| self.preprocess.apply(&photo));
        photo.map_err(|e| without_path(&e.to_string(), path))
    }
}
