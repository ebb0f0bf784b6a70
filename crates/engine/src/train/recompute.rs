//! Less memory for more time: values that cost one pass over what is kept anyway are given up after the forward pass and computed
//! again before the backward pass reads them.
//!
//! These are what normalisations and functions of every element give, which between convolutions is every other value. Their
//! statistics are kept, so they come again with the same bits, and so does the step. (Chen et al., arXiv:1604.06174, give up whole
//! segments and compute convolutions again; Pleiss et al., arXiv:1707.06990, do as here.) Not here: normalised values that
//! convolutions compute themselves as they read, which have no place in memory at all ([`super::norms`]).

use std::collections::BTreeMap;

use cspnet_graph::ValueId;

use super::backward::Back;
use crate::layout::{Layout, Piece, RootId, View};
use crate::lower::{Step, Task};
use crate::views::Root;

/// Roots that are computed again, each with another root for the second time.
#[derive(Debug, Default)]
pub(super) struct Recomputed {
    again: BTreeMap<RootId, RootId>,
}

impl Recomputed {
    /// Chooses values, gives each a second root behind all others of `roots`, and puts the steps that compute them again into the
    /// backward pass. What is in `kept` is not given up.
    pub(super) fn choose(
        layout: &Layout,
        forward: &[Step],
        backward: &mut Vec<Back>,
        kept: &[RootId],
        roots: &mut Vec<Root>,
    ) -> Self {
        let mut chosen = Self::default();
        let mut first_readers: BTreeMap<usize, Vec<ValueId>> = BTreeMap::new();
        for step in forward.iter().filter(|step| is_cheap(step)) {
            let Some(root) = whole_root(layout, step.output()).filter(|root| !kept.contains(root)) else { continue };
            let is_kept = |&input: &ValueId| layout.views[input].iter().all(|p| !chosen.again.contains_key(&p.root));
            let reads = |back: &Back| back.reads().is_some_and(|v| touches(layout, v, root));
            let first = backward.iter().position(reads);
            if let (Some(first), true) = (first, step.inputs.iter().all(is_kept)) {
                chosen.again.insert(root, roots.len());
                roots.push(roots[root].clone());
                first_readers.entry(first).or_default().push(step.output());
            }
        }
        let steps = std::mem::take(backward).into_iter().enumerate();
        backward.extend(steps.flat_map(|(at, back)| {
            let again = first_readers.remove(&at).unwrap_or_default();
            again.into_iter().map(|of| Back::Again { of }).chain([back])
        }));
        chosen
    }

    /// A value as the backward pass reads it.
    pub(super) fn view(&self, view: &View) -> View {
        view.iter().map(|p| Piece { root: self.again.get(&p.root).copied().unwrap_or(p.root), ..*p }).collect()
    }
}

/// Whether a step is one pass over its input.
fn is_cheap(step: &Step) -> bool {
    matches!(step.task, Task::Norm { stored: true, .. } | Task::Map { .. })
}

/// The root that is a value and nothing else.
fn whole_root(layout: &Layout, value: ValueId) -> Option<RootId> {
    match layout.views[value][..] {
        [Piece { root, first: 0, len }] if len == layout.roots[root].len() && layout.owners[root] == value => {
            Some(root)
        }
        _ => None,
    }
}

fn touches(layout: &Layout, value: ValueId, root: RootId) -> bool {
    layout.views[value].iter().any(|p| p.root == root)
}
