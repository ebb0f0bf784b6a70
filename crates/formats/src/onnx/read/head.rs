//! The nodes in front of a network whose file prepares photos itself ([`crate::onnx::Options::photo`]). They compute with photos of any
//! size, which no graph does; but what they compute is known, for the file says how photos are prepared. So they are not lowered: each is
//! held against the one that is written for this, whatever its name, and what they give is what the network takes.

use std::collections::HashMap;

use cspnet_graph::{Builder, Weights};
use cspnet_vision::Preprocess;

use super::call::Operand;
use super::constant::Files;
use super::data_type::DataType;
use super::lower::Initialisers;
use super::messages::{Attribute, Graph, Info, Node, Side, Value};
use super::{is_standard, title};
use crate::error::FormatError;
use crate::onnx::{Options, model, proto};
use crate::text::shown;

#[cfg(test)]
mod tests;

/// What is in front of the network.
pub(super) struct Head {
    /// The first so many nodes of the file.
    pub nodes: usize,
    /// What the photos are called.
    pub photo: String,
    /// What the network takes.
    pub picture: Info,
}

impl Head {
    /// The nodes of a graph that prepare photos in this way.
    ///
    /// # Errors
    /// If the file takes no photos, or a node is another than is written for them: which one.
    pub(super) fn of(
        graph: &Graph,
        initialisers: &Initialisers<'_>,
        files: &Files<'_>,
        preprocess: &Preprocess,
    ) -> Result<Self, FormatError> {
        let expected = written(preprocess)?;
        let (photo, batch) = photo(graph, initialisers)?;
        let names = HashMap::from([(expected.input[0].name.as_str(), photo)]);
        let mut comparison = Comparison { expected: &expected, initialisers, files, names };
        for (place, node) in expected.node.iter().enumerate() {
            let found = graph.nodes.get(place).ok_or_else(|| refused(format!("node {place} is not there")))?;
            comparison.compare(node, found).map_err(|why| refused(format!("{} {}", title(found), shown(&why))))?;
        }
        let (rows, columns) = (preprocess.size.0 as usize, preprocess.size.1 as usize);
        let picture = Info {
            name: comparison.names[expected.output[0].name.as_str()].into(),
            element: proto::FLOAT.into(),
            dims: Some(vec![batch.clone(), Side::Known(3), Side::Known(rows), Side::Known(columns)]),
        };
        Ok(Self { nodes: expected.node.len(), photo: photo.into(), picture })
    }
}

/// The nodes as they are written: those of a network that does nothing else.
fn written(preprocess: &Preprocess) -> Result<proto::Graph, FormatError> {
    let mut builder = Builder::new();
    let picture = builder.input(3);
    let nothing = builder.finish(picture)?;
    let options = Options { photo: Some(preprocess.clone()), ..Options::default() };
    let model = model(&nothing, &Weights::new(&nothing, Vec::new())?, None, &options)?;
    Ok(model.graph.expect("a graph is written"))
}

/// The name of a file's only input, which are photos, and how many they are.
fn photo<'a>(graph: &'a Graph, initialisers: &Initialisers<'_>) -> Result<(&'a str, &'a Side), FormatError> {
    let is_given = |info: &&Info| !initialisers.contains_key(info.name.as_str());
    match graph.inputs.iter().filter(is_given).collect::<Vec<_>>()[..] {
        [Info { name, element, dims: Some(dims) }] if *element == i64::from(proto::UINT8) => match &dims[..] {
            [batch, _, _, Side::Known(3)] => Ok((name.as_str(), batch)),
            _ => Err(no_photo(name)),
        },
        [info] => Err(no_photo(&info.name)),
        ref several => Err(refused(format!("the graph has {} inputs", several.len()))),
    }
}

fn no_photo(input: &str) -> FormatError {
    refused(format!("the input `{}` does not take bytes [batch, height, width, 3]", shown(input)))
}

/// A file whose photos are prepared in another way than it says.
fn refused(why: String) -> FormatError {
    let says = "it says that it prepares photos as this program writes it, and does not";
    FormatError::OnnxFile(format!("{says}: {why}"))
}

/// Nodes of a file, held one after another against those that are written.
struct Comparison<'a> {
    expected: &'a proto::Graph,
    initialisers: &'a Initialisers<'a>,
    files: &'a Files<'a>,
    /// What the file calls the values and initialisers that are written under other names.
    names: HashMap<&'a str, &'a str>,
}

impl<'a> Comparison<'a> {
    fn compare(&mut self, expected: &'a proto::Node, found: &'a Node) -> Result<(), String> {
        if found.operator != expected.op_type || !is_standard(&found.domain) {
            return Err(format!("is no {}", expected.op_type));
        }
        let is_there = |a: &proto::Attribute| found.attributes.iter().any(|b| is_same(a, b));
        if found.attributes.len() != expected.attribute.len() || !expected.attribute.iter().all(is_there) {
            return Err("has other attributes".into());
        }
        if found.inputs.len() != expected.input.len() {
            return Err(format!("has {} inputs instead of {}", found.inputs.len(), expected.input.len()));
        }
        for (wanted, name) in expected.input.iter().zip(&found.inputs) {
            match self.names.get(wanted.as_str()) {
                Some(known) if known == name => {}
                Some(known) => return Err(format!("reads `{name}` instead of `{known}`")),
                None if self.holds(wanted, name)? => {
                    self.names.insert(wanted, name);
                }
                None => return Err(format!("reads `{name}`, which has other numbers")),
            }
        }
        match &found.outputs[..] {
            [name] => self.names.insert(&expected.output[0], name),
            several => return Err(format!("gives {} values", several.len())),
        };
        Ok(())
    }

    /// Whether an initialiser has the numbers of the one that is written as `wanted`.
    fn holds(&self, wanted: &str, name: &str) -> Result<bool, String> {
        let tensor = self.expected.initializer.iter().find(|t| t.name == wanted).expect("what is written is given");
        let kind = DataType::of(tensor.data_type.unwrap_or_default().into())?;
        let is_long = |(wanted, found): (&i64, &usize)| usize::try_from(*wanted) == Ok(*found);
        match self.initialisers.get(name) {
            Some(Ok(Operand::Constant(found))) if found.dims.len() == tensor.dims.len() => {
                let dims = tensor.dims.iter().zip(&found.dims).all(is_long);
                Ok(dims && found.is_stored_as(kind, &tensor.raw_data, self.files).map_err(|e| e.to_string())?)
            }
            Some(Err(why)) => Err(format!("needs `{name}`, which {why}")),
            _ => Ok(false),
        }
    }
}

/// Whether an attribute is the one that is written: all of them are integers.
fn is_same(expected: &proto::Attribute, found: &Attribute) -> bool {
    found.name == expected.name
        && match &found.value {
            Value::Integer(value) => expected.i == Some(*value),
            Value::Integers(values) => expected.i.is_none() && expected.ints == *values,
            _ => false,
        }
}
