//! A picture's way into the first convolution without lying in the arena: the import, the convolution that alone reads it and
//! the maximum pooling that alone reads that become one step.

use std::collections::BTreeSet;

use cspnet_graph::{Graph, Op, PoolKind, ValueId};
use cspnet_kernels::Stem;

use crate::layout::Definition;
use crate::lower::{Step, Task};
use crate::translate::{conv_shape, window};

/// Joins every import with what a kernel exists for. Values in `kept` are computed for themselves.
pub(super) fn join(graph: &Graph, kept: &BTreeSet<ValueId>, steps: &mut Vec<Step>, definitions: &mut [Definition]) {
    let mut joining = Joining { graph, kept, steps, definitions };
    for &input in graph.inputs() {
        let is_import = |s: &Step| matches!(s.task, Task::Import { .. }) && s.nodes[0] == input;
        let import = joining.steps.iter().position(is_import).expect("every input has a step");
        if let Some((conv, task)) = joining.convolution(import) {
            let stem = joining.merge(import, conv, task);
            if let Some((pool, task)) = joining.pooling(stem) {
                joining.merge(stem, pool, task);
            }
        }
    }
}

struct Joining<'a> {
    graph: &'a Graph,
    kept: &'a BTreeSet<ValueId>,
    steps: &'a mut Vec<Step>,
    definitions: &'a mut [Definition],
}

impl Joining<'_> {
    /// The step that alone reads what another gives.
    fn only_reader(&self, step: usize) -> Option<usize> {
        let value = self.steps[step].output();
        let alone = self.graph.consumers()[value].len() == 1 && !self.kept.contains(&value);
        self.steps.iter().position(|s| alone && s.inputs.contains(&value))
    }

    /// The convolution that reads the import, and both as one.
    fn convolution(&self, import: usize) -> Option<(usize, Task)> {
        let conv = self.only_reader(import)?;
        match (&self.steps[import].task, &self.steps[conv].task) {
            (&Task::Import { normalise }, &Task::Conv { node, prologue: None, activation, residual: None }) => {
                let channels = self.graph.channels(self.steps[import].output());
                let op = &self.graph.node(node).op;
                let fits = matches!(op, Op::Conv { .. }) && Stem::fits(&conv_shape(op), channels);
                fits.then_some((conv, Task::Stem { normalise, node, activation, pool: None }))
            }
            _ => None,
        }
    }

    /// The pooling that reads the stem, and both as one.
    fn pooling(&self, stem: usize) -> Option<(usize, Task)> {
        let pool = self.only_reader(stem)?;
        match (&self.steps[stem].task, &self.steps[pool].task) {
            (
                &Task::Stem { normalise, node, activation, .. },
                &Task::Pool { kind: PoolKind::Max, window: Some(w), prologue: None, activation: behind },
            ) => {
                // The kernel pools what is activated: the same where the activation behind the pooling never falls.
                let may_swap = behind.is_none_or(|f| activation.is_none() && f.never_falls());
                let task = Task::Stem { normalise, node, activation: activation.or(behind), pool: Some(w) };
                (may_swap && Stem::fits_pool(&window(&w))).then_some((pool, task))
            }
            _ => None,
        }
    }

    /// Puts a task in the place of two steps, of which the first gives what the second alone reads, and tells where it is.
    fn merge(&mut self, first: usize, second: usize, task: Task) -> usize {
        self.definitions[self.steps[first].output()] = Definition::Fused;
        self.definitions[self.steps[second].output()] = Definition::Computed { alike: Vec::new() };
        let nodes = [&self.steps[first].nodes[..], &self.steps[second].nodes[..]].concat();
        self.steps[second] = Step { task, nodes, inputs: Vec::new() };
        self.steps.remove(first);
        second - 1
    }
}
