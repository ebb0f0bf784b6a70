//! The second stage: at every point, tiles times input channels times output channels.

use std::ops::Range;

use super::filter::{Filter, Taps, transform};
use super::input::Points;
use super::scheme::Scheme;
use super::{CHAIN, PAIR, Winograd};
use crate::LANES;
use crate::conv::tile::{Ahead, Chain, LINE, Tiling};
use crate::simd::Simd;

/// Every chain begins with these.
static ZEROS: [f32; 2 * PAIR] = [0.0; 2 * PAIR];

/// Where sums lie in a thread's scratch: for every panel of a group, every point and every tile the panel's pairs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    pub start: *mut f32,
    /// Floats from one panel to the next.
    pub panel_len: usize,
    /// Floats from one point to the next.
    pub point_len: usize,
    /// Pairs of a panel.
    pub panel: usize,
}

/// The products of a block of tiles and a group of target blocks.
pub(super) struct GroupOf<'a> {
    pub winograd: &'a Winograd,
    /// The group's weights.
    pub packed: *const f32,
    pub group: usize,
    pub tiles: usize,
    pub points: Points,
    /// Room for the points of a chain's weights.
    pub filter: Filter,
    pub sums: Sums,
}

/// Sums up all products of a group, chain by chain: the points of its weights are made, then multiplied with the tiles.
///
/// # Safety
/// The weights are the group's, `points` holds the source at so many tiles, `sums` and `filter` have room for the group; nobody
/// else touches those.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd, F: Scheme<M, N>, const M: usize, const N: usize>(s: S, of: &GroupOf<'_>) {
    let blocks = of.winograd.offsets.len();
    for chain in (0..blocks).step_by(CHAIN).map(|first| first..blocks.min(first + CHAIN)) {
        let mut ahead = of.ahead(&chain, N * N);
        // SAFETY: the function's own promise.
        unsafe { transform::<S, F, M, N>(s, of.taps(&chain), of.filter, &mut ahead) };
        for (row, column) in grid(0..F::DISTINCT, 0..F::DISTINCT) {
            for (i, j) in grid(same::<N>(row, F::DISTINCT), same::<N>(column, F::DISTINCT)) {
                // SAFETY: the function's own promise; the points of the weights have just been made.
                unsafe { of.point(s, i * N + j, row * F::DISTINCT + column, &chain, &mut ahead) };
            }
        }
    }
}

/// All pairs of a row and a column.
fn grid(rows: Range<usize>, columns: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
    rows.flat_map(move |row| columns.clone().map(move |column| (row, column)))
}

/// The points along an axis whose weights are those of a distinct one: the last stands for all that follow it.
fn same<const N: usize>(point: usize, distinct: usize) -> Range<usize> {
    point..if point + 1 == distinct { N } else { point + 1 }
}

impl GroupOf<'_> {
    fn floats_of_a_block(&self) -> usize {
        self.winograd.floats_of_a_block(self.group)
    }

    /// The weights of a chain of source blocks.
    fn taps(&self, chain: &Range<usize>) -> Taps {
        let start = self.packed.wrapping_add(chain.start * self.floats_of_a_block());
        Taps { start, channels: chain.len() * LANES }
    }

    /// The weights of the next chain, or of the next group, to be asked for by the transform of this chain's and by all its
    /// products.
    fn ahead(&self, chain: &Range<usize>, points: usize) -> Ahead {
        let len = chain.len() * self.floats_of_a_block();
        let tiles = points * self.panels() * self.tiles.div_ceil(self.winograd.isa.full_tile()[1]);
        let steps = (tiles + LANES * self.filter.pairs) * chain.len();
        Ahead::of(self.taps(chain).start.wrapping_add(len), len / LINE, steps)
    }

    fn panels(&self) -> usize {
        self.winograd.pairs(self.group) / self.sums.panel
    }

    /// A chain's products at one point, whose weights are those of a distinct one.
    ///
    /// # Safety
    /// As [`multiply`].
    #[inline(always)]
    unsafe fn point<S: Simd>(&self, s: S, point: usize, distinct: usize, chain: &Range<usize>, ahead: &mut Ahead) {
        for panel in 0..self.panels() {
            let product = Product {
                offsets: &self.winograd.offsets[chain.clone()],
                packed: self.filter.panel(distinct, panel),
                from: self.points.start.wrapping_add(point * self.points.point_len),
                tiles: self.tiles,
                totals: self.sums.start.wrapping_add(panel * self.sums.panel_len + point * self.sums.point_len),
                begins: chain.start == 0,
            };
            // SAFETY: the function's own promise.
            unsafe {
                match self.sums.panel {
                    2 if S::VECTORS == 4 => product.chain::<S, 4>(s, ahead),
                    _ => product.chain::<S, 2>(s, ahead),
                }
            }
        }
    }
}

/// One chain of the product at one point for one panel.
struct Product<'a> {
    offsets: &'a [isize],
    packed: *const f32,
    from: *const f32,
    tiles: usize,
    totals: *mut f32,
    begins: bool,
}

impl Product<'_> {
    /// # Safety
    /// As [`multiply`]; `V` is the number of the panel's blocks.
    #[inline(always)]
    unsafe fn chain<S: Simd, const V: usize>(&self, s: S, ahead: &mut Ahead) {
        let chain = Chain {
            offsets: self.offsets,
            weights: self.packed,
            step: LANES * V * LANES,
            bias: self.begins.then_some(ZEROS.as_ptr()),
            lanewise: false,
            neighbours: true,
        };
        for tile in Tiling::of::<S, V>(self.tiles).tiles() {
            let from = |t: usize| self.from.wrapping_add((tile.start + t) * LANES);
            let totals = self.totals.wrapping_add(tile.start * V * LANES);
            // SAFETY: the function's own promise.
            unsafe { chain.tile::<S, V>(s, from, tile.len(), totals, ahead) };
        }
    }
}
