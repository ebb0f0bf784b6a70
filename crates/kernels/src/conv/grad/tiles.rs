//! The gradient where channels have many partners: tiles of some vectors of output channels times a few input channels.
//!
//! A part packs a few strips at a time, which the second-level cache holds, and then adds the products of all its tiles to their
//! totals; or it does so at Winograd's points ([`super::winograd`]). Not here: how the weight and the pixels are cut
//! ([`super::cells`], [`super::strips`]).

use std::ops::Range;

use super::Run;
use super::cells::{Cell, Cells, Sizes, Slab};
use super::pack::{Inputs, pack_gradient};
use super::prologue::spread;
use super::strips::Strips;
use super::tile::Tile;
use super::totals::{Totals, add_groups};
use super::walk::Geometry;
use super::winograd::{self, Winograd};
use crate::conv::tile::Tiling;
use crate::conv::{ConvShape, Prologue};
use crate::memory::Shared;
use crate::simd::{Body, Simd};
use crate::{Isa, LANES, Team};

/// Floats of packed strips that the second-level cache holds beside totals.
const PACKED: usize = 192 * 1024;

/// Strips that are packed at a time, at most.
const MOST_STRIPS: usize = 8;

/// Slabs of the input that go over a strip before the next strip: they share the output's gradients in the first-level cache.
const SLABS_TOGETHER: usize = 2;

/// The work, cut.
#[derive(Debug)]
pub(super) struct Tiles {
    /// Channels of a group on the input's side and on the output's.
    group: [usize; 2],
    prologue: Option<Prologue>,
    way: Way,
    cells: Cells,
    /// Vectors and channels of a full tile, for tables.
    tile: [usize; 2],
}

/// How a cell's totals are computed.
#[derive(Debug)]
enum Way {
    Strips(Strips),
    Winograd(Winograd),
}

impl Tiles {
    pub fn new(isa: Isa, shape: &ConvShape, geometry: &Geometry, prologue: Option<Prologue>) -> Self {
        Self::with(isa, shape, geometry, prologue, Winograd::for_layer(shape, geometry, prologue))
    }

    /// By Winograd's method or directly.
    pub fn with(
        isa: Isa,
        shape: &ConvShape,
        geometry: &Geometry,
        prologue: Option<Prologue>,
        winograd: Option<Winograd>,
    ) -> Self {
        let group = [geometry.input.channels(), geometry.d_output.channels()].map(|c| c / shape.groups);
        let (way, cells) = match winograd {
            Some(winograd) => {
                let cells = Cells::new(isa, geometry, group, &winograd);
                (Way::Winograd(winograd), cells)
            }
            None => {
                let mut strips = Strips::new(geometry);
                let cells = Cells::new(isa, geometry, group, &strips);
                strips.set_step(cells.step);
                (Way::Strips(strips), cells)
            }
        };
        let tile = cells.cells.first().map_or([0, 0], |cell| {
            let vectors = cell.panels[0].len();
            let most = if vectors == 1 { crate::conv::tile::SUMS } else { isa.full_tile()[1] };
            [vectors, cell.channels.len().div_ceil(cell.channels.len().div_ceil(most))]
        });
        Self { group, prologue, way, cells, tile }
    }

    pub fn name(&self) -> String {
        let [vectors, channels] = self.tile;
        let tiles = format!("tiles {}x{channels}", vectors * LANES);
        match &self.way {
            Way::Strips(_) => tiles,
            Way::Winograd(winograd) => format!("{}, {tiles}", winograd.name()),
        }
    }

    /// Floats of scratch each thread needs.
    pub fn scratch_len(&self) -> usize {
        let of = |cell: &Cell| match &self.way {
            Way::Strips(strips) => self.room(strips, cell).len(),
            Way::Winograd(winograd) => winograd.scratch_len(cell),
        };
        let cells = || self.cells.cells.iter();
        let totals = cells().map(totals_room).max().unwrap_or(0);
        self.sums_len() + totals + cells().map(of).max().unwrap_or(0)
    }

    /// Floats of the sums of all groups of pixels, if there are several.
    fn sums_len(&self) -> usize {
        if self.cells.groups > 1 { self.cells.groups * self.cells.totals_len() } else { 0 }
    }

    /// Computes the gradient.
    ///
    /// # Safety
    /// The images hold the values, each worker of the team has [`Tiles::scratch_len`] floats of scratch that nobody else touches,
    /// the gradient has a number for each weight, and a prologue has one for every input channel.
    pub unsafe fn run(&self, run: &Run<'_>, shared: Shared, team: &mut Team) {
        let (cells, apart) = (&self.cells.cells, self.cells.groups > 1);
        let units = match &self.way {
            Way::Strips(strips) => strips.units(run.images.count),
            Way::Winograd(winograd) => winograd.units(run.images.count),
        };
        let groups = self.cells.groups.min(units).max(1);
        let sums =
            |group: usize, cell: &Cell| shared.scratch(0).wrapping_add(group * self.cells.totals_len() + cell.start);
        let join = |cell, totals, groups| run.isa.run(JoinOf { tiles: self, run, cell, totals, groups });
        team.run(groups * cells.len(), &|part, worker| {
            let (group, cell) = (part / cells.len(), &cells[part % cells.len()]);
            let units = group * units / groups..(group + 1) * units / groups;
            let own = shared.scratch(worker).wrapping_add(self.sums_len());
            let totals = if apart { sums(group, cell) } else { own };
            let scratch = own.wrapping_add(totals_room(cell));
            match &self.way {
                Way::Strips(strips) => {
                    let room = self.room(strips, cell);
                    run.isa.run(PartOf { tiles: self, strips, run, cell, units, room, scratch, totals });
                }
                Way::Winograd(winograd) => {
                    run.isa.run(winograd::PartOf { winograd, run, cell, units, scratch, totals });
                }
            }
            if !apart {
                join(cell, totals, 1);
            }
        });
        if apart {
            team.run(cells.len(), &|part, _| join(&cells[part], sums(0, &cells[part]), groups));
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

/// Floats of a thread's scratch for a cell's totals, whole cache lines.
fn totals_room(cell: &Cell) -> usize {
    cell.totals_len().next_multiple_of(2 * LANES)
}

/// What else a cell has of a thread's scratch, in floats.
struct Room {
    /// The prologue's numbers.
    numbers: usize,
    /// A strip of a slab of the input.
    slab: usize,
    /// A strip of all slabs.
    inputs: usize,
    /// A strip of the output's gradient.
    outputs: usize,
    /// Strips that are packed at a time.
    strips: usize,
}

impl Tiles {
    fn room(&self, strips: &Strips, cell: &Cell) -> Room {
        let lines = |floats: usize| floats.next_multiple_of(2 * LANES);
        let [places, pixels] = strips.most_places();
        let slab = lines(places * self.cells.step);
        let (inputs, outputs) = (cell.slabs.len() * slab, lines(pixels * cell.outputs().len() * LANES));
        Room {
            numbers: 2 * cell.blocks.len() * LANES,
            slab,
            inputs,
            outputs,
            strips: (PACKED / (inputs + outputs).max(1)).clamp(1, MOST_STRIPS),
        }
    }
}

impl Room {
    fn len(&self) -> usize {
        self.numbers + self.strips * (self.inputs + self.outputs)
    }
}

/// One cell and some strips. Whoever makes it answers for the memory.
struct PartOf<'a> {
    tiles: &'a Tiles,
    strips: &'a Strips,
    run: &'a Run<'a>,
    cell: &'a Cell,
    /// Strips.
    units: Range<usize>,
    room: Room,
    scratch: *mut f32,
    totals: *mut f32,
}

impl Body for PartOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (run, cell) = (self.run, self.cell);
        // SAFETY: the scratch begins with the numbers, and the totals are the cell's.
        unsafe {
            spread(run.numbers, &run.geometry.input, cell.blocks.clone(), self.scratch);
            if self.units.is_empty() {
                self.totals.write_bytes(0, cell.totals_len());
            }
        }
        for first in self.units.clone().step_by(self.room.strips) {
            let strips = first..(first + self.room.strips).min(self.units.end);
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
        for (i, strip) in strips.enumerate() {
            let (strip, images) = self.strips.at(strip, run.images.count);
            for (n, slab) in self.cell.slabs.iter().enumerate() {
                let inputs = Inputs {
                    geometry: run.geometry,
                    blocks: slab.blocks.clone(),
                    prologue: self.tiles.prologue,
                    numbers: self.scratch.wrapping_add(2 * (slab.blocks.start - self.cell.blocks.start) * LANES),
                    step: self.tiles.cells.step,
                };
                let to = self.inputs(i).wrapping_add(n * self.room.slab);
                // SAFETY: the function's own promise.
                unsafe { inputs.pack(s, strip, images.clone(), &run.images, to) };
            }
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
        let of = |strip: usize| self.strips.at(strip, run.images.count);
        for (i, strip) in strips.clone().enumerate() {
            let (strip, images) = of(strip);
            // SAFETY: the function's own promise.
            unsafe {
                pack_gradient::<S, V>(s, run.geometry, panel.clone(), strip, images, &run.images, self.outputs(i))
            };
        }
        let taps = cell.taps.len();
        let before = (panel.start - cell.outputs().start) * LANES * cell.channels.len() * taps;
        for first_slab in (0..cell.slabs.len()).step_by(SLABS_TOGETHER) {
            let slabs = first_slab..(first_slab + SLABS_TOGETHER).min(cell.slabs.len());
            for (i, number) in strips.clone().enumerate() {
                let (strip, images) = of(number);
                for (n, channels) in slabs.clone().flat_map(|n| cell.slabs[n].tiles::<S, V>().map(move |of| (n, of))) {
                    let x = self.inputs(i).wrapping_add(n * self.room.slab);
                    let slab = &cell.slabs[n];
                    let first = slab.first + channels.start;
                    for (t, tap) in cell.taps.clone().enumerate() {
                        let tile = Tile {
                            pairs: self.strips.pairs_of(strip, tap, images.len()),
                            dy: self.outputs(i),
                            x: x.wrapping_add(slab.channels.start + channels.start),
                            totals: self.totals.wrapping_add(before + (first * taps + t) * V * LANES),
                            totals_step: taps * V * LANES,
                            begins: number == self.units.start,
                        };
                        // SAFETY: pairs are places of the packed strip, which has the tile's channels and blocks.
                        unsafe { tile.sum::<S, V>(s, channels.len()) };
                    }
                }
            }
        }
    }
}

impl Slab {
    /// Some of its own channels each, counted from the first of those.
    #[inline(always)]
    fn tiles<S: Simd, const V: usize>(&self) -> impl Iterator<Item = Range<usize>> + use<S, V> {
        Tiling::of::<S, V>(self.channels.len()).tiles()
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
        // SAFETY: every group has the cell's totals, which are this part's.
        unsafe { add_groups(s, self.totals, self.cell.totals_len(), self.groups, self.tiles.cells.totals_len()) };
        // SAFETY: they are complete, and the cell is this part's.
        unsafe { self.tiles.write(s, self.run, self.cell, self.totals) };
    }
}
