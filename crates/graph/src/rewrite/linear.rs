//! A 1 x 1 convolution as the matrix that it is.

use crate::graph::{Graph, ValueId};
use crate::weights::Weights;

/// A matrix `[rows, columns]` and a constant for each row, in double precision.
pub(super) struct Linear {
    pub weight: Vec<f64>,
    pub bias: Vec<f64>,
    pub columns: usize,
}

impl Linear {
    pub fn of(graph: &Graph, weights: &Weights, conv: ValueId) -> Self {
        let params = &graph.node(conv).params;
        let double = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let rows = graph.channels(conv);
        let weight = double(weights.get(params[0]));
        let bias = params.get(1).map_or_else(|| vec![0.0; rows], |&p| double(weights.get(p)));
        Self { columns: weight.len() / rows, weight, bias }
    }

    pub fn row(&self, row: usize) -> &[f64] {
        &self.weight[row * self.columns..][..self.columns]
    }

    /// The sum of the rows from `start` on, each times a factor, and the same sum of their constants.
    pub fn combined(&self, factors: &[f64], start: usize) -> (Vec<f64>, f64) {
        let (mut sum, mut constant) = (vec![0.0; self.columns], 0.0);
        for (row, &factor) in (start..).zip(factors) {
            sum.iter_mut().zip(self.row(row)).for_each(|(s, w)| *s += factor * w);
            constant += factor * self.bias[row];
        }
        (sum, constant)
    }
}
