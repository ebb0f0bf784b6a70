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
    /// Folders of folders that seem to be splits, by names that splits do not have.
    #[error(
        "{}: {} and {} seem to be splits, not classes; name them train, validation and test, or give one of them alone",
        path.display(), names[0], names[1]
    )]
    SplitsByOtherNames {
        /// The folder.
        path: PathBuf,
        /// Names of two of them.
        names: [String; 2],
    },
    /// Parquet files of several configurations.
    #[error("{}: several folders here have Parquet files: {}; give one of them", path.display(), first_names(names))]
    Configurations {
        /// The folder.
        path: PathBuf,
        /// Names of the folders.
        names: Vec<String>,
    },
    /// Some splits are there and the one that is needed is not.
    #[error(
        "{}: there is no `{split}` split here: no folder of that name, with a folder for every class in it, and no Parquet \
         file whose name begins with it{}",
        path.display(), beside(others)
    )]
    NoSplit {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        split: Split,
        /// Names of folders or files that are there and belong to no split.
        others: Vec<String>,
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
    #[error("class `{class}` has no readable photo in {}{}", folder.display(), first_reason(.skipped, *.is_packed))]
    EmptyClass {
        /// The class.
        class: String,
        /// Where: the folder of the class folders.
        folder: PathBuf,
        /// Why its files cannot be used; of Parquet files why any of their rows cannot.
        skipped: Vec<String>,
        /// Whether the photos are in Parquet files.
        is_packed: bool,
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

/// Names that are told; more are left out.
const TOLD: usize = 5;

fn first_names(names: &[String]) -> String {
    let told: Vec<&str> = names.iter().take(TOLD).map(String::as_str).collect();
    told.join(", ") + if names.len() > TOLD { " and others" } else { "" }
}

fn beside(others: &[String]) -> String {
    if others.is_empty() { String::new() } else { format!("; of no split are {}", first_names(others)) }
}

fn first_reason(skipped: &[String], is_packed: bool) -> String {
    match skipped {
        [] if is_packed => "; no row has it".into(),
        [] => "; its folder is empty".into(),
        [first, rest @ ..] => format!("; {first}{}", if rest.is_empty() { "" } else { ", and others" }),
    }
}
