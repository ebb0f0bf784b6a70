//! Weights as they were learnt, in the order in which their transform reads them.

use std::sync::{Mutex, PoisonError};

use super::{GROUP, PAIR, TAPS, Winograd};
use crate::conv::weights::{Numbers, Rooms, scatter};
use crate::{AlignedBuf, LANES, Team};

/// The weights of a [`Winograd`], packed.
#[derive(Clone, Debug)]
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
        let [sources, targets] = [self.source.channels(), self.target.channels()];
        let expected = sources * targets * TAPS * TAPS;
        assert!(weight.len() == expected, "{} numbers for {expected} weights", weight.len());
        assert!(bias.is_none_or(|b| b.len() == targets), "a bias for each of {targets} channels");
        let blocks = self.target.blocks().len();
        let mut weights =
            WinogradWeights { packed: AlignedBuf::zeroed(self.packed_len()), bias: AlignedBuf::zeroed(blocks * LANES) };
        // The locks only tell the compiler that each group belongs to one thread.
        let groups: Vec<Mutex<_>> = weights.packed.chunks_mut(self.floats_of_a_group()).map(Mutex::new).collect();
        let rooms = Rooms::of(team);
        team.run(groups.len(), &|group, worker| {
            let packed = &mut groups[group].lock().unwrap_or_else(PoisonError::into_inner)[..];
            self.pack_group(packed, group, weight, &mut rooms.of_worker(worker));
        });
        drop(groups);
        if let Some(bias) = bias {
            scatter(&self.target, bias, weights.bias.chunks_exact_mut(LANES));
        }
        weights
    }

    fn pack_group(&self, packed: &mut [f32], group: usize, weight: Numbers<'_>, room: &mut Vec<f32>) {
        let (channels, row_len) = (self.source.channels(), self.pairs(group) * PAIR);
        let targets = &self.target.blocks()[self.group(group)];
        let count: usize = targets.iter().map(|target| target.count).sum();
        let [from, to] = [0, count].map(|more| (targets[0].first + more) * channels * TAPS * TAPS);
        let weight = weight.piece(from..to, room);
        for (s, source) in self.source.blocks().iter().enumerate() {
            for lane in 0..source.count {
                let rows = &mut packed[(s * LANES + lane) * TAPS * TAPS * row_len..][..TAPS * TAPS * row_len];
                for (v, target) in targets.iter().enumerate() {
                    for to in 0..target.count {
                        let first = ((target.first + to) * channels + source.first + lane) * TAPS * TAPS;
                        let taps = &weight.from(first)[..TAPS * TAPS];
                        let column = rows[v * LANES + to..].iter_mut().step_by(row_len);
                        column.zip(taps).for_each(|(slot, &tap)| *slot = tap);
                    }
                }
            }
        }
    }
}
