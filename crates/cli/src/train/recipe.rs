//! What a recipe is made of, as flags with the field's usual names.
//!
//! Not here: what the photos, the machine and a model to begin from have to do with it.

use clap::ValueEnum;
use cspnet::vision::PaddingMode;
use cspnet_data::{Augment, ColourJitter, CropPadding, EraseMode, Mix, RandAugment, RandomErasing};
use cspnet_train::{Optimizer, Recipe};

use crate::failure::Failure;

/// How the network is trained.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Recipe")]
pub(super) struct RecipeArgs {
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
    pub(super) lr: Option<f64>,

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
    pub(super) whiten_stem: bool,

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
    pub(super) class_weights: String,

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

impl RecipeArgs {
    /// The recipe of a run; `tunes` if more than the classifier goes on from a model.
    pub(super) fn recipe(&self, tunes: bool) -> Recipe {
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
    pub(super) fn lr_for(&self, photos: usize, tunes: bool) -> f64 {
        let default = if tunes { Recipe::default_tuning_lr } else { Recipe::default_lr };
        self.lr.unwrap_or_else(|| default(self.optimizer(), photos))
    }

    /// Whether what is asked for makes sense together.
    pub(super) fn check(&self) -> Result<(), Failure> {
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
