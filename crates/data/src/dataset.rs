//! A data set: classes, and the usable photos of every split.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cspnet_vision::DecodeOptions;
use sha2::{Digest, Sha256};

use crate::check::{ContentHash, check};
use crate::classes::{class_name, same_classes};
use crate::duplicates::{Duplicate, across_splits};
use crate::error::DataError;
use crate::folders::{Split, one, splits, tree};
use crate::split::set_aside;

/// A photo and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its file.
    pub path: PathBuf,
    /// Its class, a place in [`DataSet::classes`].
    pub class: usize,
}

/// A file that is not used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub path: PathBuf,
    /// Why it is not used.
    pub why: String,
    /// Whether it lies in a class folder, in sight, and cannot be read as a photo: what somebody should look at. Otherwise it is
    /// hidden or beside the class folders, and was probably never meant to be used.
    pub unreadable: bool,
}

/// How a data set is read.
#[derive(Clone, Debug)]
pub struct DataOptions {
    /// Share of every class that is set aside for validation where the folder is one tree.
    pub validation_share: f64,
    /// Seed of that choice.
    pub seed: u64,
    /// Threads that read files.
    pub threads: usize,
    /// Limits on photos, and the colour behind transparent ones.
    pub decode: DecodeOptions,
}

impl Default for DataOptions {
    /// A fifth for validation, seed 0, one thread, the limits of `vision`.
    fn default() -> Self {
        Self { validation_share: 0.2, seed: 0, threads: 1, decode: DecodeOptions::default() }
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

/// A file that decodes.
struct Usable {
    split: Split,
    class: usize,
    /// Its name below the split's folder.
    name: PathBuf,
    path: PathBuf,
    hash: ContentHash,
}

impl DataSet {
    /// Reads a folder of class folders, or of `train`, `validation` (`val`, `valid`) and perhaps `test` with class folders in
    /// each, for training. Every file is read and decoded once; `looked_at` is told how many were and how many there are.
    ///
    /// # Errors
    /// If there are no classes or only one, if two splits have not the same classes, or if a class has no readable photo in a
    /// split. Files that cannot be used are no error; they are in [`DataSet::skipped`].
    pub fn open(
        root: &Path,
        options: &DataOptions,
        looked_at: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, DataError> {
        let mut splits = splits(root)?;
        let is_one_tree = splits.is_empty();
        if is_one_tree {
            splits.push((Split::Train, root.to_owned()));
        }
        for needed in [Split::Train, Split::Validation] {
            if !is_one_tree && splits.iter().all(|(split, _)| *split != needed) {
                return Err(DataError::NoSplit { path: root.into(), split: needed });
            }
        }
        let mut read = Read::of(&splits, options, looked_at)?;
        if let [class] = &read.classes[..] {
            return Err(DataError::OneClass { class: class.clone() });
        }
        if is_one_tree {
            read.set_aside(options)?;
        }
        Ok(read.finish())
    }

    /// Reads one folder of class folders, or one split of a data set, for judging a model: all photos are in
    /// [`DataSet::test`]. Without a `split`, `test` is read, or else `validation`, if the folder has splits.
    ///
    /// # Errors
    /// If the folder has no such split, no classes, or a class without a readable photo.
    pub fn open_one(
        root: &Path,
        split: Option<Split>,
        options: &DataOptions,
        looked_at: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, DataError> {
        let (_, folder) = one(root, split)?;
        Ok(Read::of(&[(Split::Test, folder)], options, looked_at)?.finish())
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
        splits: &[(Split, PathBuf)],
        options: &DataOptions,
        looked_at: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, DataError> {
        let trees = splits.iter().map(|(_, folder)| tree(folder)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<BTreeSet<String>> = trees.iter().map(|t| t.classes.keys().cloned().collect()).collect();
        for (i, names_of_split) in names.iter().enumerate().skip(1) {
            same_classes((splits[0].0, &names[0]), (splits[i].0, names_of_split))?;
        }
        let files: Vec<PathBuf> = trees.iter().flat_map(|t| t.classes.values().flatten().cloned()).collect();
        let count = files.len();
        let mut hashes = check(files, &options.decode, options.threads, &mut |done| looked_at(done, count)).into_iter();

        let mut read = Self { classes: names[0].iter().cloned().collect(), usable: Vec::new(), skipped: Vec::new() };
        for ((split, folder), tree) in splits.iter().zip(trees) {
            read.skipped.extend(tree.skipped);
            for (class, files) in tree.classes.into_values().enumerate() {
                for path in files {
                    match hashes.next().expect("every file was looked at") {
                        Ok(hash) => {
                            let name = path.strip_prefix(folder).unwrap_or(&path).to_owned();
                            read.usable.push(Usable { split: *split, class, name, path, hash });
                        }
                        Err(why) => read.skipped.push(Skipped { path, why, unreadable: true }),
                    }
                }
                read.check_class(*split, class, folder)?;
            }
        }
        read.skipped.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(read)
    }

    /// Checks that a class has a photo in a split that has just been read.
    fn check_class(&self, split: Split, class: usize, folder: &Path) -> Result<(), DataError> {
        if self.usable.last().is_some_and(|u| u.split == split && u.class == class) {
            return Ok(());
        }
        let class = &self.classes[class];
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
            let mut of_class: Vec<&mut Usable> = self.usable.iter_mut().filter(|u| u.class == class).collect();
            let hashes: Vec<ContentHash> = of_class.iter().map(|u| u.hash).collect();
            let aside = set_aside(&hashes, options.validation_share, options.seed)
                .ok_or_else(|| DataError::TooFewToSplit { class: self.classes[class].clone() })?;
            for (usable, aside) in of_class.iter_mut().zip(aside) {
                usable.split = if aside { Split::Validation } else { Split::Train };
            }
        }
        Ok(())
    }

    fn finish(self) -> DataSet {
        let fingerprint = fingerprint(&self.classes, &self.usable);
        let duplicates = across_splits(in_splits(&self.usable).map(|u| (u.split, &u.path, u.hash)));
        let samples = |split| {
            let of_split = self.usable.iter().filter(|u| u.split == split);
            of_split.map(|u| Sample { path: u.path.clone(), class: u.class }).collect()
        };
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

/// All usable files, split after split.
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
        field(classes[u.class].as_bytes());
        field(class_name(&u.name.to_string_lossy()).as_bytes());
        field(&u.hash);
    }
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
