//! The transforms of each tile, along one axis; two axes are one after the other. Those of stride 2 are in
//! [`super::polyphase`].

use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

use super::TAPS;
#[cfg(test)]
use super::toom_cook::taps_to_points;
use crate::simd::lanes::Lanes;

/// `M` outputs along an axis from a window of `N` inputs.
pub(in crate::conv) trait Scheme<const M: usize, const N: usize> {
    /// Inputs from one output to the next.
    const STRIDE: usize;
    /// Points whose weights differ; those of the points behind are the last one's.
    const DISTINCT: usize = N;

    /// `G` as a matrix.
    #[cfg(test)]
    fn weights() -> [[f64; TAPS]; N];
    /// `G`: taps to points.
    fn taps<L: Lanes>(l: L, g: [L::T; TAPS]) -> [L::T; N];
    /// `B^T`: inputs to points.
    fn input<L: Lanes>(l: L, d: [L::T; N]) -> [L::T; N];
    /// `A^T`: points to outputs.
    fn output<L: Lanes>(l: L, m: [L::T; N]) -> [L::T; M];
}

/// F(2, 3) at the points 0, 1, -1 and infinity: no factors, so nothing is rounded but sums, and it is about as exact as a
/// direct convolution.
pub(in crate::conv) struct F2;

impl F2 {
    #[cfg(test)]
    pub const FINITE: [f64; 3] = [0.0, 1.0, -1.0];
}

impl Scheme<2, 4> for F2 {
    const STRIDE: usize = 1;

    #[cfg(test)]
    fn weights() -> [[f64; TAPS]; 4] {
        taps_to_points(&Self::FINITE)
    }

    #[inline(always)]
    fn taps<L: Lanes>(l: L, g: [L::T; TAPS]) -> [L::T; 4] {
        let half = l.splat(0.5);
        let (even, odd) = (l.mul(half, l.add(g[0], g[2])), l.mul(half, g[1]));
        [l.sub(l.splat(0.0), g[0]), l.add(even, odd), l.sub(even, odd), g[2]]
    }

    #[inline(always)]
    fn input<L: Lanes>(l: L, d: [L::T; 4]) -> [L::T; 4] {
        [l.sub(d[2], d[0]), l.add(d[2], d[1]), l.sub(d[2], d[1]), l.sub(d[3], d[1])]
    }

    #[inline(always)]
    fn output<L: Lanes>(l: L, m: [L::T; 4]) -> [L::T; 2] {
        [l.add(m[0], l.add(m[1], m[2])), l.add(m[3], l.sub(m[1], m[2]))]
    }
}

/// F(4, 3) at the points 0, ±sqrt(1/2), ±sqrt(2) and infinity: those of ncnn. Its error is half of that at Lavin's points
/// 0, ±1, ±2.
pub(in crate::conv) struct F4;

impl F4 {
    #[cfg(test)]
    pub const FINITE: [f64; 5] = [0.0, FRAC_1_SQRT_2, -FRAC_1_SQRT_2, SQRT_2, -SQRT_2];
}

impl Scheme<4, 6> for F4 {
    const STRIDE: usize = 1;

    #[cfg(test)]
    fn weights() -> [[f64; TAPS]; 6] {
        taps_to_points(&Self::FINITE)
    }

    #[inline(always)]
    fn taps<L: Lanes>(l: L, g: [L::T; TAPS]) -> [L::T; 6] {
        let [third, sixth] = [l.splat(1.0 / 3.0), l.splat(1.0 / 6.0)];
        let even_near = l.fma(l.splat(-2.0 / 3.0), g[0], l.mul(l.splat(-1.0 / 3.0), g[2]));
        let odd_near = l.mul(l.splat((FRAC_1_SQRT_2 / -1.5) as f32), g[1]);
        let even_far = l.fma(sixth, g[0], l.mul(third, g[2]));
        let odd_far = l.mul(l.splat((SQRT_2 / 6.0) as f32), g[1]);
        [
            g[0],
            l.add(even_near, odd_near),
            l.sub(even_near, odd_near),
            l.add(even_far, odd_far),
            l.sub(even_far, odd_far),
            g[2],
        ]
    }

    #[inline(always)]
    fn input<L: Lanes>(l: L, d: [L::T; 6]) -> [L::T; 6] {
        // What a point and its negative share is computed once.
        let near = l.splat(FRAC_1_SQRT_2 as f32);
        let far = l.splat(SQRT_2 as f32);
        let [even_near, odd_near] = [l.fma(l.splat(-2.0), d[2], d[4]), l.fma(l.splat(-2.0), d[1], d[3])];
        let [even_far, odd_far] = [l.fma(l.splat(-0.5), d[2], d[4]), l.fma(l.splat(-0.5), d[1], d[3])];
        let [odd_near, odd_far] = [l.mul(near, odd_near), l.mul(far, odd_far)];
        [
            l.fma(l.splat(-2.5), d[2], l.add(d[0], d[4])),
            l.add(even_near, odd_near),
            l.sub(even_near, odd_near),
            l.add(even_far, odd_far),
            l.sub(even_far, odd_far),
            l.fma(l.splat(-2.5), d[3], l.add(d[1], d[5])),
        ]
    }

    #[inline(always)]
    fn output<L: Lanes>(l: L, m: [L::T; 6]) -> [L::T; 4] {
        let [near, near_odd] = [l.add(m[1], m[2]), l.sub(m[1], m[2])];
        let [far, far_odd] = [l.add(m[3], m[4]), l.sub(m[3], m[4])];
        // The odd powers of both points are sqrt(1/2) times 1 and 2, and sqrt(1/8) times 1 and 8.
        let once = l.mul(l.splat(FRAC_1_SQRT_2 as f32), l.fma(l.splat(2.0), far_odd, near_odd));
        let thrice = l.fma(l.splat(8.0), far_odd, near_odd);
        [
            l.add(m[0], l.add(near, far)),
            once,
            l.fma(l.splat(2.0), far, l.mul(l.splat(0.5), near)),
            l.fma(l.splat((FRAC_1_SQRT_2 / 2.0) as f32), thrice, m[5]),
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
    use crate::simd::lanes::One;
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
        near(matrix(|g| F2::taps(One(Scalar), g)), F2::weights());
        near(matrix(|g| F4::taps(One(Scalar), g)), F4::weights());
        near(matrix(|d| F2::input(One(Scalar), d)), inputs_to_points(&F2::FINITE));
        near(matrix(|m| F2::output(One(Scalar), m)), points_to_outputs(&F2::FINITE));
        near(matrix(|d| F4::input(One(Scalar), d)), inputs_to_points(&F4::FINITE));
        near(matrix(|m| F4::output(One(Scalar), m)), points_to_outputs(&F4::FINITE));
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
