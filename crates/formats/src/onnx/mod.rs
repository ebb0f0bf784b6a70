//! ONNX files: a network with its weights as other engines read it, and [`Network`]s that other programs have written.
//!
//! Nodes and values are named by the graph's paths, inputs and outputs as the graph's, initialisers as the parameters. The batch is
//! open; pictures are real numbers `[batch, c, h, w]`, or pixel values `0..=255` as such where the network normalises them itself. On
//! demand the file takes photos of any size instead, bytes `[batch, height, width, 3]`, and prepares them itself. The same network
//! gives the same bytes. Not here: networks in half precision are not written.

mod emit;
mod functions;
mod metadata;
mod names;
mod operators;
mod photo;
mod places;
mod proto;
mod read;
#[cfg(test)]
mod tests;

use cspnet_graph::rewrite::fold_batch_norm;
use cspnet_graph::{Graph, Shape, ValueId, Weights};
use cspnet_vision::Preprocess;
use prost::Message;

use crate::error::FormatError;
use crate::labels;
use crate::manifest::Manifest;
use emit::{Emitter, Form};
use proto::Dimension;

pub use read::{DEFAULT_SIZE, Network, ReadOptions, Tensor, is_onnx};

/// Version of the set of operators that is written; it is of 2022, and what reads ONNX today reads it.
pub const OPSET: i64 = 17;

/// Version of the file's form, the one that came with the operators (<https://onnx.ai/onnx/repo-docs/Versioning.html>).
const IR_VERSION: i64 = 8;

/// What probabilities behind an answer are called if that has no name but its node's.
const PROBABILITIES: &str = "softmax";

/// Longest message that readers of protocol buffers take, in bytes.
const MAX_LEN: usize = i32::MAX as usize;

/// Choices in writing a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// Rows and columns of every input; open if there are none, which engines are slower with.
    pub size: Option<[usize; 2]>,
    /// How the file itself makes the picture of a photo: then its input is `photo`, bytes `[batch, height, width, 3]` of upright red,
    /// green and blue, all photos of a batch of one size; `size` does not count. The picture is that of [`Preprocess::apply`], in
    /// engines that compute in double precision bit for bit, in those that do not up to a level in some pixels. [`Network`] reads
    /// such a file as the network behind it.
    pub photo: Option<Preprocess>,
    /// What becomes of normalisations.
    pub batch_norm: BatchNorm,
    /// Whether the answer are probabilities instead of the network's own numbers.
    pub softmax: bool,
}

/// What becomes of normalisations behind convolutions; those in front of them are nodes in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BatchNorm {
    /// They go into the convolutions' weights; see [`fold_batch_norm`].
    #[default]
    Fold,
    /// Each is a node, and every parameter is in the file as it is.
    Node,
}

/// A network with its weights as the bytes of an ONNX file; labels and preprocessing of the manifest, if there is one, become its
/// metadata.
///
/// # Errors
/// If the weights, the manifest, the size or the way of a photo do not fit the graph, an operation cannot be said in ONNX, or the
/// file would be longer than ONNX allows.
pub fn write(
    graph: &Graph,
    weights: &Weights,
    manifest: Option<&Manifest>,
    options: &Options,
) -> Result<Vec<u8>, FormatError> {
    weights.check(graph.params())?;
    if let Some(manifest) = manifest {
        manifest.validate()?;
        labels::check(&manifest.labels, graph.channels(graph.output())).map_err(FormatError::Manifest)?;
    }
    options.photo.as_ref().map_or(Ok(()), |preprocess| takes_photos(graph, preprocess))?;
    let model = match options.batch_norm {
        BatchNorm::Fold => {
            let folded = fold_batch_norm(graph, &weights.into(), &[]);
            model(&folded.graph, &folded.weights.to_weights()?, manifest, options)?
        }
        BatchNorm::Node => model(graph, weights, manifest, options)?,
    };
    match model.encoded_len() {
        0..=MAX_LEN => Ok(model.encode_to_vec()),
        bytes => Err(FormatError::OnnxLength { bytes }),
    }
}

/// Whether photos can be prepared for a network inside its file.
fn takes_photos(graph: &Graph, preprocess: &Preprocess) -> Result<(), FormatError> {
    preprocess.validate()?;
    let refuse = |input: ValueId, why| Err(FormatError::Onnx { path: graph.node(input).path.clone(), why });
    match *graph.inputs() {
        [_, other, ..] => refuse(other, "where photos are prepared inside, they are the only input"),
        [picture] if graph.channels(picture) != 3 => refuse(picture, "photos that are prepared inside have 3 channels"),
        _ => Ok(()),
    }
}

fn model(
    graph: &Graph,
    weights: &Weights,
    manifest: Option<&Manifest>,
    options: &Options,
) -> Result<proto::Model, FormatError> {
    let of_photo = options.photo.as_ref().map(|p| [p.size.0 as usize, p.size.1 as usize]);
    let of_input = |[h, w]: [usize; 2]| graph.inputs().iter().map(|&v| [graph.channels(v), h, w]).collect::<Vec<_>>();
    let shapes = of_photo.or(options.size).map(|size| graph.shapes(of_input(size))).transpose()?;
    let mut emitter = Emitter::new(graph, weights);
    let photo = options.photo.as_ref().map(|preprocess| emitter.photo(preprocess));
    let written = usize::from(photo.is_some());
    (written..graph.nodes().len()).try_for_each(|id| emitter.operation(id))?;
    let info = |name: &str, value: ValueId, form, sides: [String; 2]| {
        let shape = shapes.as_ref().map(|shapes| shapes[value]);
        proto::ValueInfo::floats(name.into(), dimensions(graph.channels(value), shape, form, sides))
    };
    let mut outputs = Vec::new();
    for (place, output) in graph.outputs().iter().enumerate() {
        let (name, form) = match place {
            0 if options.softmax => emitter.softmax(output),
            _ => emitter.output(output),
        };
        outputs.push(info(&name, output.value, form, sides(place, &output.name, "output_")));
    }
    let input = |(place, &value): (usize, &ValueId)| {
        let name = emitter.value(value).0;
        info(name, value, Form::Planes, sides(place, name, ""))
    };
    let inputs = match photo {
        Some(photo) => {
            let [batch, height, width] = ["batch", "height", "width"].map(Dimension::named);
            vec![proto::ValueInfo::image(photo, vec![batch, height, width, Dimension::known(3)])]
        }
        None => graph.inputs().iter().enumerate().map(input).collect(),
    };
    let graph = proto::Graph {
        node: emitter.nodes,
        name: manifest.map_or("network", |m| &m.network).to_owned(),
        initializer: emitter.initialisers,
        input: inputs,
        output: outputs,
    };
    Ok(proto::Model {
        ir_version: Some(IR_VERSION),
        producer_name: "cspnet".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        opset_import: vec![proto::OperatorSet { version: Some(OPSET) }],
        metadata_props: metadata::entries(manifest, options.photo.as_ref())?,
    })
}

/// Names for the rows and columns of an input or output; the first has none of its own in them.
fn sides(place: usize, name: &str, prefix: &str) -> [String; 2] {
    ["height", "width"].map(|side| if place == 0 { format!("{prefix}{side}") } else { format!("{name}_{side}") })
}

/// A value's dimensions, of which the batch is open; rows and columns have names where no shape is known.
fn dimensions(channels: usize, shape: Option<Shape>, form: Form, sides: [String; 2]) -> Vec<Dimension> {
    let mut dimensions = vec![Dimension::named("batch"), Dimension::known(channels)];
    match (form, shape) {
        (Form::Flat, _) => {}
        (Form::Planes, Some([_, height, width])) => dimensions.extend([height, width].map(Dimension::known)),
        (Form::Planes, None) => dimensions.extend(sides.map(|side| Dimension::named(&side))),
    }
    dimensions
}
