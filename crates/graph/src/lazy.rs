//! Numbers of parameters that are read or computed when they are asked for, and given out piece by piece, so that a network's
//! weights need never be in memory all at once.
//!
//! Not here: where they come from. [`Weights`] in memory are one source; a model file is another (`cspnet-formats`).

use std::error::Error;
use std::ops::Deref;
use std::sync::Arc;

use crate::graph::Graph;
use crate::init;
use crate::param::{Param, ParamId};
use crate::weights::{Weights, WeightsError};

/// Why numbers could not be had.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(Arc<dyn Error + Send + Sync>);

impl ReadError {
    /// What went wrong where they are read from.
    pub fn new(source: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }
}

/// Writes the numbers of a tensor from a place on into a slice that does not reach beyond its end.
pub type Pieces<'a> = Box<dyn Fn(usize, &mut [f32]) -> Result<(), ReadError> + Send + Sync + 'a>;

/// How the pieces of a tensor are come by.
type Open<'a> = dyn Fn() -> Result<Pieces<'a>, ReadError> + Send + Sync + 'a;

/// A tensor whose numbers are somewhere, or will be computed.
#[derive(Clone)]
pub struct LazyTensor<'a> {
    len: usize,
    open: Arc<Open<'a>>,
}

impl<'a> LazyTensor<'a> {
    /// `len` numbers; `open` gets ready for reading them, and what it needs for that is let go with the pieces.
    pub fn new(len: usize, open: impl Fn() -> Result<Pieces<'a>, ReadError> + Send + Sync + 'a) -> Self {
        Self { len, open: Arc::new(open) }
    }

    /// `len` numbers that are computed all at once, and again whenever they are opened.
    pub fn computed(len: usize, compute: impl Fn() -> Result<Vec<f32>, ReadError> + Send + Sync + 'a) -> Self {
        Self::new(len, move || compute().map(held))
    }

    /// Every row of so many numbers times a factor of its own, in double precision and rounded once.
    pub fn with_rows_times(
        self,
        row: usize,
        factors: impl Fn() -> Result<Vec<f64>, ReadError> + Send + Sync + 'a,
    ) -> Self {
        Self::new(self.len, move || {
            let (pieces, factors) = (self.open()?, factors()?);
            Ok(Box::new(move |first, out| {
                pieces(first, out)?;
                let mut rest = out;
                for (r, factor) in factors.iter().enumerate().skip(first / row) {
                    let left = (row * (r + 1)).saturating_sub(first.max(row * r)).min(rest.len());
                    let (numbers, behind) = rest.split_at_mut(left);
                    numbers.iter_mut().for_each(|w| *w = (f64::from(*w) * factor) as f32);
                    rest = behind;
                }
                Ok(())
            }))
        })
    }

    /// Numbers it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gets ready for reading pieces.
    ///
    /// # Errors
    /// If the numbers cannot be had.
    pub fn open(&self) -> Result<Pieces<'a>, ReadError> {
        (self.open)()
    }

    /// All numbers.
    ///
    /// # Errors
    /// If they cannot be had.
    pub fn to_vec(&self) -> Result<Vec<f32>, ReadError> {
        let mut numbers = vec![0.0; self.len];
        self.open()?(0, &mut numbers)?;
        Ok(numbers)
    }
}

/// Pieces of numbers that are there.
fn held<'a>(numbers: impl Deref<Target: AsRef<[f32]>> + Send + Sync + 'a) -> Pieces<'a> {
    Box::new(move |first, out| {
        out.copy_from_slice(&numbers.as_ref()[first..][..out.len()]);
        Ok(())
    })
}

impl<'a> From<&'a [f32]> for LazyTensor<'a> {
    fn from(numbers: &'a [f32]) -> Self {
        Self::new(numbers.len(), move || Ok(held(numbers)))
    }
}

impl From<Vec<f32>> for LazyTensor<'_> {
    fn from(numbers: Vec<f32>) -> Self {
        let numbers = Arc::new(numbers);
        Self::new(numbers.len(), move || Ok(held(Arc::clone(&numbers))))
    }
}

/// The numbers of every parameter of one graph, in the order of [`crate::Graph::params`], each when it is asked for.
#[derive(Clone)]
pub struct LazyWeights<'a> {
    tensors: Vec<LazyTensor<'a>>,
}

impl<'a> LazyWeights<'a> {
    /// These tensors, in the order of the parameters.
    pub fn new(tensors: Vec<LazyTensor<'a>>) -> Self {
        Self { tensors }
    }

    /// Weights in memory, to keep.
    pub fn owned(weights: Weights) -> Self {
        Self::new(weights.into_tensors().into_iter().map(LazyTensor::from).collect())
    }

    /// Those of [`Weights::published`], which are drawn whenever they are asked for.
    pub fn published(graph: &'a Graph, seed: u64) -> Self {
        let draw = |p: &'a Param| LazyTensor::computed(p.len(), move || Ok(init::published(p, seed)));
        Self::new(graph.params().iter().map(draw).collect())
    }

    /// Whether these are the numbers of `params`.
    ///
    /// # Errors
    /// If a tensor is missing, left over or of another size than its parameter.
    pub fn check(&self, params: &[Param]) -> Result<(), WeightsError> {
        WeightsError::check(params, self.tensors.iter().map(LazyTensor::len))
    }

    /// The numbers of one parameter.
    pub fn get(&self, id: ParamId) -> &LazyTensor<'a> {
        &self.tensors[id]
    }

    /// All numbers, in memory.
    ///
    /// # Errors
    /// If they cannot be had.
    pub fn to_weights(&self) -> Result<Weights, ReadError> {
        Ok(Weights::of_tensors(self.tensors.iter().map(LazyTensor::to_vec).collect::<Result<_, _>>()?))
    }
}

impl<'a> From<&'a Weights> for LazyWeights<'a> {
    fn from(weights: &'a Weights) -> Self {
        Self::new(weights.tensors().iter().map(|t| t.as_slice().into()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every piece of a tensor is the same part of the whole.
    fn check(tensor: &LazyTensor<'_>, whole: &[f32]) {
        assert_eq!(tensor.to_vec().unwrap(), whole);
        let pieces = tensor.open().unwrap();
        for first in 0..=whole.len() {
            for len in 0..=whole.len() - first {
                let mut out = vec![-1.0; len];
                pieces(first, &mut out).unwrap();
                assert_eq!(out, whole[first..first + len]);
            }
        }
    }

    #[test]
    fn pieces_are_parts_of_the_whole() {
        let numbers: Vec<f32> = (0..12).map(|i| i as f32 + 0.25).collect();
        check(&LazyTensor::from(&numbers[..]), &numbers);
        check(&LazyTensor::from(numbers.clone()), &numbers);
        check(&LazyTensor::computed(12, || Ok(numbers.clone())), &numbers);
        let factors = [3.0, -1.0 / 3.0, 0.1];
        let scaled: Vec<f32> =
            numbers.iter().enumerate().map(|(i, &w)| (f64::from(w) * factors[i / 4]) as f32).collect();
        check(&LazyTensor::from(&numbers[..]).with_rows_times(4, || Ok(factors.to_vec())), &scaled);
    }

    #[test]
    fn errors_come_through() {
        let broken = || Err(ReadError::new(std::fmt::Error));
        let tensor = LazyTensor::computed(3, broken);
        assert!(tensor.to_vec().is_err() && tensor.clone().with_rows_times(1, || Ok(vec![1.0; 3])).open().is_err());
        let factors = || Err(ReadError::new(std::fmt::Error));
        assert!(LazyTensor::from(vec![1.0; 3]).with_rows_times(1, factors).to_vec().is_err());
        assert!(LazyWeights::new(vec![tensor]).to_weights().is_err());
    }
}
