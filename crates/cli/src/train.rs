//! `cspnet train`: a model of your own from photos whose classes are known. What a recipe is made of stands here as flags.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use cspnet::vision::geometry::scaled_side;
use cspnet::vision::{Filter, PaddingMode, Preprocess, Resize};
use cspnet::zoo::Spec;
use cspnet_data::{Augment, ColourJitter, CropPadding, DataOptions, EraseMode, Mix, RandAugment, RandomErasing};
use cspnet_train::{Config, Optimizer, Recipe, RunFolder, Trainer, check_for, tile_unit, whitened};

use crate::class_weights;
use crate::failure::Failure;
use crate::fine_tuning::{Base, FineTuning};
use crate::making::Precision;
use crate::numbers::size;
use crate::resources::ResourceArgs;
use crate::running::{self, say};

/// The network that is trained where none is asked for.
const DEFAULT_NETWORK: &str = "csppeleenet";

/// Train a network on photos whose classes are known.
///
/// DATA holds a folder for every class, named like the class; or train/, and perhaps validation/ (val/) and test/, with
/// class folders in each; or it is a Parquet file of photos, or a folder of them whose names begin with their split's, as on
/// Hugging Face. Where there are no photos for validation, some are set aside, reproducibly. The run folder gets the models best.safetensors and
/// last.safetensors, measurements, events, and checkpoints: `cspnet resume RUN` continues a run that was stopped, and ends with
/// the same bits as one that never was. Where numbers are not finite, the epoch begins again with half the learning rate, three times
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

/// How the network is trained.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Recipe")]
struct RecipeArgs {
    /// How often every photo is seen, but for a rest in each epoch that does not fill a batch
    #[arg(short, long, default_value_t = Recipe::default().epochs)]
    epochs: u32,

    /// Photos that are computed together
    #[arg(short, long, default_value_t = Recipe::default().batch_size)]
    batch_size: usize,

    /// Batches of a step, whose mean gradient changes the parameters
    #[arg(long, default_value_t = Recipe::default().grad_accum_steps, value_name = "BATCHES")]
    grad_accum_steps: usize,

    /// How gradients change parameters: SGD with Nesterov's momentum, AdamW (arXiv:1711.05101), or Muon for convolutions and AdamW for
    /// all else (https://kellerjordan.github.io/posts/muon)
    #[arg(long, alias = "opt", value_enum, default_value_t = OptimizerName::Sgd)]
    optimizer: OptimizerName,

    /// Seed of the initial weights and of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Largest learning rate [default: 0.1 for steps of 64 photos, in proportion for others (DenseNet, arXiv:1608.06993);
    /// with AdamW 0.004 for 4096, by the root of the proportion for others (ConvNeXt, arXiv:2201.03545), and with Muon as well
    /// (arXiv:2502.16982); a tenth of that where more than the classifier goes on from a model (R-CNN, arXiv:1311.2524)]
    #[arg(long)]
    lr: Option<f64>,

    /// Learning rate at the end of the cosine (arXiv:1608.03983)
    #[arg(long, default_value_t = Recipe::default().min_lr)]
    min_lr: f64,

    /// Epochs in which the learning rate rises (arXiv:1706.02677); half of all at most
    #[arg(long, default_value_t = Recipe::default().warmup_epochs, value_name = "EPOCHS")]
    warmup_epochs: f64,

    /// Momentum of SGD and of Muon [default: 0.9; with Muon 0.95 (PyTorch's)]
    #[arg(long)]
    momentum: Option<f64>,

    /// AdamW's shares of the past in the moving means of gradients and of their squares (PyTorch's)
    #[arg(long, num_args = 2, value_names = ["MEAN", "SQUARE"], default_values_t = Recipe::default().opt_betas)]
    opt_betas: Vec<f64>,

    /// What AdamW adds to the root of the mean square (PyTorch's)
    #[arg(long, default_value_t = Recipe::default().opt_eps)]
    opt_eps: f64,

    /// Largest norm of all gradients together (arXiv:1211.5063); none by default
    #[arg(long, value_name = "NORM")]
    clip_grad: Option<f64>,

    /// Weight decay of weights; scales, shifts and biases have none [default: 0.0005 (arXiv:1605.07146); with AdamW 0.05
    /// (arXiv:2201.03545), with Muon 0.1 (PyTorch's)]
    #[arg(long)]
    weight_decay: Option<f64>,

    /// Begin with a first convolution that whitens patches of the photos (arXiv:2404.00498); with --freeze-to and the name of the
    /// network's stem it stays so, as in the paper
    #[arg(long, conflicts_with_all = ["from", "head_only"])]
    whiten_stem: bool,

    /// Mixed precision, for processors with Intel's AMX: convolutions of stride 1 multiply in bfloat16; sums and all else stay in single
    /// precision (arXiv:1905.12322)
    #[arg(long)]
    amp: bool,

    /// Label smoothing (arXiv:1512.00567)
    #[arg(long, default_value_t = Recipe::default().smoothing)]
    smoothing: f64,

    /// Weights of the classes in the loss: `none`, `auto` (in inverse proportion to their photos, scikit-learn's `balanced`), numbers
    /// with commas in the order of the classes, or a file with lines `CLASS,WEIGHT`
    #[arg(long, value_name = "WEIGHTS", default_value = "none")]
    class_weights: String,

    /// Show all classes equally often, however many photos they have
    #[arg(long)]
    balanced_sampling: bool,

    /// End after so many epochs without a better one; never by default
    #[arg(long, value_name = "EPOCHS")]
    patience: Option<u32>,

    /// Train for so long instead of so many epochs, validation included, like 45m or 1h30m: the schedule follows the clock, so two
    /// such runs differ
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    time_budget: Option<f64>,

    /// Parameter of mixup (arXiv:1710.09412); 0 for none
    #[arg(long, default_value_t = Recipe::default().mix.mixup, value_name = "ALPHA")]
    mixup: f64,

    /// Parameter of CutMix (arXiv:1905.04899), as 1 in the paper; 0 for none
    #[arg(long, default_value_t = Recipe::default().mix.cutmix, value_name = "ALPHA")]
    cutmix: f64,

    /// Probability that a batch is mixed at all (timm's)
    #[arg(long, default_value_t = Recipe::default().mix.probability, value_name = "PROBABILITY")]
    mixup_prob: f64,

    /// Probability of CutMix where there is mixup as well (timm's)
    #[arg(long, default_value_t = Recipe::default().mix.switch_probability, value_name = "PROBABILITY")]
    mixup_switch_prob: f64,

    /// Epochs after which nothing is mixed any more; 0 for never
    #[arg(long, default_value_t = Recipe::default().mixup_off_epoch, value_name = "EPOCHS")]
    mixup_off_epoch: u32,

    /// Dropout before the classifier: the probability that a number is dropped
    #[arg(long, default_value_t = Recipe::default().drop, value_name = "RATE")]
    drop: f64,

    /// Stochastic depth (arXiv:1603.09382): the probability that the last residual unit is left out of an image, evenly less for
    /// those before it
    #[arg(long, default_value_t = Recipe::default().drop_path, value_name = "RATE")]
    drop_path: f64,

    /// Dropout of what every layer of a dense block adds (DenseNet's, 0.2 without augmentation, arXiv:1608.06993)
    #[arg(long, default_value_t = Recipe::default().proj_drop, value_name = "RATE")]
    proj_drop: f64,

    /// How much the moving average of weights and running statistics keeps at each step
    #[arg(long, default_value_t = Recipe::default().model_ema_decay, value_name = "DECAY")]
    model_ema_decay: f64,

    /// Smallest and largest share of a photo's area in a random resized crop (arXiv:1409.4842)
    #[arg(long, num_args = 2, value_names = ["LEAST", "MOST"], default_values_t = Recipe::default().augment.scale)]
    scale: Vec<f64>,

    /// Smallest and largest stretch of a random resized crop
    #[arg(long, num_args = 2, value_names = ["LEAST", "MOST"], default_values_t = Recipe::default().augment.ratio)]
    ratio: Vec<f64>,

    /// Probability of a mirror image
    #[arg(long, default_value_t = Recipe::default().augment.hflip)]
    hflip: f64,

    /// Mirror a photo in every other epoch, half of the photos in the first, instead of by chance: two epochs in turn show both
    /// images of every photo (arXiv:2404.00498, section 3.6)
    #[arg(long)]
    alternate_flip: bool,

    /// Instead of a random resized crop: the photo's middle, with so many pixels on every side, and of that a random part of the
    /// input's size (4 for CIFAR, arXiv:1512.03385)
    #[arg(long, value_name = "PIXELS")]
    crop_padding: Option<u32>,

    /// What is in that padding (the mirror image is arXiv:2404.00498's choice, black the older one)
    #[arg(long, value_enum, default_value_t = Padding::Reflect)]
    crop_padding_mode: Padding,

    /// How far brightness, contrast and saturation change [default: 0.3; 0 with --aa, as in timm]
    #[arg(long)]
    color_jitter: Option<f64>,

    /// RandAugment (arXiv:1909.13719) as timm writes it, like rand-m9-n2-mstd0.5-inc1
    #[arg(long, value_name = "POLICY")]
    aa: Option<RandAugment>,

    /// Probability of random erasing (arXiv:1708.04896)
    #[arg(long, default_value_t = Recipe::default().augment.erase.probability, value_name = "PROBABILITY")]
    reprob: f64,

    /// Colours of what is erased: the mean, one random colour, or one for every pixel (timm's)
    #[arg(long, value_enum, default_value_t = Remode::Pixel)]
    remode: Remode,

    /// Rectangles that are erased
    #[arg(long, default_value_t = Recipe::default().augment.erase.count)]
    recount: usize,
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

/// How gradients change parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OptimizerName {
    /// Stochastic gradient descent with Nesterov's momentum
    Sgd,
    /// Adam with decoupled weight decay
    Adamw,
    /// Muon for convolutions, AdamW for all else
    Muon,
}

/// What is in the padding of a crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Padding {
    /// Black
    Constant,
    /// The photo's mirror image
    Reflect,
}

/// Colours of erased rectangles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Remode {
    /// The mean
    Const,
    /// One random colour
    Rand,
    /// A random colour for every pixel
    Pixel,
}

/// What evaluation sees of a photo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CropMode {
    /// Its centre, undistorted
    Center,
    /// All of it
    Squash,
}

impl RecipeArgs {
    /// The recipe of a run; `tunes` if more than the classifier goes on from a model.
    fn recipe(&self, tunes: bool) -> Recipe {
        let pair = |values: &[f64]| [values[0], values[1]];
        let optimizer = self.optimizer();
        Recipe {
            epochs: self.epochs,
            batch_size: self.batch_size,
            grad_accum_steps: self.grad_accum_steps,
            seed: self.seed,
            // As if there were photos enough for such steps, which is not known yet.
            lr: self.lr_for(self.batch_size.saturating_mul(self.grad_accum_steps), tunes),
            min_lr: self.min_lr,
            // A run that is shorter than its warm-up would never reach its learning rate.
            warmup_epochs: self.warmup_epochs.min(f64::from(self.epochs) / 2.0),
            optimizer,
            momentum: self.momentum.unwrap_or_else(|| Recipe::default_momentum(optimizer)),
            opt_betas: pair(&self.opt_betas),
            opt_eps: self.opt_eps,
            clip_grad: self.clip_grad,
            weight_decay: self.weight_decay.unwrap_or_else(|| Recipe::default_weight_decay(optimizer)),
            smoothing: self.smoothing,
            // The classes are not known yet.
            class_weights: None,
            balanced_sampling: self.balanced_sampling,
            patience: self.patience,
            time_budget: self.time_budget,
            mix: Mix {
                mixup: self.mixup,
                cutmix: self.cutmix,
                probability: self.mixup_prob,
                switch_probability: self.mixup_switch_prob,
            },
            mixup_off_epoch: self.mixup_off_epoch,
            drop: self.drop,
            drop_path: self.drop_path,
            proj_drop: self.proj_drop,
            model_ema_decay: self.model_ema_decay,
            augment: self.augment(),
            // Those are a matter of fine-tuning.
            freeze: None,
            layer_decay: None,
            whiten_stem: self.whiten_stem,
            amp: self.amp,
        }
    }

    fn optimizer(&self) -> Optimizer {
        match self.optimizer {
            OptimizerName::Sgd => Optimizer::Sgd,
            OptimizerName::Adamw => Optimizer::AdamW,
            OptimizerName::Muon => Optimizer::Muon,
        }
    }

    /// The learning rate that is asked for, or the default for steps of so many photos.
    fn lr_for(&self, photos: usize, tunes: bool) -> f64 {
        let default = if tunes { Recipe::default_tuning_lr } else { Recipe::default_lr };
        self.lr.unwrap_or_else(|| default(self.optimizer(), photos))
    }

    /// Whether what is asked for makes sense together.
    fn check(&self) -> Result<(), Failure> {
        if self.balanced_sampling && self.class_weights == "auto" {
            return Err(Failure::Message(
                "--class-weights auto and --balanced-sampling would both make up for the same rare classes; leave out one".into(),
            ));
        }
        Ok(())
    }

    fn augment(&self) -> Augment {
        let pair = |values: &[f64]| [values[0], values[1]];
        let usual = Recipe::default().augment;
        Augment {
            scale: pair(&self.scale),
            ratio: pair(&self.ratio),
            crop_padding: self.crop_padding.map(|pixels| CropPadding {
                pixels,
                mode: match self.crop_padding_mode {
                    Padding::Constant => PaddingMode::Constant,
                    Padding::Reflect => PaddingMode::Reflect,
                },
            }),
            hflip: self.hflip,
            alternate_flip: self.alternate_flip,
            color_jitter: match (self.color_jitter, self.aa) {
                (Some(strength), _) => ColourJitter::of(strength),
                // The operations change colours already.
                (None, Some(_)) => ColourJitter::default(),
                (None, None) => usual.color_jitter,
            },
            auto_augment: self.aa,
            erase: RandomErasing {
                probability: self.reprob,
                mode: match self.remode {
                    Remode::Const => EraseMode::Const,
                    Remode::Rand => EraseMode::Rand,
                    Remode::Pixel => EraseMode::Pixel,
                },
                count: self.recount,
            },
        }
    }
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

/// Seconds of a time like `90s`, `45m`, `1h30m`.
fn seconds(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no time; write it like 90s, 45m or 1h30m");
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let unit = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
        let number: f64 = rest[..unit].parse().map_err(|_| wrong())?;
        total += number
            * match rest.as_bytes()[unit] {
                b'h' => 3600.0,
                b'm' => 60.0,
                b's' => 1.0,
                _ => return Err(wrong()),
            };
        rest = &rest[unit + 1..];
    }
    if total > 0.0 && f64::is_finite(total) { Ok(total) } else { Err(wrong()) }
}

/// `runs/NETWORK`, or the first of `runs/NETWORK-2`, `runs/NETWORK-3`, ... that is free.
fn free_name(network: &str) -> PathBuf {
    let numbered = |n: usize| if n == 1 { network.to_owned() } else { format!("{network}-{n}") };
    let free = (1..).map(|n| Path::new("runs").join(numbered(n))).find(|p| p.symlink_metadata().is_err());
    free.expect("there are more numbers than folders")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(["90s", "45m", "1h30m", "1.5h"].map(seconds), [Ok(90.0), Ok(2700.0), Ok(5400.0), Ok(5400.0)]);
        for wrong in ["", "45", "m", "0s", "1d", "-3m", "1h30"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
