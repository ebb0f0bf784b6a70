//! Several 1 x 1 convolutions of the same value, made one.

use super::copying::Copying;
use super::{Rewritten, is_pointwise, kept_with_outputs};
use crate::graph::{Graph, Node, ValueId};
use crate::lazy::{LazyTensor, LazyWeights};
use crate::op::{Op, Unary};

/// A convolution that may be one of several, with the activation behind it.
struct Branch {
    conv: ValueId,
    /// The value that others read: the activation's, or the convolution's.
    end: ValueId,
    activation: Option<Unary>,
}

/// Stacks the matrices of 1 x 1 convolutions that read the same value and have the same activation (rewrite R9): the value is read
/// once, and the parts are slices of the result. Values in `kept` may become slices, too, but keep their numbers.
///
/// Proof: the rows of `[A; B] x + [a; b]` are those of `A x + a` and of `B x + b`, and a function of every element acts on each row
/// by itself.
///
/// Branches that end in an addition stay, for the addition belongs to their epilogue. Fires on the two-way layers of PeleeNet
/// (Wang et al., arXiv:1804.06882) and, with them, on the two convolutions by which CSPPeleeNet splits.
pub fn stack_pointwise<'a>(graph: &Graph, weights: &LazyWeights<'a>, kept: &[ValueId]) -> Rewritten<'a> {
    let kept = &kept_with_outputs(graph, kept);
    let readers = graph.consumers();
    let mut stacks: Vec<Vec<Branch>> = Vec::new();
    for value in &readers {
        let mut branches: Vec<Branch> =
            value.iter().filter_map(|&conv| Branch::from(graph, &readers, conv, kept)).collect();
        while let Some(activation) = branches.first().map(|b| b.activation) {
            let (stack, rest) = branches.into_iter().partition(|b| b.activation == activation);
            stacks.push(stack);
            branches = rest;
        }
    }
    stacks.retain(|stack| stack.len() > 1);
    let mut copy = Copying::new(graph, weights);
    for id in 0..graph.nodes().len() {
        match stacks.iter().find(|stack| stack.iter().any(|b| b.conv == id || b.end == id)) {
            Some(stack) if stack[0].conv == id => copy.push_stack(stack),
            Some(_) => {}
            None => copy.push(id),
        }
    }
    copy.finish()
}

impl Branch {
    fn from(graph: &Graph, readers: &[Vec<ValueId>], conv: ValueId, kept: &[ValueId]) -> Option<Self> {
        let (end, activation) = match readers[conv][..] {
            [reader] if !kept.contains(&conv) => match graph.node(reader).op {
                Op::Unary { function } => (reader, Some(function)),
                _ => (conv, None),
            },
            _ => (conv, None),
        };
        let is_added = readers[end].iter().any(|&r| matches!(graph.node(r).op, Op::Binary { .. }));
        (is_pointwise(graph, conv) && !is_added).then_some(Self { conv, end, activation })
    }
}

impl Copying<'_, '_> {
    /// The stacked convolution, the activation, and the slices in the branches' places.
    fn push_stack(&mut self, stack: &[Branch]) {
        let params = |b: &Branch| self.graph.node(b.conv).params.clone();
        let weight = stacked(stack.iter().map(|b| self.weights.get(params(b)[0]).clone()).collect());
        let bias = |b: &Branch| match params(b).get(1) {
            Some(&bias) => self.weights.get(bias).clone(),
            None => vec![0.0; self.graph.channels(b.conv)].into(),
        };
        let bias = stacked(stack.iter().map(bias).collect());
        let Branch { conv, end, activation } = stack[0];
        let inputs = self.inputs(conv);
        self.push_conv(end, conv, inputs, weight, bias);
        if activation.is_some() {
            let node = self.graph.node(end).clone();
            self.push_as(end, Node { inputs: vec![self.value(end)], ..node });
        }
        let (stacked, mut start) = (self.value(end), 0);
        for branch in stack {
            let len = self.graph.channels(branch.conv);
            let path = self.graph.node(branch.end).path.clone();
            let op = Op::Slice { start, len };
            self.push_as(branch.end, Node { path, op, inputs: vec![stacked], params: Vec::new() });
            start += len;
        }
        self.times += 1;
    }
}

/// Tensors one after another.
fn stacked(tensors: Vec<LazyTensor<'_>>) -> LazyTensor<'_> {
    let len = tensors.iter().map(LazyTensor::len).sum();
    LazyTensor::computed(len, move || {
        let numbers = tensors.iter().map(LazyTensor::to_vec).collect::<Result<Vec<_>, _>>()?;
        Ok(numbers.concat())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, Conv, Weights};

    /// Three branches of one value, of which two have the same activation, and an addition.
    fn branches() -> Graph {
        let mut b = Builder::new();
        let x = b.input(4);
        let first = b.conv("first", x, Conv::new(3, 1));
        let first = b.unary("first.relu", first, Unary::Relu);
        let second = b.conv("second", x, Conv::new(5, 1).bias());
        let second = b.unary("second.relu", second, Unary::Relu);
        let third = b.conv("third", x, Conv::new(5, 1));
        let third = b.unary("third.silu", third, Unary::Silu);
        let fourth = b.conv("fourth", x, Conv::new(5, 1));
        let sum = b.add("sum", third, fourth);
        let y = b.concat("all", &[second, sum, first]);
        b.finish(y).unwrap()
    }

    #[test]
    fn branches_with_the_same_activation_are_stacked() {
        let g = branches();
        let old = Weights::reference(&g);
        let Rewritten { graph, weights, times } = stack_pointwise(&g, &(&old).into(), &[g.output()]);
        let weights = weights.to_weights().unwrap();
        let paths: Vec<&str> = graph.nodes().iter().map(|n| n.path.as_str()).collect();
        let stacked = ["input", "first", "first.relu", "first.relu", "second.relu", "third", "third.silu", "fourth"];
        assert_eq!((times, &paths[..8]), (1, &stacked[..]));
        assert_eq!(weights.get(0), [old.get(0), old.get(1)].concat());
        assert_eq!(weights.get(1), [&[0.0; 3][..], old.get(2)].concat());
        let slices: Vec<&Op> = graph.nodes().iter().map(|n| &n.op).filter(|op| op.name() == "slice").collect();
        assert_eq!(slices, [&Op::Slice { start: 0, len: 3 }, &Op::Slice { start: 3, len: 5 }]);
    }

    #[test]
    fn a_convolution_that_is_kept_stays() {
        let g = branches();
        assert_eq!(stack_pointwise(&g, &LazyWeights::owned(Weights::reference(&g)), &[1]).times, 0);
        assert_eq!(stack_pointwise(&g, &LazyWeights::owned(Weights::reference(&g)), &[2]).times, 1);
    }
}
