//! The rewrite `bands`: which two convolutions run band by band, so that what the first gives is never stored.
//!
//! It changes no bit, so it may depend on anything; it depends on what was measured (`docs/performance.md`). Not here: how bands are
//! cut and run ([`cspnet_kernels::Bands`]).

use std::collections::{BTreeMap, BTreeSet};

use cspnet_graph::{Graph, Op, Shape, ValueId};

use crate::layout::{Layout, RootId};
use crate::lower::{Step, Task};
use crate::rewrites::numbers;
use crate::translate::conv_shape;

/// Numbers of a value that are worth it: 1 MB, for a second-level cache holds more than what is between. Half of that gained nothing.
pub(super) const LARGE: usize = 1 << 18;

/// Multiply-adds for each number between two convolutions, beyond which writing and reading it does not show. Those of the first
/// count twice: they hide what is written, and some are done again for the next band.
const FEW: usize = 256;

/// The values of at least so many numbers that are handed on in bands, each with its root. The step that gives such a value is put
/// right before the one that reads it. Values in `kept` are to be seen and so stored.
pub(super) fn join(
    graph: &Graph,
    shapes: &[Shape],
    kept: &BTreeSet<ValueId>,
    layout: &Layout,
    steps: &mut [Step],
    large: usize,
) -> BTreeMap<ValueId, RootId> {
    let joining = Joining { graph, shapes, kept, layout, steps };
    let mut joined: BTreeMap<ValueId, (RootId, ValueId)> = BTreeMap::new();
    for first in joining.steps.iter().filter(|s| numbers(shapes[s.output()]) >= large) {
        let Some((root, second)) = joining.reader(first) else { continue };
        let is_free = |v: &ValueId| !joined.contains_key(v) && joined.values().all(|(_, reader)| reader != v);
        if joining.fit(first, second) && is_free(&first.output()) && is_free(&second.output()) {
            joined.insert(first.output(), (root, second.output()));
        }
    }
    steps.sort_by_key(|s| match joined.get(&s.output()) {
        Some(&(_, reader)) => (reader, 0),
        None => (s.output(), 1),
    });
    joined.into_iter().map(|(value, (root, _))| (value, root)).collect()
}

struct Joining<'a> {
    graph: &'a Graph,
    shapes: &'a [Shape],
    kept: &'a BTreeSet<ValueId>,
    layout: &'a Layout,
    steps: &'a [Step],
}

impl Joining<'_> {
    /// Whether a value lies in a root, or a part of it.
    fn touches(&self, value: ValueId, root: RootId) -> bool {
        self.layout.views[value].iter().any(|piece| piece.root == root)
    }

    /// The root that a step alone writes and the step that alone reads it, all of it and as what it convolves.
    fn reader(&self, first: &Step) -> Option<(RootId, &Step)> {
        let [piece] = self.layout.views[first.output()][..] else { return None };
        let root = piece.root;
        let is_reader = |s: &&Step| s.inputs.iter().any(|&v| self.touches(v, root));
        let mut readers = self.steps.iter().filter(is_reader);
        let (Some(second), None) = (readers.next(), readers.next()) else { return None };
        let alone = self.steps.iter().filter(|s| self.touches(s.output(), root)).count() == 1;
        let seen = self.kept.iter().any(|&v| self.touches(v, root));
        let convolved = self.layout.views[second.inputs[0]].contains(&piece);
        let added = second.inputs[1..].iter().any(|&v| self.touches(v, root));
        (alone && !seen && convolved && !added).then_some((root, second))
    }

    /// Whether two convolutions are of the kinds that there are bands for, a stem or a 1x1 convolution in front of any, and it pays.
    fn fit(&self, first: &Step, second: &Step) -> bool {
        let (Task::Conv { node: behind, .. }, value) = (&second.task, first.output()) else { return false };
        let node = match first.task {
            Task::Stem { node, pool: None, .. } => node,
            Task::Conv { node, residual: None, .. } if self.is_plain(node) && self.taps(node) == 1 => node,
            _ => return false,
        };
        let between = numbers(self.shapes[value]);
        // What the first reads lives as long as what the second gives, so it must not be larger than what need not be stored.
        let read: usize = first.inputs.iter().map(|&v| numbers(self.shapes[v])).sum();
        self.is_plain(*behind) && read <= between && 2 * self.macs(node) + self.macs(*behind) <= FEW * between
    }

    /// Whether a node is a convolution without groups.
    fn is_plain(&self, node: ValueId) -> bool {
        matches!(self.graph.node(node).op, Op::Conv { groups: 1, .. })
    }

    /// Taps of a convolution's window.
    fn taps(&self, node: ValueId) -> usize {
        conv_shape(&self.graph.node(node).op).window.kernel.iter().product()
    }

    /// Multiply-adds of a convolution without groups.
    fn macs(&self, node: ValueId) -> usize {
        self.taps(node) * self.shapes[self.graph.node(node).inputs[0]][0] * numbers(self.shapes[node])
    }
}
