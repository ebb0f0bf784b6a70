//! Weights in the order in which tiles read them.

use super::Conv;
use crate::{AlignedBuf, LANES};

/// The weights of a [`Conv`], packed.
#[derive(Clone, Debug)]
pub struct ConvWeights {
    /// For every panel, grid and k-block: eight source lanes of the panel's target lanes.
    pub(super) packed: AlignedBuf,
    /// For every block of the target eight numbers.
    pub(super) bias: AlignedBuf,
    /// For every block of the source eight scales and eight shifts; empty without a prologue.
    pub(super) prologue: AlignedBuf,
}

impl ConvWeights {
    /// Whether they have the lengths that a convolution reads.
    pub(super) fn fit(&self, conv: &Conv) -> bool {
        let prologue = if conv.fusion.prologue.is_some() { 2 * conv.source.blocks().len() * LANES } else { 0 };
        let expected = [conv.packed_len, conv.target.blocks().len() * LANES, prologue];
        [self.packed.len(), self.bias.len(), self.prologue.len()] == expected
    }

    /// Bytes they take.
    pub fn bytes(&self) -> usize {
        (self.packed.len() + self.bias.len() + self.prologue.len()) * size_of::<f32>()
    }
}

impl Conv {
    /// Packs a weight `[out, in / groups, kh, kw]`, a bias `[out]`, and the scale and shift of the prologue `[in]`.
    ///
    /// # Panics
    /// If their lengths are not those of the convolution.
    pub fn pack(&self, weight: &[f32], bias: Option<&[f32]>, prologue: Option<(&[f32], &[f32])>) -> ConvWeights {
        let with_prologue = if self.fusion.prologue.is_some() { 2 * self.source.blocks().len() * LANES } else { 0 };
        let mut weights = ConvWeights {
            packed: AlignedBuf::zeroed(self.packed_len),
            bias: AlignedBuf::zeroed(self.target.blocks().len() * LANES),
            prologue: AlignedBuf::zeroed(with_prologue),
        };
        self.repack(&mut weights, weight, bias, prologue);
        weights
    }

    /// Packs other numbers into the same memory.
    ///
    /// # Panics
    /// As [`Conv::pack`], or if `weights` were packed for another convolution.
    pub fn repack(
        &self,
        weights: &mut ConvWeights,
        weight: &[f32],
        bias: Option<&[f32]>,
        prologue: Option<(&[f32], &[f32])>,
    ) {
        let [kh, kw] = self.taps_in_kernel;
        let channels = self.target.channels().max(self.source.channels());
        let expected = [self.target.channels() * self.group[0], self.source.channels() * self.group[1]];
        assert!(
            weight.len() == expected[usize::from(self.transposed)] * kh * kw,
            "{channels}: {} weights",
            weight.len()
        );
        assert!(weights.fit(self), "weights of another convolution");
        assert!(prologue.is_some() == self.fusion.prologue.is_some(), "scale and shift belong to a prologue");
        for panel in &self.panels {
            for (grid, &at) in self.grids.iter().zip(&panel.weights) {
                let mut k_blocks = weights.packed[at..].chunks_exact_mut(self.floats_of_a_k_block(panel.blocks.len()));
                for (&source, tap) in panel.sources.iter().flat_map(|s| grid.taps.iter().map(move |t| (s, t))) {
                    let k_block = k_blocks.next().expect("room for every k-block");
                    if self.lanewise {
                        self.pack_lanes(k_block, weight, source, tap.kernel);
                        continue;
                    }
                    for (lane, row) in k_block.chunks_exact_mut(panel.blocks.len() * LANES).enumerate() {
                        self.pack_row(row, weight, panel.blocks.start, source, lane, tap.kernel);
                    }
                }
            }
        }
        match bias {
            Some(bias) => self.scatter(&mut weights.bias, bias),
            None => weights.bias.fill(0.0),
        }
        if let Some((scale, shift)) = prologue {
            for (b, block) in self.source.blocks().iter().enumerate() {
                let channels = block.first..block.first + block.count;
                weights.prologue[2 * b * LANES..][..block.count].copy_from_slice(&scale[channels.clone()]);
                weights.prologue[(2 * b + 1) * LANES..][..block.count].copy_from_slice(&shift[channels]);
            }
        }
    }

    /// A depthwise convolution's weights of one block and tap.
    fn pack_lanes(&self, lanes: &mut [f32], weight: &[f32], source: usize, tap: [usize; 2]) {
        let [kh, kw] = self.taps_in_kernel;
        let block = &self.source.blocks()[source];
        for (lane, slot) in lanes[..block.count].iter_mut().enumerate() {
            *slot = weight[((block.first + lane) * kh + tap[0]) * kw + tap[1]];
        }
    }

    /// One k-step: the weights from one source lane to the lanes of a panel; zero where they share no group.
    fn pack_row(&self, row: &mut [f32], weight: &[f32], first: usize, source: usize, lane: usize, tap: [usize; 2]) {
        let [kh, kw] = self.taps_in_kernel;
        let block = &self.source.blocks()[source];
        for (i, out) in row.chunks_exact_mut(LANES).enumerate() {
            let target = &self.target.blocks()[first + i];
            for (t, slot) in out.iter_mut().enumerate() {
                let (from, to) = (block.first + lane, target.first + t);
                let joined = lane < block.count && t < target.count && from / self.group[0] == to / self.group[1];
                *slot = if joined {
                    let (out, input) =
                        if self.transposed { (from, to % self.group[1]) } else { (to, from % self.group[0]) };
                    let inputs = self.group[usize::from(self.transposed)];
                    weight[((out * inputs + input) * kh + tap[0]) * kw + tap[1]]
                } else {
                    0.0
                };
            }
        }
    }

    fn scatter(&self, lanes: &mut [f32], channels: &[f32]) {
        for (out, block) in lanes.chunks_exact_mut(LANES).zip(self.target.blocks()) {
            out[..block.count].copy_from_slice(&channels[block.first..block.first + block.count]);
        }
    }
}
