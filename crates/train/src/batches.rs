//! The batches of an epoch: its photos in the epoch's order, as varied views, with their targets.

use std::sync::Arc;

use cspnet_data::{DataSet, Draw, Mix, Ordered, Purpose, Sample, Skipped};
use cspnet_metrics::likeliest;
use cspnet_vision::{DecodeOptions, Photo, Preprocess};

use crate::balance::balanced_order;
use crate::config::Config;
use crate::features::Features;
use crate::recipe::Recipe;

/// What the batches of all epochs are made from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub samples: Vec<Sample>,
    pub classes: usize,
    pub recipe: Recipe,
    pub preprocess: Preprocess,
    pub decode: DecodeOptions,
    /// What photos are computed to once, instead of their pixels.
    pub features: Option<Arc<Features>>,
}

/// A batch for a step.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Photos that could be read.
    pub images: usize,
    /// Their places in [`Source::samples`].
    pub samples: Vec<usize>,
    /// RGB pixels `[n, h, w, 3]`.
    pub pixels: Vec<u8>,
    /// Instead of pixels, what a frozen part of the network has made of them.
    pub features: Vec<f32>,
    /// Target distributions `[n, classes]`, times the weights of the classes.
    pub targets: Vec<f32>,
    /// Of every photo, the class that has most of it.
    pub classes: Vec<Option<usize>>,
    /// What dropout draws by.
    pub draw: u64,
    /// Photos that could not be read.
    pub skipped: Vec<Skipped>,
}

/// The batches of an epoch that are left, loaded ahead on threads of their own.
pub(crate) struct Batches {
    source: Arc<Source>,
    epoch: u32,
    /// How the photos of a batch are mixed.
    mix: Mix,
    /// The next, counted from the beginning of the epoch.
    batch: usize,
    /// Views with the places of their photos.
    views: Ordered<Result<(View, usize), Skipped>>,
}

/// What a batch takes of a photo.
enum View {
    Pixels(Photo),
    /// The features of this photo, or of its mirror image.
    Features {
        photo: usize,
        mirrored: bool,
    },
}

impl Source {
    /// What a configuration says of them.
    pub(crate) fn of(config: &Config, data: &DataSet) -> Self {
        Self {
            samples: data.train.clone(),
            classes: data.classes.len(),
            recipe: config.recipe.clone(),
            preprocess: config.viewed(),
            decode: DecodeOptions { background: config.preprocess.background, ..DecodeOptions::default() },
            features: None,
        }
    }

    /// Photos of a batch.
    pub(crate) fn batch_size(&self) -> usize {
        self.recipe.batch_size_of(self.samples.len())
    }

    /// Batches of an epoch.
    fn batches(&self) -> usize {
        self.recipe.batches_of(self.samples.len())
    }

    /// Steps of an epoch: the last may have fewer batches than others, as in timm.
    pub(crate) fn steps(&self) -> usize {
        self.batches().div_ceil(self.recipe.grad_accum_steps)
    }

    /// Batches of one step of an epoch.
    pub(crate) fn batches_of(&self, step: usize) -> usize {
        let most = self.recipe.grad_accum_steps;
        most.min(self.batches() - step * most)
    }

    /// The order of an epoch's photos; one that comes again has the number of photos added each time.
    fn order(&self, epoch: u32) -> Vec<usize> {
        if self.recipe.balanced_sampling {
            return balanced_order(&self.samples, self.classes, self.recipe.seed, epoch);
        }
        let mut order: Vec<usize> = (0..self.samples.len()).collect();
        Draw::new(self.recipe.seed, epoch.into(), 0, Purpose::Order).shuffle(&mut order);
        order
    }

    /// What an epoch sees of a photo, as it is called in the epoch's order, and its place among the samples.
    fn view(&self, epoch: u32, number: usize) -> Result<(View, usize), Skipped> {
        let photo = number % self.samples.len();
        let sample = &self.samples[photo];
        let (recipe, epoch) = (&self.recipe, u64::from(epoch));
        if let Some(features) = &self.features {
            let mirrored = recipe.augment.mirrors(recipe.seed, epoch, number as u64);
            return features.view(photo, mirrored).map(|_| (View::Features { photo, mirrored }, photo));
        }
        sample
            .decode(&self.decode)
            .and_then(|p| recipe.augment.view(&p, &self.preprocess, recipe.seed, epoch, number as u64))
            .map(|view| (View::Pixels(view), photo))
            .map_err(|e| Skipped { path: sample.path.clone(), why: e.to_string(), unreadable: true })
    }

    /// Adds what a batch takes of a photo.
    fn put(&self, view: &View, batch: &mut Batch) {
        match (view, &self.features) {
            (View::Pixels(photo), _) => batch.pixels.extend_from_slice(photo.pixels()),
            (&View::Features { photo, mirrored }, Some(features)) => {
                let numbers = features.view(photo, mirrored).expect("the view was there when it was asked for");
                batch.features.extend_from_slice(numbers);
            }
            (View::Features { .. }, None) => unreachable!("views of features come from features"),
        }
    }
}

impl Batches {
    /// The batches of `epoch` from `step` on, mixed so and loaded by `threads`.
    pub(crate) fn new(source: &Arc<Source>, (epoch, step): (u32, usize), mix: Mix, threads: usize) -> Self {
        let (size, order) = (source.batch_size(), source.order(epoch));
        // The last step may have fewer batches.
        let batch = (step * source.recipe.grad_accum_steps).min(source.batches());
        let left: Vec<usize> = order[batch * size..source.batches() * size].to_vec();
        let from = Arc::clone(source);
        let views = Ordered::new(left.len(), threads, 3 * size, move |i| from.view(epoch, left[i]));
        Self { source: Arc::clone(source), epoch, mix, batch, views }
    }

    /// Fills `batch` with the next.
    pub(crate) fn next_into(&mut self, batch: &mut Batch) {
        batch.images = 0;
        batch.samples.clear();
        batch.pixels.clear();
        batch.features.clear();
        batch.targets.clear();
        batch.skipped.clear();
        let (classes, recipe) = (self.source.classes, &self.source.recipe);
        for view in self.views.by_ref().take(self.source.batch_size()) {
            match view {
                Ok((view, photo)) => {
                    let class = self.source.samples[photo].class;
                    batch.images += 1;
                    batch.samples.push(photo);
                    self.source.put(&view, batch);
                    batch.targets.extend((0..classes).map(|c| smoothed(c == class, classes, recipe.smoothing as f32)));
                }
                Err(skipped) => batch.skipped.push(skipped),
            }
        }
        let (epoch, number) = (u64::from(self.epoch), self.batch as u64);
        batch.draw = Draw::new(recipe.seed, epoch, number, Purpose::Dropout).word();
        let (height, width) = self.source.preprocess.size;
        self.mix.apply(
            &mut batch.pixels,
            &mut batch.targets,
            [batch.images, height as usize, width as usize],
            recipe.seed,
            epoch,
            number,
        );
        batch.classes.clear();
        batch.classes.extend(batch.targets.chunks(classes).map(likeliest));
        if let Some(weights) = &recipe.class_weights {
            let weighted = batch.targets.iter_mut().zip(weights.iter().cycle());
            weighted.for_each(|(target, &weight)| *target *= weight as f32);
        }
        self.batch += 1;
    }
}

/// A class's share of a smoothed target: `smoothing` is spread over all classes alike, the photo's own among them.
fn smoothed(is_class: bool, classes: usize, smoothing: f32) -> f32 {
    let spread = smoothing / classes as f32;
    if is_class { 1.0 - smoothing + spread } else { spread }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(samples: usize, batch_size: usize) -> Source {
        let sample = |i| Sample::file(format!("missing-{i}.jpg"), i % 2);
        Source {
            samples: (0..samples).map(sample).collect(),
            classes: 2,
            recipe: Recipe { batch_size, ..Recipe::default() },
            preprocess: Preprocess::torchvision(),
            decode: DecodeOptions::default(),
            features: None,
        }
    }

    #[test]
    fn every_photo_is_seen_once_and_epochs_differ() {
        let source = source(10, 3);
        assert_eq!((source.steps(), source.batch_size()), (3, 3));
        let mut order = source.order(4);
        assert_ne!(order, source.order(5));
        order.sort_unstable();
        assert_eq!(order, (0..10).collect::<Vec<_>>());
        assert_eq!(self::source(2, 3).steps(), 1);
    }

    #[test]
    fn an_epoch_entered_in_the_middle_goes_on_as_it_would_have() {
        let source = Arc::new(source(10, 3));
        let names = |batches: &mut Batches| {
            let mut batch = Batch::default();
            batches.next_into(&mut batch);
            assert_eq!((batch.images, batch.pixels.len()), (0, 0));
            batch.skipped.iter().map(|s| s.path.clone()).collect::<Vec<_>>()
        };
        let mut whole = Batches::new(&source, (7, 0), source.recipe.mix, 2);
        let all: Vec<_> = (0..3).map(|_| names(&mut whole)).collect();
        assert!(all.iter().all(|b| b.len() == 3));
        for (step, expected) in all.iter().enumerate() {
            assert_eq!(names(&mut Batches::new(&source, (7, step), source.recipe.mix, 1)), *expected);
        }
    }

    #[test]
    fn a_step_of_several_batches_ends_where_the_next_begins() {
        let mut source = source(17, 3);
        source.recipe.grad_accum_steps = 2;
        assert_eq!((source.steps(), source.batches_of(0), source.batches_of(2)), (3, 2, 1));
        let source = Arc::new(source);
        let names = |batches: &mut Batches| {
            let mut batch = Batch::default();
            batches.next_into(&mut batch);
            batch.skipped.iter().map(|s| s.path.clone()).collect::<Vec<_>>()
        };
        let mut whole = Batches::new(&source, (1, 0), source.recipe.mix, 2);
        let all: Vec<_> = (0..5).map(|_| names(&mut whole)).collect();
        let from = |step| names(&mut Batches::new(&source, (1, step), source.recipe.mix, 2));
        assert_eq!([from(1), from(2)], [all[2].clone(), all[4].clone()]);
        // A run that stopped behind the last step, before its validation, has no batch left.
        assert_eq!(from(3), Vec::<std::path::PathBuf>::new());
    }

    #[test]
    fn smoothed_targets_are_distributions() {
        assert_eq!((smoothed(true, 4, 0.0), smoothed(false, 4, 0.0)), (1.0, 0.0));
        assert!((smoothed(true, 4, 0.2) + 3.0 * smoothed(false, 4, 0.2) - 1.0).abs() < 1e-6);
    }
}
