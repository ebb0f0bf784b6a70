//! A data set: classes, and the usable photos of every split.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cspnet_vision::DecodeOptions;
use sha2::{Digest, Sha256};

use crate::check::{ContentHash, check};
use crate::classes::{class_name, same_classes};
use crate::duplicates::{Duplicate, across_splits};
use crate::error::DataError;
use crate::places::{Place, one, splits};
use crate::sample::{Sample, Skipped};
use crate::set_aside::set_aside;
use crate::split::Split;

/// How a data set is read.
#[derive(Clone, Debug)]
pub struct DataOptions {
    /// Share of every class that is set aside for validation where the folder is one tree.
    pub validation_share: f64,
    /// Threads that read files.
    pub threads: usize,
    /// Bytes of encoded photos of Parquet files that may be held in memory.
    pub max_packed: u64,
    /// Limits on photos, and the colour behind transparent ones.
    pub decode: DecodeOptions,
}

impl Default for DataOptions {
    /// A fifth for validation, one thread, 4 GiB of packed photos, the limits of `vision`.
    fn default() -> Self {
        Self { validation_share: 0.2, threads: 1, max_packed: 4 << 30, decode: DecodeOptions::default() }
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
    /// Hash of all that counts: splits, classes, names of files below their split, and their bytes, as 64 hexadecimal digits.
    pub fingerprint: String,
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
    /// Reads a folder of class folders, or of `train`, `validation` (`val`, `valid`) and perhaps `test` with class folders in
    /// each, for training. Every photo is read and decoded once; `looked_at` is told how many were and how many there are.
    ///
    /// Or reads Parquet files, one or all of a folder, whose names begin with their split's (`train-00000-of-00002.parquet`); where
    /// none is for validation, photos are set aside as from one tree.
    ///
    /// # Errors
    /// If there are no classes or only one, if two splits have not the same classes, or if a class has no readable photo in a
    /// split. Files that cannot be used are no error; they are in [`DataSet::skipped`].
    pub fn open(
        root: &Path,
        options: &DataOptions,
        looked_at: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, DataError> {
        let splits = to_learn_from(root)?;
        let is_undivided = splits.iter().all(|(split, _)| *split != Split::Validation);
        let mut read = Read::of(&splits, options, looked_at)?;
        splits.iter().try_for_each(|(split, place)| read.check_classes(*split, place.root()))?;
        if let [class] = &read.classes[..] {
            return Err(DataError::OneClass { class: class.clone() });
        }
        if is_undivided {
            read.set_aside(options)?;
        }
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
        let splits = [(Split::Test, place)];
        let read = Read::of(&splits, options, looked_at)?;
        if read.usable.is_empty() {
            read.check_classes(Split::Test, splits[0].1.root())?;
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
}

impl Read {
    fn of(
        splits: &[(Split, Place)],
        options: &DataOptions,
        looked_at: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, DataError> {
        let mut room = options.max_packed;
        let trees = splits.iter().map(|(_, place)| place.tree(&mut room)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<BTreeSet<String>> = trees.iter().map(|t| t.classes.iter().cloned().collect()).collect();
        for (i, names_of_split) in names.iter().enumerate().skip(1) {
            same_classes((splits[0].0, &names[0]), (splits[i].0, names_of_split))?;
        }
        let photos: Vec<Sample> = trees.iter().flat_map(|t| &t.photos).cloned().collect();
        let count = photos.len();
        let mut hashes =
            check(photos, &options.decode, options.threads, &mut |done| looked_at(done, count)).into_iter();

        let mut read = Self { classes: trees[0].classes.clone(), usable: Vec::new(), skipped: Vec::new() };
        for ((split, place), tree) in splits.iter().zip(trees) {
            read.skipped.extend(tree.skipped);
            // Classes are matched by name: another split may number them otherwise.
            let numbers: BTreeMap<&String, usize> = read.classes.iter().zip(0..).collect();
            let numbers: Vec<usize> = tree.classes.iter().map(|name| numbers[name]).collect();
            for mut photo in tree.photos {
                photo.class = numbers[photo.class];
                match hashes.next().expect("every photo was looked at") {
                    Ok(hash) => {
                        let name = photo.path.strip_prefix(place.root()).unwrap_or(&photo.path).to_owned();
                        read.usable.push(Usable { split: *split, photo, name, hash });
                    }
                    Err(why) => read.skipped.push(Skipped { path: photo.path, why, unreadable: true }),
                }
            }
        }
        read.skipped.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(read)
    }

    /// Checks that every class has a photo in a split.
    fn check_classes(&self, split: Split, folder: &Path) -> Result<(), DataError> {
        let mut has_photo = vec![false; self.classes.len()];
        self.usable.iter().filter(|u| u.split == split).for_each(|u| has_photo[u.photo.class] = true);
        let Some(empty) = has_photo.iter().position(|has| !has) else { return Ok(()) };
        let class = &self.classes[empty];
        let of_class = |s: &&Skipped| {
            let name = s.path.strip_prefix(folder).ok().and_then(|p| p.iter().next()?.to_str());
            name.is_some_and(|n| class_name(n) == *class)
        };
        let skipped = self.skipped.iter().filter(of_class).map(|s| format!("{}: {}", s.path.display(), s.why));
        Err(DataError::EmptyClass { class: class.clone(), folder: folder.into(), skipped: skipped.collect() })
    }

    /// Moves a share of every class from train to validation.
    fn set_aside(&mut self, options: &DataOptions) -> Result<(), DataError> {
        for class in 0..self.classes.len() {
            let is_meant = |u: &&mut Usable| u.split == Split::Train && u.photo.class == class;
            let mut of_class: Vec<&mut Usable> = self.usable.iter_mut().filter(is_meant).collect();
            let hashes: Vec<ContentHash> = of_class.iter().map(|u| u.hash).collect();
            let aside = set_aside(&hashes, options.validation_share)
                .ok_or_else(|| DataError::TooFewToSplit { class: self.classes[class].clone() })?;
            for (usable, aside) in of_class.iter_mut().zip(aside) {
                usable.split = if aside { Split::Validation } else { Split::Train };
            }
        }
        Ok(())
    }

    fn finish(self) -> DataSet {
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
            fingerprint,
        }
    }
}

/// Where to learn from: the splits that are there, or everything for training.
fn to_learn_from(root: &Path) -> Result<Vec<(Split, Place)>, DataError> {
    let splits = splits(root)?;
    if splits.is_empty() {
        return Ok(vec![(Split::Train, Place::whole(root)?)]);
    }
    // A data set in files need not be divided any further by whoever has it.
    let all = [Split::Train, Split::Validation];
    let needed = if splits.iter().any(|(_, place)| place.is_packed()) { &all[..1] } else { &all };
    match needed.iter().find(|needed| splits.iter().all(|(split, _)| split != *needed)) {
        Some(&split) => Err(DataError::NoSplit { path: root.into(), split }),
        None => Ok(splits),
    }
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
