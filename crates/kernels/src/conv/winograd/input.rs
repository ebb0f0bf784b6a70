//! The first stage: windows of the source to points.
//!
//! Neighbouring tiles of a row share columns of the source, so the vertical half of the transform goes once over all columns
//! of a run of tiles and the horizontal half then picks each tile's. Padding is zeros that are never stored: rows outside
//! the source are read from a row of zeros, and a column of zeros has zeros as its transform.

use std::ops::Range;

use super::scheme::Scheme;
use super::{TAPS, Winograd, odd_lines};
use crate::LANES;
use crate::conv::ground::Ground;
use crate::simd::Simd;
use crate::simd::lanes::{Lanes, One, Two};

/// Tiles whose columns go through the vertical half at once: they stay in the first-level cache.
const RUN: usize = 8;

/// Tiles have at most 4 outputs a side, and strides are at most 2, so a run has at most so many columns.
const MOST_COLUMNS: usize = (4 * RUN - 1) * 2 + TAPS;

/// What lies above and below the source.
static ZEROS: [f32; MOST_COLUMNS * LANES] = [0.0; MOST_COLUMNS * LANES];

/// Neighbouring tiles of one row of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Its first tile, counted through all images.
    pub first: usize,
    pub tiles: usize,
    pub image: usize,
    /// Row and column of its first tile.
    pub place: [usize; 2],
}

/// Where points lie in a thread's scratch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Points {
    pub start: *mut f32,
    /// Floats from one block of the source to the next; a block has eight floats for every tile, side by side as the pixels of a
    /// plane.
    pub block_len: usize,
    /// Floats from one point to the next.
    pub point_len: usize,
}

/// The part of a run's columns that lies inside the source.
struct Columns {
    all: usize,
    inside: Range<usize>,
    /// The source column of the first of those inside.
    first: usize,
}

impl Winograd {
    /// Some tiles, counted through all images, as runs.
    #[inline(always)]
    pub(super) fn runs(&self, tiles: Range<usize>) -> impl Iterator<Item = Run> {
        let ([_, columns], of_an_image) = (self.tiles, self.tiles_of_an_image());
        let mut next = tiles.start;
        std::iter::from_fn(move || {
            let first = next;
            let (image, inside) = (first / of_an_image, first % of_an_image);
            let place = [inside / columns, inside % columns];
            let count = (columns - place[1]).min(RUN).min(tiles.end - first);
            next += count;
            (count > 0).then_some(Run { first, tiles: count, image, place })
        })
    }

    /// Floats of a run's columns after the vertical half.
    pub(super) fn columns_len(&self) -> usize {
        self.tile.inputs(1) * self.row_len()
    }

    /// Floats from one row of those to the next.
    fn row_len(&self) -> usize {
        odd_lines(self.tile.inputs(RUN.min(self.tiles[1])) * LANES)
    }

    fn columns_of(&self, run: &Run) -> Columns {
        let all = self.tile.inputs(run.tiles);
        // Padded columns: column `c` of the source is column `c + padding` of these.
        let start = run.place[1] * self.tile.outputs() * self.tile.stride();
        let (left, width) = (self.padding[1], self.source.width());
        let inside = |padded: usize| padded.saturating_sub(start).min(all);
        let inside = inside(left)..inside(left + width);
        Columns { all, first: (start + inside.start).saturating_sub(left), inside }
    }
}

/// Transforms a run, the first of whose tiles is `points`' tile 0.
///
/// # Safety
/// The ground's image and band hold what the run sees of the source; `columns` points at [`Winograd::columns_len`] floats and `points`
/// at all points of the run, both of which nobody else touches.
#[inline(always)]
pub(super) unsafe fn transform<S: Simd, F: Scheme<M, N>, const M: usize, const N: usize>(
    s: S,
    winograd: &Winograd,
    run: &Run,
    ground: Ground,
    columns: *mut f32,
    points: Points,
) {
    let row_len = winograd.row_len();
    let Columns { all, inside, first } = winograd.columns_of(run);
    let (width, height) = (winograd.source.width(), winograd.source.height());
    for (k, block) in winograd.source.blocks().iter().enumerate() {
        let plane = ground.source(&winograd.in_band, k).wrapping_add(block.offset + first * LANES);
        let mut rows = [ZEROS.as_ptr(); N];
        for i in 0..N {
            let row = (run.place[0] * M * F::STRIDE + i).wrapping_sub(winograd.padding[0]);
            if row < height {
                rows[i] = plane.wrapping_add(row * width * LANES);
            }
        }
        let points = Points { start: points.start.wrapping_add(k * points.block_len), ..points };
        // SAFETY: columns `inside` of the rows lie in the source or the zeros, all columns in `columns`.
        unsafe {
            blank::<S, N>(s, 0..inside.start, columns, row_len);
            vertical::<S, F, M, N>(s, &rows, inside.clone(), columns, row_len);
            blank::<S, N>(s, inside.end..all, columns, row_len);
            horizontal::<S, F, M, N>(s, columns, row_len, run.tiles, points);
        }
    }
}

/// Columns of zeros.
///
/// # Safety
/// `to` has `N` rows with these columns.
#[inline(always)]
unsafe fn blank<S: Simd, const N: usize>(s: S, columns: Range<usize>, to: *mut f32, row_len: usize) {
    for (column, i) in columns.flat_map(|c| (0..N).map(move |i| (c, i))) {
        // SAFETY: the function's own promise.
        unsafe { s.store(s.splat(0.0), to.add(i * row_len + column * LANES)) };
    }
}

/// # Safety
/// Every row has as many pixels as there are columns, and `to` has `N` rows with these columns.
#[inline(always)]
unsafe fn vertical<S: Simd, F: Scheme<M, N>, const M: usize, const N: usize>(
    s: S,
    rows: &[*const f32; N],
    columns: Range<usize>,
    to: *mut f32,
    row_len: usize,
) {
    let start = to.wrapping_add(columns.start * LANES);
    let alone = columns.len() - columns.len() % 2;
    // SAFETY: the function's own promise.
    unsafe {
        columns_of::<Two<S>, F, M, N>(Two(s), rows, 0..alone, start, row_len);
        columns_of::<One<S>, F, M, N>(One(s), rows, alone..columns.len(), start, row_len);
    }
}

/// Some of those columns, as many at once as a value has vectors.
///
/// # Safety
/// As [`vertical`].
#[inline(always)]
unsafe fn columns_of<L: Lanes, F: Scheme<M, N>, const M: usize, const N: usize>(
    l: L,
    rows: &[*const f32; N],
    columns: Range<usize>,
    to: *mut f32,
    row_len: usize,
) {
    for at in columns.step_by(L::VECTORS).map(|column| column * LANES) {
        // SAFETY: the function's own promise.
        unsafe {
            let mut d = [l.splat(0.0); N];
            for i in 0..N {
                d[i] = l.load(rows[i].add(at));
            }
            let points = F::input(l, d);
            for i in 0..N {
                l.store(points[i], to.add(i * row_len + at));
            }
        }
    }
}

/// # Safety
/// `from` has `N` rows with the columns of so many tiles, and `points` has room for those.
#[inline(always)]
unsafe fn horizontal<S: Simd, F: Scheme<M, N>, const M: usize, const N: usize>(
    s: S,
    from: *const f32,
    row_len: usize,
    tiles: usize,
    points: Points,
) {
    for i in 0..N {
        for tile in 0..tiles {
            let from = from.wrapping_add(i * row_len + tile * M * F::STRIDE * LANES);
            let to = points.start.wrapping_add(i * N * points.point_len + tile * LANES);
            // SAFETY: the function's own promise.
            unsafe {
                let mut d = [s.splat(0.0); N];
                for j in 0..N {
                    d[j] = s.load(from.add(j * LANES));
                }
                let d = F::input(One(s), d);
                for j in 0..N {
                    s.store(d[j], to.add(j * points.point_len));
                }
            }
        }
    }
}
