//! A stem that whitens: filters of the first convolution that are the principal components of the photos' patches, each of them
//! and its negative, scaled so that what they give has variance one (Page 2019; Jordan, arXiv:2404.00498, section 3.2).
//!
//! Neighbouring pixels are nearly alike, so drawn filters all see the same, and a network learns faster from what is left when that
//! is taken out. Not here: that the stem stays so, which is a matter of what is frozen ([`crate::frozen`]).

use cspnet_data::{DataSet, Draw, Purpose, Sample};
use cspnet_graph::{Graph, Init, Op, ParamId, Weights};
use cspnet_vision::{Photo, Preprocess};

use crate::checkpoint::Checkpoint;
use crate::error::TrainError;
use crate::evaluate::as_evaluated;
use crate::frozen::Parts;
use crate::recipe::Recipe;

/// Photos that are looked at, as in the paper.
const PHOTOS: usize = 5000;
/// Patches of them all.
const PATCHES: usize = 1_000_000;
/// Added to variances, so that what hardly varies is not all noise (the paper's).
const EPS: f64 = 5e-4;

/// The first convolution of a network.
struct Stem {
    weight: ParamId,
    /// `[out, in, kh, kw]`
    shape: [usize; 4],
}

/// The beginning of a run from nothing, but for a first convolution that whitens patches of the photos to learn from.
///
/// # Errors
/// If the network does not begin with an ordinary convolution of patches no larger than the photos, something else would stay as it
/// was drawn, or no photo can be read.
pub fn whitened(
    graph: &Graph,
    recipe: &Recipe,
    preprocess: &Preprocess,
    data: &DataSet,
    threads: usize,
) -> Result<Checkpoint, TrainError> {
    let stem = Stem::of(graph, preprocess)?;
    let frozen = Parts::of(graph, recipe)?.frozen.map_or_else(Vec::new, |part| part.params);
    let is_drawn = |&p: &ParamId| p != stem.weight && !matches!(graph.params()[p].init, Init::Constant { .. });
    if let Some(noise) = frozen.into_iter().find(is_drawn) {
        let why = "only the first convolution is whitened; freeze less, or begin from a model";
        return Err(TrainError::FrozenNoise { name: graph.params()[noise].name.clone(), why });
    }
    let mut weights = Weights::published(graph, recipe.seed);
    let covariance = stem.covariance(&data.train, preprocess, recipe.seed, threads)?;
    stem.fill(&covariance, weights.get_mut(stem.weight));
    Ok(Checkpoint::start_with(graph, weights))
}

impl Stem {
    fn of(graph: &Graph, preprocess: &Preprocess) -> Result<Self, TrainError> {
        let first = graph.nodes().iter().find(|node| !matches!(node.op, Op::Input { .. } | Op::Normalise { .. }));
        let stem = first.and_then(|node| match node.op {
            Op::Conv { window, groups: 1, .. } if window.dilation == [1, 1] => {
                let weight = node.params[0];
                let shape = graph.params()[weight].shape.as_slice().try_into().expect("a convolution's weight");
                Some(Self { weight, shape })
            }
            _ => None,
        });
        let (height, width) = preprocess.size;
        let rule = "left out for a network that does not begin with a convolution of photos";
        stem.filter(|Self { shape: [_, channels, rows, columns], .. }| {
            *channels == preprocess.mean.len() && *rows <= height as usize && *columns <= width as usize
        })
        .ok_or(TrainError::Recipe { field: "whiten-stem", rule })
    }

    /// Numbers of a patch.
    fn len(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// The mean products of a patch's numbers `[len, len]`, over patches of normalised photos.
    fn covariance(
        &self,
        samples: &[Sample],
        preprocess: &Preprocess,
        seed: u64,
        threads: usize,
    ) -> Result<Vec<f64>, TrainError> {
        let photos = samples.len().min(PHOTOS);
        // Photos may lie class by class.
        let chosen: Vec<Sample> = (0..photos).map(|i| samples[i * samples.len() / photos].clone()).collect();
        let (len, each) = (self.len(), PATCHES.div_ceil(photos.max(1)));
        let (mut sum, mut patches, mut patch) = (vec![0.0; len * len], 0_usize, vec![0.0; len]);
        let mut skipped = None;
        for (i, photo) in as_evaluated(&chosen, preprocess, threads, 64).enumerate() {
            let photo = match photo {
                Ok(photo) => photo,
                Err(why) => {
                    skipped = Some(why);
                    continue;
                }
            };
            let mut draw = Draw::new(seed, 0, i as u64, Purpose::Whiten);
            let [rows, columns] = [photo.height() as usize - self.shape[2], photo.width() as usize - self.shape[3]];
            for _ in 0..each {
                let at = [draw.below(rows + 1), draw.below(columns + 1)];
                self.patch(&photo, at, preprocess, &mut patch);
                add_products(&mut sum, &patch);
            }
            patches += each;
        }
        match (patches, skipped) {
            (0, Some(last)) => Err(TrainError::NothingLoaded("training", last.why)),
            _ => {
                // What is below the diagonal is what is above it.
                let above = |i: usize| (i / len).min(i % len) * len + (i / len).max(i % len);
                Ok((0..len * len).map(|i| sum[above(i)] / patches.max(1) as f64).collect())
            }
        }
    }

    /// A patch of a photo as the convolution sees it, `[in, kh, kw]`.
    fn patch(&self, photo: &Photo, [top, left]: [usize; 2], preprocess: &Preprocess, patch: &mut [f64]) {
        let [_, channels, rows, columns] = self.shape;
        let width = photo.width() as usize;
        for (at, number) in patch.iter_mut().enumerate() {
            let (channel, row, column) = (at / (rows * columns), at / columns % rows, at % columns);
            let pixel = photo.pixels()[((top + row) * width + left + column) * channels + channel];
            *number =
                (f64::from(pixel) / 255.0 - f64::from(preprocess.mean[channel])) / f64::from(preprocess.std[channel]);
        }
    }

    /// Makes the filters of the components that vary most, as many as there is room for with their negatives; filters beyond stay
    /// as they were drawn.
    fn fill(&self, covariance: &[f64], weight: &mut [f32]) {
        let len = self.len();
        let components = principal_components(covariance.to_vec(), len);
        let pairs = (self.shape[0] / 2).min(len);
        let (plus, rest) = weight.split_at_mut(pairs * len);
        let filters = plus.chunks_exact_mut(len).zip(rest.chunks_exact_mut(len));
        for ((plus, minus), (variance, component)) in filters.zip(components) {
            let scale = 1.0 / (variance.max(0.0) + EPS).sqrt();
            for ((plus, minus), number) in plus.iter_mut().zip(minus).zip(component) {
                *plus = (scale * number) as f32;
                *minus = -*plus;
            }
        }
    }
}

/// Adds the products of a patch's numbers, those on and above the diagonal.
fn add_products(sum: &mut [f64], patch: &[f64]) {
    for (i, (row, &a)) in sum.chunks_exact_mut(patch.len()).zip(patch).enumerate() {
        for (total, &b) in row[i..].iter_mut().zip(&patch[i..]) {
            *total += a * b;
        }
    }
}

/// Variances and directions of the principal components of a symmetric matrix `[n, n]`, the largest variance first, by Jacobi's
/// method with cyclic rotations (Golub and Van Loan, Matrix Computations, section 8.5). Written here because a run must begin with
/// the same bits on every machine, which linear algebra that asks for the instruction set does not promise.
fn principal_components(mut matrix: Vec<f64>, n: usize) -> Vec<(f64, Vec<f64>)> {
    /// Far more than the few that convergence takes.
    const SWEEPS: usize = 60;
    let mut directions: Vec<f64> = (0..n * n).map(|i| f64::from(u8::from(i / n == i % n))).collect();
    let total: f64 = matrix.iter().map(|x| x * x).sum();
    for _ in 0..SWEEPS {
        let off: f64 = (0..n * n).filter(|i| i / n != i % n).map(|i| matrix[i] * matrix[i]).sum();
        if off <= 1e-28 * total {
            break;
        }
        for (p, q) in (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q))) {
            if let Some([cosine, sine]) = rotation(matrix[p * n + p], matrix[q * n + q], matrix[p * n + q]) {
                for k in 0..n {
                    turn(&mut matrix, [k * n + p, k * n + q], [cosine, sine]);
                }
                for k in 0..n {
                    turn(&mut matrix, [p * n + k, q * n + k], [cosine, sine]);
                    turn(&mut directions, [p * n + k, q * n + k], [cosine, sine]);
                }
            }
        }
    }
    let mut components: Vec<_> =
        directions.chunks_exact(n).enumerate().map(|(i, direction)| (matrix[i * n + i], direction.to_vec())).collect();
    components.sort_by(|a, b| b.0.total_cmp(&a.0));
    components
}

/// Cosine and sine of the rotation that makes a symmetric pair's `shared` element zero, if it is not.
fn rotation(first: f64, second: f64, shared: f64) -> Option<[f64; 2]> {
    if shared == 0.0 {
        return None;
    }
    let tau = (second - first) / (2.0 * shared);
    let tangent = 1.0_f64.copysign(tau) / (tau.abs() + (1.0 + tau * tau).sqrt());
    let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
    Some([cosine, tangent * cosine])
}

/// Rotates two numbers.
fn turn(numbers: &mut [f64], [a, b]: [usize; 2], [cosine, sine]: [f64; 2]) {
    (numbers[a], numbers[b]) = (cosine * numbers[a] - sine * numbers[b], sine * numbers[a] + cosine * numbers[b]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_orthonormal_and_put_the_matrix_together() {
        let n = 6;
        let mut draw = Draw::new(3, 0, 0, Purpose::Whiten);
        let factor: Vec<f64> = (0..n * n).map(|_| draw.normal()).collect();
        let product = |i: usize, j: usize| (0..n).map(|k| factor[i * n + k] * factor[j * n + k]).sum::<f64>();
        let matrix: Vec<f64> = (0..n * n).map(|i| product(i / n, i % n)).collect();
        let components = principal_components(matrix.clone(), n);
        assert!(components.is_sorted_by(|a, b| a.0 >= b.0));
        for (i, &expected) in matrix.iter().enumerate() {
            let (row, column) = (i / n, i % n);
            let dot: f64 = components[row].1.iter().zip(&components[column].1).map(|(a, b)| a * b).sum();
            assert!((dot - f64::from(u8::from(row == column))).abs() < 1e-12, "{dot}");
            let sum: f64 = components.iter().map(|(variance, d)| variance * d[row] * d[column]).sum();
            assert!((sum - expected).abs() < 1e-10, "{sum} {expected}");
        }
    }

    #[test]
    fn what_the_filters_give_of_such_patches_has_variance_one_and_is_not_correlated() {
        let stem = Stem { weight: 0, shape: [7, 1, 2, 2] };
        // Neighbours are alike.
        let covariance: Vec<f64> = (0..16_i32).map(|i| 0.9_f64.powi((i / 4 - i % 4).abs())).collect();
        let mut weight = vec![0.5; 28];
        stem.fill(&covariance, &mut weight);
        let between = |a: usize, b: usize| -> f64 {
            let number = |filter: usize, i: usize| f64::from(weight[filter * 4 + i]);
            (0..16).map(|i| number(a, i / 4) * covariance[i] * number(b, i % 4)).sum()
        };
        for (a, b, expected) in
            [(0, 0, 1.0), (1, 1, 1.0), (2, 2, 1.0), (0, 1, 0.0), (1, 2, 0.0), (0, 3, -1.0), (2, 5, -1.0)]
        {
            assert!((between(a, b) - expected).abs() < 0.01, "{a} {b}: {}", between(a, b));
        }
        assert_eq!(weight[24..], [0.5; 4], "there is no pair for an odd filter");
    }
}
