//! Weights rounded to bfloat16, in the order in which tiles read them.

use std::ops::Range;

use super::tiles::{DEPTH, SIDE, STEP};
use super::{GROUP, TileConv};
use crate::bfloat16::rounded;
use crate::share::share;
use crate::{AlignedBuf, LANES, Team};

/// The weights of a [`TileConv`], packed; by default the memory for some.
#[derive(Clone, Debug, Default)]
pub struct TileWeights {
    /// For every group of target blocks and every step the second factor of a product.
    pub(super) packed: AlignedBuf,
    /// For every channel of the target a number.
    pub(super) bias: AlignedBuf,
}

impl TileConv {
    /// Numbers of the weight.
    fn numbers(&self) -> usize {
        self.source.channels() * self.target.channels() * self.taps()
    }

    fn taps(&self) -> usize {
        self.grid.kernel.iter().product()
    }

    /// Floats of the packed weights of a group of target blocks.
    fn packed_len(&self) -> usize {
        self.steps.len() * STEP / 2
    }

    /// The packed weights of a group of target blocks.
    pub(super) fn packed_group(&self, weights: &TileWeights, group: usize) -> *const u16 {
        weights.packed[group * self.packed_len()..][..self.packed_len()].as_ptr().cast()
    }

    /// Packs a weight, `[out, in, kh, kw]`, and a bias, `[out]`.
    ///
    /// # Panics
    /// If their lengths are not the convolution's.
    pub(super) fn pack(&self, weights: &mut TileWeights, weight: &[f32], bias: Option<&[f32]>, team: &mut Team) {
        assert!(weight.len() == self.numbers(), "{} numbers for {} weights", weight.len(), self.numbers());
        let channels = self.target.channels();
        weights.bias.set_len(channels);
        match bias {
            Some(bias) => weights.bias.copy_from_slice(bias),
            None => weights.bias.fill(0.0),
        }
        let (len, groups) = (self.packed_len(), self.target_groups());
        weights.packed.set_len(groups * len);
        share(
            [&mut weights.packed],
            groups,
            |group| group * len,
            team,
            |group, [packed]| {
                // SAFETY: a float is two numbers of 16 bits, any of which are allowed in both.
                let packed =
                    unsafe { std::slice::from_raw_parts_mut(packed.as_mut_ptr().cast::<u16>(), 2 * packed.len()) };
                // What lies behind the last channels is multiplied as well.
                packed.fill(0);
                match self.transposed {
                    false => self.pack_group(packed, weight, group),
                    true => self.pack_group_transposed(packed, weight, group),
                }
            },
        );
    }

    /// Where the number of a source channel and a channel of the target's group lies, for the first tap; the next one's is
    /// [`TileConv::tap_len`] further.
    fn place(source: usize, target: usize) -> usize {
        let (step, k) = (source / DEPTH, source % DEPTH);
        let (half, column) = (target / (SIDE / 2), target % (SIDE / 2));
        step * STEP + half * (STEP / 2) + k / 2 * SIDE + column * 2 + k % 2
    }

    fn tap_len(&self) -> usize {
        self.source_groups() * STEP
    }

    /// Channels of a group of target blocks.
    fn channels(&self, group: usize) -> Range<usize> {
        let blocks = self.blocks(group);
        blocks.start * LANES..blocks.end * LANES
    }

    fn pack_group(&self, packed: &mut [u16], weight: &[f32], group: usize) {
        let (sources, taps, tap_len) = (self.source.channels(), self.taps(), self.tap_len());
        for (i, target) in self.channels(group).enumerate() {
            let rows = weight[target * sources * taps..][..sources * taps].chunks_exact(taps);
            for (source, row) in rows.enumerate() {
                let places = packed[Self::place(source, i)..].iter_mut().step_by(tap_len);
                row.iter().zip(places).for_each(|(&w, to)| *to = rounded(w));
            }
        }
    }

    /// Backward, the weight's inputs are the target's channels, and its taps are met from the other end.
    fn pack_group_transposed(&self, packed: &mut [u16], weight: &[f32], group: usize) {
        let (targets, taps, tap_len) = (self.target.channels(), self.taps(), self.tap_len());
        let channels = self.channels(group);
        for source in 0..self.source.channels() {
            let rows = &weight[(source * targets + channels.start) * taps..][..channels.len() * taps];
            for (i, row) in rows.chunks_exact(taps).enumerate() {
                let places = packed[Self::place(source, i)..].iter_mut().step_by(tap_len);
                row.iter().rev().zip(places).for_each(|(&w, to)| *to = rounded(w));
            }
        }
    }
}

const _: () = assert!(SIDE == GROUP * LANES && DEPTH == SIDE, "a group of blocks is as wide as a tile and as deep");
