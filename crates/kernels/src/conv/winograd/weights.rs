//! Weights as they were learnt, in the order in which their transform reads them.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::{GROUP, PAIR, TAPS, Winograd};
use crate::conv::weights::{Numbers, Rooms, gather, scatter};
use crate::{AlignedBuf, Block, LANES, Team};

/// The weights of a [`Winograd`], packed; by default the memory for some.
#[derive(Clone, Debug, Default)]
pub struct WinogradWeights {
    /// For every group, source block and lane, every tap and every pair of the group's blocks sixteen floats.
    pub(super) packed: AlignedBuf,
    /// For every block of the target eight numbers.
    pub(super) bias: AlignedBuf,
}

impl WinogradWeights {
    /// Whether they have the lengths that a convolution reads.
    pub(in crate::conv) fn fit(&self, winograd: &Winograd) -> bool {
        let blocks = winograd.target.blocks().len();
        [self.packed.len(), self.bias.len()] == [winograd.packed_len(), blocks * LANES]
    }

    /// Bytes they take.
    pub fn bytes(&self) -> usize {
        (self.packed.len() + self.bias.len()) * size_of::<f32>()
    }
}

impl Winograd {
    /// Floats of one source block's weights in a group.
    pub(super) fn floats_of_a_block(&self, group: usize) -> usize {
        LANES * TAPS * TAPS * self.pairs(group) * PAIR
    }

    /// Floats of all weights of a group that is not the last.
    pub(super) fn floats_of_a_group(&self) -> usize {
        self.source.blocks().len() * LANES * TAPS * TAPS * GROUP * LANES
    }

    fn packed_len(&self) -> usize {
        let last = self.groups() - 1;
        last * self.floats_of_a_group() + self.source.blocks().len() * self.floats_of_a_block(last)
    }

    /// Packs a weight `[out, in, 3, 3]` and a bias `[out]`.
    ///
    /// # Panics
    /// If their lengths are not those of the convolution.
    pub fn pack(&self, weight: &[f32], bias: Option<&[f32]>) -> WinogradWeights {
        self.pack_pieces(Numbers::Whole(weight), bias, &mut Team::new(1))
    }

    /// Packs as [`Winograd::pack`] does; the team shares the work.
    ///
    /// # Panics
    /// As [`Winograd::pack`].
    pub fn pack_pieces(&self, weight: Numbers<'_>, bias: Option<&[f32]>, team: &mut Team) -> WinogradWeights {
        let mut weights = WinogradWeights::default();
        self.repack(&mut weights, weight, bias, team);
        weights
    }

    /// Packs into the memory of other weights, of this convolution or of another; the team shares the work.
    ///
    /// # Panics
    /// As [`Winograd::pack`].
    pub fn repack(&self, weights: &mut WinogradWeights, weight: Numbers<'_>, bias: Option<&[f32]>, team: &mut Team) {
        let [sources, targets] = [self.source.channels(), self.target.channels()];
        let expected = sources * targets * TAPS * TAPS;
        assert!(weight.len() == expected, "{} numbers for {expected} weights", weight.len());
        assert!(bias.is_none_or(|b| b.len() == targets), "a bias for each of {targets} channels");
        weights.packed.set_len(self.packed_len());
        weights.bias.set_len(self.target.blocks().len() * LANES);
        // The locks only tell the compiler that each group belongs to one thread.
        let groups: Vec<Mutex<_>> = weights.packed.chunks_mut(self.floats_of_a_group()).map(Mutex::new).collect();
        let rooms = Rooms::of(team);
        team.run(groups.len(), &|group, worker| {
            let packed = &mut groups[group].lock().unwrap_or_else(PoisonError::into_inner)[..];
            self.pack_group(packed, group, weight, &mut rooms.of_worker(worker));
        });
        drop(groups);
        match bias {
            Some(bias) => scatter(&self.target, bias, weights.bias.chunks_exact_mut(LANES)),
            None => weights.bias.fill(0.0),
        }
    }

    fn pack_group(&self, packed: &mut [f32], group: usize, weight: Numbers<'_>, room: &mut Vec<f32>) {
        let row_len = self.pairs(group) * PAIR;
        let targets = &self.target.blocks()[self.group(group)];
        let weight = weight.piece(self.numbers_of(targets, weight.len()), room);
        let [from_step, to_step] = self.steps();
        for (source, block) in self.source.blocks().iter().zip(packed.chunks_exact_mut(LANES * TAPS * TAPS * row_len)) {
            for (lane, rows) in block.chunks_exact_mut(TAPS * TAPS * row_len).enumerate() {
                for (tap, row) in rows.chunks_exact_mut(row_len).enumerate() {
                    // Backward, what came through the first tap leaves through the last.
                    let tap = if self.transposed { TAPS * TAPS - 1 - tap } else { tap };
                    for (v, lanes) in row.chunks_exact_mut(LANES).enumerate() {
                        let count = if lane < source.count { targets.get(v).map_or(0, |t| t.count) } else { 0 };
                        if let Some(target) = targets.get(v).filter(|_| count > 0) {
                            let first = (source.first + lane) * from_step + target.first * to_step + tap;
                            gather(&mut lanes[..count], weight.from(first), to_step);
                        }
                        lanes[count..].fill(0.0);
                    }
                }
            }
        }
    }

    /// Which of a weight's numbers lead to some target blocks.
    fn numbers_of(&self, targets: &[Block], all: usize) -> Range<usize> {
        if self.transposed {
            // The target's channels are columns of the weight.
            return 0..all;
        }
        let count: usize = targets.iter().map(|target| target.count).sum();
        let [from, to] = [0, count].map(|more| (targets[0].first + more) * self.source.channels() * TAPS * TAPS);
        from..to
    }

    /// Numbers of the weight from one channel to the next, of the source and of the target.
    fn steps(&self) -> [usize; 2] {
        let taps = TAPS * TAPS;
        if self.transposed { [self.target.channels() * taps, taps] } else { [taps, self.source.channels() * taps] }
    }
}
