//! Running a convolution: parts, panels, runs of pixels, chains of k-blocks, tiles.

use std::ops::Range;

use super::epilogue::TOTALS;
use super::ground::Ground;
use super::strip::Strip;
use super::tile::{Ahead, CHAIN, Chain, LINE, Tiling};
use super::{Conv, ConvWeights, Panel, Part, Pixel, RUN};
use crate::moments::{Region, Take, Tallies, taking};
use crate::simd::{Body, Simd};
use crate::{LANES, Memory, Team};

/// Floats that an offset takes.
const OFFSET: usize = size_of::<isize>().div_ceil(size_of::<f32>());

impl Conv {
    /// Computes all images of the memory.
    ///
    /// # Panics
    /// If the memory has no room for the values, or no scratch for every thread.
    pub fn run(&self, weights: &ConvWeights, memory: &mut Memory, team: &mut Team) {
        self.run_taking(weights, None, memory, team);
    }

    /// Whether it can take the moments of what it writes: in groups, how it is cut depends on the instruction set.
    pub fn takes_moments(&self) -> bool {
        self.is_plain()
    }

    /// The same, taking the moments of what it writes if it is asked for them.
    ///
    /// # Panics
    /// As [`Conv::run`]; if it cannot take moments, or these are of other channels.
    pub fn run_taking(&self, weights: &ConvWeights, take: Option<Take<'_>>, memory: &mut Memory, team: &mut Team) {
        memory.check(self.end, self.scratch_len(), team);
        assert!(weights.fit(self), "weights of another convolution");
        self.taking(take, memory, team, |tallies, memory, team| {
            let (all, shared) = (memory.images(), memory.share());
            team.run(self.groups_of(all) * self.parts.len(), &|part, worker| {
                let (group, part) = (part / self.parts.len(), &self.parts[part % self.parts.len()]);
                let images = self.images_of(group, all);
                self.isa.run(PartOf {
                    conv: self,
                    part,
                    weights,
                    packed: weights.packed.as_ptr(),
                    ground: Ground::of(shared, images.start, worker),
                    images: images.len(),
                    image_len: shared.image_len(),
                    tallies: tallies.map(|tallies| (tallies, self.slot(group, part))),
                });
            });
        });
    }

    /// Runs `work` with memory for the moments of what it writes, if these are asked for.
    pub(super) fn taking(
        &self,
        take: Option<Take<'_>>,
        memory: &mut Memory,
        team: &mut Team,
        work: impl FnOnce(Option<Tallies>, &mut Memory, &mut Team),
    ) {
        assert!(take.is_none() || self.takes_moments(), "moments of a convolution in groups");
        let slots = self.groups_of(memory.images()) * self.target.height().div_ceil(self.band());
        taking(take, slots, &self.target, memory, team, work);
    }

    /// Rows of a part, but for the last of an image.
    fn band(&self) -> usize {
        self.parts.first().map_or(1, |part| part.rows.len())
    }

    /// Where what a part writes of a group of images is added up.
    pub(super) fn slot(&self, group: usize, part: &Part) -> usize {
        group * self.target.height().div_ceil(self.band()) + part.rows.start / self.band()
    }

    /// Groups of images that share runs, of so many images.
    pub(super) fn groups_of(&self, images: usize) -> usize {
        images.div_ceil(self.together)
    }

    /// The images of a group.
    pub(super) fn images_of(&self, group: usize, images: usize) -> Range<usize> {
        let groups = self.groups_of(images);
        group * images / groups..(group + 1) * images / groups
    }

    /// Computes some rows of one image, of a convolution that has one grid and no groups. Whoever calls it has checked the memory
    /// behind the ground, and that nobody else touches these rows of the target.
    pub(super) fn run_rows(&self, weights: &ConvWeights, rows: Range<usize>, ground: Ground) {
        let (like, packed) = (&self.parts[0], weights.packed.as_ptr());
        let band = like.rows.len();
        for first in rows.clone().step_by(band) {
            let rows = first..(first + band).min(rows.end);
            let strip = |of: Strip| Strip {
                plane_len: of.plane_len,
                ..Strip::of(&self.grids[0], rows.clone(), like.sources.len())
            };
            let (panels, sources) = (0..self.panels.len(), like.sources.clone());
            let part = Part { grid: 0, strip: like.strip.map(strip), rows: rows.clone(), panels, sources };
            let (images, image_len, tallies) = (1, 0, None);
            self.isa.run(PartOf { conv: self, part: &part, weights, packed, ground, images, image_len, tallies });
        }
    }

    /// Floats of scratch each thread needs: the totals of a run of pixels, then the strips of the images of a run, or the offsets of
    /// a panel whose k-blocks lie in a band.
    pub fn scratch_len(&self) -> usize {
        let offsets = if self.in_band.source.is_empty() { 0 } else { self.most_offsets() * OFFSET };
        TOTALS + (self.together * self.strip_len).max(offsets)
    }

    /// K-blocks of a panel, at most.
    fn most_offsets(&self) -> usize {
        self.panels.iter().flat_map(|p| &p.offsets).map(Vec::len).max().unwrap_or(0)
    }
}

/// One part of some images, as a body for any instruction set. Whoever makes it has checked that the memory holds all values
/// and the scratch, and gives every part to one thread.
pub(super) struct PartOf<'a> {
    pub conv: &'a Conv,
    pub part: &'a Part,
    /// Bias and prologue.
    pub weights: &'a ConvWeights,
    /// Where the packed weights of the first panel lie, or would lie: those of the part's panels are there.
    pub packed: *const f32,
    /// Where the first of its images lies, how many there are, and the floats from one to the next.
    pub ground: Ground,
    pub images: usize,
    pub image_len: usize,
    /// Where its results are added up, and in which slot.
    pub tallies: Option<(Tallies, usize)>,
}

impl Body for PartOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (conv, part) = (self.conv, self.part);
        let Ground { image, scratch: totals, .. } = self.ground;
        let grid = &conv.grids[part.grid];
        let (source, image_len) = match &part.strip {
            Some(strip) => {
                let strips = totals.wrapping_add(TOTALS);
                for i in 0..self.images {
                    let ground = self.ground.image_after(i * self.image_len);
                    let scratch = strips.wrapping_add(i * conv.strip_len);
                    // SAFETY: the source lies inside the image's share and the strip fits the scratch, which is the worker's.
                    unsafe { conv.fill(s, part, strip, &self.weights.prologue, ground, scratch) };
                }
                (strips.cast_const(), conv.strip_len)
            }
            None => {
                let first = part.rows.start * grid.source_step[0] * conv.source.width() * LANES;
                (image.wrapping_add(first).cast_const(), self.image_len)
            }
        };
        let target = part.rows.start * grid.step[0] * conv.target.width() * LANES;
        let base = if conv.in_band.target { self.ground.band } else { image };
        let taps = grid.taps.len();
        let in_band = conv.in_band.source.start * taps..conv.in_band.source.end * taps;
        let is_moved = !in_band.is_empty() && part.strip.is_none();
        let joined;
        let mut pixels = &conv.pixels[part.grid][..part.rows.len() * grid.size[1]];
        if self.images > 1 {
            joined = self.join(pixels, [image_len, self.image_len]);
            pixels = &joined[..self.images * pixels.len()];
        }
        let runs = pixels.len().div_ceil(RUN);
        for panel in &conv.panels[part.panels.clone()] {
            let mut offsets = &panel.offsets[part.grid][..];
            if is_moved {
                // SAFETY: the scratch behind the totals holds a panel's offsets where there is no strip; it is the worker's.
                offsets = unsafe { moved(offsets, &in_band, self.ground.to_band(), totals.wrapping_add(TOTALS)) };
            }
            let bias = &self.weights.bias[panel.blocks.start * LANES..];
            let packed = self.packed.wrapping_add(panel.weights[part.grid]);
            let run = Run { conv, panel, packed, bias, source, offsets, base, target, totals };
            for pixels in pixels.chunks(pixels.len().div_ceil(runs)) {
                // SAFETY: `Conv::run` has checked the lengths, `Conv::new` the values; parts write different pixels or
                // different blocks of the target, which is apart from the source. A panel has as many blocks as said.
                unsafe {
                    match panel.blocks.len() {
                        1 => run.pixels::<S, 1>(s, pixels),
                        4 if S::VECTORS == 4 => run.pixels::<S, 4>(s, pixels),
                        _ => run.pixels::<S, 2>(s, pixels),
                    }
                }
                if let Some((tallies, slot)) = self.tallies {
                    // Of an image, pixels of neighbouring rows lie side by side.
                    let columns = pixels.len() / self.images;
                    let first = target + pixels[0].to;
                    let region = Region { first, rows: self.images, columns, row_len: self.image_len };
                    let blocks = panel.blocks.clone();
                    // SAFETY: these pixels have just been written; a part has its slot's sums of its panels to itself.
                    unsafe { tallies.add(s, (slot, blocks), (&conv.target, base), region) };
                }
            }
        }
    }
}

impl PartOf<'_> {
    /// The pixels of all its images, which lie so many floats apart in the source and in the target.
    fn join(&self, pixels: &[Pixel], [from, to]: [usize; 2]) -> [Pixel; RUN] {
        let of_image = |i: usize| pixels.iter().map(move |p| Pixel { from: p.from + i * from, to: p.to + i * to });
        let mut joined = [Pixel::default(); RUN];
        joined.iter_mut().zip((0..self.images).flat_map(of_image)).for_each(|(place, pixel)| *place = pixel);
        joined
    }
}

/// The offsets of k-blocks, those in a band moved by so many floats. They are written down before the loops over pixels, which
/// have no register left for telling blocks apart, and by a function of its own: the compiler would keep vectors for it through
/// the tiles.
///
/// # Safety
/// `room` has [`OFFSET`] floats for each of them, at an address where an offset may lie, and nobody else touches it as long as
/// they are read.
#[inline(never)]
unsafe fn moved<'a>(offsets: &[isize], in_band: &Range<usize>, by: isize, room: *mut f32) -> &'a [isize] {
    let to = room.cast::<isize>();
    for (k, &offset) in offsets.iter().enumerate() {
        let by = if in_band.contains(&k) { by } else { 0 };
        // SAFETY: the function's own promise.
        unsafe { to.add(k).write(offset + by) };
    }
    // SAFETY: as many have been written.
    unsafe { std::slice::from_raw_parts(to, offsets.len()) }
}

/// A panel and the pixels of a part.
struct Run<'a> {
    conv: &'a Conv,
    panel: &'a Panel,
    /// Its weights for the part's grid.
    packed: *const f32,
    bias: &'a [f32],
    source: *const f32,
    /// From an output pixel's first source float to the panel's k-blocks.
    offsets: &'a [isize],
    /// What the target's blocks count from, and those of its residuals.
    base: *mut f32,
    /// The target float, in a block, that pixels count from.
    target: usize,
    totals: *mut f32,
}

impl Run<'_> {
    /// Computes up to [`RUN`] pixels. A chain goes over all of them before the next begins, so that its weights come from
    /// the first-level cache.
    ///
    /// # Safety
    /// The strip is filled, the memory holds source and target, nobody else touches these pixels of the panel or the
    /// totals; `V` is the number of the panel's blocks.
    #[inline(always)]
    unsafe fn pixels<S: Simd, const V: usize>(&self, s: S, pixels: &[Pixel]) {
        let conv = self.conv;
        let offsets = self.offsets;
        let bias = self.bias.as_ptr();
        let step = conv.floats_of_a_k_block(V);
        let finish = conv.finish::<V>(self.panel, self.target, self.base);
        let tiling = Tiling::of::<S, V>(pixels.len());
        let chains = offsets.len().div_ceil(CHAIN).max(1);
        for (n, first) in (0..chains).map(|n| (n, n * CHAIN)) {
            let chain = Chain {
                offsets: &offsets[first..(first + CHAIN).min(offsets.len())],
                weights: self.packed.wrapping_add(first * step),
                step,
                bias: (n == 0).then_some(bias),
                lanewise: conv.lanewise,
                neighbours: true,
            };
            let next = chain.weights.wrapping_add(chain.offsets.len() * step);
            // A single tile streams its weights anyway.
            let lines = if tiling.count() > 1 { CHAIN * step / LINE } else { 0 };
            let mut ahead = Ahead::of(next, lines, tiling.count() * chain.offsets.len());
            for tile in tiling.tiles() {
                let from = |p: usize| self.source.wrapping_add(pixels[tile.start + p].from);
                // The sums of a single chain need not be kept from tile to tile.
                let totals = if chains == 1 { self.totals } else { self.totals.wrapping_add(tile.start * V * LANES) };
                let is_last = n + 1 == chains;
                if is_last {
                    finish.ask(s, &pixels[tile.clone()]);
                }
                // SAFETY: k-blocks lie in the strip or the source, `packed` holds the panel's weights for this grid, the
                // bias eight numbers for every block, and the totals have room for a run of pixels. The rest is the
                // function's own promise.
                unsafe {
                    chain.tile::<S, V>(s, from, tile.len(), totals, &mut ahead);
                    if is_last {
                        finish.store(s, &pixels[tile.clone()], totals);
                    }
                }
            }
        }
    }
}
