//! Finding splits, classes and files in a folder, without opening a file.
//!
//! `DATA/train`, `DATA/validation` and `DATA/test`, or what else splits are called ([`Split`]), have a folder for every class; anything
//! else is one tree of class folders. Below a class folder all files count, at any depth.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::classes::class_of;
use crate::error::DataError;
use crate::sample::{Sample, Skipped};
use crate::split::Split;

/// The classes of one split, and their photos.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Names of the classes, in their order.
    pub classes: Vec<String>,
    /// The photos, one class after the other where they are in folders.
    pub photos: Vec<Sample>,
    /// What lies beside the class folders, or cannot be looked into.
    pub skipped: Vec<Skipped>,
    /// What was chosen that might have been chosen otherwise, for people.
    pub notes: Vec<String>,
}

/// Folders of splits, none if all is one tree, and what lies beside them.
#[derive(Default)]
pub(crate) struct SplitFolders {
    pub found: Vec<(Split, PathBuf)>,
    pub others: Vec<PathBuf>,
}

/// The folder of every split that is there.
pub(crate) fn split_folders(root: &Path) -> Result<SplitFolders, DataError> {
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for folder in folders(root)? {
        match name_of(&folder).and_then(Split::named) {
            Some(split) => found.push((split, folder)),
            None => others.push(folder),
        }
    }
    if are_classes(&found, &others)? {
        return Ok(SplitFolders::default());
    }
    if found.is_empty() {
        refuse_hidden_splits(root, &others)?;
        return Ok(SplitFolders::default());
    }
    found.sort();
    match found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some([(_, first), (_, second)]) => Err(DataError::TwoSplits { first: first.clone(), second: second.clone() }),
        _ => Ok(SplitFolders { found, others }),
    }
}

/// Whether folders named like splits are classes. A class may be called `train` (CIFAR-100 has it): then photos lie in the folder
/// itself, and other classes beside it.
fn are_classes(found: &[(Split, PathBuf)], others: &[PathBuf]) -> Result<bool, DataError> {
    for (_, folder) in found {
        if !folders(folder)?.is_empty() {
            return Ok(false);
        }
    }
    Ok(!found.is_empty() && !others.is_empty())
}

/// Refuses folders of folders like `seg_train` and `seg_test`: learnt as classes they would be told apart by nothing.
fn refuse_hidden_splits(root: &Path, all: &[PathBuf]) -> Result<(), DataError> {
    let mut hinted = Vec::new();
    for folder in all {
        let split = name_of(folder).and_then(Split::hinted_at);
        if let Some(split) = split.filter(|_| folders(folder).is_ok_and(|inside| !inside.is_empty())) {
            hinted.push((split, folder));
        }
    }
    let is_train = |(split, _): &&(Split, &PathBuf)| *split == Split::Train;
    match (hinted.iter().find(is_train), hinted.iter().find(|other| !is_train(other))) {
        (Some((_, train)), Some((_, other))) => Err(DataError::SplitsByOtherNames {
            path: root.into(),
            names: [train, other].map(|folder| name_of(folder).unwrap_or_default().to_owned()),
        }),
        _ => Ok(()),
    }
}

/// A folder's or a file's name, if it is text.
pub(crate) fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// The folders in a folder that are in sight.
pub(crate) fn folders(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir() && !is_hidden(path)).collect())
}

/// All that is in a folder, in the order of the names.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let refused = |source| DataError::Io { path: folder.into(), source };
    let entries = std::fs::read_dir(folder).map_err(refused)?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>().map_err(refused)?;
    paths.sort();
    Ok(paths)
}

/// The class folders below `folder`, and all files below each.
pub(crate) fn tree(folder: &Path) -> Result<Tree, DataError> {
    let mut tree = Tree::default();
    let mut folders: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in entries(folder)? {
        if is_hidden(&path) {
            tree.skip(path, "hidden", false);
        } else if !path.is_dir() {
            tree.skip(path, "not in a class folder", false);
        } else {
            let class = class_of(&path)?;
            if let Some(first) = folders.insert(class, path.clone()) {
                return Err(DataError::SameName { first, second: path });
            }
        }
    }
    if folders.is_empty() {
        return Err(DataError::NoClasses { path: folder.into() });
    }
    for (class, (name, path)) in folders.into_iter().enumerate() {
        let files = tree.files(&path);
        tree.classes.push(name);
        tree.photos.extend(files.into_iter().map(|file| Sample::file(file, class)));
    }
    Ok(tree)
}

impl Tree {
    fn skip(&mut self, path: PathBuf, why: impl Into<String>, unreadable: bool) {
        self.skipped.push(Skipped { path, why: why.into(), unreadable });
    }

    /// All files below a class folder, in the order of their names.
    fn files(&mut self, folder: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        // Links are followed: people collect photos by linking them. A circle of links is an error of the walk, and told.
        let mut walk = WalkDir::new(folder).min_depth(1).follow_links(true).sort_by_file_name().into_iter();
        while let Some(entry) = walk.next() {
            match entry {
                Ok(entry) if is_hidden(entry.path()) => {
                    if entry.file_type().is_dir() {
                        walk.skip_current_dir();
                    }
                    self.skip(entry.into_path(), "hidden", false);
                }
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(entry) => files.push(entry.into_path()),
                Err(e) => {
                    let path = e.path().unwrap_or(folder).to_owned();
                    self.skip(path, format!("cannot be looked into: {e}"), true);
                }
            }
        }
        files
    }
}

pub(crate) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}
