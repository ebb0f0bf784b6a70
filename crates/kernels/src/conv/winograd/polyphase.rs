//! Stride 2: a window over every other output is two windows over every other input.
//!
//! Along an axis, output `i` sees inputs `2i`, `2i + 1` and `2i + 2`. The even inputs are a convolution of two taps with
//! stride 1, for which Winograd's method gives `M` outputs from `M + 1` points; the odd ones one product each (the
//! decomposition of Huang et al., arXiv:2002.00552). Together `2 M + 1` points for `M` outputs, instead of `3 M` products.
//! The two halves are stacked into one transform whose points are first those of the even inputs, then the odd inputs
//! themselves, so that both axes and all stages are those of stride 1.

use super::TAPS;
use super::scheme::Scheme;
#[cfg(test)]
use super::toom_cook::taps_to_points;
use crate::simd::lanes::Lanes;

/// `G` of both phases: the outer taps to the points of the even inputs, the middle one to each of the odd inputs.
#[cfg(test)]
fn weights<const N: usize, const E: usize>(finite: &[f64]) -> [[f64; TAPS]; N] {
    let even = taps_to_points::<E, 2>(finite);
    std::array::from_fn(|i| even.get(i).map_or([0.0, 1.0, 0.0], |&[first, last]| [first, 0.0, last]))
}

/// Two outputs, the even inputs at the points 0, 1 and infinity: 25 products for 4 outputs, 1.44 times fewer.
pub(super) struct F2Strided;

impl F2Strided {
    #[cfg(test)]
    pub const FINITE: [f64; 2] = [0.0, 1.0];
}

impl Scheme<2, 5> for F2Strided {
    const STRIDE: usize = 2;
    const DISTINCT: usize = 4;

    #[cfg(test)]
    fn weights() -> [[f64; TAPS]; 5] {
        weights::<5, 3>(&Self::FINITE)
    }

    #[inline(always)]
    fn taps<L: Lanes>(l: L, g: [L::T; TAPS]) -> [L::T; 5] {
        [l.sub(l.splat(0.0), g[0]), l.add(g[0], g[2]), g[2], g[1], g[1]]
    }

    #[inline(always)]
    fn input<L: Lanes>(l: L, d: [L::T; 5]) -> [L::T; 5] {
        [l.sub(d[2], d[0]), d[2], l.sub(d[4], d[2]), d[1], d[3]]
    }

    #[inline(always)]
    fn output<L: Lanes>(l: L, m: [L::T; 5]) -> [L::T; 2] {
        [l.add(m[3], l.add(m[0], m[1])), l.add(m[4], l.add(m[1], m[2]))]
    }
}

/// Four outputs, the even inputs at the points ±3/8, ±9/8 and infinity: 81 products for 16 outputs, 1.78 times fewer.
/// Near these the error is smallest, and their powers are exact in single precision.
pub(super) struct F4Strided;

const NEAR: f64 = 0.375;
const FAR: f64 = 1.125;

impl F4Strided {
    #[cfg(test)]
    pub const FINITE: [f64; 4] = [NEAR, -NEAR, FAR, -FAR];
}

impl Scheme<4, 9> for F4Strided {
    const STRIDE: usize = 2;
    const DISTINCT: usize = 6;

    #[cfg(test)]
    fn weights() -> [[f64; TAPS]; 9] {
        weights::<9, 5>(&Self::FINITE)
    }

    #[inline(always)]
    fn taps<L: Lanes>(l: L, g: [L::T; TAPS]) -> [L::T; 9] {
        let between = NEAR * NEAR - FAR * FAR;
        let near = l.mul(l.splat((1.0 / (2.0 * NEAR * between)) as f32), g[0]);
        let far = l.mul(l.splat((-1.0 / (2.0 * FAR * between)) as f32), g[0]);
        let last_near = l.mul(l.splat((1.0 / (2.0 * between)) as f32), g[2]);
        let last_far = l.mul(l.splat((-1.0 / (2.0 * between)) as f32), g[2]);
        [
            l.add(last_near, near),
            l.sub(last_near, near),
            l.add(last_far, far),
            l.sub(last_far, far),
            g[2],
            g[1],
            g[1],
            g[1],
            g[1],
        ]
    }

    #[inline(always)]
    fn input<L: Lanes>(l: L, d: [L::T; 9]) -> [L::T; 9] {
        // A point and its negative share the other pair's polynomial: (x ± p)(x^2 - q^2).
        let (near, far) = (NEAR as f32, FAR as f32);
        let less_far = l.splat(-far * far);
        let [even_near, odd_near] = [l.fma(less_far, d[0], d[4]), l.fma(less_far, d[2], d[6])];
        let less_near = l.splat(-near * near);
        let [even_far, odd_far] = [l.fma(less_near, d[0], d[4]), l.fma(less_near, d[2], d[6])];
        let last = l.fma(l.splat(-near * near - far * far), d[4], d[8]);
        [
            l.fma(l.splat(near), even_near, odd_near),
            l.fma(l.splat(-near), even_near, odd_near),
            l.fma(l.splat(far), even_far, odd_far),
            l.fma(l.splat(-far), even_far, odd_far),
            l.fma(l.splat(near * near * far * far), d[0], last),
            d[1],
            d[3],
            d[5],
            d[7],
        ]
    }

    #[inline(always)]
    fn output<L: Lanes>(l: L, m: [L::T; 9]) -> [L::T; 4] {
        let (near, far) = (NEAR as f32, FAR as f32);
        let [even_near, odd_near] = [l.add(m[0], m[1]), l.sub(m[0], m[1])];
        let [even_far, odd_far] = [l.add(m[2], m[3]), l.sub(m[2], m[3])];
        let [near2, far2] = [l.splat(near * near), l.splat(far * far)];
        let [near3, far3] = [l.splat(near * near * near), l.splat(far * far * far)];
        [
            l.add(m[5], l.add(even_near, even_far)),
            l.fma(l.splat(far), odd_far, l.fma(l.splat(near), odd_near, m[6])),
            l.fma(far2, even_far, l.fma(near2, even_near, m[7])),
            l.fma(far3, odd_far, l.fma(near3, odd_near, l.add(m[4], m[8]))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::lanes::One;
    use crate::simd::scalar::Scalar;

    /// What a scheme computes in single precision for unit taps and inputs, in exact arithmetic the identity: 1 where
    /// output `i` sees input `2i + k` through tap `k`.
    fn identity<F: Scheme<M, N>, const M: usize, const N: usize>() {
        let g = F::weights();
        for k in 0..TAPS {
            let mut unit = [[0.0; 8]; TAPS];
            unit[k] = [1.0; 8];
            let points = F::taps(One(Scalar), unit);
            for (i, point) in points.iter().enumerate() {
                assert!((f64::from(point[0]) - g[i][k]).abs() < 2e-7, "tap {k} at point {i}: {}", point[0]);
                assert!(i < F::DISTINCT || point == &points[F::DISTINCT - 1], "point {i} has weights of its own");
            }
        }
        for (k, d) in (0..TAPS).flat_map(|k| (0..N).map(move |d| (k, d))) {
            let mut unit = [[0.0; 8]; N];
            unit[d] = [1.0; 8];
            let points = F::input(One(Scalar), unit);
            let products = std::array::from_fn(|i| points[i].map(|p| p * g[i][k] as f32));
            for (i, y) in F::output(One(Scalar), products).iter().enumerate() {
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
