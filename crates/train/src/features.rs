//! What the frozen part of a network makes of every photo, computed once and kept in memory, where the classifier alone learns.
//!
//! Photos are seen as evaluation sees them, and those that are learnt from as its mirror image too, if the recipe mirrors any. Not
//! here: which of them a batch takes ([`crate::batches`]).

use cspnet_data::{DataSet, Sample, Skipped};
use cspnet_engine::{Input, Plan, PlanOptions};
use cspnet_graph::rewrite::Part;
use cspnet_graph::{Graph, ParamId, Weights};
use cspnet_vision::Photo;

use crate::config::Config;
use crate::error::TrainError;
use crate::evaluate::{Validation, as_evaluated};
use crate::frozen::{Frozen, Parts, weights_of};

/// The most that is kept in memory: as much as of packed photos (`DataOptions::max_packed`).
const MOST_BYTES: u64 = 4 << 30;

/// Photos that are computed together.
const BATCH: usize = 16;

/// What the frozen part makes of a list of photos.
#[derive(Debug)]
pub(crate) struct Features {
    /// Numbers of a view.
    len: usize,
    /// Views of a photo: itself, or itself and its mirror image.
    views: usize,
    /// Of every photo its views; zeros where it could not be read.
    numbers: Vec<f32>,
    /// Photos that could not be read.
    skipped: Vec<(usize, Skipped)>,
}

/// Features of the photos that judge, and the part of the network that goes on from them.
pub(crate) struct Gathered {
    validation: Features,
    head: Part,
}

impl Gathered {
    /// Features of the photos to learn from, and those that judge, of a run whose `network`, which takes pixels, has these weights;
    /// `None` if `stop` said so before the end. `told` is told how many photos of all are done, at first none.
    ///
    /// # Errors
    /// If there are too many, or not one of those to learn from or to be judged by can be read.
    pub fn of(
        (config, network, weights): (&Config, &Graph, &Weights),
        data: &DataSet,
        threads: usize,
        told: &mut dyn FnMut(usize, usize),
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<(Features, Self)>, TrainError> {
        let Parts { frozen, learns: head, .. } = Parts::of(network, &config.recipe)?;
        let part = frozen.expect("all but the classifier is frozen");
        let views = if config.recipe.augment.hflip > 0.0 { 2 } else { 1 };
        let (train, validation) = (&data.train, &data.validation);
        let all = train.len() + validation.len();
        check_size(views * train.len() + validation.len(), head.graph.input_channels(), all)?;
        told(0, all);
        let mut gather = |samples: &[Sample], views, before, options: &PlanOptions| {
            let size = (views * BATCH, threads);
            let mut frozen = Frozen::new(&part, weights, config.preprocess.size, size, options)?;
            Features::gather(samples, views, config, &mut frozen, threads, &mut |done| told(before + done, all), stop)
        };
        let alike = PlanOptions { alike: true, ..PlanOptions::default() };
        let Some(train) = gather(train, views, 0, &alike)? else { return Ok(None) };
        // Strict, so that a run measures what a strict plan of the whole network would.
        let validation = gather(validation, 1, train.photos(), &PlanOptions::with_strict_bits())?;
        let Some(validation) = validation else { return Ok(None) };
        for (features, which) in [(&train, "training"), (&validation, "validation")] {
            if let Some((_, last)) = features.skipped.last().filter(|_| features.skipped.len() == features.photos()) {
                return Err(TrainError::NothingLoaded(which, last.why.clone()));
            }
        }
        Ok(Some((train, Self { validation, head })))
    }

    /// The parameters that learn.
    pub fn learns(&self) -> &[ParamId] {
        &self.head.params
    }

    /// How `weights` of the whole network do on the validation photos, and those that could not be read.
    pub fn judge(&self, weights: &Weights, samples: &[Sample]) -> Result<(Validation, Vec<Skipped>), TrainError> {
        let (features, mut validation) = (&self.validation, Validation::default());
        let options = PlanOptions::with_strict_bits();
        let plan = Plan::new(&self.head.graph, weights_of(&self.head, weights), [features.len, 1, 1], &options)?;
        let mut workspace = plan.workspace(1, 1);
        for (photo, sample) in samples.iter().enumerate() {
            if let Ok(numbers) = features.view(photo, false) {
                plan.run(&mut workspace, Input::Real(numbers))?;
                validation.add(&plan.output(&workspace, 0), sample.class);
            }
        }
        Ok((validation, features.skipped.iter().map(|(_, skipped)| skipped.clone()).collect()))
    }
}

/// Whether so many views may be kept.
fn check_size(views: usize, len: usize, photos: usize) -> Result<(), TrainError> {
    let bytes = (views as u64).saturating_mul(len as u64).saturating_mul(size_of::<f32>() as u64);
    if bytes > MOST_BYTES { Err(TrainError::Features { photos, bytes, most: MOST_BYTES }) } else { Ok(()) }
}

impl Features {
    fn gather(
        samples: &[Sample],
        views: usize,
        config: &Config,
        frozen: &mut Frozen,
        threads: usize,
        told: &mut dyn FnMut(usize),
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, TrainError> {
        let len = frozen.len();
        let numbers = Vec::with_capacity(samples.len() * views * len);
        let mut features = Self { len, views, numbers, skipped: Vec::new() };
        let mut photos = as_evaluated(samples, &config.preprocess, threads, 2 * BATCH);
        while features.photos() < samples.len() {
            if stop() {
                return Ok(None);
            }
            features.add(photos.by_ref().take(BATCH).collect(), frozen)?;
            told(features.photos());
        }
        Ok(Some(features))
    }

    /// Adds a batch of photos.
    fn add(&mut self, batch: Vec<Result<Photo, Skipped>>, frozen: &mut Frozen) -> Result<(), TrainError> {
        let (len, before) = (self.views * self.len, self.photos());
        let mut pixels = Vec::new();
        for photo in batch.iter().flatten() {
            pixels.extend_from_slice(photo.pixels());
            if self.views > 1 {
                pixels.extend_from_slice(photo.clone().mirrored().pixels());
            }
        }
        let read = batch.iter().flatten().count();
        let values = if read > 0 { frozen.values(self.views * read, &pixels)? } else { &[] };
        let mut values = values.chunks_exact(len.max(1));
        for (i, photo) in batch.into_iter().enumerate() {
            match photo {
                Ok(_) => self.numbers.extend_from_slice(values.next().expect("features of every photo")),
                Err(skipped) => {
                    self.numbers.resize(self.numbers.len() + len, 0.0);
                    self.skipped.push((before + i, skipped));
                }
            }
        }
        Ok(())
    }

    /// Photos that have been seen.
    fn photos(&self) -> usize {
        self.numbers.len() / (self.views * self.len)
    }

    /// The features of a photo, or of its mirror image where there is one, or why there are none.
    pub fn view(&self, photo: usize, mirrored: bool) -> Result<&[f32], Skipped> {
        if let Ok(place) = self.skipped.binary_search_by_key(&photo, |(p, _)| *p) {
            return Err(self.skipped[place].1.clone());
        }
        let view = photo * self.views + usize::from(mirrored && self.views > 1);
        Ok(&self.numbers[view * self.len..][..self.len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_features_are_refused_before_there_are_any() {
        assert!(check_size(2_000_000, 512, 1_000_000).is_ok());
        let error = check_size(4_000_000, 512, 2_000_000).unwrap_err().to_string();
        assert!(error.contains("2000000 photos") && error.contains("7812 MB") && error.contains("4096 MB"), "{error}");
        assert!(check_size(usize::MAX, usize::MAX, 1).is_err());
    }

    #[test]
    fn views_are_found_and_what_could_not_be_read_says_why() {
        let skipped = Skipped { path: "b.jpg".into(), why: "torn".into(), unreadable: true };
        let numbers = (0..12).map(|i| i as f32).collect();
        let features = Features { len: 2, views: 2, numbers, skipped: vec![(1, skipped.clone())] };
        assert_eq!(features.photos(), 3);
        assert_eq!(features.view(0, true), Ok(&[2.0, 3.0][..]));
        assert_eq!(features.view(2, false), Ok(&[8.0, 9.0][..]));
        assert_eq!(features.view(1, true), Err(skipped));
    }
}
