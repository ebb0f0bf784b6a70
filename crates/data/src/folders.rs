//! Finding splits, classes and files in a folder, without opening a file.
//!
//! `DATA/train`, `DATA/validation` (or `val`, `valid`) and `DATA/test` are splits, each with a folder for every class; anything
//! else is one tree of class folders. Below a class folder all files count, at any depth.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::classes::class_of;
use crate::dataset::Skipped;
use crate::error::DataError;

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// What is learnt from.
    Train,
    /// What decides between recipes and epochs.
    Validation,
    /// What is looked at once, at the end.
    Test,
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// Names of its folder.
    fn folders(self) -> &'static [&'static str] {
        match self {
            Self::Train => &["train"],
            Self::Validation => &["validation", "val", "valid"],
            Self::Test => &["test"],
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.folders()[0])
    }
}

/// The class folders below one folder, and all files below each.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Files of every class.
    pub classes: BTreeMap<String, Vec<PathBuf>>,
    /// What lies beside the class folders, or cannot be looked into.
    pub skipped: Vec<Skipped>,
}

/// The folder of every split that is there; none if the folder is one tree.
pub(crate) fn splits(root: &Path) -> Result<Vec<(Split, PathBuf)>, DataError> {
    // Whether the folder can be read at all.
    std::fs::read_dir(root).map_err(|source| DataError::Io { path: root.into(), source })?;
    let mut found = Vec::new();
    for split in Split::ALL {
        let mut folders = split.folders().iter().map(|name| root.join(name)).filter(|p| p.is_dir());
        if let Some(first) = folders.next() {
            if let Some(second) = folders.next() {
                return Err(DataError::TwoSplits { first, second });
            }
            found.push((split, first));
        }
    }
    Ok(found)
}

/// The class folders below `folder`.
pub(crate) fn tree(folder: &Path) -> Result<Tree, DataError> {
    let mut tree = Tree { classes: BTreeMap::new(), skipped: Vec::new() };
    let mut folders: BTreeMap<String, PathBuf> = BTreeMap::new();
    let entries = std::fs::read_dir(folder).map_err(|source| DataError::Io { path: folder.into(), source })?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|source| DataError::Io { path: folder.into(), source })?.path());
    }
    paths.sort();
    for path in paths {
        if is_hidden(&path) {
            tree.skip(path, "hidden");
        } else if !path.is_dir() {
            tree.skip(path, "not in a class folder");
        } else {
            let class = class_of(&path)?;
            if let Some(first) = folders.insert(class.clone(), path.clone()) {
                return Err(DataError::SameName { first, second: path });
            }
            let files = tree.files(&path);
            tree.classes.insert(class, files);
        }
    }
    if tree.classes.is_empty() { Err(DataError::NoClasses { path: folder.into() }) } else { Ok(tree) }
}

impl Tree {
    fn skip(&mut self, path: PathBuf, why: impl Into<String>) {
        self.skipped.push(Skipped { path, why: why.into() });
    }

    /// All files below a class folder, in the order of their names.
    fn files(&mut self, folder: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        // Links are followed: people collect photos by linking them. A circle of links is an error of the walk, and told.
        for entry in WalkDir::new(folder).min_depth(1).follow_links(true).sort_by_file_name() {
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(entry) if is_hidden(entry.path()) => self.skip(entry.into_path(), "hidden"),
                Ok(entry) => files.push(entry.into_path()),
                Err(e) => {
                    let path = e.path().unwrap_or(folder).to_owned();
                    self.skip(path, format!("cannot be looked into: {e}"));
                }
            }
        }
        files
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}
