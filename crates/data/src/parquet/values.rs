//! Values of a column of a row group, read some rows at a time.

use std::fs::File;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};

use super::told;
use crate::classes::class_name;

/// Rows that are read at once.
const CHUNK: usize = 1024;

/// Longest name of a class, in bytes.
const MOST_NAME: usize = 512;

/// What stands in a column of classes. Numbers are in the order of numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Label {
    Number(i64),
    Text(String),
}

impl Label {
    /// The name of the class that it stands for, where the file gives it no other.
    pub fn name(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// A column of a row group, as far as it has not been read.
pub(super) struct Column<T: DataType> {
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
    pub(super) fn next(&mut self) -> Result<Vec<Option<T::T>>, String> {
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

/// A column of photos.
pub(super) fn photos(
    group: &dyn RowGroupReader,
    file: &SerializedFileReader<File>,
    column: usize,
) -> Result<Column<ByteArrayType>, String> {
    match group.get_column_reader(column).map_err(told)? {
        ColumnReader::ByteArrayColumnReader(reader) => Column::new(reader, file, column),
        _ => Err("the photos are no byte strings".into()),
    }
}

/// A column of classes.
pub(super) enum Labels {
    Long(Column<Int64Type>),
    Short(Column<Int32Type>),
    Text(Column<ByteArrayType>),
}

impl Labels {
    pub(super) fn new(
        group: &dyn RowGroupReader,
        file: &SerializedFileReader<File>,
        column: usize,
    ) -> Result<Self, String> {
        Ok(match group.get_column_reader(column).map_err(told)? {
            ColumnReader::Int64ColumnReader(reader) => Self::Long(Column::new(reader, file, column)?),
            ColumnReader::Int32ColumnReader(reader) => Self::Short(Column::new(reader, file, column)?),
            ColumnReader::ByteArrayColumnReader(reader) => Self::Text(Column::new(reader, file, column)?),
            _ => return Err("the classes are neither whole numbers nor texts".into()),
        })
    }

    /// The next values; none at the end.
    pub(super) fn next(&mut self) -> Result<Vec<Option<Label>>, String> {
        let number = |n: Option<i64>| n.map(Label::Number);
        match self {
            Self::Long(column) => Ok(column.next()?.into_iter().map(number).collect()),
            Self::Short(column) => Ok(column.next()?.into_iter().map(|n| number(n.map(i64::from))).collect()),
            Self::Text(column) => column.next()?.into_iter().map(|bytes| bytes.map_or(Ok(None), text)).collect(),
        }
    }
}

/// The class that a text names: none if it is empty, or no text.
fn text(bytes: ByteArray) -> Result<Option<Label>, String> {
    // Before it is copied, for one long text may be that of many rows.
    if bytes.len() > MOST_NAME {
        return Err(format!("a class has a name of {} bytes; at most {MOST_NAME} are read", bytes.len()));
    }
    let name = std::str::from_utf8(bytes.data()).ok().filter(|name| !name.is_empty());
    Ok(name.map(|name| Label::Text(class_name(name))))
}
