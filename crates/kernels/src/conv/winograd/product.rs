//! The second stage: at every point, tiles times input channels times output channels.

use std::ops::Range;

use super::input::Points;
use super::{Winograd, WinogradWeights};
use crate::LANES;
use crate::conv::PANEL;
use crate::conv::tile::{CHAIN, Chain, SUMS, bounds};
use crate::simd::Simd;

/// Every chain begins with these.
static ZEROS: [f32; PANEL * LANES] = [0.0; PANEL * LANES];

/// Where sums lie in a thread's scratch: for every panel of a group, every point and every tile the panel's vectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    pub start: *mut f32,
    /// Floats from one panel to the next.
    pub panel_len: usize,
    /// Floats from one point to the next.
    pub point_len: usize,
}

/// Sums up all products of a group of panels.
///
/// # Safety
/// `points` holds the source at so many tiles and `sums` has room for the group; nobody else touches the latter.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd>(
    s: S,
    winograd: &Winograd,
    weights: &WinogradWeights,
    group: usize,
    tiles: usize,
    points: Points,
    sums: Sums,
) {
    let blocks = winograd.group(group).len();
    let packed = weights.packed[group * winograd.floats_of_a_group()..].as_ptr();
    for point in 0..winograd.tile.points() {
        let mut packed = packed.wrapping_add(point * winograd.floats_of_a_point(blocks));
        let from = points.start.wrapping_add(point * points.point_len);
        for (panel, first) in (0..blocks).step_by(PANEL).enumerate() {
            let totals = sums.start.wrapping_add(panel * sums.panel_len + point * sums.point_len);
            let vectors = PANEL.min(blocks - first);
            let product = Product { winograd, packed, from, tile_len: points.tile_len, tiles, totals };
            // SAFETY: the function's own promise; the weights of a group lie point by point, panel by panel.
            unsafe {
                match vectors {
                    1 => product.chains::<S, 1>(s),
                    _ => product.chains::<S, 2>(s),
                }
            }
            packed = packed.wrapping_add(winograd.offsets.len() * LANES * vectors * LANES);
        }
    }
}

/// The product at one point for one panel.
struct Product<'a> {
    winograd: &'a Winograd,
    packed: *const f32,
    from: *const f32,
    tile_len: usize,
    tiles: usize,
    totals: *mut f32,
}

impl Product<'_> {
    /// A chain of k-blocks goes over all tiles before the next begins, so that its weights come from the first-level cache.
    ///
    /// # Safety
    /// As [`multiply`]; `V` is the number of the panel's blocks.
    #[inline(always)]
    unsafe fn chains<S: Simd, const V: usize>(&self, s: S) {
        let step = LANES * V * LANES;
        let offsets = &self.winograd.offsets;
        for first in (0..offsets.len()).step_by(CHAIN) {
            let chain = Chain {
                offsets: &offsets[first..(first + CHAIN).min(offsets.len())],
                weights: self.packed.wrapping_add(first * step),
                bias: (first == 0).then_some(ZEROS.as_ptr()),
                lanewise: false,
            };
            let next = chain.weights.wrapping_add(chain.offsets.len() * step);
            let tiles = self.tiles.div_ceil(SUMS / V);
            // The lines of the next weights, which lie behind these, spread over the tiles.
            let ahead = chain.offsets.len() * step / 16;
            for tile in 0..tiles {
                let Range { start: at, end } = bounds::<V>(tile, self.tiles);
                for line in tile * ahead / tiles..(tile + 1) * ahead / tiles {
                    s.prefetch(next.wrapping_add(line * 16));
                }
                let from = |t: usize| self.from.wrapping_add((at + t) * self.tile_len);
                // SAFETY: the function's own promise.
                unsafe { chain.tile::<S, V>(s, from, end - at, self.totals.wrapping_add(at * V * LANES)) };
            }
        }
    }
}
