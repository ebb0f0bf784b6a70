//! `cspnet run`: what does a network make of photos or arrays?
//!
//! Unlike `cspnet predict` it knows no classes: whatever the network takes and gives has a name, and what it gives becomes a file of
//! arrays.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use cspnet::engine::default_threads;
use cspnet::formats::numpy::{self, Array};
use cspnet::formats::text::shown;
use cspnet::formats::{atomic, onnx};
use cspnet::vision::{DecodeOptions, Filter, Preprocess, Resize, decode_file};
use cspnet::{Feed, Photo, Photos, Runner};

use crate::failure::Failure;
use crate::numbers::size;
use crate::planning::Planning;
use crate::source::{self, File, Network};

/// Run a network on photos or arrays, and write what it gives as arrays.
///
/// What a network takes and gives is told by `cspnet inspect`. Arrays come from NumPy's .npz and .npy files, [n, c, h, w] with the
/// images of the batch in front, where [n, c] and [n, c, w] stand for images of one row. Whole numbers, booleans and real numbers of
/// any precision are taken, each as the nearest number of single precision, and are the network's own numbers: they are not
/// normalised. What comes out are arrays [n, c, h, w] of single precision. With an ONNX file, arrays have the dimensions that the
/// file says.
///
/// A photo is brought to the picture as the model says. Where it says nothing, a photo is stretched to --size, and of every pixel
/// (value / 255 - mean) / std is taken, by default value / 255. A network that takes one channel sees the photo in grey.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A network (see `cspnet models`), a model file or an ONNX file; without it the program's own model. A network that is no
    /// file runs as `cspnet new` would make it, untrained
    #[arg(value_name = "NETWORK|FILE")]
    network: Option<String>,

    /// What an input is given: a photo, or an .npz or .npy file. NAME may be left out where the network has one input, and for
    /// .npz files whose arrays have the inputs' names. Several photos for one input are a batch
    #[arg(short, long = "input", required = true, value_name = "[NAME=]FILE")]
    inputs: Vec<PathBuf>,

    /// The .npz file to write, or - for standard output
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,

    /// What is written: outputs of the network, or values of its modules, by name; by default all outputs
    #[arg(long = "output", value_name = "NAME")]
    outputs: Vec<String>,

    /// Pixels of the sides of photos where the model does not say: one number, or HEIGHTxWIDTH; by default what the network was
    /// made for
    #[arg(long, value_name = "SIZE", value_parser = size)]
    size: Option<[usize; 2]>,

    /// What is subtracted from photos' values where the model does not say, from 0 to 1: one number, or one for each channel
    #[arg(long, value_name = "M[,M,M]", value_delimiter = ',', allow_negative_numbers = true)]
    mean: Vec<f32>,

    /// By what photos' values are divided then: one number, or one for each channel
    #[arg(long, value_name = "S[,S,S]", value_delimiter = ',')]
    std: Vec<f32>,

    /// Threads; by default as many as this process may really use
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,

    /// Images computed at once; the answers do not depend on it
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,

    #[command(flatten)]
    planning: Planning,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let begin = Instant::now();
    let mut network = network(args, args.size)?;
    let mut feeding = Feeding::of(&network, args)?;
    args.inputs.iter().try_for_each(|given| feeding.add(given))?;
    // Where an ONNX file leaves the picture's size open, an array says it.
    let is_onnx = matches!(network.file, Some(File::Onnx(..)));
    if let Some(size) = feeding.size_of_array().filter(|size| is_onnx && *size != network.size) {
        network = self::network(args, Some(size))?;
    }
    let feeds = feeding.feeds(&network)?;
    let runner = Runner::new(&network.graph, network.weights(), &feeds, &args.outputs, &args.planning.options())?;
    let threads = args.threads.map_or_else(default_threads, |n| n as usize);
    let arrays = runner.run(&feeds, args.batch as usize, threads)?;
    let with_dimensions = |(name, array): (String, Array)| {
        let array = described(array, network.output(&name));
        (name, array)
    };
    let arrays: Vec<(String, Array)> = arrays.into_iter().map(with_dimensions).collect();
    let told = told(&args.out, &arrays, begin);
    let bytes = numpy::to_bytes(&arrays)?;
    if args.out == Path::new("-") {
        let mut out = io::stdout().lock();
        out.write_all(&bytes)?;
        out.flush()?;
        // Nobody may be listening; the arrays count.
        let _ = writeln!(io::stderr(), "{told}");
    } else {
        atomic::write(&args.out, &bytes)?;
        writeln!(io::stdout(), "{told}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The network that is asked for, read for pictures of so many rows and columns.
fn network(args: &Args, size: Option<[usize; 2]>) -> Result<Network, Failure> {
    match &args.network {
        Some(name) => source::network_of_size(name, size),
        None => source::embedded(),
    }
}

/// An array [n, c, h, w] with the dimensions that an ONNX file has for it.
fn described(array: Array, tensor: Option<&onnx::Tensor>) -> Array {
    let images = array.shape()[0];
    match tensor {
        Some(onnx::Tensor { batched: true, sides, .. }) => array.reshaped([&[images], &sides[..]].concat()),
        Some(onnx::Tensor { batched: false, sides, .. }) if images == 1 => array.reshaped(sides.clone()),
        _ => array,
    }
}

/// An array of the dimensions that an ONNX file has for it as [n, c, h, w].
fn undescribed(array: Array, tensor: &onnx::Tensor) -> Result<Array, Failure> {
    let [c, h, w] = tensor.shape();
    let images = match array.shape() {
        [n, sides @ ..] if tensor.batched && *sides == tensor.sides => *n,
        sides if !tensor.batched && *sides == tensor.sides => 1,
        other => {
            let sides: Vec<String> = tensor.sides.iter().map(usize::to_string).collect();
            let batch = if tensor.batched { "n, " } else { "" };
            let (name, sides) = (&tensor.name, sides.join(", "));
            let why = format!("input `{name}`: an array [{batch}{sides}] is needed, not one of shape {other:?}");
            return Err(Failure::Message(why));
        }
    };
    Ok(array.reshaped(vec![images, c, h, w]))
}

/// What has been written, for people.
fn told(out: &Path, arrays: &[(String, Array)], begin: Instant) -> String {
    let array = |(name, array): &(String, Array)| {
        let lengths: Vec<String> = array.shape().iter().map(usize::to_string).collect();
        format!("{} {}", shown(name), lengths.join(" x "))
    };
    let arrays: Vec<String> = arrays.iter().map(array).collect();
    let seconds = begin.elapsed().as_secs_f64();
    format!("{}: {}, {seconds:.2} s", shown(&out.to_string_lossy()), arrays.join(", "))
}

/// What the inputs have been given so far.
struct Feeding<'a> {
    names: Vec<String>,
    channels: Vec<usize>,
    /// How photos are prepared for the picture, if the model says.
    own: Option<Preprocess>,
    /// How for all other inputs.
    otherwise: Preprocess,
    args: &'a Args,
    photos: BTreeMap<String, Vec<Photo>>,
    arrays: BTreeMap<String, Array>,
}

impl<'a> Feeding<'a> {
    fn of(network: &Network, args: &'a Args) -> Result<Self, Failure> {
        let graph = &network.graph;
        let own = network.preprocess()?;
        let flags =
            [args.size.map(|_| "--size"), args.mean.first().map(|_| "--mean"), args.std.first().map(|_| "--std")];
        if let (Some(_), Some(flag), 1) = (&own, flags.into_iter().flatten().next(), graph.inputs().len()) {
            return Err(Failure::Message(format!("the model says how photos are prepared; leave {flag} out")));
        }
        let [height, width] = args.size.unwrap_or(network.size);
        let otherwise = Preprocess {
            size: (height as u32, width as u32),
            resize: Resize::Stretch,
            filter: Filter::Bilinear,
            mean: [0.0; 3],
            std: [1.0; 3],
            background: [255; 3],
        };
        Ok(Self {
            names: graph.inputs().iter().map(|&v| graph.node(v).path.clone()).collect(),
            channels: graph.inputs().iter().map(|&v| graph.channels(v)).collect(),
            own,
            otherwise,
            args,
            photos: BTreeMap::new(),
            arrays: BTreeMap::new(),
        })
    }

    /// Takes in what the command line has given: a file, with the name of its input or without.
    fn add(&mut self, given: &'a Path) -> Result<(), Failure> {
        let (name, path) = self.split(given)?;
        match numpy::read(path)? {
            Some(arrays) => self.add_arrays(name, path, arrays),
            None => self.add_photo(name, path),
        }
    }

    /// The name, if there is one, and the path.
    fn split(&self, given: &'a Path) -> Result<(Option<String>, &'a Path), Failure> {
        let Some(text) = given.to_str() else { return Ok((None, given)) };
        let named = |name: &String| Some((name.clone(), text.strip_prefix(name)?.strip_prefix('=')?));
        // Of two names that fit, the longer one is meant.
        if let Some((name, path)) = self.names.iter().filter_map(named).max_by_key(|(name, _)| name.len()) {
            return Ok((Some(name), Path::new(path)));
        }
        match text.split_once('=') {
            Some((name, _)) if !given.exists() => {
                Err(cspnet::Error::NoInput { name: name.into(), known: self.known() }.into())
            }
            _ => Ok((None, given)),
        }
    }

    fn known(&self) -> String {
        self.names.join(", ")
    }

    fn add_arrays(
        &mut self,
        name: Option<String>,
        path: &Path,
        mut arrays: BTreeMap<String, Array>,
    ) -> Result<(), Failure> {
        let refuse = |why: String| Err(Failure::Message(format!("{}: {why}", path.display())));
        let only = if let [only] = &self.names[..] { Some(only.clone()) } else { None };
        if let Some(name) = name.or(only) {
            let there: Vec<String> = arrays.keys().cloned().collect();
            let alone = if arrays.len() == 1 { arrays.pop_first().map(|(_, array)| array) } else { None };
            return match alone.or_else(|| arrays.remove(&name)) {
                Some(array) => self.give(name, array),
                None if there.is_empty() => refuse("holds no arrays".into()),
                None => refuse(format!("has no array `{name}`; it has {}", there.join(", "))),
            };
        }
        for (key, array) in arrays {
            match self.names.contains(&key) {
                true => self.give(key, array)?,
                false if key.is_empty() => {
                    return refuse(format!(
                        "say for which input it is: NAME={}, NAME being one of {}",
                        path.display(),
                        self.known()
                    ));
                }
                false => return refuse(format!("has an array `{key}`, but the network takes {}", self.known())),
            }
        }
        Ok(())
    }

    fn give(&mut self, name: String, array: Array) -> Result<(), Failure> {
        if self.arrays.contains_key(&name) {
            return Err(Failure::Message(format!("input `{name}` is given two arrays")));
        }
        self.arrays.insert(name, array);
        Ok(())
    }

    fn add_photo(&mut self, name: Option<String>, path: &Path) -> Result<(), Failure> {
        let name = match (name, &self.names[..]) {
            (Some(name), _) => name,
            (None, [only]) => only.clone(),
            (None, _) => {
                let why = format!("say for which input this photo is: NAME={}, NAME being one of", path.display());
                return Err(Failure::Message(format!("{}: {why} {}", path.display(), self.known())));
            }
        };
        let preprocess = self.preprocess(&name);
        let options = DecodeOptions { background: preprocess.background, ..DecodeOptions::default() };
        let photo = preprocess.apply(&decode_file(path, &options)?)?;
        self.photos.entry(name).or_default().push(photo);
        Ok(())
    }

    /// How photos for an input are prepared.
    fn preprocess(&self, name: &str) -> &Preprocess {
        self.own.as_ref().filter(|_| name == self.names[0]).unwrap_or(&self.otherwise)
    }

    /// Rows and columns of the array for the picture.
    fn size_of_array(&self) -> Option<[usize; 2]> {
        match *self.arrays.get(&self.names[0])?.shape() {
            [_, _, height, width] => Some([height, width]),
            _ => None,
        }
    }

    /// What every input is given.
    fn feeds(mut self, network: &Network) -> Result<BTreeMap<String, Feed>, Failure> {
        if let Some(name) = self.photos.keys().find(|name| self.arrays.contains_key(*name)) {
            return Err(Failure::Message(format!("input `{name}` is given both photos and an array")));
        }
        if let Some(name) = self.names.iter().find(|n| !self.photos.contains_key(*n) && !self.arrays.contains_key(*n)) {
            return Err(Failure::Message(format!(
                "input `{name}` is given nothing; the network takes {}",
                self.known()
            )));
        }
        let photos = std::mem::take(&mut self.photos);
        let of_photos = photos.into_iter().map(|(name, photos)| {
            let (mean, std) = self.normalisation(&name)?;
            Ok((name, Feed::Photos(Photos { photos, mean, std })))
        });
        let mut feeds = of_photos.collect::<Result<BTreeMap<String, Feed>, Failure>>()?;
        for (name, array) in self.arrays {
            let array = match network.input(&name) {
                Some(tensor) => undescribed(array, tensor)?,
                None => array,
            };
            feeds.insert(name, Feed::Numbers(array));
        }
        Ok(feeds)
    }

    /// Mean and deviation of every channel of an input's photos.
    fn normalisation(&self, name: &str) -> Result<(Vec<f32>, Vec<f32>), Failure> {
        let place = self.names.iter().position(|n| *n == name).expect("photos are kept for inputs");
        match &self.own {
            Some(own) if place == 0 => Ok((own.mean.to_vec(), own.std.to_vec())),
            _ => {
                let channels = self.channels[place];
                let mean = for_channels("--mean", &self.args.mean, channels, 0.0)?;
                Ok((mean, for_channels("--std", &self.args.std, channels, 1.0)?))
            }
        }
    }
}

/// A number for every channel.
fn for_channels(flag: &str, given: &[f32], channels: usize, otherwise: f32) -> Result<Vec<f32>, Failure> {
    match given {
        [] => Ok(vec![otherwise; channels]),
        [one] => Ok(vec![*one; channels]),
        some if some.len() == channels => Ok(some.to_vec()),
        some => Err(Failure::Message(format!("{flag} has {} numbers; give one, or {channels}", some.len()))),
    }
}
