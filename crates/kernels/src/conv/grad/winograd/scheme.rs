//! The two transforms that only the gradient of the weight needs: outputs to points and points to taps, the transposes of those
//! that a convolution needs from points to outputs and from taps to points.

use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

use crate::conv::winograd::TAPS;
use crate::conv::winograd::scheme::{F2, F4, Scheme};
use crate::simd::lanes::Lanes;

/// A scheme of stride 1, for the gradient of the weight too.
pub(super) trait Transposed<const M: usize, const N: usize>: Scheme<M, N> {
    /// `A`: gradients of outputs to points.
    fn gradient<L: Lanes>(l: L, y: [L::T; M]) -> [L::T; N];
    /// `G^T`: points to gradients of taps.
    fn weight<L: Lanes>(l: L, m: [L::T; N]) -> [L::T; TAPS];
}

impl Transposed<2, 4> for F2 {
    #[inline(always)]
    fn gradient<L: Lanes>(l: L, y: [L::T; 2]) -> [L::T; 4] {
        [y[0], l.add(y[0], y[1]), l.sub(y[0], y[1]), y[1]]
    }

    #[inline(always)]
    fn weight<L: Lanes>(l: L, m: [L::T; 4]) -> [L::T; TAPS] {
        let half = l.splat(0.5);
        let [even, odd] = [l.mul(half, l.add(m[1], m[2])), l.mul(half, l.sub(m[1], m[2]))];
        [l.sub(even, m[0]), odd, l.add(even, m[3])]
    }
}

impl Transposed<4, 6> for F4 {
    #[inline(always)]
    fn gradient<L: Lanes>(l: L, y: [L::T; 4]) -> [L::T; 6] {
        // The even and the odd powers of a point and its negative are computed once; of the odd ones of both points,
        // sqrt(1/2) times 1 and 2 and sqrt(1/8) times 1 and 8.
        let near = l.splat(FRAC_1_SQRT_2 as f32);
        let odd = l.mul(near, y[1]);
        let cubic = l.mul(l.splat((FRAC_1_SQRT_2 / 2.0) as f32), y[3]);
        let [even_near, even_far] = [l.fma(l.splat(0.5), y[2], y[0]), l.fma(l.splat(2.0), y[2], y[0])];
        let odd_near = l.add(odd, cubic);
        let odd_far = l.fma(l.splat(8.0), cubic, l.add(odd, odd));
        [
            y[0],
            l.add(even_near, odd_near),
            l.sub(even_near, odd_near),
            l.add(even_far, odd_far),
            l.sub(even_far, odd_far),
            y[3],
        ]
    }

    #[inline(always)]
    fn weight<L: Lanes>(l: L, m: [L::T; 6]) -> [L::T; TAPS] {
        let [near, near_odd] = [l.add(m[1], m[2]), l.sub(m[1], m[2])];
        let [far, far_odd] = [l.add(m[3], m[4]), l.sub(m[3], m[4])];
        let third = l.splat(1.0 / 3.0);
        let odd = l.mul(l.splat((SQRT_2 / 6.0) as f32), far_odd);
        [
            l.fma(l.splat(-2.0 / 3.0), near, l.fma(l.splat(1.0 / 6.0), far, m[0])),
            l.fma(l.splat((FRAC_1_SQRT_2 / -1.5) as f32), near_odd, odd),
            l.fma(third, l.sub(far, near), m[5]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::lanes::One;
    use crate::simd::scalar::Scalar;

    /// What a linear function makes of unit vectors: its matrix, column by column.
    fn columns<const R: usize, const C: usize>(f: impl Fn([[f32; 8]; C]) -> [[f32; 8]; R]) -> Vec<[f32; R]> {
        let unit = |j: usize| std::array::from_fn(|i| if i == j { [1.0; 8] } else { [0.0; 8] });
        (0..C).map(|j| f(unit(j)).map(|lanes| lanes[0])).collect()
    }

    fn is_transpose<const R: usize, const C: usize>(a: Vec<[f32; R]>, b: Vec<[f32; C]>) {
        for (i, j) in (0..C).flat_map(|j| (0..R).map(move |i| (i, j))) {
            assert!((a[j][i] - b[i][j]).abs() < 2e-7, "row {i}, column {j}: {} and {}", a[j][i], b[i][j]);
        }
    }

    #[test]
    fn they_are_the_transposes_of_what_a_convolution_does() {
        let l = One(Scalar);
        is_transpose(columns(|y| F2::gradient(l, y)), columns(|m| F2::output(l, m)));
        is_transpose(columns(|m| F2::weight(l, m)), columns(|g| F2::taps(l, g)));
        is_transpose(columns(|y| F4::gradient(l, y)), columns(|m| F4::output(l, m)));
        is_transpose(columns(|m| F4::weight(l, m)), columns(|g| F4::taps(l, g)));
    }
}
