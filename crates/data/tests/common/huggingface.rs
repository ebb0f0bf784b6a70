//! Parquet files of photos as Hugging Face's `datasets` writes them, made with the writer of the crate that reads them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

const SCHEMA: &str = "message schema {
    optional group img { optional binary bytes; optional binary path (STRING); }
    optional int64 label;
}";

/// What stands in a file.
pub struct Made {
    /// Names of the classes, if the file has any.
    pub names: Option<&'static [&'static str]>,
    /// Encoded photos and numbers of their classes.
    pub rows: Vec<(Option<Vec<u8>>, Option<i64>)>,
    /// How pages are packed.
    pub compression: Compression,
}

impl Made {
    /// Writes the file, and its folder where there is none.
    pub fn write(&self, path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, self.to_bytes(WriterProperties::builder())).unwrap();
    }

    /// The file's bytes, in this form but for the packing.
    pub fn to_bytes(&self, form: WriterPropertiesBuilder) -> Vec<u8> {
        let about = self.names.map(|names| {
            let features = serde_json::json!({
                "img": { "_type": "Image" }, "label": { "names": names, "_type": "ClassLabel" }
            });
            let json = serde_json::json!({ "info": { "features": features } });
            vec![KeyValue::new("huggingface".to_owned(), json.to_string())]
        });
        let properties = form.set_compression(self.compression).set_key_value_metadata(about);
        let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build())).unwrap();
        // Three rows a group, so that there are several.
        for rows in self.rows.chunks(3) {
            let mut group = writer.next_row_group().unwrap();
            let images: Vec<ByteArray> = rows.iter().filter_map(|(i, _)| Some(i.clone()?.into())).collect();
            let labels: Vec<i64> = rows.iter().filter_map(|(_, l)| *l).collect();
            let mut bytes = group.next_column().unwrap().unwrap();
            let levels: Vec<i16> = rows.iter().map(|(i, _)| if i.is_some() { 2 } else { 0 }).collect();
            bytes.typed::<ByteArrayType>().write_batch(&images, Some(&levels), None).unwrap();
            bytes.close().unwrap();
            let mut paths = group.next_column().unwrap().unwrap();
            paths.typed::<ByteArrayType>().write_batch(&[], Some(&vec![0; rows.len()]), None).unwrap();
            paths.close().unwrap();
            let mut label = group.next_column().unwrap().unwrap();
            let levels: Vec<i16> = rows.iter().map(|(_, l)| i16::from(l.is_some())).collect();
            label.typed::<Int64Type>().write_batch(&labels, Some(&levels), None).unwrap();
            label.close().unwrap();
            group.close().unwrap();
        }
        writer.into_inner().unwrap()
    }
}
