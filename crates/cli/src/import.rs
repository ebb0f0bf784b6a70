//! `cspnet import`: a model file from the weights of another library, or from an ONNX file.

mod darknet;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use cspnet::formats::onnx::{self, ReadOptions, is_onnx};
use cspnet::formats::text::shown;
use cspnet::formats::{FormatError, Manifest, Matching, ModelFile, Published, TimmConfig};
use cspnet::vision::{Filter, Preprocess};
use cspnet::{Assume, zoo};

use crate::failure::Failure;
use crate::making::{Precision, labels, not_onto, preprocess, say_written};

/// Make a model file from a file of timm, torchvision or Hugging Face, from an ONNX file, or from Darknet's files.
///
/// A file of the first three holds tensors and nothing else, so you say which network they belong to and whose preprocessing it was
/// trained with. The model file then carries both, and the labels. Safetensors files and those of PyTorch's `torch.save` are
/// told apart by their bytes, whatever they are called. Of a PyTorch file only tensors and containers are read; nothing in it
/// is ever run. An ONNX file has the network, too, and those that `cspnet export` wrote have labels and preprocessing as well; for
/// others say with --assume torchvision, or with --config, how photos are prepared. A softmax at its end is left out. Of Darknet
/// there are two files: give the .cfg file, or the name of one of its networks such as 'csresnext50', and the weights.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A safetensors file, one of PyTorch (.pth, .pt, .bin) or an ONNX file; with --weights, a .cfg file
    file: PathBuf,

    /// The .weights file of a network of Darknet
    #[arg(long, value_name = "FILE", conflicts_with_all = ["network", "assume", "size", "config", "part", "list"])]
    weights: Option<PathBuf>,

    /// The network its tensors belong to (see `cspnet models`), such as 'densenet121:classes=10'
    #[arg(long)]
    network: Option<String>,

    /// Whose preprocessing the network was trained with
    #[arg(long, value_enum)]
    assume: Option<Library>,

    /// The `config.json` that lies beside the weights of a timm network on Hugging Face: it says which network this is, its
    /// labels, preprocessing and licence; what you give yourself counts more
    #[arg(long, value_name = "FILE", conflicts_with_all = ["assume", "size"])]
    config: Option<PathBuf>,

    /// Prepare photos as timm does to judge the network, where the `config.json` says so: often larger than it learnt from
    #[arg(long, requires = "config")]
    test_size: bool,

    /// The dictionary in a checkpoint whose tensors are taken, such as 'state_dict_ema'; by default the one that has most of the
    /// network's, and of several the averaged one
    #[arg(long, value_name = "NAME")]
    part: Option<String>,

    /// Say of every tensor whether it matched, is missing, does not fit or is left over, also where the import fails
    #[arg(long)]
    list: bool,

    /// Pixels of the photo's sides; by default what the network was published for
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=8192))]
    size: Option<u32>,

    /// Names of the classes, one a line, or separated by commas if it is no file
    #[arg(long, value_name = "FILE|NAMES")]
    labels: Option<PathBuf>,

    /// Precision of the stored weights
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    dtype: Precision,

    /// Licence of the weights
    #[arg(long)]
    licence: Option<String>,

    /// The model file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// A library whose files are imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Library {
    /// timm (PyTorch image models)
    Timm,
    /// torchvision
    Torchvision,
    /// torchvision, weights called IMAGENET1K_V2: photos are resized to 232 instead of 256
    TorchvisionV2,
}

impl From<Library> for Assume {
    fn from(library: Library) -> Self {
        match library {
            Library::Timm => Self::Timm,
            Library::Torchvision => Self::Torchvision,
            Library::TorchvisionV2 => Self::TorchvisionV2,
        }
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let sources = [Some(&args.file), args.weights.as_ref(), args.config.as_ref()];
    not_onto(&sources.into_iter().flatten().map(PathBuf::as_path).collect::<Vec<_>>(), &args.output)?;
    if let Some(weights) = &args.weights {
        return darknet::import(darknet::Import {
            cfg: &args.file,
            weights,
            labels: labels(args.labels.as_deref())?,
            dtype: args.dtype.into(),
            licence: args.licence.clone(),
            output: &args.output,
        });
    }
    if is_onnx(&args.file) {
        return import_onnx(args);
    }
    let manifest = manifest(args)?;
    let (weights, matching) = match Published::open(&args.file)?.weights(&manifest.graph, args.part.as_deref()) {
        Err(error) if args.list => {
            list_mismatch(&error)?;
            return Err(error.into());
        }
        read => read?,
    };
    if args.list {
        list(&matching)?;
    }
    tell(&matching)?;
    let model = ModelFile { manifest, weights };
    model.write(&args.output)?;
    say_written(&model, &args.output)
}

/// Makes a model file of an ONNX file.
fn import_onnx(args: &Args) -> Result<ExitCode, Failure> {
    let flags = [("--network", args.network.is_some()), ("--part", args.part.is_some()), ("--list", args.list)];
    if let Some((flag, _)) = flags.iter().find(|(_, given)| *given) {
        return Err(Failure::Message(format!("{flag} is for files without a network; leave it out for ONNX")));
    }
    let size = args.size.map(|side| [side as usize; 2]);
    let network = onnx::Network::open(&args.file, &ReadOptions { size, without_softmax: true })?;
    let ModelFile { mut manifest, weights } = network.to_model_file()?;
    if let Some(config) = config(args)? {
        manifest.preprocess = config.preprocess.or(manifest.preprocess);
        manifest.licence = config.licence.or(manifest.licence);
        if !config.labels.is_empty() {
            manifest.labels = config.labels;
        }
    }
    if let Some(library) = args.assume {
        manifest.preprocess = Some(square_photos(library.into(), manifest.graph.input_channels(), network.size())?);
    }
    if args.labels.is_some() {
        manifest.labels = labels(args.labels.as_deref())?;
    }
    manifest.licence = args.licence.clone().or(manifest.licence);
    manifest.dtype = args.dtype.into();
    manifest.validate()?;
    let model = ModelFile { manifest, weights };
    model.write(&args.output)?;
    say_written(&model, &args.output)
}

/// How a library prepares photos for a network that takes so many channels, rows and columns, whichever network that is.
fn square_photos(assume: Assume, channels: usize, [height, width]: [usize; 2]) -> Result<Preprocess, Failure> {
    let Some(crop) = assume.crop_pct() else {
        let why = "timm prepares photos for each of its networks in another way: give its `config.json` by --config";
        return Err(Failure::Message(why.into()));
    };
    if height != width || channels != 3 {
        return Err(Failure::Message(format!(
            "the network takes {channels} x {height} x {width}, torchvision's prepares squares of 3 channels"
        )));
    }
    Ok(Preprocess::imagenet(height as u32, crop, Filter::Bilinear)?)
}

/// What is taken of timm's `config.json`.
struct Config {
    timm: TimmConfig,
    labels: Vec<String>,
    preprocess: Option<Preprocess>,
    licence: Option<String>,
}

/// What timm's `config.json` says, if there is one. Its labels are not looked at where others are given.
fn config(args: &Args) -> Result<Option<Config>, Failure> {
    let Some(path) = &args.config else { return Ok(None) };
    let timm = TimmConfig::read(path)?;
    let labels = match (&timm.labels, &args.labels) {
        (_, Some(_)) => Vec::new(),
        (Ok(labels), None) => labels.clone(),
        (Err(why), None) => {
            let path = path.display();
            return Err(Failure::Message(format!("{path}: {}; give the names of the classes by --labels", shown(why))));
        }
    };
    let preprocess = match (&timm.test_preprocess, args.test_size) {
        (Some(test), true) => Some(test.clone()),
        (Some(test), false) => {
            let side = test.size.0;
            writeln!(
                io::stderr(),
                "timm judges it by photos prepared otherwise, of {side} pixels: --test-size takes those"
            )?;
            timm.preprocess.clone()
        }
        (None, _) => timm.preprocess.clone(),
    };
    Ok(Some(Config { labels, preprocess, licence: timm.licence.clone(), timm }))
}

/// All that the model file says, from the command line and from timm's `config.json`.
fn manifest(args: &Args) -> Result<Manifest, Failure> {
    let config = config(args)?;
    let network = match (&args.network, &config) {
        (Some(network), _) => network.clone(),
        (None, Some(config)) => network_of(&config.timm)?,
        (None, None) => return Err(Failure::Message("which network is it? say it with `--network`".into())),
    };
    let graph = zoo::build(&network)?;
    let mut manifest = Manifest::new(&network, graph);
    manifest.preprocess = match args.assume {
        None if config.is_none() => {
            let why = "whose preprocessing was the network trained with? say it with `--assume`, or give a `--config`";
            return Err(Failure::Message(why.into()));
        }
        None => config.as_ref().and_then(|c| c.preprocess.clone()),
        Some(library) => preprocess(&network, &manifest.graph, library.into(), args.size)?,
    };
    manifest.labels = labels(args.labels.as_deref())?;
    manifest.licence.clone_from(&args.licence);
    manifest.dtype = args.dtype.into();
    if let Some(config) = config {
        if args.labels.is_none() {
            manifest.labels = config.labels;
        }
        manifest.licence = manifest.licence.or(config.licence);
    }
    manifest.validate()?;
    Ok(manifest)
}

/// The network of the zoo that timm's `config.json` speaks of.
fn network_of(config: &TimmConfig) -> Result<String, Failure> {
    if !config.changes.is_empty() {
        let (name, changes) = (&config.architecture, config.changes.join(", "));
        let changes = shown(&changes);
        return Err(Failure::Message(format!(
            "its `config.json` calls it {name}, but made with {changes}, so that it is another network; if it is one of `cspnet \
             models`, say which by --network"
        )));
    }
    let mut knobs = Vec::new();
    knobs.extend(config.classes.map(|classes| format!("classes={classes}")));
    if config.channels != 3 {
        knobs.push(format!("channels={}", config.channels));
    }
    let separator = if knobs.is_empty() { "" } else { ":" };
    let spec: zoo::Spec = format!("{}{separator}{}", config.architecture, knobs.join(",")).parse()?;
    Ok(spec.to_string())
}

/// Says of every tensor what has become of it.
fn list(matching: &Matching) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let Matching { matched, missing, unfit, left_over, .. } = matching;
    matched.iter().try_for_each(|name| writeln!(out, "matched    {name}"))?;
    missing.iter().try_for_each(|name| writeln!(out, "missing    {name}"))?;
    unfit.iter().try_for_each(|(name, why)| writeln!(out, "unfit      {name} {}", shown(why)))?;
    left_over.iter().try_for_each(|name| writeln!(out, "left over  {}", shown(name)))
}

/// Says the same where the import failed for that.
fn list_mismatch(error: &FormatError) -> io::Result<()> {
    match error {
        FormatError::File { source, .. } => list_mismatch(source),
        FormatError::Mismatch(matching) => list(matching),
        _ => Ok(()),
    }
}

/// Says where the weights came from, and what was left.
fn tell(matching: &Matching) -> io::Result<()> {
    let mut err = io::stderr().lock();
    write!(err, "{} tensors matched", matching.matched.len())?;
    if !matching.part.is_empty() {
        write!(err, " in `{}`", shown(&matching.part))?;
    }
    if !matching.prefix.is_empty() {
        write!(err, ", with `{}` before their names", shown(&matching.prefix))?;
    }
    writeln!(err)?;
    for part in matching.other_parts.iter().filter(|part| !part.is_empty()) {
        writeln!(err, "`{0}` has as many; `--part {0}` takes them from there", shown(part))?;
    }
    if !matching.left_over.is_empty() {
        let names: Vec<_> = matching.left_over.iter().map(|name| shown(name)).collect();
        writeln!(err, "{} left over: {}", names.len(), names.join(", "))?;
    }
    Ok(())
}
