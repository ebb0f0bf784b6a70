//! The rewrites that a plan may apply: their names, the set that is wanted, and what each has saved.
//!
//! Those of the graph are functions of [`cspnet_graph::rewrite`]; the others decide which steps there are and where values lie
//! ([`crate::lower`], `plan::stem`, `plan::bands`, [`crate::layout`]). Not here: how they are done.

use cspnet_graph::analysis::Count;
use cspnet_graph::rewrite::{
    Rewritten, fold_batch_norm, max_first, merge_chain, merge_linear_pair, norm_constants, pool_first, stack_pointwise,
};
use cspnet_graph::{Graph, GraphError, InputShapes, LazyWeights, Op, Shape, ValueId};

use crate::error::PlanError;

/// A change to a network that leaves its function as it is. Numbers are those of `docs/performance.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rewrite {
    /// R17: a constant for every channel that is multiplied or added becomes a normalisation ([`norm_constants`]).
    NormConstants,
    /// R1: a batch normalisation goes into the weights of the convolution before it ([`fold_batch_norm`]).
    FoldNorm,
    /// R2: activation and addition behind a convolution, in both orders, are computed in its epilogue; activations behind
    /// normalisations and additions in theirs.
    Epilogue,
    /// Normalisation and activation in front of convolutions (pre-activation) are computed where these read, never stored.
    Prologue,
    /// R3: before 1x1 convolutions that costs one maximum or minimum a number, for `relu(a x + b)` is `a clamp(x) + b` and the rest
    /// goes into the weights ([`cspnet_graph::rewrite::threshold`]).
    Threshold,
    /// R4 and R14: the average of a window, or of the plane, is taken before the 1x1 convolution that it follows ([`pool_first`]).
    PoolFirst,
    /// R5: two linear 1x1 convolutions around a cross-stage part become one ([`merge_linear_pair`]).
    MergePair,
    /// R6: a 1x1 convolution behind a linear one reads what that one reads ([`merge_chain`]).
    MergeChain,
    /// R7: a concatenation is a list of what its parts wrote.
    ConcatView,
    /// R8: a slice of channels is a list of blocks of the value.
    SplitView,
    /// R9: several 1x1 convolutions of the same value are one ([`stack_pointwise`]).
    Stack,
    /// R12: the largest of a window is taken before an activation that never falls ([`max_first`]).
    MaxFirst,
    /// R13: normalisation and activation in front of an average are computed inside it, never stored.
    PooledNorm,
    /// R16: the first convolution reads the picture itself, has the normalisation of pixels in its weights, and takes in a maximum
    /// pooling behind it.
    Stem,
    /// R10 and R11: two convolutions run band by band where what is between them is larger than a core's cache.
    Bands,
}

/// A rewrite of a graph; values in the list stay as they are.
type Function = for<'a> fn(&Graph, &LazyWeights<'a>, &[ValueId]) -> Rewritten<'a>;

impl Rewrite {
    /// All of them; those of the graph in the order in which they are applied.
    pub const ALL: [Self; 15] = [
        Self::NormConstants,
        Self::FoldNorm,
        Self::MergePair,
        Self::MergeChain,
        Self::PoolFirst,
        Self::MaxFirst,
        Self::Stack,
        Self::Epilogue,
        Self::Prologue,
        Self::Threshold,
        Self::PooledNorm,
        Self::Stem,
        Self::ConcatView,
        Self::SplitView,
        Self::Bands,
    ];

    /// The word by which users switch it off.
    pub fn name(self) -> &'static str {
        match self {
            Self::NormConstants => "norm-constants",
            Self::FoldNorm => "fold-norm",
            Self::Epilogue => "epilogue",
            Self::Prologue => "prologue",
            Self::Threshold => "threshold",
            Self::PoolFirst => "pool-first",
            Self::MaxFirst => "max-first",
            Self::MergePair => "merge-pair",
            Self::MergeChain => "merge-chain",
            Self::ConcatView => "concat-view",
            Self::SplitView => "split-view",
            Self::Stack => "stack",
            Self::PooledNorm => "pooled-norm",
            Self::Stem => "stem",
            Self::Bands => "bands",
        }
    }

    /// What it does, in a line.
    pub fn about(self) -> &'static str {
        match self {
            Self::NormConstants => "constants that scale or shift channels are treated as normalisations",
            Self::FoldNorm => "normalisations go into the weights of the convolutions before them",
            Self::Epilogue => "activations and additions are computed with the convolution before them",
            Self::Prologue => "normalisations and activations are computed where convolutions read",
            Self::Threshold => "before 1x1 convolutions these cost one maximum a number",
            Self::PoolFirst => "averages are taken before the 1x1 convolutions in front of them",
            Self::MaxFirst => "the largest of a window is taken before the activation in front of it",
            Self::MergePair => "two linear 1x1 convolutions around a cross-stage part become one",
            Self::MergeChain => "a 1x1 convolution behind a linear one reads what that one reads",
            Self::ConcatView => "concatenations copy nothing",
            Self::SplitView => "slices copy nothing",
            Self::Stack => "1x1 convolutions of the same value become one",
            Self::PooledNorm => "normalisations and activations are computed inside the averages behind them",
            Self::Stem => "the first convolution reads the picture itself and pools what it computes",
            Self::Bands => "what one convolution hands on to another stays in the cache, a band of rows at a time",
        }
    }

    /// Whether results keep all their bits: the same numbers are computed in the same order, only elsewhere.
    pub fn keeps_bits(self) -> bool {
        matches!(
            self,
            Self::Epilogue | Self::Prologue | Self::PooledNorm | Self::ConcatView | Self::SplitView | Self::Bands
        )
    }

    /// The rewrite as a function of the graph, if it is one.
    fn of_graph(self) -> Option<Function> {
        match self {
            Self::NormConstants => Some(norm_constants),
            Self::FoldNorm => Some(fold_batch_norm),
            Self::MergePair => Some(merge_linear_pair),
            Self::MergeChain => Some(merge_chain),
            Self::PoolFirst => Some(pool_first),
            Self::MaxFirst => Some(max_first),
            Self::Stack => Some(stack_pointwise),
            _ => None,
        }
    }
}

impl std::fmt::Display for Rewrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of rewrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrites(u16);

impl Rewrites {
    /// No rewrite.
    pub const NONE: Self = Self(0);

    /// Every rewrite.
    pub fn all() -> Self {
        Rewrite::ALL.into_iter().collect()
    }

    /// Those that keep results' bits; see [`Rewrite::keeps_bits`].
    pub fn that_keep_bits() -> Self {
        Rewrite::ALL.into_iter().filter(|r| r.keeps_bits()).collect()
    }

    /// The set without one of them.
    #[must_use]
    pub fn without(self, rewrite: Rewrite) -> Self {
        Self(self.0 & !(1 << rewrite as u16))
    }

    /// Whether a rewrite belongs to the set.
    pub fn has(self, rewrite: Rewrite) -> bool {
        self.0 & 1 << rewrite as u16 != 0
    }
}

impl FromIterator<Rewrite> for Rewrites {
    fn from_iter<T: IntoIterator<Item = Rewrite>>(rewrites: T) -> Self {
        Self(rewrites.into_iter().fold(0, |set, r| set | 1 << r as u16))
    }
}

/// What a rewrite has saved for one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saving {
    /// The rewrite.
    pub rewrite: Rewrite,
    /// In how many places it was applied.
    pub times: usize,
    /// Multiply-adds that are not done: those of convolutions, and one for each number that a normalisation would scale.
    pub macs: u64,
    /// Bytes of values that are neither read nor written, weights not counted; what stays in a cache anyway is counted, too.
    pub bytes: u64,
}

impl Saving {
    /// Of a value of so many numbers that is never stored: it would be written once and read once.
    pub(crate) fn unstored(rewrite: Rewrite, numbers: usize) -> Self {
        Self { rewrite, times: 1, macs: 0, bytes: 2 * bytes(numbers) }
    }

    /// Of so many numbers that are not multiplied and added to.
    pub(crate) fn unscaled(rewrite: Rewrite, numbers: usize) -> Self {
        Self { rewrite, times: 1, macs: numbers as u64, bytes: 0 }
    }

    /// The sum for each rewrite that was applied, in the order of [`Rewrite::ALL`].
    pub(crate) fn summed(all: &[Self]) -> Vec<Self> {
        let sum = |rewrite: Rewrite| {
            let of_it = all.iter().filter(|s| s.rewrite == rewrite && s.times > 0);
            of_it.copied().reduce(|a, b| Self {
                rewrite,
                times: a.times + b.times,
                macs: a.macs + b.macs,
                bytes: a.bytes + b.bytes,
            })
        };
        Rewrite::ALL.into_iter().filter_map(sum).collect()
    }
}

/// The graph and its weights after all rewrites of a set that are functions of the graph, and what each has saved. `kept` gives the
/// values that must stay as they are.
pub(crate) fn rewritten<'a>(
    (mut graph, mut weights): (Graph, LazyWeights<'a>),
    inputs: &InputShapes,
    rewrites: Rewrites,
    kept: impl Fn(&Graph) -> Result<Vec<ValueId>, PlanError>,
) -> Result<(Graph, LazyWeights<'a>, Vec<Saving>), PlanError> {
    let mut savings = Vec::new();
    let mut before = Work::of(&graph, inputs)?;
    for rewrite in Rewrite::ALL.into_iter().filter(|&r| rewrites.has(r)) {
        let Some(function) = rewrite.of_graph() else { continue };
        let after = function(&graph, &weights, &kept(&graph)?);
        let times = after.times;
        (graph, weights) = (after.graph, after.weights);
        let work = Work::of(&graph, inputs)?;
        let [macs, bytes] = [before.macs.saturating_sub(work.macs), before.bytes.saturating_sub(work.bytes)];
        savings.push(Saving { rewrite, times, macs, bytes });
        before = work;
    }
    Ok((graph, weights, savings))
}

/// What a graph asks of a machine for one image if every node is a pass of its own.
struct Work {
    macs: u64,
    /// Read and written; concatenations and slices count as views.
    bytes: u64,
}

impl Work {
    fn of(graph: &Graph, inputs: &InputShapes) -> Result<Self, GraphError> {
        let shapes = graph.shapes(&**inputs)?;
        let mut work = Self { macs: Count::of(graph, &**inputs)?.macs(), bytes: 0 };
        for (id, node) in graph.nodes().iter().enumerate() {
            match node.op {
                Op::Concat | Op::Slice { .. } => continue,
                Op::BatchNorm { .. } => work.macs += numbers(shapes[id]) as u64,
                _ => {}
            }
            work.bytes += node.inputs.iter().chain([&id]).map(|&v| bytes(numbers(shapes[v]))).sum::<u64>();
        }
        Ok(work)
    }
}

/// Numbers of a value.
pub(crate) fn numbers(shape: Shape) -> usize {
    shape.iter().product()
}

fn bytes(numbers: usize) -> u64 {
    (numbers * size_of::<f32>()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_they_were_made_of() {
        assert!(Rewrite::ALL.into_iter().all(|r| Rewrites::all().has(r) && !Rewrites::NONE.has(r)));
        for r in Rewrite::ALL {
            assert_eq!(
                Rewrite::ALL.into_iter().filter(|&o| !Rewrites::all().without(r).has(o)).collect::<Vec<_>>(),
                [r]
            );
            assert_eq!(Rewrites::that_keep_bits().has(r), r.keeps_bits());
        }
    }

    #[test]
    fn savings_are_summed() {
        let one = Saving::unstored(Rewrite::Epilogue, 10);
        let none = Saving { rewrite: Rewrite::Stack, times: 0, macs: 0, bytes: 0 };
        assert_eq!(Saving::summed(&[one, none, one]), [Saving { times: 2, bytes: 160, ..one }]);
    }
}
