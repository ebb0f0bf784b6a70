//! The matrices of Winograd's method for any points.
//!
//! Outputs, inputs and taps are coefficients of polynomials. A product of polynomials is known from its values at enough
//! points, infinity among them (Toom and Cook), and transposing that algorithm gives the one for correlation (Winograd;
//! Lavin and Gray, arXiv:1509.09308; with the scale factors as in Barabasz et al., arXiv:1803.10986). With finite points `p`
//! and `N_i = prod_{k != i} (p_i - p_k)`:
//!
//! - `G` takes taps to `N` points: row `i` is `p_i^j / N_i`, the last row the highest tap (the point at infinity),
//! - `B^T` takes inputs to points: row `i` is the coefficients of `prod_{k != i} (x - p_k)`, the last those of the product
//!   over all of them,
//! - `A^T` takes points to outputs: row `j` is `p_i^j`, and infinity counts for the last output only.
//!
//! All three are written out as straight code in [`super::scheme`] and [`super::polyphase`] and tested against those here; nothing
//! else uses them.

/// `G`, from `R` taps to as many points as there are finite ones and infinity.
pub(super) fn taps_to_points<const N: usize, const R: usize>(finite: &[f64]) -> [[f64; R]; N] {
    assert!(finite.len() == N - 1, "{N} points, one of them infinity");
    let mut rows = [[0.0; R]; N];
    for (i, &p) in finite.iter().enumerate() {
        let others = finite.iter().enumerate().filter(|&(k, _)| k != i);
        let scale: f64 = others.map(|(_, q)| p - q).product();
        rows[i] = std::array::from_fn(|j| p.powi(j as i32) / scale);
    }
    rows[N - 1][R - 1] = 1.0;
    rows
}

/// `B^T`.
pub(super) fn inputs_to_points<const N: usize>(finite: &[f64]) -> [[f64; N]; N] {
    let product = |skipped: usize| {
        let mut coefficients = [0.0; N];
        coefficients[0] = 1.0;
        for (_, p) in finite.iter().enumerate().filter(|&(k, _)| k != skipped) {
            for j in (0..N).rev() {
                coefficients[j] = if j > 0 { coefficients[j - 1] } else { 0.0 } - p * coefficients[j];
            }
        }
        coefficients
    };
    std::array::from_fn(product)
}

/// `A^T`.
pub(super) fn points_to_outputs<const M: usize, const N: usize>(finite: &[f64]) -> [[f64; N]; M] {
    let mut rows = [[0.0; N]; M];
    for (j, row) in rows.iter_mut().enumerate() {
        finite.iter().enumerate().for_each(|(i, p)| row[i] = p.powi(j as i32));
    }
    rows[M - 1][N - 1] = 1.0;
    rows
}
