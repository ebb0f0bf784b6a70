//! `cspnet train`: a model of your own from photos whose classes are known.

mod recipe;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use cspnet::vision::geometry::scaled_side;
use cspnet::vision::{Filter, Preprocess, Resize};
use cspnet::zoo::Spec;
use cspnet_data::DataOptions;
use cspnet_train::{Config, RunFolder, Trainer, check_for, tile_unit, whitened};

use crate::class_weights;
use crate::failure::Failure;
use crate::fine_tuning::{Base, FineTuning};
use crate::making::Precision;
use crate::numbers::size;
use crate::resources::ResourceArgs;
use crate::running::{self, say};
use recipe::RecipeArgs;

/// The network that is trained where none is asked for.
const DEFAULT_NETWORK: &str = "csppeleenet";

/// Train a network on photos whose classes are known.
///
/// DATA holds a folder for every class, named like the class; or train/, and perhaps validation/ (val/) and test/, with
/// class folders in each; or it is a Parquet file of photos, or a folder of them whose names begin with their split's, as on
/// Hugging Face. Where there are no photos for validation, some are set aside, reproducibly. The run folder gets the models
/// best.safetensors and last.safetensors, measurements, events, and checkpoints: `cspnet resume RUN` continues a run that was stopped,
/// and ends with the same bits as one that never was. Where numbers are not finite, the epoch begins again with half the learning rate, three times
/// at most; then the exit code is 5.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of photos or of Parquet files, or one such file
    data: PathBuf,

    /// The network, with its knobs (see `cspnet models`); the number of classes is the photos' [default: csppeleenet, or that of the
    /// model to begin from]
    #[arg(short, long)]
    network: Option<Spec>,

    /// Pixels of the network's input: one number, or HEIGHTxWIDTH; by default what the network, or the model to begin from, was
    /// made for
    #[arg(long, value_name = "SIZE", value_parser = size)]
    size: Option<[usize; 2]>,

    /// Pixels of the views that are trained with, as random crops show things larger than evaluation does (arXiv:1906.06423); by
    /// default those of the input
    #[arg(long, value_name = "SIZE", value_parser = size)]
    train_size: Option<[usize; 2]>,

    /// Folder of the run; it must not exist yet [default: runs/NETWORK, with a number if there is one]
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,

    /// Precision of the model files
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    dtype: Precision,

    /// Licence of the weights, to be written into the model files; by default that of the model to begin from
    #[arg(long)]
    licence: Option<String>,

    #[command(flatten)]
    resources: ResourceArgs,

    /// Find a learning rate instead: it rises from 1e-6 to 10 in 120 steps until the loss runs away (arXiv:1506.01186); a tenth of
    /// the best is suggested, and FILE, an SVG picture, shows the losses
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "lr.svg")]
    find_lr: Option<PathBuf>,

    #[command(flatten)]
    tuning: FineTuning,

    #[command(flatten)]
    recipe: RecipeArgs,

    #[command(flatten)]
    input: InputArgs,
}

/// How a photo is brought to the network.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Input")]
struct InputArgs {
    /// What evaluation sees of a photo: its centre, or all of it squashed to the input's shape
    /// [default: center, or what the model to begin from does]
    #[arg(long, value_enum)]
    crop_mode: Option<CropMode>,

    /// The centre's share of the photo's shorter side [default: the network's, or that of the model to begin from]
    #[arg(long)]
    crop_pct: Option<f64>,

    /// Share of every class that is set aside for validation where DATA has no photos for that: the same photos in every run, whatever
    /// its seed
    #[arg(long, default_value_t = DataOptions::default().validation_share, value_name = "SHARE")]
    validation_share: f64,

    /// The column of Parquet files that has the classes, as names or as whole numbers; by default it is found by its type and name
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,
}

/// What evaluation sees of a photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CropMode {
    /// Its centre, undistorted
    Center,
    /// All of it
    Squash,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let tunes = args.tuning.tunes(args.recipe.whiten_stem);
    args.recipe.check()?;
    let mut recipe = args.tuning.applied_to(args.recipe.recipe(tunes));
    recipe.validate()?;
    // Before any photo is looked at.
    tile_unit(recipe.amp)?;
    let base = args.tuning.base(&recipe)?;
    let network = args.network(base.as_ref())?;
    check_channels(&network)?;
    check_for(&recipe, &network.build()?)?;
    if !(0.0..1.0).contains(&args.input.validation_share) {
        return Err(Failure::Message("--validation-share must be at least 0 and below 1".into()));
    }
    let preprocess = args.preprocess(&network, base.as_ref().and_then(Base::preprocess))?;
    let resources = args.resources.resources();
    let out = args.out.clone().unwrap_or_else(|| free_name(network.entry().name));
    if out.symlink_metadata().is_ok() {
        return Err(cspnet_train::TrainError::Exists(out).into());
    }
    let data_folder = args.data.canonicalize().unwrap_or_else(|_| args.data.clone());
    let data = running::read_data(
        &data_folder,
        args.input.validation_share,
        args.input.label_column.as_deref(),
        &preprocess,
        &args.resources,
    )?;
    running::describe_data(&data);
    recipe.class_weights = class_weights::of(&args.recipe.class_weights, &data)?;
    let photos_of_step = recipe.photos_of_step(data.train.len());
    recipe.lr = args.recipe.lr_for(photos_of_step, tunes);
    recipe.validate()?;
    let network = args.network_for(&network, data.classes.len())?;
    let graph = network.build()?;
    let (start, loaded) = if recipe.whiten_stem {
        (whitened(&graph, &recipe, &preprocess, &data, resources.threads)?, None)
    } else {
        args.tuning.start(base.as_ref(), &graph, &data.classes, &recipe)?
    };
    let config = Config {
        program: env!("CARGO_PKG_VERSION").into(),
        network: network.to_string(),
        data: data_folder,
        validation_share: args.input.validation_share,
        label_column: args.input.label_column.clone(),
        train_size: args.train_size.map_or(preprocess.size, |[height, width]| (height as u32, width as u32)),
        preprocess,
        dtype: args.dtype.into(),
        licence: args.licence.as_ref().or(base.as_ref().and_then(Base::licence)).cloned(),
        recipe,
        classes: data.classes.clone(),
        fingerprint: data.fingerprint.clone(),
        begun_from: base.as_ref().map(|base| base.origin().clone()),
    };
    if let Some(picture) = &args.find_lr {
        config.check(&graph)?;
        return running::find_lr(&config, &graph, &data, start, resources, picture);
    }
    if args.recipe.lr.is_none() {
        describe_lr(config.recipe.lr, photos_of_step, tunes);
    }
    let folder = RunFolder::create(&out, &config, &graph, &start)?;
    if let Some(base) = &base {
        base.note(&folder, loaded.as_ref())?;
    }
    running::train(Trainer::new(folder, config, graph, data, start, resources)?)
}

/// Says which learning rate was chosen for want of one.
fn describe_lr(lr: f64, photos: usize, tunes: bool) {
    let (share, why) = match tunes {
        true => ("a tenth of the default", ", for the run goes on from a model"),
        false => ("the default", ""),
    };
    say(&format!("learning rate {lr:.2e}: {share} for steps of {photos} photos{why}; --lr sets another"));
}

/// Photos are red, green and blue, also where they look grey.
fn check_channels(network: &Spec) -> Result<(), Failure> {
    match network.build()?.input_channels() {
        3 => Ok(()),
        n => Err(Failure::Message(format!("a network of {n} channels takes no photos; leave out `channels=`"))),
    }
}

impl Args {
    /// The network that is asked for, or that of the model to begin from.
    fn network(&self, base: Option<&Base>) -> Result<Spec, Failure> {
        match (&self.network, base) {
            (Some(network), _) => Ok(network.clone()),
            (None, Some(base)) => base.network(),
            (None, None) => Ok(DEFAULT_NETWORK.parse()?),
        }
    }

    /// The network with as many classes as there are folders.
    fn network_for(&self, network: &Spec, classes: usize) -> Result<Spec, Failure> {
        let asked = self.network.as_ref().map_or(classes, Spec::classes);
        let untouched: Spec = network.entry().name.parse()?;
        if asked != classes && asked != untouched.classes() {
            return Err(Failure::Message(format!(
                "the network is asked for with {asked} classes, but the photos have {classes}; leave out `classes=`"
            )));
        }
        Ok(network.with_classes(classes)?)
    }

    /// How photos are brought to the network: as to the model to begin from, if there is one, unless asked for otherwise.
    fn preprocess(&self, network: &Spec, base: Option<&Preprocess>) -> Result<Preprocess, Failure> {
        let (input, InputArgs { crop_mode, crop_pct, .. }) = (&network.entry().input, &self.input);
        if crop_pct.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
            return Err(Failure::Message("--crop-pct must be above 0 and at most 1".into()));
        }
        let usual = base.cloned().unwrap_or_else(|| Preprocess {
            size: (input.size as u32, input.size as u32),
            resize: Resize::ShorterSide(scaled_side(input.size as u32, input.crop_pct)),
            filter: if input.bicubic { Filter::Bicubic } else { Filter::Bilinear },
            mean: input.mean,
            std: input.std,
            background: [255; 3],
        });
        let is_asked = self.size.is_some() || crop_mode.is_some() || crop_pct.is_some();
        let (height, width) = self.size.map_or(usual.size, |[height, width]| (height as u32, width as u32));
        let shares = match (base, usual.resize) {
            (Some(base), Resize::ShorterSide(side)) => f64::from(base.size.0.min(base.size.1)) / f64::from(side),
            _ => input.crop_pct,
        };
        let resize = match (crop_mode, usual.resize) {
            _ if !is_asked => usual.resize,
            (Some(CropMode::Squash), _) => Resize::Stretch,
            (None, Resize::Stretch) if crop_pct.is_none() => Resize::Stretch,
            _ => Resize::ShorterSide(scaled_side(height.min(width), crop_pct.unwrap_or(shares.min(1.0)))),
        };
        let preprocess = Preprocess { size: (height, width), resize, ..usual };
        preprocess.validate()?;
        Ok(preprocess)
    }
}

/// `runs/NETWORK`, or the first of `runs/NETWORK-2`, `runs/NETWORK-3`, ... that is free.
fn free_name(network: &str) -> PathBuf {
    let numbered = |n: usize| if n == 1 { network.to_owned() } else { format!("{network}-{n}") };
    let free = (1..).map(|n| Path::new("runs").join(numbered(n))).find(|p| p.symlink_metadata().is_err());
    free.expect("there are more numbers than folders")
}
