//! Photos in Parquet files as Hugging Face's `datasets` and other writers write them: a column of encoded photos, or of groups
//! `{bytes, path}` of them, and one of classes ([`columns`]). Classes are numbers for names in the schema's metadata, or else texts or
//! whole numbers themselves, of which the different ones are the classes.
//!
//! The encoded photos are kept in memory, for a row of a compressed page cannot be read by itself; [`DataOptions::max_packed`] says
//! how many bytes of them may be. What a file claims of itself is checked before memory is taken for it ([`layout`]), and since
//! photos are packed already, a file gives at most four times its own bytes and a few more. Not here: which file is which split
//! ([`crate::places`]).
//!
//! [`DataOptions::max_packed`]: crate::DataOptions::max_packed

mod columns;
mod forms;
mod layout;
mod thrift;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};

use crate::error::DataError;
use columns::Columns;
use layout::Layout;
pub(crate) use values::Label;
use values::{Labels, photos};

/// Rows of one file: more than any data set of photos has.
const MOST_ROWS: i64 = 1 << 28;

/// Most bytes of names that are classes because they stand in rows, with what is kept of each: thirty thousand of them.
const MOST_NAMES: usize = 2 << 20;
const OF_NAME: usize = 48;

/// How many times its own bytes a file may give. Photos are packed already, but of small ones the heads, which are alike, are packed
/// once more: CIFAR-10 as JPEGs of 900 bytes unpacks to three times its file, and what is kept of each row comes to that.
const MOST_TIMES: u64 = 4;

/// Bytes that a file may give beyond these: what a small file of many like rows needs.
const SLACK: u64 = 24 << 20;

/// What helps where photos are too many.
const UNPACK: &str = "unpack the photos into a folder for every class";
const ALLOW: &str = ", or allow more of them (--max-packed)";

/// What helps where they are no classes.
const OTHER: &str = "where another column has the classes, name it with --label-column";

/// What is wrong with a row whose value is none of a class: where classes are numbered, -1 says that nobody has told.
const NO_CLASS: &str = "the row has no class";

/// A row of a file.
#[derive(Debug)]
pub(crate) struct Row {
    /// The file and the row's number, from 0.
    pub path: PathBuf,
    /// The encoded photo and its class; or why there is none.
    pub photo: Result<(ByteArray, usize), String>,
}

/// A file of photos, of which nothing but the description has been read.
pub(crate) struct Shard {
    path: PathBuf,
    layout: Layout,
    reader: SerializedFileReader<File>,
    columns: Columns,
}

/// Which classes values stand for.
pub(crate) enum Classes {
    /// So many, numbered from 0.
    Numbered(usize),
    /// Those of these values.
    Of(BTreeMap<Label, usize>),
}

impl Classes {
    /// The class of a value, if it is one.
    fn class(&self, label: &Label) -> Option<usize> {
        match (self, label) {
            (Self::Numbered(count), Label::Number(n)) => usize::try_from(*n).ok().filter(|class| class < count),
            (Self::Numbered(_), Label::Text(_)) => None,
            (Self::Of(classes), label) => classes.get(label).copied(),
        }
    }
}

impl Shard {
    /// Looks at a file, of which a column of this name has the classes, if somebody has said it.
    ///
    /// # Errors
    /// If it is no Parquet file, or not one of photos and classes.
    pub fn open(path: &Path, label_column: Option<&str>) -> Result<Self, DataError> {
        let wrong = |why| DataError::Parquet { path: path.into(), why };
        let metadata = std::fs::metadata(path).map_err(|source| DataError::Io { path: path.into(), source })?;
        if !metadata.is_file() {
            return Err(wrong("it is no ordinary file".into()));
        }
        let open = || File::open(path).map_err(|source| DataError::Io { path: path.into(), source });
        let (file, looked_at) = (open()?, open()?);
        guarded(|| {
            let layout = Layout::open(looked_at, metadata.len())?;
            let reader = SerializedFileReader::new(file).map_err(told)?;
            let columns = Columns::of(reader.metadata().file_metadata(), label_column)?;
            Ok(Self { path: path.into(), layout, reader, columns })
        })
        .map_err(wrong)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the classes in the order of their numbers, where the file names them.
    pub fn classes(&self) -> Option<&[String]> {
        self.columns.classes.as_deref()
    }

    /// What might have been chosen otherwise, for people.
    pub fn notes(&self) -> &[String] {
        &self.columns.notes
    }

    /// Adds the different values of the column of classes.
    ///
    /// # Errors
    /// If the file is damaged, or they are too many to be classes.
    pub fn add_labels(&mut self, labels: &mut BTreeSet<Label>) -> Result<(), DataError> {
        let path = self.path.clone();
        guarded(|| self.read_labels(labels)).map_err(|why| DataError::Parquet { path, why })
    }

    fn read_labels(&mut self, labels: &mut BTreeSet<Label>) -> Result<(), String> {
        let mut taken: usize = labels.iter().map(of_name).sum();
        // What is unpacked is not kept.
        let mut room = self.most();
        for group in 0..self.reader.num_row_groups() {
            self.check_pages(group, self.columns.label, &mut room)?;
            let group = self.reader.get_row_group(group).map_err(told)?;
            let mut column = Labels::new(&*group, &self.reader, self.columns.label)?;
            loop {
                let values = column.next()?;
                if values.is_empty() {
                    break;
                }
                for value in values.into_iter().flatten() {
                    let size = of_name(&value);
                    if labels.insert(value) {
                        taken += size;
                    }
                    if taken > MOST_NAMES {
                        let many = labels.len();
                        return Err(format!("its column of classes has {many} different values and more; {OTHER}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// The most bytes that may come of a file.
    fn most(&self) -> u64 {
        self.layout.len().saturating_mul(MOST_TIMES).saturating_add(SLACK)
    }

    /// Looks at the pages of a column of a row group, and takes them off the room.
    fn check_pages(&mut self, group: usize, column: usize, room: &mut u64) -> Result<(), String> {
        let place = self.reader.metadata().row_group(group).column(column).byte_range();
        self.layout.check_pages(place, room).map_err(|why| format!("row group {group}: {why}"))
    }

    /// Reads all rows; `room` is how many bytes of photos, and of what is kept of each, there may be, and becomes less by those that
    /// are read.
    ///
    /// # Errors
    /// If the file is damaged, or the photos are too many.
    pub fn rows(self, classes: &Classes, room: &mut u64) -> Result<Vec<Row>, DataError> {
        let path = self.path.clone();
        let most = (*room).min(self.most());
        let (mut left, is_shared) = (most, *room < self.most());
        let rows = guarded(|| self.read(classes, &mut left)).map_err(|mut why| {
            // More would be allowed in vain where a file gives more than any of its length does.
            if is_shared && why.ends_with(UNPACK) {
                why += ALLOW;
            }
            DataError::Parquet { path, why }
        })?;
        *room -= most - left;
        Ok(rows)
    }

    fn read(mut self, classes: &Classes, room: &mut u64) -> Result<Vec<Row>, String> {
        let count = self.reader.metadata().file_metadata().num_rows();
        if !(0..=MOST_ROWS).contains(&count) {
            return Err(format!("it claims {count} rows"));
        }
        let mut rows = Vec::new();
        for group in 0..self.reader.num_row_groups() {
            self.check_pages(group, self.columns.image, room)?;
            self.check_pages(group, self.columns.label, room)?;
            let group = self.reader.get_row_group(group).map_err(told)?;
            self.read_group(&*group, classes, &mut rows, room)?;
        }
        if rows.len() as i64 != count {
            return Err(format!("it claims {count} rows and has {}", rows.len()));
        }
        Ok(rows)
    }

    fn read_group(
        &self,
        group: &dyn RowGroupReader,
        classes: &Classes,
        rows: &mut Vec<Row>,
        room: &mut u64,
    ) -> Result<(), String> {
        let mut image = photos(group, &self.reader, self.columns.image)?;
        let mut label = Labels::new(group, &self.reader, self.columns.label)?;
        loop {
            let (images, labels) = (image.next()?, label.next()?);
            if images.len() != labels.len() {
                return Err("it has more photos than classes, or fewer".into());
            }
            if images.is_empty() {
                return Ok(());
            }
            if (rows.len() + images.len()) as i64 > self.reader.metadata().file_metadata().num_rows() {
                return Err("it has more rows than it claims".into());
            }
            for (image, label) in images.into_iter().zip(labels) {
                let path = self.path.join(rows.len().to_string());
                // The photo is a part of its page, which has been counted. A list that grows may be twice as long as what it holds.
                let taken = 2 * (size_of::<Row>() + path.as_os_str().len());
                *room = room.checked_sub(taken as u64).ok_or_else(too_large)?;
                let class = label.and_then(|label| classes.class(&label));
                let photo = image.ok_or("the row has no photo").and_then(|image| Ok((image, class.ok_or(NO_CLASS)?)));
                rows.push(Row { path, photo: photo.map_err(str::to_owned) });
            }
        }
    }
}

/// What is kept of a class's name, in bytes.
fn of_name(label: &Label) -> usize {
    OF_NAME
        + match label {
            Label::Number(_) => 0,
            Label::Text(text) => text.len(),
        }
}

fn told(error: ParquetError) -> String {
    error.to_string()
}

fn too_large() -> String {
    format!("its rows are more than may be held in memory; {UNPACK}")
}

/// Does something with a file that may have been made to do harm: where the decoder stumbles over it, the file is what is wrong.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("it is damaged".into()))
}
