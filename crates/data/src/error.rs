//! Why a folder is no data set.

use std::path::PathBuf;

use crate::split::Split;

/// Why a folder is no data set.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refused.
    #[error("{}: cannot be read: {source}; check that the folder exists and that you may read it", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A Parquet file that is none of photos.
    #[error("{}: cannot be read as a Parquet file of photos: {why}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// Nothing that looks like classes.
    #[error(
        "{}: no class folders here; put each class's photos into a folder of the class's name, in DATA itself or in \
         DATA/train and DATA/validation",
        path.display()
    )]
    NoClasses {
        /// The folder.
        path: PathBuf,
    },
    /// Two folders for one split.
    #[error("{} and {} are the same split; keep one of them", first.display(), second.display())]
    TwoSplits {
        /// One folder.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Some splits are there and the one that is needed is not.
    #[error("{}: there is no `{split}` folder here, with a folder for every class in it", path.display())]
    NoSplit {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        split: Split,
    },
    /// Two folders whose names look the same.
    #[error(
        "{} and {} have the same name in two Unicode forms, so they would be one class; put their photos into one folder",
        first.display(),
        second.display()
    )]
    SameName {
        /// One folder.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A folder whose name is no text.
    #[error("{}: the folder's name is no valid Unicode, so it cannot name a class; rename it", path.display())]
    NameNotUnicode {
        /// The folder.
        path: PathBuf,
    },
    /// A class that one split has and the other has not.
    #[error(
        "class `{class}` is in {has} but not in {lacks}; classes are matched by name, so rename the folder or add photos of it"
    )]
    ClassMismatch {
        /// The class.
        class: String,
        /// The split that has it.
        has: Split,
        /// The split that lacks it.
        lacks: Split,
    },
    /// A class of which no photo can be read.
    #[error("class `{class}` has no readable photo in {}{}", folder.display(), first_reason(.skipped))]
    EmptyClass {
        /// The class.
        class: String,
        /// Where: the folder of the class folders.
        folder: PathBuf,
        /// Why its files cannot be used.
        skipped: Vec<String>,
    },
    /// Nothing to tell apart.
    #[error("there is one class only, `{class}`; there is nothing to tell apart")]
    OneClass {
        /// The class.
        class: String,
    },
    /// Too few photos to split.
    #[error(
        "class `{class}` has one distinct photo only, so it cannot be in both train and validation; add photos, or make the \
         two folders yourself"
    )]
    TooFewToSplit {
        /// The class.
        class: String,
    },
}

fn first_reason(skipped: &[String]) -> String {
    match skipped {
        [] => "; its folder is empty".into(),
        [first, rest @ ..] => format!("; {first}{}", if rest.is_empty() { "" } else { ", and others" }),
    }
}
