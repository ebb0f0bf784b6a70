//! Photos that say that they lie on their side: all who see them see them as if their pixels had been turned before.

mod common;

use std::fs;
use std::path::Path;

use common::{run, text};
use cspnet_formats::ModelFile;
use serde_json::Value;

/// Columns and rows of the photos as they are seen.
const SEEN: [usize; 2] = [24, 16];

/// A colour for each place of a photo as it is seen; nothing in it is symmetrical.
fn colour(number: usize, x: usize, y: usize) -> [u8; 3] {
    [(x * 9 + y * 3 + number * 17) as u8, (y * 14 + number * 5) as u8, (x * y + number) as u8]
}

/// Where the stored pixel `(x, y)` is seen (EXIF 2.32, 4.6.5.1), if there are `w` columns and `h` rows to be seen.
fn seen_at(tag: u8, x: usize, y: usize, [w, h]: [usize; 2]) -> (usize, usize) {
    match tag {
        2 => (w - 1 - x, y),
        3 => (w - 1 - x, h - 1 - y),
        4 => (x, h - 1 - y),
        5 => (y, x),
        6 => (w - 1 - y, x),
        7 => (w - 1 - y, h - 1 - x),
        8 => (y, h - 1 - x),
        _ => (x, y),
    }
}

/// The photo `number` in a TIFF file, which says with which orientation it is stored.
fn tiff(number: usize, tag: u8) -> Vec<u8> {
    let [width, height] = if tag < 5 { SEEN } else { [SEEN[1], SEEN[0]] };
    let pixels: Vec<u8> = (0..width * height)
        .flat_map(|i| {
            let (x, y) = seen_at(tag, i % width, i / width, SEEN);
            colour(number, x, y)
        })
        .collect();
    // The directory, the depths of the channels behind it, and the pixels behind these.
    let depths = 8 + 2 + 12 * 10 + 4;
    let entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, depths),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, depths + 6),
        (274, 3, 1, usize::from(tag)),
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, pixels.len()),
    ];
    let mut bytes = b"II*\0\x08\0\0\0\x0a\0".to_vec();
    for (tag, kind, count, value) in entries {
        bytes.extend([u16::to_le_bytes(tag), u16::to_le_bytes(kind)].concat());
        bytes.extend([u32::to_le_bytes(count), u32::to_le_bytes(value as u32)].concat());
    }
    bytes.extend([0, 0, 0, 0, 8, 0, 8, 0, 8, 0]);
    [bytes, pixels].concat()
}

/// A data set whose photos are stored in the orientations of a function of their number.
fn write(root: &Path, tag: impl Fn(usize) -> u8) {
    for (split, numbers) in [("train", 0..16), ("validation", 16..32)] {
        for number in numbers {
            let folder = root.join(split).join(["even", "odd"][number % 2]);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("{number}.tif")), tiff(number, tag(number))).unwrap();
        }
    }
}

/// Answers of the program, without the photos' paths and times.
fn answers(arguments: &[&str]) -> Vec<Value> {
    let output = run(arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["classes"].clone()).collect()
}

#[test]
fn training_judging_and_answering_see_upright_photos() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    // Every orientation, in both classes and both splits; and once more each photo as it is seen.
    write(&dir.path().join("turned"), |number| 1 + (number / 2 % 8) as u8);
    write(&dir.path().join("upright"), |_| 1);
    for data in ["turned", "upright"] {
        let trained = run(&[
            "train",
            "--network",
            "densenet_bc:depth=10,growth=4",
            "--size",
            "16",
            "--batch-size",
            "4",
            "--epochs",
            "2",
            "--threads",
            "2",
            "--seed",
            "3",
            "--out",
            &path(&format!("{data}-run")),
            &path(data),
        ]);
        assert!(trained.status.success(), "{}", text(&trained.stderr));
    }
    let model = |data: &str| ModelFile::read(dir.path().join(format!("{data}-run/last.safetensors"))).unwrap();
    assert_eq!(model("turned").weights, model("upright").weights);
    let model = path("upright-run/last.safetensors");
    let predicted = ["turned", "upright"].map(|data| answers(&["predict", "--model", &model, &path(data)]));
    assert!(predicted[0].len() == 32 && predicted[0] == predicted[1]);
    let judged = ["turned", "upright"].map(|data| {
        let output = run(&["eval", "--json", "--split", "validation", &model, &path(data)]);
        let judged: Value = serde_json::from_slice(&output.stdout).unwrap();
        (judged["top1"].clone(), judged["classes"].clone())
    });
    assert_eq!(judged[0], judged[1]);
}
