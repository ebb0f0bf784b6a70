//! Dense matrices, row by row in one list: products and the transpose.
//!
//! For what optimisers do with whole gradients. Not here: products of matrices that lie in planes ([`crate::Product`]), and
//! convolutions, which are products of another kind.

use crate::share::share;
use crate::simd::{Body, Simd};
use crate::{Isa, LANES, Team};

/// Columns that are computed at once; rows of every matrix are padded to a multiple of it.
const PANEL: usize = 4 * LANES;

/// Rows of one part of a product.
const PART: usize = 32;

/// Rows and columns of a matrix, whose rows are padded with zeros to [`Size::stride`] numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub rows: usize,
    pub columns: usize,
}

impl Size {
    /// Numbers from one row to the next.
    pub fn stride(self) -> usize {
        self.columns.next_multiple_of(PANEL)
    }

    /// Numbers of the whole.
    pub fn len(self) -> usize {
        self.rows * self.stride()
    }

    /// Of the transpose.
    pub fn turned(self) -> Self {
        Self { rows: self.columns, columns: self.rows }
    }
}

/// Which entries of a product are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entries {
    /// All.
    All,
    /// Those up to the diagonal, for the product is symmetric; the others are their mirror image. Bits are the same where factors of
    /// mirrored entries come in the same order.
    Symmetric,
}

/// `to = product * a b`, and besides `kept * c` if there is something to add, which has the size of the result. Every sum follows the
/// inner dimension in order, so its bits depend on nothing else.
///
/// # Panics
/// If the sizes do not fit each other, or a list does not have its size's length, or what is symmetric is no square.
pub(crate) fn multiply(
    isa: Isa,
    (product, a, a_size): (f32, &[f32], Size),
    (b, b_size): (&[f32], Size),
    added: Option<(f32, &[f32])>,
    entries: Entries,
    to: &mut [f32],
    team: &mut Team,
) {
    let size = Size { rows: a_size.rows, columns: b_size.columns };
    assert!(a_size.columns == b_size.rows, "a product of {a_size:?} and {b_size:?}");
    let added_fits = added.is_none_or(|(_, c)| c.len() == size.len());
    let fits = a.len() == a_size.len() && b.len() == b_size.len() && to.len() == size.len() && added_fits;
    assert!(fits, "lists that are not as long as their matrices");
    let is_symmetric = entries == Entries::Symmetric;
    assert!(!is_symmetric || size.rows == size.columns, "{size:?} is symmetric");
    let begin = |part: usize| (part * PART).min(size.rows) * size.stride();
    share([&mut *to], size.rows.div_ceil(PART), begin, team, |part, [to]| {
        let first = part * PART;
        let rows = &a[first * a_size.stride()..][..(size.rows - first).min(PART) * a_size.stride()];
        let added = added.map(|(kept, c)| (kept, &c[begin(part)..begin(part + 1)]));
        let columns = if is_symmetric { (first + PART).min(size.rows) } else { size.columns };
        isa.run(Rows { product, a: rows, a_size, b, b_size, added, columns, to });
    });
    if is_symmetric {
        mirror(to, size);
    }
}

/// Copies what is below the diagonal to above it.
fn mirror(matrix: &mut [f32], size: Size) {
    for row in 0..size.rows {
        for column in row + 1..size.columns {
            matrix[row * size.stride() + column] = matrix[column * size.stride() + row];
        }
    }
}

/// Some rows of a product. All lists are as long as the sizes say.
struct Rows<'a> {
    product: f32,
    a: &'a [f32],
    a_size: Size,
    b: &'a [f32],
    b_size: Size,
    added: Option<(f32, &'a [f32])>,
    /// Columns that are computed, if not a few more.
    columns: usize,
    to: &'a mut [f32],
}

impl Body for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // Sums take eight registers either way: two for a row where a pair is one register, else four.
        if S::VECTORS == 4 { self.tiles::<S, 4>(s) } else { self.tiles::<S, 2>(s) }
    }
}

impl Rows<'_> {
    /// All panels, `R` rows at once.
    #[inline(always)]
    fn tiles<S: Simd, const R: usize>(self, s: S) {
        let rows = self.a.len() / self.a_size.stride();
        let whole = rows / R * R;
        let to = self.to.as_mut_ptr();
        for column in (0..self.columns).step_by(PANEL) {
            for row in (0..whole).step_by(R) {
                // SAFETY: the rows and the panel lie in all lists, for `multiply` has checked their lengths.
                unsafe { self.tile::<S, R>(s, row, column, to) };
            }
            for row in whole..rows {
                // SAFETY: as above.
                unsafe { self.tile::<S, 1>(s, row, column, to) };
            }
        }
    }

    /// # Safety
    /// `R` rows from `row` on and a panel from `column` on lie in all lists; `to` is the result's.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize>(&self, s: S, row: usize, column: usize, to: *mut f32) {
        let stride = self.b_size.stride();
        let mut sums = [[s.splat_pair(0.0); 2]; R];
        let a: [*const f32; R] =
            std::array::from_fn(|r| self.a.as_ptr().wrapping_add((row + r) * self.a_size.stride()));
        let mut b = self.b.as_ptr().wrapping_add(column);
        for k in 0..self.a_size.columns {
            // SAFETY: row `k` of `b`, whose panel is 32 numbers, and column `k` of rows of `a`.
            unsafe {
                let factors = [s.load_pair(b), s.load_pair(b.add(2 * LANES))];
                for r in 0..R {
                    let x = s.broadcast_pair(a[r].add(k));
                    for v in 0..2 {
                        sums[r][v] = s.fma_pair(x, factors[v], sums[r][v]);
                    }
                }
            }
            b = b.wrapping_add(stride);
        }
        let product = s.splat_pair(self.product);
        for r in 0..R {
            for v in 0..2 {
                let at = (row + r) * stride + column + v * 2 * LANES;
                let sum = s.mul_pair(product, sums[r][v]);
                // SAFETY: the tile's own numbers, and those of what is added, which is as long.
                unsafe {
                    let sum = match self.added {
                        Some((kept, c)) => s.fma_pair(s.splat_pair(kept), s.load_pair(c.as_ptr().add(at)), sum),
                        None => sum,
                    };
                    s.store_pair(sum, to.add(at));
                }
            }
        }
    }
}

/// Writes the transpose of a matrix of a size.
///
/// # Panics
/// If a list does not have its size's length.
pub(crate) fn transpose(from: &[f32], size: Size, to: &mut [f32], team: &mut Team) {
    let turned = size.turned();
    assert!(from.len() == size.len() && to.len() == turned.len(), "lists that are not as long as their matrices");
    let begin = |part: usize| (part * PART).min(turned.rows) * turned.stride();
    share([to], turned.rows.div_ceil(PART), begin, team, |part, [to]| {
        let rows = to.len() / turned.stride();
        for from_row in 0..size.rows {
            let from = &from[from_row * size.stride() + part * PART..][..rows];
            from.iter().enumerate().for_each(|(row, &x)| to[row * turned.stride() + from_row] = x);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(size: Size, seed: usize) -> Vec<f32> {
        let mut list = vec![0.0; size.len()];
        for row in 0..size.rows {
            for column in 0..size.columns {
                list[row * size.stride() + column] = ((row * 31 + column * 17 + seed) % 23) as f32 / 8.0 - 1.0;
            }
        }
        list
    }

    #[test]
    fn products_are_sums_of_products() {
        for (m, k, n) in [(1, 1, 1), (4, 3, 32), (7, 40, 33), (70, 65, 100), (33, 300, 5)] {
            let (a_size, b_size) = (Size { rows: m, columns: k }, Size { rows: k, columns: n });
            let size = Size { rows: m, columns: n };
            let (a, b, c) = (numbers(a_size, 3), numbers(b_size, 5), numbers(size, 7));
            for isa in Isa::available() {
                let run = |threads| {
                    let mut to = vec![9.0; size.len()];
                    multiply(
                        isa,
                        (0.5, &a, a_size),
                        (&b, b_size),
                        Some((2.0, &c)),
                        Entries::All,
                        &mut to,
                        &mut Team::new(threads),
                    );
                    to
                };
                let to = run(1);
                assert_eq!(to, run(3));
                for (row, column) in (0..m).flat_map(|row| (0..size.stride()).map(move |column| (row, column))) {
                    let product =
                        |k: usize| f64::from(a[row * a_size.stride() + k]) * f64::from(b[k * b_size.stride() + column]);
                    let at = row * size.stride() + column;
                    let exact = 0.5 * (0..k).map(product).sum::<f64>() + 2.0 * f64::from(c[at]);
                    assert!(
                        (f64::from(to[at]) - exact).abs() < 1e-5 * (k as f64),
                        "{isa} {row} {column}: {} {exact}",
                        to[at]
                    );
                }
            }
        }
    }

    #[test]
    fn a_symmetric_product_has_the_bits_of_a_whole_one() {
        for (rows, columns) in [(1, 5), (30, 70), (33, 33), (100, 300)] {
            let (size, of_gram) = (Size { rows, columns }, Size { rows, columns: rows });
            let (matrix, mut turned, mut team) = (numbers(size, 3), vec![0.0; size.turned().len()], Team::new(2));
            transpose(&matrix, size, &mut turned, &mut team);
            let [whole, half] = [Entries::All, Entries::Symmetric].map(|entries| {
                let [mut gram, mut cube] = [(); 2].map(|()| vec![0.0; of_gram.len()]);
                let (a, b) = ((1.0, &matrix[..], size), (&turned[..], size.turned()));
                multiply(Isa::detect(), a, b, None, entries, &mut gram, &mut team);
                let (a, b) = ((0.5, &gram[..], of_gram), (&gram[..], of_gram));
                multiply(Isa::detect(), a, b, Some((2.0, &gram)), entries, &mut cube, &mut team);
                (gram, cube)
            });
            assert!(whole == half, "{rows} x {columns}");
        }
    }

    #[test]
    fn the_transpose_has_columns_for_rows_and_zeros_beside_them() {
        let size = Size { rows: 37, columns: 70 };
        let (from, mut to) = (numbers(size, 1), vec![0.0; size.turned().len()]);
        transpose(&from, size, &mut to, &mut Team::new(2));
        for (row, column) in (0..size.rows).flat_map(|row| (0..size.columns).map(move |column| (row, column))) {
            assert_eq!(to[column * size.turned().stride() + row], from[row * size.stride() + column]);
        }
        assert_eq!(to.iter().map(|&x| f64::from(x)).sum::<f64>(), from.iter().map(|&x| f64::from(x)).sum());
    }
}
