//! The messages of `onnx.proto3` that a network of ours needs, by hand: numbers of fields and their types as ONNX 1.12 has them
//! (<https://github.com/onnx/onnx/blob/v1.12.0/onnx/onnx.proto3>). What a message has beside these fields is left out.
//!
//! Fields of one number are optional here, so that a zero is written too, and lists of numbers are not packed: both as the official
//! library writes them, whose schema is in the language's second version.

use prost::Message;

/// `TensorProto.DataType.FLOAT`.
pub(super) const FLOAT: i32 = 1;
/// `TensorProto.DataType.UINT8`.
pub(super) const UINT8: i32 = 2;
/// `TensorProto.DataType.INT64`.
pub(super) const INT64: i32 = 7;
/// `TensorProto.DataType.DOUBLE`.
pub(super) const DOUBLE: i32 = 11;

/// `AttributeProto.AttributeType.FLOAT`.
pub(super) const ATTRIBUTE_FLOAT: i32 = 1;
/// `AttributeProto.AttributeType.INT`.
pub(super) const ATTRIBUTE_INT: i32 = 2;
/// `AttributeProto.AttributeType.STRING`.
pub(super) const ATTRIBUTE_STRING: i32 = 3;
/// `AttributeProto.AttributeType.INTS`.
pub(super) const ATTRIBUTE_INTS: i32 = 7;

/// `ModelProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Model {
    #[prost(int64, optional, tag = "1")]
    pub ir_version: Option<i64>,
    #[prost(string, tag = "2")]
    pub producer_name: String,
    #[prost(string, tag = "3")]
    pub producer_version: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSet>,
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<Entry>,
}

/// `OperatorSetIdProto`; without a domain it is the set of ONNX's own operators.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OperatorSet {
    #[prost(int64, optional, tag = "2")]
    pub version: Option<i64>,
}

/// `StringStringEntryProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `GraphProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<Node>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfo>,
}

/// `NodeProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<Attribute>,
}

/// `AttributeProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    #[prost(string, optional, tag = "4")]
    pub s: Option<String>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    #[prost(int32, optional, tag = "20")]
    pub kind: Option<i32>,
}

/// `TensorProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Tensor {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, optional, tag = "2")]
    pub data_type: Option<i32>,
    #[prost(string, tag = "8")]
    pub name: String,
    /// Little-endian, row-major.
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
}

/// `ValueInfoProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ValueInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<Type>,
}

/// `TypeProto`, of whose alternatives a tensor is the only one used.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Type {
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorType>,
    /// What the numbers mean, one of a few standard words.
    #[prost(string, tag = "6")]
    pub denotation: String,
}

/// `TypeProto.Tensor`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorType {
    #[prost(int32, optional, tag = "1")]
    pub elem_type: Option<i32>,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShape>,
}

/// `TensorShapeProto`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorShape {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<Dimension>,
}

/// `TensorShapeProto.Dimension`: one of the two.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Dimension {
    #[prost(int64, optional, tag = "1")]
    pub dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub dim_param: Option<String>,
}

impl Dimension {
    /// A number.
    pub(super) fn known(value: usize) -> Self {
        Self { dim_value: Some(value as i64), dim_param: None }
    }

    /// A name for what is known only when the network runs.
    pub(super) fn named(name: &str) -> Self {
        Self { dim_value: None, dim_param: Some(name.into()) }
    }
}

impl ValueInfo {
    /// A value of single-precision numbers.
    pub(super) fn floats(name: String, dim: Vec<Dimension>) -> Self {
        Self::tensor(name, FLOAT, dim, "")
    }

    /// A value that is a picture of bytes.
    pub(super) fn image(name: String, dim: Vec<Dimension>) -> Self {
        Self::tensor(name, UINT8, dim, "IMAGE")
    }

    fn tensor(name: String, elem_type: i32, dim: Vec<Dimension>, denotation: &str) -> Self {
        let tensor = TensorType { elem_type: Some(elem_type), shape: Some(TensorShape { dim }) };
        Self { name, r#type: Some(Type { tensor_type: Some(tensor), denotation: denotation.into() }) }
    }
}

impl Attribute {
    /// One integer.
    pub(super) fn int(name: &str, value: usize) -> Self {
        Self { name: name.into(), i: Some(value as i64), kind: Some(ATTRIBUTE_INT), ..Self::default() }
    }

    /// One real number.
    pub(super) fn float(name: &str, value: f64) -> Self {
        Self { name: name.into(), f: Some(value as f32), kind: Some(ATTRIBUTE_FLOAT), ..Self::default() }
    }

    /// A word.
    pub(super) fn word(name: &str, value: &str) -> Self {
        Self { name: name.into(), s: Some(value.into()), kind: Some(ATTRIBUTE_STRING), ..Self::default() }
    }

    /// A list of integers.
    pub(super) fn ints(name: &str, values: &[usize]) -> Self {
        let ints = values.iter().map(|&v| v as i64).collect();
        Self { name: name.into(), ints, kind: Some(ATTRIBUTE_INTS), ..Self::default() }
    }
}
