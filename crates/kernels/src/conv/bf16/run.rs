//! Running: each part rounds the source of some images, or of some rows of one, and computes some groups of target blocks.

use std::ops::Range;

use super::source::Unit;
use super::tiles::{Product, SIDE, STEP, Sums, Tiles};
use super::{GROUP, TileConv, TileWeights};
use crate::conv::ENOUGH_PARTS;
use crate::memory::Shared;
use crate::moments::{Region, Take, Tallies, taking};
use crate::simd::{Body, Simd};
use crate::{LANES, Memory, Team};

impl TileConv {
    /// Computes all images of the memory, with a weight `[out, in, kh, kw]` and a bias `[out]`; `weights` is memory for packing them.
    /// Takes the moments of what it writes if it is asked for them.
    ///
    /// # Panics
    /// If the lengths of the weight and the bias are not the convolution's, the memory has no room for the values or no scratch for
    /// every thread, or the moments are of other channels.
    pub fn run_unpacked(
        &self,
        weight: &[f32],
        bias: Option<&[f32]>,
        (weights, take): (&mut TileWeights, Option<Take<'_>>),
        memory: &mut Memory,
        team: &mut Team,
    ) {
        memory.check(self.end, self.scratch_len(), team);
        self.pack(weights, weight, bias, team);
        let (weights, images) = (&*weights, memory.images());
        let units = self.grid.count(images);
        let groups = self.target_groups();
        let shares = ENOUGH_PARTS.div_ceil(units.max(1)).min(groups);
        taking(take, units, &self.target, memory, team, |tallies, memory, team| {
            let shared = memory.share();
            team.run(units * shares, &|part, worker| {
                let (number, share) = (part / shares, part % shares);
                self.isa.run(PartOf {
                    conv: self,
                    weights,
                    shared,
                    unit: self.grid.unit(number, images),
                    groups: share * groups / shares..(share + 1) * groups / shares,
                    source: shared.scratch(worker).cast(),
                    tallies: tallies.map(|tallies| (tallies, number)),
                });
            });
        });
    }
}

/// Some images or rows, and some groups of target blocks. Whoever makes it has checked that the memory holds all values and the
/// scratch, and gives every part to one thread.
struct PartOf<'a> {
    conv: &'a TileConv,
    weights: &'a TileWeights,
    shared: Shared,
    unit: Unit,
    groups: Range<usize>,
    /// The rounded source.
    source: *mut u16,
    /// Where its results are added up, and in which slot.
    tallies: Option<(Tallies, usize)>,
}

impl Body for PartOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let conv = self.conv;
        // SAFETY: the scratch has room for the source of a unit, which the images hold.
        unsafe { self.round(s) };
        let tiles = Tiles::set_up(conv.unit);
        let mut sums = Sums::zero();
        for group in self.groups.clone() {
            let b = conv.packed_group(self.weights, group);
            for first in (0..conv.grid.len_of(&self.unit)).step_by(SIDE) {
                let row_len = SIDE * size_of::<u16>();
                let product = Product {
                    a: self.source.wrapping_add(first * SIDE).cast_const(),
                    row_len,
                    half_len: SIDE / 2 * row_len,
                    steps: &conv.steps,
                    b,
                    b_half_len: STEP / 2 * size_of::<u16>(),
                    b_step: STEP * size_of::<u16>(),
                };
                // SAFETY: from every place of the target a tap reaches a place of the source, and the weights are those of the group.
                unsafe {
                    tiles.multiply(&product, &mut sums);
                    self.store(s, first, group, &sums);
                }
            }
        }
        self.tally(s);
    }
}

impl PartOf<'_> {
    /// Copies what the unit sees of the source to its places, group by group, and zeros to all others.
    ///
    /// # Safety
    /// The images hold the source, and nobody else has the scratch, which has room.
    #[inline(always)]
    unsafe fn round<S: Simd>(&self, s: S) {
        let TileConv { source, grid, .. } = self.conv;
        // SAFETY: the scratch has room for all groups.
        unsafe { self.source.write_bytes(0, self.conv.source_groups() * grid.room() * SIDE) };
        for (i, block) in source.blocks().iter().enumerate() {
            let (group, lanes) = (i / GROUP, i % GROUP * LANES);
            for row in grid.source_rows(&self.unit) {
                let from = self.shared.image(row.image).wrapping_add(block.offset + row.first);
                let to = self.source.wrapping_add((group * grid.room() + row.place) * SIDE + lanes);
                for column in 0..source.width() {
                    // SAFETY: the row is the source's, and all its places are the group's.
                    unsafe {
                        let numbers = s.upper_halves(s.bfloat16(s.load(from.wrapping_add(column * LANES))));
                        to.wrapping_add(column * SIDE).cast::<[u16; LANES]>().write_unaligned(numbers);
                    }
                }
            }
        }
    }

    /// The sums of some places to the target.
    ///
    /// # Safety
    /// They are those of the group, from a place of the unit on; the images hold the target, and its blocks' pixels of the unit are
    /// this part's.
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, s: S, first: usize, group: usize, sums: &Sums) {
        let conv = self.conv;
        let (images, pixels) = (self.unit.images.len(), self.unit.rows.len() * conv.target.width() * LANES);
        let before = self.unit.rows.start * conv.target.width() * LANES;
        for (row, place) in conv.places[first..].iter().take(SIDE).enumerate() {
            let Some((image, float)) = place.map(|(image, float)| (image as usize, float as usize)) else { continue };
            if image >= images || float >= pixels {
                continue;
            }
            let start = self.shared.image(self.unit.images.start + image).wrapping_add(before + float);
            for (half, sums) in sums.row(row).into_iter().enumerate() {
                for part in 0..2 {
                    let block = group * GROUP + 2 * half + part;
                    let Some(of) = conv.target.blocks().get(block) else { continue };
                    let to = start.wrapping_add(of.offset);
                    // SAFETY: the block's pixel is the target's and this part's; the bias has a number for each of its channels.
                    unsafe {
                        let sum = s.load(sums[part * LANES..].as_ptr());
                        let old = match conv.accumulate {
                            true => s.load(to),
                            false => s.load(self.weights.bias[block * LANES..].as_ptr()),
                        };
                        s.store(s.add(old, sum), to);
                    }
                }
            }
        }
    }

    /// Adds what has been written to the moments that are taken.
    #[inline(always)]
    fn tally<S: Simd>(&self, s: S) {
        let Some((tallies, slot)) = self.tallies else { return };
        let (conv, rows) = (self.conv, &self.unit.rows);
        let row_len = conv.target.width() * LANES;
        let region = Region { first: rows.start * row_len, rows: rows.len(), columns: conv.target.width(), row_len };
        let blocks = conv.blocks(self.groups.start).start..conv.blocks(self.groups.end - 1).end;
        for image in self.unit.images.clone() {
            let of = (&conv.target, self.shared.image(image).cast_const());
            // SAFETY: these pixels have just been written; a part has its slot's sums of its groups to itself.
            unsafe { tallies.add(s, (slot, blocks.clone()), of, region) };
        }
    }
}
