//! Running a convolution with a weight as it was learnt: where the weight is large and the images are small, a thread packs the few
//! panels it is about to run and computes all images with them, so that packed weights stay in the second-level cache and never
//! travel to memory.
//!
//! Training does so, for its weights change with every step. No bit depends on how it is done. Not here: how weights are packed
//! ([`super::weights`]) and parts are run ([`super::run`]).

use super::ground::Ground;
use super::run::PartOf;
use super::tile::LINE;
use super::weights::{PackPanels, Piece};
use super::{Conv, ConvWeights, Part};
use crate::moments::Take;
use crate::{LANES, Memory, Team};

/// Floats of packed weights that the second-level cache holds beside the source.
const PACKED: usize = 256 * 1024;

/// The same, at most, of panels that share strips, which would else be filled more often.
const PACKED_BESIDE_STRIPS: usize = 2 * PACKED;

/// Floats of packed weights, below which the caches hold them all.
const LEAST: usize = 128 * 1024;

/// Pieces that panels are cut into at least, for threads to share.
const PIECES: usize = 4;

impl Conv {
    /// Computes all images of the memory, with what [`Conv::pack`] packs; `weights` is memory for that. It takes the moments of what it
    /// writes if it is asked for them.
    ///
    /// # Panics
    /// As [`Conv::pack`] and [`Conv::run_taking`]; the scratch is that of [`Conv::unpacked_scratch_len`].
    pub fn run_unpacked(
        &self,
        weight: &[f32],
        bias: Option<&[f32]>,
        prologue: Option<(&[f32], &[f32])>,
        (weights, take): (&mut ConvWeights, Option<Take<'_>>),
        memory: &mut Memory,
        team: &mut Team,
    ) {
        let source = self.source.blocks().len() * LANES * self.source.pixels();
        match self.panels_a_piece() {
            // Every piece reads the source of all images.
            Some(size) if memory.images() * source <= self.packed_len => {
                self.pack_others(weights, weight.len(), bias, prologue);
                self.run_pieces(size, weight, (weights, take), memory, team);
            }
            _ => {
                self.repack(weights, weight, bias, prologue, team);
                self.run_taking(weights, take, memory, team);
            }
        }
    }

    /// Floats of scratch that each thread needs for [`Conv::run_unpacked`].
    pub fn unpacked_scratch_len(&self) -> usize {
        self.room() + self.panels_a_piece().map_or(0, |size| self.packed(0..size).len())
    }

    /// Where the packed weights of a piece lie in the scratch: behind what a run takes.
    fn room(&self) -> usize {
        self.scratch_len().next_multiple_of(LINE)
    }

    /// Panels that are packed at a time, where it may be worth it.
    pub(super) fn panels_a_piece(&self) -> Option<usize> {
        // All panels see the whole source, so that each piece is made of the same bands.
        if self.group != [self.source.channels(), self.target.channels()] || self.packed_len < LEAST {
            return None;
        }
        let (of_a_panel, most) = (self.packed(0..1).len(), self.panels.len() / PIECES);
        let (size, room) = if self.parts.iter().all(|part| part.strip.is_none()) {
            ((PACKED / of_a_panel).clamp(1, most.max(1)), usize::MAX)
        } else {
            // Each piece fills the strips anew, so there must not be more of them than parts share the panels.
            (self.bands().map(|part| part.panels.len()).max()?, PACKED_BESIDE_STRIPS)
        };
        (size <= most && size * of_a_panel <= room).then_some(size)
    }

    /// The parts that have the first panel: their bands are those of all panels.
    fn bands(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.panels.start == 0)
    }

    fn run_pieces(
        &self,
        size: usize,
        weight: &[f32],
        (others, take): (&ConvWeights, Option<Take<'_>>),
        memory: &mut Memory,
        team: &mut Team,
    ) {
        memory.check(self.end, self.unpacked_scratch_len(), team);
        let weight = Piece::whole(weight);
        self.taking(take, memory, team, |tallies, memory, team| {
            let (all, shared) = (memory.images(), memory.share());
            team.run(self.panels.len().div_ceil(size), &|piece, worker| {
                let panels = piece * size..((piece + 1) * size).min(self.panels.len());
                let (range, room) = (self.packed(panels.clone()), shared.scratch(worker).wrapping_add(self.room()));
                // SAFETY: the worker's scratch, which nobody else touches, ends with room for a piece; pieces but the last are of the
                // same size, and no panel is wider than the first.
                let packed = unsafe { std::slice::from_raw_parts_mut(room, range.len()) };
                self.isa.run(PackPanels { conv: self, panels: panels.clone(), packed, weight });
                let packed = room.wrapping_sub(range.start).cast_const();
                for group in 0..self.groups_of(all) {
                    let images = self.images_of(group, all);
                    let ground = Ground::of(shared, images.start, worker);
                    for like in self.bands() {
                        let part = Part {
                            panels: panels.clone(),
                            rows: like.rows.clone(),
                            sources: like.sources.clone(),
                            ..*like
                        };
                        self.isa.run(PartOf {
                            conv: self,
                            part: &part,
                            weights: others,
                            packed,
                            ground,
                            images: images.len(),
                            image_len: shared.image_len(),
                            tallies: tallies.map(|tallies| (tallies, self.slot(group, &part))),
                        });
                    }
                }
            });
        });
    }
}
