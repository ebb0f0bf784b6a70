//! The files that fuzzing begins with: small ones of every kind, sound for the most part, written into the corpus of a target.

use std::fs;
use std::path::{Path, PathBuf};

use cspnet_formats::{Dtype, Manifest, ModelFile, darknet, onnx};
use cspnet_graph::Weights;
use cspnet_train::{Checkpoint, Config, Recipe};
use cspnet_vision::{Filter, Preprocess};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterVersion};

use crate::huggingface::Made;
use crate::network;

/// Puts files into the corpus of a target, where they are not there yet.
pub fn plant(target: &str, files: Vec<Vec<u8>>) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&corpus).expect("a folder for the corpus");
    for (i, bytes) in files.iter().enumerate() {
        fs::write(corpus.join(format!("seed-{i:02}")), bytes).expect("a file of the corpus");
    }
}

/// The files in a folder of the project whose names end so.
pub fn of(folder: &str, ends: &[&str]) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let entries = fs::read_dir(&folder).expect("a folder of the project").map(|entry| entry.expect("an entry").path());
    let is_meant = |path: &PathBuf| ends.iter().any(|end| path.to_string_lossy().ends_with(end));
    let mut paths: Vec<PathBuf> = entries.filter(is_meant).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a file of the project")).collect()
}

fn manifest(dtype: Dtype) -> Manifest {
    let mut manifest = Manifest::new("small", network());
    manifest.labels = ["cat", "dog", "fish \"é\""].map(String::from).into();
    manifest.preprocess = Some(Preprocess::imagenet(64, 0.875, Filter::Bicubic).expect("a sound preprocessing"));
    manifest.training.insert("lr".into(), serde_json::json!([0.1, null, {"deep": "text"}]));
    manifest.licence = Some("CC0-1.0".into());
    manifest.dtype = dtype;
    manifest
}

/// Model files.
pub fn models() -> Vec<Vec<u8>> {
    let model = |dtype| {
        let manifest = manifest(dtype);
        let weights = Weights::reference(&manifest.graph);
        ModelFile { manifest, weights }.to_bytes().expect("a sound model")
    };
    [Dtype::F32, Dtype::F16].map(model).into()
}

/// ONNX files as they are written here: one of pictures, and one that prepares photos itself.
pub fn onnx_files() -> Vec<Vec<u8>> {
    let manifest = manifest(Dtype::F32);
    let file = |options: &onnx::Options| {
        onnx::write(&manifest.graph, &Weights::reference(&manifest.graph), Some(&manifest), options)
    };
    let photo = Preprocess::imagenet(8, 0.875, Filter::Bilinear).expect("a sound preprocessing");
    [onnx::Options::default(), onnx::Options { photo: Some(photo), softmax: true, ..onnx::Options::default() }]
        .map(|options| file(&options).expect("a sound network"))
        .into()
}

/// Manifests as JSON: also of Darknet's layers, which are of more kinds.
pub fn manifests() -> Vec<Vec<u8>> {
    let [text] = &of("tests/golden/darknet", &["small.cfg"])[..] else { panic!("one small network of Darknet") };
    let text = String::from_utf8_lossy(text);
    let graph = darknet::Network::parse(&text).expect("a sound network").graph;
    let all = [manifest(Dtype::F32), manifest(Dtype::F16), Manifest::new("darknet", graph)];
    all.map(|manifest| serde_json::to_vec(&manifest).expect("a manifest is written as JSON")).into()
}

/// `config.json` of timm's networks, of today and of before.
pub fn timm_configs() -> Vec<Vec<u8>> {
    let today = r#"{"architecture": "densenet121.ra_in1k", "num_classes": 2, "label_names": ["cat", "dog"], "pretrained_cfg":
        {"tag": "ra_in1k", "input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.875, "crop_mode": "center",
         "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "license": "apache-2.0"}}"#;
    let early = r#"{"architecture": "cspdarknet53", "num_classes": 2, "labels": {"0": "cat", "1": "dog"}, "input_size": [3, 8, 8],
        "interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "squash", "mean": [0, 0, 0], "std": [1, 1, 1]}"#;
    [today, early].map(|text| text.as_bytes().to_vec()).into()
}

/// The configuration of a run.
pub fn config() -> Config {
    Config {
        program: "0".into(),
        network: "cspresnet9:classes=3".into(),
        data: "photos".into(),
        validation_share: 0.2,
        preprocess: Preprocess::torchvision(),
        label_column: None,
        train_size: (64, 64),
        dtype: Dtype::F32,
        licence: None,
        recipe: Recipe { class_weights: Some(vec![0.5, 1.5, 1.0]), ..Recipe::default() },
        classes: ["a", "b", "c"].map(String::from).into(),
        fingerprint: "0".repeat(64),
        begun_from: None,
    }
}

/// The texts of checkpoints.
pub fn states() -> Vec<Vec<u8>> {
    let beginning = serde_json::to_value(Checkpoint::start(&network(), 1).state()).expect("a state is written as JSON");
    let validation = serde_json::json!({"photos": 9, "right": 5, "among_five": 9, "loss": 3.5});
    let epoch = serde_json::json!({"epoch": 1, "lr": 0.1, "train_loss": 1.5, "train_top1": 0.5, "val_loss": 1.0, "val_top1": 0.6,
        "val_top5": 1.0, "seconds": 2.0, "images_per_s": 100.0, "decode_wait": 0.0});
    let mut later = beginning.clone();
    later["epoch"] = 1.into();
    later["history"] = serde_json::json!([epoch]);
    later["best"] = serde_json::json!({"epoch": 1, "validation": validation});
    later["given_up"] = serde_json::json!({"epoch": 1, "step": 2, "phase": "loss", "layer": "conv", "files": ["a.jpg"], "lr": 0.1,
        "next_lr": 0.05});
    [beginning, later].map(|state| state.to_string().into_bytes()).into()
}

/// A photo of one pixel, a different one for each number.
fn bmp(number: u8) -> Vec<u8> {
    let head = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0";
    [&head[..], &[0; 24], &[number, 0, 0, 0]].concat()
}

/// Parquet files of photos in every form that is read, with rows that lack something.
pub fn parquet_files() -> Vec<Vec<u8>> {
    let row = |n: u8| ((n % 4 != 2).then(|| bmp(n)), (n % 4 != 1).then(|| i64::from(n % 2)));
    let mut files = Vec::new();
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())] {
        let made = Made { names: Some(&["ant", "bee"]), rows: (0..8).map(row).collect(), compression };
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for has_dictionary in [false, true] {
                let form = WriterProperties::builder().set_writer_version(version).set_encoding(Encoding::PLAIN);
                files.push(made.to_bytes(form.set_dictionary_enabled(has_dictionary)));
            }
        }
    }
    files
}
