//! Photos in Parquet files as they lie on Hugging Face: learnt from, in a run that is killed and goes on, judged by, and named.

#[path = "../../data/tests/common/columns.rs"]
mod columns;
mod common;
#[path = "../../data/tests/common/huggingface.rs"]
mod huggingface;
#[path = "common/killing.rs"]
mod killing;
#[path = "common/outcome.rs"]
mod outcome;
#[path = "common/stripes.rs"]
mod stripes;

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use columns::{Values, texts, write};
use common::{cspnet, run, text};
use huggingface::Made;
use killing::{CHECKPOINTS, kill_at};
use outcome::Outcome;
use parquet::basic::Compression;
use serde_json::Value;
use stripes::striped;

/// In the order of the files, which is not that of the names.
const CLASSES: &[&str] = &["along", "across"];

/// Striped photos, two of each number.
fn photos(numbers: Range<usize>) -> Made {
    let of = |i| [(Some(striped(true, i)), Some(0)), (Some(striped(false, i)), Some(1))];
    Made { names: Some(CLASSES), rows: numbers.flat_map(of).collect(), compression: Compression::SNAPPY }
}

/// The command that begins a run.
fn train(run: &Path, data: &Path, epochs: u32) -> Command {
    let mut command = cspnet(&["train", "--network", "densenet_bc:depth=10,growth=4", "--size", "16"]);
    command.args(["--batch-size", "5", "--threads", "2", "--seed", "3", "--epochs", &epochs.to_string(), "--out"]);
    command.arg(run).arg(data);
    command
}

/// What a command says that comes to its end.
fn told(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_run_from_parquet_files_goes_on_and_its_model_names_their_classes() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let data = path("data");
    for (file, numbers) in
        [("train-00000-of-00002", 0..7), ("train-00001-of-00002", 7..12), ("test-00000-of-00001", 16..21)]
    {
        photos(numbers).write(&data.join(format!("{file}.parquet")));
    }
    photos(12..16).write(&data.join("validation-00000-of-00001.parquet"));
    let whole = told(&mut train(&path("whole"), &data, 30));
    assert!(whole.contains("2 classes; photos: 24 train, 8 validation, 10 test"), "{whole}");

    kill_at(&mut train(&path("killed"), &data, 30), CHECKPOINTS, 20);
    told(cspnet(&["resume", "--threads", "3"]).arg(path("killed")));
    assert!(Outcome::of(&path("killed")) == Outcome::of(&path("whole")), "a run that was killed ended otherwise");

    let [model, files, photo] =
        [path("whole/best.safetensors"), data.clone(), path("16.bmp")].map(|p| p.to_str().unwrap().to_owned());
    let judged: Value =
        serde_json::from_slice(&run(&["eval", "--json", "--split", "test", &model, &files]).stdout).unwrap();
    assert_eq!((&judged["split"], &judged["photos"]), (&"test".into(), &10.into()), "{judged}");
    assert_eq!(judged["classes"].as_array().unwrap().iter().map(|c| &c["label"]).collect::<Vec<_>>(), CLASSES);
    assert!(judged["top1"]["right"].as_u64().unwrap() >= 8, "{judged}");
    for (along, class) in [(true, "along"), (false, "across")] {
        fs::write(&photo, striped(along, 16)).unwrap();
        let named: Value = serde_json::from_slice(&run(&["predict", "--model", &model, &photo]).stdout).unwrap();
        assert_eq!(named["classes"][0]["label"], class, "{named}");
    }
}

#[test]
fn a_run_does_not_go_on_with_other_photos_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let (run, data) = (dir.path().join("run"), dir.path().join("photos.parquet"));
    photos(0..12).write(&data);
    kill_at(&mut train(&run, &data, 2), CHECKPOINTS, 8);
    photos(1..13).write(&data);
    let output = cspnet(&["resume"]).arg(&run).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not those the run began with"), "{}", text(&output.stderr));
    photos(0..12).write(&data);
    assert!(told(cspnet(&["resume"]).arg(&run)).contains("finished"));
}

/// Classes of two columns, of which the first by custom is not the one that is meant.
#[test]
fn the_column_of_classes_that_was_named_is_kept_for_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let (path, data) = (|name: &str| dir.path().join(name), dir.path().join("photos.parquet"));
    let ways = (0..12).flat_map(|i| [(true, i), (false, i)]);
    let (photos, ways): (Vec<_>, Vec<_>) =
        ways.map(|(along, i)| (striped(along, i), if along { "along" } else { "across" })).unzip();
    let ids = Values::Int64((0..photos.len() as i64).collect());
    let schema = "required binary image; required int64 label; required binary way (STRING);";
    write(&data, schema, None, &[Values::Bytes(photos), ids, texts(&ways)]);

    let refused = train(&path("other"), &data, 2).output().unwrap();
    assert!(text(&refused.stderr).contains("one distinct photo only"), "{}", text(&refused.stderr));
    assert!(text(&refused.stdout).is_empty(), "{}", text(&refused.stdout));
    let begin = |run: &str| {
        let mut command = train(&path(run), &data, 3);
        command.args(["--label-column", "way", "--max-packed", "1M"]);
        command
    };
    let whole = told(&mut begin("whole"));
    assert!(whole.contains("2 classes; photos: 20 train, 4 validation"), "{whole}");
    kill_at(&mut begin("killed"), CHECKPOINTS, 8);
    told(cspnet(&["resume", "--threads", "1"]).arg(path("killed")));
    assert!(Outcome::of(&path("killed")) == Outcome::of(&path("whole")), "a run that was killed ended otherwise");

    let [model, file] = [path("whole/best.safetensors"), data].map(|p| p.to_str().unwrap().to_owned());
    let judged = run(&["eval", "--json", "--label-column", "way", &model, &file]);
    let judged: Value = serde_json::from_slice(&judged.stdout).unwrap();
    assert_eq!((&judged["photos"], &judged["notes"]), (&24.into(), &Value::Array(Vec::new())), "{judged}");
    assert_eq!(run(&["eval", &model, &file]).status.code(), Some(1));
    let little = run(&["eval", "--label-column", "way", "--max-packed", "1K", &model, &file]);
    assert!(text(&little.stderr).contains("or allow more of them (--max-packed)"), "{}", text(&little.stderr));
}
