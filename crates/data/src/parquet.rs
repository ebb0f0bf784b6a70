//! Photos in Parquet files as Hugging Face's `datasets` writes them: a column of type `Image` (`{bytes, path}`), a column of type
//! `ClassLabel`, and the classes' names in the schema's metadata under `huggingface`.
//!
//! The encoded photos are kept in memory, for a row of a compressed page cannot be read by itself; [`DataOptions::max_packed`] says
//! how many bytes of them may be. What a file claims of itself is checked before memory is taken for it ([`layout`]), and since
//! photos are packed already, a file gives at most four times its own bytes and a few more. Not here: which file is which split
//! ([`crate::folders`]).
//!
//! [`DataOptions::max_packed`]: crate::DataOptions::max_packed

mod layout;
mod thrift;

use std::collections::BTreeSet;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use serde::Deserialize;

use crate::classes::class_name;
use crate::error::DataError;
use layout::Layout;

/// Rows that are read at once.
const CHUNK: usize = 1024;

/// Rows of one file, and classes: more than any data set of photos has.
const MOST_ROWS: i64 = 1 << 28;
const MOST_CLASSES: usize = 1 << 20;

/// Longest description of the columns by `datasets`, in bytes: a million of them are forty thousand names of classes.
const MOST_JSON: usize = 2 << 20;

/// How many times its own bytes a file may give. Photos are packed already, but of small ones the heads, which are alike, are packed
/// once more: CIFAR-10 as JPEGs of 900 bytes unpacks to three times its file, and what is kept of each row comes to that.
const MOST_TIMES: u64 = 4;

/// Bytes that a file may give beyond these: what a small file of many like rows needs.
const SLACK: u64 = 24 << 20;

/// What helps where photos are too many.
const UNPACK: &str = "unpack the photos into a folder for every class";

/// A row of a file.
#[derive(Debug)]
pub(crate) struct Row {
    /// The file and the row's number, from 0.
    pub path: PathBuf,
    /// The encoded photo and its class; or why there is none.
    pub photo: Result<(ByteArray, usize), String>,
}

/// The metadata that `datasets` writes.
#[derive(Deserialize)]
struct HuggingFace {
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    features: serde_json::Map<String, serde_json::Value>,
}

/// A file of photos, of which nothing but the description has been read.
pub(crate) struct Shard {
    path: PathBuf,
    layout: Layout,
    reader: SerializedFileReader<File>,
    /// Names of the classes in the order of their numbers.
    pub classes: Vec<String>,
    /// Numbers of the columns of encoded photos and of classes.
    image: usize,
    label: usize,
}

impl Shard {
    /// Looks at a file.
    ///
    /// # Errors
    /// If it is no Parquet file, or not one of photos and classes.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let wrong = |why| DataError::Parquet { path: path.into(), why };
        let metadata = std::fs::metadata(path).map_err(|source| DataError::Io { path: path.into(), source })?;
        if !metadata.is_file() {
            return Err(wrong("it is no ordinary file".into()));
        }
        let open = || File::open(path).map_err(|source| DataError::Io { path: path.into(), source });
        let (file, looked_at) = (open()?, open()?);
        guarded(|| {
            let layout = Layout::open(looked_at, metadata.len())?;
            Self::of(path, layout, SerializedFileReader::new(file).map_err(told)?)
        })
        .map_err(wrong)
    }

    fn of(path: &Path, layout: Layout, reader: SerializedFileReader<File>) -> Result<Self, String> {
        let about = reader.metadata().file_metadata();
        let schema = about.schema_descr();
        let column = |name: &str| schema.columns().iter().position(|c| c.path().string() == name);
        let json = about.key_value_metadata().into_iter().flatten().find(|kv| kv.key == "huggingface");
        let json = json
            .and_then(|kv| kv.value.as_deref())
            .ok_or("its metadata lack `huggingface`, which names the classes")?;
        if json.len() > MOST_JSON {
            return Err(format!("its metadata `huggingface` have {} bytes; at most {MOST_JSON} are read", json.len()));
        }
        let HuggingFace { info } =
            serde_json::from_str(json).map_err(|e| format!("its metadata `huggingface`: {e}"))?;
        // In the order of the columns, for of several sorts of classes the finer comes first by custom.
        let names: Vec<&str> = schema.root_schema().get_fields().iter().map(|field| field.name()).collect();
        let of_type = |wanted: &str| {
            let is = |name: &&&str| info.features.get(**name).is_some_and(|f| f["_type"] == wanted);
            names.iter().find(is).copied().ok_or_else(|| format!("no column has the type {wanted}"))
        };
        let (image, label) = (of_type("Image")?, of_type("ClassLabel")?);
        let classes = class_names(&info.features[label])?;
        let bytes = format!("{image}.bytes");
        Ok(Self {
            path: path.into(),
            layout,
            classes,
            image: column(&bytes).ok_or_else(|| format!("no column `{bytes}`"))?,
            label: column(label).ok_or_else(|| format!("no column `{label}`"))?,
            reader,
        })
    }

    /// Reads all rows; `room` is how many bytes of photos, and of what is kept of each, there may be, and becomes less by those that
    /// are read.
    ///
    /// # Errors
    /// If the file is damaged, or the photos are too many.
    pub fn rows(self, room: &mut u64) -> Result<Vec<Row>, DataError> {
        let path = self.path.clone();
        let most = (*room).min(self.layout.len().saturating_mul(MOST_TIMES).saturating_add(SLACK));
        let mut left = most;
        let rows = guarded(|| self.read(&mut left)).map_err(|why| DataError::Parquet { path, why })?;
        *room -= most - left;
        Ok(rows)
    }

    fn read(mut self, room: &mut u64) -> Result<Vec<Row>, String> {
        let count = self.reader.metadata().file_metadata().num_rows();
        if !(0..=MOST_ROWS).contains(&count) {
            return Err(format!("it claims {count} rows"));
        }
        let mut rows = Vec::new();
        for group in 0..self.reader.num_row_groups() {
            for column in [self.image, self.label] {
                let place = self.reader.metadata().row_group(group).column(column).byte_range();
                self.layout.check_pages(place, room).map_err(|why| format!("row group {group}: {why}"))?;
            }
            let group = self.reader.get_row_group(group).map_err(told)?;
            self.read_group(&*group, &mut rows, room)?;
        }
        if rows.len() as i64 != count {
            return Err(format!("it claims {count} rows and has {}", rows.len()));
        }
        Ok(rows)
    }

    fn read_group(&self, group: &dyn RowGroupReader, rows: &mut Vec<Row>, room: &mut u64) -> Result<(), String> {
        let ColumnReader::ByteArrayColumnReader(image) = group.get_column_reader(self.image).map_err(told)? else {
            return Err("the photos are no byte strings".into());
        };
        let ColumnReader::Int64ColumnReader(label) = group.get_column_reader(self.label).map_err(told)? else {
            return Err("the classes are no 64-bit numbers".into());
        };
        let mut image = Column::<ByteArrayType>::new(image, &self.reader, self.image)?;
        let mut label = Column::<Int64Type>::new(label, &self.reader, self.label)?;
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
                let photo = self.photo(image, label).map_err(str::to_owned);
                rows.push(Row { path, photo });
            }
        }
    }

    /// The photo and the class of a row, if it has both.
    fn photo(&self, image: Option<ByteArray>, label: Option<i64>) -> Result<(ByteArray, usize), &'static str> {
        let class = label.and_then(|label| usize::try_from(label).ok()).filter(|&class| class < self.classes.len());
        Ok((image.ok_or("the row has no photo")?, class.ok_or("the row has no class")?))
    }
}

/// The names of a `ClassLabel`.
fn class_names(feature: &serde_json::Value) -> Result<Vec<String>, String> {
    let names = feature["names"].as_array().ok_or("its metadata name no classes")?;
    let names: Option<Vec<String>> = names.iter().map(|name| Some(class_name(name.as_str()?))).collect();
    let names = names.filter(|names| names.len() <= MOST_CLASSES).ok_or("the names of its classes are no texts")?;
    let different: BTreeSet<&String> = names.iter().collect();
    if different.len() != names.len() {
        return Err("two of its classes have the same name".into());
    }
    Ok(names)
}

/// A column of a row group, as far as it has not been read.
struct Column<T: DataType> {
    reader: ColumnReaderImpl<T>,
    /// The definition level of a value that is there.
    present: i16,
}

impl<T: DataType> Column<T> {
    fn new(reader: ColumnReaderImpl<T>, file: &SerializedFileReader<File>, column: usize) -> Result<Self, String> {
        let about = file.metadata().file_metadata().schema_descr().column(column);
        if about.max_rep_level() > 0 {
            return Err(format!("the column {} has lists", about.path()));
        }
        Ok(Self { reader, present: about.max_def_level() })
    }

    /// The next values; none at the end.
    fn next(&mut self) -> Result<Vec<Option<T::T>>, String> {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let (rows, _, _) = self.reader.read_records(CHUNK, Some(&mut levels), None, &mut values).map_err(told)?;
        if self.present == 0 {
            return Ok(values.into_iter().map(Some).collect());
        }
        let there = levels.iter().filter(|&&level| level == self.present).count();
        if levels.len() != rows || values.len() != there {
            return Err("a column is shorter than it claims".into());
        }
        let mut values = values.into_iter();
        Ok(levels.into_iter().map(|level| if level == self.present { values.next() } else { None }).collect())
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
