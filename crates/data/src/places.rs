//! Where the photos of a data set are: in folders, or in Parquet files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::DataError;
use crate::folders::{SplitFolders, Tree, name_of, split_folders, tree};
use crate::packed::Packed;
use crate::parquet::{Classes, Label, Shard};
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
        if root.is_file() {
            return Ok(Self::Files { root: root.into(), files: vec![root.into()] });
        }
        Ok(match Packed::find(root)? {
            Some(Packed { root, files }) => {
                Self::Files { root, files: files.into_iter().map(|(file, _)| file).collect() }
            }
            None => Self::Folder(root.into()),
        })
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

    /// What people know it by: the folder, or the first file.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Files { files, .. } if !files.is_empty() => &files[0],
            _ => self.root(),
        }
    }

    /// Whether a photo, or what is none, is one of these.
    pub(crate) fn has(&self, path: &Path) -> bool {
        match self {
            Self::Folder(root) => path.starts_with(root),
            Self::Files { files, .. } => files.iter().any(|file| path.starts_with(file)),
        }
    }

    /// Names of the classes, for which no photo is read.
    pub(crate) fn classes(&self, label_column: Option<&str>) -> Result<Vec<String>, DataError> {
        match self {
            Self::Folder(folder) => Ok(tree(folder)?.classes),
            Self::Files { files, .. } => Ok(Shards::open(files, label_column)?.names),
        }
    }

    /// The classes and the photos; `room` is how many bytes of packed photos there may be, and becomes less by those that are read.
    pub(crate) fn tree(&self, label_column: Option<&str>, room: &mut u64) -> Result<Tree, DataError> {
        let files = match self {
            Self::Folder(folder) => return tree(folder),
            Self::Files { files, .. } => files,
        };
        let Shards { shards, names, classes } = Shards::open(files, label_column)?;
        let notes = shards[0].notes().to_vec();
        let mut tree = Tree { classes: names, notes, ..Tree::default() };
        for shard in shards {
            for row in shard.rows(&classes, room)? {
                match row.photo {
                    Ok((bytes, class)) => tree.photos.push(Sample::packed(row.path, class, bytes)),
                    Err(why) => tree.skipped.push(Skipped { path: row.path, why, unreadable: true }),
                }
            }
        }
        Ok(tree)
    }
}

/// Some files, at least one, and their classes.
struct Shards {
    shards: Vec<Shard>,
    names: Vec<String>,
    classes: Classes,
}

impl Shards {
    fn open(files: &[PathBuf], label_column: Option<&str>) -> Result<Self, DataError> {
        let shards = files.iter().map(|file| Shard::open(file, label_column)).collect::<Result<Vec<_>, _>>()?;
        let other_classes = |shard: &Shard| DataError::Parquet {
            path: shard.path().into(),
            why: format!("it has other classes than {}", shards[0].path().display()),
        };
        if let Some(other) = shards.iter().find(|shard| shard.classes() != shards[0].classes()) {
            return Err(other_classes(other));
        }
        match shards[0].classes().map(<[String]>::to_vec) {
            Some(names) => Ok(Self { shards, classes: Classes::Numbered(names.len()), names }),
            None => Self::by_labels(shards),
        }
    }

    /// The classes are what the files' rows name, in the order of their numbers or letters.
    fn by_labels(mut shards: Vec<Shard>) -> Result<Self, DataError> {
        let mut labels: BTreeSet<Label> = BTreeSet::new();
        shards.iter_mut().try_for_each(|shard| shard.add_labels(&mut labels))?;
        let numbers = labels.iter().filter(|label| matches!(label, Label::Number(_))).count();
        let why = match (labels.len(), numbers) {
            (0, _) => Some("no row has a class"),
            (all, numbers) if numbers > 0 && numbers < all => Some("its classes are numbers, and in other files texts"),
            _ => None,
        };
        if let Some(why) = why {
            return Err(DataError::Parquet { path: shards[0].path().into(), why: why.into() });
        }
        let names = labels.iter().map(Label::name).collect();
        let classes: BTreeMap<Label, usize> = labels.into_iter().zip(0..).collect();
        Ok(Self { shards, names, classes: Classes::Of(classes) })
    }
}

/// What is found in a data set.
pub(crate) struct Splits {
    /// The place of every split that is there; none if the data set is one.
    pub found: Vec<(Split, Place)>,
    /// Folders or files beside them, which belong to none.
    pub others: Vec<PathBuf>,
}

impl Splits {
    /// Looks at the names in a folder.
    pub(crate) fn of(root: &Path) -> Result<Self, DataError> {
        if root.is_file() {
            return Ok(Self { found: Vec::new(), others: Vec::new() });
        }
        let Some(Packed { root, files }) = Packed::find(root)? else {
            let SplitFolders { found, others } = split_folders(root)?;
            let found = found.into_iter().map(|(split, folder)| (split, Place::Folder(folder))).collect();
            return Ok(Self { found, others });
        };
        let of = |wanted: Option<Split>| -> Vec<PathBuf> {
            files.iter().filter(|(_, split)| *split == wanted).map(|(file, _)| file.clone()).collect()
        };
        let splits =
            Split::ALL.into_iter().map(|split| (split, of(Some(split)))).filter(|(_, files)| !files.is_empty());
        let found: Vec<_> = splits.map(|(split, files)| (split, Place::Files { root: root.clone(), files })).collect();
        let others = if found.is_empty() { Vec::new() } else { of(None) };
        Ok(Self { found, others })
    }

    /// The place of a split.
    ///
    /// # Errors
    /// If it is not there.
    pub(crate) fn place(&self, root: &Path, wanted: Split) -> Result<&Place, DataError> {
        let found = self.found.iter().find(|(split, _)| *split == wanted);
        found.map(|(_, place)| place).ok_or_else(|| {
            let others = self.others.iter().filter_map(|path| name_of(path)).map(str::to_owned).collect();
            DataError::NoSplit { path: root.into(), split: wanted, others }
        })
    }
}

/// The place to judge a model by: that of `split`, else of test, else of validation; the root if it has no splits.
pub(crate) fn one(root: &Path, split: Option<Split>) -> Result<(Option<Split>, Place), DataError> {
    let splits = Splits::of(root)?;
    let has = |wanted: Split| splits.found.iter().any(|(split, _)| *split == wanted);
    let split = match split {
        Some(split) => split,
        None if splits.found.is_empty() => return Ok((None, Place::whole(root)?)),
        None if !has(Split::Test) && has(Split::Validation) => Split::Validation,
        None => Split::Test,
    };
    Ok((Some(split), splits.place(root, split)?.clone()))
}
