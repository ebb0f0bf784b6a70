//! The backward pass as steps: for every step of the forward pass, last to first, how the gradient of its output becomes
//! gradients of its inputs and of its parameters.
//!
//! The gradient of a value lies exactly as the value does: every root has a root of gradients beside it. So the gradient of
//! a concatenation or a slice is a view as well, and several readers of a root add up in it. Not here: kernels.

use cspnet_graph::{Binary, Graph, PoolKind, Unary, ValueId, Window};

use super::norms::Norms;
use crate::import::{CopiedRun, copied_runs};
use crate::layout::{Layout, Piece, RootId, View};
use crate::lower::{Prologue, Step, Task};
use crate::report::Pass;

/// A step of the backward pass. Its gradients are those of the values it names.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Back {
    /// Gradients that nobody has written yet become zero.
    Clear { of: ValueId, missing: View },
    /// From the loss to the gradient of the logits.
    Loss { logits: ValueId },
    /// Gradient of a convolution's weight, and of its bias if it has one.
    ConvWeight { node: ValueId, prologue: Option<Prologue>, input: ValueId, output: ValueId },
    /// Gradient of a convolution's input.
    ConvData { node: ValueId, input: ValueId, output: ValueId, accumulate: bool },
    /// Through batch normalisation and its activation, to scale, shift and, if wanted, the input.
    Norm { node: ValueId, activation: Option<Unary>, input: ValueId, output: ValueId, accumulate: bool },
    /// What went through the mean and variance of a value is taken off the sum of its normalisations' gradients.
    Moments { of: ValueId },
    /// Through a function of every element.
    Map { function: Unary, input: ValueId, output: ValueId, accumulate: bool },
    /// To one operand of a product: the gradient times the other operand.
    Product { other: ValueId, input: ValueId, output: ValueId, accumulate: bool },
    /// To one operand of a sum.
    Pass { input: ValueId, output: ValueId, accumulate: bool },
    /// Through dropout, by the forward pass's draw.
    Drop { node: ValueId, input: ValueId, output: ValueId, accumulate: bool },
    /// Through pooling.
    Pool { kind: PoolKind, window: Option<Window>, input: ValueId, output: ValueId, accumulate: bool },
    /// Through a copy, to the channels it took.
    Copy { run: CopiedRun, output: ValueId },
    /// A value that was given up after the forward pass is computed again.
    Again { of: ValueId },
}

impl Back {
    /// What it is for, the node that it goes backward through, and the value whose shape the work has.
    pub(super) fn place(&self) -> (Pass, ValueId, ValueId) {
        match *self {
            Self::ConvWeight { node, output, .. } => (Pass::BackwardWeight, node, output),
            Self::ConvData { node, input, .. } => (Pass::BackwardData, node, input),
            Self::Norm { node, input, .. } | Self::Drop { node, input, .. } => (Pass::Backward, node, input),
            Self::Loss { logits: of } | Self::Clear { of, .. } | Self::Moments { of } | Self::Again { of } => {
                (Pass::Backward, of, of)
            }
            Self::Map { input, output, .. }
            | Self::Product { input, output, .. }
            | Self::Pass { input, output, .. }
            | Self::Pool { input, output, .. } => (Pass::Backward, output, input),
            Self::Copy { run, output } => (Pass::Backward, output, run.value),
        }
    }

    /// The value whose gradient it writes or adds to.
    pub(super) fn written(&self) -> Option<ValueId> {
        match *self {
            // What is cleared is only a part, of which nothing but zeros can be told.
            Self::Clear { .. } | Self::ConvWeight { .. } | Self::Again { .. } => None,
            Self::Loss { logits: of } | Self::Moments { of } => Some(of),
            Self::Copy { run, .. } => Some(run.value),
            Self::ConvData { input, .. }
            | Self::Norm { input, .. }
            | Self::Map { input, .. }
            | Self::Product { input, .. }
            | Self::Pass { input, .. }
            | Self::Drop { input, .. }
            | Self::Pool { input, .. } => Some(input),
        }
    }

    /// The value of the forward pass that it reads.
    pub(super) fn reads(&self) -> Option<ValueId> {
        match *self {
            Self::Loss { logits: value }
            | Self::ConvWeight { input: value, .. }
            | Self::Product { other: value, .. }
            | Self::Moments { of: value }
            | Self::Norm { input: value, .. }
            | Self::Map { input: value, .. }
            | Self::Pool { input: value, .. } => Some(value),
            Self::Clear { .. }
            | Self::ConvData { .. }
            | Self::Pass { .. }
            | Self::Drop { .. }
            | Self::Copy { .. }
            | Self::Again { .. } => None,
        }
    }
}

/// The steps backward through `forward`.
pub(super) fn backward(graph: &Graph, layout: &Layout, norms: &Norms, forward: &[Step]) -> Vec<Back> {
    let written = layout.roots.iter().map(|blocks| vec![false; blocks.len()]).collect();
    let mut pass = Walk { graph, layout, norms, learns: learning(graph), written, steps: Vec::new() };
    for step in forward.iter().rev() {
        pass.through(step);
    }
    pass.steps
}

/// The values that depend on something trained.
fn learning(graph: &Graph) -> Vec<bool> {
    let mut learns = vec![false; graph.nodes().len()];
    for (id, node) in graph.nodes().iter().enumerate() {
        learns[id] = !node.params.is_empty() || node.inputs.iter().any(|&i| learns[i]);
    }
    learns
}

struct Walk<'a> {
    graph: &'a Graph,
    layout: &'a Layout,
    norms: &'a Norms,
    learns: Vec<bool>,
    /// Blocks of every root whose gradient holds something already.
    written: Vec<Vec<bool>>,
    steps: Vec<Back>,
}

impl Walk<'_> {
    fn through(&mut self, step: &Step) {
        let output = step.output();
        if let Task::Loss = step.task {
            let logits = step.inputs[0];
            self.write(logits);
            self.steps.push(Back::Loss { logits });
            return;
        }
        if !self.learns[output] || !self.read(output) {
            return;
        }
        if self.layout.views[output].iter().any(|p| self.norms.is_sum(p.root)) {
            self.steps.push(Back::Moments { of: output });
        }
        match step.task {
            Task::Conv { node, prologue, .. } => {
                self.steps.push(Back::ConvWeight { node, prologue, input: step.inputs[0], output });
                // What a prologue hides has a gradient though it is not stored.
                let input = self.graph.node(node).inputs[0];
                self.to(input, |accumulate| Back::ConvData { node, input, output, accumulate });
            }
            // The gradients of scale and shift are wanted even where the input's is not.
            Task::Norm { node, activation, .. } if !self.graph.node(node).params.is_empty() => {
                let input = step.inputs[0];
                let accumulate = self.write(input);
                self.steps.push(Back::Norm { node, activation, input, output, accumulate });
            }
            Task::Map { function } => {
                let input = step.inputs[0];
                self.to(input, |accumulate| Back::Map { function, input, output, accumulate });
            }
            Task::Pool { kind, window, .. } => {
                let input = step.inputs[0];
                self.to(input, |accumulate| Back::Pool { kind, window, input, output, accumulate });
            }
            Task::Drop { node } => {
                let input = step.inputs[0];
                self.to(input, |accumulate| Back::Drop { node, input, output, accumulate });
            }
            Task::Combine { function, .. } => self.combine(function, step),
            Task::Copy => self.copy(step),
            Task::Import { .. } | Task::Stem { .. } | Task::Norm { .. } | Task::Alone { .. } | Task::Loss => {}
        }
    }

    fn combine(&mut self, function: Binary, step: &Step) {
        let output = step.output();
        for (i, &input) in step.inputs.iter().enumerate() {
            let other = step.inputs[1 - i];
            self.to(input, |accumulate| match function {
                Binary::Add => Back::Pass { input, output, accumulate },
                Binary::Mul => Back::Product { other, input, output, accumulate },
                _ => unreachable!("`TrainPlan::new` refuses it"),
            });
        }
    }

    fn copy(&mut self, step: &Step) {
        let output = step.output();
        for run in copied_runs(self.graph, step) {
            if self.learns[run.value] {
                // A copy may take only some lanes of a block, so the others must hold zeros.
                self.clear_unwritten(run.value);
                self.steps.push(Back::Copy { run, output });
            }
        }
    }

    /// Adds a step that gives a gradient to `input`, if that is wanted.
    fn to(&mut self, input: ValueId, step: impl FnOnce(bool) -> Back) {
        if self.learns[input] {
            let accumulate = self.write(input);
            self.steps.push(step(accumulate));
        }
    }

    fn blocks(&self, value: ValueId) -> impl Iterator<Item = (RootId, usize)> + use<> {
        self.layout.views[value].clone().into_iter().flat_map(|p| (p.first..p.first + p.len).map(move |b| (p.root, b)))
    }

    /// Whether a step that writes the gradient of `value` must add to what is there. Where only some of it is there, the
    /// rest is cleared first.
    fn write(&mut self, value: ValueId) -> bool {
        let accumulate = self.blocks(value).any(|(r, b)| self.written[r][b]);
        if accumulate {
            self.clear_unwritten(value);
        }
        self.blocks(value).for_each(|(r, b)| self.written[r][b] = true);
        accumulate
    }

    /// Whether there is a gradient of `value`; where only some of it is there, the rest is cleared first.
    fn read(&mut self, value: ValueId) -> bool {
        let any = self.blocks(value).any(|(r, b)| self.written[r][b]);
        if any {
            self.clear_unwritten(value);
        }
        any
    }

    fn clear_unwritten(&mut self, value: ValueId) {
        let missing: View = self
            .blocks(value)
            .filter(|&(r, b)| !self.written[r][b])
            .map(|(root, first)| Piece { root, first, len: 1 })
            .collect();
        if !missing.is_empty() {
            missing.iter().for_each(|p| self.written[p.root][p.first] = true);
            self.steps.push(Back::Clear { of: value, missing });
        }
    }
}
