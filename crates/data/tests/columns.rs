//! Parquet files of other writers than `datasets`: classes that are texts or whole numbers, photos that are plain bytes, and columns
//! of which several might be meant.

#[path = "common/columns.rs"]
mod columns;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/pixel.rs"]
mod pixel;

use std::path::Path;

use columns::{Values, texts, write};
use cspnet_data::{DataError, DataOptions, DataSet, Outline, Split};
use folder::Folder;
use pixel::bmp;
use serde_json::json;

/// Photos of one pixel, with these numbers.
fn photos(numbers: std::ops::Range<usize>) -> Values {
    Values::Bytes(numbers.map(bmp).collect())
}

impl Folder {
    fn open_with(&self, label_column: Option<&str>) -> Result<DataSet, DataError> {
        DataSet::open(self.0.path(), &by(label_column), &mut |_, _| {})
    }
}

fn by(label_column: Option<&str>) -> DataOptions {
    DataOptions { label_column: label_column.map(str::to_owned), ..DataOptions::default() }
}

/// Names of the classes of the photos to learn from and to decide by, by the photos' names.
fn named(data: &DataSet) -> Vec<&str> {
    let mut all: Vec<_> = data.train.iter().chain(&data.validation).collect();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all.into_iter().map(|sample| data.classes[sample.class].as_str()).collect()
}

const TEXT: &str = "required binary image; required binary label (STRING);";

#[test]
fn classes_may_be_texts_or_whole_numbers() {
    let folder = Folder::new();
    let file = folder.path("photos.parquet");
    write(&file, TEXT, None, &[photos(0..5), texts(&["dog", "cafe\u{301}", "dog", "caf\u{e9}", "Dog"])]);
    let data = folder.open_with(None);
    assert!(matches!(data, Err(DataError::TooFewToSplit { class }) if class == "Dog"));
    write(&file, TEXT, None, &[photos(0..4), texts(&["dog", "cafe\u{301}", "dog", "caf\u{e9}"])]);
    let data = folder.open().unwrap();
    assert_eq!(data.classes, ["caf\u{e9}", "dog"]);
    assert_eq!(named(&data), ["dog", "caf\u{e9}", "dog", "caf\u{e9}"]);
    assert!(data.notes.is_empty() && data.skipped.is_empty());
    let numbers = [10, 9, 10, -2, 9, -2];
    for (kind, values) in
        [("int64", Values::Int64(numbers.map(i64::from).into())), ("int32", Values::Int32(numbers.into()))]
    {
        let schema = format!("required group image {{ required binary bytes; }} required {kind} label;");
        write(&file, &schema, None, &[photos(0..6), values]);
        let data = folder.open().unwrap();
        assert_eq!(data.classes, ["-2", "9", "10"]);
        assert_eq!(named(&data), ["10", "9", "10", "-2", "9", "-2"]);
        let outline = Outline::of(folder.0.path(), None, &DataOptions::default()).unwrap();
        assert_eq!(outline.classes, data.classes);
    }
}

#[test]
fn classes_of_texts_are_those_of_all_files_of_training() {
    let folder = Folder::new();
    write(&folder.path("train-0.parquet"), TEXT, None, &[photos(0..3), texts(&["b", "b", "c"])]);
    write(&folder.path("train-1.parquet"), TEXT, None, &[photos(3..6), texts(&["c", "a", "a"])]);
    write(&folder.path("validation.parquet"), TEXT, None, &[photos(6..8), texts(&["c", "b"])]);
    write(&folder.path("test.parquet"), TEXT, None, &[photos(8..9), texts(&["d"])]);
    let data = folder.open().unwrap();
    assert_eq!(data.classes, ["a", "b", "c"]);
    assert_eq!(data.validation.iter().map(|s| s.class).collect::<Vec<_>>(), [2, 1]);
    assert!(data.test.is_empty() && data.skipped[0].why.contains("class `d` is in test but not in train"));
    let judged = DataSet::open_one(folder.0.path(), Some(Split::Test), &DataOptions::default(), &mut |_, _| {});
    assert_eq!(judged.unwrap().classes, ["d"]);
    write(&folder.path("validation.parquet"), TEXT, None, &[photos(6..7), texts(&["d"])]);
    assert!(folder.refused().contains("class `d` is in validation but not in train"), "{}", folder.refused());
}

#[test]
fn rows_without_a_text_have_no_class() {
    let folder = Folder::new();
    let labels =
        Values::Bytes(vec![b"a".to_vec(), b"\xff".to_vec(), b"b".to_vec(), vec![], b"a".to_vec(), b"b".to_vec()]);
    write(&folder.path("photos.parquet"), TEXT, None, &[photos(0..6), labels]);
    let data = folder.open().unwrap();
    assert_eq!((&data.classes[..], data.skipped.len()), (&["a".to_owned(), "b".to_owned()][..], 2));
    write(&folder.path("photos.parquet"), TEXT, None, &[photos(0..2), texts(&["", ""])]);
    assert!(folder.refused().contains("no row has a class"), "{}", folder.refused());
}

/// Columns as CIFAR-100 has them.
fn two_sorts(path: &Path, is_told: bool) {
    let schema = "required binary img; required int64 fine_label; required int64 coarse_label;";
    let sort = |names: &[&str]| json!({ "names": names, "_type": "ClassLabel" });
    let features = json!({
        "img": { "_type": "Image" },
        "fine_label": sort(&["rose", "tulip", "trout", "shark"]), "coarse_label": sort(&["flower", "fish"]),
    });
    let (fine, coarse) =
        (Values::Int64((0..8).map(|i| i % 4).collect()), Values::Int64((0..8).map(|i| i % 4 / 2).collect()));
    write(path, schema, Some(features).filter(|_| is_told), &[photos(0..8), fine, coarse]);
}

#[test]
fn of_several_sorts_of_classes_one_is_asked_for_or_told() {
    let folder = Folder::new();
    let file = folder.path("train.parquet");
    two_sorts(&file, true);
    let data = folder.open().unwrap();
    assert_eq!(data.classes, ["rose", "tulip", "trout", "shark"]);
    let [note] = &data.notes[..] else { panic!("{:?}", data.notes) };
    assert!(
        note.contains("column `fine_label`, of `fine_label`, `coarse_label`") && note.contains("--label-column"),
        "{note}"
    );
    let data = folder.open_with(Some("coarse_label")).unwrap();
    assert_eq!((&data.classes[..], data.notes.len()), (&["flower".to_owned(), "fish".to_owned()][..], 0));
    let outline = Outline::of(folder.0.path(), Some(Split::Train), &by(Some("coarse_label"))).unwrap();
    assert_eq!(outline.classes, ["flower", "fish"]);
    let error = folder.open_with(Some("label")).unwrap_err().to_string();
    assert!(error.contains("no column `label`") && error.contains("`fine_label`, `coarse_label`"), "{error}");
    // Without a word about them, and without a usual name.
    two_sorts(&file, false);
    assert!(
        folder.refused().contains("say it with --label-column: `fine_label`, `coarse_label`"),
        "{}",
        folder.refused()
    );
    assert_eq!(folder.open_with(Some("coarse_label")).unwrap().classes, ["0", "1"]);
    // With a usual one.
    let schema = "required binary mask; required binary image; required int64 id; required binary label (STRING);";
    let columns = [photos(10..14), photos(0..4), Values::Int64(vec![1, 2, 3, 4]), texts(&["a", "b", "a", "b"])];
    write(&file, schema, None, &columns);
    let data = folder.open().unwrap();
    assert_eq!((&data.classes[..], data.notes.len()), (&["a".to_owned(), "b".to_owned()][..], 2));
    assert!(data.notes[0].contains("column `image`, of `mask`, `image`"), "{}", data.notes[0]);
}

#[test]
fn texts_that_are_no_classes_are_refused() {
    let folder = Folder::new();
    let file = folder.path("train.parquet");
    let many: Vec<String> = (0..50_000).map(|n| format!("{n}.jpg")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    write(&file, TEXT, None, &[Values::Bytes(vec![bmp(0); many.len()]), texts(&many)]);
    assert!(folder.refused().contains("different values and more"), "{}", folder.refused());
    // One long text in a dictionary, which a thousand rows name.
    let long = "a".repeat(1 << 20);
    write(&file, TEXT, None, &[Values::Bytes(vec![bmp(0); 1000]), texts(&[long.as_str(); 1000])]);
    assert!(folder.refused().contains("a name of 1048576 bytes"), "{}", folder.refused());
}
