//! Where the photos of a data set are: in folders, or in Parquet files.
//!
//! A file belongs to the split that its name begins with, as Hugging Face names them: `train-00000-of-00002.parquet`,
//! `test.parquet`. Files are looked for in DATA itself and in DATA/data.

use std::path::{Path, PathBuf};

use crate::error::DataError;
use crate::folders::{Tree, entries, is_hidden, split_folders, tree};
use crate::parquet::Shard;
use crate::sample::{Sample, Skipped};
use crate::split::Split;

/// Where the photos of a split are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a folder of class folders.
    Folder(PathBuf),
    /// In Parquet files below a folder, or in one that is the whole data set.
    Files { root: PathBuf, files: Vec<PathBuf> },
}

impl Place {
    /// A data set that has no splits.
    pub(crate) fn whole(root: &Path) -> Result<Self, DataError> {
        let files = if root.is_file() { vec![root.to_owned()] } else { parquet_files(root)? };
        let root = root.to_owned();
        Ok(if files.is_empty() { Self::Folder(root) } else { Self::Files { root, files } })
    }

    /// Whether the photos are in Parquet files.
    pub(crate) fn is_packed(&self) -> bool {
        matches!(self, Self::Files { .. })
    }

    /// The folder, or the file, below which the photos are.
    pub(crate) fn root(&self) -> &Path {
        match self {
            Self::Folder(root) | Self::Files { root, .. } => root,
        }
    }

    /// Names of the classes, for which no photo is read.
    pub(crate) fn classes(&self) -> Result<Vec<String>, DataError> {
        match self {
            Self::Folder(folder) => Ok(tree(folder)?.classes),
            Self::Files { files, .. } => Ok(shards(files)?.swap_remove(0).classes),
        }
    }

    /// The classes and the photos; `room` is how many bytes of packed photos there may be, and becomes less by those that are read.
    pub(crate) fn tree(&self, room: &mut u64) -> Result<Tree, DataError> {
        let files = match self {
            Self::Folder(folder) => return tree(folder),
            Self::Files { files, .. } => files,
        };
        let shards = shards(files)?;
        let mut tree = Tree { classes: shards[0].classes.clone(), photos: Vec::new(), skipped: Vec::new() };
        for shard in shards {
            for row in shard.rows(room)? {
                match row.photo {
                    Ok((bytes, class)) => tree.photos.push(Sample::packed(row.path, class, bytes)),
                    Err(why) => tree.skipped.push(Skipped { path: row.path, why, unreadable: true }),
                }
            }
        }
        Ok(tree)
    }
}

/// Some files, which must have the same classes.
fn shards(files: &[PathBuf]) -> Result<Vec<Shard>, DataError> {
    let shards = files.iter().map(|file| Shard::open(file)).collect::<Result<Vec<_>, _>>()?;
    match shards.iter().position(|shard| shard.classes != shards[0].classes) {
        Some(other) => Err(DataError::Parquet {
            path: files[other].clone(),
            why: format!("it has other classes than {}", files[0].display()),
        }),
        None => Ok(shards),
    }
}

/// The place of every split that is there; none if the data set is one.
pub(crate) fn splits(root: &Path) -> Result<Vec<(Split, Place)>, DataError> {
    if root.is_file() {
        return Ok(Vec::new());
    }
    let files = parquet_files(root)?;
    if files.is_empty() {
        return Ok(split_folders(root)?.into_iter().map(|(split, folder)| (split, Place::Folder(folder))).collect());
    }
    let of = |split| files.iter().filter(move |file| split_of(file) == Some(split)).cloned().collect::<Vec<_>>();
    let splits = Split::ALL.into_iter().map(|split| (split, of(split))).filter(|(_, files)| !files.is_empty());
    Ok(splits.map(|(split, files)| (split, Place::Files { root: root.to_owned(), files })).collect())
}

/// The place to judge a model by: that of `split`, else of test, else of validation; the root if it has no splits.
pub(crate) fn one(root: &Path, split: Option<Split>) -> Result<(Option<Split>, Place), DataError> {
    let splits = splits(root)?;
    let of =
        |wanted: Split| splits.iter().find(|(split, _)| *split == wanted).map(|(s, place)| (Some(*s), place.clone()));
    let missing = |split| DataError::NoSplit { path: root.into(), split };
    match split {
        Some(split) => of(split).ok_or_else(|| missing(split)),
        None if splits.is_empty() => Ok((None, Place::whole(root)?)),
        None => of(Split::Test).or_else(|| of(Split::Validation)).ok_or_else(|| missing(Split::Test)),
    }
}

/// The Parquet files of a data set, in the order of their names.
fn parquet_files(root: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is_parquet =
        |path: &PathBuf| path.extension().is_some_and(|e| e == "parquet") && path.is_file() && !is_hidden(path);
    let below = root.join("data");
    let mut files: Vec<PathBuf> = entries(root)?.into_iter().filter(is_parquet).collect();
    if files.is_empty() && below.is_dir() {
        files = entries(&below)?.into_iter().filter(is_parquet).collect();
    }
    Ok(files)
}

/// The split that a file's name begins with.
fn split_of(file: &Path) -> Option<Split> {
    let name = file.file_stem()?.to_str()?;
    let word = name.split(|c: char| !c.is_ascii_alphabetic()).next()?;
    match word {
        "train" | "training" => Some(Split::Train),
        "validation" | "val" | "valid" | "dev" => Some(Split::Validation),
        "test" | "testing" | "eval" => Some(Split::Test),
        _ => None,
    }
}
