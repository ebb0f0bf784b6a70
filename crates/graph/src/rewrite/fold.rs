//! Normalisations folded into the convolutions before them.

use super::copying::Copying;
use super::{Rewritten, kept_with_outputs};
use crate::graph::{Graph, ValueId};
use crate::lazy::{LazyTensor, LazyWeights, ReadError};
use crate::op::Op;

/// Folds every batch normalisation into the convolution before it, where nothing else reads that convolution
/// (rewrite R1). Values of modules and values in `kept` stay as they are.
///
/// Proof: `s (Wx + b - m) / sqrt(v + e) + t = (s / sqrt(v + e)) W x + (t + s (b - m) / sqrt(v + e))`, channel by channel.
/// Computed in double precision and rounded once.
pub fn fold_batch_norm<'a>(graph: &Graph, weights: &LazyWeights<'a>, kept: &[ValueId]) -> Rewritten<'a> {
    let kept = &kept_with_outputs(graph, kept);
    let readers = graph.consumers();
    let folds = |id: ValueId| {
        let node = graph.node(id);
        let before = *node.inputs.first()?;
        let is_norm = matches!(node.op, Op::BatchNorm { .. });
        let is_conv = matches!(graph.node(before).op, Op::Conv { .. });
        let seen_elsewhere = graph.modules().values().chain(kept).any(|&v| v == before);
        (is_norm && is_conv && readers[before].len() == 1 && !seen_elsewhere).then_some(before)
    };
    let mut copy = Copying::new(graph, weights);
    for (id, readers) in readers.iter().enumerate() {
        let is_folded_later = readers.iter().any(|&r| folds(r) == Some(id));
        match folds(id) {
            Some(conv) => copy.push_folded(conv, id),
            None if is_folded_later => {}
            None => copy.push(id),
        }
    }
    copy.finish()
}

/// The numbers of a normalisation that is folded.
#[derive(Clone)]
struct Folded<'a> {
    scale: LazyTensor<'a>,
    shift: LazyTensor<'a>,
    mean: LazyTensor<'a>,
    variance: LazyTensor<'a>,
    eps: f64,
}

impl Folded<'_> {
    /// What each channel of the convolution is multiplied by.
    fn factors(&self) -> Result<Vec<f64>, ReadError> {
        let (scale, variance) = (self.scale.to_vec()?, self.variance.to_vec()?);
        let factor = |(&s, &v): (&f32, &f32)| f64::from(s) / (f64::from(v) + self.eps).sqrt();
        Ok(scale.iter().zip(&variance).map(factor).collect())
    }

    /// The bias of both together.
    fn bias(&self, bias: Option<&LazyTensor<'_>>) -> Result<Vec<f32>, ReadError> {
        let (shift, mean, factors) = (self.shift.to_vec()?, self.mean.to_vec()?, self.factors()?);
        let bias = bias.map(LazyTensor::to_vec).transpose()?;
        let offset = |c: usize| bias.as_ref().map_or(0.0, |b| f64::from(b[c])) - f64::from(mean[c]);
        Ok((0..shift.len()).map(|c| (f64::from(shift[c]) + offset(c) * factors[c]) as f32).collect())
    }
}

impl Copying<'_, '_> {
    /// A convolution together with the normalisation behind it, as one convolution with a bias.
    fn push_folded(&mut self, conv: ValueId, norm: ValueId) {
        let (conv_node, norm_node) = (self.graph.node(conv), self.graph.node(norm));
        let (&Op::Conv { out, .. }, &Op::BatchNorm { eps, .. }) = (&conv_node.op, &norm_node.op) else {
            unreachable!("only a normalisation behind a convolution is folded");
        };
        let [scale, shift, mean, variance] = [0, 1, 2, 3].map(|i| self.weights.get(norm_node.params[i]).clone());
        let folded = Folded { scale, shift, mean, variance, eps };
        let weight = self.weights.get(conv_node.params[0]).clone();
        let bias = conv_node.params.get(1).map(|&p| self.weights.get(p).clone());
        let per_channel = weight.len() / out;
        let of_weight = folded.clone();
        let weight = weight.with_rows_times(per_channel, move || of_weight.factors());
        let bias = LazyTensor::computed(out, move || folded.bias(bias.as_ref()));
        let inputs = self.inputs(conv);
        self.times += 1;
        self.push_conv(norm, conv, inputs, weight, bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, Conv, Unary, Weights};

    #[test]
    fn normalisations_behind_convolutions_disappear() {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.conv("conv", x, Conv::new(8, 3));
        let x = b.batch_norm("norm", x);
        let x = b.unary("relu", x, Unary::Relu);
        let pre = b.batch_norm("pre", x);
        let y = b.conv("shared", pre, Conv::new(4, 1));
        let n = b.batch_norm("kept", y);
        let y = b.add("sum", y, n);
        let g = b.finish(y).unwrap();
        let weights = LazyWeights::owned(Weights::reference(&g));
        let Rewritten { graph: folded, weights: w, times } = fold_batch_norm(&g, &weights, &[]);
        assert_eq!((times, fold_batch_norm(&g, &weights, &[1]).times), (1, 0));
        let ops: Vec<&str> = folded.nodes().iter().map(|n| n.op.name()).collect();
        assert_eq!(ops, ["input", "conv", "relu", "batch norm", "conv", "batch norm", "add"]);
        let old = Weights::reference(&g);
        let factor = f64::from(old.get(1)[0]) / (f64::from(old.get(4)[0]) + 1e-5).sqrt();
        let w = w.to_weights().unwrap();
        assert_eq!(w.get(0)[0], (f64::from(old.get(0)[0]) * factor) as f32);
    }
}
