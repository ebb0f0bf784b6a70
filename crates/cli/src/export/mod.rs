//! `cspnet export`: a network with its weights as a file that other programs read, which is kept only if it answers as the network.
//!
//! Files are written beside their names, read again, held against the network on photos, and then get their names. Not here: how
//! answers are compared ([`parity`]), and by whom the files are read again ([`engine`], [`onnx_runtime`]).

mod check_photos;
mod darknet;
mod engine;
mod onnx_runtime;
mod parity;
mod reader;
mod written;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use cspnet::formats::atomic::Pending;
use cspnet::formats::onnx::ReadOptions;
use cspnet::formats::text::shown;
use cspnet::formats::{Dtype, Manifest, ModelFile, onnx};
use cspnet::graph::LazyWeights;

use crate::failure::Failure;
use crate::making::{Precision, not_onto};
use crate::numbers::size;
use crate::source::{self, Network};
use check_photos::CheckPhotos;
use engine::{Engine, Pictures};
use onnx_runtime::OnnxRuntime;
use parity::{Check, Readers};
use written::Written;

/// Write a network with its weights as a file that other programs read.
///
/// ONNX files have opset 17, an open batch, the names of the network's layers and parameters, and the model's labels and
/// preprocessing in their metadata. Safetensors files have the published names, so that timm loads them, and are model files of
/// this program. For Darknet, FILE has the layers; the weights and, if there are some, the labels are beside it and end in .weights and
/// .names. A network that is no model file is written as `cspnet new` would make it, untrained; without one it is the program's own
/// model. A softmax at the end of an ONNX file stays in ONNX files only: what reads the other forms has its own.
///
/// What was written is read again before it gets its name, ONNX by ONNX Runtime as well if python3 has it, and compared with the
/// network on 32 photos: whole, from the decoded photo on. Where a probability is further off than 1e-4, or another class is the
/// likeliest, nothing is left under FILE and the exit code is 4.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A network (see `cspnet models`), a model file or an ONNX file; without it the program's own model
    #[arg(value_name = "NETWORK|FILE")]
    network: Option<String>,

    /// The form of the file; by default what its ending says: .onnx, .safetensors, or .cfg for Darknet
    #[arg(long, value_enum)]
    to: Option<Form>,

    /// Pixels of the photo's sides: one number, or HEIGHTxWIDTH; by default what the network was made for
    #[arg(long, value_name = "SIZE", value_parser = size)]
    size: Option<[usize; 2]>,

    /// What becomes of normalisations behind convolutions in an ONNX file [default: fold]; the other forms have them as they are
    #[arg(long, value_enum)]
    batch_norm: Option<BatchNorm>,

    /// Let the ONNX file prepare photos itself: bytes [batch, height, width, 3] of any size go in, probabilities come out
    #[arg(long)]
    embed_preprocess: bool,

    /// Precision of the weights in a safetensors file; by default the model's own
    #[arg(long, value_enum)]
    dtype: Option<Precision>,

    /// Photos to compare answers on, a folder or one; by default pictures are made up and encoded as JPEG
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_check")]
    check_photos: Option<PathBuf>,

    /// The Python that has ONNX Runtime, to compare an ONNX file with it [default: python3, if it has]
    #[arg(long, value_name = "PROGRAM", conflicts_with = "no_check")]
    python: Option<PathBuf>,

    /// Neither read again nor compare what was written
    #[arg(long)]
    no_check: bool,

    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// A form of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Open Neural Network Exchange
    Onnx,
    /// Safetensors, as timm and Hugging Face read them
    Safetensors,
    /// Darknet's .cfg and .weights
    Darknet,
}

impl Form {
    /// The form of files whose names end so.
    fn of(file: &Path) -> Option<Self> {
        match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "onnx" => Some(Self::Onnx),
            "safetensors" => Some(Self::Safetensors),
            "cfg" => Some(Self::Darknet),
            _ => None,
        }
    }
}

/// What becomes of normalisations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BatchNorm {
    /// They go into the convolutions' weights
    Fold,
    /// They stay, and with them every parameter as it is
    Node,
}

impl From<BatchNorm> for onnx::BatchNorm {
    fn from(batch_norm: BatchNorm) -> Self {
        match batch_norm {
            BatchNorm::Fold => Self::Fold,
            BatchNorm::Node => Self::Node,
        }
    }
}

impl Args {
    /// The form that is asked for, to which every flag belongs.
    fn form(&self) -> Result<Form, Failure> {
        let form = self.to.or_else(|| Form::of(&self.output)).ok_or_else(|| {
            let output = self.output.to_string_lossy();
            Failure::Message(format!(
                "{}: its ending says no form; give one: --to onnx, safetensors or darknet",
                shown(&output)
            ))
        })?;
        let onnx = form == Form::Onnx;
        let flags = [
            ("--batch-norm is for ONNX", self.batch_norm.is_some() && !onnx),
            ("--embed-preprocess is for ONNX", self.embed_preprocess && !onnx),
            ("--python is for ONNX", self.python.is_some() && !onnx),
            ("--dtype is for safetensors", self.dtype.is_some() && form != Form::Safetensors),
            ("--size is for ONNX and Darknet", self.size.is_some() && form == Form::Safetensors),
            ("--size does not go with --embed-preprocess", self.size.is_some() && self.embed_preprocess),
        ];
        match flags.iter().find(|(_, wrong)| *wrong) {
            Some((why, _)) => Err(Failure::Message(format!("{why}; leave it out"))),
            None => Ok(form),
        }
    }

    /// What was written cannot be read again.
    fn unread(&self, why: impl Into<Failure>) -> Failure {
        match why.into() {
            Failure::Message(why) => {
                Failure::Unequal(format!("{} is not written: it cannot be read again: {why}", self.output.display()))
            }
            other => other,
        }
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let form = args.form()?;
    if let Some(name) = &args.network {
        not_onto(&[Path::new(name)], &args.output)?;
    }
    let network = match &args.network {
        // Only an ONNX file takes a softmax over as it is; what the others are read by has its own, and photos' files get one.
        Some(name) => {
            let without_softmax = form != Form::Onnx || args.embed_preprocess;
            source::network(name, &ReadOptions { size: args.size, without_softmax })?
        }
        None => source::embedded()?,
    };
    let size = args.size.unwrap_or(network.size);
    let written = match form {
        Form::Onnx => onnx(args, &network, size)?,
        Form::Safetensors => safetensors(args, &network)?,
        // Of the preprocessing, Darknet needs what holds for all sizes.
        Form::Darknet => darknet::export(&network, &manifest(&network, network.size)?, size, &args.output)?,
    };
    let found = match args.no_check {
        true => "not checked, since --no-check was given".into(),
        false => check(args, form, &network, &written)?,
    };
    for file in written.files {
        file.place()?;
    }
    writeln!(io::stdout(), "{}\n{found}", written.said)?;
    Ok(ExitCode::SUCCESS)
}

/// The network as ONNX.
fn onnx(args: &Args, network: &Network, [height, width]: [usize; 2]) -> Result<Written, Failure> {
    let manifest = manifest(network, [height, width])?;
    let photo = match (&manifest.preprocess, args.embed_preprocess) {
        (None, true) => {
            return Err(Failure::Message(format!(
                "{}: it is not known how photos are prepared for it; leave --embed-preprocess out",
                shown(&network.name)
            )));
        }
        (preprocess, embed) => preprocess.clone().filter(|_| embed),
    };
    let options = onnx::Options {
        size: Some([height, width]),
        softmax: photo.is_some(),
        photo,
        batch_norm: args.batch_norm.unwrap_or(BatchNorm::Fold).into(),
    };
    let bytes = onnx::write(&network.graph, &network.weights().to_weights()?, Some(&manifest), &options)?;
    let channels = network.graph.input_channels();
    let input = match &options.photo {
        Some(_) => "photos batch x height x width x 3 in bytes, prepared inside".into(),
        None => format!("input batch x {channels} x {height} x {width}"),
    };
    Ok(Written {
        said: format!(
            "{}: {} as ONNX, opset {}, {input}, {:.1} MB",
            shown(&args.output.to_string_lossy()),
            network.described(&manifest),
            onnx::OPSET,
            bytes.len() as f64 / 1e6,
        ),
        pictures: Pictures::of(manifest.preprocess, [channels, height, width]),
        rounded: None,
        files: vec![Pending::new(&args.output, &bytes)?],
    })
}

/// The network as a model file.
fn safetensors(args: &Args, network: &Network) -> Result<Written, Failure> {
    let mut manifest = manifest(network, network.size)?;
    manifest.dtype = args.dtype.map_or(manifest.dtype, Dtype::from);
    let [height, width] = network.size;
    let pictures = Pictures::of(manifest.preprocess.clone(), [network.graph.input_channels(), height, width]);
    let described = network.described(&manifest);
    let model = ModelFile { manifest, weights: network.weights().to_weights()? };
    let bytes = model.to_bytes()?;
    Ok(Written {
        said: format!(
            "{}: {described} as safetensors, {}, {} parameters, {:.1} MB, sha256 {}",
            shown(&args.output.to_string_lossy()),
            model.manifest.dtype,
            model.manifest.graph.param_count(),
            bytes.len() as f64 / 1e6,
            model.hash()?,
        ),
        pictures,
        rounded: if model.manifest.dtype == Dtype::F32 { None } else { Some(model.rounded()?) },
        files: vec![Pending::new(&args.output, &bytes)?],
    })
}

/// Reads what was written and holds it against the network; says what was found.
fn check(args: &Args, form: Form, network: &Network, written: &Written) -> Result<String, Failure> {
    let (inputs, outputs) = (network.graph.inputs().len(), network.graph.outputs().len());
    if (inputs, outputs) != (1, 1) {
        opened(args, form, written)?;
        return Ok(format!("not compared: {inputs} inputs and {outputs} outputs are not a photo and its classes"));
    }
    let engine = Engine::new(&network.graph, network.weights(), &written.pictures)?;
    if let Some(shape) = engine.no_classes() {
        opened(args, form, written)?;
        return Ok(format!("not compared: its answer has shape {shape:?}, not one number for each class"));
    }
    let (readers, absent) = readers(args, form, written)?;
    let absent = absent.map(|why| format!("not compared with ONNX Runtime: {why}"));
    let rounded = match &written.rounded {
        Some(weights) => Some(Engine::new(&network.graph, weights, &written.pictures)?),
        None => None,
    };
    let (expected, unrounded) = match rounded {
        Some(rounded) => (rounded, Some(engine)),
        None => (engine, None),
    };
    let photos = CheckPhotos::of(args.check_photos.as_deref())?;
    let found = Check { expected, unrounded, readers }.run(&photos, &args.output)?;
    Ok([Some(found), absent].into_iter().flatten().collect::<Vec<_>>().join("\n"))
}

/// Opens what was written where nothing can be compared.
fn opened(args: &Args, form: Form, written: &Written) -> Result<(), Failure> {
    match form {
        Form::Onnx => {
            onnx::Network::open(written.file(), &ReadOptions::default()).map(drop).map_err(|e| args.unread(e))
        }
        Form::Safetensors => ModelFile::read(written.file()).map(drop).map_err(|e| args.unread(e)),
        Form::Darknet => darknet::engine(&written.files, &written.pictures).map(drop).map_err(|e| args.unread(e)),
    }
}

/// All who have read what was written, each with photos prepared as the file says, and why ONNX Runtime has not, if it should.
fn readers(args: &Args, form: Form, written: &Written) -> Result<(Readers, Option<String>), Failure> {
    let pictures = &written.pictures;
    let said = |manifest: &Manifest| Pictures::of(manifest.preprocess.clone(), pictures.shape());
    let mut readers = Readers::new();
    match form {
        Form::Onnx => {
            let file = onnx::Network::open(written.file(), &ReadOptions::default()).map_err(|e| args.unread(e))?;
            let manifest = file.manifest().map_err(|e| args.unread(e))?;
            let engine = Engine::new(file.graph(), file.weights(), &said(&manifest)).map_err(|e| args.unread(e))?;
            let probabilities = engine.gives_probabilities();
            readers.push(Box::new(engine));
            match OnnxRuntime::start(args.python.as_deref(), written.file(), pictures, probabilities)? {
                Ok(runtime) => readers.push(Box::new(runtime)),
                Err(why) => return Ok((readers, Some(why))),
            }
        }
        Form::Safetensors => {
            let ModelFile { manifest, weights } = ModelFile::read(written.file()).map_err(|e| args.unread(e))?;
            let engine = Engine::new(&manifest.graph, LazyWeights::owned(weights), &said(&manifest));
            readers.push(Box::new(engine.map_err(|e| args.unread(e))?));
        }
        Form::Darknet => {
            readers.push(Box::new(darknet::engine(&written.files, pictures).map_err(|e| args.unread(e))?));
        }
    }
    Ok((readers, None))
}

/// What the file says of the model. Preprocessing belongs to one size of photo; at another it would be wrong.
fn manifest(network: &Network, [height, width]: [usize; 2]) -> Result<Manifest, Failure> {
    let mut manifest = match &network.file {
        Some(file) => file.manifest().clone(),
        None => Manifest { preprocess: network.preprocess()?, ..Manifest::new(&network.name, network.graph.clone()) },
    };
    let own = manifest.preprocess.as_ref().map(|p| (p.size.0 as usize, p.size.1 as usize));
    if let Some((rows, columns)) = own.filter(|own| *own != (height, width)) {
        manifest.preprocess = None;
        // If nobody can be told, the file still is what was asked for.
        let _ = writeln!(io::stderr(), "the model's preprocessing is left out: it gives {rows} x {columns} pixels");
    }
    Ok(manifest)
}
