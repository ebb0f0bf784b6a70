//! `cspnet eval` as a user meets it, on folders made of the example photos.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use common::{cspnet, project, run, text};
use serde_json::Value;
use tempfile::TempDir;

const MODEL: &str = "crates/cli/weights/clothing.safetensors";
const CLASSES: [&str; 10] =
    ["dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt"];

/// A folder for photos.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The two example photos of each of these classes, in class folders.
    fn of(classes: &[&str]) -> Self {
        let folder = Self::new();
        classes.iter().for_each(|class| folder.photos(class, class));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A path as an argument.
    fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Copies the two example photos of a class into a folder.
    fn photos(&self, class: &str, to: &str) {
        for photo in [format!("{class}-1.jpg"), format!("{class}-2.jpg")] {
            let bytes = fs::read(project("examples/photos").join(&photo)).unwrap();
            self.write(&format!("{to}/{photo}"), &bytes);
        }
    }

    /// What `cspnet eval --json` says of it, with its exit code.
    fn json(&self, more: &[&str]) -> (Value, i32) {
        let root = self.arg("");
        let output = run(&[&["eval", "--json"], more, &[&root]].concat());
        let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)));
        (json, output.status.code().unwrap())
    }

    /// The error of `cspnet eval`.
    fn refused(&self, more: &[&str]) -> String {
        let root = self.arg("");
        let output = run(&[&["eval"], more, &[&root]].concat());
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        text(&output.stderr)
    }

    /// An untrained model with these classes, by its path.
    fn model(&self, labels: &str) -> String {
        let (path, classes) = (self.arg("model.safetensors"), labels.split(',').count());
        let network = format!("cs3darknet_s:classes={classes}");
        let output = run(&["new", &network, "--labels", labels, "-o", &path]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        path
    }
}

/// A white picture in the BMP format, one pixel wide.
fn line(height: u32) -> Vec<u8> {
    let mut bytes = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0".to_vec();
    bytes.extend(height.to_le_bytes());
    bytes.extend(b"\x01\0\x18\0");
    bytes.extend([0; 24]);
    bytes.resize(54 + 4 * height as usize, 255);
    bytes
}

fn strings(array: &Value) -> Vec<&str> {
    array.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

/// Names of the files that were skipped, and whether each was unreadable.
fn skipped(json: &Value) -> Vec<(String, bool)> {
    let name = |path: &str| path.rsplit(['/', '\\']).next().unwrap().to_owned();
    let skipped = json["skipped"].as_array().unwrap().iter();
    skipped.map(|s| (name(s["path"].as_str().unwrap()), s["unreadable"].as_bool().unwrap())).collect()
}

#[test]
fn eval_counts_what_predict_says() {
    let folder = Folder::of(&CLASSES);
    let (json, code) = folder.json(&[]);
    assert_eq!(code, 0);
    let mut cells: BTreeMap<(String, String), u64> = BTreeMap::new();
    let (mut top1, mut top5) = (0, 0);
    let predicted = run(&["predict", "--top", "5", &folder.arg("")]);
    for record in text(&predicted.stdout).lines().map(|l| serde_json::from_str::<Value>(l).unwrap()) {
        let file = record["photo"].as_str().unwrap().rsplit('/').next().unwrap();
        let (truth, _) = file.rsplit_once('-').unwrap();
        let labels: Vec<&str> =
            record["classes"].as_array().unwrap().iter().map(|c| c["label"].as_str().unwrap()).collect();
        *cells.entry((truth.to_owned(), labels[0].to_owned())).or_default() += 1;
        top1 += u64::from(labels[0] == truth);
        top5 += u64::from(labels.contains(&truth));
    }
    let counted: BTreeMap<(String, String), u64> = json["confusion"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            let name = |field: &str| c[field].as_str().unwrap().to_owned();
            ((name("truth"), name("predicted")), c["photos"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(counted, cells);
    for (field, right) in [("top1", top1), ("top5", top5)] {
        let (low, share, high) = (&json[field]["low"], &json[field]["share"], &json[field]["high"]);
        assert_eq!((&json[field]["right"], &json[field]["of"]), (&right.into(), &20.into()));
        assert_eq!(share.as_f64(), Some(right as f64 / 20.0));
        assert!(low.as_f64() < share.as_f64() && share.as_f64() <= high.as_f64());
    }
    for class in json["classes"].as_array().unwrap() {
        let number = |field: &str| class[field].as_f64();
        let label = class["label"].as_str().unwrap();
        let right = cells.get(&(label.to_owned(), label.to_owned())).copied().unwrap_or(0);
        assert_eq!(
            (number("photos"), number("right"), number("recall")),
            (Some(2.0), Some(right as f64), Some(right as f64 / 2.0))
        );
        match number("predicted").unwrap() {
            0.0 => assert_eq!(class["precision"], Value::Null),
            predicted => assert_eq!(number("precision"), Some(right as f64 / predicted)),
        }
    }
}

#[test]
fn json_has_the_fields_that_are_promised() {
    let (json, _) = Folder::of(&["hat", "shoes"]).json(&[]);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(
        keys(&json),
        "absent classes confusion data fingerprint mean model notes photos photos_per_second seconds skipped split top1 top5 \
         version"
    );
    assert_eq!(keys(&json["top1"]), "high low of right share");
    assert_eq!(keys(&json["mean"]), "f1 precision recall");
    assert_eq!(keys(&json["classes"][0]), "f1 label photos precision predicted recall right");
    assert_eq!(keys(&json["confusion"][0]), "photos predicted truth");
    assert_eq!((&json["version"], &json["model"], &json["split"]), (&1.into(), &Value::Null, &Value::Null));
    assert_eq!((json["classes"].as_array().unwrap().len(), &json["photos"]), (10, &4.into()));
    assert!(json["photos_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn the_answer_depends_on_neither_threads_nor_batch_nor_where_the_model_comes_from() {
    let folder = Folder::of(&CLASSES);
    folder.write("hat/broken.jpg", b"broken");
    let answer = |more: &[&str]| {
        let (mut json, code) = folder.json(more);
        assert_eq!(code, 3);
        for field in ["seconds", "photos_per_second", "model"] {
            json.as_object_mut().unwrap().remove(field);
        }
        json
    };
    let expected = answer(&["--threads", "1", "--batch", "1"]);
    assert_eq!(answer(&["--threads", "3", "--batch", "7"]), expected);
    assert_eq!(answer(&["--threads", "2", "--batch", "64", MODEL]), expected);
}

#[test]
fn a_class_the_model_does_not_know_is_an_error() {
    let folder = Folder::of(&["hat", "shoes"]);
    folder.photos("dress", "Dresses");
    // Told before any photo is looked at: there is none that can be read.
    folder.write("Dresses/broken.jpg", b"");
    let error = folder.refused(&[]);
    assert!(error.contains("`Dresses`") && error.contains("dress, hat, longsleeve"), "{error}");

    let labels: Vec<String> = (0..40).map(|i| format!("thing {i}")).collect();
    let models = Folder::new();
    let error = folder.refused(&[&models.model(&(labels.join(",") + ",hat,shoe"))]);
    assert!(error.contains("`Dresses`, `shoes`") && error.contains("nearest"), "{error}");
}

#[test]
fn a_class_without_a_folder_is_told() {
    let folder = Folder::of(&CLASSES[..9]);
    let (json, code) = folder.json(&[]);
    assert_eq!((strings(&json["absent"]), code), (vec!["t-shirt"], 0));
    let out = text(&run(&["eval", &folder.arg("")]).stdout);
    assert!(out.contains("the model's class t-shirt is not in DATA"), "{out}");
    assert!(out.starts_with("the program's own model on 18 photos of 9 classes in "), "{out}");
    let out = text(&run(&["eval", &Folder::of(&["hat"]).arg("")]).stdout);
    assert!(out.contains("9 of the model's 10 classes are not in DATA: dress, longsleeve"), "{out}");
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_judged() {
    let folder = Folder::of(&["hat", "shoes"]);
    let whole = fs::read(project("examples/photos/hat-1.jpg")).unwrap();
    folder.write("hat/broken.jpg", &whole[..whole.len() / 2]);
    // It decodes, but at the network's size it would be four million pixels long.
    folder.write("shoes/line.bmp", &line(60_000));
    folder.write("notes.txt", b"notes");
    // A model that keeps the shape of photos, as published networks do.
    let models = Folder::new();
    let model = models.model("hat,shoes");
    let (json, code) = folder.json(&[&model]);
    assert_eq!((code, &json["photos"]), (3, &4.into()));
    let named = [("broken.jpg", true), ("notes.txt", false), ("line.bmp", true)];
    assert_eq!(skipped(&json), named.map(|(name, unreadable)| (name.to_owned(), unreadable)));
    let output = run(&["eval", &model, &folder.arg("")]);
    assert_eq!(output.status.code(), Some(3));
    let out = text(&output.stdout);
    assert!(out.contains("2 files could not be read") && out.contains("1 file left out"), "{out}");
    assert!(out.contains("broken.jpg: damaged JPEG") && out.contains("line.bmp: cannot resize"), "{out}");
}

#[test]
fn files_that_were_not_meant_are_no_failure() {
    let folder = Folder::of(&["hat"]);
    folder.write("hat/.DS_Store", b"");
    folder.write("readme.txt", b"");
    let (json, code) = folder.json(&[]);
    assert_eq!((skipped(&json).len(), code), (2, 0));
}

#[test]
fn names_match_in_any_unicode_form() {
    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    for (label, name) in [(composed, decomposed), (decomposed, composed)] {
        let (folder, models) = (Folder::new(), Folder::new());
        folder.photos("hat", name);
        let model = models.model(&format!("tea,{label}"));
        let (json, code) = folder.json(&[&model]);
        assert_eq!((code, strings(&json["absent"])), (0, vec!["tea"]));
        assert_eq!((&json["classes"][1]["photos"], &json["classes"][1]["label"]), (&2.into(), &label.into()));
        assert_eq!((&json["top5"], &json["model"]), (&Value::Null, &model.into()));
    }
}

#[test]
fn a_split_is_chosen() {
    let folder = Folder::new();
    for (split, class) in
        [("train", "hat"), ("train", "dress"), ("train", "skirt"), ("val", "hat"), ("val", "dress"), ("test", "hat")]
    {
        folder.photos(class, &format!("{split}/{class}"));
    }
    let judged = |more: &[&str]| {
        let (json, _) = folder.json(more);
        (json["split"].as_str().unwrap().to_owned(), json["photos"].as_u64().unwrap())
    };
    assert_eq!(judged(&[]), ("test".into(), 2));
    assert_eq!(judged(&["--split", "validation"]), ("validation".into(), 4));
    assert_eq!(judged(&["--split", "train"]), ("train".into(), 6));
    fs::remove_dir_all(folder.path("test")).unwrap();
    assert_eq!(judged(&[]), ("validation".into(), 4));
    assert!(folder.refused(&["--split", "test"]).contains("no `test` split here"));
}

/// `cspnet eval` on a terminal of so many columns.
fn eval_in(columns: usize, arguments: &[&str]) -> String {
    let output = cspnet(&[&["eval"], arguments].concat()).env("COLUMNS", columns.to_string()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn tables_fit_the_terminal() {
    let folder = Folder::of(&CLASSES);
    for columns in [44, 50, 60, 80, 200] {
        let out = eval_in(columns, &[&folder.arg("")]);
        let tables = out.lines().filter(|l| l.starts_with(' '));
        assert!(tables.clone().count() >= 25, "{out}");
        let widest = tables.map(|l| l.chars().count()).max().unwrap();
        assert!(widest <= columns, "{widest} of {columns}:\n{out}");
    }
    let out = eval_in(80, &[&folder.arg("")]);
    assert!(out.contains("top-5  100.0 %  20 of 20  83.9 to 100.0 %"), "{out}");
    let row = out.lines().rfind(|l| l.contains("t-shirt")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((cells.len(), &cells[..2]), (12, &["10", "t-shirt"][..]), "{row}");
    // Both photos of the class are somewhere in its row.
    assert_eq!(cells[2..].iter().filter_map(|c| c.parse::<u32>().ok()).sum::<u32>(), 2, "{row}");
}

#[test]
fn many_classes_are_told_by_their_mistakes() {
    let labels: Vec<String> = (0..40).map(|i| format!("thing-{i}")).collect();
    let (folder, models) = (Folder::new(), Folder::new());
    labels.iter().for_each(|label| folder.photos("hat", label));
    let out = eval_in(80, &[&models.model(&labels.join(",")), &folder.arg("")]);
    assert!(out.contains("The most frequent mistakes:") && out.contains("taken for"), "{out}");
    assert!(!out.contains("Columns:"), "{out}");
}

#[test]
fn few_classes_have_no_top_five() {
    let (folder, models) = (Folder::of(&["hat", "shoes"]), Folder::new());
    let model = models.model("hat,shoes,dress,skirt,pants");
    let out = eval_in(80, &[&model, &folder.arg("")]);
    assert!(out.contains("top-1") && !out.contains("top-5"), "{out}");
}

#[test]
fn wrong_uses_are_told() {
    let folder = Folder::of(&["hat"]);
    let root = folder.arg("");
    let error = |arguments: &[&str]| {
        let Output { status, stderr, .. } = run(arguments);
        assert_eq!(status.code(), Some(1));
        text(&stderr)
    };
    assert!(error(&["eval", &root, MODEL]).contains("the model comes first"));
    assert!(error(&["eval", MODEL]).contains("is a file; DATA is a folder"));
    assert!(error(&["eval", "nowhere"]).contains("nowhere: cannot be read"));
    assert!(error(&["eval", "nowhere.safetensors", &root]).contains("nowhere.safetensors"));
    assert!(error(&["eval", "examples/photos"]).contains("no class folders"));
    let models = Folder::new();
    let model = models.arg("unnamed.safetensors");
    assert!(run(&["new", "cs3darknet_s:classes=2", "-o", &model]).status.success());
    assert!(error(&["eval", &model, &root]).contains("no names for its classes"));
}

#[test]
fn a_closed_pipe_is_no_error() {
    let folder = Folder::of(&["hat"]);
    let mut child = cspnet(&["eval", &folder.arg("")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}
