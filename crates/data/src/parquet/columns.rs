//! Which columns of a file are its photos and their classes.
//!
//! Hugging Face's `datasets` says so in the schema's metadata: a column of type `Image` and one of type `ClassLabel`, with the classes'
//! names. Other writers say nothing; then types and usual names tell, and what might have been chosen otherwise is told.

use std::collections::BTreeSet;

use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::file::metadata::FileMetaData;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};
use serde::Deserialize;

use crate::classes::class_name;

/// Most classes that a file may name.
const MOST_CLASSES: usize = 1 << 20;

/// Longest description of the columns by `datasets`, in bytes: a million of them are forty thousand names of classes.
const MOST_JSON: usize = 2 << 20;

/// What columns of photos and of classes are called, the more usual first.
const IMAGES: &[&str] = &["image", "img", "photo", "picture"];
const LABELS: &[&str] = &["label", "labels", "class", "class_name", "label_name", "category", "target", "y"];

/// What a file's columns are.
pub(super) struct Columns {
    /// Numbers of the columns of encoded photos and of classes.
    pub image: usize,
    pub label: usize,
    /// Names of the classes in the order of their numbers, where the file names them.
    pub classes: Option<Vec<String>>,
    /// What might have been chosen otherwise, for people.
    pub notes: Vec<String>,
}

/// The metadata that `datasets` writes.
#[derive(Deserialize)]
struct HuggingFace {
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    features: Features,
}

type Features = serde_json::Map<String, serde_json::Value>;

/// A column that might be meant: its name, and its number.
type Candidate<'a> = (&'a str, usize);

impl Columns {
    /// Looks for them; `asked` is the name of the column of classes, if somebody has said it.
    pub(super) fn of(about: &FileMetaData, asked: Option<&str>) -> Result<Self, String> {
        let (schema, features) = (about.schema_descr(), features(about)?);
        let mut notes = Vec::new();
        let (_, image) = image(schema, &features, &mut notes)?;
        let (name, label) = label(schema, &features, asked, &mut notes)?;
        let classes = if is_a(&features, name, "ClassLabel") { Some(class_names(&features[name])?) } else { None };
        Ok(Self { image, label, classes, notes })
    }
}

/// What `datasets` says of the columns; nothing where something else has written the file.
fn features(about: &FileMetaData) -> Result<Features, String> {
    let json = about.key_value_metadata().into_iter().flatten().find(|kv| kv.key == "huggingface");
    let Some(json) = json.and_then(|kv| kv.value.as_deref()) else { return Ok(Features::new()) };
    if json.len() > MOST_JSON {
        return Err(format!("its metadata `huggingface` have {} bytes; at most {MOST_JSON} are read", json.len()));
    }
    let read: HuggingFace = serde_json::from_str(json).map_err(|e| format!("its metadata `huggingface`: {e}"))?;
    Ok(read.info.features)
}

fn is_a(features: &Features, column: &str, wanted: &str) -> bool {
    features.get(column).is_some_and(|feature| feature["_type"] == wanted)
}

/// The column of photos: of encoded ones, or of groups in which they are called `bytes`.
fn image<'a>(
    schema: &'a SchemaDescriptor,
    features: &Features,
    notes: &mut Vec<String>,
) -> Result<Candidate<'a>, String> {
    let is_photo = |c: &ColumnDescriptor| match c.path().parts() {
        [_] => !is_text(c),
        [_, bytes] => bytes == "bytes",
        _ => false,
    };
    let all = schema.columns().iter().enumerate();
    let binary = all.filter(|(_, c)| c.physical_type() == PhysicalType::BYTE_ARRAY && is_photo(c));
    let binary: Vec<Candidate<'a>> = binary.map(|(i, c)| (c.path().parts()[0].as_str(), i)).collect();
    let told: Vec<Candidate<'a>> = binary.iter().copied().filter(|(name, _)| is_a(features, name, "Image")).collect();
    let all = if told.is_empty() { binary } else { told };
    let chosen = usual(&all, IMAGES).or(all.first()).copied().ok_or("no column has photos, which are byte strings")?;
    if all.len() > 1 {
        notes.push(format!("photos are those of the column `{}`, of {}", chosen.0, listed(&all)));
    }
    Ok(chosen)
}

/// The column of classes.
fn label<'a>(
    schema: &'a SchemaDescriptor,
    features: &Features,
    asked: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<Candidate<'a>, String> {
    let all = schema.columns().iter().enumerate().filter(|(_, c)| is_text(c) || is_number(c));
    let all = all.filter(|(_, c)| c.path().parts().len() == 1 && c.max_rep_level() == 0);
    let all: Vec<Candidate<'a>> = all.map(|(i, c)| (c.name(), i)).collect();
    if let Some(asked) = asked {
        let found = all.iter().copied().find(|(name, _)| *name == asked);
        return found.ok_or_else(|| format!("it has no column `{asked}` of classes; it has {}", listed(&all)));
    }
    // Of several sorts of classes the finer comes first by custom.
    let named: Vec<Candidate<'a>> =
        all.iter().copied().filter(|(name, _)| is_a(features, name, "ClassLabel")).collect();
    let (among, chosen) = match (&named[..], &all[..]) {
        ([first, ..], _) => (&named, *first),
        ([], [only]) => (&all, *only),
        ([], []) => return Err("no column has classes, which are texts or whole numbers".into()),
        ([], _) => (&all, *usual(&all, LABELS).ok_or_else(|| unknown(&all))?),
    };
    if among.len() > 1 {
        let (name, all) = (chosen.0, listed(among));
        notes.push(format!("classes are those of the column `{name}`, of {all}; --label-column takes another"));
    }
    Ok(chosen)
}

fn unknown(all: &[Candidate<'_>]) -> String {
    format!("which of its columns has the classes is not known; say it with --label-column: {}", listed(all))
}

/// The column with the most usual name.
fn usual<'c, 'a>(all: &'c [Candidate<'a>], names: &[&str]) -> Option<&'c Candidate<'a>> {
    names.iter().find_map(|usual| all.iter().find(|(name, _)| name.eq_ignore_ascii_case(usual)))
}

/// At most ten names.
fn listed(all: &[Candidate<'_>]) -> String {
    let names: Vec<String> = all.iter().take(10).map(|(name, _)| format!("`{name}`")).collect();
    let more = if all.len() > 10 { ", and more" } else { "" };
    if names.is_empty() { "none".into() } else { names.join(", ") + more }
}

fn is_text(column: &ColumnDescriptor) -> bool {
    let is_said = matches!(column.converted_type(), ConvertedType::UTF8 | ConvertedType::ENUM)
        || matches!(column.logical_type_ref(), Some(LogicalType::String | LogicalType::Enum));
    column.physical_type() == PhysicalType::BYTE_ARRAY && is_said
}

fn is_number(column: &ColumnDescriptor) -> bool {
    use ConvertedType::{INT_8, INT_16, INT_32, INT_64, NONE, UINT_8, UINT_16, UINT_32, UINT_64};
    let plain = [NONE, INT_8, INT_16, INT_32, INT_64, UINT_8, UINT_16, UINT_32, UINT_64];
    matches!(column.physical_type(), PhysicalType::INT32 | PhysicalType::INT64)
        && plain.contains(&column.converted_type())
        && matches!(column.logical_type_ref(), None | Some(LogicalType::Integer(_)))
}

/// The names of a `ClassLabel`.
fn class_names(feature: &serde_json::Value) -> Result<Vec<String>, String> {
    let names = feature["names"].as_array().filter(|names| !names.is_empty()).ok_or("its metadata name no classes")?;
    let names: Option<Vec<String>> = names.iter().map(|name| Some(class_name(name.as_str()?))).collect();
    let names = names.filter(|names| names.len() <= MOST_CLASSES).ok_or("the names of its classes are no texts")?;
    let different: BTreeSet<&String> = names.iter().collect();
    if different.len() != names.len() {
        return Err("two of its classes have the same name".into());
    }
    Ok(names)
}
