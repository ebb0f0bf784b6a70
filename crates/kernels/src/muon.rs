//! The step of Muon (Jordan et al., 2024, <https://kellerjordan.github.io/posts/muon/>): the mean of the gradients, made orthogonal.
//!
//! The gradient of a weight is taken as a matrix whose singular values say how far a step would go in each direction; a few of them
//! outweigh all others. Muon's step goes nearly equally far in all. The matrix for that is found by the iteration of Newton and
//! Schulz, which needs nothing but products. Not here: steps that take numbers one by one ([`crate::update`]).

use crate::matrix::{Entries, Size, multiply, transpose};
use crate::share::{share, share_evenly};
use crate::update::{Exponents, PART, all, scale, sum_of_squares};
use crate::{Isa, Team};

/// A step of Muon, as PyTorch takes it, but in single precision throughout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonStep {
    /// Share of every parameter that stays before the step: one less learning rate times decay.
    pub kept: f32,
    /// Learning rate.
    pub rate: f32,
    /// Share of the past in the moving mean of gradients.
    pub momentum: f32,
}

/// Coefficients of `x`, `x^3` and `x^5` in the polynomial that the iteration applies to every singular value: as steep at zero as can be
/// while five steps take what lies between 0 and 1 to between 0.7 and 1.2 (Jordan's).
const POLYNOMIAL: [f32; 3] = [3.4445, -4.7750, 2.0315];

/// Steps of the iteration, PyTorch's default.
const STEPS: usize = 5;

/// The least norm that a matrix is divided by, PyTorch's.
const LEAST_NORM: f64 = 1e-7;

/// Room for the matrices of a step; it grows to what the largest needs.
#[derive(Clone, Debug, Default)]
pub struct MuonScratch {
    matrix: Vec<f32>,
    next: Vec<f32>,
    turned: Vec<f32>,
    gram: Vec<f32>,
    polynomial: Vec<f32>,
}

/// Changes `parameters`, a matrix of so many `rows`, by their `gradients`; `momentum` is what the rule remembers, zeros at first.
/// Whether all parameters are finite then: a gradient or a momentum that is not makes all of them so as well.
///
/// # Panics
/// If the three lists are not equally long or not of whole rows.
pub fn muon_step(
    step: MuonStep,
    rows: usize,
    (parameters, gradients, momentum): (&mut [f32], &[f32], &mut [f32]),
    scratch: &mut MuonScratch,
    team: &mut Team,
) -> bool {
    let len = parameters.len();
    assert!(gradients.len() == len && momentum.len() == len, "{len} parameters, {} gradients", gradients.len());
    assert!(rows > 0 && len > 0 && len.is_multiple_of(rows), "{len} parameters in {rows} rows");
    let past = step.momentum;
    share_evenly([&mut *momentum], PART, team, |range, [m]| {
        m.iter_mut().zip(&gradients[range]).for_each(|(m, &g)| *m += (1.0 - past) * (g - *m));
    });
    let matrix = Matrix::of(Size { rows, columns: len / rows });
    // Nesterov's look ahead.
    scratch.begin(matrix.size);
    matrix.write(&mut scratch.matrix, |i| gradients[i] + past * (momentum[i] - gradients[i]), team);
    scratch.make_orthogonal(matrix.size, team);
    matrix.read(&scratch.matrix, parameters, |p, x| step.kept * p - step.rate * x, team)
}

/// Where the entries of a given matrix are while the iteration runs: its shorter side becomes the rows, since their products with
/// each other are what it computes.
struct Matrix {
    given: Size,
    size: Size,
}

impl Matrix {
    fn of(given: Size) -> Self {
        Self { given, size: if given.rows > given.columns { given.turned() } else { given } }
    }

    /// Writes all entries, by their places in the given matrix.
    fn write(&self, to: &mut [f32], entry: impl Fn(usize) -> f32 + Sync, team: &mut Team) {
        let (stride, columns) = (self.size.stride(), self.size.columns);
        let steps = self.steps([self.given.columns, 1]);
        share(
            [to],
            self.size.rows,
            |row| row * stride,
            team,
            |row, [to]| {
                to[..columns]
                    .iter_mut()
                    .enumerate()
                    .for_each(|(column, x)| *x = entry(row * steps[0] + column * steps[1]));
            },
        );
    }

    /// Changes all `numbers` of the given matrix by the entries; whether they are finite then.
    fn read(
        &self,
        from: &[f32],
        numbers: &mut [f32],
        change: impl Fn(f32, f32) -> f32 + Sync,
        team: &mut Team,
    ) -> bool {
        let columns = self.given.columns;
        let steps = self.steps([self.size.stride(), 1]);
        all([numbers], columns * PART.div_ceil(columns), team, |range, [numbers]| {
            let mut seen = Exponents::default();
            for (row, numbers) in numbers.chunks_exact_mut(columns).enumerate() {
                let first = (range.start / columns + row) * steps[0];
                for (column, number) in numbers.iter_mut().enumerate() {
                    *number = change(*number, from[first + column * steps[1]]);
                    seen.see(*number);
                }
            }
            seen.are_finite()
        })
    }

    /// Steps from a row to the next and from a column to the next in the one of the two where they are `steps` if nothing is turned.
    fn steps(&self, steps: [usize; 2]) -> [usize; 2] {
        let [row, column] = steps;
        if self.size == self.given { [row, column] } else { [column, row] }
    }
}

impl MuonScratch {
    /// Makes room for a matrix, with zeros beside its entries.
    fn begin(&mut self, size: Size) {
        let of_gram = size.of_gram();
        let Self { matrix, next, turned, gram, polynomial } = self;
        let lists = [(matrix, size), (next, size), (turned, size.turned()), (gram, of_gram), (polynomial, of_gram)];
        for (list, size) in lists {
            list.clear();
            list.resize(size.len(), 0.0);
        }
    }

    /// Takes the singular values of the matrix, which has no more rows than columns, near 1.
    fn make_orthogonal(&mut self, size: Size, team: &mut Team) {
        let (isa, of_gram) = (Isa::detect(), size.of_gram());
        let Self { matrix, next, turned, gram, polynomial } = self;
        // No singular value is above the norm.
        let norm = sum_of_squares(matrix, team).sqrt().max(LEAST_NORM);
        scale((1.0 / norm) as f32, matrix, team);
        let [a, b, c] = POLYNOMIAL;
        for _ in 0..STEPS {
            transpose(matrix, size, turned, team);
            let symmetric = Entries::Symmetric;
            multiply(isa, (1.0, matrix, size), (turned, size.turned()), None, symmetric, gram, team);
            multiply(isa, (c, gram, of_gram), (gram, of_gram), Some((b, gram)), symmetric, polynomial, team);
            multiply(isa, (1.0, polynomial, of_gram), (matrix, size), Some((a, matrix)), Entries::All, next, team);
            std::mem::swap(matrix, next);
        }
    }
}

impl Size {
    /// Of the products of all rows with each other.
    fn of_gram(self) -> Self {
        Self { rows: self.rows, columns: self.rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: MuonStep = MuonStep { kept: 0.9, rate: 0.1, momentum: 0.75 };

    fn numbers(len: usize, seed: usize) -> Vec<f32> {
        // A low-discrepancy sequence, so that rows are not alike.
        (0..len).map(|i| ((i + 1 + seed * 1000) as f64 * 0.618_033_988_749_894_9).fract() as f32 - 0.5).collect()
    }

    /// The iteration in double precision, matrices as lists of rows.
    fn orthogonal(matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        let turned = |m: &[Vec<f64>]| -> Vec<Vec<f64>> {
            (0..m[0].len()).map(|column| m.iter().map(|row| row[column]).collect()).collect()
        };
        if matrix.len() > matrix[0].len() {
            return turned(&orthogonal(turned(&matrix)));
        }
        let product = |a: &[Vec<f64>], b: &[Vec<f64>]| -> Vec<Vec<f64>> {
            let b = turned(b);
            let sum = |row: &Vec<f64>, column: &Vec<f64>| row.iter().zip(column).map(|(x, y)| x * y).sum();
            a.iter().map(|row| b.iter().map(|column| sum(row, column)).collect()).collect()
        };
        let sum = |(s, a): (f64, &[Vec<f64>]), (t, b): (f64, &[Vec<f64>])| -> Vec<Vec<f64>> {
            let rows = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| s * a + t * b).collect();
            a.iter().zip(b).map(rows).collect()
        };
        let [a, b, c] = POLYNOMIAL.map(f64::from);
        let norm = matrix.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
        let mut x: Vec<Vec<f64>> = matrix.iter().map(|row| row.iter().map(|x| x / norm).collect()).collect();
        for _ in 0..STEPS {
            let gram = product(&x, &turned(&x));
            let polynomial = sum((b, &gram), (c, &product(&gram, &gram)));
            x = sum((a, &x), (1.0, &product(&polynomial, &x)));
        }
        x
    }

    #[test]
    fn two_steps_are_those_of_the_iteration_in_double_precision() {
        for (rows, columns) in [(1, 1), (4, 27), (27, 4), (33, 40), (64, 288), (100, 9)] {
            let len = rows * columns;
            let (mut p, mut m, mut scratch) = (numbers(len, 1), vec![0.0; len], MuonScratch::default());
            let (mut exact, mut mean) = (p.iter().map(|&p| f64::from(p)).collect::<Vec<_>>(), vec![0.0; len]);
            for seed in [2, 3] {
                let g = numbers(len, seed);
                assert!(muon_step(STEP, rows, (&mut p, &g, &mut m), &mut scratch, &mut Team::new(2)));
                mean.iter_mut().zip(&g).for_each(|(m, &g)| *m += 0.25 * (f64::from(g) - *m));
                let ahead: Vec<f64> = mean.iter().zip(&g).map(|(m, &g)| 0.25 * f64::from(g) + 0.75 * m).collect();
                let found = orthogonal(ahead.chunks(columns).map(<[f64]>::to_vec).collect());
                exact.iter_mut().zip(found.iter().flatten()).for_each(|(p, x)| *p = 0.9 * *p - 0.1 * x);
            }
            for (found, exact) in p.iter().zip(&exact) {
                // Rounding grows with the slope at zero of each of the five steps.
                assert!((f64::from(*found) - exact).abs() < 2e-5, "{rows} x {columns}: {found} {exact}");
            }
        }
    }

    #[test]
    fn rows_of_a_step_are_nearly_orthogonal_and_of_length_one() {
        let (rows, columns) = (24, 90);
        let (mut p, mut m) = (vec![0.0; rows * columns], vec![0.0; rows * columns]);
        let step = MuonStep { kept: 1.0, rate: -1.0, momentum: 0.0 };
        muon_step(
            step,
            rows,
            (&mut p, &numbers(rows * columns, 0), &mut m),
            &mut MuonScratch::default(),
            &mut Team::new(1),
        );
        // Traces of powers of the Gram matrix are sums of powers of singular values, which are all between 0.65 and 1.25.
        let dot = |i: usize, j: usize| -> f64 {
            let row = |i: usize| &p[i * columns..][..columns];
            row(i).iter().zip(row(j)).map(|(a, b)| f64::from(a * b)).sum()
        };
        let trace: f64 = (0..rows).map(|i| dot(i, i)).sum();
        let of_square: f64 = (0..rows * rows).map(|ij| dot(ij / rows, ij % rows).powi(2)).sum();
        let (mean, of_squares) = (trace / rows as f64, of_square / rows as f64);
        assert!(mean > 0.65_f64.powi(2) && mean < 1.25_f64.powi(2), "{mean}");
        assert!((of_squares - mean * mean).sqrt() < 0.4, "values are apart by {}", (of_squares - mean * mean).sqrt());
    }

    #[test]
    fn any_team_and_any_scratch_give_the_same_bits_and_tell_what_is_not_finite() {
        let (rows, columns) = (130, 300);
        let mut used = MuonScratch::default();
        let run = |gradients: &[f32], scratch: &mut MuonScratch, threads| {
            let (mut p, mut m) = (numbers(gradients.len(), 1), vec![0.25; gradients.len()]);
            let is_finite = muon_step(STEP, rows, (&mut p, gradients, &mut m), scratch, &mut Team::new(threads));
            (p, m, is_finite)
        };
        let mut gradients = numbers(rows * columns, 2);
        let one = run(&gradients, &mut MuonScratch::default(), 1);
        assert!(one.2);
        muon_step(STEP, 7, (&mut vec![1.0; 77], &[1.0; 77], &mut vec![1.0; 77]), &mut used, &mut Team::new(1));
        assert_eq!(run(&gradients, &mut used, 3), one);
        for bad in [f32::NAN, f32::INFINITY] {
            gradients[rows * columns - 1] = bad;
            assert!(!run(&gradients, &mut used, 2).2, "{bad}");
        }
        // What has no direction goes nowhere.
        assert!(run(&vec![0.0; rows * columns], &mut MuonScratch::default(), 1).2);
    }
}
