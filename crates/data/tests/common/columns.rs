//! Parquet files of any columns, made with the writer of the crate that reads them.
#![allow(dead_code, reason = "each test binary compiles this module and uses a part of it")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;

/// Values of a column that has one for every row.
pub enum Values {
    /// Of byte strings.
    Bytes(Vec<Vec<u8>>),
    /// Of whole numbers.
    Int32(Vec<i32>),
    /// Of whole numbers.
    Int64(Vec<i64>),
}

/// A column of texts.
pub fn texts(texts: &[&str]) -> Values {
    Values::Bytes(texts.iter().map(|text| text.as_bytes().to_vec()).collect())
}

/// Writes a file of such columns, of which `datasets` would say this.
pub fn write(path: &Path, schema: &str, features: Option<serde_json::Value>, columns: &[Values]) {
    let json = features.map(|features| json!({ "info": { "features": features } }).to_string());
    let about = json.map(|json| vec![KeyValue::new("huggingface".to_owned(), json)]);
    let properties = WriterProperties::builder().set_key_value_metadata(about).build();
    let schema = Arc::new(parse_message_type(&format!("message schema {{ {schema} }}")).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for values in columns {
        let mut column = group.next_column().unwrap().unwrap();
        let written = match values {
            Values::Bytes(all) => {
                let all: Vec<ByteArray> = all.iter().map(|bytes| bytes.clone().into()).collect();
                column.typed::<ByteArrayType>().write_batch(&all, None, None)
            }
            Values::Int32(all) => column.typed::<Int32Type>().write_batch(all, None, None),
            Values::Int64(all) => column.typed::<Int64Type>().write_batch(all, None, None),
        };
        written.unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, writer.into_inner().unwrap()).unwrap();
}
