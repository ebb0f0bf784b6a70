//! How weights do on photos that are not trained with.

use cspnet_data::{Ordered, Sample, Skipped};
use cspnet_engine::{Input, Plan, PlanOptions, Workspace};
use cspnet_graph::{Graph, Weights};
use cspnet_metrics::rank;
use cspnet_vision::{DecodeOptions, Photo, Preprocess};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// How weights did on photos.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// Photos.
    pub photos: usize,
    /// Photos whose likeliest class is theirs.
    pub right: usize,
    /// Photos whose class is among the five likeliest.
    pub among_five: usize,
    /// Sum of the photos' cross entropies.
    pub loss: f64,
}

impl Validation {
    /// Share of photos that were recognised.
    pub fn top1(&self) -> f64 {
        self.right as f64 / self.photos.max(1) as f64
    }

    /// Share of photos whose class is among the five likeliest.
    pub fn top5(&self) -> f64 {
        self.among_five as f64 / self.photos.max(1) as f64
    }

    /// Mean cross entropy of a photo.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.photos.max(1) as f64
    }

    pub(crate) fn add(&mut self, logits: &[f32], class: usize) {
        let target = f64::from(logits[class]);
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&l| f64::from(l - largest).exp()).sum();
        let rank = rank(logits, class).unwrap_or(logits.len());
        self.photos += 1;
        self.right += usize::from(rank == 0);
        self.among_five += usize::from(rank < 5);
        self.loss += sum.ln() + f64::from(largest) - target;
    }
}

/// Photos, and how they are brought to a network.
pub(crate) struct Evaluator<'a> {
    pub graph: &'a Graph,
    pub preprocess: &'a Preprocess,
    pub samples: &'a [Sample],
    pub batch: usize,
    pub threads: usize,
}

impl Evaluator<'_> {
    /// How `weights` do, and the files that could not be read; `None` if `stop` said so before the end.
    pub fn run(
        &self,
        weights: &Weights,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<(Validation, Vec<Skipped>)>, TrainError> {
        let (height, width) = self.preprocess.size;
        // Strict, so that what a run measures, and which of its epochs is best, depends on no choice made for speed.
        let options = PlanOptions::with_strict_bits();
        let plan = Plan::new(self.graph, weights, [3, height as usize, width as usize], &options)?;
        let mut workspace = plan.workspace(self.batch, self.threads);
        let (mut validation, mut skipped) = (Validation::default(), Vec::new());
        let mut photos = as_evaluated(self.samples, self.preprocess, self.threads, 2 * self.batch);
        for samples in self.samples.chunks(self.batch) {
            if stop() {
                return Ok(None);
            }
            let loaded: Vec<(&Sample, Photo)> = samples
                .iter()
                .zip(&mut photos)
                .filter_map(|(sample, photo)| photo.map(|p| (sample, p)).map_err(|s| skipped.push(s)).ok())
                .collect();
            self.judge(&plan, &mut workspace, &loaded, &mut validation)?;
        }
        match (validation.photos, skipped.last()) {
            (0, Some(last)) => Err(TrainError::NothingLoaded("validation", last.why.clone())),
            _ => Ok(Some((validation, skipped))),
        }
    }

    fn judge(
        &self,
        plan: &Plan,
        workspace: &mut Workspace,
        loaded: &[(&Sample, Photo)],
        validation: &mut Validation,
    ) -> Result<(), TrainError> {
        if loaded.is_empty() {
            return Ok(());
        }
        let pixels: Vec<u8> = loaded.iter().flat_map(|(_, photo)| photo.pixels()).copied().collect();
        workspace.set_images(loaded.len());
        plan.run(workspace, Input::Pixels(&pixels))?;
        for (image, (sample, _)) in loaded.iter().enumerate() {
            validation.add(&plan.output(workspace, image), sample.class);
        }
        Ok(())
    }
}

/// Photos as evaluation sees them, in their order, loaded on threads of their own so many ahead.
pub(crate) fn as_evaluated(
    samples: &[Sample],
    preprocess: &Preprocess,
    threads: usize,
    ahead: usize,
) -> Ordered<Result<Photo, Skipped>> {
    let (samples, preprocess) = (samples.to_vec(), preprocess.clone());
    let decode = DecodeOptions { background: preprocess.background, ..DecodeOptions::default() };
    Ordered::new(samples.len(), threads, ahead, move |i| {
        let sample = &samples[i];
        sample.decode(&decode).and_then(|photo| preprocess.apply(&photo)).map_err(|e| Skipped {
            path: sample.path.clone(),
            why: e.to_string(),
            unreadable: true,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_losses_are_those_of_the_softmax() {
        let mut v = Validation::default();
        v.add(&[1.0, 3.0, 2.0], 1);
        v.add(&[5.0, 4.0, 3.0, 2.0, 1.0, 0.0], 5);
        v.add(&[1.0, 1.0], 1);
        assert_eq!((v.photos, v.right, v.among_five), (3, 1, 2));
        let first = -(3_f64.exp() / (1_f64.exp() + 2_f64.exp() + 3_f64.exp())).ln();
        let second = (0..6).map(|i| f64::from(i).exp()).sum::<f64>().ln();
        assert!((v.loss - (first + second + 2_f64.ln())).abs() < 1e-9, "{}", v.loss);
    }
}
