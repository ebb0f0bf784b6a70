//! Stride 2: a window over every other output is two windows over every other input.
//!
//! Along an axis, output `i` sees inputs `2i`, `2i + 1` and `2i + 2`. The even inputs are a convolution of two taps with
//! stride 1, for which Winograd's method gives `M` outputs from `M + 1` points; the odd ones one product each (the
//! decomposition of Huang et al., arXiv:2002.00552). Together `2 M + 1` points for `M` outputs, instead of `3 M` products.
//! The two halves are stacked into one transform whose points are first those of the even inputs, then the odd inputs
//! themselves, so that both axes and all stages are those of stride 1.

use super::TAPS;
use super::scheme::Scheme;
use super::toom_cook::taps_to_points;
use crate::simd::Simd;

/// `G` of both phases: the outer taps to the points of the even inputs, the middle one to each of the odd inputs.
fn weights<const N: usize, const E: usize>(finite: &[f64]) -> [[f64; TAPS]; N] {
    let even = taps_to_points::<E, 2>(finite);
    std::array::from_fn(|i| even.get(i).map_or([0.0, 1.0, 0.0], |&[first, last]| [first, 0.0, last]))
}

/// Two outputs, the even inputs at the points 0, 1 and infinity: 25 products for 4 outputs, 1.44 times fewer.
pub(super) struct F2Strided;

impl F2Strided {
    pub const FINITE: [f64; 2] = [0.0, 1.0];
}

impl Scheme<2, 5> for F2Strided {
    const STRIDE: usize = 2;

    fn weights() -> [[f64; TAPS]; 5] {
        weights::<5, 3>(&Self::FINITE)
    }

    #[inline(always)]
    fn input<S: Simd>(s: S, d: [S::V; 5]) -> [S::V; 5] {
        [s.sub(d[2], d[0]), d[2], s.sub(d[4], d[2]), d[1], d[3]]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: [S::V; 5]) -> [S::V; 2] {
        [s.add(m[3], s.add(m[0], m[1])), s.add(m[4], s.add(m[1], m[2]))]
    }
}

/// Four outputs, the even inputs at the points ±3/8, ±9/8 and infinity: 81 products for 16 outputs, 1.78 times fewer.
/// Near these the error is smallest, and their powers are exact in single precision.
pub(super) struct F4Strided;

const NEAR: f64 = 0.375;
const FAR: f64 = 1.125;

impl F4Strided {
    pub const FINITE: [f64; 4] = [NEAR, -NEAR, FAR, -FAR];
}

impl Scheme<4, 9> for F4Strided {
    const STRIDE: usize = 2;

    fn weights() -> [[f64; TAPS]; 9] {
        weights::<9, 5>(&Self::FINITE)
    }

    #[inline(always)]
    fn input<S: Simd>(s: S, d: [S::V; 9]) -> [S::V; 9] {
        // A point and its negative share the other pair's polynomial: (x ± p)(x^2 - q^2).
        let (near, far) = (NEAR as f32, FAR as f32);
        let less_far = s.splat(-far * far);
        let [even_near, odd_near] = [s.fma(less_far, d[0], d[4]), s.fma(less_far, d[2], d[6])];
        let less_near = s.splat(-near * near);
        let [even_far, odd_far] = [s.fma(less_near, d[0], d[4]), s.fma(less_near, d[2], d[6])];
        let last = s.fma(s.splat(-near * near - far * far), d[4], d[8]);
        [
            s.fma(s.splat(near), even_near, odd_near),
            s.fma(s.splat(-near), even_near, odd_near),
            s.fma(s.splat(far), even_far, odd_far),
            s.fma(s.splat(-far), even_far, odd_far),
            s.fma(s.splat(near * near * far * far), d[0], last),
            d[1],
            d[3],
            d[5],
            d[7],
        ]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: [S::V; 9]) -> [S::V; 4] {
        let (near, far) = (NEAR as f32, FAR as f32);
        let [even_near, odd_near] = [s.add(m[0], m[1]), s.sub(m[0], m[1])];
        let [even_far, odd_far] = [s.add(m[2], m[3]), s.sub(m[2], m[3])];
        let [near2, far2] = [s.splat(near * near), s.splat(far * far)];
        let [near3, far3] = [s.splat(near * near * near), s.splat(far * far * far)];
        [
            s.add(m[5], s.add(even_near, even_far)),
            s.fma(s.splat(far), odd_far, s.fma(s.splat(near), odd_near, m[6])),
            s.fma(far2, even_far, s.fma(near2, even_near, m[7])),
            s.fma(far3, odd_far, s.fma(near3, odd_near, s.add(m[4], m[8]))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::scalar::Scalar;

    /// What a scheme computes in single precision for unit taps and inputs, in exact arithmetic the identity: 1 where
    /// output `i` sees input `2i + k` through tap `k`.
    fn identity<F: Scheme<M, N>, const M: usize, const N: usize>() {
        let g = F::weights();
        for (k, d) in (0..TAPS).flat_map(|k| (0..N).map(move |d| (k, d))) {
            let mut unit = [[0.0; 8]; N];
            unit[d] = [1.0; 8];
            let points = F::input(Scalar, unit);
            let products = std::array::from_fn(|i| points[i].map(|p| p * g[i][k] as f32));
            for (i, y) in F::output(Scalar, products).iter().enumerate() {
                let expected = f32::from(u8::from(d == 2 * i + k));
                assert!((y[0] - expected).abs() < 3e-7, "output {i}, tap {k}, input {d}: {}", y[0]);
            }
        }
    }

    #[test]
    fn the_schemes_compute_a_convolution() {
        identity::<F2Strided, 2, 5>();
        identity::<F4Strided, 4, 9>();
    }
}
