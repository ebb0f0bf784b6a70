//! What was measured once is kept, and whatever stands in its place is no obstacle.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{cspnet, run, text};
use serde_json::Value;

/// What the program does when its caches are in a folder.
fn with_caches(caches: &Path, arguments: &[&str]) -> Output {
    let output = cspnet(arguments).env("XDG_CACHE_HOME", caches).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

fn classes(output: &Output) -> Value {
    serde_json::from_str::<Value>(&text(&output.stdout)).unwrap()["classes"].clone()
}

/// The only file of choices.
fn choices(caches: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(caches.join("cspnet")).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].as_ref().unwrap().path()
}

const PREDICT: [&str; 3] = ["predict", "--tune", "examples/photos/hat-1.jpg"];

#[test]
fn a_second_run_finds_what_the_first_has_measured() {
    let dir = tempfile::tempdir().unwrap();
    let first = with_caches(dir.path(), &PREDICT);
    let kept = fs::read(choices(dir.path())).unwrap();
    let age = |path: PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    let written = age(choices(dir.path()));
    let second = with_caches(dir.path(), &PREDICT);
    assert_eq!(classes(&first), classes(&second));
    assert_eq!((fs::read(choices(dir.path())).unwrap(), age(choices(dir.path()))), (kept, written));
    assert!(!text(&second.stderr).contains("cspnet:"), "{}", text(&second.stderr));
}

#[test]
fn choices_that_are_kept_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let bench = ["bench", "crates/cli/weights/clothing.safetensors", "--tune", "--json", "--profile", "--seconds", "0"];
    with_caches(dir.path(), &bench);
    let path = choices(dir.path());
    let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (algorithm, kernel) in
        [("direct", "conv 3x3"), ("winograd 2x2", "winograd 2x2 3x3"), ("winograd 4x4", "winograd 4x4 3x3")]
    {
        let choices = file["choices"].as_object_mut().unwrap();
        assert!(!choices.is_empty());
        choices.values_mut().for_each(|choice| *choice = algorithm.into());
        let layers = choices.len();
        fs::write(&path, file.to_string()).unwrap();
        let told: Value = serde_json::from_str(&text(&with_caches(dir.path(), &bench).stdout)).unwrap();
        let kernels = told["layers"].as_array().unwrap().iter().map(|l| l["kernel"].as_str().unwrap());
        assert!(kernels.filter(|k| k.starts_with(kernel)).count() >= layers, "{told}");
    }
}

#[test]
fn what_is_broken_is_told_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let untuned = classes(&run(&["predict", PREDICT[2]]));
    with_caches(dir.path(), &PREDICT);
    let path = choices(dir.path());
    let whole = text(&fs::read(&path).unwrap());
    let hostile = whole.replace("\"winograd", "\"\u{1b}[2Kwinograd").replace("\"direct", "\"\u{1b}[2Kdirect");
    for broken in ["", "{\"choices\":{}}", &whole[..whole.len() - 20], &hostile] {
        fs::write(&path, broken).unwrap();
        let output = with_caches(dir.path(), &PREDICT);
        let told = text(&output.stderr);
        assert!(told.contains("measured anew") && !told.contains('\u{1b}'), "{told}");
        let top = |classes: &Value| classes[0]["label"].clone();
        assert_eq!(top(&classes(&output)), top(&untuned));
        assert!(!text(&with_caches(dir.path(), &PREDICT).stderr).contains("cspnet:"));
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_told_and_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let no_folder = dir.path().join("file");
    fs::write(&no_folder, "").unwrap();
    let output = with_caches(&no_folder, &PREDICT);
    assert!(text(&output.stderr).contains("what was measured is not kept"), "{}", text(&output.stderr));
}
