//! How a network is trained, as numbers with the field's usual names.

use cspnet_data::{Augment, ColourJitter, EraseMode, Mix, RandomErasing};
use cspnet_engine::{AdamW, UpdateRule};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// How gradients change parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Stochastic gradient descent with Nesterov's momentum.
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101).
    AdamW,
    /// Muon for convolutions' weights (Jordan et al., 2024, <https://kellerjordan.github.io/posts/muon/>), AdamW for all else.
    Muon,
}

/// What of a network stays as it is: parameters and running statistics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freeze {
    /// Everything up to and including a stage, by its module's path.
    To(String),
    /// Everything but the classifier, which is trained with what the rest makes of each photo once and for all.
    AllButHead,
}

/// How a network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// How often every photo is seen.
    pub epochs: u32,
    /// Photos that are computed together.
    pub batch_size: usize,
    /// Batches of a step, whose mean gradient changes the parameters; normalisations see one batch at a time, as in PyTorch.
    pub grad_accum_steps: usize,
    /// Seed of the initial weights and of all that is drawn.
    pub seed: u64,
    /// Largest learning rate.
    pub lr: f64,
    /// Learning rate at the end.
    pub min_lr: f64,
    /// Epochs in which the learning rate rises from zero (Goyal et al., arXiv:1706.02677).
    pub warmup_epochs: f64,
    /// How gradients change parameters.
    pub optimizer: Optimizer,
    /// With SGD, the share of the past steps that is kept in a step; with Muon, of the past in the mean of gradients that it makes
    /// orthogonal. Both look ahead as Nesterov's does.
    pub momentum: f64,
    /// With AdamW, and with Muon where that leaves parameters to it, the shares of the past in the moving means of gradients and of
    /// their squares.
    pub opt_betas: [f64; 2],
    /// There, what is added to the root of the mean square.
    pub opt_eps: f64,
    /// Largest norm of all gradients together; longer ones are shortened to it (Pascanu et al., arXiv:1211.5063).
    pub clip_grad: Option<f64>,
    /// Weight decay of convolutions' and linear layers' weights; scales, shifts and biases have none.
    pub weight_decay: f64,
    /// By what the loss of each class is multiplied, the classes in their order; nothing by default.
    pub class_weights: Option<Vec<f64>>,
    /// Whether all classes come equally often in an epoch, however many photos they have.
    pub balanced_sampling: bool,
    /// Epochs without a better one after which the run ends.
    pub patience: Option<u32>,
    /// Seconds that training may take, validation included; the schedule then follows the clock instead of the epochs.
    pub time_budget: Option<f64>,
    /// Share of a target that is spread over all classes (Szegedy et al., arXiv:1512.00567).
    pub smoothing: f64,
    /// How the photos of a batch are mixed.
    pub mix: Mix,
    /// The epoch from which on nothing is mixed any more; 0 for never.
    pub mixup_off_epoch: u32,
    /// Probability that a number before the classifier is dropped.
    pub drop: f64,
    /// Probability that the body of the last residual unit is left out of an image; of those before it less, evenly down to 0.
    pub drop_path: f64,
    /// Probability that a number is dropped of what a layer of a dense block adds.
    pub proj_drop: f64,
    /// Share of the past that the moving average of weights and running statistics keeps at each step.
    pub model_ema_decay: f64,
    /// How the photos vary.
    pub augment: Augment,
    /// What stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Freeze>,
    /// By what the learning rate is multiplied from each stage to the one before it, as it was for fine-tuning ELECTRA (Clark et
    /// al., arXiv:2003.10555) and BEiT (Bao et al., arXiv:2106.08254).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_decay: Option<f64>,
    /// Whether a run from nothing begins with a first convolution that whitens patches of the photos (Jordan, arXiv:2404.00498).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whiten_stem: bool,
    /// Whether factors of convolutions are rounded to bfloat16 ([`cspnet_engine::TrainOptions::mixed`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub amp: bool,
}

impl Recipe {
    /// The default learning rate for `photos` a step.
    ///
    /// SGD: 0.1 for 64, in proportion for others (DenseNet: Huang et al., arXiv:1608.06993, section 4.2). AdamW: 0.004 for 4096
    /// (ConvNeXt: Liu et al., arXiv:2201.03545, appendix A.1), and the root of the proportion for others, as in timm. Muon: AdamW's, for
    /// its steps are as large (Liu et al., arXiv:2502.16982, section 2.2).
    pub fn default_lr(optimizer: Optimizer, photos: usize) -> f64 {
        match optimizer {
            Optimizer::Sgd => 0.1 * photos as f64 / 64.0,
            Optimizer::AdamW | Optimizer::Muon => 0.004 * (photos as f64 / 4096.0).sqrt(),
        }
    }

    /// The default learning rate where more of a network than its classifier goes on from a model: a tenth, with which it makes progress
    /// and does not destroy what it began from (R-CNN: Girshick et al., arXiv:1311.2524, section 2.3). timm's author and that of the
    /// Swin transformers say to begin with a tenth as well (their issues 25 and 126). A classifier alone has nothing to destroy, and is
    /// trained at the full rate, as in the first phase of fastai's `fine_tune`.
    pub fn default_tuning_lr(optimizer: Optimizer, photos: usize) -> f64 {
        Self::default_lr(optimizer, photos) / 10.0
    }

    /// The default weight decay. SGD: five times DenseNet's, as is usual where photos are few (Zagoruyko and Komodakis,
    /// arXiv:1605.07146). AdamW: ConvNeXt's. Muon: PyTorch's.
    pub fn default_weight_decay(optimizer: Optimizer) -> f64 {
        match optimizer {
            Optimizer::Sgd => 5e-4,
            Optimizer::AdamW => 0.05,
            Optimizer::Muon => 0.1,
        }
    }

    /// The default momentum: 0.9, and Jordan's and PyTorch's for Muon. AdamW has none.
    pub fn default_momentum(optimizer: Optimizer) -> f64 {
        match optimizer {
            Optimizer::Sgd | Optimizer::AdamW => 0.9,
            Optimizer::Muon => 0.95,
        }
    }

    /// Learning rate of a step, counted in epochs from the start: a linear rise, then half a cosine (Loshchilov and Hutter,
    /// arXiv:1608.03983).
    pub fn lr_at(&self, epochs: f64) -> f64 {
        let (warm, all) = (self.warmup_epochs, f64::from(self.epochs));
        if epochs < warm {
            return self.lr * epochs / warm;
        }
        let way = if all > warm { ((epochs - warm) / (all - warm)).clamp(0.0, 1.0) } else { 1.0 };
        self.min_lr + (self.lr - self.min_lr) * (1.0 + (std::f64::consts::PI * way).cos()) / 2.0
    }

    /// How much of the past the moving average keeps at an update, counted from 0: little at first, so that it forgets the
    /// initial weights.
    pub fn ema_decay_at(&self, update: u64) -> f32 {
        let update = update as f64;
        self.model_ema_decay.min((1.0 + update) / (10.0 + update)) as f32
    }

    /// Photos of a batch: fewer than the recipe's where there are not so many.
    pub(crate) fn batch_size_of(&self, photos: usize) -> usize {
        self.batch_size.min(photos)
    }

    /// Batches of an epoch. The photos that do not fill another batch are left for other epochs, which have other orders.
    pub(crate) fn batches_of(&self, photos: usize) -> usize {
        photos / self.batch_size_of(photos)
    }

    /// Photos of a step, of so many altogether.
    pub fn photos_of_step(&self, photos: usize) -> usize {
        self.batch_size_of(photos) * self.grad_accum_steps.min(self.batches_of(photos))
    }

    /// How the photos of a batch are mixed in an epoch that begins after so many.
    pub(crate) fn mix_at(&self, epochs: f64) -> Mix {
        let is_over = self.mixup_off_epoch > 0 && epochs >= f64::from(self.mixup_off_epoch);
        if is_over { Mix { mixup: 0.0, cutmix: 0.0, ..self.mix } } else { self.mix }
    }

    /// The rule of an update, counted from 1.
    pub(crate) fn update_rule(&self, lr: f64, update: u64) -> UpdateRule {
        let adamw = AdamW { rate: lr, betas: self.opt_betas, eps: self.opt_eps, decay: self.weight_decay, update };
        match self.optimizer {
            Optimizer::Sgd => UpdateRule::Sgd {
                rate: lr as f32,
                momentum: self.momentum as f32,
                nesterov: true,
                decay: self.weight_decay as f32,
            },
            Optimizer::AdamW => UpdateRule::AdamW(adamw),
            Optimizer::Muon => UpdateRule::Muon { momentum: self.momentum, adamw },
        }
    }

    /// Whether the classifier alone learns.
    pub(crate) fn is_head_only(&self) -> bool {
        self.freeze == Some(Freeze::AllButHead)
    }

    /// The recipe as far as it holds for photos whose features are computed once, as evaluation sees them and as its mirror image:
    /// they do not vary otherwise, and are not mixed.
    #[must_use]
    pub fn for_features(self) -> Self {
        Self {
            mix: Mix { mixup: 0.0, cutmix: 0.0, ..self.mix },
            augment: Augment {
                scale: [1.0, 1.0],
                ratio: [1.0, 1.0],
                crop_padding: None,
                hflip: self.augment.hflip,
                alternate_flip: self.augment.alternate_flip,
                color_jitter: ColourJitter::default(),
                auto_augment: None,
                erase: RandomErasing { probability: 0.0, ..self.augment.erase },
            },
            freeze: Some(Freeze::AllButHead),
            ..self
        }
    }

    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// Names the first that does not.
    pub fn validate(&self) -> Result<(), TrainError> {
        let share = |x: f64| (0.0..=1.0).contains(&x);
        let not_negative = |x: f64| x.is_finite() && x >= 0.0;
        let ordered = |[low, high]: [f64; 2]| low > 0.0 && low <= high && high.is_finite();
        let beta = |alpha: f64| (0.0..=10.0).contains(&alpha);
        let (jitter, erase) = (self.augment.color_jitter, self.augment.erase);
        let below_one = |x: &f64| (0.0..1.0).contains(x);
        let rules: [(&'static str, bool, &'static str); 32] = [
            ("epochs", self.epochs > 0, "at least 1"),
            ("batch-size", self.batch_size > 0, "at least 1"),
            ("grad-accum-steps", self.grad_accum_steps > 0, "at least 1"),
            ("opt-betas", self.opt_betas.iter().all(below_one), "at least 0 and below 1"),
            ("opt-eps", not_negative(self.opt_eps), "finite and not negative"),
            ("clip-grad", self.clip_grad.is_none_or(|n| n > 0.0 && n.is_finite()), "finite and above 0"),
            ("lr", not_negative(self.lr), "finite and not negative"),
            ("min-lr", not_negative(self.min_lr) && self.min_lr <= self.lr, "at least 0 and at most the lr"),
            ("warmup-epochs", not_negative(self.warmup_epochs), "finite and not negative"),
            ("momentum", below_one(&self.momentum), "at least 0 and below 1"),
            ("weight-decay", not_negative(self.weight_decay), "finite and not negative"),
            ("smoothing", below_one(&self.smoothing), "at least 0 and below 1"),
            ("mixup", beta(self.mix.mixup), "in 0..=10"),
            ("cutmix", beta(self.mix.cutmix), "in 0..=10"),
            ("mixup-prob", share(self.mix.probability), "in 0..=1"),
            ("mixup-switch-prob", share(self.mix.switch_probability), "in 0..=1"),
            ("reprob", share(erase.probability), "in 0..=1"),
            ("recount", (1..=100).contains(&erase.count), "in 1..=100"),
            ("crop-padding", self.augment.crop_padding.is_none_or(|p| p.pixels <= 4096), "at most 4096"),
            (
                "class-weights",
                self.class_weights.iter().flatten().all(|w| (0.0..=1e6).contains(w)),
                "numbers in 0..=1000000",
            ),
            ("layer-decay", self.layer_decay.is_none_or(|f| f > 0.0 && f <= 1.0), "above 0 and at most 1"),
            ("patience", self.patience != Some(0), "at least 1"),
            ("time-budget", self.time_budget.is_none_or(|s| s > 0.0 && s.is_finite()), "above 0"),
            ("drop", below_one(&self.drop), "at least 0 and below 1"),
            ("drop-path", below_one(&self.drop_path), "at least 0 and below 1"),
            ("proj-drop", below_one(&self.proj_drop), "at least 0 and below 1"),
            ("model-ema-decay", below_one(&self.model_ema_decay), "at least 0 and below 1"),
            ("scale", ordered(self.augment.scale) && self.augment.scale[1] <= 1.0, "two shares in rising order"),
            ("ratio", ordered(self.augment.ratio), "two positive numbers in rising order"),
            ("hflip", share(self.augment.hflip), "in 0..=1"),
            ("alternate-flip", !self.augment.alternate_flip || self.augment.hflip > 0.0, "without --hflip 0"),
            (
                "color-jitter",
                [jitter.brightness, jitter.contrast, jitter.saturation].into_iter().all(share),
                "in 0..=1",
            ),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, rule)) => Err(TrainError::Recipe { field, rule }),
            None => Ok(()),
        }
    }
}

impl Default for Recipe {
    /// A recipe for a few thousand photos.
    fn default() -> Self {
        let (batch_size, optimizer) = (32, Optimizer::Sgd);
        Self {
            epochs: 100,
            batch_size,
            grad_accum_steps: 1,
            seed: 0,
            lr: Self::default_lr(optimizer, batch_size),
            min_lr: 0.0,
            warmup_epochs: 5.0,
            optimizer,
            momentum: Self::default_momentum(optimizer),
            // PyTorch's, and ConvNeXt's.
            opt_betas: [0.9, 0.999],
            opt_eps: 1e-8,
            clip_grad: None,
            class_weights: None,
            balanced_sampling: false,
            patience: None,
            time_budget: None,
            weight_decay: Self::default_weight_decay(optimizer),
            smoothing: 0.1,
            mix: Mix { mixup: 0.2, cutmix: 0.0, probability: 1.0, switch_probability: 0.5 },
            mixup_off_epoch: 0,
            drop: 0.0,
            drop_path: 0.0,
            proj_drop: 0.0,
            model_ema_decay: 0.999,
            augment: Augment {
                scale: [0.35, 1.0],
                ratio: [0.75, 1.3333],
                crop_padding: None,
                hflip: 0.5,
                alternate_flip: false,
                color_jitter: ColourJitter::of(0.3),
                auto_augment: None,
                erase: RandomErasing { probability: 0.0, mode: EraseMode::Pixel, count: 1 },
            },
            freeze: None,
            layer_decay: None,
            whiten_stem: false,
            amp: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_falls() {
        let recipe = Recipe { epochs: 20, warmup_epochs: 4.0, lr: 0.8, min_lr: 0.1, ..Recipe::default() };
        let near = |epochs: f64, expected: f64| {
            assert!((recipe.lr_at(epochs) - expected).abs() < 1e-12, "{epochs}: {}", recipe.lr_at(epochs));
        };
        near(0.0, 0.0);
        near(2.0, 0.4);
        near(4.0, 0.8);
        near(12.0, 0.45);
        near(20.0, 0.1);
        let all_warm = Recipe { epochs: 2, warmup_epochs: 5.0, ..recipe.clone() };
        assert!(all_warm.lr_at(1.0) > 0.0 && all_warm.lr_at(2.0).is_finite());
        let cold = Recipe { warmup_epochs: 0.0, ..recipe };
        assert_eq!(cold.lr_at(0.0), 0.8);
    }

    #[test]
    fn the_average_forgets_its_beginning() {
        let recipe = Recipe { model_ema_decay: 0.99, ..Recipe::default() };
        assert_eq!(recipe.ema_decay_at(0), 0.1);
        assert!(recipe.ema_decay_at(90) < 0.92 && recipe.ema_decay_at(100_000) == 0.99);
    }

    #[test]
    fn nonsense_is_named() {
        assert!(Recipe::default().validate().is_ok());
        let refused = |recipe: Recipe| recipe.validate().unwrap_err().to_string();
        assert!(refused(Recipe { epochs: 0, ..Recipe::default() }).contains("epochs"));
        assert!(refused(Recipe { lr: f64::NAN, ..Recipe::default() }).contains("lr"));
        assert!(refused(Recipe { smoothing: 1.0, ..Recipe::default() }).contains("smoothing"));
        let augment = Augment { scale: [0.8, 0.2], ..Recipe::default().augment };
        assert!(refused(Recipe { augment, ..Recipe::default() }).contains("scale"));
    }
}
