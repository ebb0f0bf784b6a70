//! Two matrices in a row, made one.

use super::copying::Copying;
use super::linear::{Linear, Product, single};
use super::{Rewritten, is_pointwise, kept_with_outputs};
use crate::graph::{Graph, ValueId};
use crate::lazy::{LazyTensor, LazyWeights};
use crate::op::Op;

/// A cross-stage part that two linear 1 x 1 convolutions lead around a stage's body.
struct Cross {
    /// The convolution whose output is split.
    expand: ValueId,
    /// The part that goes straight across: its first channel and how many.
    across: (usize, usize),
    /// The slice of it, and the slice that goes through the body.
    slices: [ValueId; 2],
    /// Where both meet again.
    concat: ValueId,
    /// The convolution that reads them.
    transition: ValueId,
}

/// Merges the two 1 x 1 convolutions that a cross-stage part goes through where nothing lies between them but the split and the
/// concatenation (rewrite R5), if that takes fewer MACs. Values in `kept` stay as they are.
///
/// Proof: with `xs = Es x + e` across and `xb` through the body, `[Ts Tb] [xs; xb] + t = (Ts Es) x + Tb xb + (t + Ts e)`. Computed
/// in double precision and rounded once.
///
/// Fires on the stages of CSPResNet-50 and CSPResNeXt-50, whose expanding convolution has no activation: 5.9 % and 7.5 % of their
/// MACs; the cross-stage part itself is never computed.
pub fn merge_linear_pair<'a>(graph: &Graph, weights: &LazyWeights<'a>, kept: &[ValueId]) -> Rewritten<'a> {
    let kept = &kept_with_outputs(graph, kept);
    let (readers, mut found) = (graph.consumers(), Vec::<Cross>::new());
    for cross in (0..graph.nodes().len()).filter_map(|t| Cross::read_by(graph, &readers, t, kept)) {
        // A transition may be the next part's expansion: one of them is merged.
        if !found.iter().any(|other| cross.values().into_iter().any(|id| other.role(id).is_some())) {
            found.push(cross);
        }
    }
    let mut copy = Copying::new(graph, weights);
    copy.times = found.len();
    for id in 0..graph.nodes().len() {
        let role = found.iter().find_map(|c| Some((c, c.role(id)?)));
        match role {
            Some((c, Part::Expand)) => copy.push_rest(c),
            Some((_, Part::Slices)) => {}
            Some((c, Part::Concat)) => copy.push_meeting(c),
            Some((c, Part::Transition)) => copy.push_product(c),
            None => copy.push(id),
        }
    }
    copy.finish()
}

/// What a node is to a cross-stage part.
enum Part {
    Expand,
    Slices,
    Concat,
    Transition,
}

impl Cross {
    /// The cross-stage part that `transition` reads, if it can be merged.
    fn read_by(graph: &Graph, readers: &[Vec<ValueId>], transition: ValueId, kept: &[ValueId]) -> Option<Self> {
        let only = |id: ValueId, reader: ValueId| readers[id] == [reader] && !kept.contains(&id);
        let concat = *graph.node(transition).inputs.first()?;
        if !is_pointwise(graph, transition) || graph.node(concat).op != Op::Concat || !only(concat, transition) {
            return None;
        }
        graph.node(concat).inputs.iter().find_map(|&slice| {
            let Op::Slice { start, len } = graph.node(slice).op else { return None };
            let expand = graph.node(slice).inputs[0];
            let &[a, b] = &readers[expand][..] else { return None };
            let other = if a == slice { b } else { a };
            let Op::Slice { start: from, len: rest } = graph.node(other).op else { return None };
            let parts = if start < from { [(start, len), (from, rest)] } else { [(from, rest), (start, len)] };
            let [(first, width), (second, last)] = parts;
            let all = first == 0 && second == width && second + last == graph.channels(expand);
            let cross = Self { expand, across: (start, len), slices: [slice, other], concat, transition };
            let fits = all && a != b && only(slice, concat) && !kept.contains(&expand) && is_pointwise(graph, expand);
            (fits && cross.saves(graph)).then_some(cross)
        })
    }

    /// Whether one matrix has fewer numbers than two.
    fn saves(&self, graph: &Graph) -> bool {
        let [input, out] = [graph.node(self.expand).inputs[0], self.transition].map(|v| graph.channels(v));
        let across = self.across.1;
        input * out < across * (input + out)
    }

    /// All that it is made of.
    fn values(&self) -> [ValueId; 5] {
        let [across, rest] = self.slices;
        [self.expand, across, rest, self.concat, self.transition]
    }

    fn role(&self, id: ValueId) -> Option<Part> {
        match id {
            _ if id == self.expand => Some(Part::Expand),
            _ if self.slices.contains(&id) => Some(Part::Slices),
            _ if id == self.concat => Some(Part::Concat),
            _ if id == self.transition => Some(Part::Transition),
            _ => None,
        }
    }
}

impl Copying<'_, '_> {
    /// The expanding convolution without the rows that go across.
    fn push_rest(&mut self, c: &Cross) {
        let expand = Linear::of(self.graph, self.weights, c.expand);
        let (columns, (start, len)) = (expand.columns(), c.across);
        let rest = move |mut numbers: Vec<f32>, row: usize| {
            numbers.drain(row * start..row * (start + len));
            numbers
        };
        let rows = expand.rows - len;
        let of_weight = expand.clone();
        let weight = LazyTensor::computed(rows * columns, move || Ok(rest(of_weight.weight.to_vec()?, columns)));
        let bias = LazyTensor::computed(rows, move || Ok(rest(single(expand.bias()?), 1)));
        let inputs = self.inputs(c.expand);
        self.push_conv(c.slices[1], c.expand, inputs, weight, bias);
    }

    /// The concatenation, of what the expanding convolution reads instead of the part that goes across.
    fn push_meeting(&mut self, c: &Cross) {
        let mut node = self.graph.node(c.concat).clone();
        let across = |&v: &ValueId| if v == c.slices[0] { self.graph.node(c.expand).inputs[0] } else { v };
        node.inputs = node.inputs.iter().map(|v| self.value(across(v))).collect();
        self.push_as(c.concat, node);
    }

    /// The transition, with the product of both matrices where the part went across.
    fn push_product(&mut self, c: &Cross) {
        let [first, second] = [c.expand, c.transition].map(|v| Linear::of(self.graph, self.weights, v));
        let parts = &self.graph.node(c.concat).inputs;
        let before = parts.iter().take_while(|&&p| p != c.slices[0]).map(|&p| self.graph.channels(p)).sum();
        let (start, len) = c.across;
        let (weight, bias) = Product { first, second, start, before, len }.tensors();
        let inputs = vec![self.value(c.concat)];
        self.push_conv(c.transition, c.transition, inputs, weight, bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Count;
    use crate::{Builder, Conv, Unary, Weights};

    /// A cross-stage-partial stage around one convolution; with an activation behind the expansion it is not linear.
    fn stage(activated: bool, cross_first: bool) -> Graph {
        let mut b = Builder::new();
        let x = b.input(4);
        let mut wide = b.conv("expand", x, Conv::new(12, 1).bias());
        if activated {
            wide = b.unary("act", wide, Unary::Relu);
        }
        let (cross, part) = if cross_first { (0, 6) } else { (6, 0) };
        let cross = b.slice("cross", wide, cross, 6);
        let part = b.slice("part", wide, part, 6);
        let part = b.conv("body", part, Conv::new(6, 3));
        let both = b.concat("merge", &[part, cross]);
        let y = b.conv("transition", both, Conv::new(8, 1));
        b.finish(y).unwrap()
    }

    #[test]
    fn the_part_that_goes_across_disappears_where_it_is_linear() {
        for cross_first in [true, false] {
            let g = stage(false, cross_first);
            let weights = LazyWeights::owned(Weights::reference(&g));
            let Rewritten { graph: after, weights, times } = merge_linear_pair(&g, &weights, &[g.output()]);
            let paths: Vec<&str> = after.nodes().iter().map(|n| n.path.as_str()).collect();
            assert_eq!(paths, ["input", "expand", "body", "merge", "transition"]);
            let macs = |g: &Graph| Count::of(g, [4, 5, 5]).unwrap().macs();
            assert_eq!(macs(&g) - macs(&after), 25 * (4 * 6 + 6 * 8 - 4 * 8));
            assert!(times == 1 && weights.check(after.params()).is_ok());
        }
        let activated = stage(true, true);
        let weights = LazyWeights::owned(Weights::reference(&activated));
        assert_eq!(merge_linear_pair(&activated, &weights, &[]).times, 0);
    }

    /// The first part's transition is the second's expansion.
    #[test]
    fn of_two_parts_that_meet_one_is_merged() {
        let mut b = Builder::new();
        let x = b.input(8);
        let mut x = b.conv("expand", x, Conv::new(16, 1));
        for (name, width, out) in [("middle", 8, 64), ("last", 32, 8)] {
            let halves = [0, width].map(|start| b.slice(&format!("{name}{start}"), x, start, width));
            let both = b.concat(&format!("{name}_merge"), &halves);
            x = b.conv(name, both, Conv::new(out, 1));
        }
        let graph = b.finish(x).unwrap();
        let weights = LazyWeights::owned(Weights::reference(&graph));
        let after = merge_linear_pair(&graph, &weights, &[]);
        assert!(after.times == 1 && after.weights.check(after.graph.params()).is_ok());
    }

    #[test]
    fn values_that_are_kept_prevent_it() {
        let g = stage(false, true);
        for kept in [1, 2, 5] {
            let weights = LazyWeights::owned(Weights::reference(&g));
            assert_eq!(merge_linear_pair(&g, &weights, &[kept]).times, 0, "value {kept}");
        }
    }
}
