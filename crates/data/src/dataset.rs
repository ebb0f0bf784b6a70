//! A data set: classes, and the usable photos of every split.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cspnet_vision::DecodeOptions;
use sha2::{Digest, Sha256};

use crate::check::{ContentHash, check};
use crate::classes::{class_name, same_classes};
use crate::duplicates::{Duplicate, across_splits};
use crate::error::DataError;
use crate::folders::Tree;
use crate::places::{Place, Splits, one};
use crate::sample::{Sample, Skipped};
use crate::set_aside::set_aside;
use crate::split::Split;

/// How a data set is read.
#[derive(Clone, Debug)]
pub struct DataOptions {
    /// Share of every class that is set aside for validation where there are no photos for that.
    pub validation_share: f64,
    /// Threads that read files.
    pub threads: usize,
    /// Bytes of encoded photos of Parquet files that may be held in memory.
    pub max_packed: u64,
    /// The column of Parquet files that has the classes; by default it is found by its type and name.
    pub label_column: Option<String>,
    /// Limits on photos, and the colour behind transparent ones.
    pub decode: DecodeOptions,
}

impl Default for DataOptions {
    /// A fifth for validation, one thread, 4 GiB of packed photos, the limits of `vision`.
    fn default() -> Self {
        Self {
            validation_share: 0.2,
            threads: 1,
            max_packed: 4 << 30,
            label_column: None,
            decode: DecodeOptions::default(),
        }
    }
}

/// Classes and usable photos of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSet {
    /// Names of the classes in their order.
    pub classes: Vec<String>,
    /// Photos to learn from.
    pub train: Vec<Sample>,
    /// Photos to decide by.
    pub validation: Vec<Sample>,
    /// Photos to judge by; empty if the folder has none.
    pub test: Vec<Sample>,
    /// Files that are not used, in the order of their names.
    pub skipped: Vec<Skipped>,
    /// Files that are in two splits.
    pub duplicates: Vec<Duplicate>,
    /// What was chosen that might have been chosen otherwise, for people.
    pub notes: Vec<String>,
    /// Hash of all that counts: splits, classes, names of files below their split, and their bytes, as 64 hexadecimal digits.
    pub fingerprint: String,
}

/// A split that is read.
struct Part {
    split: Split,
    place: Place,
    tree: Tree,
}

/// A photo that decodes.
struct Usable {
    split: Split,
    photo: Sample,
    /// Its name below the split's folder.
    name: PathBuf,
    hash: ContentHash,
}

impl DataSet {
    /// Reads a folder of class folders, or of `train`, `validation` and `test` with class folders in each, for training. Every photo is
    /// read and decoded once; `looked_at` is told how many were and how many there are.
    ///
    /// Or reads Parquet files, one or all of a folder, whose names begin with their split's (`train-00000-of-00002.parquet`), or which
    /// lie in folders of these names. Where nothing is for validation, photos of every class are set aside. A test split that cannot be
    /// used, as one whose classes nobody has told, is left out.
    ///
    /// # Errors
    /// If there are no classes or only one, if the splits to learn from and to decide by have not the same classes, or if a class has no
    /// readable photo in them; of Parquet files only training must have all. Files that cannot be used are no error; they are in
    /// [`DataSet::skipped`], as is a test split that is left out.
    pub fn open(
        root: &Path,
        options: &DataOptions,
        looked_at: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, DataError> {
        let mut left_out = Vec::new();
        let splits = to_learn_from(root, &mut left_out)?;
        let is_undivided = splits.iter().all(|(split, _)| *split != Split::Validation);
        let parts = trees(splits, options, &mut left_out)?;
        let places: Vec<(Split, Place)> = parts.iter().map(|part| (part.split, part.place.clone())).collect();
        let mut read = Read::of(parts, options, looked_at);
        for (split, place) in &places {
            match read.check_classes(*split, place) {
                Err(e) if *split == Split::Test => {
                    read.usable.retain(|u| u.split != Split::Test);
                    left_out.push(without_test(place, &e));
                }
                checked => checked?,
            }
        }
        if let [class] = &read.classes[..] {
            return Err(DataError::OneClass { class: class.clone() });
        }
        if is_undivided {
            read.set_aside(options)?;
        }
        read.skipped.extend(left_out);
        Ok(read.finish())
    }

    /// Reads one folder of class folders, or one split of a data set, for judging a model: all photos are in
    /// [`DataSet::test`], of some classes perhaps none. Without a `split`, `test` is read, or else `validation`, if the folder has splits.
    ///
    /// # Errors
    /// If the folder has no such split, no classes, or no readable photo.
    pub fn open_one(
        root: &Path,
        split: Option<Split>,
        options: &DataOptions,
        looked_at: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, DataError> {
        let (_, place) = one(root, split)?;
        let tree = place.tree(options.label_column.as_deref(), &mut { options.max_packed })?;
        let read = Read::of(vec![Part { split: Split::Test, place: place.clone(), tree }], options, looked_at);
        if read.usable.is_empty() {
            return Err(read.empty_class(0, &place));
        }
        Ok(read.finish())
    }

    /// The photos of a split.
    pub fn samples(&self, split: Split) -> &[Sample] {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }
}

/// A folder whose files have been read.
struct Read {
    classes: Vec<String>,
    usable: Vec<Usable>,
    skipped: Vec<Skipped>,
    notes: Vec<String>,
}

impl Read {
    /// Reads all photos of some splits, of which the first has all classes.
    fn of(parts: Vec<Part>, options: &DataOptions, looked_at: &mut dyn FnMut(usize, usize)) -> Self {
        let photos: Vec<Sample> = parts.iter().flat_map(|part| &part.tree.photos).cloned().collect();
        let count = photos.len();
        let mut hashes =
            check(photos, &options.decode, options.threads, &mut |done| looked_at(done, count)).into_iter();

        let classes = parts[0].tree.classes.clone();
        let mut read = Self { classes, usable: Vec::new(), skipped: Vec::new(), notes: Vec::new() };
        for Part { split, place, tree } in parts {
            read.skipped.extend(tree.skipped);
            read.notes.extend(tree.notes.into_iter().filter(|note| !read.notes.contains(note)).collect::<Vec<_>>());
            // Classes are matched by name: another split may number them otherwise.
            let numbers: BTreeMap<&String, usize> = read.classes.iter().zip(0..).collect();
            let numbers: Vec<usize> = tree.classes.iter().map(|name| numbers[name]).collect();
            for mut photo in tree.photos {
                photo.class = numbers[photo.class];
                match hashes.next().expect("every photo was looked at") {
                    Ok(hash) => {
                        let name = photo.path.strip_prefix(place.root()).unwrap_or(&photo.path).to_owned();
                        read.usable.push(Usable { split, photo, name, hash });
                    }
                    Err(why) => read.skipped.push(Skipped { path: photo.path, why, unreadable: true }),
                }
            }
        }
        read
    }

    /// Checks that every class has a photo in a split; in Parquet files for anything but training any photo will do.
    fn check_classes(&self, split: Split, place: &Place) -> Result<(), DataError> {
        let mut has_photo = vec![false; self.classes.len()];
        self.usable.iter().filter(|u| u.split == split).for_each(|u| has_photo[u.photo.class] = true);
        if place.is_packed() && split != Split::Train && has_photo.contains(&true) {
            return Ok(());
        }
        has_photo.iter().position(|has| !has).map_or(Ok(()), |class| Err(self.empty_class(class, place)))
    }

    fn empty_class(&self, class: usize, place: &Place) -> DataError {
        empty_class(&self.classes[class], place, self.skipped.iter())
    }

    /// Moves a share of every class from train to validation.
    fn set_aside(&mut self, options: &DataOptions) -> Result<(), DataError> {
        let mut of_class: Vec<Vec<usize>> = vec![Vec::new(); self.classes.len()];
        for (i, usable) in self.usable.iter().enumerate().filter(|(_, u)| u.split == Split::Train) {
            of_class[usable.photo.class].push(i);
        }
        for (class, photos) in of_class.into_iter().enumerate() {
            let hashes: Vec<ContentHash> = photos.iter().map(|&i| self.usable[i].hash).collect();
            let aside = set_aside(&hashes, options.validation_share)
                .ok_or_else(|| DataError::TooFewToSplit { class: self.classes[class].clone() })?;
            for (i, _) in photos.into_iter().zip(aside).filter(|(_, aside)| *aside) {
                self.usable[i].split = Split::Validation;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> DataSet {
        self.skipped.sort_by(|a, b| a.path.cmp(&b.path));
        let fingerprint = fingerprint(&self.classes, &self.usable);
        let duplicates = across_splits(in_splits(&self.usable).map(|u| (u.split, &u.photo.path, u.hash)));
        let samples = |split| self.usable.iter().filter(|u| u.split == split).map(|u| u.photo.clone()).collect();
        DataSet {
            train: samples(Split::Train),
            validation: samples(Split::Validation),
            test: samples(Split::Test),
            classes: self.classes,
            skipped: self.skipped,
            duplicates,
            notes: self.notes,
            fingerprint,
        }
    }
}

/// Where to learn from: the splits that are there, or everything for training. What lies beside these splits is told.
fn to_learn_from(root: &Path, left_out: &mut Vec<Skipped>) -> Result<Vec<(Split, Place)>, DataError> {
    let splits = Splits::of(root)?;
    if splits.found.is_empty() {
        return Ok(vec![(Split::Train, Place::whole(root)?)]);
    }
    let train = splits.place(root, Split::Train)?;
    // A folder `train` alone among others may well be a class.
    if !train.is_packed() && splits.found.len() == 1 && !splits.others.is_empty() {
        splits.place(root, Split::Validation)?;
    }
    let beside = |path: &PathBuf| Skipped { path: path.clone(), why: BESIDE.into(), unreadable: false };
    left_out.extend(splits.others.iter().map(beside));
    Ok(splits.found)
}

/// Why something is not used that lies beside splits.
const BESIDE: &str = "its name is that of no split, and beside it are splits";

/// The classes and photos of splits, of which the first is for training. What is left out is told.
fn trees(
    splits: Vec<(Split, Place)>,
    options: &DataOptions,
    left_out: &mut Vec<Skipped>,
) -> Result<Vec<Part>, DataError> {
    let mut room = options.max_packed;
    let mut parts: Vec<Part> = Vec::new();
    for (split, place) in splits {
        let tree = place.tree(options.label_column.as_deref(), &mut room);
        match tree.and_then(|tree| fitting(tree, split, &place, parts.first())) {
            Ok(tree) => parts.push(Part { split, place, tree }),
            // Training goes on without it; it will be missed where a model is judged by it.
            Err(e) if split == Split::Test => left_out.push(without_test(&place, &e)),
            Err(e) => return Err(e),
        }
    }
    Ok(parts)
}

/// A tree, if it has photos and its classes are those of the first.
fn fitting(tree: Tree, split: Split, place: &Place, first: Option<&Part>) -> Result<Tree, DataError> {
    let names = |tree: &Tree| tree.classes.iter().cloned().collect::<BTreeSet<String>>();
    if let Some(first) = first {
        same_classes((first.split, &names(&first.tree)), (split, &names(&tree)), place.is_packed())?;
    }
    match tree.classes.first() {
        // As where the classes of all rows are to be found out; each row need not be told then.
        Some(class) if tree.photos.is_empty() => Err(empty_class(class, place, tree.skipped.iter())),
        _ => Ok(tree),
    }
}

/// Tells that a class has no photo, and why those of it that were skipped cannot be used.
fn empty_class<'a>(class: &str, place: &Place, skipped: impl Iterator<Item = &'a Skipped>) -> DataError {
    let (folder, is_packed) = (place.root(), place.is_packed());
    let is_meant = |s: &&Skipped| {
        let name = s.path.strip_prefix(folder).ok().and_then(|p| p.iter().next()?.to_str());
        // Which class a row has that cannot be used is not known.
        if is_packed { place.has(&s.path) } else { name.is_some_and(|n| class_name(n) == class) }
    };
    let mut skipped: Vec<&Skipped> = skipped.filter(is_meant).collect();
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    let skipped = skipped.iter().map(|s| format!("{}: {}", s.path.display(), s.why)).collect();
    DataError::EmptyClass { class: class.into(), folder: folder.into(), skipped, is_packed }
}

/// Tells that the test split cannot be used.
fn without_test(place: &Place, error: &DataError) -> Skipped {
    let why = format!("the test split is left out: {error}");
    Skipped { path: place.path().into(), why, unreadable: false }
}

/// All usable photos, split after split.
fn in_splits(usable: &[Usable]) -> impl Iterator<Item = &Usable> {
    Split::ALL.into_iter().flat_map(move |split| usable.iter().filter(move |u| u.split == split))
}

fn fingerprint(classes: &[String], usable: &[Usable]) -> String {
    let mut hash = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for u in in_splits(usable) {
        field(u.split.to_string().as_bytes());
        field(classes[u.photo.class].as_bytes());
        field(class_name(&u.name.to_string_lossy()).as_bytes());
        field(&u.hash);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
