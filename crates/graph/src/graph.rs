//! The graph: nodes in order, each the one definition of a value.
//!
//! Not here: how a graph is written comfortably ([`crate::Builder`]).

use std::collections::{BTreeMap, HashSet};
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::error::GraphError;
use crate::op::{Op, Shape, elements};
use crate::param::{Param, ParamId, Role};

/// A value: the output of the node of this number.
pub type ValueId = usize;

/// An operation in its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The published path of the module that does it, e.g. `features.denseblock1.denselayer2.conv1`.
    pub path: String,
    /// What is done.
    #[serde(flatten)]
    pub op: Op,
    /// To what: values of earlier nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<ValueId>,
    /// With what: weight then bias; or scale, shift, running mean, running variance; or a slope; or
    /// a constant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<ParamId>,
}

/// A value that a network gives, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Its name, which no other output has.
    pub name: String,
    /// The value.
    pub value: ValueId,
}

/// Shapes of all that a network takes, in the order of [`Graph::inputs`]: of one picture, mostly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputShapes(Vec<Shape>);

impl Deref for InputShapes {
    type Target = [Shape];

    fn deref(&self) -> &[Shape] {
        &self.0
    }
}

impl From<Shape> for InputShapes {
    fn from(picture: Shape) -> Self {
        Self(vec![picture])
    }
}

impl From<Vec<Shape>> for InputShapes {
    fn from(shapes: Vec<Shape>) -> Self {
        Self(shapes)
    }
}

impl From<&[Shape]> for InputShapes {
    fn from(shapes: &[Shape]) -> Self {
        Self(shapes.to_vec())
    }
}

/// A network: nodes in an order in which every one follows its inputs.
///
/// It takes one picture and gives one answer, or several of each: every [`Op::Input`] is one that it takes, named by its path, the
/// picture first of all; the answer is the first of its [outputs](Graph::outputs).
///
/// A graph that exists is sound: every node fits its inputs and its parameters, whether it was built, rewritten or read from
/// a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Graph {
    nodes: Vec<Node>,
    params: Vec<Param>,
    modules: BTreeMap<String, ValueId>,
    outputs: Vec<Output>,
    inputs: Vec<ValueId>,
    channels: Vec<usize>,
}

/// A graph as it stands in a file, not yet checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    pub nodes: Vec<Node>,
    pub params: Vec<Param>,
    pub modules: BTreeMap<String, ValueId>,
    /// The answer.
    pub output: ValueId,
    /// All outputs, the answer first; none where the answer is the only one and named by its node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
}

impl Raw {
    /// Gives every value another number.
    pub fn renumber_ends(&mut self, moved: impl Fn(ValueId) -> ValueId) {
        let others = self.outputs.iter_mut().map(|o| &mut o.value);
        self.modules.values_mut().chain(others).chain([&mut self.output]).for_each(|value| *value = moved(*value));
    }
}

impl Graph {
    /// The nodes, each after its inputs.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, value: ValueId) -> &Node {
        &self.nodes[value]
    }

    /// The parameters in the order in which the published library lists them.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// Paths of modules and the values they give: stages and blocks (`stages.0`, `features.denseblock1`) as well as
    /// single layers with their activation (`stem.conv1`).
    pub fn modules(&self) -> &BTreeMap<String, ValueId> {
        &self.modules
    }

    /// The value a module gives, or a node if no module has that path.
    pub fn value(&self, path: &str) -> Option<ValueId> {
        self.modules.get(path).copied().or_else(|| self.nodes.iter().position(|n| n.path == path))
    }

    /// The same graph in which the values of these paths, as [`Graph::value`] finds them, are modules' as well: rewrites keep track of
    /// those, while they give the paths of nodes to others.
    #[must_use]
    pub fn with_modules<'p>(mut self, paths: impl IntoIterator<Item = &'p String>) -> Self {
        for path in paths {
            if let Some(value) = self.value(path) {
                self.modules.insert(path.clone(), value);
            }
        }
        self
    }

    /// The value that is the network's answer.
    pub fn output(&self) -> ValueId {
        self.outputs[0].value
    }

    /// All values that the network gives, the answer first; no two have one name. The answer's is its node's path unless it was
    /// named.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// The values that the network takes, the picture first, in the order of the graph; no two have one path.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Channels of a value; they do not depend on the picture's size.
    pub fn channels(&self, value: ValueId) -> usize {
        self.channels[value]
    }

    /// Channels of the picture.
    pub fn input_channels(&self) -> usize {
        self.channels[0]
    }

    /// Nodes that read each value.
    pub fn consumers(&self) -> Vec<Vec<ValueId>> {
        let mut readers = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            for &input in &node.inputs {
                readers[input].push(id);
            }
        }
        readers
    }

    /// Trained numbers: running statistics do not count.
    pub fn param_count(&self) -> usize {
        self.params.iter().filter(|p| p.role.is_trained()).map(Param::len).sum()
    }

    /// Every value's shape for a picture `[c, h, w]`, or for several inputs in the order of [`Graph::inputs`].
    ///
    /// # Errors
    /// Where there is not one shape for every input, one has other channels than the network takes, or is too small or too large
    /// for an operation.
    pub fn shapes(&self, inputs: impl Into<InputShapes>) -> Result<Vec<Shape>, GraphError> {
        let given = inputs.into();
        if given.len() != self.inputs.len() {
            let names = self.inputs.iter().map(|&v| self.nodes[v].path.clone()).collect();
            return Err(GraphError::Inputs { names, found: given.len() });
        }
        let mut given = given.iter();
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.nodes.len());
        for (id, node) in self.nodes.iter().enumerate() {
            let inputs: Vec<Shape> = node.inputs.iter().map(|&i| shapes[i]).collect();
            let fail = |why| node.error(why);
            let shape = match node.op {
                Op::Input { channels } => match *given.next().expect("there is one for every input") {
                    shape if shape[0] == channels => shape,
                    [found, ..] => {
                        let what = if self.inputs.len() == 1 { "the picture" } else { "what it is given" };
                        return Err(fail(format!("takes {channels} channels, {what} has {found}")));
                    }
                },
                _ => node.op.shape(self.channels[id], &inputs).map_err(fail)?,
            };
            if elements(&shape).is_none() {
                return Err(fail(format!("gives a value of shape {shape:?}")));
            }
            shapes.push(shape);
        }
        Ok(shapes)
    }

    /// The same network as a list that can be changed; [`Graph::try_from`] checks it again.
    pub(crate) fn into_raw(self) -> Raw {
        let output = self.output();
        let is_plain = self.outputs.len() == 1 && self.outputs[0].name == self.nodes[output].path;
        let outputs = if is_plain { Vec::new() } else { self.outputs };
        Raw { nodes: self.nodes, params: self.params, modules: self.modules, output, outputs }
    }
}

impl Node {
    pub(crate) fn error(&self, why: String) -> GraphError {
        GraphError::Node { path: self.path.clone(), op: self.op.name(), why }
    }

    /// Roles and shapes of the parameters the operation has on `inputs` channels.
    pub(crate) fn expected_params(op: &Op, inputs: &[usize]) -> Vec<(Role, Vec<usize>)> {
        let c = inputs.first().copied().unwrap_or_default();
        match op {
            Op::Conv { out, window: w, groups, bias } => {
                let weight = (Role::Weight, vec![*out, c / groups, w.kernel[0], w.kernel[1]]);
                std::iter::once(weight).chain(bias.then(|| (Role::Bias, vec![*out]))).collect()
            }
            Op::Linear { out } => vec![(Role::Weight, vec![*out, c]), (Role::Bias, vec![*out])],
            Op::BatchNorm { .. } => [Role::NormScale, Role::NormShift, Role::RunningMean, Role::RunningVariance]
                .map(|r| (r, vec![c]))
                .into(),
            Op::PRelu => vec![(Role::Slope, vec![c])],
            Op::Constant { shape } => vec![(Role::Constant, shape.to_vec())],
            _ => Vec::new(),
        }
    }
}

impl From<Graph> for Raw {
    fn from(graph: Graph) -> Self {
        graph.into_raw()
    }
}

impl TryFrom<Raw> for Graph {
    type Error = GraphError;

    fn try_from(raw: Raw) -> Result<Self, GraphError> {
        let Raw { nodes, params, modules, output, mut outputs } = raw;
        let sizes = [nodes.len(), params.len(), modules.len(), outputs.len()];
        if nodes.is_empty() || sizes.iter().any(|&n| n > GraphError::MAX_NODES) {
            return Err(GraphError::Size { nodes: nodes.len(), params: params.len() });
        }
        let mut owned = HashSet::new();
        let mut channels: Vec<usize> = Vec::with_capacity(nodes.len());
        for (id, node) in nodes.iter().enumerate() {
            let inputs = node.inputs.iter().map(|&i| channels.get(i).copied()).collect::<Option<Vec<_>>>();
            let inputs = inputs.ok_or_else(|| node.error("has an input that comes later".into()))?;
            if id == 0 && !matches!(node.op, Op::Input { .. }) {
                return Err(node.error("comes first, where the picture must be".into()));
            }
            channels.push(node.op.channels(&inputs).map_err(|why| node.error(why))?);
            check_params(node, &inputs, &params, &mut owned)?;
        }
        if owned.len() != params.len() {
            return Err(
                nodes[0].error(format!("begins a graph with {} parameters nobody uses", params.len() - owned.len()))
            );
        }
        let named = modules.iter().map(|(name, &v)| (name.as_str(), v)).chain([("output", output)]);
        let named = named.chain(outputs.iter().map(|o| (o.name.as_str(), o.value)));
        if let Some((name, value)) = named.into_iter().find(|&(_, v)| v >= nodes.len()) {
            return Err(GraphError::NoSuchValue { name: name.into(), value });
        }
        if outputs.is_empty() {
            outputs.push(Output { name: nodes[output].path.clone(), value: output });
        }
        if outputs[0].value != output {
            return Err(GraphError::NotFirst { name: outputs.swap_remove(0).name });
        }
        let inputs: Vec<ValueId> = (0..nodes.len()).filter(|&id| matches!(nodes[id].op, Op::Input { .. })).collect();
        check_names("inputs", inputs.iter().map(|&id| nodes[id].path.as_str()))?;
        check_names("outputs", outputs.iter().map(|o| o.name.as_str()))?;
        Ok(Self { nodes, params, modules, outputs, inputs, channels })
    }
}

/// Whether every name is there once.
fn check_names<'a>(what: &'static str, mut names: impl Iterator<Item = &'a str>) -> Result<(), GraphError> {
    let mut seen = HashSet::new();
    match names.find(|&name| !seen.insert(name)) {
        Some(name) => Err(GraphError::Twice { what, name: name.into() }),
        None => Ok(()),
    }
}

/// Whether a node's parameters exist, have the roles and shapes its operation asks for, and belong to no other node.
fn check_params(
    node: &Node,
    inputs: &[usize],
    params: &[Param],
    owned: &mut HashSet<ParamId>,
) -> Result<(), GraphError> {
    let expected = Node::expected_params(&node.op, inputs);
    let fits = |(id, (role, shape)): (&ParamId, &(Role, Vec<usize>))| {
        params.get(*id).is_some_and(|p| p.role == *role && p.shape == *shape)
    };
    if node.params.len() != expected.len() || !node.params.iter().zip(&expected).all(fits) {
        return Err(node.error(format!("needs parameters {expected:?}")));
    }
    for &id in &node.params {
        if elements(&params[id].shape).is_none() {
            return Err(node.error(format!("has a parameter of shape {:?}", params[id].shape)));
        }
        if !owned.insert(id) {
            return Err(node.error(format!("shares its parameter {}", params[id].name)));
        }
    }
    Ok(())
}
