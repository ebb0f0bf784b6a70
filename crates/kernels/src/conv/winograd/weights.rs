//! Weights at the points, in the order in which the products read them.

use std::sync::{Mutex, PoisonError};

use super::polyphase::{F2Strided, F4Strided};
use super::scheme::{F2, F4, Scheme};
use super::{GROUP, TAPS, Winograd, WinogradTile, odd_lines};
use crate::conv::PANEL;
use crate::conv::weights::{Numbers, Piece, Rooms, scatter};
use crate::simd::{Body, Simd};
use crate::{AlignedBuf, Block, LANES, Team};

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
            let room = &mut rooms.of_worker(worker);
            match self.tile {
                WinogradTile::F2 => self.pack_group(&F2::weights(), packed, group, weight, room),
                WinogradTile::F4 => self.pack_group(&F4::weights(), packed, group, weight, room),
                WinogradTile::F2Strided => self.pack_group(&F2Strided::weights(), packed, group, weight, room),
                WinogradTile::F4Strided => self.pack_group(&F4Strided::weights(), packed, group, weight, room),
            }
        });
        drop(groups);
        if let Some(bias) = bias {
            scatter(&self.target, bias, weights.bias.chunks_exact_mut(LANES));
        }
        weights
    }

    fn pack_group<const N: usize>(
        &self,
        g: &[[f64; TAPS]; N],
        packed: &mut [f32],
        group: usize,
        weight: Numbers<'_>,
        room: &mut Vec<f32>,
    ) {
        let targets = &self.target.blocks()[self.group(group)];
        let channels = self.source.channels();
        let mut start = 0;
        for panel in targets.chunks(PANEL) {
            let count: usize = panel.iter().map(|b| b.count).sum();
            let [from, to] = [panel[0].first, panel[0].first + count].map(|c| c * channels * TAPS * TAPS);
            let weight = weight.piece(from..to, room);
            self.isa.run(PackPanel { winograd: self, g, panel, start, weight, packed });
            start += self.source.blocks().len() * LANES * panel.len() * LANES;
        }
    }
}

/// The packing of a panel, as a body for any instruction set.
struct PackPanel<'a, const N: usize> {
    winograd: &'a Winograd,
    g: &'a [[f64; TAPS]; N],
    panel: &'a [Block],
    /// Where in the part of each point the panel begins.
    start: usize,
    weight: Piece<'a>,
    packed: &'a mut [f32],
}

impl<const N: usize> Body for PackPanel<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let row_len = self.panel.len() * LANES;
        let point_len = self.packed.len() / (N * N);
        for (s, source) in self.winograd.source.blocks().iter().enumerate() {
            for lane in 0..source.count {
                for (v, target) in self.panel.iter().enumerate() {
                    let points = self.points_of(source.first + lane, target);
                    let at = self.start + (s * LANES + lane) * row_len + v * LANES;
                    for (point, numbers) in points.as_flattened().iter().enumerate() {
                        self.packed[point * point_len + at..][..LANES].copy_from_slice(numbers);
                    }
                }
            }
        }
    }
}

impl<const N: usize> PackPanel<'_, N> {
    /// `G g G^T` for one source channel and the lanes of a target block, zero in pad lanes.
    #[inline(always)]
    fn points_of(&self, channel: usize, target: &Block) -> [[[f32; LANES]; N]; N] {
        let mut taps = [[[0.0; LANES]; TAPS]; TAPS];
        for lane in 0..target.count {
            let first = ((target.first + lane) * self.winograd.source.channels() + channel) * TAPS * TAPS;
            let numbers = &self.weight.from(first)[..TAPS * TAPS];
            for (tap, &number) in taps.as_flattened_mut().iter_mut().zip(numbers) {
                tap[lane] = f64::from(number);
            }
        }
        let mut columns = [[[0.0; LANES]; TAPS]; N];
        let mut points = [[[0.0; LANES]; N]; N];
        for i in 0..N {
            for x in 0..TAPS {
                columns[i][x] = combine(&self.g[i], [taps[0][x], taps[1][x], taps[2][x]]);
            }
            for j in 0..N {
                let point = combine(&self.g[j], columns[i]);
                for lane in 0..LANES {
                    points[i][j][lane] = point[lane] as f32;
                }
            }
        }
        points
    }
}

/// Three vectors, each times its factor, added.
#[inline(always)]
fn combine(factors: &[f64; TAPS], [a, b, c]: [[f64; LANES]; TAPS]) -> [f64; LANES] {
    let mut sums = [0.0; LANES];
    for lane in 0..LANES {
        sums[lane] = factors[0] * a[lane] + factors[1] * b[lane] + factors[2] * c[lane];
    }
    sums
}
