//! Weights in the order in which tiles read them.

use std::ops::Range;

use super::taps::{Grid, Tap};
use super::turn::Turn;
use super::{Conv, Panel};
use crate::share::share;
use crate::simd::{Body, Simd};
use crate::{AlignedBuf, Block, LANES, Planes, Team};

/// Taps of the largest kernels whose weights are turned in registers.
const MOST_TAPS: usize = 64;

/// Rows of a weight ahead of that which is copied whose numbers are asked for.
const ROWS_AHEAD: usize = 8;

/// Floats of packed weights that are worth waking another thread for: some ten microseconds.
const PACKED_AT_ONCE: usize = 1 << 14;

/// The weights of a [`Conv`], packed; by default the memory for some.
#[derive(Clone, Debug, Default)]
pub struct ConvWeights {
    /// For every panel, grid and k-block: eight source lanes of the panel's target lanes.
    pub(super) packed: AlignedBuf,
    /// For every block of the target eight numbers.
    pub(super) bias: AlignedBuf,
    /// For every block of the source eight scales and eight shifts, or lower and upper bounds; empty without a prologue.
    pub(super) prologue: AlignedBuf,
}

/// A weight's numbers, as packing gets at them.
#[derive(Clone, Copy)]
pub enum Numbers<'a> {
    /// They are in memory.
    Whole(&'a [f32]),
    /// They are brought piece by piece, by any thread: memory holds little more than the packed weights.
    Pieces {
        /// How many there are.
        len: usize,
        /// Fills a slice with the numbers from a place on.
        read: &'a (dyn Fn(usize, &mut [f32]) + Sync),
    },
}

impl Numbers<'_> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match *self {
            Self::Whole(numbers) => numbers.len(),
            Self::Pieces { len, .. } => len,
        }
    }

    /// Some of them; `room` keeps them if they are not in memory.
    pub(super) fn piece<'b>(&'b self, range: Range<usize>, room: &'b mut Vec<f32>) -> Piece<'b> {
        let numbers = match *self {
            Self::Whole(numbers) => &numbers[range.clone()],
            Self::Pieces { read, .. } => {
                room.resize(range.len(), 0.0);
                read(range.start, room);
                &room[..]
            }
        };
        Piece { numbers, first: range.start }
    }
}

/// Numbers of a weight from one place on.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    numbers: &'a [f32],
    first: usize,
}

impl<'a> Piece<'a> {
    /// All numbers of a weight.
    pub(super) fn whole(numbers: &'a [f32]) -> Self {
        Self { numbers, first: 0 }
    }

    /// The numbers from a place in the whole weight on.
    #[inline(always)]
    pub(super) fn from(&self, place: usize) -> &'a [f32] {
        &self.numbers[place - self.first..]
    }
}

/// What joins the channels of one group in a source block to those in a target block.
struct Bond {
    /// The lanes of the source block: rows of a k-block.
    rows: Range<usize>,
    /// The lanes of the target block, counted through the panel: columns of a k-block.
    columns: Range<usize>,
    /// Where in the weight stands what joins the first of both through the kernel's first tap.
    first: usize,
}

/// Panels whose weights are packed, as a body for any instruction set.
pub(super) struct PackPanels<'a> {
    pub conv: &'a Conv,
    pub panels: Range<usize>,
    /// What they take, one after another.
    pub packed: &'a mut [f32],
    pub weight: Piece<'a>,
}

impl Body for PackPanels<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { conv, panels, mut packed, weight } = self;
        let together = if conv.are_whole(panels.clone()) { panels.len() } else { 1 };
        for first in panels.step_by(together) {
            let panels = first..first + together;
            let packed = packed.split_off_mut(..conv.packed(panels.clone()).len()).expect("room for every panel");
            if !conv.are_whole(panels.clone()) {
                conv.pack_panel(&conv.panels[first], packed, weight);
            } else if conv.transposed && conv.taps() == 1 {
                conv.copy_panels(s, panels, packed, weight);
            } else {
                conv.turn_panels(s, panels, packed, weight);
            }
        }
    }
}

impl ConvWeights {
    /// Whether they have the lengths that a convolution reads.
    pub(super) fn fit(&self, conv: &Conv) -> bool {
        [self.packed.len(), self.bias.len(), self.prologue.len()] == conv.lengths()
    }

    /// Bytes they take.
    pub fn bytes(&self) -> usize {
        (self.packed.len() + self.bias.len() + self.prologue.len()) * size_of::<f32>()
    }
}

impl Conv {
    /// Floats of packed weights, biases and prologue.
    fn lengths(&self) -> [usize; 3] {
        let prologue = if self.fusion.prologue.is_some() { 2 * self.source.blocks().len() * LANES } else { 0 };
        [self.packed_len, self.target.blocks().len() * LANES, prologue]
    }

    /// Packs a weight `[out, in / groups, kh, kw]`, a bias `[out]`, and the two numbers of the prologue, `[in]` each: scale and
    /// shift, or lower and upper bound.
    ///
    /// # Panics
    /// If their lengths are not those of the convolution.
    pub fn pack(&self, weight: &[f32], bias: Option<&[f32]>, prologue: Option<(&[f32], &[f32])>) -> ConvWeights {
        self.pack_pieces(Numbers::Whole(weight), bias, prologue, &mut Team::new(1))
    }

    /// Packs as [`Conv::pack`] does; the team shares the work.
    ///
    /// # Panics
    /// As [`Conv::pack`].
    pub fn pack_pieces(
        &self,
        weight: Numbers<'_>,
        bias: Option<&[f32]>,
        prologue: Option<(&[f32], &[f32])>,
        team: &mut Team,
    ) -> ConvWeights {
        let mut weights = ConvWeights::default();
        self.pack_into(&mut weights, weight, bias, prologue, team);
        weights
    }

    /// Packs into the memory of other weights, of this convolution or of another; the team shares the work.
    ///
    /// # Panics
    /// As [`Conv::pack`].
    pub fn repack(
        &self,
        weights: &mut ConvWeights,
        weight: &[f32],
        bias: Option<&[f32]>,
        prologue: Option<(&[f32], &[f32])>,
        team: &mut Team,
    ) {
        self.pack_into(weights, Numbers::Whole(weight), bias, prologue, team);
    }

    fn pack_into(
        &self,
        weights: &mut ConvWeights,
        weight: Numbers<'_>,
        bias: Option<&[f32]>,
        prologue: Option<(&[f32], &[f32])>,
        team: &mut Team,
    ) {
        weights.packed.set_len(self.packed_len);
        self.pack_others(weights, weight.len(), bias, prologue);
        self.pack_panels(&mut weights.packed, weight, team);
    }

    /// Packs all but the weight, of which is looked at whether it has the right length.
    pub(super) fn pack_others(
        &self,
        weights: &mut ConvWeights,
        weight_len: usize,
        bias: Option<&[f32]>,
        prologue: Option<(&[f32], &[f32])>,
    ) {
        let [sources, targets] = [self.source.channels(), self.target.channels()];
        let pairs = if self.transposed { sources * self.group[1] } else { targets * self.group[0] };
        let expected = pairs * self.taps();
        assert!(weight_len == expected, "{weight_len} numbers for {expected} weights");
        assert!(bias.is_none_or(|b| b.len() == targets), "a bias for each of {targets} channels");
        assert!(
            prologue.is_none_or(|(scale, shift)| [scale.len(), shift.len()] == [sources; 2]),
            "a scale and a shift for each of {sources} channels"
        );
        assert!(prologue.is_some() == self.fusion.prologue.is_some(), "scale and shift belong to a prologue");
        let [_, of_bias, of_prologue] = self.lengths();
        weights.bias.set_len(of_bias);
        weights.prologue.set_len(of_prologue);
        match bias {
            Some(bias) => scatter(&self.target, bias, weights.bias.chunks_exact_mut(LANES)),
            None => weights.bias.fill(0.0),
        }
        if let Some((scale, shift)) = prologue {
            scatter(&self.source, scale, weights.prologue.chunks_exact_mut(LANES).step_by(2));
            scatter(&self.source, shift, weights.prologue.chunks_exact_mut(LANES).skip(1).step_by(2));
        }
    }

    /// Packs panel by panel; each lies in one piece.
    fn pack_panels(&self, packed: &mut [f32], weight: Numbers<'_>, team: &mut Team) {
        let together = self.panels.len().div_ceil((packed.len() / PACKED_AT_ONCE).max(1)).max(1);
        let first_of = |part: usize| (part * together).min(self.panels.len());
        let first_float = |part: usize| self.packed(0..first_of(part)).end;
        share([packed], self.panels.len().div_ceil(together), first_float, team, |part, [packed]| {
            let panels = first_of(part)..first_of(part + 1);
            let mut room = Vec::new();
            let weight = weight.piece(self.numbers_of(panels.clone(), weight.len()), &mut room);
            self.isa.run(PackPanels { conv: self, panels, packed, weight });
        });
    }

    /// Where the packed weights of some panels lie.
    pub(super) fn packed(&self, panels: Range<usize>) -> Range<usize> {
        let begin = |panel: usize| self.panels.get(panel).map_or(self.packed_len, |p| p.weights[0]);
        begin(panels.start)..begin(panels.end)
    }

    /// Taps of the kernel.
    fn taps(&self) -> usize {
        self.taps_in_kernel.iter().product()
    }

    /// Which of a weight's numbers lead to some panels.
    fn numbers_of(&self, panels: Range<usize>, all: usize) -> Range<usize> {
        match (self.transposed, &self.target.blocks()[self.blocks_of(panels)]) {
            (false, blocks @ [first, ..]) => {
                let row = self.group[0] * self.taps();
                let channels: usize = blocks.iter().map(|b| b.count).sum();
                first.first * row..(first.first + channels) * row
            }
            // The target's channels are columns of the weight.
            _ => 0..all,
        }
    }

    /// The target blocks of some panels.
    fn blocks_of(&self, panels: Range<usize>) -> Range<usize> {
        let blocks = |panel: usize| self.panels[panel].blocks.clone();
        blocks(panels.start).start..blocks(panels.end - 1).end
    }

    fn pack_panel(&self, panel: &Panel, mut packed: &mut [f32], weight: Piece<'_>) {
        let of_a_k_block = self.floats_of_a_k_block(panel.blocks.len());
        for Grid { taps, .. } in &self.grids {
            let of_a_source = taps.len() * of_a_k_block;
            let packed = packed.split_off_mut(..panel.sources.len() * of_a_source).expect("room for every k-block");
            let sources = panel.sources.iter().zip(packed.chunks_exact_mut(of_a_source.max(1)));
            sources.for_each(|(&source, k_blocks)| self.pack_source(source, panel, k_blocks, taps, weight));
        }
    }

    /// The weights from one source block through some taps.
    fn pack_source(&self, source: usize, panel: &Panel, k_blocks: &mut [f32], taps: &[Tap], weight: Piece<'_>) {
        // Pairs of lanes that share no group, or are pads, have no weight.
        k_blocks.fill(0.0);
        if self.lanewise {
            self.pack_lanes(k_blocks, taps, source, weight);
        } else {
            let width = panel.blocks.len() * LANES;
            self.bonds(source, panel).for_each(|b| self.pack_bond(k_blocks, taps, width, &b, weight));
        }
    }

    /// Whether every lane of the source is joined to every lane of some panels through all taps.
    fn are_whole(&self, panels: Range<usize>) -> bool {
        let is_full = |block: &Block| block.count == LANES;
        let seen: usize = self.grids.iter().map(|grid| grid.taps.len()).sum();
        self.group == [self.source.channels(), self.target.channels()]
            && seen == self.taps()
            && seen <= MOST_TAPS
            && self.source.blocks().iter().all(is_full)
            && self.target.blocks()[self.blocks_of(panels)].iter().all(is_full)
    }

    /// The weights of whole panels through all taps, in the order in which they follow each other in memory: as few rows of the
    /// weight at a time as may be, for those lie far apart.
    #[inline(always)]
    fn turn_panels<S: Simd>(&self, s: S, panels: Range<usize>, packed: &mut [f32], weight: Piece<'_>) {
        let (places, sources) = (self.places(), self.source.blocks().len());
        let turn = Turn { taps: self.taps(), steps: self.steps() };
        let (begin, blocks) = (self.packed(panels.clone()).start, self.blocks_of(panels.clone()));
        let [outer, inner] = if self.transposed { [sources, blocks.len()] } else { [blocks.len(), sources] };
        for i in 0..outer {
            for j in 0..inner {
                let (source, block) = if self.transposed { (i, j) } else { (j, i) };
                let block = blocks.start + block;
                let panel = &self.panels[self.panel_of[block]];
                let (vectors, vector) = (panel.blocks.len(), block - panel.blocks.start);
                let first = self.source.blocks()[source].first * turn.steps[0]
                    + self.target.blocks()[block].first * turn.steps[1];
                let packed = &mut packed[panel.weights[0] - begin..];
                turn.each(s, weight.from(first), |lane, tap, numbers| {
                    let [first, step] = places[tap];
                    let at = (first + source * step + lane * LANES) * vectors + vector * LANES;
                    let row: &mut [f32; LANES] = packed[at..].first_chunk_mut().expect("room for every row");
                    // SAFETY: eight floats.
                    unsafe { s.store(numbers, row.as_mut_ptr()) };
                });
            }
        }
    }

    /// Where the weights of each tap lie in a whole panel of one block: those from the first source block, and how far it is to the
    /// next block's. All that is longer by as much as a panel has blocks.
    fn places(&self) -> [[usize; 2]; MOST_TAPS] {
        let (mut places, mut begin) = ([[0; 2]; MOST_TAPS], 0);
        let of_a_k_block = self.floats_of_a_k_block(1);
        for Grid { taps, .. } in &self.grids {
            let step = taps.len() * of_a_k_block;
            for (k_block, tap) in taps.iter().enumerate() {
                places[self.place(tap)] = [begin + k_block * of_a_k_block, step];
            }
            begin += self.source.blocks().len() * step;
        }
        places
    }

    /// The weights of whole panels for the gradient of the input of a 1x1 convolution: rows lie in the weight as a k-block has them,
    /// and only go apart. Of each row all panels are taken at once, for the next lies pages away.
    #[inline(always)]
    fn copy_panels<S: Simd>(&self, s: S, panels: Range<usize>, packed: &mut [f32], weight: Piece<'_>) {
        let [row_len, _] = self.steps();
        let (begin, blocks) = (self.packed(panels.clone()).start, self.blocks_of(panels.clone()));
        let first = self.target.blocks()[blocks.start].first;
        for channel in 0..self.source.channels() {
            let mut row = &weight.from(channel * row_len + first)[..blocks.len() * LANES];
            for panel in &self.panels[panels.clone()] {
                let width = panel.blocks.len() * LANES;
                let to = &mut packed[panel.weights[0] - begin + channel * width..][..width];
                let from = row.split_off(..width).expect("a row of all panels");
                s.prefetch(from.as_ptr().wrapping_add(ROWS_AHEAD * row_len));
                for (to, from) in to.as_chunks_mut::<LANES>().0.iter_mut().zip(from.as_chunks::<LANES>().0) {
                    *to = *from;
                }
            }
        }
    }

    /// A depthwise convolution's weights of one block.
    fn pack_lanes(&self, k_blocks: &mut [f32], taps: &[Tap], source: usize, weight: Piece<'_>) {
        let Block { first, count, .. } = self.source.blocks()[source];
        let step = self.taps();
        for (k_block, tap) in k_blocks.chunks_exact_mut(LANES).zip(taps) {
            gather(&mut k_block[..count], weight.from(first * step + self.place(tap)), step);
        }
    }

    /// The weights of a bond; rows of k-blocks have so many floats.
    fn pack_bond(&self, k_blocks: &mut [f32], taps: &[Tap], width: usize, bond: &Bond, weight: Piece<'_>) {
        let [from_step, to_step] = self.steps();
        for (k_block, tap) in k_blocks.chunks_exact_mut(LANES * width).zip(taps) {
            let weight = weight.from(bond.first + self.place(tap));
            let rows = k_block[bond.rows.start * width..bond.rows.end * width].chunks_exact_mut(width);
            for (i, row) in rows.enumerate() {
                gather(&mut row[bond.columns.clone()], &weight[i * from_step..], to_step);
            }
        }
    }

    /// What joins a source block to the target blocks of a panel.
    fn bonds(&self, source: usize, panel: &Panel) -> impl Iterator<Item = Bond> {
        let source = self.source.blocks()[source];
        let targets = self.target.blocks()[panel.blocks.clone()].iter().enumerate();
        targets.flat_map(move |(vector, target)| {
            let [a, b] = [source.groups(self.group[0]), target.groups(self.group[1])];
            let both = a.start.max(b.start)..a.end.min(b.end);
            both.map(move |group| self.bond(group, &source, target, vector))
        })
    }

    fn bond(&self, group: usize, source: &Block, target: &Block, vector: usize) -> Bond {
        let begin = self.group.map(|size| group * size);
        let lanes = |block: &Block, side: usize| {
            let end = (begin[side] + self.group[side]).min(block.first + block.count);
            begin[side].max(block.first) - block.first..end - block.first
        };
        let (rows, to) = (lanes(source, 0), lanes(target, 1));
        let [from_step, to_step] = self.steps();
        // A group's weights follow those of the groups before it.
        let first = begin[0] * self.group[1] * self.taps()
            + (source.first + rows.start - begin[0]) * from_step
            + (target.first + to.start - begin[1]) * to_step;
        Bond { rows, columns: vector * LANES + to.start..vector * LANES + to.end, first }
    }

    /// Numbers of the weight from one channel of a group to the next, on the source's side and on the target's.
    fn steps(&self) -> [usize; 2] {
        let taps = self.taps();
        if self.transposed { [self.group[1] * taps, taps] } else { [taps, self.group[0] * taps] }
    }

    /// A tap's place in the kernel.
    fn place(&self, tap: &Tap) -> usize {
        tap.kernel[0] * self.taps_in_kernel[1] + tap.kernel[1]
    }
}

/// Fills a row with every `step`-th of some numbers.
pub(super) fn gather(row: &mut [f32], numbers: &[f32], step: usize) {
    // Nearly every row is whole, and a loop of known length takes half the time.
    if let Ok(row) = <&mut [f32; LANES]>::try_from(&mut *row) {
        *row = std::array::from_fn(|i| numbers[i * step]);
    } else {
        row.iter_mut().zip(numbers.iter().step_by(step)).for_each(|(slot, number)| *slot = *number);
    }
}

/// A number for every channel to its lane; lanes without a channel get zero.
pub(super) fn scatter<'a>(planes: &Planes, channels: &[f32], lanes: impl Iterator<Item = &'a mut [f32]>) {
    for (out, &Block { first, count, .. }) in lanes.zip(planes.blocks()) {
        out[..count].copy_from_slice(&channels[first..first + count]);
        out[count..].fill(0.0);
    }
}
