//! Folders as people have them, read by the public interface.

#[path = "common/folder.rs"]
mod folder;
#[path = "common/pixel.rs"]
mod pixel;

use std::fs;
use std::path::{Path, PathBuf};

use cspnet_data::{DataError, DataOptions, DataSet, Outline, Skipped, Split};
use folder::Folder;
use pixel::bmp;

/// `é` as one character, and as `e` with an accent that is put on it.
const COMPOSED: &str = "caf\u{e9}";
const DECOMPOSED: &str = "cafe\u{301}";

impl Folder {
    fn open_one(&self, split: Option<Split>) -> Result<DataSet, DataError> {
        DataSet::open_one(self.0.path(), split, &DataOptions::default(), &mut |_, _| {})
    }

    /// Names of what was skipped, and whether each was unreadable.
    fn skipped(&self, data: &DataSet) -> Vec<(String, bool)> {
        data.skipped.iter().map(|Skipped { path, unreadable, .. }| (self.name(path), *unreadable)).collect()
    }
}

fn open(root: &Path, options: &DataOptions) -> Result<DataSet, DataError> {
    DataSet::open(root, options, &mut |_, _| {})
}

fn fingerprint(folder: &Folder) -> String {
    folder.open_one(None).unwrap().fingerprint
}

#[test]
fn classes_are_ordered_by_their_characters() {
    let folder = Folder::with(&["cat", "2", "10", "1", "Cat"]);
    // A file system that does not tell `Cat` from `cat` has one folder for both.
    let apart = fs::read_dir(folder.0.path()).unwrap().count() == 5;
    let expected: &[&str] = if apart { &["1", "10", "2", "Cat", "cat"] } else { &["1", "10", "2", "cat"] };
    let data = folder.open().unwrap();
    assert_eq!(data.classes, expected);
    for sample in data.train.iter().chain(&data.validation) {
        assert!(folder.name(&sample.path).starts_with(&format!("{}/", data.classes[sample.class])));
    }
    assert_eq!(Outline::of(folder.0.path(), None, &DataOptions::default()).unwrap().classes, expected);
}

#[test]
fn every_photo_is_looked_at_and_told() {
    let folder = Folder::with(&["a", "b"]);
    for threads in [1, 3] {
        let mut told = Vec::new();
        let options = DataOptions { threads, ..DataOptions::default() };
        DataSet::open(folder.0.path(), &options, &mut |done, of| told.push((done, of))).unwrap();
        assert_eq!(told, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    }
}

#[test]
fn splits_match_by_name_in_any_unicode_form() {
    let folder = Folder::new();
    for (i, split) in ["train", "validation", "test"].iter().enumerate() {
        let accented = if i == 1 { DECOMPOSED } else { COMPOSED };
        folder.photos(&format!("{split}/{accented}"), 10 * i..10 * i + 2);
        folder.photos(&format!("{split}/tea"), 10 * i + 5..10 * i + 6);
    }
    let data = folder.open().unwrap();
    assert_eq!(data.classes, [COMPOSED, "tea"]);
    let classes = |split| data.samples(split).iter().map(|s| s.class).collect::<Vec<_>>();
    assert_eq!(Split::ALL.map(classes), [[0, 0, 1]; 3]);
    assert!(data.duplicates.is_empty() && data.skipped.is_empty());
}

#[test]
fn two_forms_of_a_name_in_one_split_are_refused() {
    let folder = Folder::with(&["tea", COMPOSED]);
    // Some file systems take the two for the same folder, and then it is one class.
    if folder.path(DECOMPOSED).exists() {
        assert_eq!(folder.open().unwrap().classes, [COMPOSED, "tea"]);
        return;
    }
    folder.photos(DECOMPOSED, 20..22);
    let error = folder.refused();
    for form in [COMPOSED, DECOMPOSED] {
        assert!(error.contains(&folder.path(form).display().to_string()), "{error}");
    }
    assert!(matches!(Outline::of(folder.0.path(), None, &DataOptions::default()), Err(DataError::SameName { .. })));
}

#[test]
fn a_class_that_one_split_lacks_is_told() {
    let lacks = Folder::with(&["train/a", "train/b", "train/c", "validation/a", "validation/c"]);
    assert!(lacks.refused().contains("class `b` is in train but not in validation"), "{}", lacks.refused());
    let adds = Folder::with(&["train/a", "train/b", "validation/a", "validation/b", "validation/c"]);
    assert!(adds.refused().contains("class `c` is in validation but not in train"), "{}", adds.refused());
    let renamed = Folder::with(&["train/a", "train/b", "validation/a", "validation/c"]);
    assert!(renamed.refused().contains("class `b` is in train but not in validation"), "{}", renamed.refused());
    // Whatever comes before it in the order of numbers or of characters, no class is shifted into its place.
    let numbers = Folder::with(&["train/1", "train/2", "train/10", "validation/1", "validation/2"]);
    assert!(numbers.refused().contains("class `10` is in train but not in validation"), "{}", numbers.refused());
    let case = Folder::with(&["train/a", "train/b", "validation/A", "validation/b"]);
    assert!(case.refused().contains("class `a` is in train but not in validation"), "{}", case.refused());
}

/// Whatever the order in which a disk has them, and whatever one split has before them.
#[test]
fn classes_of_all_splits_have_the_numbers_of_their_names() {
    let names = ["2", "10", "1", "zebra", COMPOSED];
    let folder = Folder::new();
    for (split, turn) in [("train", 0), ("validation", 2), ("test", 3)] {
        for (i, class) in (0..5).map(|i| (i + turn) % 5).enumerate() {
            folder.photos(&format!("{split}/{}", names[class]), 100 * turn + 2 * i..100 * turn + 2 * i + 2);
        }
    }
    let data = folder.open().unwrap();
    assert_eq!(data.classes, ["1", "10", "2", COMPOSED, "zebra"]);
    for sample in Split::ALL.iter().flat_map(|&split| data.samples(split)) {
        let class = sample.path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        assert_eq!(data.classes[sample.class], class);
    }
}

#[test]
fn validation_has_three_names_but_one_folder() {
    for name in ["validation", "val", "valid"] {
        let (a, b) = (format!("{name}/a"), format!("{name}/b"));
        let data = Folder::with(&["train/a", "train/b", &a, &b]).open().unwrap();
        assert_eq!((data.train.len(), data.validation.len(), data.test.len()), (4, 4, 0), "{name}");
    }
    let error = Folder::with(&["train/a", "train/b", "val/a", "val/b", "valid/a", "valid/b"]).open().unwrap_err();
    assert!(matches!(&error, DataError::TwoSplits { .. }), "{error}");
    assert!(error.to_string().contains("valid are the same split"), "{error}");
}

#[test]
fn a_split_that_is_needed_and_missing_is_told() {
    let missing = |folder: &Folder| match folder.open().unwrap_err() {
        DataError::NoSplit { split, .. } => split,
        other => panic!("{other}"),
    };
    // A class may be called so; then nothing says that the others are none.
    assert_eq!(missing(&Folder::with(&["train/steam", "train/electric", "car"])), Split::Validation);
    assert_eq!(missing(&Folder::with(&["val/a", "val/b", "test/a", "test/b"])), Split::Train);
}

#[test]
fn a_class_may_be_called_like_a_split() {
    let vehicles = Folder::with(&["car", "plane", "train"]);
    assert_eq!(vehicles.open().unwrap().classes, ["car", "plane", "train"]);
    assert_eq!(vehicles.open_one(None).unwrap().classes, ["car", "plane", "train"]);
    let inside = Folder::with(&["train/car", "train/train", "validation/car", "validation/train"]);
    assert_eq!(inside.open().unwrap().classes, ["car", "train"]);
    // Nothing but splits, and somebody forgot the class folders.
    assert!(matches!(Folder::with(&["train", "validation"]).open(), Err(DataError::NoClasses { .. })));
}

#[test]
fn what_is_no_photo_is_skipped_with_its_reason() {
    let folder = Folder::with(&["a", "b"]);
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0\x90wS\xde";
    folder.write(".hidden/x.bmp", &bmp(9));
    folder.write("a/.hidden/x.bmp", &bmp(9));
    folder.write("a/.x.bmp", &bmp(9));
    folder.write("notes.txt", b"hello");
    folder.write("a/notes.jpg", b"hello");
    folder.write("b/cut.png", png);
    folder.write("a/cut.bmp", &bmp(1)[..40]);
    folder.write("a/empty.jpg", b"");
    folder.write("b/directory.jpg/inside.bmp", &bmp(8));
    let data = folder.open().unwrap();
    let expected = [
        (".hidden", false),
        ("a/.hidden", false),
        ("a/.x.bmp", false),
        ("a/cut.bmp", true),
        ("a/empty.jpg", true),
        ("a/notes.jpg", true),
        ("b/cut.png", true),
        ("notes.txt", false),
    ];
    assert_eq!(folder.skipped(&data), expected.map(|(name, unreadable)| (name.to_owned(), unreadable)));
    let why: Vec<&str> = data.skipped.iter().map(|s| s.why.as_str()).collect();
    for (why, part) in why.iter().zip(["hidden", "hidden", "hidden", "BMP", "0 bytes", "no picture", "PNG", "not in a"])
    {
        assert!(why.contains(part), "{why}");
    }
    let used: Vec<String> = data.train.iter().chain(&data.validation).map(|s| folder.name(&s.path)).collect();
    assert_eq!(used.len(), 5);
    assert!(used.contains(&"b/directory.jpg/inside.bmp".to_owned()));
}

#[test]
fn photos_may_lie_deep_below_their_class() {
    let folder = Folder::with(&["a/2023/spring", "a/2024", "b"]);
    let data = folder.open_one(None).unwrap();
    assert_eq!(data.classes, ["a", "b"]);
    assert_eq!(data.test.iter().map(|s| s.class).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let (folder, elsewhere) = (Folder::with(&["a", "b"]), Folder::new());
    elsewhere.photos("more", 20..23);
    symlink(elsewhere.path("more"), folder.path("a/more")).unwrap();
    symlink(folder.path("a"), folder.path("a/circle")).unwrap();
    symlink(folder.path("nowhere.bmp"), folder.path("b/nowhere.bmp")).unwrap();
    let data = folder.open_one(None).unwrap();
    assert_eq!(data.test.len(), 4 + 3);
    assert_eq!(folder.skipped(&data), [("a/circle".to_owned(), true), ("b/nowhere.bmp".to_owned(), true)]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_no_text_is_refused_as_a_class_and_taken_as_a_photo() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let odd = OsStr::from_bytes(b"caf\xe9");
    let folder = Folder::with(&["a", "b"]);
    fs::write(folder.path("a").join(odd), bmp(9)).unwrap();
    assert_eq!(folder.open_one(None).unwrap().test.len(), 5);
    fs::create_dir(folder.0.path().join(odd)).unwrap();
    assert!(matches!(folder.open(), Err(DataError::NameNotUnicode { .. })), "{}", folder.refused());
}

#[test]
fn a_class_without_a_readable_photo_is_refused() {
    let folder = Folder::with(&["a", "b"]);
    folder.write("c/broken.jpg", b"\xff\xd8\xff");
    folder.write("c/empty.jpg", b"");
    let error = folder.refused();
    assert!(error.contains("class `c`") && error.contains("broken.jpg") && error.contains("and others"), "{error}");
    let split = Folder::with(&["train/a", "train/b", "validation/a"]);
    fs::create_dir(split.path("validation/b")).unwrap();
    let error = split.refused();
    assert!(error.contains("class `b`") && error.contains("validation") && error.contains("empty"), "{error}");
    let hidden = Folder::with(&["a", "b"]);
    hidden.write("c/.x.bmp", &bmp(9));
    assert!(hidden.refused().contains(".x.bmp: hidden"), "{}", hidden.refused());
}

#[test]
fn what_cannot_be_learnt_from_is_refused() {
    assert!(matches!(Folder::new().open(), Err(DataError::NoClasses { .. })));
    let loose = Folder::new();
    loose.write("a.bmp", &bmp(1));
    assert!(matches!(loose.open(), Err(DataError::NoClasses { .. })));
    let one = Folder::with(&["a"]);
    assert!(matches!(one.open(), Err(DataError::OneClass { class }) if class == "a"));
    // A model can be judged by photos of one class.
    assert_eq!(one.open_one(None).unwrap().test.len(), 2);
    // Or of fewer than it has folders, but not by none.
    one.write("b/notes.txt", b"no photo");
    let judged = one.open_one(None).unwrap();
    assert_eq!((judged.classes.len(), judged.test.len(), judged.skipped.len()), (2, 2, 1));
    let none = Folder::new();
    none.write("b/notes.txt", b"no photo");
    assert!(matches!(none.open_one(None), Err(DataError::EmptyClass { .. })));
    let few = Folder::with(&["a", "b"]);
    few.write("c/1.bmp", &bmp(9));
    few.write("c/2.bmp", &bmp(9));
    assert!(matches!(few.open(), Err(DataError::TooFewToSplit { class }) if class == "c"));
    let missing = open(&few.path("nowhere"), &DataOptions::default()).unwrap_err();
    assert!(matches!(missing, DataError::Io { .. }), "{missing}");
}

#[test]
fn one_split_is_chosen_for_judging() {
    let folder = Folder::new();
    for (split, numbers) in [("train", 0..1), ("val", 10..12), ("test", 20..23)] {
        folder.photos(&format!("{split}/a"), numbers);
    }
    for (asked, found, photos) in [
        (None, Split::Test, 3),
        (Some(Split::Test), Split::Test, 3),
        (Some(Split::Validation), Split::Validation, 2),
        (Some(Split::Train), Split::Train, 1),
    ] {
        let data = folder.open_one(asked).unwrap();
        assert_eq!((data.train.len(), data.validation.len(), data.test.len()), (0, 0, photos));
        let outline = Outline::of(folder.0.path(), asked, &DataOptions::default()).unwrap();
        assert_eq!((outline.split, outline.classes), (Some(found), vec!["a".to_owned()]));
    }
    fs::remove_dir_all(folder.path("test")).unwrap();
    assert_eq!(folder.open_one(None).unwrap().test.len(), 2);
    assert!(matches!(folder.open_one(Some(Split::Test)), Err(DataError::NoSplit { split: Split::Test, .. })));
    // What was learnt from judges nothing unless it is asked for.
    fs::remove_dir_all(folder.path("val")).unwrap();
    assert!(matches!(folder.open_one(None), Err(DataError::NoSplit { split: Split::Test, .. })));
    let tree = Folder::with(&["a", "b"]);
    assert_eq!(Outline::of(tree.0.path(), None, &DataOptions::default()).unwrap().split, None);
    assert!(matches!(tree.open_one(Some(Split::Train)), Err(DataError::NoSplit { .. })));
}

/// Numbers of the photos of class `class` that are set aside, whatever they are called.
fn set_aside(data: &DataSet, class: &str) -> Vec<Vec<u8>> {
    let of_class = data.validation.iter().filter(|s| data.classes[s.class] == class);
    let mut photos: Vec<Vec<u8>> = of_class.map(|s| fs::read(&s.path).unwrap()).collect();
    photos.sort();
    photos
}

#[test]
fn one_tree_is_split_evenly_and_the_same_way_again() {
    let (folder, renamed) = (Folder::new(), Folder::new());
    for (class, numbers) in [("a", 0..50), ("b", 100..110), ("c", 200..202)] {
        folder.photos(class, numbers.clone());
        for n in numbers {
            renamed.write(&format!("{class}/deep/{}.bmp", 1000 - n), &bmp(n));
        }
    }
    let (data, again) = (folder.open().unwrap(), renamed.open().unwrap());
    assert_eq!(["a", "b", "c"].map(|class| set_aside(&data, class).len()), [10, 2, 1]);
    assert_eq!(data.train.len() + data.validation.len(), 62);
    assert!(data.train.iter().all(|s| !data.validation.contains(s)));
    for class in ["a", "b", "c"] {
        assert_eq!(set_aside(&data, class), set_aside(&again, class));
    }
    let options = DataOptions { threads: 3, ..DataOptions::default() };
    assert_eq!(open(folder.0.path(), &options).unwrap(), data);
}

#[test]
fn copies_of_a_photo_are_never_on_both_sides() {
    let folder = Folder::with(&["a", "b"]);
    (0..6).for_each(|n| folder.write(&format!("a/copy-{n}.bmp"), &bmp(50 + n / 3)));
    for validation_share in [0.1, 0.3, 0.5, 0.7] {
        let data = open(folder.0.path(), &DataOptions { validation_share, ..DataOptions::default() }).unwrap();
        assert_eq!(data.duplicates, [], "{validation_share}");
    }
}

#[test]
fn photos_in_two_splits_are_told() {
    let folder = Folder::with(&["train/a", "train/b", "validation/a", "validation/b", "test/a", "test/b"]);
    for copy in ["validation/b/copy.bmp", "test/a/copy.bmp", "train/a/twice.bmp"] {
        folder.write(copy, &bmp(0));
    }
    let data = folder.open().unwrap();
    let told = |(split, path): &(Split, PathBuf)| format!("{split} {}", folder.name(path));
    let pairs: Vec<[String; 2]> = data.duplicates.iter().map(|d| [told(&d.first), told(&d.second)]).collect();
    let first = "train train/a/0.bmp";
    let expected =
        [[first, "validation validation/b/copy.bmp"], [first, "test test/a/copy.bmp"]].map(|p| p.map(str::to_owned));
    assert_eq!(pairs, expected);
}

#[test]
fn the_fingerprint_is_of_all_that_counts_and_of_nothing_else() {
    let folder = Folder::with(&["a", "b"]);
    let original = fingerprint(&folder);
    assert_eq!(original.len(), 64);
    assert!(original.bytes().all(|b| b.is_ascii_hexdigit()));

    let elsewhere = Folder::with(&["a", "b"]);
    elsewhere.write("a/broken.jpg", b"");
    elsewhere.write("notes.txt", b"notes");
    assert_eq!(fingerprint(&elsewhere), original, "neither the folder's place nor what is skipped counts");

    let changed = |change: &dyn Fn(&Folder)| {
        let folder = Folder::with(&["a", "b"]);
        change(&folder);
        fingerprint(&folder)
    };
    let all = [
        original,
        changed(&|f| f.write("a/0.bmp", &bmp(77))),
        changed(&|f| fs::rename(f.path("a/0.bmp"), f.path("a/new.bmp")).unwrap()),
        changed(&|f| fs::rename(f.path("a/0.bmp"), f.path("b/0.bmp")).unwrap()),
        changed(&|f| fs::rename(f.path("b"), f.path("c")).unwrap()),
        changed(&|f| fs::remove_file(f.path("b/2.bmp")).unwrap()),
        changed(&|f| f.write("b/more.bmp", &bmp(2))),
    ];
    for (i, one) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|other| other != one), "change {i}");
    }
}

#[test]
fn the_fingerprint_tells_splits_apart_and_unicode_forms_not() {
    let splits = |train: std::ops::Range<usize>, validation| {
        let folder = Folder::new();
        folder.photos("train/a", train);
        folder.photos("val/a", validation);
        folder.photos("train/b", 50..51);
        folder.photos("val/b", 60..61);
        folder.open().unwrap().fingerprint
    };
    assert_ne!(splits(0..2, 2..3), splits(0..1, 1..3));
    let named = |accented: &str| fingerprint(&Folder::with(&["a", accented]));
    assert_eq!(named(COMPOSED), named(DECOMPOSED));
}
