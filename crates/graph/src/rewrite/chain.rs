//! Two 1 x 1 convolutions in a row with nothing between them, made one.

use super::copying::Copying;
use super::linear::{Linear, Product};
use super::{Rewritten, is_pointwise, kept_with_outputs};
use crate::graph::{Graph, ValueId};
use crate::lazy::LazyWeights;

/// Lets a 1 x 1 convolution that reads another one's result read what that one reads (rewrite R6), where this takes fewer MACs. The
/// first one is still computed if others read it, too. Values in `kept` stay as they are.
///
/// Proof: `C (E x + e) + c = (C E) x + (C e + c)`. Computed in double precision and rounded once.
///
/// Fires on CSPResNet-50 and CSPResNeXt-50 behind [`super::merge_linear_pair`], where a stage's expanding convolution takes fewer
/// channels than it gives: the first bottleneck then reads the stage's input, and only its shortcut the expanded value.
pub fn merge_chain<'a>(graph: &Graph, weights: &LazyWeights<'a>, kept: &[ValueId]) -> Rewritten<'a> {
    let kept = &kept_with_outputs(graph, kept);
    let readers = graph.consumers();
    let mut first_of: Vec<Option<ValueId>> = vec![None; graph.nodes().len()];
    let mut skipped = vec![false; graph.nodes().len()];
    for second in (0..graph.nodes().len()).filter(|&id| is_pointwise(graph, id)) {
        let first = graph.node(second).inputs[0];
        let is_alone = readers[first] == [second] && !kept.contains(&first);
        if is_pointwise(graph, first) && first_of[first].is_none() && saves(graph, first, second, is_alone) {
            first_of[second] = Some(first);
            skipped[first] = is_alone;
        }
    }
    let mut copy = Copying::new(graph, weights);
    for (id, first) in first_of.into_iter().enumerate() {
        match first {
            Some(first) => copy.push_composed(first, id),
            None if skipped[id] => {}
            None => copy.push(id),
        }
    }
    copy.finish()
}

/// Whether the product of two matrices has fewer numbers than those of them that it replaces.
fn saves(graph: &Graph, first: ValueId, second: ValueId, is_alone: bool) -> bool {
    let [input, middle, out] = [graph.node(first).inputs[0], first, second].map(|v| graph.channels(v));
    input * out < middle * out + if is_alone { input * middle } else { 0 }
}

impl Copying<'_, '_> {
    fn push_composed(&mut self, first: ValueId, second: ValueId) {
        let inputs = self.inputs(first);
        let [first, map] = [first, second].map(|v| Linear::of(self.graph, self.weights, v));
        let len = first.rows;
        let (weight, bias) = Product { first, second: map, start: 0, before: 0, len }.tensors();
        self.times += 1;
        self.push_conv(second, second, inputs, weight, bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Count;
    use crate::{Builder, Conv, Weights};

    /// A convolution to `middle` channels and another behind it, which perhaps are added.
    fn chain(middle: usize, shared: bool) -> Graph {
        let mut b = Builder::new();
        let x = b.input(4);
        let e = b.conv("first", x, Conv::new(middle, 1).bias());
        let c = b.conv("second", e, Conv::new(middle, 1).bias());
        let y = if shared { b.add("sum", e, c) } else { c };
        b.finish(y).unwrap()
    }

    #[test]
    fn the_second_reads_what_the_first_reads_where_that_is_less() {
        for (middle, shared, times) in [(6, true, 1), (4, true, 0), (3, true, 0), (6, false, 1), (3, false, 1)] {
            let g = chain(middle, shared);
            let after = merge_chain(&g, &LazyWeights::owned(Weights::reference(&g)), &[g.output()]);
            assert_eq!(after.times, times, "{middle} {shared}");
            let macs = |g: &Graph| Count::of(g, [4, 1, 1]).unwrap().macs() as usize;
            assert!(times == 0 || macs(&after.graph) < macs(&g));
            assert_eq!(after.graph.nodes().len(), g.nodes().len() - usize::from(!shared) * times);
        }
    }

    #[test]
    fn the_product_is_the_matrices_product() {
        let g = chain(3, false);
        let mut weights = Weights::reference(&g);
        // first: x -> (x0, 2 x1, 3 x2) + 1; second: its sum, three times, and 10.
        weights.get_mut(0).copy_from_slice(&[1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0]);
        weights.get_mut(1).fill(1.0);
        weights.get_mut(2).fill(1.0);
        weights.get_mut(3).fill(10.0);
        let after = merge_chain(&g, &LazyWeights::owned(weights), &[g.output()]).weights;
        assert_eq!(after.to_weights().unwrap().tensors(), [[1.0, 2.0, 3.0, 0.0].repeat(3), vec![13.0; 3]]);
    }

    #[test]
    fn a_first_one_that_is_kept_is_still_computed() {
        let g = chain(3, false);
        assert_eq!(merge_chain(&g, &LazyWeights::owned(Weights::reference(&g)), &[1, 2]).times, 0);
        let g = chain(6, false);
        let after = merge_chain(&g, &LazyWeights::owned(Weights::reference(&g)), &[1, 2]);
        assert_eq!((after.times, after.graph.nodes().len()), (1, 3));
    }
}
