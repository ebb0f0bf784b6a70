//! The gradient where channels have many partners: tiles of one or two output blocks times a few input channels.
//!
//! The output's gradients are loaded as vectors, the input's channels are spread one by one, so a tile may take any input
//! channels from any blocks: those that share a group with the output, without pad lanes. Not here: which pixels are summed
//! ([`super::walk`]).

use std::ops::Range;
use std::sync::atomic::{Ordering, compiler_fence};

use super::walk::{Geometry, Walk};
use super::{Gradient, Images};
use crate::simd::{Body, Simd};
use crate::{Block, LANES};

/// Output blocks of a full tile.
const BLOCKS: usize = 2;

/// Input channels of a full tile. Times two output blocks that is twelve sums in registers, which leaves room for their
/// operands and keeps two multiply-add pipes of five cycles' latency busy.
const CHANNELS: usize = 6;

/// Input channels of a tile with a single output block, which has sums to spare.
const CHANNELS_OF_ONE: usize = 8;

/// Parts that keep a team busy, also towards the end of a run.
const ENOUGH_PARTS: usize = 16;

/// Tiles of a part if there are enough parts: they share the output's gradients while these are in the first-level cache.
const TILES_A_PART: usize = 5;

/// The work, cut.
#[derive(Debug)]
pub(super) struct Tiles {
    /// Channels of a group on the input's side and on the output's.
    group: [usize; 2],
    rows: Vec<Row>,
    parts: Vec<Part>,
}

/// A few neighbouring output blocks and all input channels that share a group with any of their channels.
#[derive(Debug)]
struct Row {
    blocks: Range<usize>,
    /// The first of its input channels, which are neighbours.
    first: usize,
    /// Floats from an image's start to pixel 0 of each.
    offsets: Vec<usize>,
    /// The tiles' channels, as even as can be: a tile with few would leave the pipes idle.
    tiles: Vec<Range<usize>>,
}

/// What one thread does at a time.
#[derive(Clone, Debug)]
struct Part {
    row: usize,
    tiles: Range<usize>,
    taps: Range<usize>,
}

impl Tiles {
    pub fn new(geometry: &Geometry, group: [usize; 2]) -> Self {
        let blocks = geometry.d_output.blocks().len();
        // Groups that end within a tile would leave most of its pairs of channels without a meaning.
        let grouped = geometry.input.channels() > group[0];
        let height = if grouped && group[1] < BLOCKS * LANES { 1 } else { BLOCKS };
        let starts = (0..blocks).step_by(height);
        let rows: Vec<Row> = starts.map(|b| Row::new(geometry, group, b..(b + height).min(blocks))).collect();
        let [kh, kw] = geometry.window.kernel;
        // Coarse cuts read the least; a layer with little to cut is cut finer.
        let cuts = [(TILES_A_PART, kh * kw), (1, kh * kw), (1, kw), (1, 1)];
        let parts = cuts.map(|(tiles, taps)| cut(&rows, tiles, taps, kh * kw));
        let enough = parts.iter().find(|p| p.len() >= ENOUGH_PARTS).unwrap_or(&parts[3]).clone();
        Self { group, rows, parts: enough }
    }

    pub fn name(&self) -> String {
        let tile = |r: &Row| [r.blocks.len() * LANES, r.tiles.iter().map(|t| t.len()).max().unwrap_or(0)];
        let [outputs, inputs] = self.rows.first().map_or([0, 0], tile);
        format!("tiles {outputs}x{inputs}")
    }

    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Floats of the totals of the largest part.
    pub fn totals_len(&self) -> usize {
        let of = |p: &Part| p.taps.len() * self.channels(p).len() * self.rows[p.row].blocks.len() * LANES;
        self.parts.iter().map(of).max().unwrap_or(0)
    }

    /// A part's channels in its row.
    fn channels(&self, part: &Part) -> Range<usize> {
        let tiles = &self.rows[part.row].tiles[part.tiles.clone()];
        tiles[0].start..tiles[tiles.len() - 1].end
    }
}

impl Row {
    fn new(geometry: &Geometry, group: [usize; 2], blocks: Range<usize>) -> Self {
        let outputs = &geometry.d_output.blocks()[blocks.clone()];
        let (from, to) = (&outputs[0], &outputs[outputs.len() - 1]);
        let groups = from.first / group[1]..(to.first + to.count).div_ceil(group[1]);
        let channels = groups.start * group[0]..groups.end * group[0];
        let lanes = |b: &Block| (b.first..b.first + b.count).zip(b.offset..).collect::<Vec<_>>();
        let all = geometry.input.blocks().iter().flat_map(lanes);
        let offsets: Vec<usize> = all.filter(|(c, _)| channels.contains(c)).map(|(_, offset)| offset).collect();
        let most = if blocks.len() == 1 { CHANNELS_OF_ONE } else { CHANNELS };
        let (n, count) = (offsets.len(), offsets.len().div_ceil(most));
        let tiles = (0..count).map(|t| t * n / count..(t + 1) * n / count).collect();
        Self { blocks, first: channels.start, offsets, tiles }
    }
}

/// Parts of up to so many tiles and taps. Neighbouring parts share input channels, which are then in the second-level cache.
fn cut(rows: &[Row], tiles: usize, taps: usize, all_taps: usize) -> Vec<Part> {
    let most = rows.iter().map(|r| r.tiles.len()).max().unwrap_or(0);
    let mut parts = Vec::new();
    for tile in (0..most).step_by(tiles) {
        for (row, of) in rows.iter().enumerate().filter(|(_, r)| tile < r.tiles.len()) {
            let tiles = tile..(tile + tiles).min(of.tiles.len());
            let part = |tap| Part { row, tiles: tiles.clone(), taps: tap..(tap + taps).min(all_taps) };
            parts.extend((0..all_taps).step_by(taps).map(part));
        }
    }
    parts
}

/// One part of all images. Whoever makes it has checked that the images hold the values, the totals' memory
/// [`Tiles::totals_len`] floats that nobody else touches, and the gradient a number for each weight.
pub(super) struct PartOf<'a> {
    pub geometry: &'a Geometry,
    pub tiles: &'a Tiles,
    pub part: usize,
    pub images: Images,
    pub totals: *mut f32,
    pub d_weight: Gradient,
}

impl Body for PartOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let part = &self.tiles.parts[self.part];
        let row = &self.tiles.rows[part.row];
        let channels = self.tiles.channels(part);
        let tap_len = channels.len() * row.blocks.len() * LANES;
        // SAFETY: the totals have `tap_len` floats for each of the part's taps.
        unsafe { self.totals.write_bytes(0, part.taps.len() * tap_len) };
        let kw = self.geometry.window.kernel[1];
        for strip in self.geometry.strips(self.images.count) {
            for tile in &row.tiles[part.tiles.clone()] {
                for (t, tap) in part.taps.clone().enumerate() {
                    let at = t * tap_len + (tile.start - channels.start) * row.blocks.len() * LANES;
                    let walk = self.geometry.walk(&strip, [tap / kw, tap % kw], &self.images);
                    // SAFETY: `walk` gives pixels of the values' planes, and a tile has a vector in the totals for each
                    // of its channels and blocks.
                    unsafe { self.tile(s, row, tile, &walk, self.totals.wrapping_add(at)) };
                }
            }
        }
        // SAFETY: the totals are complete.
        unsafe { self.write(part, row, &channels, tap_len) };
    }
}

impl PartOf<'_> {
    /// Adds one strip's products of a tile to its totals.
    ///
    /// # Safety
    /// As [`sum`], for the tile's channels and blocks.
    #[inline(always)]
    unsafe fn tile<S: Simd>(&self, s: S, row: &Row, tile: &Range<usize>, walk: &Walk, totals: *mut f32) {
        let channels = &row.offsets[tile.clone()];
        let blocks = &self.geometry.d_output.blocks()[row.blocks.clone()];
        // SAFETY: the function's own promise; channels and blocks are as many as the case says.
        macro_rules! dispatch {
            ($($blocks:literal x $channels:literal),*) => {
                match (blocks.len(), channels.len()) {
                    $(($blocks, $channels) => unsafe {
                        let dy: [usize; $blocks] = std::array::from_fn(|v| blocks[v].offset);
                        let x: [usize; $channels] = std::array::from_fn(|l| channels[l]);
                        sum(s, dy, x, walk, totals)
                    },)*
                    (blocks, channels) => unreachable!("a tile of {blocks} blocks times {channels} channels"),
                }
            };
        }
        dispatch!(2 x 6, 2 x 5, 2 x 4, 2 x 3, 2 x 2, 2 x 1, 1 x 8, 1 x 7, 1 x 6, 1 x 5, 1 x 4, 1 x 3, 1 x 2, 1 x 1);
    }

    /// Totals to the weight's own order; those of pairs that share no group are dropped.
    ///
    /// # Safety
    /// The totals hold the part's sums.
    #[inline(always)]
    unsafe fn write(&self, part: &Part, row: &Row, channels: &Range<usize>, tap_len: usize) {
        let [inputs, outputs] = self.tiles.group;
        let taps = self.geometry.window.kernel.iter().product::<usize>();
        let width = row.blocks.len() * LANES;
        let numbers = row.first + channels.start..row.first + channels.end;
        for (v, block) in self.geometry.d_output.blocks()[row.blocks.clone()].iter().enumerate() {
            for (lane, out) in (block.first..block.first + block.count).enumerate() {
                let partners = out / outputs * inputs..(out / outputs + 1) * inputs;
                let (first, end) = (numbers.start.max(partners.start), numbers.end.min(partners.end));
                for (t, tap) in part.taps.clone().enumerate() {
                    let from = t * tap_len + v * LANES + lane;
                    let to = (out * inputs + first - partners.start) * taps + tap;
                    for c in 0..end.saturating_sub(first) {
                        let from = from + (first - numbers.start + c) * width;
                        // SAFETY: the place lies in the totals, and this weight of the list belongs to this part alone.
                        unsafe { *self.d_weight.0.add(to + c * taps) = *self.totals.add(from) };
                    }
                }
            }
        }
    }
}

/// Sums the products of `L` input channels and `V` output blocks over a walk and adds them to `totals[channel][block]`.
///
/// # Safety
/// From every place of the walk, eight floats are readable at each offset in `dy` and one at each in `x`; `totals` has
/// `L * V` vectors.
#[inline(always)]
unsafe fn sum<S: Simd, const V: usize, const L: usize>(
    s: S,
    dy: [usize; V],
    x: [usize; L],
    walk: &Walk,
    totals: *mut f32,
) {
    let mut sums = [[s.splat(0.0); L]; V];
    let [far, mid, near] = walk.axes;
    for (i, j) in (0..far.count).flat_map(|i| (0..mid.count).map(move |j| (i, j))) {
        let mut at_x = walk.x.wrapping_add(i * far.x + j * mid.x);
        let mut at_dy = walk.dy.wrapping_add(i * far.dy + j * mid.dy);
        for _ in 0..near.count {
            // SAFETY: the function's own promise.
            unsafe {
                let gradients: [S::V; V] = std::array::from_fn(|v| s.load(at_dy.wrapping_add(dy[v])));
                for l in 0..L {
                    let pixel = s.broadcast(at_x.wrapping_add(x[l]));
                    for v in 0..V {
                        sums[v][l] = s.fma(gradients[v], pixel, sums[v][l]);
                    }
                }
            }
            // Without the fence the compiler hoists loads of later pixels and has no registers left for the sums.
            compiler_fence(Ordering::SeqCst);
            at_x = at_x.wrapping_add(near.x);
            at_dy = at_dy.wrapping_add(near.dy);
        }
    }
    for l in 0..L {
        for v in 0..V {
            let to = totals.wrapping_add((l * V + v) * LANES);
            // SAFETY: the function's own promise.
            unsafe { s.store(s.add(s.load(to), sums[v][l]), to) };
        }
    }
}
