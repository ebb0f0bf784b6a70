//! What the elements of a tensor are.

use safetensors::Dtype;

use crate::onnx::proto;

/// `TensorProto.DataType`, as far as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataType {
    Float,
    Float16,
    BFloat16,
    Double,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Bool,
}

impl DataType {
    /// The type of a number of the file.
    pub(super) fn of(number: i64) -> Result<Self, String> {
        Ok(match i32::try_from(number).unwrap_or(0) {
            proto::FLOAT => Self::Float,
            2 => Self::UInt8,
            3 => Self::Int8,
            4 => Self::UInt16,
            5 => Self::Int16,
            6 => Self::Int32,
            proto::INT64 => Self::Int64,
            9 => Self::Bool,
            10 => Self::Float16,
            11 => Self::Double,
            12 => Self::UInt32,
            13 => Self::UInt64,
            16 => Self::BFloat16,
            8 => return Err("texts".into()),
            14 | 15 => return Err("complex numbers".into()),
            17..=20 => return Err("numbers of 8 bits with a fraction".into()),
            21 | 22 | 25 | 26 => return Err("integers of less than 8 bits".into()),
            other => return Err(format!("elements of the type {other}, which is not known")),
        })
    }

    /// Whether its elements have fractions.
    pub(super) fn is_real(self) -> bool {
        matches!(self, Self::Float | Self::Float16 | Self::BFloat16 | Self::Double)
    }

    /// Bytes of an element.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Int8 | Self::UInt8 | Self::Bool => 1,
            Self::Float16 | Self::BFloat16 | Self::Int16 | Self::UInt16 => 2,
            Self::Float | Self::Int32 | Self::UInt32 => 4,
            Self::Double | Self::Int64 | Self::UInt64 => 8,
        }
    }

    /// An integer of so many bytes, the least significant one first.
    pub(super) fn integer(self, bytes: &[u8]) -> i64 {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        self.wrapped(i64::from_le_bytes(eight))
    }

    /// An integer as it is where no more bytes are kept of it. The largest of `UInt64` become negative, as they do in NumPy.
    pub(super) fn wrapped(self, value: i64) -> i64 {
        match self {
            Self::Int8 => i64::from(value as i8),
            Self::Int16 => i64::from(value as i16),
            Self::Int32 => i64::from(value as i32),
            Self::UInt8 => i64::from(value as u8),
            Self::UInt16 => i64::from(value as u16),
            Self::UInt32 => i64::from(value as u32),
            Self::Bool => i64::from(value != 0),
            _ => value,
        }
    }

    /// The same type in a safetensors file, whose reader reads real numbers here as well.
    pub(super) fn stored(self) -> Dtype {
        match self {
            Self::Float => Dtype::F32,
            Self::Float16 => Dtype::F16,
            Self::BFloat16 => Dtype::BF16,
            Self::Double => Dtype::F64,
            Self::Int8 => Dtype::I8,
            Self::Int16 => Dtype::I16,
            Self::Int32 => Dtype::I32,
            Self::Int64 => Dtype::I64,
            Self::UInt8 => Dtype::U8,
            Self::UInt16 => Dtype::U16,
            Self::UInt32 => Dtype::U32,
            Self::UInt64 => Dtype::U64,
            Self::Bool => Dtype::BOOL,
        }
    }
}
