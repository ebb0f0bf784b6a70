//! The gradient of a weight in the processor's tiles, from factors that are rounded to bfloat16 ([`crate::conv::bf16`]).
//!
//! Both values are laid out by one list of places with their padding, so a tap is an offset. The products' first factor is the output's
//! gradient, a row of places for each channel, and their second the input, pairs of places after pairs of places: once in pairs that begin
//! with even places and once with odd ones, so that every tap finds whole cache lines. Their sums over the places of a few images are added
//! to totals in single precision.

use std::ops::Range;

use super::cells::{IMAGES, SUMS, even};
use super::totals::{add, add_groups};
use super::{Gradient, Run};
use crate::conv::bf16::source::{Grid, Unit};
use crate::conv::bf16::tiles::{DEPTH, Product, SIDE, Sums, TileUnit, Tiles};
use crate::conv::bf16::{GROUP, fits};
use crate::conv::{ConvShape, ENOUGH_PARTS};
use crate::memory::Shared;
use crate::simd::{Body, Simd};
use crate::{LANES, Planes, Team};

/// Pixels that are summed together, about: enough for the sums to be added up seldom, few enough for the second-level cache.
const PIXELS: usize = 1024;

/// Numbers of a line of the cache.
const LINE: usize = 32;

/// The work, cut.
#[derive(Debug)]
pub(super) struct TileGrad {
    unit: TileUnit,
    grid: Grid,
    /// Offsets of the taps, in places.
    taps: Vec<usize>,
    /// Where the places of each step begin, in bytes.
    steps: Vec<usize>,
    /// Numbers from one channel of the gradient to the next.
    row_len: usize,
    /// Ways in which places of the input are paired: one, if all taps are even places away.
    pairings: usize,
    /// Groups of input blocks and of output blocks, some in each cell.
    cells: Vec<[Range<usize>; 2]>,
    /// Groups of images whose totals are computed apart, at most.
    groups: usize,
}

impl TileGrad {
    /// Whether the gradient can be computed so.
    pub fn fits(shape: &ConvShape, input: &Planes, d_output: &Planes) -> bool {
        fits(shape, [input, d_output])
    }

    /// For a convolution that fits.
    pub fn new(unit: TileUnit, shape: &ConvShape, input: &Planes, d_output: &Planes) -> Self {
        let grid = Grid::new(shape.window.kernel, shape.window.padding, input, d_output, PIXELS);
        let all = [input, d_output].map(|planes| planes.blocks().len().div_ceil(GROUP));
        let outputs = all[1].min(ENOUGH_PARTS / 2);
        let inputs = all[0].min(ENOUGH_PARTS.div_ceil(outputs));
        let cells = even(all[0], inputs).flat_map(|i| even(all[1], outputs).map(move |o| [i.clone(), o])).collect();
        let taps: Vec<usize> = grid.taps().collect();
        let totals = all[0] * all[1] * taps.len() * SIDE * SIDE;
        let most = grid.count(IMAGES).min(SUMS / totals).max(1);
        Self {
            unit,
            taps,
            steps: (0..grid.len() / DEPTH).map(|step| step * DEPTH * size_of::<u16>()).collect(),
            // An odd number of cache lines, so that channels do not compete for the same sets of the cache.
            row_len: (grid.len().div_ceil(LINE) | 1) * LINE,
            pairings: if grid.taps().all(|tap| tap.is_multiple_of(2)) { 1 } else { 2 },
            cells,
            groups: ENOUGH_PARTS.div_ceil(inputs * outputs).min(most),
            grid,
        }
    }

    pub fn name(&self) -> String {
        format!("bfloat16, {}", self.unit.name())
    }

    /// Floats of scratch each thread needs: the totals of all groups of images if there are several, which are the first's, those of a
    /// cell, and its factors.
    pub fn scratch_len(&self) -> usize {
        let most = |of: &dyn Fn(&[Range<usize>; 2]) -> usize| self.cells.iter().map(of).max().unwrap_or(0);
        self.all_totals_len() + most(&|cell| self.totals_len(cell)) + most(&|cell| self.factors_len(cell))
    }

    /// Floats of a cell's totals: for each pair of groups and each tap those of a product.
    fn totals_len(&self, cell: &[Range<usize>; 2]) -> usize {
        cell.iter().map(Range::len).product::<usize>() * self.taps.len() * SIDE * SIDE
    }

    fn all_totals_len(&self) -> usize {
        if self.groups == 1 {
            0
        } else {
            self.groups * self.cells.iter().map(|cell| self.totals_len(cell)).sum::<usize>()
        }
    }

    /// Floats of a group of the input, and of one of the output's gradient.
    fn lens(&self) -> [usize; 2] {
        [self.pairings * self.pairing_len(), SIDE * self.row_len / 2]
    }

    /// Floats of a group of the input in pairs, each of which is a float.
    fn pairing_len(&self) -> usize {
        self.grid.room() / 2 * SIDE
    }

    fn factors_len(&self, cell: &[Range<usize>; 2]) -> usize {
        cell.iter().zip(self.lens()).map(|(groups, len)| groups.len() * len).sum()
    }

    /// Computes the gradient.
    ///
    /// # Safety
    /// The images hold the values, each worker of the team has [`TileGrad::scratch_len`] floats of scratch that nobody else touches,
    /// and the gradient has a number for each weight.
    pub unsafe fn run(&self, run: &Run<'_>, shared: Shared, team: &mut Team) {
        let images = run.images.count;
        let units = self.grid.count(images);
        let groups = self.groups.min(units).max(1);
        let cell_len = |i: usize| self.cells[..i].iter().map(|cell| self.totals_len(cell)).sum::<usize>();
        let all = cell_len(self.cells.len());
        let is_apart = self.groups > 1;
        let totals = |group: usize, cell: usize| shared.scratch(0).wrapping_add(group * all + cell_len(cell));
        let join = |cell: usize, totals: *mut f32, groups: usize| {
            run.isa.run(JoinOf { grad: self, run, cell: &self.cells[cell], totals, groups, step: all });
        };
        team.run(groups * self.cells.len(), &|part, worker| {
            let (group, cell) = (part / self.cells.len(), part % self.cells.len());
            let own = shared.scratch(worker).wrapping_add(self.all_totals_len());
            let (totals, factors) = match is_apart {
                true => (totals(group, cell), own),
                false => (own, own.wrapping_add(self.totals_len(&self.cells[cell]))),
            };
            let units = group * units / groups..(group + 1) * units / groups;
            run.isa.run(PartOf { grad: self, run, cell: &self.cells[cell], units, totals, factors });
            if !is_apart {
                join(cell, totals, 1);
            }
        });
        if is_apart {
            team.run(self.cells.len(), &|cell, _| join(cell, totals(0, cell), groups));
        }
    }
}

/// One cell and some units of work. Whoever makes it answers for the memory.
struct PartOf<'a> {
    grad: &'a TileGrad,
    run: &'a Run<'a>,
    cell: &'a [Range<usize>; 2],
    units: Range<usize>,
    totals: *mut f32,
    factors: *mut f32,
}

impl Body for PartOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (grad, [inputs, outputs]) = (self.grad, self.cell);
        // SAFETY: the totals are the cell's.
        unsafe { self.totals.write_bytes(0, grad.totals_len(self.cell)) };
        let tiles = Tiles::set_up(grad.unit);
        let mut sums = Sums::zero();
        for number in self.units.clone() {
            let unit = grad.grid.unit(number, self.run.images.count);
            // SAFETY: the images hold both values, and the factors have room for the cell's groups.
            unsafe {
                self.pair_inputs(s, &unit);
                self.round_gradients(s, &unit);
            }
            let steps = &grad.steps[..grad.grid.len_of(&unit) / DEPTH];
            for (i, o) in (0..inputs.len()).flat_map(|i| (0..outputs.len()).map(move |o| (i, o))) {
                for (t, tap) in grad.taps.iter().enumerate() {
                    let product = Product {
                        a: self.gradient(o).cast_const(),
                        row_len: grad.row_len * size_of::<u16>(),
                        half_len: SIDE / 2 * grad.row_len * size_of::<u16>(),
                        steps,
                        b: self.input(i, tap % 2).wrapping_add(tap / 2 * (SIDE / 2)).cast_const().cast(),
                        b_half_len: grad.pairing_len() / 2 * size_of::<f32>(),
                        b_step: DEPTH / 2 * (SIDE / 2) * size_of::<f32>(),
                    };
                    let totals =
                        self.totals.wrapping_add(((i * outputs.len() + o) * grad.taps.len() + t) * SIDE * SIDE);
                    // SAFETY: from every place of a step a tap reaches a place of the input, and the totals are the cell's.
                    unsafe {
                        tiles.multiply(&product, &mut sums);
                        add(s, totals, sums.0.as_ptr().cast(), SIDE * SIDE);
                    }
                }
            }
        }
    }
}

impl PartOf<'_> {
    /// Where the pairs of a group of the input lie that begin with even places, or with odd ones.
    fn input(&self, group: usize, parity: usize) -> *mut f32 {
        self.factors.wrapping_add(group * self.grad.lens()[0] + parity * self.grad.pairing_len())
    }

    /// Where a group of the output's gradient lies.
    fn gradient(&self, group: usize) -> *mut u16 {
        let [input, output] = self.grad.lens();
        self.factors.wrapping_add(self.cell[0].len() * input + group * output).cast()
    }

    /// Copies what a unit sees of the input in pairs of places, with zeros in all places that have no pixel.
    ///
    /// # Safety
    /// The images hold the input, and nobody else has the room for the factor.
    #[inline(always)]
    unsafe fn pair_inputs<S: Simd>(&self, s: S, unit: &Unit) {
        let (grad, input) = (self.grad, &self.run.geometry.input);
        for (i, group) in self.cell[0].clone().enumerate() {
            for (b, block) in input.blocks().iter().skip(group * GROUP).take(GROUP).enumerate() {
                let columns = b / 2 * (grad.pairing_len() / 2) + b % 2 * LANES;
                let to = [0, 1].map(|parity| self.input(i, parity).wrapping_add(columns));
                let mut pairs = Pairs { s, to, pairings: grad.pairings, next: 0, last: s.splat(0.0) };
                for row in grad.grid.source_rows(unit) {
                    let from = self.run.images.image(row.image).wrapping_add(block.offset + row.first);
                    // SAFETY: the group's places, and pixels of the row.
                    unsafe {
                        pairs.skip_to(row.place);
                        for column in 0..input.width() {
                            pairs.push(s.bfloat16(s.load(from.wrapping_add(column * LANES))));
                        }
                    }
                }
                // SAFETY: the group's places.
                unsafe { pairs.skip_to(grad.grid.room()) };
            }
            let absent = GROUP.saturating_sub(input.blocks().len() - group * GROUP);
            if absent > 0 {
                // SAFETY: the group's room.
                unsafe { self.clear_columns(s, i, GROUP - absent) };
            }
        }
    }

    /// Zeros in the columns of blocks that a group of the input does not have.
    ///
    /// # Safety
    /// Nobody else has the room for the factor.
    #[inline(always)]
    unsafe fn clear_columns<S: Simd>(&self, s: S, group: usize, first: usize) {
        let grad = self.grad;
        for (parity, b) in (0..grad.pairings).flat_map(|parity| (first..GROUP).map(move |b| (parity, b))) {
            let columns = b / 2 * (grad.pairing_len() / 2) + b % 2 * LANES;
            for pair in 0..grad.grid.room() / 2 {
                let to = self.input(group, parity).wrapping_add(columns + pair * (SIDE / 2));
                // SAFETY: the function's own promise.
                unsafe { s.store(s.splat(0.0), to) };
            }
        }
    }

    /// Copies what a unit has of the output's gradient, a row of places for each channel, and zeros to all other places.
    ///
    /// # Safety
    /// The images hold the gradient, and nobody else has the room for the factor.
    #[inline(always)]
    unsafe fn round_gradients<S: Simd>(&self, s: S, unit: &Unit) {
        let (grad, d_output) = (self.grad, &self.run.geometry.d_output);
        for (o, group) in self.cell[1].clone().enumerate() {
            // SAFETY: the group's room.
            unsafe { self.gradient(o).write_bytes(0, SIDE * grad.row_len) };
            for (b, block) in d_output.blocks().iter().skip(group * GROUP).take(GROUP).enumerate() {
                let rows = self.gradient(o).wrapping_add(b * LANES * grad.row_len);
                for row in grad.grid.target_rows(unit) {
                    let from = self.run.images.image(row.image).wrapping_add(block.offset + row.first);
                    for first in (0..d_output.width()).step_by(LANES) {
                        let count = (d_output.width() - first).min(LANES);
                        let mut pixels = [s.splat(0.0); LANES];
                        for i in 0..count {
                            // SAFETY: a pixel of the row.
                            pixels[i] = unsafe { s.bfloat16(s.load(from.wrapping_add((first + i) * LANES))) };
                        }
                        let channels = s.transpose(pixels);
                        for lane in 0..LANES {
                            let numbers = s.upper_halves(channels[lane]);
                            let to = rows.wrapping_add(lane * grad.row_len + row.place + first);
                            // SAFETY: the row's places are the channel's.
                            unsafe {
                                match count {
                                    LANES => to.cast::<[u16; LANES]>().write_unaligned(numbers),
                                    _ => to.copy_from_nonoverlapping(numbers.as_ptr(), count),
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Places of a block one after another, each paired with the one before it and with the one behind it.
struct Pairs<S: Simd> {
    s: S,
    /// Where the pairs lie that begin with even places, and those that begin with odd ones.
    to: [*mut f32; 2],
    pairings: usize,
    /// The next place.
    next: usize,
    /// The numbers of the one before it.
    last: S::V,
}

impl<S: Simd> Pairs<S> {
    /// The numbers of the next place.
    ///
    /// # Safety
    /// There is room for as many places.
    #[inline(always)]
    unsafe fn push(&mut self, numbers: S::V) {
        let (s, place) = (self.s, self.next);
        // The first place is no other's second.
        if place % 2 == 1 || (place > 0 && self.pairings == 2) {
            let (parity, pair) = ((place + 1) % 2, (place - 1) / 2);
            // SAFETY: the function's own promise.
            unsafe { s.store(s.join_halves(self.last, numbers), self.to[parity].wrapping_add(pair * (SIDE / 2))) };
        }
        (self.last, self.next) = (numbers, place + 1);
    }

    /// Zeros up to a place.
    ///
    /// # Safety
    /// As [`Pairs::push`].
    #[inline(always)]
    unsafe fn skip_to(&mut self, place: usize) {
        while self.next < place {
            // SAFETY: the function's own promise.
            unsafe { self.push(self.s.splat(0.0)) };
        }
    }
}

/// The totals of several groups of images, added up in their order and written.
struct JoinOf<'a> {
    grad: &'a TileGrad,
    run: &'a Run<'a>,
    cell: &'a [Range<usize>; 2],
    /// Those of the first group, to which the others' are added.
    totals: *mut f32,
    groups: usize,
    /// Floats from one group's to the next one's.
    step: usize,
}

impl Body for JoinOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: every group has the cell's totals, which are this part's.
        unsafe { add_groups(s, self.totals, self.grad.totals_len(self.cell), self.groups, self.step) };
        // SAFETY: they are complete, and the cell's weights are this part's.
        unsafe { self.write(self.run.d_weight) };
    }
}

impl JoinOf<'_> {
    /// # Safety
    /// The totals are there, and nobody else touches the cell's weights.
    #[inline(always)]
    unsafe fn write(&self, to: Gradient) {
        let (geometry, taps) = (&self.run.geometry, self.grad.taps.len());
        let channels = [geometry.input.channels(), geometry.d_output.channels()];
        let [inputs, outputs] = self.cell;
        for (o, i) in (0..outputs.len()).flat_map(|o| (0..inputs.len()).map(move |i| (o, i))) {
            let totals = self.totals.wrapping_add((i * outputs.len() + o) * taps * SIDE * SIDE);
            let first = [(inputs.start + i) * SIDE, (outputs.start + o) * SIDE];
            let counts = [0, 1].map(|axis| SIDE.min(channels[axis] - first[axis]));
            for (output, input) in (0..counts[1]).flat_map(|o| (0..counts[0]).map(move |i| (o, i))) {
                let half = SIDE / 2;
                let quarter = output / half * 2 + input / half;
                let at = (quarter * half + output % half) * half + input % half;
                let weight = ((first[1] + output) * channels[0] + first[0] + input) * taps;
                for tap in 0..taps {
                    // SAFETY: the function's own promise.
                    unsafe { *to.0.wrapping_add(weight + tap) = *totals.wrapping_add(tap * SIDE * SIDE + at) };
                }
            }
        }
    }
}
