//! Reading ONNX files: a file's graph becomes one of ours, and its initialisers the weights.
//!
//! The wire format ([`wire`]) gives messages ([`messages`]), of which tensors stay in the file ([`tensor`], [`constant`]). Nodes are
//! lowered one after another ([`lower`]): what is computed of constants, such as shapes, is computed ([`evaluate`]); everything
//! else becomes steps ([`flow`]). A tensor of any rank lies row-major in a value `[c, h, w]` of one image, the batch apart. What files
//! spell out in several nodes is joined in the end ([`fused`]). Where a file of ours prepares photos itself, the nodes for that are
//! left out ([`head`]).
//!
//! Everything is charged to one account before memory is taken for it ([`allowance`]), and numbers are read when somebody asks for
//! them.

mod allowance;
mod arithmetic;
mod call;
mod constant;
mod data_type;
mod dims;
mod evaluate;
mod external;
mod facts;
mod flow;
mod fused;
mod head;
mod layers;
mod limits;
mod lower;
mod messages;
mod norms;
mod operators;
mod order;
mod places;
mod products;
mod repeat;
mod sources;
mod standardised;
mod tensor;
#[cfg(test)]
mod tests;
mod varints;
mod wire;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use cspnet_graph::{Axis, Builder, Graph, LazyWeights, Op, Shape, Value};

use crate::error::FormatError;
use crate::manifest::Manifest;
use crate::model_file::ModelFile;
use crate::onnx::PROBABILITIES;
use crate::onnx::names::Names;
use crate::tensors::Bytes;
use crate::text::shown;
use allowance::{Allowance, Loan};
use constant::{Constant, Files};
use external::Externals;
use head::Head;
use lower::{End, Lowered, Source, initialisers};
use messages::Node;
use wire::Reader;

/// Oldest version of the operators that is read, of 2018.
const OLDEST: i64 = 7;

/// Newest version of the operators that is known.
const NEWEST: i64 = 28;

/// Most numbers of weights that are not in the file, since all of a tensor are the same: twice those of VGG-19.
const MAX_FILLED: usize = 1 << 28;

/// Most modules, one within the other, that a path names: far more than networks have, but a hostile path is all points.
const MAX_NESTED: usize = 16;

/// Memory for a module beside its name: its entry in a tree that is half empty.
const MODULE: usize = 128;

/// Choices in reading a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Rows and columns of pictures, where the file leaves them open; else those of its preprocessing, or [`DEFAULT_SIZE`].
    pub size: Option<[usize; 2]>,
    /// Whether a softmax at the end is left out, as in all networks here that classify: what classifies has its own.
    pub without_softmax: bool,
}

/// Rows and columns of a picture of which nothing is said.
pub const DEFAULT_SIZE: [usize; 2] = [224, 224];

/// A network that was read from an ONNX file. Its numbers are read when they are asked for.
#[derive(Debug)]
pub struct Network<'a> {
    graph: Graph,
    /// In the order of the graph's parameters.
    params: Vec<Constant>,
    files: Files<'a>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    facts: Vec<(String, String)>,
    name: String,
}

/// What a network takes or gives, as its file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name in the file.
    pub name: String,
    /// Whether it has a first dimension for the images of a batch, which is not among its sides.
    pub batched: bool,
    /// Its dimensions for one image. Row-major, they are the numbers of a value `[c, h, w]`.
    pub sides: Vec<usize>,
}

impl Tensor {
    /// The shape of the graph's value that holds an image of it.
    pub fn shape(&self) -> Shape {
        flow::planes(&self.sides)
    }
}

impl Network<'static> {
    /// Opens a file. Large tensors may lie in files beside it, which must not be links.
    ///
    /// # Errors
    /// If it cannot be read, is no sound ONNX file, or has operations that are not supported: all of them are told.
    pub fn open(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let read = |file| Self::new(file, Externals::beside(path), &stem, options);
        read(Bytes::open(path)?).map_err(|e| e.at(path))
    }
}

impl<'a> Network<'a> {
    /// Reads the bytes of a file, which has all its tensors in itself.
    ///
    /// # Errors
    /// As [`Network::open`].
    pub fn from_bytes(bytes: &'a [u8], options: &ReadOptions) -> Result<Self, FormatError> {
        Self::new(Bytes::Memory(bytes), Externals::default(), "", options)
    }

    fn new(here: Bytes<'a>, mut beside: Externals, stem: &str, options: &ReadOptions) -> Result<Self, FormatError> {
        let allowance = Allowance::new();
        let mut reader = Reader::new(&here, &allowance);
        let messages::Model { opsets, graph, metadata } = messages::model(&mut reader)?;
        let mut graph = graph.ok_or_else(|| FormatError::OnnxFile("it holds no graph".into()))?;
        let opset = opset(&opsets)?;
        if graph.sparse > 0 {
            return Err(FormatError::OnnxUnsupported(format!("{} initialisers are sparse tensors", graph.sparse)));
        }
        let initialisers = initialisers(&graph.initialisers, &mut beside, &allowance)?;
        let files = Files { here, beside };
        // From here on no name stands for two things.
        let mut order = order::order(&graph, &allowance)?;
        if let Some(preprocess) = facts::embedded(&metadata)? {
            let head = Head::of(&graph, &initialisers, &files, &preprocess)?;
            order.retain(|&node| node >= head.nodes);
            graph.inputs.retain(|info| info.name != head.photo);
            graph.inputs.push(head.picture);
        }
        let size = options.size.or_else(|| facts::size(&metadata)).unwrap_or(DEFAULT_SIZE);
        let mut needed = order::leading_to_outputs(&graph, &mut order, &allowance)?.into_iter();
        graph.inputs.retain(|_| needed.next().unwrap_or(true));
        let source = Source { graph: &graph, opset, order, initialisers, files: &files, allowance: &allowance };
        let lowered = lowered(&source, size)?;
        let built = build(lowered, options, &files, &allowance, facts::are_own(&metadata))?;
        let name = if graph.name.is_empty() { stem } else { &graph.name };
        Ok(Self {
            graph: built.graph,
            params: built.params,
            inputs: built.inputs,
            outputs: built.outputs,
            facts: metadata,
            name: shown(name).into_owned(),
            files,
        })
    }

    /// Its operations.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Its numbers, which are read when they are asked for.
    pub fn weights(&self) -> LazyWeights<'_> {
        LazyWeights::new(self.params.iter().map(|constant| constant.tensor(&self.files)).collect())
    }

    /// What it takes, in the order of the graph's inputs. What the file calls an input and no output depends on is not among them.
    pub fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    /// What it gives, in the order of the graph's outputs.
    pub fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }

    /// Rows and columns of the picture it was read for.
    pub fn size(&self) -> [usize; 2] {
        let [_, h, w] = self.inputs[0].shape();
        [h, w]
    }

    /// The same as a model file, with all numbers in memory.
    ///
    /// # Errors
    /// As [`Network::manifest`], and if numbers cannot be read.
    pub fn to_model_file(&self) -> Result<ModelFile, FormatError> {
        Ok(ModelFile { manifest: self.manifest()?, weights: self.weights().to_weights()? })
    }

    /// All that the file says of it: what [`super::write`] has put into its metadata, where it was written here.
    ///
    /// # Errors
    /// If what it says makes no sense.
    pub fn manifest(&self) -> Result<Manifest, FormatError> {
        facts::manifest(&self.facts, Manifest::new(self.name.as_str(), self.graph.clone()))
    }
}

/// Whether a file is an ONNX file, as far as its name or its first bytes tell.
pub fn is_onnx(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx")) {
        return true;
    }
    let mut begin = [0; 9];
    // Opening a pipe would wait for who writes into it.
    let is_long = path.is_file() && File::open(path).and_then(|mut file| file.read_exact(&mut begin)).is_ok();
    // The version of the file's form comes first; a safetensors file has `{` behind eight bytes.
    is_long && begin[0] == 0x08 && begin[8] != b'{'
}

/// What a node is called: its name, or that of what it gives.
fn called(node: &Node) -> &str {
    let name = [&node.name].into_iter().chain(&node.outputs).find(|name| !name.is_empty());
    name.map_or("", String::as_str)
}

/// A node for messages: what it is called, and its operator.
fn title(node: &Node) -> String {
    format!("`{}` ({})", shown(called(node)), shown(&node.operator))
}

/// Whether a domain is that of ONNX's own operators.
fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// The version of ONNX's own operators.
fn opset(opsets: &[(String, i64)]) -> Result<i64, FormatError> {
    let own = opsets.iter().filter(|(domain, _)| is_standard(domain)).map(|&(_, version)| version);
    match own.max() {
        Some(version @ OLDEST..=NEWEST) => Ok(version),
        Some(version) if version > NEWEST => Err(FormatError::OnnxFile(format!(
            "its operators are of version {version}; those up to {NEWEST} are known: update this program, or write it for \
             an older one"
        ))),
        Some(version) => Err(FormatError::OnnxFile(format!(
            "its operators are of version {version}, and those from {OLDEST} on are read; with the Python package onnx: \
             onnx.version_converter.convert_version(onnx.load(FILE), 17)"
        ))),
        None => Err(FormatError::OnnxFile("it does not say which version of the operators it uses".into())),
    }
}

/// The graph with the first dimension as that of the images. If that cannot be, it is that of one image, or of as many together as the
/// file says.
fn lowered<'a>(source: &Source<'a>, size: [usize; 2]) -> Result<Lowered<'a>, FormatError> {
    let Some(images) = source.images() else {
        return source.lower(None, size).map_err(lower::Refusal::into_error);
    };
    match source.lower(Some(images), size) {
        Err(refusal) if refusal.is_of_images => {
            source.lower(None, size).map_err(|alone| refusal.and(alone).into_error())
        }
        lowered => lowered.map_err(lower::Refusal::into_error),
    }
}

/// A graph with its numbers.
struct Built {
    graph: Graph,
    params: Vec<Constant>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

/// The steps that are needed, as a graph.
fn build(
    lowered: Lowered<'_>,
    options: &ReadOptions,
    files: &Files<'_>,
    allowance: &Allowance,
    is_own: bool,
) -> Result<Built, FormatError> {
    let Lowered { mut steps, inputs, mut outputs } = lowered;
    let kept: Vec<usize> = outputs.iter().map(|end| end.step).collect();
    let same = fused::fuse(&mut steps, &kept, files, allowance);
    for end in &mut outputs {
        end.step = same[end.step];
        let step = steps.get(end.step);
        if options.without_softmax
            && matches!(step.op, Op::Softmax { axis: Axis::Channels, log: false })
            && step.shape[1..] == [1, 1]
        {
            end.step = step.inputs[0];
            // Which is a name for the probabilities.
            if is_own && end.name == PROBABILITIES {
                end.name.clone_from(&steps.get(end.step).path);
            }
        }
    }
    let ends: Vec<usize> = outputs.iter().map(|end| end.step).collect();
    let needed = steps.leading_to(&ends);
    let (mut builder, mut params) = (Builder::new(), Vec::new());
    let (mut paths, mut names) = (Names::default(), Names::default());
    let (mut values, mut named): (Vec<Option<Value>>, Vec<(String, Value)>) = Default::default();
    let (steps, mut held) = steps.into_list();
    for (step, needed) in steps.into_iter().zip(&needed) {
        if !needed {
            values.push(None);
            continue;
        }
        let inputs: Vec<Value> = step.inputs.iter().map(|&i| values[i].expect("what is read is needed")).collect();
        let path = paths.claim(&step.path);
        let value = builder.push(&path, step.op, &inputs);
        named.push((path, value));
        let own: Vec<String> = step.params.iter().map(|p| names.claim(&p.name)).collect();
        builder.name_params(value, own);
        params.extend(step.params.into_iter().map(|p| p.numbers));
        values.push(Some(value));
    }
    let filled =
        params.iter().filter(|c: &&Constant| !c.is_stored()).fold(0_usize, |sum, c| sum.saturating_add(c.len()));
    if filled > MAX_FILLED {
        let why =
            format!("its weights have {filled} numbers that are not in the file; at most {MAX_FILLED} are filled in");
        return Err(FormatError::OnnxFile(why));
    }
    if is_own {
        name_modules(&mut builder, &named, &mut held)
            .map_err(|why| FormatError::OnnxFile(format!("its modules {why}")))?;
    }
    let tensor =
        |end: &End| Tensor { name: end.name.clone(), batched: end.dims.batched, sides: end.dims.sides.clone() };
    let taken = inputs.iter().filter(|end| needed[end.step]).map(tensor).collect();
    let given: Vec<(&str, Value)> =
        outputs.iter().filter_map(|end| Some((end.name.as_str(), values[end.step]?))).collect();
    let graph = builder.finish_named(&given)?;
    Ok(Built { graph, params, inputs: taken, outputs: outputs.iter().map(tensor).collect() })
}

/// Names modules as paths suggest, which have them before their points: each gives what the last of its operations gives.
fn name_modules(builder: &mut Builder, named: &[(String, Value)], held: &mut Loan<'_>) -> Result<(), String> {
    for (path, value) in named {
        for (place, _) in path.match_indices('.').take(MAX_NESTED) {
            held.grow(place + MODULE)?;
            builder.name_module(&path[..place], *value);
        }
    }
    Ok(())
}
