//! A model: a network with its weights, labels and preprocessing, ready to look at photos.

use std::path::Path;

use cspnet_engine::{Plan, default_threads};
use cspnet_formats::onnx::{self, ReadOptions};
use cspnet_formats::{Manifest, ModelFile, OpenModel};
use cspnet_graph::LazyWeights;
use cspnet_graph::rewrite::with_normalise;
use cspnet_vision::{DecodeOptions, Photo, Preprocess, decode_file};

use crate::class::Class;
use crate::error::Error;
use crate::options::ModelOptions;
use crate::session::Session;

/// A network with its weights, labels and preprocessing, compiled for its size of photo. Share it freely between threads.
///
/// In the examples here, `brightness(rows, columns)` makes a model file like the one of the [crate's example](crate).
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/brightness.rs"));
/// # fn main() -> Result<(), cspnet::Error> {
/// use cspnet::{Model, Photo};
///
/// let model = Model::new(brightness(8, 8))?;
/// assert_eq!(model.labels(), ["dark", "bright"]);
/// let night = Photo::new(30, 20, vec![5; 30 * 20 * 3])?;
/// let likeliest = &model.classify(&night)?[0];
/// assert_eq!((likeliest.index, likeliest.label.as_str()), (0, "dark"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Model {
    manifest: Manifest,
    preprocess: Preprocess,
    plan: Plan,
}

impl Model {
    /// Opens a model file, or an ONNX file that says how photos are prepared, as those that were written here do.
    ///
    /// # Errors
    /// If the file cannot be read, is damaged, or is no classifier of photos.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &ModelOptions::default())
    }

    /// Opens a model file, to be computed in a way of one's own.
    ///
    /// The file's numbers are read layer by layer into the form that the plan keeps, while another thread looks whether the
    /// file is as it was written: besides the plan, memory holds little more than a layer at any time.
    ///
    /// # Errors
    /// As [`Model::open`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/brightness.rs"));
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use cspnet::engine::PlanOptions;
    /// use cspnet::{Model, ModelOptions};
    ///
    /// let path = std::env::temp_dir().join(format!("lean-{}.safetensors", std::process::id()));
    /// brightness(8, 8).write(&path)?;
    /// let plan = PlanOptions { low_memory: true, ..PlanOptions::default() };
    /// let lean = Model::open_with(&path, &ModelOptions { plan, ..ModelOptions::default() })?;
    /// std::fs::remove_file(&path)?;
    /// assert_eq!(lean.labels(), ["dark", "bright"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_with(path: impl AsRef<Path>, options: &ModelOptions) -> Result<Self, Error> {
        let path = path.as_ref();
        let open = || match onnx::is_onnx(path) {
            true => Self::of_onnx(path, options),
            false => Self::of_open(OpenModel::open(path)?, options),
        };
        open().map_err(|error| match error {
            Error::Format(_) => error,
            other => Error::File { path: path.into(), source: Box::new(other) },
        })
    }

    /// The network of an ONNX file, with the labels and the preprocessing that the file has. A softmax at its end is left out, as
    /// in all networks here.
    fn of_onnx(path: &Path, options: &ModelOptions) -> Result<Self, Error> {
        let network = onnx::Network::open(path, &ReadOptions { without_softmax: true, ..ReadOptions::default() })?;
        let manifest = network.manifest()?;
        Ok(Planned::of(&manifest, network.weights(), options)?.with(manifest))
    }

    /// A model from the bytes of a model file.
    ///
    /// # Errors
    /// As [`Model::open`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/brightness.rs"));
    /// # fn main() -> Result<(), cspnet::Error> {
    /// let bytes = brightness(8, 8).to_bytes()?;
    /// let model = cspnet::Model::from_bytes(&bytes)?;
    /// assert_eq!(model.manifest().network, "brightness");
    /// assert!(cspnet::Model::from_bytes(&bytes[1..]).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_bytes_with(bytes, &ModelOptions::default())
    }

    /// A model from the bytes of a model file, to be computed in a way of one's own; see [`Model::open_with`].
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn from_bytes_with(bytes: &[u8], options: &ModelOptions) -> Result<Self, Error> {
        Self::of_open(OpenModel::from_bytes(bytes)?, options)
    }

    /// A model from a model file in memory.
    ///
    /// # Errors
    /// If the file does not describe a classifier of photos.
    pub fn new(file: ModelFile) -> Result<Self, Error> {
        let plan = Planned::of(&file.manifest, LazyWeights::owned(file.weights), &ModelOptions::default())?;
        Ok(plan.with(file.manifest))
    }

    /// Plans and verifies side by side.
    fn of_open(file: OpenModel<'_>, options: &ModelOptions) -> Result<Self, Error> {
        if options.tune.is_some() {
            // While something is measured, nothing else should run.
            file.verify()?;
            let planned = Planned::of(file.manifest(), file.weights(), options)?;
            return Ok(planned.with(file.into_manifest()));
        }
        let (verified, planned) = std::thread::scope(|scope| {
            let verified = scope.spawn(|| file.verify());
            let planned = Planned::of(file.manifest(), file.weights(), options);
            (verified.join().expect("verifying does not panic"), planned)
        });
        // What is wrong with the file explains what is wrong with its plan.
        verified?;
        Ok(planned?.with(file.into_manifest()))
    }

    /// Names of the classes; empty where the model has none.
    pub fn labels(&self) -> &[String] {
        &self.manifest.labels
    }

    /// All that the file says of the model.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How photos are brought to the network's size.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// The compiled network.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The classes of a photo file, the likeliest first.
    ///
    /// # Errors
    /// If the file cannot be read as a photo.
    pub fn classify_file(&self, path: impl AsRef<Path>) -> Result<Vec<Class>, Error> {
        self.classify(&decode_file(path, &self.decode_options())?)
    }

    /// The classes of a photo, the likeliest first, computed with all threads this process may use.
    ///
    /// # Errors
    /// If the photo cannot be brought to the network's size.
    pub fn classify(&self, photo: &Photo) -> Result<Vec<Class>, Error> {
        let mut session = self.session(1, default_threads());
        Ok(session.classify(std::slice::from_ref(photo))?.remove(0))
    }

    /// Threads and memory for classifying many photos, `batch` at once; see [`Session`].
    pub fn session(&self, batch: usize, threads: usize) -> Session<'_> {
        Session::new(&self.plan, &self.preprocess, &self.manifest.labels, batch, threads)
    }

    /// How photo files are to be read for this model: with its colour behind transparent pixels.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/brightness.rs"));
    /// # fn main() -> Result<(), cspnet::Error> {
    /// use cspnet::vision::decode;
    ///
    /// // A picture of one white pixel, in the BMP format.
    /// let mut bytes = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
    /// bytes.extend([0; 24]);
    /// bytes.extend([255, 255, 255, 0]);
    ///
    /// let model = cspnet::Model::new(brightness(8, 8))?;
    /// let photo = decode(&bytes, &model.decode_options())?;
    /// assert_eq!(model.classify(&photo)?[0].label, "bright");
    /// # Ok(())
    /// # }
    /// ```
    pub fn decode_options(&self) -> DecodeOptions {
        DecodeOptions { background: self.preprocess.background, ..DecodeOptions::default() }
    }
}

/// What is made of a model file before all of it is known to be sound.
struct Planned {
    preprocess: Preprocess,
    plan: Plan,
}

impl Planned {
    fn of<'a>(manifest: &Manifest, weights: impl Into<LazyWeights<'a>>, options: &ModelOptions) -> Result<Self, Error> {
        match manifest.graph.input_channels() {
            3 => {}
            channels => return Err(Error::NotPhotos(channels)),
        }
        let preprocess = manifest.preprocess.clone().ok_or(Error::NoPreprocess)?;
        let graph = with_normalise(&manifest.graph, &preprocess.mean, &preprocess.std)?;
        let (height, width) = preprocess.size;
        let plan = options.plan(&graph, weights, [3, height as usize, width as usize])?;
        let shape = plan.output_shape();
        if shape[1..] != [1, 1] {
            return Err(Error::NotClassifier(shape));
        }
        Ok(Self { preprocess, plan })
    }

    fn with(self, manifest: Manifest) -> Model {
        let Self { preprocess, plan } = self;
        Model { manifest, preprocess, plan }
    }
}
