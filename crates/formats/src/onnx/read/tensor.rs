//! `TensorProto`: numbers by name, which mostly stay in the file.

use std::sync::Arc;

use super::data_type::DataType;
use super::limits::{MAX_RANK, MAX_SIDE, too_many};
use super::wire::{Content, Reader, Span, entry};
use crate::error::FormatError;
use crate::text::shown;

/// Most numbers of a tensor.
pub(super) const MAX_NUMBERS: usize = 1 << 32;

/// Longest integer of varying length, in bytes.
const MAX_VARINT: usize = 10;

/// A tensor of the file.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub name: String,
    pub dims: Vec<usize>,
    /// Its numbers, or why they are not read.
    pub content: Result<Stored, String>,
}

/// Where numbers are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stored {
    /// As bytes in this file, from a place on.
    Here { kind: DataType, begin: usize },
    /// As bytes in another file.
    Elsewhere { kind: DataType, place: Elsewhere },
    /// Numbers of 16 bits with a fraction, whose bits are a list of integers of varying length in this file.
    Listed { kind: DataType, place: Span },
    /// Integers that were not stored as bytes.
    Integers(Arc<Vec<i64>>),
    /// Real numbers that were not stored as bytes.
    Floats(Arc<Vec<f32>>),
}

/// A place in a file beside this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elsewhere {
    pub file: String,
    pub begin: usize,
}

/// What the fields of a tensor say.
#[derive(Default)]
struct Fields {
    name: String,
    dims: Vec<i64>,
    kind: i64,
    raw: Option<Span>,
    /// `float_data` and `double_data` that are packed in one piece.
    packed: Option<Span>,
    floats: Vec<f32>,
    /// `int32_data` that is packed in one piece.
    listed: Option<Span>,
    /// `int32_data`, `int64_data` and `uint64_data`.
    integers: Vec<i64>,
    is_elsewhere: bool,
    /// `external_data`.
    place: Vec<(String, String)>,
    is_part: bool,
}

/// Reads a tensor, without its numbers where they are stored as bytes.
pub(super) fn read(reader: &mut Reader<'_>, span: Span) -> Result<Tensor, FormatError> {
    let mut fields = Fields::default();
    reader.each(span, |reader, number, content| {
        match number {
            1 => reader.integers(content, &mut fields.dims)?,
            2 => fields.kind = content.integer()?,
            3 => fields.is_part = true,
            4 => match (content, fields.packed, fields.floats.is_empty()) {
                (Content::Bytes(span), None, true) => fields.packed = Some(span),
                _ => {
                    if let Some(before) = fields.packed.take() {
                        reader.floats(Content::Bytes(before), &mut fields.floats)?;
                    }
                    reader.floats(content, &mut fields.floats)?;
                }
            },
            5 => match (content, fields.listed, fields.integers.is_empty()) {
                (Content::Bytes(span), None, true) => fields.listed = Some(span),
                _ => {
                    fields.unpack(reader)?;
                    reader.integers(content, &mut fields.integers)?;
                }
            },
            7 | 11 => reader.integers(content, &mut fields.integers)?,
            8 => fields.name = reader.text(content)?,
            9 => fields.raw = Some(content.bytes()?),
            10 => doubles(reader, content, &mut fields)?,
            13 => {
                reader.charge::<(String, String)>(1)?;
                fields.place.push(entry(reader, content.bytes()?, Reader::text)?);
            }
            14 => fields.is_elsewhere = content.integer()? == 1,
            _ => {}
        }
        // So that even the longest list is no longer than this before anybody looks.
        if fields.dims.len() > MAX_RANK {
            return Err(FormatError::OnnxFile(format!("`{}` {}", fields.name, too_many())));
        }
        Ok(())
    })?;
    // They are as many as weights are, so that they stay where they are.
    let is_half = matches!(DataType::of(fields.kind), Ok(DataType::Float16 | DataType::BFloat16));
    if !(is_half && fields.integers.is_empty()) {
        fields.unpack(reader)?;
    }
    fields.tensor()
}

/// `double_data`, packed in one piece, or not.
fn doubles(reader: &mut Reader<'_>, content: Content, fields: &mut Fields) -> Result<(), FormatError> {
    match content {
        Content::Bytes(span) if fields.packed.is_none() && fields.floats.is_empty() => fields.packed = Some(span),
        Content::Fixed64(bytes) if fields.packed.is_none() => {
            reader.charge_numbers::<f32>(1)?;
            fields.floats.push(f64::from_le_bytes(bytes) as f32);
        }
        _ => return Err(FormatError::OnnxFile(format!("`{}` has its numbers in pieces", shown(&fields.name)))),
    }
    Ok(())
}

impl Fields {
    /// Reads the integers that were left where they are.
    fn unpack(&mut self, reader: &mut Reader<'_>) -> Result<(), FormatError> {
        match self.listed.take() {
            Some(span) => reader.integers(Content::Bytes(span), &mut self.integers),
            None => Ok(()),
        }
    }

    /// What they make together.
    fn tensor(self) -> Result<Tensor, FormatError> {
        let name = self.name.clone();
        let refuse = |why: String| FormatError::OnnxFile(format!("the tensor `{}` {}", shown(&name), shown(&why)));
        let dims: Option<Vec<usize>> =
            self.dims.iter().map(|&d| (0..=MAX_SIDE).contains(&d).then_some(d as usize)).collect();
        let dims = dims.ok_or_else(|| refuse(format!("has the shape {:?}", self.dims)))?;
        let count = count(&dims).ok_or_else(|| refuse(format!("has the shape {dims:?}, which is too large")))?;
        let content = match DataType::of(self.kind) {
            Ok(_) if self.is_part => Err("is only a part of a tensor".into()),
            Ok(kind) => Ok(self.stored(kind, count).map_err(refuse)?),
            Err(what) => Err(format!("holds {what}")),
        };
        Ok(Tensor { name, dims, content })
    }

    /// Where the numbers are, of which there must be as many as the shape says.
    fn stored(self, kind: DataType, count: usize) -> Result<Stored, String> {
        let expected = count.checked_mul(kind.size()).ok_or("is too large")?;
        let fits = |found: usize, expected: usize| match found == expected {
            true => Ok(()),
            false => Err(format!("has {found} bytes instead of {expected}")),
        };
        if self.is_elsewhere {
            let place = elsewhere(&self.place, expected)?;
            return Ok(Stored::Elsewhere { kind, place });
        }
        if let Some(raw) = self.raw {
            fits(raw.len(), expected)?;
            return Ok(Stored::Here { kind, begin: raw.begin });
        }
        if let (Some(packed), DataType::Float | DataType::Double) = (self.packed, kind) {
            fits(packed.len(), expected)?;
            return Ok(Stored::Here { kind, begin: packed.begin });
        }
        if let Some(place) = self.listed {
            // Whether they are as many is known when they are read.
            return match (count..=count.saturating_mul(MAX_VARINT)).contains(&place.len()) {
                true => Ok(Stored::Listed { kind, place }),
                false => Err(format!("has {} bytes for {count} numbers", place.len())),
            };
        }
        if kind.is_real() && self.integers.is_empty() {
            return match self.floats.len() == count {
                true => Ok(Stored::Floats(self.floats.into())),
                false => Err(format!("has {} numbers instead of {count}", self.floats.len())),
            };
        }
        if self.integers.len() != count {
            return Err(format!("has {} numbers instead of {count}", self.integers.len()));
        }
        let mut integers = self.integers;
        let floats =
            |value: fn(u16) -> f32| Stored::Floats(Arc::new(integers.iter().map(|&n| value(n as u16)).collect()));
        Ok(match kind {
            // Their bits.
            DataType::Float16 => floats(|bits| half::f16::from_bits(bits).to_f32()),
            DataType::BFloat16 => floats(|bits| half::bf16::from_bits(bits).to_f32()),
            DataType::Float | DataType::Double => return Err("has integers where its numbers should be".into()),
            _ => {
                integers.iter_mut().for_each(|n| *n = kind.wrapped(*n));
                Stored::Integers(integers.into())
            }
        })
    }
}

/// How many numbers a tensor of this shape has, if that is not too many.
pub(super) fn count(dims: &[usize]) -> Option<usize> {
    // Sides of which one is 0 have a product that says nothing about the others.
    let sides = dims.iter().filter(|&&d| d != 0).try_fold(1_usize, |n, &d| n.checked_mul(d));
    let all = sides.filter(|&n| n <= MAX_NUMBERS)?;
    Some(if dims.contains(&0) { 0 } else { all })
}

/// The place of external data, `expected` bytes.
fn elsewhere(entries: &[(String, String)], expected: usize) -> Result<Elsewhere, String> {
    let get = |key: &str| entries.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    let number = |key: &str, default: usize| match get(key) {
        None => Ok(default),
        Some(text) => {
            text.trim().parse().map_err(|_| format!("has {key} `{text}` in another file, which is no number"))
        }
    };
    let file = get("location").ok_or("lies in another file, and does not say in which")?.to_owned();
    let begin: usize = number("offset", 0)?;
    let length = number("length", expected)?;
    match length == expected && begin.checked_add(length).is_some() {
        true => Ok(Elsewhere { file, begin }),
        false => Err(format!("has {length} bytes from {begin} on in another file, instead of {expected}")),
    }
}
