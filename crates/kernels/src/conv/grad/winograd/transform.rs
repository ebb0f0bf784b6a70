//! Windows of a value to points: those of the input, and those of the output's gradient.
//!
//! Neighbouring tiles of a row may share columns, so the vertical half of the transform goes once over all columns of a run of
//! tiles and the horizontal half then picks each tile's. What lies outside is zeros that are never stored: rows outside are
//! read from a row of zeros, and a column of zeros has zeros as its transform.

use std::marker::PhantomData;
use std::ops::Range;

use super::scheme::Transposed;
use crate::LANES;
use crate::simd::Simd;
use crate::simd::lanes::{Lanes, One, Two};

/// Tiles whose columns go through the vertical half at once: they stay in the first-level cache.
const RUN: usize = 8;

/// What lies above and below a value.
static ZEROS: [f32; (4 * RUN + 2) * LANES] = [0.0; (4 * RUN + 2) * LANES];

/// Columns of a run of tiles of so many outputs a side, at most.
pub(super) const fn most_columns(outputs: usize) -> usize {
    outputs * RUN + 2
}

/// `I` numbers to `N` points.
pub(super) trait Transform<const I: usize, const N: usize> {
    /// Along one axis.
    fn apply<L: Lanes>(l: L, v: [L::T; I]) -> [L::T; N];
}

/// `B^T` of a scheme of `M` outputs.
pub(super) struct Inputs<F, const M: usize>(PhantomData<F>);

/// `A` of a scheme.
pub(super) struct Gradients<F>(PhantomData<F>);

impl<F: Transposed<M, N>, const M: usize, const N: usize> Transform<N, N> for Inputs<F, M> {
    #[inline(always)]
    fn apply<L: Lanes>(l: L, v: [L::T; N]) -> [L::T; N] {
        F::input(l, v)
    }
}

impl<F: Transposed<M, N>, const M: usize, const N: usize> Transform<M, N> for Gradients<F> {
    #[inline(always)]
    fn apply<L: Lanes>(l: L, v: [L::T; M]) -> [L::T; N] {
        F::gradient(l, v)
    }
}

/// Neighbouring tiles of one row of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiles {
    /// The first, counted through all images.
    pub first: usize,
    pub count: usize,
    pub image: usize,
    /// Row and column of the first.
    place: [usize; 2],
}

/// Some tiles, counted through all images of so many rows and columns of them, as runs.
#[inline(always)]
pub(super) fn runs([rows, columns]: [usize; 2], tiles: Range<usize>) -> impl Iterator<Item = Tiles> {
    let mut next = tiles.start;
    std::iter::from_fn(move || {
        let first = next;
        let (image, inside) = (first / (rows * columns), first % (rows * columns));
        let place = [inside / columns, inside % columns];
        let count = (columns - place[1]).min(RUN).min(tiles.end - first);
        next += count;
        (count > 0).then_some(Tiles { first, count, image, place })
    })
}

/// Where points lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Points {
    pub start: *mut f32,
    /// Floats from one tile to the next, and from one point to the next.
    pub tile_len: usize,
    pub point_len: usize,
}

/// How windows move over a value, and room for the columns between both halves.
pub(super) struct Windows {
    /// Rows and columns of the value.
    pub size: [usize; 2],
    pub padding: [usize; 2],
    pub columns: *mut f32,
    /// Floats from one row of those to the next.
    pub row_len: usize,
}

/// The windows of a run, `I` rows high.
pub(super) struct Window<const I: usize> {
    /// Floats from the plane's start to the first column inside of every row; nothing for rows outside.
    rows: [Option<usize>; I],
    /// Columns of the run.
    all: usize,
    /// Those of them that lie inside the value.
    pub inside: Range<usize>,
    tiles: usize,
}

impl<const I: usize> Window<I> {
    pub fn has_row(&self, row: usize) -> bool {
        self.rows[row].is_some()
    }

    /// The first column inside of every row of a plane.
    #[inline(always)]
    pub fn rows(&self, plane: *const f32) -> [*const f32; I] {
        let mut rows = [ZEROS.as_ptr(); I];
        for i in 0..I {
            if let Some(offset) = self.rows[i] {
                rows[i] = plane.wrapping_add(offset);
            }
        }
        rows
    }
}

impl Windows {
    /// The windows of a run, `M` columns from each other.
    #[inline(always)]
    pub fn of<const M: usize, const I: usize>(&self, run: &Tiles) -> Window<I> {
        let ([height, width], [top, left]) = (self.size, self.padding);
        let all = (run.count - 1) * M + I;
        // Padded columns: column `c` of the value is column `c + padding` of these.
        let start = run.place[1] * M;
        let inside = |padded: usize| padded.saturating_sub(start).min(all);
        let inside = inside(left)..inside(left + width);
        let first = (start + inside.start).saturating_sub(left);
        let mut rows = [None; I];
        for i in 0..I {
            let row = (run.place[0] * M + i).wrapping_sub(top);
            rows[i] = (row < height).then_some((row * width + first) * LANES);
        }
        Window { rows, all, inside, tiles: run.count }
    }

    /// Takes windows to points, whose rows are these.
    ///
    /// # Safety
    /// Every row has the columns inside, the columns' room has `N` rows of the run's columns, and the points have room for its
    /// tiles; nobody else touches those.
    #[inline(always)]
    pub unsafe fn transform<S: Simd, X: Transform<I, N>, const I: usize, const N: usize>(
        &self,
        s: S,
        window: &Window<I>,
        rows: &[*const f32; I],
        step: usize,
        points: Points,
    ) {
        let inside = &window.inside;
        let alone = inside.len() - inside.len() % 2;
        // SAFETY: the function's own promise.
        unsafe {
            self.blank::<S, N>(s, 0..inside.start);
            let first = self.columns.wrapping_add(inside.start * LANES);
            self.vertical::<Two<S>, X, I, N>(Two(s), rows, 0..alone, first);
            self.vertical::<One<S>, X, I, N>(One(s), rows, alone..inside.len(), first);
            self.blank::<S, N>(s, inside.end..window.all);
        }
        for i in 0..N {
            for tile in 0..window.tiles {
                let from = self.columns.wrapping_add(i * self.row_len + tile * step * LANES);
                let to = points.start.wrapping_add(i * N * points.point_len + tile * points.tile_len);
                // SAFETY: the function's own promise.
                unsafe {
                    let mut v = [s.splat(0.0); I];
                    for j in 0..I {
                        v[j] = s.load(from.add(j * LANES));
                    }
                    let v = X::apply(One(s), v);
                    for j in 0..N {
                        s.store(v[j], to.wrapping_add(j * points.point_len));
                    }
                }
            }
        }
    }

    /// Columns of zeros.
    ///
    /// # Safety
    /// As [`Windows::transform`].
    #[inline(always)]
    unsafe fn blank<S: Simd, const N: usize>(&self, s: S, columns: Range<usize>) {
        for (column, i) in columns.flat_map(|c| (0..N).map(move |i| (c, i))) {
            // SAFETY: the function's own promise.
            unsafe { s.store(s.splat(0.0), self.columns.add(i * self.row_len + column * LANES)) };
        }
    }

    /// Some columns inside, as many at once as a value has vectors.
    ///
    /// # Safety
    /// As [`Windows::transform`].
    #[inline(always)]
    unsafe fn vertical<L: Lanes, X: Transform<I, N>, const I: usize, const N: usize>(
        &self,
        l: L,
        rows: &[*const f32; I],
        columns: Range<usize>,
        to: *mut f32,
    ) {
        for at in columns.step_by(L::VECTORS).map(|column| column * LANES) {
            // SAFETY: the function's own promise.
            unsafe {
                let mut v = [l.splat(0.0); I];
                for i in 0..I {
                    v[i] = l.load(rows[i].add(at));
                }
                let points = X::apply(l, v);
                for i in 0..N {
                    l.store(points[i], to.add(i * self.row_len + at));
                }
            }
        }
    }
}
