//! Running: blocks of tiles and groups of target blocks are parts; each goes through the three stages.

use std::ops::Range;

use super::filter::Filter;
use super::input::{Points, Run, transform};
use super::output::{PairSums, finish};
use super::product::{GroupOf, Sums, multiply};
use super::scheme::with_scheme;
use super::weights::PackGroup;
use super::{CHAIN, GROUP, PAIR, Winograd, WinogradWeights, odd_lines};
use crate::conv::ground::Ground;
use crate::conv::tile::LINE;
use crate::conv::{Numbers, PART_WORK, PARTS};
use crate::memory::Shared;
use crate::moments::{Region, Take, Tallies, taking};
use crate::simd::{Body, Simd};
use crate::{LANES, Memory, Team};

/// Floats of a block of tiles in the points' form, about: the second-level cache should hold much of it. What is best is
/// flat, measured from half of this to twice as much.
const POINTS: usize = 192 * 1024;

/// Tiles of a block, at least and at most: with fewer, weights are read too often, and with more nothing is gained.
const BLOCK: [usize; 2] = [24, 48];

/// Groups of a part, at least, where the tiles alone would make too few parts: each part transforms its tiles.
const GROUPS_A_PART: usize = 2;

/// How the work is cut: by the layer's shape and the number of images alone. No sum depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Tiles of all images.
    pub tiles: usize,
    /// Blocks of about equally many tiles.
    pub blocks: usize,
    /// Parts that share a block of tiles, each with some of the groups.
    pub shares: usize,
}

impl Winograd {
    pub(super) fn cut(&self, images: usize) -> Cut {
        let pairs = self.source.blocks().len() * self.target.blocks().len() * LANES * LANES;
        let work = self.tiles_of_an_image() * self.tile.points() * pairs;
        let parts = (work / PART_WORK).clamp(1, PARTS);
        let tiles = images * self.tiles_of_an_image();
        let blocks = tiles.div_ceil(self.most_tiles());
        let shares = parts.div_ceil(blocks.max(1)).min(self.groups() / GROUPS_A_PART).max(1);
        // A layer of one block and few channels is cut in two all the same.
        let blocks = if blocks * shares == 1 { parts.min(2).min(tiles) } else { blocks };
        Cut { tiles, blocks, shares }
    }

    /// Tiles of a block, at most.
    fn most_tiles(&self) -> usize {
        let floats = self.tile.points() * odd_lines(self.source.blocks().len() * LANES);
        (POINTS / floats).clamp(BLOCK[0], BLOCK[1])
    }

    /// Floats from one block of the source to the next at a point.
    pub(super) fn block_len(&self) -> usize {
        odd_lines(self.most_tiles() * LANES)
    }

    /// Where the points of a block of tiles lie, and where they end.
    fn points(&self, start: *mut f32) -> (Points, *mut f32) {
        let block_len = self.block_len();
        let points = Points { start, block_len, point_len: odd_lines(self.offsets.len() * block_len) };
        (points, start.wrapping_add(self.tile.points() * points.point_len))
    }

    /// Where the sums of so many tiles and a group lie, and where they end.
    fn sums(&self, group: usize, tiles: usize, start: *mut f32) -> (Sums, *mut f32) {
        let panel = self.panel(group);
        let point_len = odd_lines(tiles * panel * PAIR);
        let sums = Sums { start, panel_len: self.tile.points() * point_len, point_len, panel };
        (sums, start.wrapping_add(self.pairs(group) / panel * sums.panel_len))
    }

    /// Where the points of the weights of a chain and a group lie, and where they end.
    fn filter(&self, group: usize, start: *mut f32) -> (Filter, *mut f32) {
        let (panel, pairs, channels) = (self.panel(group), self.pairs(group), CHAIN.min(self.offsets.len()) * LANES);
        let filter = Filter {
            start,
            point_len: odd_lines(channels * pairs * PAIR),
            panel_len: channels * panel * PAIR,
            panel,
            pairs,
        };
        (filter, start.wrapping_add(self.tile.distinct().pow(2) * filter.point_len))
    }

    /// Pairs of a panel: those of a tile, unless the group has fewer.
    fn panel(&self, group: usize) -> usize {
        (self.isa.full_tile()[0] / 2).min(self.pairs(group))
    }

    /// Floats of scratch each thread needs: the columns of a run, points, then what belongs to a group.
    pub fn scratch_len(&self) -> usize {
        let (_, end) = self.points(std::ptr::null_mut());
        let (_, end) = self.filter(0, end);
        let (_, end) = self.sums(0, self.most_tiles(), end);
        self.columns_len() + end.addr() / size_of::<f32>()
    }

    /// Computes all images of the memory.
    ///
    /// # Panics
    /// If the memory has no room for the values, or no scratch for every thread, or the weights are another's.
    pub fn run(&self, weights: &WinogradWeights, memory: &mut Memory, team: &mut Team) {
        self.run_taking(weights, None, memory, team);
    }

    /// The same, taking the moments of what it writes if it is asked for them.
    ///
    /// # Panics
    /// As [`Winograd::run`]; if the moments are of other channels.
    pub fn run_taking(&self, weights: &WinogradWeights, take: Option<Take<'_>>, memory: &mut Memory, team: &mut Team) {
        memory.check(self.end, self.scratch_len(), team);
        assert!(weights.fit(self), "weights of another convolution");
        self.run_parts((weights, None), take, memory, team);
    }

    /// The same with what [`Winograd::pack`] packs; `weights` is memory for that. Where each group's weights are read once, its thread
    /// packs them just before, so that they never travel to memory. No bit depends on it.
    ///
    /// # Panics
    /// As [`Winograd::pack`] and [`Winograd::run_taking`]; the scratch is that of [`Winograd::unpacked_scratch_len`].
    pub fn run_unpacked(
        &self,
        weight: &[f32],
        bias: Option<&[f32]>,
        (weights, take): (&mut WinogradWeights, Option<Take<'_>>),
        memory: &mut Memory,
        team: &mut Team,
    ) {
        if self.cut(memory.images()).blocks > 1 {
            self.repack(weights, Numbers::Whole(weight), bias, team);
            return self.run_taking(weights, take, memory, team);
        }
        memory.check(self.end, self.unpacked_scratch_len(), team);
        self.pack_bias(weights, weight.len(), bias);
        self.run_parts((weights, Some(weight)), take, memory, team);
    }

    /// Floats of scratch that each thread needs for [`Winograd::run_unpacked`].
    pub fn unpacked_scratch_len(&self) -> usize {
        let group = if self.cut(1).blocks > 1 { 0 } else { self.floats_of(0) };
        self.scratch_len().next_multiple_of(LINE) + group
    }

    /// With packed weights, or a packed bias and the weight as it was learnt.
    fn run_parts(
        &self,
        (weights, unpacked): (&WinogradWeights, Option<&[f32]>),
        take: Option<Take<'_>>,
        memory: &mut Memory,
        team: &mut Team,
    ) {
        let Cut { tiles, blocks, shares } = self.cut(memory.images());
        let bounds = |i: usize, of: usize, all: usize| i * all / of..(i + 1) * all / of;
        taking(take, blocks, &self.target, memory, team, |tallies, memory, team| {
            let shared = memory.share();
            team.run(blocks * shares, &|part, worker| {
                let (block, share) = (part / shares, part % shares);
                self.isa.run(PartOf {
                    winograd: self,
                    weights,
                    unpacked,
                    shared,
                    ground: Ground::of(shared, 0, worker),
                    tiles: bounds(block, blocks, tiles),
                    groups: bounds(share, shares, self.groups()),
                    tallies: tallies.map(|tallies| (tallies, block)),
                });
            });
        });
    }

    /// Computes the tiles of some rows of tiles of one image, which is the ground's. Whoever calls it has checked the memory behind
    /// them, and that nobody else touches these rows of the target.
    pub(in crate::conv) fn run_rows(
        &self,
        weights: &WinogradWeights,
        (shared, image): (Shared, usize),
        rows: Range<usize>,
        ground: Ground,
    ) {
        let first = image * self.tiles_of_an_image() + rows.start * self.tiles[1];
        let all = rows.len() * self.tiles[1];
        let blocks = all.div_ceil(self.most_tiles());
        for block in 0..blocks {
            let tiles = first + block * all / blocks..first + (block + 1) * all / blocks;
            self.isa.run(PartOf {
                winograd: self,
                weights,
                unpacked: None,
                shared,
                ground,
                tiles,
                groups: 0..self.groups(),
                tallies: None,
            });
        }
    }
}

/// Some tiles and some groups of target blocks, as a body for any instruction set. Whoever makes it has checked that the memory
/// holds all values and the scratch, and gives every part to one thread.
struct PartOf<'a> {
    winograd: &'a Winograd,
    weights: &'a WinogradWeights,
    /// The weight as it was learnt, where only the bias is packed.
    unpacked: Option<&'a [f32]>,
    shared: Shared,
    /// Of any image.
    ground: Ground,
    tiles: Range<usize>,
    groups: Range<usize>,
    /// Where its results are added up, and in which slot.
    tallies: Option<(Tallies, usize)>,
}

impl Body for PartOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let winograd = self.winograd;
        let columns = self.ground.scratch;
        let (points, end) = winograd.points(columns.wrapping_add(winograd.columns_len()));
        for run in winograd.runs(self.tiles.clone()) {
            let ground = Ground { image: self.shared.image(run.image), ..self.ground };
            let start = points.start.wrapping_add((run.first - self.tiles.start) * LANES);
            let to = Points { start, ..points };
            // SAFETY: image and band hold the source; the scratch, which is the worker's, columns, points and sums.
            unsafe { with_scheme!(winograd.tile, transform::<S>(s, winograd, &run, ground, columns, to)) }
        }
        for group in self.groups.clone() {
            let (filter, end) = winograd.filter(group, end);
            let (sums, _) = winograd.sums(group, self.tiles.len(), end);
            let packed = self.packed(group);
            let product = GroupOf { winograd, packed, group, tiles: self.tiles.len(), points, filter, sums };
            // SAFETY: all tiles have been transformed, and the rest of the scratch is the worker's.
            unsafe { with_scheme!(winograd.tile, multiply::<S>(s, &product)) };
            self.finish(s, group, sums);
        }
    }
}

impl PartOf<'_> {
    /// The packed weights of a group, which are packed now if they were not before.
    fn packed(&self, group: usize) -> *const f32 {
        let winograd = self.winograd;
        let Some(weight) = self.unpacked else {
            return self.weights.packed[group * winograd.floats_of_a_group()..].as_ptr();
        };
        let room = self.ground.scratch.wrapping_add(winograd.scratch_len().next_multiple_of(LINE));
        // SAFETY: whoever made the part has checked that the scratch, which is the worker's, has room for a group behind what a run
        // takes.
        let packed = unsafe { std::slice::from_raw_parts_mut(room, winograd.floats_of(group)) };
        winograd.isa.run(PackGroup { winograd, packed, group, weight: Numbers::Whole(weight) });
        room.cast_const()
    }

    /// The outputs of a group.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, group: usize, sums: Sums) {
        let winograd = self.winograd;
        let blocks = winograd.group(group);
        for pair in 0..winograd.pairs(group) {
            let first =
                sums.start.wrapping_add(pair / sums.panel * sums.panel_len + pair % sums.panel * PAIR).cast_const();
            let blocks = blocks.start + 2 * pair..blocks.end.min(blocks.start + 2 * pair + 2);
            let bias = &self.weights.bias[blocks.start * LANES..blocks.end * LANES];
            for run in winograd.runs(self.tiles.clone()) {
                let (image, tile_len) = (self.shared.image(run.image), sums.panel * PAIR);
                let start = first.wrapping_add((run.first - self.tiles.start) * tile_len);
                let sums = PairSums { start, tile_len, point_len: sums.point_len };
                // SAFETY: the sums are there, and parts write different tiles or different blocks of the target, which the
                // image's share holds.
                unsafe {
                    with_scheme!(winograd.tile, finish::<S>(s, winograd, &run, blocks.clone(), bias, image, sums))
                }
                if let Some((tallies, slot)) = self.tallies {
                    let (to, region) = ((&winograd.target, image.cast_const()), winograd.region(&run));
                    // SAFETY: these pixels have just been written; a part has its slot's sums of its groups to itself.
                    unsafe { tallies.add(s, (slot, blocks.clone()), to, region) };
                }
            }
        }
    }
}

impl Winograd {
    /// The pixels of the target that a run of tiles gives.
    fn region(&self, run: &Run) -> Region {
        let (height, width) = (self.target.height(), self.target.width());
        let [row, column] = run.place.map(|n| n * self.tile.outputs());
        Region {
            first: (row * width + column) * LANES,
            rows: self.tile.outputs().min(height - row),
            columns: (run.tiles * self.tile.outputs()).min(width - column),
            row_len: width * LANES,
        }
    }

    /// Groups of target blocks.
    pub(super) fn groups(&self) -> usize {
        self.target.blocks().len().div_ceil(GROUP)
    }

    /// The target blocks of a group.
    pub(super) fn group(&self, group: usize) -> Range<usize> {
        group * GROUP..((group + 1) * GROUP).min(self.target.blocks().len())
    }

    /// Pairs of target blocks of a group.
    pub(super) fn pairs(&self, group: usize) -> usize {
        self.group(group).len().div_ceil(2)
    }
}
