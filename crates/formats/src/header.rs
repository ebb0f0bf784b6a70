//! The header of a safetensors file: a JSON object of tensors by name, and of texts.
//!
//! A reader that makes a map of it keeps only the last of two entries with one name, and takes memory for as many dimensions as there
//! are commas. So it is taken apart here, name after name, within limits. Not here: whether the tensors fill the file
//! ([`crate::tensors`]).

use std::collections::{HashMap, HashSet};
use std::fmt;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::text;

/// Longest header that is read or written, in bytes: some hundred times that of DenseNet-121's weights.
pub(crate) const MAX_HEADER: usize = 8 << 20;

/// Most tensors, texts, dimensions of a tensor and bytes of a tensor's name that are read.
const MAX_TENSORS: usize = 1 << 16;
const MAX_TEXTS: usize = 1 << 12;
const MAX_DIMENSIONS: usize = 16;
const MAX_NAME: usize = 512;

/// Where the texts stand among the tensors.
const TEXTS: &str = "__metadata__";

/// What a header says.
pub(crate) struct Entries {
    /// Texts by name.
    pub texts: HashMap<String, String>,
    /// Tensors by name, in the order of the header.
    pub tensors: Vec<(String, TensorInfo)>,
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InEntries)
    }
}

/// Whether a tensor may be called so.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.len() > MAX_NAME {
        return Err(format!("a name of {} bytes; at most {MAX_NAME} are read", name.len()));
    }
    if text::control(name).is_some() {
        return Err(format!("a tensor's name holds a control character: {}", text::shown(name)));
    }
    Ok(())
}

struct InEntries;

impl<'de> Visitor<'de> for InEntries {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let (mut entries, mut seen) = (Entries { texts: HashMap::new(), tensors: Vec::new() }, HashSet::new());
        while let Some(name) = map.next_key::<String>()? {
            check_name(&name).map_err(Error::custom)?;
            if !seen.insert(name.clone()) {
                return Err(Error::custom(format!("its header names {name} twice")));
            }
            if name == TEXTS {
                entries.texts = map.next_value::<Option<Texts>>()?.map(|Texts(texts)| texts).unwrap_or_default();
            } else if entries.tensors.len() == MAX_TENSORS {
                return Err(Error::custom(format!("more than {MAX_TENSORS} tensors")));
            } else {
                let Info { dtype, shape: Shape(shape), data_offsets } = map.next_value()?;
                entries.tensors.push((name, TensorInfo { dtype, shape, data_offsets }));
            }
        }
        Ok(entries)
    }
}

struct Texts(HashMap<String, String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InTexts)
    }
}

struct InTexts;

impl<'de> Visitor<'de> for InTexts {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
        let mut texts = HashMap::new();
        while let Some((name, text)) = map.next_entry()? {
            if texts.len() == MAX_TEXTS {
                return Err(Error::custom(format!("more than {MAX_TEXTS} texts")));
            }
            texts.insert(name, text);
        }
        Ok(Texts(texts))
    }
}

/// What is said of a tensor.
#[derive(Deserialize)]
struct Info {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (usize, usize),
}

struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(InShape)
    }
}

struct InShape;

impl<'de> Visitor<'de> for InShape {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of sizes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Shape, A::Error> {
        let mut shape = Vec::new();
        while let Some(size) = sizes.next_element()? {
            if shape.len() == MAX_DIMENSIONS {
                return Err(Error::custom(format!("a tensor of more than {MAX_DIMENSIONS} dimensions")));
            }
            shape.push(size);
        }
        Ok(Shape(shape))
    }
}
