//! What a folder holds, before any photo is read.

use std::path::{Path, PathBuf};

use crate::dataset::DataOptions;
use crate::error::DataError;
use crate::places::one;
use crate::split::Split;

/// What [`DataSet::open_one`](crate::DataSet::open_one) would read: found in no time, so that a model which does not fit is told
/// before all photos have been looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The split; `None` where the folder is one tree of class folders.
    pub split: Option<Split>,
    /// The folder of the class folders, or of Parquet files.
    pub folder: PathBuf,
    /// Names of the classes in their order.
    pub classes: Vec<String>,
}

impl Outline {
    /// Looks at the names below `root`; of Parquet files that do not name their classes it reads these.
    ///
    /// # Errors
    /// If the folder has no such split, or no classes.
    pub fn of(root: &Path, split: Option<Split>, options: &DataOptions) -> Result<Self, DataError> {
        let (split, place) = one(root, split)?;
        Ok(Self { split, folder: place.root().to_owned(), classes: place.classes(options.label_column.as_deref())? })
    }
}
