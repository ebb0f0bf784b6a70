//! `cspnet run` as a user meets it.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{cspnet, run, text};
use cspnet::formats::numpy::{self, Array};
use cspnet::formats::{Manifest, ModelFile};
use cspnet::graph::{Builder, Conv, Weights};
use cspnet::vision::{DecodeOptions, decode_file};
use cspnet::{Model, Photo};

/// A folder with a model of two inputs, `left` of 2 channels and `right` of 3, which gives `sum` and `wide`.
struct Workshop {
    folder: tempfile::TempDir,
}

impl Workshop {
    fn new() -> Self {
        let mut b = Builder::new();
        let left = b.named_input("left", 2);
        let wide = b.module("stem", |b| b.conv("conv", left, Conv::new(3, 1)));
        let right = b.named_input("right", 3);
        let sum = b.add("add", wide, right);
        let graph = b.finish_named(&[("sum", sum), ("wide", wide)]).unwrap();
        // The first two channels, and their sum.
        let weights = Weights::new(&graph, vec![vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0]]).unwrap();
        let workshop = Self { folder: tempfile::tempdir().unwrap() };
        ModelFile { manifest: Manifest::new("two", graph), weights }.write(workshop.path("two.safetensors")).unwrap();
        workshop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes arrays as a file, and gives its path.
    fn arrays(&self, file: &str, arrays: &[(&str, &[usize], &[f32])]) -> String {
        let array =
            |&(name, shape, numbers): &(&str, &[usize], &[f32])| (name.into(), Array::new(shape.into(), numbers));
        let arrays: Vec<(String, Array)> = arrays.iter().map(array).collect();
        std::fs::write(self.path(file), numpy::to_bytes(&arrays).unwrap()).unwrap();
        self.text(file)
    }

    /// The arrays that a run of the model of two inputs gives, or what it tells.
    fn run(&self, arguments: &[&str]) -> Result<BTreeMap<String, Array>, String> {
        let (model, out) = (self.text("two.safetensors"), self.text("out.npz"));
        let output = run(&[&["run", &model, "--out", &out], arguments].concat());
        match output.status.code() {
            Some(0) => Ok(read(&self.path("out.npz"))),
            Some(1) => Err(text(&output.stderr)),
            other => panic!("{other:?}: {}", text(&output.stderr)),
        }
    }

    fn refusal(&self, arguments: &[&str]) -> String {
        self.run(arguments).unwrap_err()
    }
}

fn read(path: &Path) -> BTreeMap<String, Array> {
    numpy::read(path).unwrap().unwrap()
}

fn numbers(array: &Array) -> Vec<f32> {
    array.numbers(0..array.len())
}

/// The logits that the library has for prepared photos of the program's own model.
fn logits(photos: &[&str]) -> Vec<f32> {
    let model = Model::from_bytes(include_bytes!("../weights/clothing.safetensors")).unwrap();
    let photo = |name: &&str| decode_file(common::project(name), &DecodeOptions::default()).unwrap();
    let prepared: Vec<Photo> = photos.iter().map(|p| model.preprocess().apply(&photo(p)).unwrap()).collect();
    model.session(1, 1).logits(&prepared).unwrap().concat()
}

#[test]
fn arrays_go_in_and_come_out_by_name() {
    let workshop = Workshop::new();
    let left: Vec<f32> = (0..8).map(|i| i as f32).collect();
    let both = workshop.arrays("both.npz", &[("left", &[2, 2, 1, 2], &left), ("right", &[2, 3, 1, 2], &[10.0; 12])]);
    let arrays = workshop.run(&["--input", &both]).unwrap();
    assert_eq!(arrays.keys().collect::<Vec<_>>(), ["sum", "wide"]);
    assert_eq!(arrays["wide"].shape(), [2, 3, 1, 2]);
    assert_eq!(numbers(&arrays["wide"]), [0.0, 1.0, 2.0, 3.0, 2.0, 4.0, 4.0, 5.0, 6.0, 7.0, 10.0, 12.0]);
    assert_eq!(numbers(&arrays["sum"])[..4], [10.0, 11.0, 12.0, 13.0]);
    // By name, from files of one array each, which may have any name; the batch does not matter.
    let one = workshop.arrays("one.npz", &[("arr_0", &[2, 2, 1, 2], &left)]);
    let npy = workshop.text("right.npy");
    let bytes = numpy::to_bytes(&[("right".into(), Array::new(vec![2, 3, 1, 2], &[10.0; 12]))]).unwrap();
    // A member of an archive is an array's file: behind its header and name comes an array, before the directory.
    let (begin, end) = (30 + "right.npy".len(), bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap());
    std::fs::write(&npy, &bytes[begin..end]).unwrap();
    let (left, right) = (format!("left={one}"), format!("right={npy}"));
    for more in [&["--batch", "1"][..], &["--batch", "2", "--threads", "2"]] {
        assert_eq!(workshop.run(&[&["--input", &left, "-i", &right], more].concat()).unwrap(), arrays);
    }
    let some = workshop.run(&["-i", &both, "--output", "stem", "--output", "sum"]).unwrap();
    assert_eq!((some.len(), &some["stem"], &some["sum"]), (2, &arrays["wide"], &arrays["sum"]));
}

#[test]
fn what_does_not_fit_is_told_with_what_does() {
    let workshop = Workshop::new();
    let left = workshop.arrays("left.npz", &[("left", &[1, 2, 1, 1], &[1.0, 2.0])]);
    let right = |shape: &[usize]| {
        let numbers = vec![0.0; shape.iter().product()];
        format!("right={}", workshop.arrays("right.npz", &[("right", shape, &numbers)]))
    };
    let fits = right(&[1, 3]);
    let told = workshop.refusal(&["--input", &left]);
    assert!(told.contains("input `right` is given nothing; the network takes left, right"), "{told}");
    let told = workshop.refusal(&["--input", &left, "--input", &fits.replace("right=", "middle=")]);
    assert!(told.contains("no input `middle`; it takes left, right"), "{told}");
    let other = workshop.arrays("other.npz", &[("rigth", &[1, 3], &[0.0; 3])]);
    let told = workshop.refusal(&["--input", &left, "--input", &other]);
    assert!(told.contains("has an array `rigth`, but the network takes left, right"), "{told}");
    let told = workshop.refusal(&["--input", &left, "--input", &fits, "--output", "product"]);
    assert!(told.contains("no module `product`; its outputs are sum, wide"), "{told}");
    for (shape, reason) in [
        (&[1, 4, 1, 1][..], "input `right`: an array [n, 3, h, w] is needed, not one of shape [1, 4, 1, 1]"),
        (&[3], "not one of shape [3]"),
        (&[2, 3, 1, 1], "2 images, where `left` is given 1"),
        (&[0, 3, 1, 1], "there is no image"),
        (&[1, 3, 0, 1], "shape [3, 0, 1]"),
    ] {
        let told = workshop.refusal(&["--input", &left, "--input", &right(shape)]);
        assert!(told.contains(reason), "{told}\ninstead of: {reason}");
    }
    let wide = workshop.arrays("wide.npz", &[("left", &[1, 2, 1, 3], &[0.0; 6])]);
    let told = workshop.refusal(&["--input", &wide, "--input", &right(&[1, 3, 1, 2])]);
    assert!(told.contains("add joins [1, 3] and [1, 2] pixels"), "{told}");
    let fits = right(&[1, 3]);
    let told = workshop.refusal(&["--input", &left, "--input", &left, "--input", &fits]);
    assert!(told.contains("`left` is given two arrays"), "{told}");
    let told = workshop.refusal(&["--input", "examples/photos/hat-1.jpg"]);
    assert!(told.contains("for which input this photo is") && told.contains("left, right"), "{told}");
    let told = workshop.refusal(&["--input", "left=examples/photos/hat-1.jpg", "--input", &fits]);
    assert!(told.contains("input `left`: it has 2 channels, and a photo 3, or 1 in grey"), "{told}");
    let told = workshop.refusal(&["--input", "left=nowhere.npz"]);
    assert!(told.contains("nowhere.npz: cannot be read"), "{told}");
    std::fs::write(workshop.path("broken.npz"), b"PK\x03\x04").unwrap();
    let told = workshop.refusal(&["--input", &workshop.text("broken.npz")]);
    assert!(told.contains("broken.npz: not a NumPy file"), "{told}");
    assert_eq!(run(&["run", "--out", "x.npz"]).status.code(), Some(2));
    assert!(!workshop.path("out.npz").exists());
}

#[test]
fn photos_become_what_predict_sees() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.npz");
    let photos = ["examples/photos/hat-1.jpg", "examples/photos/coffee.jpg"];
    let arguments = ["run", "-i", photos[0], "-i", photos[1], "--out", out.to_str().unwrap()];
    let output = run(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let arrays = read(&out);
    let answer = arrays.values().next().unwrap();
    assert_eq!((arrays.len(), answer.shape()), (1, &[2, 10, 1, 1][..]));
    assert_eq!(numbers(answer), logits(&photos), "the same bits as in `cspnet predict`");
    let refused = run(&[&arguments[..], &["--size", "64"]].concat());
    assert!(text(&refused.stderr).contains("leave --size out"));
}

#[test]
fn photos_for_models_that_say_nothing_are_stretched_and_scaled() {
    let workshop = Workshop::new();
    let mut b = Builder::new();
    let x = b.input(3);
    let y = b.conv("same", x, Conv::new(3, 1));
    let graph = b.finish(y).unwrap();
    let weights = Weights::new(&graph, vec![vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]]).unwrap();
    let model = workshop.path("same.safetensors");
    ModelFile { manifest: Manifest::new("same", graph), weights }.write(&model).unwrap();
    let (model, out, photo) =
        (workshop.text("same.safetensors"), workshop.text("out.npz"), "examples/photos/hat-1.jpg");
    let values = |more: &[&str]| {
        let output = run(&[&["run", &model, "--input", photo, "--out", &out, "--size", "6x8"], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let array = read(&workshop.path("out.npz")).remove("same").unwrap();
        assert_eq!(array.shape(), [1, 3, 6, 8]);
        numbers(&array)
    };
    let (plain, scaled) = (values(&[]), values(&["--mean", "0.5", "--std", "0.25,0.5,1"]));
    assert!(plain.iter().all(|v| (0.0..=1.0).contains(v)) && plain.iter().any(|v| *v > 0.1));
    for (i, (plain, scaled)) in plain.iter().zip(&scaled).enumerate() {
        let expected = (plain - 0.5) / [0.25, 0.5, 1.0][i / 48];
        assert!((scaled - expected).abs() < 1e-5, "{scaled} for {expected}");
    }
    let refused = run(&["run", &model, "--input", photo, "--out", &out, "--mean", "1,2"]);
    assert!(text(&refused.stderr).contains("--mean has 2 numbers; give one, or 3"));
}

#[test]
fn arrays_may_go_to_standard_output() {
    let workshop = Workshop::new();
    let both = workshop.arrays("both.npz", &[("left", &[1, 2], &[1.0, 2.0]), ("right", &[1, 3], &[0.0; 3])]);
    let model = workshop.text("two.safetensors");
    let output = run(&["run", &model, "--input", &both, "--out", "-"]);
    let arrays = numpy::read_bytes(&output.stdout).unwrap().unwrap();
    assert_eq!(numbers(&arrays["sum"]), [1.0, 2.0, 3.0]);
    assert!(text(&output.stderr).starts_with("-: sum 1 x 3 x 1 x 1, wide 1 x 3 x 1 x 1, "));
    let mut child = cspnet(&["run", &model, "--input", &both, "--out", "-"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait_with_output().unwrap().status.success());
}

#[test]
fn several_inputs_and_outputs_are_inspected_and_exported() {
    let workshop = Workshop::new();
    let (model, onnx) = (workshop.text("two.safetensors"), workshop.text("two.onnx"));
    let told = text(&run(&["inspect", &model, "--size", "4x5"]).stdout);
    let first = "   inputs left 2 x 4 x 5, right 3 x 4 x 5   outputs sum 3 x 4 x 5, wide 3 x 4 x 5\n";
    assert!(told.lines().next().is_some_and(|line| format!("{line}\n").ends_with(first)), "{told}");
    let json = run(&["inspect", &model, "--size", "4x5", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&json["inputs"][1]["name"], &json["outputs"][0]["name"]), (&"right".into(), &"sum".into()));
    assert_eq!(json["outputs"][1]["shape"], serde_json::json!([3, 4, 5]));
    assert!(run(&["export", &model, "--to", "onnx", "--size", "4x5", "-o", &onnx]).status.success());
    let refused = run(&["export", &model, "--to", "darknet", "-o", &workshop.text("two.cfg")]);
    assert!(text(&refused.stderr).contains("one picture"), "{}", text(&refused.stderr));
}

/// As the script that has made the ONNX files has them.
fn golden_numbers(shape: &[usize]) -> Vec<f32> {
    let at = |i: usize| ((i * 7919 + 17) % 2003) as f64 / 1001.5 - 1.0;
    (0..shape.iter().product()).map(|i| at(i) as f32).collect()
}

#[test]
fn onnx_files_take_and_give_arrays_of_the_dimensions_they_say() {
    let workshop = Workshop::new();
    let cases = std::fs::read(common::project("tests/golden/onnx/expected.json")).unwrap();
    let cases: serde_json::Value = serde_json::from_slice(&cases).unwrap();
    let shape = |of: &serde_json::Value| serde_json::from_value::<Vec<usize>>(of.clone()).unwrap();
    for (name, case) in cases.as_object().unwrap() {
        let (file, out) = (format!("tests/golden/onnx/{name}.onnx"), workshop.text("out.npz"));
        let given = shape(&case["input"]);
        let input = workshop.arrays("input.npz", &[("input", &given, &golden_numbers(&given))]);
        let output = run(&["run", &file, "--input", &input, "--out", &out]);
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        let arrays = read(&workshop.path("out.npz"));
        let expected = case["outputs"].as_object().unwrap();
        assert_eq!(arrays.len(), expected.len(), "{name}");
        for (output, expected) in expected {
            assert_eq!(arrays[output].shape(), shape(&expected["shape"]), "{name}: {output}");
            let expected: Vec<f32> = serde_json::from_value(expected["numbers"].clone()).unwrap();
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 + 1e-5 * b.abs();
            assert!(numbers(&arrays[output]).iter().zip(&expected).all(near), "{name}: {output}");
        }
    }
    let input = workshop.arrays("input.npz", &[("input", &[2, 5], &[0.0; 10])]);
    let told = run(&["run", "tests/golden/onnx/old.onnx", "--input", &input, "--out", &workshop.text("other.npz")]);
    let told = text(&told.stderr);
    assert!(told.contains("input `input`: an array [") && told.contains("not one of shape [2, 5]"), "{told}");
}
