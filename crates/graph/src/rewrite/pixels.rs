//! The normalisation of pixels in front of a network, in the weights of its first convolution.

use crate::graph::{Graph, ValueId};
use crate::op::Op;
use crate::weights::Weights;

/// A network's first convolution as one that reads pixels, `0..=255`.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelConv {
    /// The convolution in the graph.
    pub conv: ValueId,
    /// `[out, in / groups, kh, kw]`
    pub weight: Vec<f32>,
    /// `[out]`
    pub bias: Vec<f32>,
    /// For every channel the number that stands in cells of padding, in units of pixels: the one that is normalised to zero.
    pub pad: Vec<f32>,
}

/// The first convolution of a network that begins with a normalisation of pixels which it alone reads, with that normalisation in
/// its weights (rewrite R16): bytes are multiplied as they come, and no normalised picture is stored.
///
/// Proof: `(p / 255 - m) / s = (p - 255 m) / (255 s)`, so `W` becomes `V = W / (255 s)`, and `-V (255 m)` is a bias, for it meets every
/// pixel: also those of the padding, if they hold `255 m` instead of zero. Computed in double precision and rounded once; the
/// bias is that of the rounded weight and padding, so that cells of padding cancel.
pub fn fold_normalise(graph: &Graph, weights: &Weights) -> Option<PixelConv> {
    let readers = graph.consumers();
    let only = |id: ValueId| readers[id].first().copied().filter(|_| readers[id].len() == 1 && id != graph.output());
    let normalise = only(0)?;
    let Op::Normalise { mean, std } = &graph.node(normalise).op else { return None };
    let conv = only(normalise)?;
    let Op::Conv { out, window, groups, .. } = graph.node(conv).op else { return None };
    let params = &graph.node(conv).params;
    let old = weights.get(params[0]);
    let (of_output, taps) = (old.len() / out, window.kernel.iter().product::<usize>());
    let channel = |i: usize| i / of_output / (out / groups) * (of_output / taps) + i % of_output / taps;
    let scaled = |(i, &w): (usize, &f32)| (f64::from(w) / (255.0 * f64::from(std[channel(i)]))) as f32;
    let weight: Vec<f32> = old.iter().enumerate().map(scaled).collect();
    let pad: Vec<f32> = mean.iter().map(|&m| (255.0 * f64::from(m)) as f32).collect();
    let bias = (0..out).map(|o| {
        let given = params.get(1).map_or(0.0, |&b| f64::from(weights.get(b)[o]));
        let of_row = o * of_output..(o + 1) * of_output;
        (given - of_row.map(|i| f64::from(weight[i]) * f64::from(pad[channel(i)])).sum::<f64>()) as f32
    });
    Some(PixelConv { conv, bias: bias.collect(), weight, pad })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::with_normalise;
    use crate::{Builder, Conv};

    fn network(conv: Conv, shared: bool) -> Graph {
        let mut b = Builder::new();
        let x = b.input(2);
        let y = b.conv("conv", x, conv);
        let y = if shared { b.concat("both", &[x, y]) } else { y };
        with_normalise(&b.finish(y).unwrap(), &[0.5, 0.25], &[0.1, 0.2]).unwrap()
    }

    #[test]
    fn every_channel_has_its_own_mean_and_deviation() {
        for groups in [1, 2] {
            let graph = network(Conv::new(2, 1).groups(groups).bias(), false);
            let mut weights = Weights::reference(&graph);
            weights.get_mut(0).fill(51.0);
            weights.get_mut(1).copy_from_slice(&[1.0, 2.0]);
            let folded = fold_normalise(&graph, &weights).unwrap();
            assert_eq!((folded.conv, folded.pad), (2, vec![127.5, 63.75]));
            let expected = if groups == 1 { vec![2.0, 1.0, 2.0, 1.0] } else { vec![2.0, 1.0] };
            assert_eq!(folded.weight, expected);
            let shares = if groups == 1 { [255.0 + 63.75; 2] } else { [255.0, 63.75] };
            assert_eq!(folded.bias, [1.0 - shares[0], 2.0 - shares[1]]);
        }
    }

    #[test]
    fn a_picture_that_others_read_stays_normalised() {
        let folds = |g: &Graph| fold_normalise(g, &Weights::reference(g)).is_some();
        assert!(folds(&network(Conv::new(4, 3), false)));
        assert!(!folds(&network(Conv::new(4, 3), true)));
        let mut b = Builder::new();
        let x = b.input(2);
        let y = b.conv("conv", x, Conv::new(2, 3));
        assert!(!folds(&b.finish(y).unwrap()));
    }
}
