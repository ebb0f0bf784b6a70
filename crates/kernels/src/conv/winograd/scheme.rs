//! The transforms of each tile, along one axis; two axes are one after the other. Those of stride 2 are in
//! [`super::polyphase`].

use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

use super::TAPS;
use super::toom_cook::taps_to_points;
use crate::simd::Simd;

/// `M` outputs along an axis from a window of `N` inputs.
pub(super) trait Scheme<const M: usize, const N: usize> {
    /// Inputs from one output to the next.
    const STRIDE: usize;

    /// `G`: taps to points.
    fn weights() -> [[f64; TAPS]; N];
    /// `B^T`: inputs to points.
    fn input<S: Simd>(s: S, d: [S::V; N]) -> [S::V; N];
    /// `A^T`: points to outputs.
    fn output<S: Simd>(s: S, m: [S::V; N]) -> [S::V; M];
}

/// F(2, 3) at the points 0, 1, -1 and infinity: no factors, so nothing is rounded but sums, and it is about as exact as a
/// direct convolution.
pub(super) struct F2;

impl F2 {
    pub const FINITE: [f64; 3] = [0.0, 1.0, -1.0];
}

impl Scheme<2, 4> for F2 {
    const STRIDE: usize = 1;

    fn weights() -> [[f64; TAPS]; 4] {
        taps_to_points(&Self::FINITE)
    }

    #[inline(always)]
    fn input<S: Simd>(s: S, d: [S::V; 4]) -> [S::V; 4] {
        [s.sub(d[2], d[0]), s.add(d[2], d[1]), s.sub(d[2], d[1]), s.sub(d[3], d[1])]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: [S::V; 4]) -> [S::V; 2] {
        [s.add(m[0], s.add(m[1], m[2])), s.add(m[3], s.sub(m[1], m[2]))]
    }
}

/// F(4, 3) at the points 0, ±sqrt(1/2), ±sqrt(2) and infinity: those of ncnn. Its error is half of that at Lavin's points
/// 0, ±1, ±2.
pub(super) struct F4;

impl F4 {
    pub const FINITE: [f64; 5] = [0.0, FRAC_1_SQRT_2, -FRAC_1_SQRT_2, SQRT_2, -SQRT_2];
}

impl Scheme<4, 6> for F4 {
    const STRIDE: usize = 1;

    fn weights() -> [[f64; TAPS]; 6] {
        taps_to_points(&Self::FINITE)
    }

    #[inline(always)]
    fn input<S: Simd>(s: S, d: [S::V; 6]) -> [S::V; 6] {
        // What a point and its negative share is computed once.
        let near = s.splat(FRAC_1_SQRT_2 as f32);
        let far = s.splat(SQRT_2 as f32);
        let [even_near, odd_near] = [s.fma(s.splat(-2.0), d[2], d[4]), s.fma(s.splat(-2.0), d[1], d[3])];
        let [even_far, odd_far] = [s.fma(s.splat(-0.5), d[2], d[4]), s.fma(s.splat(-0.5), d[1], d[3])];
        let [odd_near, odd_far] = [s.mul(near, odd_near), s.mul(far, odd_far)];
        [
            s.fma(s.splat(-2.5), d[2], s.add(d[0], d[4])),
            s.add(even_near, odd_near),
            s.sub(even_near, odd_near),
            s.add(even_far, odd_far),
            s.sub(even_far, odd_far),
            s.fma(s.splat(-2.5), d[3], s.add(d[1], d[5])),
        ]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: [S::V; 6]) -> [S::V; 4] {
        let [near, near_odd] = [s.add(m[1], m[2]), s.sub(m[1], m[2])];
        let [far, far_odd] = [s.add(m[3], m[4]), s.sub(m[3], m[4])];
        // The odd powers of both points are sqrt(1/2) times 1 and 2, and sqrt(1/8) times 1 and 8.
        let once = s.mul(s.splat(FRAC_1_SQRT_2 as f32), s.fma(s.splat(2.0), far_odd, near_odd));
        let thrice = s.fma(s.splat(8.0), far_odd, near_odd);
        [
            s.add(m[0], s.add(near, far)),
            once,
            s.fma(s.splat(2.0), far, s.mul(s.splat(0.5), near)),
            s.fma(s.splat((FRAC_1_SQRT_2 / 2.0) as f32), thrice, m[5]),
        ]
    }
}

/// Calls `$function` for an instruction set with a tile's scheme and its sizes.
macro_rules! with_scheme {
    ($tile:expr, $function:ident::<$s:ty>($($argument:expr),*)) => {{
        use $crate::conv::WinogradTile;
        use $crate::conv::winograd::polyphase::{F2Strided, F4Strided};
        use $crate::conv::winograd::scheme::{F2, F4};
        match $tile {
            WinogradTile::F2 => $function::<$s, F2, 2, 4>($($argument),*),
            WinogradTile::F4 => $function::<$s, F4, 4, 6>($($argument),*),
            WinogradTile::F2Strided => $function::<$s, F2Strided, 2, 5>($($argument),*),
            WinogradTile::F4Strided => $function::<$s, F4Strided, 4, 9>($($argument),*),
        }
    }};
}
pub(super) use with_scheme;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::winograd::toom_cook::{inputs_to_points, points_to_outputs};
    use crate::simd::scalar::Scalar;

    /// A linear function as a matrix, from what it makes of unit vectors.
    fn matrix<const R: usize, const C: usize>(f: impl Fn([[f32; 8]; C]) -> [[f32; 8]; R]) -> [[f64; C]; R] {
        let mut out = [[0.0; C]; R];
        for j in 0..C {
            let mut unit = [[0.0; 8]; C];
            unit[j] = [1.0; 8];
            let column = f(unit);
            (0..R).for_each(|i| out[i][j] = f64::from(column[i][0]));
        }
        out
    }

    fn near<const R: usize, const C: usize>(a: [[f64; C]; R], b: [[f64; C]; R]) {
        let off = a.as_flattened().iter().zip(b.as_flattened()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off < 2e-7, "{a:?} instead of {b:?}");
    }

    #[test]
    fn straight_code_computes_the_matrices() {
        near(matrix(|d| F2::input(Scalar, d)), inputs_to_points(&F2::FINITE));
        near(matrix(|m| F2::output(Scalar, m)), points_to_outputs(&F2::FINITE));
        near(matrix(|d| F4::input(Scalar, d)), inputs_to_points(&F4::FINITE));
        near(matrix(|m| F4::output(Scalar, m)), points_to_outputs(&F4::FINITE));
    }

    /// `A^T [(G g) * (B^T d)]` for unit taps and inputs is 1 where output `i` sees input `i + k` through tap `k`.
    fn identity<const M: usize, const N: usize>(finite: &[f64], g: [[f64; TAPS]; N]) {
        let (a, b) = (points_to_outputs::<M, N>(finite), inputs_to_points::<N>(finite));
        for (i, k, d) in (0..M).flat_map(|i| (0..TAPS).flat_map(move |k| (0..N).map(move |d| (i, k, d)))) {
            let sum: f64 = (0..N).map(|point| a[i][point] * g[point][k] * b[point][d]).sum();
            assert!((sum - f64::from(d == i + k)).abs() < 1e-14, "output {i}, tap {k}, input {d}: {sum}");
        }
    }

    #[test]
    fn the_matrices_compute_a_convolution() {
        identity::<2, 4>(&F2::FINITE, F2::weights());
        identity::<4, 6>(&F4::FINITE, F4::weights());
    }
}
