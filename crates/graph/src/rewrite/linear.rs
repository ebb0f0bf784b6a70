//! 1 x 1 convolutions as the matrices that they are.

use std::array;

use crate::graph::{Graph, ValueId};
use crate::lazy::{LazyTensor, LazyWeights, Pieces, ReadError};

/// A matrix `[rows, columns]` and a constant for each row, not yet read.
#[derive(Clone)]
pub(super) struct Linear<'a> {
    pub weight: LazyTensor<'a>,
    pub bias: Option<LazyTensor<'a>>,
    pub rows: usize,
}

impl<'a> Linear<'a> {
    pub fn of(graph: &Graph, weights: &LazyWeights<'a>, conv: ValueId) -> Self {
        let params = &graph.node(conv).params;
        let tensor = |&p: &usize| weights.get(p).clone();
        Self { weight: tensor(&params[0]), bias: params.get(1).map(tensor), rows: graph.channels(conv) }
    }

    pub fn columns(&self) -> usize {
        self.weight.len() / self.rows
    }

    fn weight(&self) -> Result<Vec<f64>, ReadError> {
        Ok(double(self.weight.to_vec()?))
    }

    pub fn bias(&self) -> Result<Vec<f64>, ReadError> {
        self.bias.as_ref().map_or_else(|| Ok(vec![0.0; self.rows]), |b| Ok(double(b.to_vec()?)))
    }
}

fn double(numbers: Vec<f32>) -> Vec<f64> {
    numbers.into_iter().map(f64::from).collect()
}

pub(super) fn single(numbers: impl IntoIterator<Item = f64>) -> Vec<f32> {
    numbers.into_iter().map(|x| x as f32).collect()
}

/// Two matrices in a row: some rows of the first, from `start` on, are what columns `before..before + len` of the second read.
#[derive(Clone)]
pub(super) struct Product<'a> {
    pub first: Linear<'a>,
    pub second: Linear<'a>,
    pub start: usize,
    pub before: usize,
    pub len: usize,
}

impl<'a> Product<'a> {
    /// Weight and bias of the product, which are computed when they are asked for.
    pub fn tensors(self) -> (LazyTensor<'a>, LazyTensor<'a>) {
        let (rows, of_weight) = (self.second.rows, self.clone());
        let weight = LazyTensor::new(rows * self.columns(), move || of_weight.open());
        (weight, LazyTensor::computed(rows, move || self.bias()))
    }

    /// Columns of the product.
    fn columns(&self) -> usize {
        self.second.columns() - self.len + self.first.columns()
    }

    /// The product's rows, which are computed when they are asked for.
    fn open(&self) -> Result<Pieces<'a>, ReadError> {
        let (first, second) = (self.tiles(&self.first.weight.to_vec()?), self.second.weight.open()?);
        let (product, columns) = (self.clone(), self.columns());
        Ok(Box::new(move |begin, out| {
            let rows = begin / columns..(begin + out.len()).div_ceil(columns);
            let mut old = vec![0.0; rows.len() * product.second.columns()];
            second(rows.start * product.second.columns(), &mut old)?;
            let numbers = product.rows(&first, &old);
            out.copy_from_slice(&numbers[begin - rows.start * columns..][..out.len()]);
            Ok(())
        }))
    }

    /// The first matrix's rows that are multiplied, a few columns after another, with zeros beyond the last.
    fn tiles(&self, first: &[f32]) -> Vec<[f32; TILE]> {
        let columns = self.first.columns();
        let rows = &first[self.start * columns..][..self.len * columns];
        let tile = |row: &[f32], column| array::from_fn(|c| row.get(column + c).copied().unwrap_or(0.0));
        let tiles = (0..columns).step_by(TILE);
        tiles.flat_map(|column| rows.chunks_exact(columns).map(move |row| tile(row, column))).collect()
    }

    /// What becomes of some rows of the second matrix.
    fn rows(&self, first: &[[f32; TILE]], second: &[f32]) -> Vec<f32> {
        let (from, to, columns) = (self.second.columns(), self.columns(), self.first.columns());
        let mut rows = vec![0.0; second.len() / from * to];
        for (new, old) in rows.chunks_exact_mut(to).zip(second.chunks_exact(from)) {
            new[..self.before].copy_from_slice(&old[..self.before]);
            new[self.before + columns..].copy_from_slice(&old[self.before + self.len..]);
        }
        for (new, old) in rows.chunks_mut(TILE * to).zip(second.chunks(TILE * from)) {
            // The last of fewer rows stands for those that are missing.
            let last = old.len() / from - 1;
            let factors = array::from_fn(|r| &old[r.min(last) * from + self.before..][..self.len]);
            for (tile, column) in first.chunks_exact(self.len).zip((0..columns).step_by(TILE)) {
                for (new, sums) in new.chunks_exact_mut(to).zip(products(factors, tile)) {
                    let new = &mut new[self.before..][..columns][column..];
                    new.iter_mut().zip(sums).for_each(|(w, sum)| *w = sum as f32);
                }
            }
        }
        rows
    }

    fn bias(&self) -> Result<Vec<f32>, ReadError> {
        let (first, second) = (self.first.bias()?, self.second.weight()?);
        let mut bias = self.second.bias()?;
        for (constant, old) in bias.iter_mut().zip(second.chunks_exact(self.second.columns())) {
            for (t, b) in old[self.before..][..self.len].iter().zip(&first[self.start..]) {
                *constant += t * b;
            }
        }
        Ok(single(bias))
    }
}

/// Rows and columns of a product that are summed at once, in registers.
const TILE: usize = 4;

/// Rows of factors, each times the rows of a tile, added up.
fn products(factors: [&[f32]; TILE], tile: &[[f32; TILE]]) -> [[f64; TILE]; TILE] {
    let factors = factors.map(|row| &row[..tile.len()]);
    let mut sums = [[0.0; TILE]; TILE];
    for (i, numbers) in tile.iter().enumerate() {
        for r in 0..TILE {
            for c in 0..TILE {
                sums[r][c] += f64::from(factors[r][i]) * f64::from(numbers[c]);
            }
        }
    }
    sums
}
