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
        let tensors = &self.tensors;
        if tensors.len() != params.len() {
            return Err(WeightsError::Count { found: tensors.len(), expected: params.len() });
        }
        match params.iter().zip(tensors).find(|(p, t)| p.len() != t.len()) {
            Some((p, t)) => {
                Err(WeightsError::Shape { name: p.name.clone(), found: t.len(), expected: p.shape.clone() })
            }
            None => Ok(()),
        }
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

    /// All tensors in the order of the parameters.
    pub fn tensors(&self) -> &[Vec<f32>] {
        &self.tensors
    }
}
