//! The gradient where channels have many partners: tiles of some vectors of output channels times a few input channels.
//!
//! A part packs a few strips at a time, which the second-level cache holds, and then adds the products of all its tiles to their
//! totals. Not here: how the weight and the pixels are cut ([`super::cells`], [`super::strips`]).

use std::ops::Range;

use super::cells::{Cell, Cells};
use super::pack::{Inputs, pack_gradient, step_of};
use super::prologue::spread;
use super::strips::Strips;
use super::tile::Tile;
use super::totals::Totals;
use super::walk::Geometry;
use super::Run;
use crate::conv::Prologue;
use crate::conv::tile::Tiling;
use crate::memory::Shared;
use crate::simd::{Body, Simd};
use crate::{Isa, LANES, Team};

/// Floats of packed strips that the second-level cache holds beside totals.
const PACKED: usize = 192 * 1024;

/// Strips that are packed at a time, at most.
const MOST_STRIPS: usize = 8;

/// Tiles that go over a strip before the next strip: they share the output's gradients in the first-level cache.
const TILES_TOGETHER: usize = 4;

/// The work, cut.
#[derive(Debug)]
pub(super) struct Tiles {
    /// Channels of a group on the input's side and on the output's.
    group: [usize; 2],
    prologue: Option<Prologue>,
    strips: Strips,
    cells: Cells,
    /// Vectors and channels of a full tile, for tables.
    tile: [usize; 2],
}

impl Tiles {
    pub fn new(isa: Isa, geometry: &Geometry, group: [usize; 2], prologue: Option<Prologue>) -> Self {
        let strips = Strips::new(geometry);
        let cells = Cells::new(isa, geometry, group, &strips);
        let tile = cells.cells.first().map_or([0, 0], |cell| {
            let vectors = cell.panels[0].len();
            let most = if vectors == 1 { crate::conv::tile::SUMS } else { isa.full_tile()[1] };
            [vectors, cell.channels.len().div_ceil(cell.channels.len().div_ceil(most))]
        });
        Self { group, prologue, strips, cells, tile }
    }

    pub fn name(&self) -> String {
        let [vectors, channels] = self.tile;
        format!("tiles {}x{channels}", vectors * LANES)
    }

    /// Floats of scratch each thread needs.
    pub fn scratch_len(&self, geometry: &Geometry) -> usize {
        let of = |cell: &Cell| {
            let room = self.room(geometry, cell);
            room.totals + room.numbers + room.strips * (room.inputs + room.outputs)
        };
        self.sums_len() + self.cells.cells.iter().map(of).max().unwrap_or(0)
    }

    /// Floats of the sums of all groups of pixels, if there are several.
    fn sums_len(&self) -> usize {
        if self.cells.groups > 1 { self.cells.groups * self.cells.totals_len() } else { 0 }
    }

    fn room(&self, geometry: &Geometry, cell: &Cell) -> Room {
        let lines = |floats: usize| floats.next_multiple_of(2 * LANES);
        let step = step_of(&geometry.input.blocks()[cell.blocks.clone()]);
        let [places, pixels] = self.strips.most_places();
        let (inputs, outputs) = (places * step, lines(pixels * cell.outputs().len() * LANES));
        Room {
            totals: lines(cell.totals_len()),
            numbers: if self.prologue.is_some() { 2 * cell.blocks.len() * LANES } else { 0 },
            step,
            inputs,
            outputs,
            strips: (PACKED / (inputs + outputs).max(1)).clamp(1, MOST_STRIPS),
        }
    }

    /// Computes the gradient.
    ///
    /// # Safety
    /// The images hold the values, each worker of the team has [`Tiles::scratch_len`] floats of scratch that nobody else touches,
    /// the gradient has a number for each weight, and a prologue has one for every input channel.
    pub unsafe fn run(&self, run: &Run<'_>, shared: Shared, team: &mut Team) {
        let (cells, strips) = (&self.cells.cells, self.strips.count(run.images.count));
        let groups = self.cells.groups.min(strips).max(1);
        let own = |worker| shared.scratch(worker).wrapping_add(self.sums_len());
        let totals = |group: usize, cell: &Cell| shared.scratch(0).wrapping_add(group * self.cells.totals_len() + cell.start);
        team.run(groups * cells.len(), &|part, worker| {
            let (group, cell) = (part / cells.len(), &cells[part % cells.len()]);
            let strips = group * strips / groups..(group + 1) * strips / groups;
            let (scratch, room) = (own(worker), self.room(run.geometry, cell));
            let alone = self.cells.groups == 1;
            let totals = if alone { scratch } else { totals(group, cell) };
            let scratch = scratch.wrapping_add(room.totals);
            run.isa.run(PartOf { tiles: self, run, cell, strips, room, scratch, totals, writes: alone });
        });
        if self.cells.groups > 1 {
            team.run(cells.len(), &|part, _| {
                let totals = totals(0, &cells[part]);
                run.isa.run(JoinOf { tiles: self, run, cell: &cells[part], totals, groups });
            });
        }
    }

    /// Totals of a cell to the gradient.
    ///
    /// # Safety
    /// The totals are complete, and the cell's weights belong to the caller.
    #[inline(always)]
    unsafe fn write<S: Simd>(&self, s: S, run: &Run<'_>, cell: &Cell, totals: *const f32) {
        for panel in &cell.panels {
            let before = (panel.start - cell.outputs().start) * LANES * cell.channels.len() * cell.taps.len();
            let totals = Totals {
                geometry: run.geometry,
                group: self.group,
                blocks: panel.clone(),
                channels: cell.channels.clone(),
                taps: cell.taps.clone(),
                start: totals.wrapping_add(before),
            };
            // SAFETY: the function's own promise.
            unsafe { totals.write(s, run.d_weight) };
        }
    }
}

/// A cell's share of a thread's scratch, in floats.
struct Room {
    totals: usize,
    numbers: usize,
    /// From one place of the packed input to the next.
    step: usize,
    /// A strip of the input.
    inputs: usize,
    /// A strip of the output's gradient.
    outputs: usize,
    /// Strips that are packed at a time.
    strips: usize,
}

/// One cell and some strips. Whoever makes it answers for the memory.
struct PartOf<'a> {
    tiles: &'a Tiles,
    run: &'a Run<'a>,
    cell: &'a Cell,
    strips: Range<usize>,
    room: Room,
    scratch: *mut f32,
    totals: *mut f32,
    /// Whether the totals are complete then and go to the gradient.
    writes: bool,
}

impl Body for PartOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (run, cell) = (self.run, self.cell);
        // SAFETY: the scratch has room for the numbers, the totals for the cell's.
        unsafe {
            spread(run.numbers, &run.geometry.input, cell.blocks.clone(), self.scratch);
            if self.strips.is_empty() {
                self.totals.write_bytes(0, cell.totals_len());
            }
        }
        for first in self.strips.clone().step_by(self.room.strips) {
            let strips = first..(first + self.room.strips).min(self.strips.end);
            // SAFETY: the images hold the values, the scratch has room for so many strips.
            unsafe { self.pack_inputs(s, strips.clone()) };
            for panel in &cell.panels {
                // SAFETY: as above; a panel has as many blocks as said.
                unsafe {
                    match panel.len() {
                        1 => self.panel::<S, 1>(s, panel, strips.clone()),
                        4 if S::VECTORS == 4 => self.panel::<S, 4>(s, panel, strips.clone()),
                        _ => self.panel::<S, 2>(s, panel, strips.clone()),
                    }
                }
            }
        }
        if self.writes {
            // SAFETY: all strips are summed.
            unsafe { self.tiles.write(s, run, cell, self.totals) };
        }
    }
}

impl PartOf<'_> {
    /// Where the input of a packed strip lies, counted from the first.
    fn inputs(&self, strip: usize) -> *mut f32 {
        self.scratch.wrapping_add(self.room.numbers + strip * self.room.inputs)
    }

    /// Where a panel of the output's gradient lies.
    fn outputs(&self, strip: usize) -> *mut f32 {
        self.inputs(self.room.strips).wrapping_add(strip * self.room.outputs)
    }

    /// # Safety
    /// The images hold the input, and the scratch has room.
    #[inline(always)]
    unsafe fn pack_inputs<S: Simd>(&self, s: S, strips: Range<usize>) {
        let run = self.run;
        let inputs = Inputs {
            geometry: run.geometry,
            blocks: self.cell.blocks.clone(),
            prologue: self.tiles.prologue,
            numbers: self.scratch,
            step: self.room.step,
        };
        for (i, strip) in strips.enumerate() {
            let (strip, images) = self.tiles.strips.at(strip, run.images.count);
            // SAFETY: the function's own promise.
            unsafe { inputs.pack(s, strip, images, &run.images, self.inputs(i)) };
        }
    }

    /// Adds the products of a panel in some strips, whose input is packed, to its totals.
    ///
    /// # Safety
    /// The images hold the output's gradient, the scratch has room for it, and the totals belong to the part; `V` is the number of
    /// the panel's blocks.
    #[inline(always)]
    unsafe fn panel<S: Simd, const V: usize>(&self, s: S, panel: &Range<usize>, strips: Range<usize>) {
        let (run, cell) = (self.run, self.cell);
        let of = |strip: usize| self.tiles.strips.at(strip, run.images.count);
        for (i, strip) in strips.clone().enumerate() {
            let (strip, images) = of(strip);
            // SAFETY: the function's own promise.
            unsafe { pack_gradient::<S, V>(s, run.geometry, panel.clone(), strip, images, &run.images, self.outputs(i)) };
        }
        let taps = cell.taps.len();
        let totals =
            self.totals.wrapping_add((panel.start - cell.outputs().start) * LANES * cell.channels.len() * taps);
        let first_channel = cell.channels.start - run.geometry.input.blocks()[cell.blocks.start].first;
        let tiling = Tiling::of::<S, V>(cell.channels.len());
        for first in (0..tiling.count()).step_by(TILES_TOGETHER) {
            for (i, number) in strips.clone().enumerate() {
                let (strip, images) = of(number);
                for channels in tiling.tiles().skip(first).take(TILES_TOGETHER) {
                    for (t, tap) in cell.taps.clone().enumerate() {
                        let tile = Tile {
                            pairs: self.tiles.strips.pairs_of(strip, tap, images.len()),
                            dy: self.outputs(i),
                            x: self.inputs(i).wrapping_add(first_channel + channels.start),
                            step: self.room.step,
                            totals: totals.wrapping_add((channels.start * taps + t) * V * LANES),
                            totals_step: taps * V * LANES,
                            begins: number == self.strips.start,
                        };
                        // SAFETY: pairs are places of the packed strip, which has the tile's channels and blocks.
                        unsafe { tile.sum::<S, V>(s, channels.len()) };
                    }
                }
            }
        }
    }
}

/// The sums of several groups of pixels, added up in their order and written.
struct JoinOf<'a> {
    tiles: &'a Tiles,
    run: &'a Run<'a>,
    cell: &'a Cell,
    /// Those of the first group, to which the others' are added.
    totals: *mut f32,
    groups: usize,
}

impl Body for JoinOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for group in 1..self.groups {
            let more = self.totals.wrapping_add(group * self.tiles.cells.totals_len());
            for at in (0..self.cell.totals_len()).step_by(LANES) {
                let to = self.totals.wrapping_add(at);
                // SAFETY: every group has the cell's totals, whole vectors.
                unsafe { s.store(s.add(s.load(to), s.load(more.wrapping_add(at))), to) };
            }
        }
        // SAFETY: they are complete, and the cell is this part's.
        unsafe { self.tiles.write(s, self.run, self.cell, self.totals) };
    }
}
