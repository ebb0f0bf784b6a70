//! Averages taken before a convolution that mixes channels, instead of behind it.

use super::copying::Copying;
use super::{Rewritten, is_pointwise};
use crate::graph::{Graph, ValueId};
use crate::op::{Op, PoolKind};
use crate::weights::Weights;

/// Takes the average of a pooling window, or of the whole plane, before a 1 x 1 convolution that it alone reads (rewrites R4 and
/// R14): the convolution then has fewer pixels. Values in `kept` stay as they are.
///
/// Proof: the mean P acts on pixels and the matrix W on channels, so `P(Wx + b) = W(Px) + b`; P keeps the constant b, since every
/// window lies on the picture.
///
/// Fires on the transitions of DenseNet (Huang et al., section 3): 8.2 % of DenseNet-121's MACs.
pub fn pool_first(graph: &Graph, weights: &Weights, kept: &[ValueId]) -> Rewritten {
    let readers = graph.consumers();
    let conv_before = |pool: ValueId| {
        let conv = *graph.node(pool).inputs.first()?;
        let alone = readers[conv] == [pool] && !kept.contains(&conv);
        (is_mean_within(&graph.node(pool).op) && alone && is_pointwise(graph, conv)).then_some(conv)
    };
    let mut copy = Copying::new(graph, weights);
    for (id, readers) in readers.iter().enumerate() {
        match conv_before(id) {
            Some(conv) => copy.push_pool_first(id, conv),
            None if readers.iter().any(|&r| conv_before(r) == Some(id)) => {}
            None => copy.push(id),
        }
    }
    copy.finish()
}

/// Whether an operation is a mean of cells that are all on the picture.
fn is_mean_within(op: &Op) -> bool {
    match op {
        Op::Pool { kind: PoolKind::Average { .. }, window } => window.padding == [0, 0],
        Op::GlobalAvgPool => true,
        _ => false,
    }
}

impl Copying<'_> {
    fn push_pool_first(&mut self, pool: ValueId, conv: ValueId) {
        let mut first = self.graph.node(pool).clone();
        first.inputs = self.inputs(conv);
        // For a moment the pool stands for the value that the convolution will be.
        self.push_as(pool, first);
        let mut second = self.graph.node(conv).clone();
        second.inputs = vec![self.value(pool)];
        second.params = self.params(conv);
        self.push_as(pool, second);
        self.times += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Count;
    use crate::{Builder, Conv, Window};

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
        let Rewritten { graph: after, weights, times } = pool_first(&g, &Weights::reference(&g), &[g.output()]);
        assert_eq!(times, 2);
        assert_eq!(names(&after), ["input", "pool", "conv", "mean", "last"]);
        assert_eq!(after.shapes([8, 6, 6]).unwrap().last(), Some(&[6, 1, 1]));
        assert_eq!(weights.tensors(), Weights::reference(&g).tensors());
        let macs = |g: &Graph| Count::of(g, [8, 6, 6]).unwrap().macs();
        assert_eq!((macs(&g), macs(&after)), (36 * 32 + 9 * 24, 9 * 32 + 24));
    }

    #[test]
    fn padding_and_values_that_are_kept_prevent_it() {
        let g = transition(1);
        assert_eq!(names(&pool_first(&g, &Weights::reference(&g), &[]).graph)[..3], ["input", "conv", "pool"]);
        let g = transition(0);
        assert_eq!(names(&pool_first(&g, &Weights::reference(&g), &[1]).graph)[..3], ["input", "conv", "pool"]);
    }
}
