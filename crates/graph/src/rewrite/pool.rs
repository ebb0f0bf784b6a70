//! Pooling taken before a convolution that mixes channels, or before an activation, instead of behind it.

use super::copying::Copying;
use super::{Rewritten, is_pointwise, kept_with_outputs};
use crate::graph::{Graph, ValueId};
use crate::lazy::LazyWeights;
use crate::op::{Op, Padding, PoolKind};

/// Takes the average of a pooling window, or of the whole plane, before a 1 x 1 convolution that it alone reads (rewrites R4 and
/// R14): the convolution then has fewer pixels. Values in `kept` stay as they are.
///
/// Proof: the mean P acts on pixels and the matrix W on channels, so `P(Wx + b) = W(Px) + b`; P keeps the constant b, since a
/// mean counts cells of the picture alone.
///
/// Fires on the transitions of DenseNet (Huang et al., section 3): 8.2 % of DenseNet-121's MACs.
pub fn pool_first<'a>(graph: &Graph, weights: &LazyWeights<'a>, kept: &[ValueId]) -> Rewritten<'a> {
    let moves = |conv, pool: &Op| is_mean_within(pool) && is_pointwise(graph, conv);
    with_pools_moved(graph, weights, kept, moves)
}

/// Takes the largest of a window before an activation that never falls and that it alone reads (rewrite R12): the activation then
/// has fewer numbers. Values in `kept` stay as they are.
///
/// Proof: `max(f(x)) = f(max x)` where `f` never falls, as ReLU and leaky ReLU, but not SiLU and Mish; padding never counts. Nothing
/// is rounded anew.
///
/// Fires on the stems of ResNet-50, DenseNet and CSPResNet: three quarters of the stem's activations.
pub fn max_first<'a>(graph: &Graph, weights: &LazyWeights<'a>, kept: &[ValueId]) -> Rewritten<'a> {
    let moves = |before, pool: &Op| {
        let never_falls = matches!(graph.node(before).op, Op::Unary { function } if function.never_falls());
        never_falls && matches!(pool, Op::Pool { kind: PoolKind::Max, .. })
    };
    with_pools_moved(graph, weights, kept, moves)
}

/// The graph with pools moved to the front of what they alone read, where `moves` says so of that node and of the pool.
fn with_pools_moved<'a>(
    graph: &Graph,
    weights: &LazyWeights<'a>,
    kept: &[ValueId],
    moves: impl Fn(ValueId, &Op) -> bool,
) -> Rewritten<'a> {
    let kept = &kept_with_outputs(graph, kept);
    let readers = graph.consumers();
    let moves_before = |pool: ValueId| {
        let before = *graph.node(pool).inputs.first()?;
        let is_alone = readers[before] == [pool] && !kept.contains(&before);
        (is_alone && moves(before, &graph.node(pool).op)).then_some(before)
    };
    let mut copy = Copying::new(graph, weights);
    for (id, readers) in readers.iter().enumerate() {
        match moves_before(id) {
            Some(before) => copy.push_swapped(before, id),
            None if readers.iter().any(|&r| moves_before(r) == Some(id)) => {}
            None => copy.push(id),
        }
    }
    copy.finish()
}

/// Whether an operation is a mean of cells that are all on the picture.
fn is_mean_within(op: &Op) -> bool {
    match op {
        Op::Pool { kind: PoolKind::Average { .. }, window } => window.padding == Padding::NONE,
        Op::GlobalAvgPool => true,
        _ => false,
    }
}

impl Copying<'_, '_> {
    /// The pool, of what the node before it reads, and then that node.
    fn push_swapped(&mut self, before: ValueId, pool: ValueId) {
        let mut first = self.graph.node(pool).clone();
        first.inputs = self.inputs(before);
        // For a moment the pool stands for the value that the other node will be.
        self.push_as(pool, first);
        let mut second = self.graph.node(before).clone();
        second.inputs = vec![self.value(pool)];
        second.params = self.params(before);
        self.push_as(pool, second);
        self.times += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Count;
    use crate::{Builder, Conv, Unary, Weights, Window};

    fn transition(padding: usize) -> Graph {
        let mut b = Builder::new();
        let x = b.input(8);
        let x = b.conv("conv", x, Conv::new(4, 1).bias());
        let x = b.avg_pool("pool", x, Window::square(2, 2, padding));
        let x = b.conv("last", x, Conv::new(6, 1));
        let x = b.global_avg_pool("mean", x);
        b.finish(x).unwrap()
    }

    fn names(graph: &Graph) -> Vec<&str> {
        graph.nodes().iter().map(|n| n.path.as_str()).collect()
    }

    #[test]
    fn a_transition_pools_first_and_has_a_quarter_of_the_macs() {
        let g = transition(0);
        let weights = LazyWeights::owned(Weights::reference(&g));
        let Rewritten { graph: after, weights, times } = pool_first(&g, &weights, &[g.output()]);
        assert_eq!(times, 2);
        assert_eq!(names(&after), ["input", "pool", "conv", "mean", "last"]);
        assert_eq!(after.shapes([8, 6, 6]).unwrap().last(), Some(&[6, 1, 1]));
        assert_eq!(weights.to_weights().unwrap(), Weights::reference(&g));
        let macs = |g: &Graph| Count::of(g, [8, 6, 6]).unwrap().macs();
        assert_eq!((macs(&g), macs(&after)), (36 * 32 + 9 * 24, 9 * 32 + 24));
    }

    #[test]
    fn the_largest_is_taken_before_an_activation_that_never_falls() {
        for (function, times) in [(Unary::Relu, 1), (Unary::LeakyRelu { slope: 0.1 }, 1), (Unary::Silu, 0)] {
            let mut b = Builder::new();
            let x = b.input(8);
            let x = b.unary("act", x, function);
            let x = b.max_pool("pool", x, Window::square(3, 2, 1));
            let g = b.finish(x).unwrap();
            let after = max_first(&g, &LazyWeights::owned(Weights::reference(&g)), &[g.output()]);
            let order = if times == 1 { ["input", "pool", "act"] } else { ["input", "act", "pool"] };
            assert_eq!((after.times, names(&after.graph)), (times, order.into()));
            assert_eq!(max_first(&g, &LazyWeights::owned(Weights::reference(&g)), &[1]).times, 0);
        }
        let g = transition(0);
        assert_eq!(max_first(&g, &LazyWeights::owned(Weights::reference(&g)), &[]).times, 0);
    }

    #[test]
    fn padding_and_values_that_are_kept_prevent_it() {
        let g = transition(1);
        let first = |g: &Graph, kept: &[ValueId]| {
            let weights = LazyWeights::owned(Weights::reference(g));
            names(&pool_first(g, &weights, kept).graph)[..3].iter().map(|&n| n.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(first(&g, &[]), ["input", "conv", "pool"]);
        assert_eq!(first(&transition(0), &[1]), ["input", "conv", "pool"]);
    }
}
