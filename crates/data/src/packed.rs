//! Finding the Parquet files of a data set, and the split of each, without opening one.
//!
//! They lie in DATA itself, in DATA/data, or in the only folder of DATA that has any, which on Hugging Face is that of a configuration
//! (`plain_text`, `default`). Their names begin with their split's (`train-00000-of-00002.parquet`), or they lie in folders that are
//! named like splits (`train/0000.parquet`).

use std::path::{Path, PathBuf};

use cspnet_vision::is_called_a_photo;

use crate::error::DataError;
use crate::folders::{entries, folders, is_hidden, name_of};
use crate::split::Split;

/// The Parquet files of a data set.
#[derive(Debug)]
pub(crate) struct Packed {
    /// The folder below which they lie.
    pub root: PathBuf,
    /// The files in the order of their names, and the split of each, if it has one.
    pub files: Vec<(PathBuf, Option<Split>)>,
}

impl Packed {
    /// The files of a folder; `None` if there are none.
    ///
    /// # Errors
    /// If the folder cannot be read, or has several configurations.
    pub fn find(root: &Path) -> Result<Option<Self>, DataError> {
        let beside = parquet_files(root)?;
        if !beside.is_empty() {
            return Ok(Some(Self::of_names(root, beside)));
        }
        if let Some(found) = Self::in_splits(root)? {
            return Ok(Some(found));
        }
        let mut all = Vec::new();
        for folder in folders(root)? {
            let Some(found) = Self::configuration(&folder)? else { continue };
            if name_of(&folder) == Some("data") {
                return Ok(Some(Self { root: root.into(), ..found }));
            }
            all.push(found);
        }
        match &all[..] {
            [_, _, ..] => {
                let names = all.iter().filter_map(|found| name_of(&found.root)).map(str::to_owned).collect();
                Err(DataError::Configurations { path: root.into(), names })
            }
            _ => Ok(all.pop()),
        }
    }

    /// The files of a folder that has nothing else.
    fn configuration(root: &Path) -> Result<Option<Self>, DataError> {
        let files = files_alone(root)?;
        if files.is_empty() { Self::in_splits(root) } else { Ok(Some(Self::of_names(root, files))) }
    }

    fn of_names(root: &Path, files: Vec<PathBuf>) -> Self {
        let split = |file: &PathBuf| Split::of_file(file.file_stem()?.to_str()?);
        let splits: Vec<Option<Split>> = files.iter().map(split).collect();
        Self { root: root.into(), files: files.into_iter().zip(splits).collect() }
    }

    /// The files in folders that are named like splits, and those in folders beside these.
    fn in_splits(root: &Path) -> Result<Option<Self>, DataError> {
        // Names first, for in a folder of many photos it takes time to look at each.
        let all: Vec<PathBuf> = entries(root)?.into_iter().filter(|path| !is_hidden(path)).collect();
        let split = |folder: &PathBuf| name_of(folder).and_then(Split::named);
        if !all.iter().any(|path| split(path).is_some()) {
            return Ok(None);
        }
        let mut files = Vec::new();
        for folder in all.iter().filter(|path| path.is_dir()) {
            files.extend(files_alone(folder)?.into_iter().map(|file| (file, split(folder))));
        }
        let has_split = files.iter().any(|(_, split)| split.is_some());
        Ok(has_split.then(|| Self { root: root.into(), files }))
    }
}

/// The Parquet files in a folder, in the order of their names.
fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(entries(folder)?.into_iter().filter(|path| is_parquet(path)).collect())
}

/// The Parquet files in a folder that has neither photos nor folders.
fn files_alone(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let all = entries(folder)?;
    // Names first, for in a folder of many photos it takes time to look at each. One that has any is of a class, whatever else it has.
    if all.iter().any(|path| is_called_a_photo(path)) || all.iter().any(|path| !is_hidden(path) && path.is_dir()) {
        return Ok(Vec::new());
    }
    Ok(all.into_iter().filter(|path| is_parquet(path)).collect())
}

fn is_parquet(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "parquet") && path.is_file() && !is_hidden(path)
}
