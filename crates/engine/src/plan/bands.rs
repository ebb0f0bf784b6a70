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

/// Numbers of a value that are worth it: 4 MB, twice what a core has of second-level cache. Half as many gained nothing.
pub(super) const LARGE: usize = 1 << 20;

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
    let joining = Joining { graph, kept, layout, steps };
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

    /// Whether two convolutions gain by it: a stem in front of any, and 1x1 in front of 1x1.
    fn fit(&self, first: &Step, second: &Step) -> bool {
        match (&first.task, &second.task) {
            (Task::Stem { pool: None, .. }, Task::Conv { node, .. }) => self.is_plain(*node),
            (Task::Conv { node, residual: None, .. }, Task::Conv { node: behind, .. }) => {
                self.is_pointwise(*node) && self.is_pointwise(*behind)
            }
            _ => false,
        }
    }

    fn is_plain(&self, node: ValueId) -> bool {
        matches!(self.graph.node(node).op, Op::Conv { groups: 1, .. })
    }

    fn is_pointwise(&self, node: ValueId) -> bool {
        self.is_plain(node) && conv_shape(&self.graph.node(node).op).window.kernel == [1, 1]
    }
}
