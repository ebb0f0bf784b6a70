//! The numbers of a network's parameters, apart from the graph that names them.
//!
//! Not here: files of them (`cspnet-formats`).

use crate::graph::Graph;
use crate::init;
use crate::param::{Param, ParamId};

/// The numbers of every parameter of one graph, in the order of [`Graph::params`], each row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    tensors: Vec<Vec<f32>>,
}

/// Why numbers do not belong to a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// Another number of tensors than parameters.
    #[error("{found} tensors for {expected} parameters")]
    Count {
        /// Tensors given.
        found: usize,
        /// Parameters of the graph.
        expected: usize,
    },
    /// A tensor of another size than its parameter.
    #[error("{name}: {found} numbers for a parameter of shape {expected:?}")]
    Shape {
        /// The parameter.
        name: String,
        /// Numbers given.
        found: usize,
        /// The parameter's shape.
        expected: Vec<usize>,
    },
}

impl WeightsError {
    /// Whether tensors of these lengths are numbers of `params`.
    pub(crate) fn check(params: &[Param], lengths: impl ExactSizeIterator<Item = usize>) -> Result<(), Self> {
        if lengths.len() != params.len() {
            return Err(Self::Count { found: lengths.len(), expected: params.len() });
        }
        match params.iter().zip(lengths).find(|(p, found)| p.len() != *found) {
            Some((p, found)) => Err(Self::Shape { name: p.name.clone(), found, expected: p.shape.clone() }),
            None => Ok(()),
        }
    }
}

impl Weights {
    /// Numbers for `graph`, in the order of its parameters.
    ///
    /// # Errors
    /// If a tensor is missing, left over or of another size than its parameter.
    pub fn new(graph: &Graph, tensors: Vec<Vec<f32>>) -> Result<Self, WeightsError> {
        let weights = Self { tensors };
        weights.check(graph.params())?;
        Ok(weights)
    }

    /// Whether these are the numbers of `params`.
    ///
    /// # Errors
    /// If a tensor is missing, left over or of another size than its parameter.
    pub fn check(&self, params: &[Param]) -> Result<(), WeightsError> {
        WeightsError::check(params, self.tensors.iter().map(Vec::len))
    }

    /// Numbers of some graph, which are not checked.
    pub(crate) fn of_tensors(tensors: Vec<Vec<f32>>) -> Self {
        Self { tensors }
    }

    /// The published initialisation of the network's family, for a seed.
    pub fn published(graph: &Graph, seed: u64) -> Self {
        Self { tensors: graph.params().iter().map(|p| init::published(p, seed)).collect() }
    }

    /// The rule of the reference values; see [`init::reference`].
    pub fn reference(graph: &Graph) -> Self {
        Self { tensors: graph.params().iter().map(init::reference).collect() }
    }

    /// The numbers of one parameter.
    pub fn get(&self, id: ParamId) -> &[f32] {
        &self.tensors[id]
    }

    /// The numbers of one parameter, to change.
    pub fn get_mut(&mut self, id: ParamId) -> &mut [f32] {
        &mut self.tensors[id]
    }

    /// The numbers of two different parameters, to change.
    ///
    /// # Panics
    /// If both are the same parameter.
    pub fn pair_mut(&mut self, a: ParamId, b: ParamId) -> (&mut [f32], &mut [f32]) {
        let [a, b] = self.tensors.get_disjoint_mut([a, b]).expect("two different parameters");
        (a, b)
    }

    /// Takes the numbers of some parameters out, in that order, until [`Weights::put_back`].
    pub fn take(&mut self, ids: &[ParamId]) -> Self {
        Self { tensors: ids.iter().map(|&id| std::mem::take(&mut self.tensors[id])).collect() }
    }

    /// Puts back the numbers that were taken out as those of these parameters.
    pub fn put_back(&mut self, ids: &[ParamId], taken: Self) {
        ids.iter().zip(taken.tensors).for_each(|(&id, numbers)| self.tensors[id] = numbers);
    }

    /// All tensors in the order of the parameters.
    pub fn tensors(&self) -> &[Vec<f32>] {
        &self.tensors
    }

    /// All tensors in the order of the parameters, to keep.
    pub fn into_tensors(self) -> Vec<Vec<f32>> {
        self.tensors
    }
}
