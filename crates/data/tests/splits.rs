//! Splits as people and Hugging Face name and arrange them: none is learnt as a class, left out in silence, or in the way.

#[path = "common/folder.rs"]
mod folder;
#[path = "common/huggingface.rs"]
mod huggingface;
#[path = "common/pixel.rs"]
mod pixel;

use std::fs;
use std::ops::Range;

use cspnet_data::{DataError, DataOptions, DataSet, Outline, Split};
use folder::Folder;
use huggingface::Made;
use parquet::basic::Compression;
use pixel::bmp;

impl Folder {
    /// A folder with these Parquet files of ten photos each, no photo twice.
    fn packed(files: &[&str]) -> Self {
        let folder = Self::new();
        for (i, file) in files.iter().enumerate() {
            photos(10 * i..10 * i + 10).write(&folder.path(file));
        }
        folder
    }

    /// Names below this folder of what is not used, and why.
    fn skipped(&self) -> Vec<(String, String)> {
        self.open().unwrap().skipped.iter().map(|s| (self.name(&s.path), s.why.clone())).collect()
    }
}

/// Photos of these numbers, whose classes alternate.
fn photos(numbers: Range<usize>) -> Made {
    let rows = numbers.map(|n| (Some(bmp(n)), Some(n as i64 % 2))).collect();
    Made { names: Some(&["zebra", "ant"]), rows, compression: Compression::SNAPPY }
}

/// Photos of these numbers, which have this class.
fn all_of(class: i64, numbers: Range<usize>) -> Made {
    let mut made = photos(numbers);
    made.rows.iter_mut().for_each(|row| row.1 = Some(class));
    made
}

/// How many photos there are to learn from, to decide by and to judge by.
fn counts(data: &DataSet) -> [usize; 3] {
    [data.train.len(), data.validation.len(), data.test.len()]
}

#[test]
fn splits_are_never_learnt_as_classes() {
    for (train, test) in [("Training", "Testing"), ("Train", "Test"), ("TRAIN", "evaluation"), ("training", "eval")] {
        let names = [format!("{train}/a"), format!("{train}/b"), format!("{test}/a"), format!("{test}/b")];
        let data = Folder::with(&names.each_ref().map(String::as_str)).open().unwrap();
        assert_eq!(data.classes, ["a", "b"], "{train}");
        assert_eq!(counts(&data), [2, 2, 4], "{train}");
    }
    let folder = Folder::with(&["Train/a", "Train/b", "Dev/a", "Dev/b"]);
    assert_eq!(counts(&folder.open().unwrap()), [4, 4, 0]);
    let outline = Outline::of(folder.0.path(), None, &DataOptions::default()).unwrap();
    assert_eq!(outline.split, Some(Split::Validation));
    // Names that nobody can list.
    for others in [&["seg_train/a", "seg_train/b", "seg_test/a", "seg_pred"][..], &["Test set/a", "Training set/a"]] {
        let folder = Folder::with(others);
        let refused =
            [folder.open(), DataSet::open_one(folder.0.path(), None, &DataOptions::default(), &mut |_, _| {})];
        for error in refused.map(Result::unwrap_err) {
            assert!(matches!(&error, DataError::SplitsByOtherNames { .. }), "{error}");
            assert!(error.to_string().contains("seem to be splits, not classes"), "{error}");
        }
    }
    // Classes whose names have such words, with photos in them.
    assert_eq!(Folder::with(&["steam train", "test tube", "dev"]).open().unwrap().classes.len(), 3);
}

#[test]
fn validation_is_set_aside_from_folders_as_from_files() {
    let folder = Folder::with(&["train/a", "train/b", "test/a", "test/b"]);
    assert_eq!(counts(&folder.open().unwrap()), [2, 2, 4]);
    assert_eq!(counts(&Folder::with(&["train/a", "train/b"]).open().unwrap()), [2, 2, 0]);
    assert_eq!(counts(&Folder::packed(&["train.parquet", "test.parquet"]).open().unwrap()), [8, 2, 10]);
}

#[test]
fn folders_beside_splits_are_told() {
    let folder = Folder::with(&["train/a", "train/b", "val/a", "val/b", "extra/a"]);
    folder.write(".hidden/x.bmp", &bmp(9));
    let [(name, why)] = &folder.skipped()[..] else { panic!("{:?}", folder.skipped()) };
    assert!(name == "extra" && why.contains("no split"), "{why}");
    // A folder `train` among others may be a class.
    let error = Folder::with(&["train/steam", "train/electric", "car", "plane"]).refused();
    assert!(error.contains("no `validation` split here") && error.contains("of no split are car, plane"), "{error}");
}

#[test]
fn a_test_split_that_cannot_be_used_is_left_out_and_told() {
    let sound = ["train/a", "train/b", "val/a", "val/b"];
    let flat = Folder::with(&[&sound[..], &["test"]].concat());
    let partial = Folder::with(&[&sound[..], &["test/b"]].concat());
    let other = Folder::with(&[&sound[..], &["test/a", "test/b", "test/c"]].concat());
    let empty = Folder::with(&[&sound[..], &["test/a"]].concat());
    fs::create_dir(empty.path("test/b")).unwrap();
    let broken = Folder::with(&[&sound[..], &["test/a"]].concat());
    broken.write("test/b/broken.jpg", b"no photo");
    for (folder, reason) in [
        (flat, "no class folders"),
        (partial, "class `a` is in train but not in test"),
        (other, "class `c` is in test but not in train"),
        (empty, "class `b` has no readable photo"),
        (broken, "class `b` has no readable photo"),
    ] {
        assert_eq!(counts(&folder.open().unwrap()), [4, 4, 0], "{reason}");
        let skipped = folder.skipped();
        let (_, why) = skipped.iter().find(|(name, _)| name == "test").unwrap();
        assert!(why.starts_with("the test split is left out: ") && why.contains(reason), "{why}");
    }
}

#[test]
fn a_test_file_whose_classes_nobody_has_told_is_left_out_and_told_once() {
    let folder = Folder::packed(&["data/train.parquet", "data/validation.parquet"]);
    all_of(-1, 30..50).write(&folder.path("data/test-00000-of-00001.parquet"));
    assert_eq!(counts(&folder.open().unwrap()), [10, 10, 0]);
    let [(name, why)] = &folder.skipped()[..] else { panic!("{:?}", folder.skipped()) };
    assert_eq!(name, "data/test-00000-of-00001.parquet");
    assert!(why.contains("the test split is left out") && why.contains("the row has no class"), "{why}");
}

#[test]
fn only_training_needs_rows_of_every_class() {
    let folder = Folder::packed(&["train.parquet"]);
    all_of(0, 20..24).write(&folder.path("validation.parquet"));
    all_of(1, 30..35).write(&folder.path("test.parquet"));
    let data = folder.open().unwrap();
    assert_eq!((counts(&data), data.skipped.len()), ([10, 4, 5], 0));
    all_of(1, 40..44).write(&folder.path("train.parquet"));
    let error = folder.refused();
    assert!(error.contains("class `zebra` has no readable photo") && error.contains("no row has it"), "{error}");
    all_of(-1, 50..54).write(&folder.path("validation.parquet"));
    photos(0..10).write(&folder.path("train.parquet"));
    assert!(folder.refused().contains("validation.parquet/0: the row has no class"), "{}", folder.refused());
}

#[test]
fn files_lie_in_folders_of_configurations_and_of_splits() {
    for files in [
        ["plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"],
        ["default/train/0000.parquet", "default/test/0000.parquet"],
        ["data/Train/0000.parquet", "data/Test/0000.parquet"],
        ["train/0000.parquet", "test/0000.parquet"],
    ] {
        let folder = Folder::packed(&files);
        folder.write("README.md", b"# Photos");
        folder.write(".cache/train.parquet", b"");
        fs::create_dir(folder.path("images")).unwrap();
        let data = folder.open().unwrap();
        assert_eq!((counts(&data), data.skipped.len()), ([8, 2, 10], 0), "{files:?}");
    }
    let several = Folder::packed(&["mnist/train.parquet", "fashion/train.parquet"]);
    let error = several.refused();
    assert!(matches!(several.open(), Err(DataError::Configurations { .. })), "{error}");
    assert!(error.contains("fashion, mnist; give one of them"), "{error}");
    let one = DataSet::open(&several.path("mnist"), &DataOptions::default(), &mut |_, _| {}).unwrap();
    assert_eq!(counts(&one), [8, 2, 0]);
}

#[test]
fn a_class_folder_may_have_a_parquet_file_in_it() {
    let folder = Folder::with(&["a", "b", "train"]);
    photos(30..40).write(&folder.path("b/index.parquet"));
    photos(40..50).write(&folder.path("train/index.parquet"));
    assert_eq!(folder.open().unwrap().classes, ["a", "b", "train"]);
    let split = Folder::with(&["train/a", "train/b", "test/a", "test/b"]);
    photos(30..40).write(&split.path("train/metadata.parquet"));
    assert_eq!(counts(&split.open().unwrap()), [2, 2, 4]);
}

#[test]
fn files_of_no_split_are_told() {
    let folder = Folder::packed(&[
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
        "data/train_small-00000-of-00001.parquet",
        "data/extra-00000-of-00001.parquet",
        "data/evaluation-00000-of-00001.parquet",
    ]);
    assert_eq!(counts(&folder.open().unwrap()), [16, 4, 10]);
    let names: Vec<String> = folder.skipped().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["data/extra-00000-of-00001.parquet", "data/train_small-00000-of-00001.parquet"]);
    let error = Folder::packed(&["trainval-00000-of-00001.parquet", "test-00000-of-00001.parquet"]).refused();
    assert!(error.contains("no `train` split here") && error.contains("trainval-00000-of-00001.parquet"), "{error}");
}
