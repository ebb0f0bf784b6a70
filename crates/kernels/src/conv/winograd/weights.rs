//! Weights as they were learnt, in the order in which their transform reads them.

use std::ops::Range;

use super::{GROUP, PAIR, TAPS, Winograd};
use crate::conv::turn::Turn;
use crate::conv::weights::{Numbers, Piece, gather, scatter};
use crate::share::share_evenly;
use crate::simd::{Body, Simd};
use crate::{AlignedBuf, Block, LANES, Team};

/// The weights of a [`Winograd`], packed; by default the memory for some.
#[derive(Clone, Debug, Default)]
pub struct WinogradWeights {
    /// For every group, source block and lane, every tap and every pair of the group's blocks sixteen floats.
    pub(super) packed: AlignedBuf,
    /// For every block of the target eight numbers.
    pub(super) bias: AlignedBuf,
}

/// A group whose weights are packed, as a body for any instruction set.
pub(super) struct PackGroup<'a> {
    pub winograd: &'a Winograd,
    pub packed: &'a mut [f32],
    pub group: usize,
    pub weight: Numbers<'a>,
}

impl Body for PackGroup<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.winograd.pack_group(s, self.packed, self.group, self.weight);
    }
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

    /// Floats of all weights of a group.
    pub(super) fn floats_of(&self, group: usize) -> usize {
        self.source.blocks().len() * self.floats_of_a_block(group)
    }

    /// The same of a group that is not the last.
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
        self.pack_bias(weights, weight.len(), bias);
        weights.packed.set_len(self.packed_len());
        let size = self.floats_of_a_group();
        share_evenly([&mut weights.packed[..]], size, team, |range, [packed]| {
            self.isa.run(PackGroup { winograd: self, packed, group: range.start / size, weight });
        });
    }

    /// Packs the bias alone; of the weight is looked at whether it has the right length.
    pub(super) fn pack_bias(&self, weights: &mut WinogradWeights, weight_len: usize, bias: Option<&[f32]>) {
        let [sources, targets] = [self.source.channels(), self.target.channels()];
        let expected = sources * targets * TAPS * TAPS;
        assert!(weight_len == expected, "{weight_len} numbers for {expected} weights");
        assert!(bias.is_none_or(|b| b.len() == targets), "a bias for each of {targets} channels");
        weights.bias.set_len(self.target.blocks().len() * LANES);
        match bias {
            Some(bias) => scatter(&self.target, bias, weights.bias.chunks_exact_mut(LANES)),
            None => weights.bias.fill(0.0),
        }
    }

    #[inline(always)]
    fn pack_group<S: Simd>(&self, s: S, packed: &mut [f32], group: usize, weight: Numbers<'_>) {
        let row_len = self.pairs(group) * PAIR;
        let targets = &self.target.blocks()[self.group(group)];
        let mut room = Vec::new();
        let weight = weight.piece(self.numbers_of(targets, weight.len()), &mut room);
        for (source, block) in self.source.blocks().iter().zip(packed.chunks_exact_mut(LANES * TAPS * TAPS * row_len)) {
            for v in 0..row_len / LANES {
                match targets.get(v) {
                    Some(target) if [source.count, target.count] == [LANES; 2] => {
                        self.turn(s, block, v, row_len, (source, target), weight);
                    }
                    target => self.pack_block(block, v, row_len, (source, target), weight),
                }
            }
        }
    }

    /// The weights from a whole block to a whole block, which is a group's vector `v`.
    #[inline(always)]
    fn turn<S: Simd>(
        &self,
        s: S,
        packed: &mut [f32],
        v: usize,
        row_len: usize,
        (source, target): (&Block, &Block),
        weight: Piece<'_>,
    ) {
        let steps = self.steps();
        let turn = Turn { taps: TAPS * TAPS, steps };
        turn.each(s, weight.from(source.first * steps[0] + target.first * steps[1]), |lane, tap, numbers| {
            let at = (lane * TAPS * TAPS + self.tap(tap)) * row_len + v * LANES;
            let lanes: &mut [f32; LANES] = packed[at..].first_chunk_mut().expect("room for every vector");
            // SAFETY: eight floats.
            unsafe { s.store(numbers, lanes.as_mut_ptr()) };
        });
    }

    /// The weights from one block to another, or to none.
    fn pack_block(
        &self,
        packed: &mut [f32],
        v: usize,
        row_len: usize,
        (source, target): (&Block, Option<&Block>),
        weight: Piece<'_>,
    ) {
        let [from_step, to_step] = self.steps();
        for (at, row) in packed.chunks_exact_mut(row_len).enumerate() {
            let (lane, tap) = (at / (TAPS * TAPS), at % (TAPS * TAPS));
            let lanes = &mut row[v * LANES..][..LANES];
            let target = target.filter(|_| lane < source.count);
            let count = target.map_or(0, |target| target.count);
            if let Some(target) = target {
                let first = (source.first + lane) * from_step + target.first * to_step + self.tap(tap);
                gather(&mut lanes[..count], weight.from(first), to_step);
            }
            lanes[count..].fill(0.0);
        }
    }

    /// The weight's tap in the place of another: backward, what came through the first leaves through the last.
    fn tap(&self, tap: usize) -> usize {
        if self.transposed { TAPS * TAPS - 1 - tap } else { tap }
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
