//! Normalisations folded into the convolutions before them.

use super::copying::Copying;
use super::{Rewritten, kept_with_outputs};
use crate::graph::{Graph, ValueId};
use crate::lazy::{LazyTensor, LazyWeights, ReadError};
use crate::op::Op;

/// Folds every batch normalisation into the convolution before it, and those behind it likewise, where nothing else reads what is
/// between them (rewrite R1). Values of modules and values in `kept` stay as they are.
///
/// Proof: `s (Wx + b - m) / sqrt(v + e) + t = (s / sqrt(v + e)) W x + (t + s (b - m) / sqrt(v + e))`, channel by channel.
/// Computed in double precision and rounded once.
pub fn fold_batch_norm<'a>(graph: &Graph, weights: &LazyWeights<'a>, kept: &[ValueId]) -> Rewritten<'a> {
    let kept = &kept_with_outputs(graph, kept);
    let chains = chains(graph, kept);
    let mut is_folded = vec![false; chains.len()];
    chains.iter().flatten().for_each(|chain| is_folded[chain.before] = true);
    let mut copy = Copying::new(graph, weights);
    for id in 0..chains.len() {
        match &chains[id] {
            _ if is_folded[id] => {}
            Some(chain) => copy.push_folded(chain.conv, id, &chains),
            None => copy.push(id),
        }
    }
    copy.finish()
}

/// A normalisation that is folded: what it reads, and the convolution that it ends up in.
struct Chain {
    before: ValueId,
    conv: ValueId,
}

/// The chain of every normalisation that is folded.
fn chains(graph: &Graph, kept: &[ValueId]) -> Vec<Option<Chain>> {
    let readers = graph.consumers();
    let mut is_seen = vec![false; graph.nodes().len()];
    graph.modules().values().chain(kept).for_each(|&v| is_seen[v] = true);
    let mut chains: Vec<Option<Chain>> = Vec::with_capacity(is_seen.len());
    for node in graph.nodes() {
        let chain = node.inputs.first().and_then(|&before| {
            let is_free = matches!(node.op, Op::BatchNorm { .. }) && readers[before].len() == 1 && !is_seen[before];
            let conv = match graph.node(before).op {
                Op::Conv { .. } => Some(before),
                _ => chains[before].as_ref().map(|chain| chain.conv),
            };
            is_free.then_some(Chain { before, conv: conv? })
        });
        chains.push(chain);
    }
    chains
}

/// The numbers of a normalisation that is folded.
#[derive(Clone)]
struct Norm<'a> {
    scale: LazyTensor<'a>,
    shift: LazyTensor<'a>,
    mean: LazyTensor<'a>,
    variance: LazyTensor<'a>,
    eps: f64,
}

impl Norm<'_> {
    /// What each channel is multiplied by.
    fn factors(&self) -> Result<Vec<f64>, ReadError> {
        let (scale, variance) = (self.scale.to_vec()?, self.variance.to_vec()?);
        let factor = |(&s, &v): (&f32, &f32)| f64::from(s) / (f64::from(v) + self.eps).sqrt();
        Ok(scale.iter().zip(&variance).map(factor).collect())
    }

    /// What becomes of a constant in front of it.
    fn moved(&self, constants: &[f64]) -> Result<Vec<f64>, ReadError> {
        let (shift, mean, factors) = (self.shift.to_vec()?, self.mean.to_vec()?, self.factors()?);
        let channel = |c: usize| f64::from(shift[c]) + (constants[c] - f64::from(mean[c])) * factors[c];
        Ok((0..shift.len()).map(channel).collect())
    }
}

/// What each channel of a convolution is multiplied by in front of all these.
fn factors(norms: &[Norm<'_>], channels: usize) -> Result<Vec<f64>, ReadError> {
    norms.iter().try_fold(vec![1.0; channels], |product, norm| {
        Ok(product.iter().zip(norm.factors()?).map(|(a, b)| a * b).collect())
    })
}

/// The bias of a convolution and all these together.
fn bias(norms: &[Norm<'_>], bias: Option<&LazyTensor<'_>>, channels: usize) -> Result<Vec<f32>, ReadError> {
    let bias = bias.map(LazyTensor::to_vec).transpose()?;
    let constants = bias.map_or_else(|| vec![0.0; channels], |b| b.into_iter().map(f64::from).collect());
    let moved = norms.iter().try_fold(constants, |constants, norm| norm.moved(&constants))?;
    Ok(moved.into_iter().map(|c| c as f32).collect())
}

impl<'a> Copying<'_, 'a> {
    /// A convolution together with the normalisations behind it up to one, as one convolution with a bias.
    fn push_folded(&mut self, conv: ValueId, last: ValueId, chains: &[Option<Chain>]) {
        let Op::Conv { out, .. } = self.graph.node(conv).op else {
            unreachable!("only a normalisation behind a convolution is folded");
        };
        let mut norms: Vec<Norm<'a>> = Vec::new();
        let mut at = last;
        while let Some(chain) = &chains[at] {
            norms.push(self.norm(at));
            at = chain.before;
        }
        norms.reverse();
        self.times += norms.len();
        let params = &self.graph.node(conv).params;
        let weight = self.weights.get(params[0]).clone();
        let of_conv = params.get(1).map(|&p| self.weights.get(p).clone());
        let (per_channel, of_weight) = (weight.len() / out, norms.clone());
        let weight = weight.with_rows_times(per_channel, move || factors(&of_weight, out));
        let bias = LazyTensor::computed(out, move || bias(&norms, of_conv.as_ref(), out));
        let inputs = self.inputs(conv);
        self.push_conv(last, conv, inputs, weight, bias);
    }

    fn norm(&self, id: ValueId) -> Norm<'a> {
        let node = self.graph.node(id);
        let Op::BatchNorm { eps, .. } = node.op else { unreachable!("only normalisations are folded") };
        let [scale, shift, mean, variance] = [0, 1, 2, 3].map(|i| self.weights.get(node.params[i]).clone());
        Norm { scale, shift, mean, variance, eps }
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

    #[test]
    fn several_in_a_row_disappear_together() {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.conv("conv", x, Conv::new(2, 1));
        let x = b.batch_norm("first", x);
        let x = b.batch_norm("second", x);
        let g = b.finish(x).unwrap();
        let old = Weights::reference(&g);
        let after = fold_batch_norm(&g, &LazyWeights::from(&old), &[]);
        assert_eq!((after.times, after.graph.nodes().len()), (2, 2));
        assert_eq!(fold_batch_norm(&g, &LazyWeights::from(&old), &[2]).times, 1);
        let norm = |first: usize, x: f64| {
            let [scale, shift, mean, variance] = [0, 1, 2, 3].map(|i| f64::from(old.get(first + i)[1]));
            scale * (x - mean) / (variance + 1e-5).sqrt() + shift
        };
        let both = |x: f64| norm(5, norm(1, x));
        let new = after.weights.to_weights().unwrap();
        let row: Vec<f64> = new.get(0)[3..].iter().map(|&w| f64::from(w)).collect();
        let expected = |c: usize| (both(1.0) - both(0.0)) * f64::from(old.get(0)[3 + c]);
        assert!((0..3).all(|c| (row[c] - expected(c)).abs() < 1e-6), "{row:?}");
        assert!((f64::from(new.get(1)[1]) - both(0.0)).abs() < 1e-6);
    }
}
