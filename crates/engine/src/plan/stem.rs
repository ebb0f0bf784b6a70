//! The picture's way into the first convolution without lying in the arena: the import and the convolution that alone reads
//! it become one step.

use std::collections::BTreeSet;

use cspnet_graph::{Graph, Op, ValueId};
use cspnet_kernels::Stem;

use crate::layout::Definition;
use crate::lower::{Step, Task};
use crate::translate::conv_shape;

/// Joins the import with the convolution that alone reads it, where a kernel exists for both. Values in `kept` are computed
/// for themselves.
pub(super) fn join(graph: &Graph, kept: &BTreeSet<ValueId>, steps: &mut Vec<Step>, definitions: &mut [Definition]) {
    let Some((import, conv)) = find(graph, kept, steps) else { return };
    let (Task::Import { normalise }, Task::Conv { node, activation, .. }) =
        (steps[import].task.clone(), steps[conv].task.clone())
    else {
        unreachable!("an import and a convolution are looked for");
    };
    definitions[steps[import].output()] = Definition::Fused;
    let nodes = [&steps[import].nodes[..], &steps[conv].nodes[..]].concat();
    steps[conv] = Step { task: Task::Stem { normalise, node, activation }, nodes, inputs: Vec::new() };
    steps.remove(import);
}

/// The places of the two steps.
fn find(graph: &Graph, kept: &BTreeSet<ValueId>, steps: &[Step]) -> Option<(usize, usize)> {
    let import = steps.iter().position(|s| matches!(s.task, Task::Import { .. }))?;
    let picture = steps[import].output();
    let readers = graph.consumers();
    let [node] = readers[picture][..] else { return None };
    let fits = match &graph.node(node).op {
        op @ Op::Conv { .. } => Stem::fits(&conv_shape(op), graph.channels(picture)),
        _ => false,
    };
    let alone = |s: &Step| match s.task {
        Task::Conv { node: n, prologue, residual, .. } => n == node && prologue.is_none() && residual.is_none(),
        _ => false,
    };
    let conv = steps.iter().position(alone)?;
    (fits && !kept.contains(&picture)).then_some((import, conv))
}
