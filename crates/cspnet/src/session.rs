//! Threads and memory for classifying photos with one model, batch after batch.

use cspnet_engine::{Input, Plan, Workspace};
use cspnet_vision::{Photo, Preprocess};

use crate::class::{Class, classes};
use crate::error::Error;
use crate::views::{View, Views};

/// Threads and memory for batches of one model's photos.
///
/// The answer for a photo does not depend on its batch or on the number of threads, bit for bit.
///
/// In the examples here, `brightness(rows, columns)` makes a model file like the one of the [crate's example](crate).
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/brightness.rs"));
/// # fn main() -> Result<(), cspnet::Error> {
/// use cspnet::{Model, Photo};
///
/// let model = Model::new(brightness(8, 8))?;
/// let mut session = model.session(16, 2);
/// let grey = |value| Photo::new(30, 20, vec![value; 30 * 20 * 3]);
/// let answers = session.classify(&[grey(5)?, grey(250)?, grey(40)?])?;
/// let labels: Vec<&str> = answers.iter().map(|classes| classes[0].label.as_str()).collect();
/// assert_eq!(labels, ["dark", "bright", "dark"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Session<'a> {
    plan: &'a Plan,
    preprocess: &'a Preprocess,
    labels: &'a [String],
    workspace: Workspace,
    pixels: Vec<u8>,
    batch: usize,
    views: Vec<View>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        preprocess: &'a Preprocess,
        labels: &'a [String],
        batch: usize,
        threads: usize,
    ) -> Self {
        let batch = batch.max(1);
        Self {
            plan,
            preprocess,
            labels,
            workspace: plan.workspace(batch, threads),
            pixels: Vec::new(),
            batch,
            views: Views::One.list(),
        }
    }

    /// The same session, but every answer is the mean of the raw answers for these views of the photo.
    #[must_use]
    pub fn with_views(self, views: Views) -> Self {
        Self { views: views.list(), ..self }
    }

    /// Most photos that are computed at once; more are taken in turns.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The classes of every photo, the likeliest first.
    ///
    /// # Errors
    /// If a photo cannot be brought to the network's size.
    pub fn classify(&mut self, photos: &[Photo]) -> Result<Vec<Vec<Class>>, Error> {
        let prepare = |p: &Photo| self.preprocess.apply(p);
        let prepared = photos.iter().map(prepare).collect::<Result<Vec<Photo>, _>>()?;
        self.classify_prepared(&prepared)
    }

    /// The classes of photos that have been brought to the network's size already, by [`Preprocess::apply`] of
    /// [`Model::preprocess`](crate::Model::preprocess): on other threads, say.
    ///
    /// # Errors
    /// If a photo is not of that size.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/brightness.rs"));
    /// # fn main() -> Result<(), cspnet::Error> {
    /// use cspnet::{Model, Photo};
    ///
    /// let model = Model::new(brightness(8, 8))?;
    /// let photo = Photo::new(30, 20, vec![250; 30 * 20 * 3])?;
    /// let prepared = model.preprocess().apply(&photo)?;
    /// let mut session = model.session(1, 1);
    /// assert_eq!(session.classify_prepared(&[prepared])?, session.classify(&[photo.clone()])?);
    /// assert!(session.classify_prepared(&[photo]).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn classify_prepared(&mut self, photos: &[Photo]) -> Result<Vec<Vec<Class>>, Error> {
        Ok(self.logits(photos)?.iter().map(|l| classes(l, self.labels)).collect())
    }

    /// The network's raw answer for every prepared photo: one number for each class, before softmax.
    ///
    /// # Errors
    /// If a photo is not of the network's size.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/brightness.rs"));
    /// # fn main() -> Result<(), cspnet::Error> {
    /// use cspnet::{Model, Photo};
    ///
    /// let model = Model::new(brightness(1, 1))?;
    /// let logits = model.session(1, 1).logits(&[Photo::new(1, 1, vec![255; 3])?])?;
    /// assert!(logits[0][0] < 0.0 && logits[0][1] == -logits[0][0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn logits(&mut self, photos: &[Photo]) -> Result<Vec<Vec<f32>>, Error> {
        photos.iter().try_for_each(|p| self.check_size(p))?;
        let mut all = Vec::with_capacity(photos.len());
        for batch in photos.chunks(self.batch) {
            all.append(&mut self.mean(batch)?);
        }
        Ok(all)
    }

    /// The mean of the raw answers for a batch's views.
    fn mean(&mut self, batch: &[Photo]) -> Result<Vec<Vec<f32>>, Error> {
        if let [_] = self.views[..] {
            return self.compute(batch);
        }
        let mut means: Vec<Vec<f32>> = Vec::new();
        for view in self.views.clone() {
            let seen: Vec<Photo> = batch.iter().map(|photo| view.of(photo)).collect();
            let answers = self.compute(&seen)?;
            means.resize_with(answers.len(), || vec![0.0; answers[0].len()]);
            for (mean, answer) in means.iter_mut().zip(answers) {
                mean.iter_mut().zip(answer).for_each(|(sum, number)| *sum += view.weight * number);
            }
        }
        Ok(means)
    }

    /// The raw answers for a batch.
    fn compute(&mut self, batch: &[Photo]) -> Result<Vec<Vec<f32>>, Error> {
        self.pixels.clear();
        batch.iter().for_each(|photo| self.pixels.extend_from_slice(photo.pixels()));
        self.workspace.set_images(batch.len());
        self.plan.run(&mut self.workspace, Input::Pixels(&self.pixels))?;
        Ok((0..batch.len()).map(|image| self.plan.output(&self.workspace, image)).collect())
    }

    /// The plan sees the number of pixels only.
    fn check_size(&self, photo: &Photo) -> Result<(), Error> {
        let (height, width) = self.preprocess.size;
        let (found, expected) = ((photo.width(), photo.height()), (width, height));
        if found == expected { Ok(()) } else { Err(Error::NotPrepared { found, expected }) }
    }
}
