//! How batch normalisations get at their statistics and pass gradients back: which of them share what they read.
//!
//! A root that normalisations read has its mean and variance taken once, by the kernel that writes it, even if several read it, as
//! each layer of a dense block reads all slices before it. If nothing but several such normalisations reads it, their gradients are
//! added up in its own before what goes through mean and variance is taken off, once as well. Not here: kernels
//! (`cspnet_kernels::ChannelMoments` and its neighbours).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use cspnet_graph::ValueId;

use crate::layout::{Layout, RootId};
use crate::lower::{Step, Task};

/// Which batch normalisations of a network share what.
#[derive(Debug, Default)]
pub(super) struct Norms {
    /// Normalisations whose gradients are added up.
    summed: BTreeSet<ValueId>,
    /// Roots whose moments are taken, and where these are kept.
    slots: BTreeMap<RootId, usize>,
    /// Roots whose gradients are added up.
    sums: BTreeSet<RootId>,
}

/// Channels of a root's moments.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub slot: usize,
    pub channels: Range<usize>,
}

impl Norms {
    /// Of the steps forward.
    pub(super) fn of(layout: &Layout, forward: &[Step]) -> Self {
        let roots = |v: ValueId| layout.views[v].iter().map(|p| p.root).collect::<BTreeSet<_>>();
        let norms: BTreeMap<ValueId, BTreeSet<RootId>> =
            forward.iter().filter_map(|s| Some((norm(s)?, roots(s.inputs[0])))).collect();
        let mut readers: BTreeMap<RootId, Vec<ValueId>> = BTreeMap::new();
        for (&norm, read) in &norms {
            read.iter().for_each(|&root| readers.entry(root).or_default().push(norm));
        }
        // Those that a prologue takes in read again in the backward pass, but only through their normalisation.
        let others: BTreeSet<RootId> = forward
            .iter()
            .filter(|s| norm(s).is_none())
            .flat_map(|s| s.inputs.iter().skip(usize::from(s.prologue().is_some())))
            .flat_map(|&v| roots(v))
            .collect();
        let is_shared = |root: &RootId| readers[root].len() > 1;
        let mut summed: BTreeSet<ValueId> =
            norms.iter().filter(|(_, read)| read.iter().any(is_shared)).map(|(&norm, _)| norm).collect();
        // A root is added up only if all that reads it is.
        loop {
            let clean = |root: &RootId| !others.contains(root) && readers[root].iter().all(|n| summed.contains(n));
            let kept: BTreeSet<ValueId> = summed.iter().filter(|&n| norms[n].iter().all(clean)).copied().collect();
            if kept.len() == summed.len() {
                break;
            }
            summed = kept;
        }
        let sums = summed.iter().flat_map(|n| norms[n].iter().copied()).collect();
        Self { summed, slots: readers.into_keys().zip(0..).collect(), sums }
    }

    /// Whether a normalisation adds its gradient to its input's sum.
    pub(super) fn is_summed(&self, norm: ValueId) -> bool {
        self.summed.contains(&norm)
    }

    /// Where the moments of a root are kept, if they are taken.
    pub(super) fn slot(&self, root: RootId) -> Option<usize> {
        self.slots.get(&root).copied()
    }

    /// Whether a root's gradient is a sum until what goes through its moments is taken off.
    pub(super) fn is_sum(&self, root: RootId) -> bool {
        self.sums.contains(&root)
    }

    /// The moments of a value's channels, in their order.
    pub(super) fn segments(&self, layout: &Layout, value: ValueId) -> Vec<Segment> {
        let segment = |p: &crate::layout::Piece| {
            let channels = |blocks: Range<usize>| layout.roots[p.root][blocks].iter().sum::<usize>();
            let start = channels(0..p.first);
            Segment { slot: self.slots[&p.root], channels: start..start + channels(p.first..p.first + p.len) }
        };
        layout.views[value].iter().map(segment).collect()
    }

    /// Channels of every slot.
    pub(super) fn channels(&self, layout: &Layout) -> Vec<usize> {
        self.slots.keys().map(|&root| layout.roots[root].iter().sum()).collect()
    }
}

/// The batch normalisation that a step is.
fn norm(step: &Step) -> Option<ValueId> {
    match step.task {
        Task::Norm { node, .. } => Some(node),
        _ => None,
    }
}
