//! From a graph to steps: which nodes are computed together, and what is only a view.
//!
//! In inference, as far as the rewrites are wanted, a convolution takes the activation and the addition behind it into its
//! epilogue, in both orders, `act(Wx + r)` and `act(Wx) + r`; a batch normalisation that could not be folded goes, with its
//! activation, into the convolutions that read it (the pre-activation of DenseNet). In training a normalisation takes its
//! activation along and goes into those convolutions likewise, which normalise again in the backward pass: that is what makes
//! a dense block's memory linear in its depth (Pleiss et al., arXiv:1707.06990). All other values in between are needed again.
//! Not here: kernels and memory.

use std::collections::{BTreeMap, BTreeSet};

use cspnet_graph::{Axis, Binary, Graph, Node, Op, Padding, PoolKind, Reduction, Shape, Unary, ValueId, Window};
use cspnet_kernels::Winograd;

use crate::layout::Definition;
use crate::rewrites::{Rewrite, Rewrites};
use crate::translate::{conv_shape, keeps_finite};

/// A node, or several computed in one pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// What is computed.
    pub task: Task,
    /// The nodes that this step stands for, in order; the last one's value is what it gives.
    pub nodes: Vec<ValueId>,
    /// Values it reads.
    pub inputs: Vec<ValueId>,
}

impl Step {
    /// A concatenation or slice that owns its storage.
    pub fn copy(graph: &Graph, value: ValueId) -> Self {
        Self { task: Task::Copy, nodes: vec![value], inputs: graph.node(value).inputs.clone() }
    }

    /// The value the step gives.
    pub fn output(&self) -> ValueId {
        *self.nodes.last().expect("a step stands for a node")
    }

    /// Values that go on to the step's next node at once and are not stored, and by which rewrite.
    pub fn fused(&self, graph: &Graph) -> impl Iterator<Item = (Rewrite, ValueId)> {
        self.nodes.windows(2).filter_map(|pair| match graph.node(pair[1]).op {
            // The picture is not stored before it is normalised, with no rewrite at all.
            Op::Normalise { .. } => None,
            Op::Conv { .. } | Op::Pool { .. } => Some((Rewrite::Stem, pair[0])),
            _ => Some((Rewrite::Epilogue, pair[0])),
        })
    }

    /// What is done to the input first, and by which rewrite.
    pub fn prologue(&self) -> Option<(Rewrite, Prologue)> {
        match self.task {
            Task::Conv { prologue, .. } => Some((Rewrite::Prologue, prologue?)),
            Task::Pool { prologue, .. } => Some((Rewrite::PooledNorm, prologue?)),
            _ => None,
        }
    }
}

/// What a step computes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Task {
    /// A picture, or another of the network's inputs, comes in, normalised by this node if there is one.
    Import { normalise: Option<ValueId> },
    /// A picture goes, normalised by a node if there is one, straight into a convolution, and of its pixels the largest are
    /// taken if there is a window.
    Stem { normalise: Option<ValueId>, node: ValueId, activation: Option<Unary>, pool: Option<Window> },
    /// Convolution or fully connected layer. Input 0 is convolved, input 1 is the residual if there is one.
    Conv { node: ValueId, prologue: Option<Prologue>, activation: Option<Unary>, residual: Option<Order> },
    /// Batch normalisation, or normalisation of pixels. In training its value may exist only in the prologues of those that read
    /// it.
    Norm { node: ValueId, activation: Option<Unary>, stored: bool },
    /// A function of every element.
    Map { function: Unary },
    /// A function of two values, of which one may be repeated.
    Combine { function: Binary, activation: Option<Unary> },
    /// Pooling, of a normalised and activated value if there is a prologue; no window means the whole plane. An activation
    /// follows the largest only.
    Pool { kind: PoolKind, window: Option<Window>, prologue: Option<Prologue>, activation: Option<Unary> },
    /// Some numbers become zero at random, by this node's rule.
    Drop { node: ValueId },
    /// An operation of those that have a kernel of their own and are never computed together with others.
    Alone { node: ValueId },
    /// A concatenation or a slice that could not be a view.
    Copy,
    /// The mean cross entropy of the batch.
    Loss,
}

/// Normalisation and activation in front of a convolution or of a mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Prologue {
    pub norm: ValueId,
    pub activation: Option<Unary>,
}

/// Where a residual is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    BeforeActivation,
    AfterActivation,
}

/// What may be computed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Whatever these rewrites allow.
    Inference(Rewrites),
    /// What the backward pass reads again must be stored.
    Training,
}

/// The steps of `graph`, whose values have these shapes, and every value's definition. Values in `kept` are computed for themselves.
pub(crate) fn lower(
    graph: &Graph,
    shapes: &[Shape],
    kept: &BTreeSet<ValueId>,
    purpose: Purpose,
) -> (Vec<Step>, Vec<Definition>) {
    let taken = vec![false; graph.nodes().len()];
    let (readers, hidden) = (graph.consumers(), BTreeMap::new());
    let mut lowering = Lowering { graph, shapes, kept, purpose, readers, taken, hidden };
    let mut steps = lowering.normalisations();
    steps.extend(lowering.convolutions());
    steps.extend(lowering.others());
    // A step runs where its last node stood: all it reads has been computed before.
    steps.sort_by_key(Step::output);
    let definitions = define(graph, shapes, &steps);
    (steps, definitions)
}

struct Lowering<'a> {
    graph: &'a Graph,
    shapes: &'a [Shape],
    kept: &'a BTreeSet<ValueId>,
    purpose: Purpose,
    readers: Vec<Vec<ValueId>>,
    /// Nodes that belong to a step already.
    taken: Vec<bool>,
    /// Values that exist only in the prologues of the convolutions that read them, and what those read instead.
    hidden: BTreeMap<ValueId, (Prologue, ValueId)>,
}

impl Lowering<'_> {
    fn op(&self, id: ValueId) -> &Op {
        &self.graph.node(id).op
    }

    /// The node that alone reads `id`, if nobody else wants to see that value and it is still free.
    fn only_reader(&self, id: ValueId) -> Option<ValueId> {
        match self.readers[id][..] {
            [reader] if !self.kept.contains(&id) && !self.taken[reader] => Some(reader),
            _ => None,
        }
    }

    /// Whether the lowering is for inference and may do this.
    fn may(&self, rewrite: Rewrite) -> bool {
        matches!(self.purpose, Purpose::Inference(rewrites) if rewrites.has(rewrite))
    }

    /// The activation that alone reads `id`.
    fn activation_after(&self, id: ValueId) -> Option<(ValueId, Unary)> {
        let reader = self.only_reader(id)?;
        match *self.op(reader) {
            Op::Unary { function } if keeps_finite(function) => Some((reader, function)),
            _ => None,
        }
    }

    /// A node, with the activation behind it if that may be fused.
    fn with_activation(&mut self, id: ValueId, may: bool) -> (Vec<ValueId>, Option<Unary>) {
        let (nodes, activation) = match self.activation_after(id).filter(|_| may) {
            Some((unary, function)) => (vec![id, unary], Some(function)),
            None => (vec![id], None),
        };
        nodes.iter().for_each(|&n| self.taken[n] = true);
        (nodes, activation)
    }

    /// Batch normalisations that were not folded: hidden in prologues where only convolutions and means of cells on the picture
    /// read them, else steps.
    fn normalisations(&mut self) -> Vec<Step> {
        let is_norm = |id: &ValueId| matches!(self.op(*id), Op::BatchNorm { .. });
        let norms: Vec<ValueId> = (0..self.taken.len()).filter(is_norm).collect();
        let mut steps = Vec::new();
        for norm in norms {
            let inputs = self.graph.node(norm).inputs.clone();
            let end = self.activation_after(norm).map_or(norm, |(unary, _)| unary);
            let is_training = self.purpose == Purpose::Training;
            let is_hidden = self.readers[end].iter().all(|&r| self.takes_prologue(r));
            let is_hidden = is_hidden && !self.kept.contains(&end);
            let may = is_hidden || is_training || self.may(Rewrite::Epilogue);
            let (nodes, activation) = self.with_activation(norm, may);
            if is_hidden {
                self.hidden.insert(end, (Prologue { norm, activation }, inputs[0]));
            }
            // Its statistics are a step of training all the same.
            if !is_hidden || is_training {
                steps.push(Step { task: Task::Norm { node: norm, activation, stored: !is_hidden }, nodes, inputs });
            }
        }
        steps
    }

    /// Whether a node can normalise what it reads, and may.
    fn takes_prologue(&self, reader: ValueId) -> bool {
        match self.op(reader) {
            // Winograd's method reads stored values only, and gains more than storing them costs.
            Op::Conv { groups: 1, out, .. } if self.purpose == Purpose::Training => {
                let channels = [self.graph.channels(self.graph.node(reader).inputs[0]), *out];
                !Winograd::suits(&conv_shape(self.op(reader)), channels)
            }
            Op::Conv { groups, .. } => *groups == 1 && self.may(Rewrite::Prologue),
            Op::Pool { kind: PoolKind::Average { .. }, window } => {
                window.padding == Padding::NONE && self.may(Rewrite::PooledNorm)
            }
            op => plane_pool(op) == Some(MEAN) && self.may(Rewrite::PooledNorm),
        }
    }

    /// Convolutions and fully connected layers, the last first: of two that meet in an addition the later one adds the
    /// other's result.
    fn convolutions(&mut self) -> Vec<Step> {
        let is_conv = |id: &ValueId| matches!(self.op(*id), Op::Conv { .. } | Op::Linear { .. });
        let convs: Vec<ValueId> = (0..self.taken.len()).filter(is_conv).rev().collect();
        convs.into_iter().map(|conv| self.convolution(conv)).collect()
    }

    /// What a step reads for `value`, and what it does to it first.
    fn source(&self, value: ValueId) -> (Option<Prologue>, ValueId) {
        match self.hidden.get(&value) {
            Some(&(prologue, source)) => (Some(prologue), source),
            None => (None, value),
        }
    }

    fn convolution(&mut self, conv: ValueId) -> Step {
        let (prologue, input) = self.source(self.graph.node(conv).inputs[0]);
        if !self.may(Rewrite::Epilogue) {
            self.taken[conv] = true;
            let task = Task::Conv { node: conv, prologue, activation: None, residual: None };
            return Step { task, nodes: vec![conv], inputs: vec![input] };
        }
        let (mut nodes, mut activation) = self.with_activation(conv, true);
        let mut inputs = vec![input];
        let mut residual = None;
        if let Some((add, other)) = self.addition_after(nodes[nodes.len() - 1]) {
            self.taken[add] = true;
            nodes.push(add);
            inputs.push(other);
            residual = Some(if activation.is_some() { Order::AfterActivation } else { Order::BeforeActivation });
            if let (None, Some((unary, function))) = (activation, self.activation_after(add)) {
                self.taken[unary] = true;
                nodes.push(unary);
                activation = Some(function);
            }
        }
        Step { task: Task::Conv { node: conv, prologue, activation, residual }, nodes, inputs }
    }

    /// The addition that alone reads `id`, and its other operand; neither is repeated.
    fn addition_after(&self, id: ValueId) -> Option<(ValueId, ValueId)> {
        let add = self.only_reader(id)?;
        let node = self.graph.node(add);
        match (&node.op, &node.inputs[..]) {
            (Op::Binary { function: Binary::Add }, &[a, b]) if a != b && self.shapes[a] == self.shapes[b] => {
                Some((add, if a == id { b } else { a }))
            }
            _ => None,
        }
    }

    fn pool(&mut self, id: ValueId, kind: PoolKind, window: Option<Window>) -> Step {
        let (prologue, input) = self.source(self.graph.node(id).inputs[0]);
        let (nodes, activation) = self.with_activation(id, kind == PoolKind::Max && self.may(Rewrite::Epilogue));
        Step { task: Task::Pool { kind, window, prologue, activation }, nodes, inputs: vec![input] }
    }

    /// All that is left. Concatenations and slices are views and no steps, and so are dropout in inference and rearrangements that
    /// change nothing.
    fn others(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for id in 0..self.taken.len() {
            if self.taken[id] {
                continue;
            }
            let inputs = self.graph.node(id).inputs.clone();
            let step = |task, nodes| Step { task, nodes, inputs: inputs.clone() };
            match self.op(id).clone() {
                Op::Input { .. } => {
                    let normalise = self.only_reader(id).filter(|&r| matches!(self.op(r), Op::Normalise { .. }));
                    normalise.into_iter().for_each(|n| self.taken[n] = true);
                    steps.push(step(Task::Import { normalise }, std::iter::once(id).chain(normalise).collect()));
                }
                Op::Normalise { .. } => {
                    let may = self.purpose == Purpose::Training || self.may(Rewrite::Epilogue);
                    let (nodes, activation) = self.with_activation(id, may);
                    steps.push(step(Task::Norm { node: id, activation, stored: true }, nodes));
                }
                Op::Unary { function } => steps.push(step(Task::Map { function }, vec![id])),
                Op::Binary { function } => {
                    let (nodes, activation) = self.with_activation(id, self.may(Rewrite::Epilogue));
                    steps.push(step(Task::Combine { function, activation }, nodes));
                }
                Op::Pool { kind, window } => steps.push(self.pool(id, kind, Some(window))),
                op @ (Op::GlobalAvgPool | Op::Reduce { .. }) => steps.push(match plane_pool(&op) {
                    Some(kind) => self.pool(id, kind, None),
                    None => step(Task::Alone { node: id }, vec![id]),
                }),
                Op::Rearrange(_) if is_unchanged(self.graph, self.shapes, id) => {}
                Op::Constant { .. }
                | Op::PRelu
                | Op::Lrn { .. }
                | Op::Softmax { .. }
                | Op::Pad(_)
                | Op::Crop(_)
                | Op::Resize(_)
                | Op::Rearrange(_)
                | Op::MatMul => steps.push(step(Task::Alone { node: id }, vec![id])),
                Op::SoftmaxCrossEntropy => steps.push(step(Task::Loss, vec![id])),
                Op::Drop { .. } if self.purpose == Purpose::Training => {
                    steps.push(step(Task::Drop { node: id }, vec![id]))
                }
                Op::Concat | Op::Slice { .. } | Op::Drop { .. } => {}
                Op::Conv { .. } | Op::Linear { .. } | Op::BatchNorm { .. } => unreachable!("taken before"),
            }
        }
        steps
    }
}

/// The mean over a window.
const MEAN: PoolKind = PoolKind::Average { count_include_pad: true };

/// What an operation takes of each plane, if it makes one number of it.
pub(crate) fn plane_pool(op: &Op) -> Option<PoolKind> {
    match op {
        Op::GlobalAvgPool | Op::Reduce { reduction: Reduction::Mean, axes: [false, true, true] } => Some(MEAN),
        Op::Reduce { reduction: Reduction::Max, axes: [false, true, true] } => Some(PoolKind::Max),
        _ => None,
    }
}

/// Whether a node's numbers are those of its input, at the same places.
pub(crate) fn is_unchanged(graph: &Graph, shapes: &[Shape], id: ValueId) -> bool {
    let node = graph.node(id);
    matches!(&node.op, Op::Rearrange(r) if r.is_reshape() && shapes[node.inputs[0]] == shapes[id])
}

/// Every value's definition, given the steps.
fn define(graph: &Graph, shapes: &[Shape], steps: &[Step]) -> Vec<Definition> {
    let of_node = |(id, node): (ValueId, &Node)| view(graph, node, is_unchanged(graph, shapes, id));
    let mut definitions: Vec<Definition> = graph.nodes().iter().enumerate().map(of_node).collect();
    for step in steps {
        definitions[step.output()] = Definition::Computed { alike: alike(graph, step) };
    }
    definitions
}

/// The definition of a node that is no step's last, and perhaps the same as its input.
fn view(graph: &Graph, node: &Node, is_unchanged: bool) -> Definition {
    let all_of = |input: ValueId| Definition::Slice { of: input, start: 0, len: graph.channels(input) };
    match node.op {
        _ if is_unchanged => all_of(node.inputs[0]),
        Op::Concat => Definition::Concat(node.inputs.clone()),
        Op::Slice { start, len } => Definition::Slice { of: node.inputs[0], start, len },
        Op::Drop { .. } => all_of(node.inputs[0]),
        _ => Definition::Fused,
    }
}

/// The inputs of a step whose lanes correspond to its output's.
fn alike(graph: &Graph, step: &Step) -> Vec<ValueId> {
    match step.task {
        Task::Import { .. } | Task::Stem { .. } | Task::Copy | Task::Loss => Vec::new(),
        Task::Conv { node, .. } if is_depthwise(graph, node) => step.inputs.clone(),
        Task::Conv { .. } => step.inputs[1..].to_vec(),
        Task::Combine { .. } => as_wide(graph, step),
        Task::Alone { node } => match &graph.node(node).op {
            Op::PRelu | Op::Resize(_) => step.inputs.clone(),
            Op::Pad(pad) if (pad.before[0], pad.after[0]) == (0, 0) => step.inputs.clone(),
            Op::Crop(crop) if crop.axis != Axis::Channels => step.inputs.clone(),
            Op::MatMul => as_wide(graph, step),
            _ => Vec::new(),
        },
        _ => step.inputs.clone(),
    }
}

/// The inputs whose channels are not repeated.
fn as_wide(graph: &Graph, step: &Step) -> Vec<ValueId> {
    let channels = graph.channels(step.output());
    step.inputs.iter().copied().filter(|&v| graph.channels(v) == channels).collect()
}

/// Whether every channel of a convolution sees one channel of its own.
fn is_depthwise(graph: &Graph, node: ValueId) -> bool {
    let Op::Conv { groups, out, .. } = graph.node(node).op else { return false };
    groups > 1 && groups == out && groups == graph.channels(graph.node(node).inputs[0])
}
