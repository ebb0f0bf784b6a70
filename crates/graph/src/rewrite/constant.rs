//! Constants for every channel that are multiplied or added, made a normalisation.

use super::copying::Copying;
use super::{Rewritten, kept_with_outputs};
use crate::graph::{Graph, Node, ValueId};
use crate::lazy::{LazyTensor, LazyWeights};
use crate::op::{Binary, Op};
use crate::param::{Init, Param, Role};

/// Makes every product, quotient, sum and difference of a value and a constant `[c, 1, 1]` or `[1, 1, 1]` a batch normalisation with
/// the mean 0 and the variance 1 (rewrite R17), so that whatever is done about normalisations is done about them, too: they go into
/// convolutions. Values in `kept` stay as they are; constants that nobody reads any more disappear.
///
/// Proof: `k x = k (x - 0) / sqrt(1 + 0) + 0` and `x + k = 1 (x - 0) / sqrt(1 + 0) + k`. `x / k` is `(1 / k) x`, rounded twice.
/// It holds for finite numbers: a factor that is not, such as that of a division by zero, would make something else of a zero in the
/// weights of a convolution than of what that convolution gives. Such a constant stays as it is, and so does one that cannot be read.
///
/// Fires on networks that were exported with a scale layer of their own, as Caffe's are, or with the normalisation of their pictures.
pub fn norm_constants<'a>(graph: &Graph, weights: &LazyWeights<'a>, kept: &[ValueId]) -> Rewritten<'a> {
    let kept = kept_with_outputs(graph, kept);
    let found: Vec<Option<Scaling>> = (0..graph.nodes().len()).map(|id| Scaling::of(graph, weights, id)).collect();
    let mut is_read = vec![false; found.len()];
    for (id, node) in graph.nodes().iter().enumerate() {
        let reads = |v: &ValueId| found[id].as_ref().is_none_or(|scaling| scaling.constant != *v);
        node.inputs.iter().filter(|v| reads(v)).for_each(|&v| is_read[v] = true);
    }
    kept.iter().for_each(|&v| is_read[v] = true);
    let mut copy = Copying::new(graph, weights);
    for (id, scaling) in found.iter().enumerate() {
        match scaling {
            Some(scaling) => copy.push_scaling(id, *scaling),
            None if !is_read[id] && matches!(graph.node(id).op, Op::Constant { .. }) => {}
            None => copy.push(id),
        }
    }
    copy.finish()
}

/// A value and a constant that are combined.
#[derive(Clone, Copy)]
struct Scaling {
    value: ValueId,
    constant: ValueId,
    function: Binary,
    /// Whether the constant comes first.
    flipped: bool,
}

impl Scaling {
    fn of(graph: &Graph, weights: &LazyWeights<'_>, id: ValueId) -> Option<Self> {
        let node = graph.node(id);
        let Op::Binary { function } = node.op else { return None };
        let &[a, b] = &node.inputs[..] else { return None };
        let per_channel = |v: ValueId| matches!(graph.node(v).op, Op::Constant { shape: [_, 1, 1] });
        let (value, constant) = if per_channel(b) { (a, b) } else { (b, a) };
        let flipped = constant == a;
        let takes = match function {
            Binary::Add | Binary::Sub | Binary::Mul => true,
            Binary::Div => !flipped,
            _ => false,
        };
        let fits = per_channel(constant) && graph.channels(value) == graph.channels(id);
        let is_computed = !matches!(graph.node(value).op, Op::Constant { .. });
        let found = (takes && fits && is_computed).then_some(Self { value, constant, function, flipped })?;
        let numbers = weights.get(graph.node(constant).params[0]).to_vec().ok()?;
        numbers.iter().all(|&k| found.number(k).is_finite()).then_some(found)
    }

    /// What becomes of a number of the constant.
    fn number(&self, k: f32) -> f32 {
        match (self.function, self.flipped) {
            (Binary::Div, _) => 1.0 / k,
            (Binary::Sub, false) => -k,
            _ => k,
        }
    }
}

impl<'a> Copying<'_, 'a> {
    fn push_scaling(&mut self, id: ValueId, scaling: Scaling) {
        let channels = self.graph.channels(id);
        let constant = self.weights.get(self.graph.node(scaling.constant).params[0]).clone();
        // One number may stand for all channels.
        let numbers = LazyTensor::computed(channels, move || {
            let numbers = constant.to_vec()?;
            Ok((0..channels).map(|c| scaling.number(numbers[c % numbers.len()])).collect())
        });
        let all = |value: f32| LazyTensor::computed(channels, move || Ok(vec![value; channels]));
        let (scale, shift) = match (scaling.function, scaling.flipped) {
            (Binary::Mul | Binary::Div, _) => (numbers, all(0.0)),
            (Binary::Sub, true) => (all(-1.0), numbers),
            _ => (all(1.0), numbers),
        };
        let path = self.graph.node(id).path.clone();
        let tensors = [
            (Role::NormScale, scale),
            (Role::NormShift, shift),
            (Role::RunningMean, all(0.0)),
            (Role::RunningVariance, all(1.0)),
        ];
        let params = tensors.map(|(role, tensor)| {
            let init = Init::Constant { value: 0.0 };
            let param = Param { name: format!("{path}.{}", role.leaf()), shape: vec![channels], role, init };
            self.param(param, tensor)
        });
        let inputs = vec![self.value(scaling.value)];
        let op = Op::BatchNorm { eps: 0.0, momentum: 0.0 };
        self.push_as(id, Node { path, op, inputs, params: params.into() });
        self.times += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::fold_batch_norm;
    use crate::{Builder, Conv, Weights};

    #[test]
    fn a_scale_and_a_shift_go_into_the_convolution() {
        let mut b = Builder::new();
        let x = b.input(2);
        let x = b.conv("conv", x, Conv::new(3, 1));
        let k = b.constant("k", [3, 1, 1]);
        let x = b.multiply("scaled", x, k);
        let one = b.constant("one", [1, 1, 1]);
        let x = b.binary("shifted", Binary::Sub, one, x);
        let x = b.binary("divided", Binary::Div, x, k);
        let g = b.finish(x).unwrap();
        let old = Weights::reference(&g);
        let first = norm_constants(&g, &LazyWeights::from(&old), &[]);
        let names: Vec<&str> = first.graph.nodes().iter().map(|n| n.op.name()).collect();
        assert_eq!((first.times, names), (3, vec!["input", "conv", "batch norm", "batch norm", "batch norm"]));
        let after = fold_batch_norm(&first.graph, &first.weights, &[]);
        assert_eq!(after.graph.nodes().len(), 2);
        let new = after.weights.to_weights().unwrap();
        for c in 0..3 {
            let (k, w) = (old.get(1)[c], old.get(0)[2 * c]);
            assert!((new.get(0)[2 * c] - -w).abs() < 1e-6 && (new.get(1)[c] - old.get(2)[0] / k).abs() < 1e-6);
        }
    }

    #[test]
    fn what_is_no_number_for_every_channel_stays() {
        let mut b = Builder::new();
        let x = b.input(1);
        let wide = b.constant("wide", [4, 1, 1]);
        let rows = b.constant("rows", [1, 5, 1]);
        let k = b.constant("k", [1, 1, 1]);
        let y = b.multiply("widened", x, wide);
        let y = b.add("by rows", y, rows);
        let y = b.binary("power", Binary::Pow, y, k);
        let y = b.binary("over", Binary::Div, k, y);
        let both = b.add("both", k, wide);
        let y = b.add("sum", y, both);
        let g = b.finish(y).unwrap();
        let after = norm_constants(&g, &LazyWeights::owned(Weights::reference(&g)), &[]);
        assert_eq!((after.times, after.graph), (0, g));
    }

    #[test]
    fn factors_that_are_not_finite_stay() {
        let times = |function, number: f32| {
            let mut b = Builder::new();
            let x = b.input(2);
            let k = b.constant("k", [2, 1, 1]);
            let y = b.binary("y", function, x, k);
            let g = b.finish(y).unwrap();
            let weights = LazyWeights::new(vec![vec![2.0, number].into()]);
            norm_constants(&g, &weights, &[]).times
        };
        // The reciprocal of the smallest numbers is none.
        for (number, divided, multiplied) in
            [(0.0, 0, 1), (1e-40, 0, 1), (1e38, 1, 1), (f32::INFINITY, 1, 0), (f32::NAN, 0, 0)]
        {
            assert_eq!((times(Binary::Div, number), times(Binary::Mul, number)), (divided, multiplied), "{number}");
            assert_eq!(times(Binary::Sub, number), multiplied, "{number}");
        }
    }

    #[test]
    fn constants_that_are_seen_stay() {
        let mut b = Builder::new();
        let x = b.input(3);
        let k = b.constant("k", [3, 1, 1]);
        let y = b.multiply("scaled", x, k);
        let g = b.finish(y).unwrap();
        let weights = LazyWeights::owned(Weights::reference(&g));
        let nodes = |kept: &[ValueId]| norm_constants(&g, &weights, kept).graph.nodes().len();
        assert_eq!((nodes(&[]), nodes(&[1])), (2, 3));
    }
}
