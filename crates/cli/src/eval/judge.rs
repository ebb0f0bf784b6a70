//! Running a model over photos and counting what it says.

use std::sync::Arc;
use std::time::Instant;

use cspnet::{Model, Photo, Session};
use cspnet_data::{Ordered, Sample, Skipped};
use cspnet_metrics::{Confusion, Share, likeliest, rank};

use crate::failure::Failure;
use crate::prepare::Prepare;
use crate::progress;

/// What came out.
pub struct Verdict {
    /// What photos of each of the model's classes are taken for.
    pub confusion: Confusion,
    /// Photos whose class is among the five likeliest; `None` where there are no more than five classes.
    pub top5: Option<Share>,
    /// Photos that could not be brought to the network's size, or no longer be read.
    pub skipped: Vec<Skipped>,
    /// Time for reading and computing.
    pub seconds: f64,
}

/// Judges photos whose class is a place among the model's classes, by a session of that model.
pub fn judge(
    mut session: Session<'_>,
    model: &Model,
    samples: Vec<Sample>,
    threads: usize,
) -> Result<Verdict, Failure> {
    let begin = Instant::now();
    let batch = session.batch();
    let classes = model.labels().len();
    let mut verdict = Verdict {
        confusion: Confusion::new(classes),
        top5: (classes > 5).then(Share::default),
        skipped: Vec::new(),
        seconds: 0.0,
    };
    let samples = Arc::new(samples);
    // While one batch is computed, the next is read.
    let mut read = read(Prepare::of(model), Arc::clone(&samples), 2 * batch, threads);
    let bar = progress::photos("judging photos");
    bar.set_length(samples.len() as u64);
    for batch_of in samples.chunks(batch) {
        let (samples_of, photos) = usable(batch_of, &mut read, &mut verdict.skipped);
        for (sample, scores) in samples_of.into_iter().zip(session.logits(&photos)?) {
            verdict.count(sample, &scores)?;
        }
        bar.inc(batch_of.len() as u64);
    }
    verdict.seconds = begin.elapsed().as_secs_f64();
    Ok(verdict)
}

/// Photos in their order, read on threads of their own, at most `ahead` before they are taken.
fn read(prepare: Prepare, samples: Arc<Vec<Sample>>, ahead: usize, threads: usize) -> Ordered<Result<Photo, String>> {
    Ordered::new(samples.len(), threads, ahead, move |i| prepare.sample(&samples[i]))
}

/// The photos of a batch that can be used, with their samples; the others are put with what is skipped.
fn usable<'a>(
    batch: &'a [Sample],
    read: &mut Ordered<Result<Photo, String>>,
    skipped: &mut Vec<Skipped>,
) -> (Vec<&'a Sample>, Vec<Photo>) {
    let mut usable = (Vec::new(), Vec::new());
    for (sample, photo) in batch.iter().zip(read) {
        match photo {
            Ok(photo) => {
                usable.0.push(sample);
                usable.1.push(photo);
            }
            Err(why) => skipped.push(Skipped { path: sample.path.clone(), why, unreadable: true }),
        }
    }
    usable
}

impl Verdict {
    fn count(&mut self, sample: &Sample, scores: &[f32]) -> Result<(), Failure> {
        let predicted = likeliest(scores).filter(|_| scores.iter().all(|s| s.is_finite()));
        let predicted = predicted.ok_or_else(|| {
            let path = sample.path.display();
            Failure::Message(format!(
                "{path}: the model's answer is no number; its weights are damaged, or training diverged"
            ))
        })?;
        self.confusion.count(sample.class, predicted);
        if let Some(top5) = &mut self.top5 {
            top5.count(rank(scores, sample.class).is_some_and(|r| r < 5));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(classes: usize) -> Verdict {
        Verdict { confusion: Confusion::new(classes), top5: Some(Share::default()), skipped: Vec::new(), seconds: 0.0 }
    }

    #[test]
    fn the_likeliest_and_the_first_five_are_counted() {
        let (mut verdict, scores) = (verdict(7), [0.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
        for class in [1, 5, 6] {
            verdict.count(&Sample::file("x", class), &scores).unwrap();
        }
        assert_eq!(verdict.confusion.accuracy(), Share::new(1, 3));
        assert_eq!(verdict.top5, Some(Share::new(2, 3)));
        assert_eq!(verdict.confusion.at(6, 1), 1);
    }

    #[test]
    fn an_answer_that_is_no_number_is_no_answer() {
        let sample = Sample::file("photo.jpg", 0);
        for scores in [[f32::NAN, 0.0], [0.0, f32::INFINITY]] {
            let told = verdict(2).count(&sample, &scores);
            assert!(
                matches!(told, Err(Failure::Message(m)) if m.starts_with("photo.jpg: ") && m.contains("no number"))
            );
        }
    }
}
