//! The gradient of a 3x3 weight of stride 1 in fewer multiplications.
//!
//! Transposing Winograd's convolution gives `dW = G^T [(A dY A^T) * (B^T x B)] G` for a tile of outputs and the window of
//! inputs that it sees (Lavin and Gray, arXiv:1509.09308, with [`crate::conv::Winograd`]'s points): for 2x2 outputs 16 products
//! for every pair of channels instead of 36, for 4x4 outputs 36 instead of 144. Their sums over tiles are what registers hold, so
//! a block of tiles is taken to points ([`transform`]), multiplied point by point in the tiles of the direct way, and the sums over
//! all blocks are taken to taps ([`taps`]). For which layers that is worth it and with which tiles, [`choice`] says.

mod choice;
mod scheme;
mod taps;
#[cfg(test)]
mod tests;
mod transform;

use std::ops::Range;

use super::Run;
use super::cells::{Cell, Sizes, even};
use super::prologue::{Read, spread, with_prologue};
use super::strips::Pair;
use super::tile::Tile;
use super::walk::{Geometry, cut};
use crate::conv::tile::Tiling;
use crate::conv::winograd::scheme::{F2, F4};
use crate::conv::winograd::{TAPS, odd_lines};
use crate::conv::{ConvShape, Prologue, WinogradTile};
use crate::simd::{Body, Simd};
use crate::{Block, LANES};
use scheme::Transposed;
use transform::{Gradients, Inputs, Points, Window, Windows};

/// Tiles of a block: their sum begins anew with each block, as that of a strip of pixels.
const BLOCK: usize = 64;

/// Floats of the sums at all points that a cell may ask for.
const SUMS: usize = 320 * 1024;

/// Blocks of the input that are taken to points at a time. The output's gradient is taken to points anew for each of these chunks, the
/// input for each cell, so both are large, though the sums then leave the second-level cache between two blocks of tiles.
fn most_blocks(tile: WinogradTile) -> usize {
    if tile == WinogradTile::F2 { 16 } else { 8 }
}

/// The gradient by tiles; see the module.
#[derive(Debug)]
pub(super) struct Winograd {
    tile: WinogradTile,
    padding: [usize; 2],
    prologue: Option<Prologue>,
    /// Rows and columns of tiles of one image.
    tiles: [usize; 2],
    /// Floats from one tile of a chunk of the input to the next, at a point.
    step: usize,
    /// Every tile of a block with itself.
    pairs: Vec<Pair>,
}

impl Winograd {
    /// For a layer that is computed faster so.
    pub fn for_layer(shape: &ConvShape, geometry: &Geometry, prologue: Option<Prologue>) -> Option<Self> {
        choice::best(shape, geometry).map(|tile| Self::new(tile, shape, geometry, prologue))
    }

    /// For a layer of the form that the method is for, with tiles of stride 1.
    fn new(tile: WinogradTile, shape: &ConvShape, geometry: &Geometry, prologue: Option<Prologue>) -> Self {
        assert!(tile.stride() == 1, "{tile:?} for a stride of 1");
        let blocks = geometry.input.blocks();
        // An odd number of cache lines, so that tiles do not compete for the same sets of the cache.
        let step = odd_lines(most_blocks(tile).min(blocks.len()) * LANES);
        let pair = |tile: usize| Pair { dy: (tile * LANES) as u32, x: (tile * step) as u32 };
        Self {
            tile,
            padding: shape.window.padding,
            prologue,
            tiles: [geometry.d_output.height(), geometry.d_output.width()].map(|n| n.div_ceil(tile.outputs())),
            step,
            pairs: (0..BLOCK).map(pair).collect(),
        }
    }

    pub fn name(&self) -> String {
        format!("winograd {0}x{0}", self.tile.outputs())
    }

    /// Tiles of so many images.
    fn count(&self, images: usize) -> usize {
        images * self.tiles[0] * self.tiles[1]
    }

    /// Where a cell's numbers lie in a thread's scratch.
    fn room(&self, cell: &Cell) -> Room {
        let points = self.tile.points();
        let step = self.step;
        let row_len = odd_lines(transform::most_columns(self.tile.outputs()) * LANES);
        let rows = points.isqrt() * row_len;
        let numbers = 2 * cell.blocks.len() * LANES;
        let columns = numbers.next_multiple_of(2 * LANES);
        let inputs = columns + 2 * rows;
        let point_len = odd_lines(BLOCK * step);
        let gradients = inputs + points * point_len;
        let sums = gradients + points * cell.outputs().len() * slot(BLOCK);
        let end = sums + points * cell.outputs().len() * slot(most_blocks(self.tile) * LANES);
        Room { columns, rows: columns + rows, row_len, inputs, point_len, gradients, sums, end }
    }

    /// Floats of scratch that a cell asks for.
    pub fn scratch_len(&self, cell: &Cell) -> usize {
        self.room(cell).end
    }

    /// Blocks of the input.
    fn chunk<'a>(&self, geometry: &'a Geometry, cell: &Cell, chunk: &Range<usize>) -> &'a [Block] {
        &geometry.input.blocks()[cell.blocks.start + chunk.start..cell.blocks.start + chunk.end]
    }
}

impl Sizes for Winograd {
    fn units(&self, images: usize) -> usize {
        self.count(images).div_ceil(BLOCK)
    }

    fn fits(&self, outputs: usize, inputs: &[Block]) -> bool {
        self.tile.points() * inputs.len().min(most_blocks(self.tile)) * outputs * LANES * LANES <= SUMS
    }

    fn cuts_taps(&self) -> bool {
        false
    }

    fn sums(&self) -> usize {
        3 + 2 * self.tile.points() / (TAPS * TAPS)
    }
}

/// Floats that a block of the output has at a point for so many vectors: a panel's points are an odd number of cache lines apart,
/// so that they do not compete for the same sets of the cache.
fn slot(vectors: usize) -> usize {
    (vectors + 2 * 2) * LANES
}

/// Where a cell's numbers begin, in floats, behind those of the prologue.
struct Room {
    /// Columns of a run of windows after the vertical half of a transform.
    columns: usize,
    /// Rows of the input with the prologue applied.
    rows: usize,
    /// Floats from one row of either to the next.
    row_len: usize,
    /// A chunk of the input at all points.
    inputs: usize,
    /// Floats from one point of it to the next.
    point_len: usize,
    /// The output's gradient at all points.
    gradients: usize,
    /// The sums of a chunk at all points.
    sums: usize,
    end: usize,
}

/// One cell and some blocks of tiles. Whoever makes it answers for the memory.
pub(super) struct PartOf<'a> {
    pub winograd: &'a Winograd,
    pub run: &'a Run<'a>,
    pub cell: &'a Cell,
    /// Blocks of tiles.
    pub units: Range<usize>,
    pub scratch: *mut f32,
    pub totals: *mut f32,
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
        let of = Sums { room: self.winograd.room(cell), part: &self };
        for chunk in cut(cell.blocks.len(), most_blocks(self.winograd.tile)).filter(|_| !self.units.is_empty()) {
            // SAFETY: the images hold the values, and the scratch has the room.
            unsafe {
                match self.winograd.tile {
                    WinogradTile::F4 => of.chunk::<S, F4, 4, 6>(s, &chunk),
                    _ => of.chunk::<S, F2, 2, 4>(s, &chunk),
                }
            }
        }
    }
}

/// A part and where its numbers lie.
struct Sums<'a> {
    room: Room,
    part: &'a PartOf<'a>,
}

impl Sums<'_> {
    fn place(&self, at: usize) -> *mut f32 {
        self.part.scratch.wrapping_add(at)
    }

    /// Blocks of the output before a panel of the cell.
    fn before(&self, panel: &Range<usize>) -> usize {
        panel.start - self.part.cell.outputs().start
    }

    /// Where a panel of the output's gradient lies at all points.
    fn points(&self, panel: &Range<usize>) -> *mut f32 {
        self.place(self.room.gradients + self.part.winograd.tile.points() * self.before(panel) * slot(BLOCK))
    }

    /// Where the sums of a panel and so many channels lie at all points.
    fn sums(&self, panel: &Range<usize>, channels: usize) -> *mut f32 {
        self.place(self.room.sums + self.part.winograd.tile.points() * self.before(panel) * slot(channels))
    }

    /// The totals of some blocks of the input, counted within the cell.
    ///
    /// # Safety
    /// The images hold the values, the scratch and the totals belong to the part.
    #[inline(always)]
    unsafe fn chunk<S: Simd, F: Transposed<M, N>, const M: usize, const N: usize>(&self, s: S, chunk: &Range<usize>) {
        let PartOf { winograd, run, cell, units, totals, .. } = self.part;
        let all = winograd.count(run.images.count);
        let of = |unit: usize| even(all, winograd.units(run.images.count)).nth(unit).unwrap_or(0..0);
        let blocks = winograd.chunk(run.geometry, cell, chunk);
        let channels = blocks[0].first..blocks[blocks.len() - 1].first + blocks[blocks.len() - 1].count;
        for unit in units.clone() {
            let tiles = of(unit);
            // SAFETY: the function's own promise.
            unsafe {
                self.inputs::<S, F, M, N>(s, chunk, &tiles);
                // Those of a single block stay for all chunks.
                if chunk.start == 0 || units.len() > 1 {
                    self.gradients::<S, F, M, N>(s, &tiles);
                }
                self.multiply(s, channels.len(), tiles.len(), unit == units.start);
            }
        }
        for panel in &cell.panels {
            let sums = self.sums(panel, channels.len());
            let first = (channels.start - cell.channels.start) * panel.len();
            let before = self.before(panel) * cell.channels.len();
            let totals = totals.wrapping_add((before + first) * cell.taps.len() * LANES);
            // SAFETY: the sums are complete, a panel has as many blocks as said.
            unsafe { taps::write::<S, F, M, N>(s, sums, channels.len(), panel.len(), totals) };
        }
    }

    /// Takes some tiles of a chunk of the input to points.
    ///
    /// # Safety
    /// As [`Sums::chunk`].
    #[inline(always)]
    unsafe fn inputs<S: Simd, F: Transposed<M, N>, const M: usize, const N: usize>(
        &self,
        s: S,
        chunk: &Range<usize>,
        tiles: &Range<usize>,
    ) {
        let PartOf { winograd, run, cell, scratch, .. } = self.part;
        let input = &run.geometry.input;
        let blocks = winograd.chunk(run.geometry, cell, chunk);
        let windows = Windows {
            size: [input.height(), input.width()],
            padding: winograd.padding,
            columns: self.place(self.room.columns),
            row_len: self.room.row_len,
        };
        for of in transform::runs(winograd.tiles, tiles.clone()) {
            let window = windows.of::<M, N>(&of);
            // A block's pad lanes are overwritten by the next block.
            for (i, block) in blocks.iter().enumerate() {
                let numbers = scratch.wrapping_add(2 * (chunk.start + i) * LANES);
                let plane = run.images.image(of.image).wrapping_add(block.offset);
                let at = (of.first - tiles.start) * winograd.step + block.first - blocks[0].first;
                let points = Points {
                    start: self.place(self.room.inputs + at),
                    tile_len: winograd.step,
                    point_len: self.room.point_len,
                };
                let rows = window.rows(plane);
                // SAFETY: the function's own promise.
                unsafe {
                    let rows = match winograd.prologue {
                        None => rows,
                        of => with_prologue!(s, of, numbers, r => self.read(s, r, &window, rows)),
                    };
                    windows.transform::<S, Inputs<F, M>, N, N>(s, &window, &rows, M, points);
                }
            }
        }
    }

    /// The rows of a window with the prologue applied.
    ///
    /// # Safety
    /// As [`Sums::chunk`].
    #[inline(always)]
    unsafe fn read<S: Simd, const I: usize>(
        &self,
        s: S,
        r: impl Read<S>,
        window: &Window<I>,
        rows: [*const f32; I],
    ) -> [*const f32; I] {
        let mut read = rows;
        for i in (0..I).filter(|&i| window.has_row(i)) {
            let to = self.place(self.room.rows + i * self.room.row_len);
            for column in 0..window.inside.len() {
                // SAFETY: columns inside a row of the input are readable, and a row has room for them.
                unsafe { s.store(r.read(s, s.load(rows[i].add(column * LANES))), to.add(column * LANES)) };
            }
            read[i] = to;
        }
        read
    }

    /// Takes some tiles of the output's gradient to points.
    ///
    /// # Safety
    /// As [`Sums::chunk`].
    #[inline(always)]
    unsafe fn gradients<S: Simd, F: Transposed<M, N>, const M: usize, const N: usize>(
        &self,
        s: S,
        tiles: &Range<usize>,
    ) {
        let PartOf { winograd, run, cell, .. } = self.part;
        let d_output = &run.geometry.d_output;
        let windows = Windows {
            size: [d_output.height(), d_output.width()],
            padding: [0; 2],
            columns: self.place(self.room.columns),
            row_len: self.room.row_len,
        };
        for of in transform::runs(winograd.tiles, tiles.clone()) {
            let window = windows.of::<M, M>(&of);
            for panel in &cell.panels {
                let tile_len = panel.len() * LANES;
                let point_len = odd_lines(BLOCK * tile_len);
                for (v, block) in panel.clone().enumerate() {
                    let plane = run.images.image(of.image).wrapping_add(d_output.blocks()[block].offset);
                    let at = (of.first - tiles.start) * tile_len + v * LANES;
                    let points = Points { start: self.points(panel).wrapping_add(at), tile_len, point_len };
                    // SAFETY: the function's own promise.
                    unsafe {
                        windows.transform::<S, Gradients<F>, M, N>(s, &window, &window.rows(plane), M, points);
                    }
                }
            }
        }
    }

    /// Adds the products of so many tiles to the sums, or begins those.
    ///
    /// # Safety
    /// Both operands are there, for so many channels of the chunk.
    #[inline(always)]
    unsafe fn multiply<S: Simd>(&self, s: S, channels: usize, tiles: usize, begins: bool) {
        for point in 0..self.part.winograd.tile.points() {
            for panel in &self.part.cell.panels {
                // SAFETY: the function's own promise; a panel has as many blocks as said.
                unsafe {
                    match panel.len() {
                        1 => self.products::<S, 1>(s, point, panel, channels, tiles, begins),
                        4 if S::VECTORS == 4 => self.products::<S, 4>(s, point, panel, channels, tiles, begins),
                        _ => self.products::<S, 2>(s, point, panel, channels, tiles, begins),
                    }
                }
            }
        }
    }

    /// The products at one point for one panel.
    ///
    /// # Safety
    /// As [`Sums::multiply`]; `V` is the number of the panel's blocks.
    #[inline(always)]
    unsafe fn products<S: Simd, const V: usize>(
        &self,
        s: S,
        point: usize,
        panel: &Range<usize>,
        channels: usize,
        tiles: usize,
        begins: bool,
    ) {
        let dy = self.points(panel).wrapping_add(point * odd_lines(BLOCK * V * LANES));
        let x = self.place(self.room.inputs + point * self.room.point_len);
        let sums = self.sums(panel, channels).wrapping_add(point * odd_lines(channels * V * LANES));
        for of in Tiling::of::<S, V>(channels).tiles() {
            let tile = Tile {
                pairs: &self.part.winograd.pairs[..tiles],
                dy,
                x: x.wrapping_add(of.start),
                totals: sums.wrapping_add(of.start * V * LANES),
                totals_step: V * LANES,
                begins,
            };
            // SAFETY: the function's own promise.
            unsafe { tile.sum::<S, V>(s, of.len()) };
        }
    }
}
