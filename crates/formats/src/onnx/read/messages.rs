//! ONNX's messages as they stand in a file: numbers of fields and types of
//! <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3>. What is not listed here is passed over.
//!
//! Not here: whether they make a network.

use super::limits::{MAX_RANK, MAX_SIDE, too_many};
use super::tensor::{self, Tensor};
use super::wire::{Content, Reader, Span, entry};
use crate::error::FormatError;

/// Most nodes, and most of anything else that is counted.
const MAX_COUNT: usize = cspnet_graph::GraphError::MAX_NODES;

/// `ModelProto`.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// Versions of sets of operators, by domain.
    pub opsets: Vec<(String, i64)>,
    pub graph: Option<Graph>,
    pub metadata: Vec<(String, String)>,
}

/// `GraphProto`.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub name: String,
    pub nodes: Vec<Node>,
    pub initialisers: Vec<Tensor>,
    pub inputs: Vec<Info>,
    pub outputs: Vec<Info>,
    /// How many initialisers are sparse, which are not read.
    pub sparse: usize,
}

/// `NodeProto`.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub name: String,
    pub operator: String,
    pub domain: String,
    /// Names of values; an empty one stands for an input that is left out.
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub attributes: Vec<Attribute>,
}

/// `AttributeProto`.
#[derive(Debug)]
pub(super) struct Attribute {
    pub name: String,
    pub value: Value,
}

/// What an attribute says.
#[derive(Debug)]
pub(super) enum Value {
    Float(f32),
    Integer(i64),
    Text(String),
    Floats(Vec<f32>),
    Integers(Vec<i64>),
    Tensor(Tensor),
    /// Something that is not read; what it is.
    Other(&'static str),
}

/// `ValueInfoProto` of a tensor.
#[derive(Debug, Default)]
pub(super) struct Info {
    pub name: String,
    /// The type of its elements, a number of `TensorProto.DataType`; 0 if it is no tensor.
    pub element: i64,
    /// Its sides, if they are told.
    pub dims: Option<Vec<Side>>,
}

/// `TensorShapeProto.Dimension`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Known(usize),
    /// Known when the network runs; perhaps it has a name.
    Open(String),
}

/// Reads a file.
pub(super) fn model(reader: &mut Reader<'_>) -> Result<Model, FormatError> {
    let mut model = Model::default();
    let all = reader.all();
    reader.each(all, |reader, number, content| {
        match number {
            7 if model.graph.is_some() => return Err(FormatError::OnnxFile("it holds two graphs".into())),
            7 => model.graph = Some(graph(reader, content.bytes()?)?),
            8 => push(reader, &mut model.opsets, "sets of operators", |reader| opset(reader, content))?,
            14 => {
                push(reader, &mut model.metadata, "facts", |reader| entry(reader, content.bytes()?, Reader::long_text))?
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(model)
}

/// Adds to a list what `read` reads, if the list does not grow too long.
fn push<'a, T>(
    reader: &mut Reader<'a>,
    list: &mut Vec<T>,
    what: &str,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, FormatError>,
) -> Result<(), FormatError> {
    if list.len() >= MAX_COUNT {
        return Err(FormatError::OnnxFile(format!("it has more than {MAX_COUNT} {what}")));
    }
    reader.charge::<T>(1)?;
    list.push(read(reader)?);
    Ok(())
}

fn opset(reader: &mut Reader<'_>, content: Content) -> Result<(String, i64), FormatError> {
    let (mut domain, mut version) = (String::new(), 0);
    reader.each(content.bytes()?, |reader, number, content| {
        match number {
            1 => domain = reader.text(content)?,
            2 => version = content.integer()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((domain, version))
}

fn graph(reader: &mut Reader<'_>, span: Span) -> Result<Graph, FormatError> {
    let mut graph = Graph::default();
    reader.each(span, |reader, number, content| {
        match number {
            1 => push(reader, &mut graph.nodes, "nodes", |reader| node(reader, content.bytes()?))?,
            2 => graph.name = reader.text(content)?,
            5 => {
                push(reader, &mut graph.initialisers, "initialisers", |reader| tensor::read(reader, content.bytes()?))?
            }
            11 => push(reader, &mut graph.inputs, "inputs", |reader| info(reader, content.bytes()?))?,
            12 => push(reader, &mut graph.outputs, "outputs", |reader| info(reader, content.bytes()?))?,
            15 => graph.sparse += 1,
            _ => {}
        }
        Ok(())
    })?;
    Ok(graph)
}

fn node(reader: &mut Reader<'_>, span: Span) -> Result<Node, FormatError> {
    let mut node = Node::default();
    reader.each(span, |reader, number, content| {
        match number {
            1 => push(reader, &mut node.inputs, "inputs of a node", |reader| reader.text(content))?,
            2 => push(reader, &mut node.outputs, "outputs of a node", |reader| reader.text(content))?,
            3 => node.name = reader.text(content)?,
            4 => node.operator = reader.text(content)?,
            5 => push(reader, &mut node.attributes, "attributes", |reader| attribute(reader, content.bytes()?))?,
            7 => node.domain = reader.text(content)?,
            _ => {}
        }
        Ok(())
    })?;
    // Most lists have one entry, and would have room for four.
    node.inputs.shrink_to_fit();
    node.outputs.shrink_to_fit();
    node.attributes.shrink_to_fit();
    Ok(node)
}

fn attribute(reader: &mut Reader<'_>, span: Span) -> Result<Attribute, FormatError> {
    let (mut name, mut kind, mut value) = (String::new(), 0, None);
    let (mut floats, mut integers) = (Vec::new(), Vec::new());
    reader.each(span, |reader, number, content| {
        match number {
            1 => name = reader.text(content)?,
            2 => value = Some(Value::Float(content.float()?)),
            3 => value = Some(Value::Integer(content.integer()?)),
            4 => value = Some(Value::Text(reader.text(content)?)),
            5 => value = Some(Value::Tensor(tensor::read(reader, content.bytes()?)?)),
            6 | 11 => value = Some(Value::Other("a graph within the graph")),
            7 => reader.floats(content, &mut floats)?,
            8 => reader.integers(content, &mut integers)?,
            9 => value = Some(Value::Other("a list of texts")),
            10 => value = Some(Value::Other("a list of tensors")),
            14 | 15 => value = Some(Value::Other("a type")),
            20 => kind = content.integer()?,
            21 => value = Some(Value::Other("what a function's caller says")),
            22 | 23 => value = Some(Value::Other("a sparse tensor")),
            _ => {}
        }
        Ok(())
    })?;
    let value = value.unwrap_or_else(|| match kind {
        1 => Value::Float(0.0),
        2 => Value::Integer(0),
        3 => Value::Text(String::new()),
        _ if !floats.is_empty() || kind == 6 => Value::Floats(floats),
        _ => Value::Integers(integers),
    });
    Ok(Attribute { name, value })
}

fn info(reader: &mut Reader<'_>, span: Span) -> Result<Info, FormatError> {
    let mut info = Info::default();
    reader.each(span, |reader, number, content| {
        match number {
            1 => info.name = reader.text(content)?,
            // `TypeProto`, and in it a tensor.
            2 => reader.each(content.bytes()?, |reader, number, content| match number {
                1 => tensor_type(reader, content.bytes()?, &mut info),
                _ => Ok(()),
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(info)
}

/// `TypeProto.Tensor`.
fn tensor_type(reader: &mut Reader<'_>, span: Span, info: &mut Info) -> Result<(), FormatError> {
    reader.each(span, |reader, number, content| {
        match number {
            1 => info.element = content.integer()?,
            2 => {
                let dims = info.dims.insert(Vec::new());
                reader.each(content.bytes()?, |reader, number, content| match number {
                    1 if dims.len() == MAX_RANK => {
                        Err(FormatError::OnnxFile(format!("`{}` {}", info.name, too_many())))
                    }
                    1 => push(reader, dims, "sides", |reader| side(reader, content.bytes()?)),
                    _ => Ok(()),
                })?;
                dims.shrink_to_fit();
            }
            _ => {}
        }
        Ok(())
    })
}

fn side(reader: &mut Reader<'_>, span: Span) -> Result<Side, FormatError> {
    let mut side = Side::Open(String::new());
    reader.each(span, |reader, number, content| {
        match number {
            1 => {
                side = match content.integer()? {
                    n @ 0..=MAX_SIDE => Side::Known(n as usize),
                    // What writers of old had instead of nothing.
                    _ => Side::Open(String::new()),
                }
            }
            2 => side = Side::Open(reader.text(content)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(side)
}
