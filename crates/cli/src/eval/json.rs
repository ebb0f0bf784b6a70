//! An evaluation as one JSON object, for scripts.

use std::io::Write;

use cspnet_data::Skipped;
use cspnet_metrics::{Cell, Interval, Share};
use serde::Serialize;

use super::Evaluation;
use crate::failure::Failure;

/// The form. Shares are `0.0..=1.0`, and `null` where they are shares of no photos.
#[derive(Serialize)]
struct Json<'a> {
    /// Version of this form; it grows when a field changes its meaning.
    version: u32,
    /// Path of the model file; `null` for the program's own model.
    model: Option<String>,
    /// The folder of the class folders.
    data: String,
    /// `train`, `validation` or `test`; `null` where the folder has no splits.
    split: Option<String>,
    /// Hash over the classes and the readable photos, names and bytes, as 64 hexadecimal digits.
    fingerprint: &'a str,
    /// Photos judged.
    photos: u64,
    /// Photos whose class is the likeliest.
    top1: JsonShare,
    /// Photos whose class is among the five likeliest; `null` where the model has five classes or fewer.
    top5: Option<JsonShare>,
    /// Means over the classes that have photos, each class counting the same ("macro").
    mean: JsonMean,
    /// All of the model's classes, in its order.
    classes: Vec<JsonClass<'a>>,
    /// The cells of the confusion matrix that are not 0, row after row.
    confusion: Vec<JsonCell<'a>>,
    /// The model's classes that have no folder.
    absent: Vec<&'a str>,
    /// Files that were not judged, in the order of their names.
    skipped: Vec<JsonSkipped>,
    /// What was chosen of the data set that might have been chosen otherwise, for people.
    notes: &'a [String],
    /// Seconds for reading and computing the photos judged, after all had been checked once.
    seconds: f64,
    /// Photos a second, in that time.
    photos_per_second: f64,
}

/// A share and its interval.
#[derive(Serialize)]
struct JsonShare {
    /// Photos that are right.
    right: u64,
    /// All photos.
    of: u64,
    /// The share.
    share: Option<f64>,
    /// Lower end of Wilson's 95 % interval.
    low: f64,
    /// Upper end.
    high: f64,
}

/// Means over classes.
#[derive(Serialize)]
struct JsonMean {
    /// Mean recall, also called balanced accuracy.
    recall: Option<f64>,
    /// Mean precision; 0 is counted for a class nothing is taken for.
    precision: Option<f64>,
    /// Mean F1.
    f1: Option<f64>,
}

/// A class.
#[derive(Serialize)]
struct JsonClass<'a> {
    /// Its name in the model.
    label: &'a str,
    /// Photos of it.
    photos: u64,
    /// Photos taken for it.
    predicted: u64,
    /// Photos of it that are taken for it.
    right: u64,
    /// `right / photos`.
    recall: Option<f64>,
    /// `right / predicted`.
    precision: Option<f64>,
    /// `2 right / (photos + predicted)`.
    f1: Option<f64>,
}

/// Photos of one class that are taken for one class.
#[derive(Serialize)]
struct JsonCell<'a> {
    /// What is on the photos.
    truth: &'a str,
    /// What they are taken for.
    predicted: &'a str,
    /// How many there are.
    photos: u64,
}

/// A file that was not judged.
#[derive(Serialize)]
struct JsonSkipped {
    /// Its path.
    path: String,
    /// Why.
    why: String,
    /// Whether it was to be judged and could not be read; otherwise it is hidden or beside the class folders.
    unreadable: bool,
}

/// Writes the object.
pub fn write(evaluation: &Evaluation, out: &mut impl Write) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, &json(evaluation))?;
    Ok(writeln!(out)?)
}

fn json(e: &Evaluation) -> Json<'_> {
    let confusion = &e.verdict.confusion;
    let means = confusion.means();
    let cell = |c: Cell| JsonCell { truth: &e.labels[c.truth], predicted: &e.labels[c.predicted], photos: c.photos };
    let skipped =
        |s: &Skipped| JsonSkipped { path: s.path.display().to_string(), why: s.why.clone(), unreadable: s.unreadable };
    Json {
        version: 1,
        model: e.model.as_ref().map(|path| path.display().to_string()),
        data: e.folder.display().to_string(),
        split: e.split.map(|split| split.to_string()),
        fingerprint: &e.fingerprint,
        photos: e.photos(),
        top1: share(confusion.accuracy()),
        top5: e.verdict.top5.map(share),
        mean: JsonMean { recall: means.recall, precision: means.precision, f1: means.f1 },
        classes: (0..e.labels.len()).map(|class| json_class(e, class)).collect(),
        confusion: confusion.cells().map(cell).collect(),
        absent: e.absent.iter().map(|&class| e.labels[class].as_str()).collect(),
        skipped: e.skipped.iter().map(skipped).collect(),
        notes: &e.notes,
        seconds: e.verdict.seconds,
        photos_per_second: e.photos_per_second(),
    }
}

fn share(share: Share) -> JsonShare {
    let Interval { low, high } = share.interval();
    JsonShare { right: share.hits(), of: share.of(), share: share.value(), low, high }
}

fn json_class(e: &Evaluation, class: usize) -> JsonClass<'_> {
    let scores = e.verdict.confusion.scores(class);
    JsonClass {
        label: &e.labels[class],
        photos: scores.recall.of(),
        predicted: scores.precision.of(),
        right: scores.recall.hits(),
        recall: scores.recall.value(),
        precision: scores.precision.value(),
        f1: scores.f1(),
    }
}
