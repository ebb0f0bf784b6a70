//! Weights at the points, in the order in which the products read them.

use super::polyphase::{F2Strided, F4Strided};
use super::scheme::{F2, F4, Scheme};
use super::{GROUP, TAPS, Winograd, WinogradTile, odd_lines};
use crate::conv::{PANEL, weights::scatter};
use crate::{AlignedBuf, Block, LANES};

/// The weights of a [`Winograd`], transformed and packed.
#[derive(Clone, Debug)]
pub struct WinogradWeights {
    /// For every group, point, panel and source block: eight source lanes of the panel's target lanes.
    pub(super) packed: AlignedBuf,
    /// For every block of the target eight numbers.
    pub(super) bias: AlignedBuf,
}

impl WinogradWeights {
    /// Whether they have the lengths that a convolution reads.
    pub(super) fn fit(&self, winograd: &Winograd) -> bool {
        let blocks = winograd.target.blocks().len();
        [self.packed.len(), self.bias.len()] == [winograd.packed_len(), blocks * LANES]
    }

    /// Bytes they take.
    pub fn bytes(&self) -> usize {
        (self.packed.len() + self.bias.len()) * size_of::<f32>()
    }
}

impl Winograd {
    /// Floats of the weights of so many target blocks, at one point.
    pub(super) fn floats_of_a_point(&self, blocks: usize) -> usize {
        odd_lines(self.source.blocks().len() * LANES * blocks * LANES)
    }

    /// Floats of all weights of a group that is not the last.
    pub(super) fn floats_of_a_group(&self) -> usize {
        self.tile.points() * self.floats_of_a_point(GROUP)
    }

    fn packed_len(&self) -> usize {
        let last = self.groups() - 1;
        last * self.floats_of_a_group() + self.tile.points() * self.floats_of_a_point(self.group(last).len())
    }

    /// Transforms and packs a weight `[out, in, 3, 3]` and a bias `[out]`. The transform is computed in double precision
    /// and rounded once.
    ///
    /// # Panics
    /// If their lengths are not those of the convolution.
    pub fn pack(&self, weight: &[f32], bias: Option<&[f32]>) -> WinogradWeights {
        let [sources, targets] = [self.source.channels(), self.target.channels()];
        let expected = sources * targets * TAPS * TAPS;
        assert!(weight.len() == expected, "{} numbers for {expected} weights", weight.len());
        assert!(bias.is_none_or(|b| b.len() == targets), "a bias for each of {targets} channels");
        let blocks = self.target.blocks().len();
        let mut weights =
            WinogradWeights { packed: AlignedBuf::zeroed(self.packed_len()), bias: AlignedBuf::zeroed(blocks * LANES) };
        for (group, packed) in weights.packed.chunks_mut(self.floats_of_a_group()).enumerate() {
            match self.tile {
                WinogradTile::F2 => self.pack_group(&F2::weights(), packed, group, weight),
                WinogradTile::F4 => self.pack_group(&F4::weights(), packed, group, weight),
                WinogradTile::F2Strided => self.pack_group(&F2Strided::weights(), packed, group, weight),
                WinogradTile::F4Strided => self.pack_group(&F4Strided::weights(), packed, group, weight),
            }
        }
        if let Some(bias) = bias {
            scatter(&self.target, bias, weights.bias.chunks_exact_mut(LANES));
        }
        weights
    }

    fn pack_group<const N: usize>(&self, g: &[[f64; TAPS]; N], packed: &mut [f32], group: usize, weight: &[f32]) {
        let sources = self.source.blocks();
        let targets = &self.target.blocks()[self.group(group)];
        let point_len = packed.len() / (N * N);
        let mut panel_start = 0;
        for panel in targets.chunks(PANEL) {
            let row_len = panel.len() * LANES;
            for (s, source) in sources.iter().enumerate() {
                for lane in 0..source.count {
                    for (v, target) in panel.iter().enumerate() {
                        let points = self.points_of(g, source.first + lane, target, weight);
                        let at = panel_start + (s * LANES + lane) * row_len + v * LANES;
                        for (point, numbers) in points.as_flattened().iter().enumerate() {
                            packed[point * point_len + at..][..LANES].copy_from_slice(numbers);
                        }
                    }
                }
            }
            panel_start += sources.len() * LANES * row_len;
        }
    }

    /// `G g G^T` for one source channel and the lanes of a target block, zero in pad lanes.
    fn points_of<const N: usize>(
        &self,
        g: &[[f64; TAPS]; N],
        channel: usize,
        target: &Block,
        weight: &[f32],
    ) -> [[[f32; LANES]; N]; N] {
        let mut taps = [[[0.0; LANES]; TAPS]; TAPS];
        for lane in 0..target.count {
            let first = ((target.first + lane) * self.source.channels() + channel) * TAPS * TAPS;
            for (tap, &number) in taps.as_flattened_mut().iter_mut().zip(&weight[first..first + TAPS * TAPS]) {
                tap[lane] = f64::from(number);
            }
        }
        let columns: [[[f64; LANES]; TAPS]; N] =
            std::array::from_fn(|i| std::array::from_fn(|x| combine(&g[i], [taps[0][x], taps[1][x], taps[2][x]])));
        std::array::from_fn(|i| std::array::from_fn(|j| combine(&g[j], columns[i]).map(|number| number as f32)))
    }
}

/// Three vectors, each times its factor, added.
fn combine(factors: &[f64; TAPS], [a, b, c]: [[f64; LANES]; TAPS]) -> [f64; LANES] {
    std::array::from_fn(|lane| factors[0] * a[lane] + factors[1] * b[lane] + factors[2] * c[lane])
}
