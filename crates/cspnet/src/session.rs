//! Threads and memory for classifying photos with one model, batch after batch.

use cspnet_engine::{Input, Plan, Workspace};
use cspnet_vision::{Photo, Preprocess};

use crate::class::{Class, classes};
use crate::error::Error;

/// Threads and memory for batches of one model's photos.
///
/// The answer for a photo does not depend on its batch or on the number of threads, bit for bit.
#[derive(Debug)]
pub struct Session<'a> {
    plan: &'a Plan,
    preprocess: &'a Preprocess,
    labels: &'a [String],
    workspace: Workspace,
    pixels: Vec<u8>,
    batch: usize,
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
        Self { plan, preprocess, labels, workspace: plan.workspace(batch, threads), pixels: Vec::new(), batch }
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

    /// The classes of photos that have been brought to the network's size already, by
    /// [`Preprocess::apply`] of [`Model::preprocess`](crate::Model::preprocess): on other threads, say.
    ///
    /// # Errors
    /// If a photo is not of that size.
    pub fn classify_prepared(&mut self, photos: &[Photo]) -> Result<Vec<Vec<Class>>, Error> {
        Ok(self.logits(photos)?.iter().map(|l| classes(l, self.labels)).collect())
    }

    /// The network's raw answer for every prepared photo: one number for each class, before softmax.
    ///
    /// # Errors
    /// If a photo is not of the network's size.
    pub fn logits(&mut self, photos: &[Photo]) -> Result<Vec<Vec<f32>>, Error> {
        let mut all = Vec::with_capacity(photos.len());
        for batch in photos.chunks(self.batch) {
            self.pixels.clear();
            batch.iter().for_each(|photo| self.pixels.extend_from_slice(photo.pixels()));
            self.workspace.set_images(batch.len());
            self.plan.run(&mut self.workspace, Input::Pixels(&self.pixels))?;
            all.extend((0..batch.len()).map(|image| self.plan.output(&self.workspace, image)));
        }
        Ok(all)
    }
}
