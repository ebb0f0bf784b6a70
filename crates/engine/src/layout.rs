//! How a network's values share storage, so that concatenation and splitting move no float.
//!
//! Only some values own storage; call those *roots*. A concatenation or a slice is a *view*: a list of runs of blocks of
//! roots. Where a slice begins inside a block of 8 channels, the root that it cuts is told to start a new block there, and
//! every value whose lanes correspond to its lanes is told the same. That costs pad lanes, never a copy, as long as the
//! padding stays below [`WASTE`]; a view whose cuts cost more owns storage after all and is filled by a copy, and the
//! plan counts the bytes.
//!
//! Not here: where in the arena a root lies ([`crate::storage`]).

use std::collections::BTreeSet;

use cspnet_graph::ValueId;
use cspnet_kernels::LANES;

/// A value that owns storage.
pub(crate) type RootId = usize;

/// Most padded channels a root may have, as a multiple of what it needs in whole blocks.
const WASTE: usize = 2;

/// How a value comes about, as far as its place in memory is concerned.
#[derive(Clone, Debug)]
pub(crate) enum Definition {
    /// It exists only inside a step.
    Fused,
    /// A step computes it; `alike` are the inputs whose lanes correspond to its own.
    Computed { alike: Vec<ValueId> },
    /// The channels of other values one after another.
    Concat(Vec<ValueId>),
    /// A run of channels of another value.
    Slice { of: ValueId, start: usize, len: usize },
}

/// A run of channels of a root, in channels while cuts are still being found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    root: RootId,
    start: usize,
    len: usize,
}

/// Blocks of one root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub root: RootId,
    pub first: usize,
    pub len: usize,
}

/// A value as blocks of roots, in the order of its channels.
pub(crate) type View = Vec<Piece>;

/// Where every value lies, in blocks.
#[derive(Debug)]
pub(crate) struct Layout {
    /// For every root the channels in each of its blocks.
    pub roots: Vec<Vec<usize>>,
    /// The value each root stores.
    pub owners: Vec<ValueId>,
    /// Every value's blocks; empty for fused ones.
    pub views: Vec<View>,
    /// Concatenations and slices that must be copied.
    pub copied: Vec<ValueId>,
}

impl Layout {
    /// Lays out values, given their definitions and channels in the graph's order. Concatenations and slices among `stored` own
    /// storage, of the same blocks that they would have as views, so that sums over them keep their order.
    pub(crate) fn of(definitions: &[Definition], channels: &[usize], stored: &BTreeSet<ValueId>) -> Self {
        let mut layout = Self::of_views(definitions, channels);
        for &value in stored.iter().filter(|v| !layout.owners.contains(v)).collect::<Vec<_>>() {
            layout.store(value);
        }
        layout
    }

    /// Gives a view storage of its own.
    fn store(&mut self, value: ValueId) {
        let blocks_of = |p: &Piece| self.roots[p.root][p.first..p.first + p.len].to_vec();
        let blocks: Vec<usize> = self.views[value].iter().flat_map(blocks_of).collect();
        self.views[value] = vec![Piece { root: self.roots.len(), first: 0, len: blocks.len() }];
        self.roots.push(blocks);
        self.owners.push(value);
        self.copied.push(value);
    }

    /// Lays out values with as many views as there can be.
    fn of_views(definitions: &[Definition], channels: &[usize]) -> Self {
        let views: Vec<ValueId> = (0..definitions.len())
            .filter(|&v| matches!(definitions[v], Definition::Concat(_) | Definition::Slice { .. }))
            .collect();
        let all = Cutting::solve(definitions, channels, &BTreeSet::new());
        if all.is_within_waste() {
            return all.into_layout();
        }
        // Take the views in one by one, and leave out each that would cost too much padding.
        let mut copied: BTreeSet<ValueId> = views.iter().copied().collect();
        for &view in &views {
            copied.remove(&view);
            if !Cutting::solve(definitions, channels, &copied).is_within_waste() {
                copied.insert(view);
            }
        }
        Cutting::solve(definitions, channels, &copied).into_layout()
    }
}

/// The search for the places where roots must start new blocks.
struct Cutting {
    /// Channels of each root and the value it stores.
    roots: Vec<(usize, ValueId)>,
    /// Every value's runs of roots.
    runs: Vec<Vec<Run>>,
    /// Channels at which a root starts a new block, the ends not counted.
    cuts: Vec<BTreeSet<usize>>,
    /// Concatenations and slices that own storage.
    copied: Vec<ValueId>,
}

impl Cutting {
    fn solve(definitions: &[Definition], channels: &[usize], copied: &BTreeSet<ValueId>) -> Self {
        let mut cutting = Self { roots: Vec::new(), runs: Vec::new(), cuts: Vec::new(), copied: Vec::new() };
        for (value, definition) in definitions.iter().enumerate() {
            let runs = match definition {
                Definition::Fused => Vec::new(),
                Definition::Concat(parts) if !copied.contains(&value) => {
                    let runs: Vec<Run> = parts.iter().flat_map(|&p| cutting.runs[p].clone()).collect();
                    // The gradient of a value that names a root twice would have two writers.
                    if overlap(&runs) { cutting.new_copy(channels[value], value) } else { runs }
                }
                Definition::Slice { of, start, len } if !copied.contains(&value) => {
                    cut_out(&cutting.runs[*of], *start, *len)
                }
                Definition::Computed { .. } => cutting.new_root(channels[value], value),
                Definition::Concat(_) | Definition::Slice { .. } => cutting.new_copy(channels[value], value),
            };
            cutting.cut_at_ends(&runs);
            cutting.runs.push(runs);
        }
        cutting.agree(definitions);
        cutting
    }

    fn new_root(&mut self, channels: usize, value: ValueId) -> Vec<Run> {
        self.roots.push((channels, value));
        self.cuts.push(BTreeSet::new());
        vec![Run { root: self.roots.len() - 1, start: 0, len: channels }]
    }

    fn new_copy(&mut self, channels: usize, value: ValueId) -> Vec<Run> {
        self.copied.push(value);
        self.new_root(channels, value)
    }

    fn cut_at_ends(&mut self, runs: &[Run]) {
        for run in runs {
            self.cut(run.root, run.start);
            self.cut(run.root, run.start + run.len);
        }
    }

    /// Whether the cut is new.
    fn cut(&mut self, root: RootId, channel: usize) -> bool {
        channel != 0 && channel != self.roots[root].0 && self.cuts[root].insert(channel)
    }

    /// Carries cuts between values whose lanes correspond, until nothing changes. It ends, for cuts only grow.
    fn agree(&mut self, definitions: &[Definition]) {
        let mut changed = true;
        while changed {
            changed = false;
            for (value, definition) in definitions.iter().enumerate() {
                let Definition::Computed { alike } = definition else { continue };
                for &other in alike {
                    changed |= self.impose(&self.cuts_of(value), other);
                    changed |= self.impose(&self.cuts_of(other), value);
                }
            }
        }
    }

    /// A value's cuts, in its own channels.
    fn cuts_of(&self, value: ValueId) -> Vec<usize> {
        let mut at = 0;
        let mut cuts = Vec::new();
        for run in &self.runs[value] {
            let inside = self.cuts[run.root].range(run.start + 1..run.start + run.len);
            cuts.extend(std::iter::once(at).chain(inside.map(|c| at + c - run.start)));
            at += run.len;
        }
        cuts
    }

    fn impose(&mut self, cuts: &[usize], value: ValueId) -> bool {
        let mut changed = false;
        let mut at = 0;
        for run in self.runs[value].clone() {
            let inside = cuts.partition_point(|&c| c < at)..cuts.partition_point(|&c| c < at + run.len);
            for &c in &cuts[inside] {
                changed |= self.cut(run.root, run.start + c - at);
            }
            at += run.len;
        }
        changed
    }

    /// Channels in each block of a root.
    fn blocks(&self, root: RootId) -> Vec<usize> {
        let ends = self.cuts[root].iter().copied().chain([self.roots[root].0]);
        let mut blocks = Vec::new();
        let mut start = 0;
        for end in ends {
            let whole = (end - start) / LANES;
            blocks.extend(std::iter::repeat_n(LANES, whole));
            blocks.extend(Some((end - start) % LANES).filter(|&rest| rest > 0));
            start = end;
        }
        blocks
    }

    fn is_within_waste(&self) -> bool {
        (0..self.roots.len()).all(|r| self.blocks(r).len() <= WASTE * self.roots[r].0.div_ceil(LANES))
    }

    fn into_layout(self) -> Layout {
        let roots: Vec<Vec<usize>> = (0..self.roots.len()).map(|r| self.blocks(r)).collect();
        let block_at = |root: RootId, channel: usize| {
            let mut seen = 0;
            roots[root]
                .iter()
                .take_while(|&&c| {
                    seen += c;
                    seen <= channel
                })
                .count()
        };
        let piece = |run: &Run| {
            let first = block_at(run.root, run.start);
            Piece { root: run.root, first, len: block_at(run.root, run.start + run.len) - first }
        };
        let views = self.runs.iter().map(|runs| runs.iter().map(piece).collect()).collect();
        Layout { owners: self.roots.iter().map(|r| r.1).collect(), views, copied: self.copied, roots }
    }
}

/// Whether two runs share a channel of a root.
fn overlap(runs: &[Run]) -> bool {
    let mut sorted: Vec<(RootId, usize, usize)> = runs.iter().map(|r| (r.root, r.start, r.start + r.len)).collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|w| w[0].0 == w[1].0 && w[0].2 > w[1].1)
}

/// The runs of `len` channels from `start` on of a value.
fn cut_out(runs: &[Run], start: usize, len: usize) -> Vec<Run> {
    let mut at = 0;
    let mut out = Vec::new();
    for run in runs {
        let (from, to) = (start.max(at), (start + len).min(at + run.len));
        if from < to {
            out.push(Run { root: run.root, start: run.start + from - at, len: to - from });
        }
        at += run.len;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use Definition::{Computed, Concat, Slice};

    fn free() -> Definition {
        Computed { alike: Vec::new() }
    }

    #[test]
    fn a_dense_block_of_growth_12_is_copy_free() {
        let definitions = [free(), free(), Concat(vec![0, 1]), free(), Concat(vec![2, 3])];
        let layout = Layout::of_views(&definitions, &[24, 12, 36, 12, 48]);
        assert!(layout.copied.is_empty());
        assert_eq!(layout.roots, [vec![8, 8, 8], vec![8, 4], vec![8, 4]]);
        assert_eq!(layout.views[4].len(), 3);
    }

    #[test]
    fn a_split_inside_a_block_cuts_its_root_and_what_corresponds_to_it() {
        let definitions = [
            free(),
            Computed { alike: vec![0] },
            Slice { of: 1, start: 0, len: 5 },
            Slice { of: 1, start: 5, len: 15 },
            Concat(vec![3, 2]),
        ];
        let layout = Layout::of_views(&definitions, &[20, 20, 5, 15, 20]);
        assert_eq!(layout.roots, [vec![5, 8, 7], vec![5, 8, 7]]);
        assert_eq!(layout.views[4], [Piece { root: 1, first: 1, len: 2 }, Piece { root: 1, first: 0, len: 1 }]);
        assert!(layout.copied.is_empty());
    }

    #[test]
    fn a_value_beside_itself_is_copied() {
        let layout = Layout::of_views(&[free(), Concat(vec![0, 0])], &[8, 16]);
        assert_eq!(layout.copied, [1]);
        assert_eq!(layout.roots, [vec![8], vec![8, 8]]);
    }

    #[test]
    fn a_view_that_is_stored_keeps_its_blocks() {
        let definitions = [free(), free(), Concat(vec![0, 1]), Slice { of: 2, start: 3, len: 30 }];
        let channels = [24, 12, 36, 30];
        let layout = Layout::of(&definitions, &channels, &BTreeSet::from([2, 3]));
        let blocks = |v: ValueId| {
            let of_piece = |p: &Piece| layout.roots[p.root][p.first..p.first + p.len].to_vec();
            layout.views[v].iter().flat_map(of_piece).collect::<Vec<usize>>()
        };
        assert_eq!(layout.copied, [2, 3]);
        assert_eq!((blocks(2), layout.views[2].len()), (vec![3, 8, 8, 5, 8, 1, 3], 1));
        assert_eq!((blocks(3), layout.views[3].len()), (vec![8, 8, 5, 8, 1], 1));
        let views = Layout::of(&definitions, &channels, &BTreeSet::new());
        assert_eq!((views.copied.len(), views.roots.len()), (0, 2));
    }

    #[test]
    fn cuts_that_would_shatter_a_value_become_a_copy() {
        // x + rotate(x, 3): every cut of one side asks for another on the other side.
        let definitions = [
            free(),
            Slice { of: 0, start: 3, len: 13 },
            Slice { of: 0, start: 0, len: 3 },
            Concat(vec![1, 2]),
            Computed { alike: vec![0, 3] },
        ];
        let layout = Layout::of_views(&definitions, &[16, 13, 3, 16, 16]);
        assert!(!layout.copied.is_empty());
        let padded = |r: &Vec<usize>| r.len() * LANES;
        assert!(layout.roots.iter().zip([16, 13, 3, 16, 16]).all(|(r, _)| padded(r) <= 32));
    }
}
