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

/// A panel whose weights are packed, as a body for any instruction set.
struct PackPanel<'a> {
    conv: &'a Conv,
    panel: &'a Panel,
    packed: &'a mut [f32],
    weight: Piece<'a>,
}

impl Body for PackPanel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.conv.pack_panel(s, self.panel, self.packed, self.weight);
    }
}

impl ConvWeights {
    /// Whether they have the lengths that a convolution reads.
    pub(super) fn fit(&self, conv: &Conv) -> bool {
        [self.packed.len(), self.bias.len(), self.prologue.len()] == conv.lengths()
    }

    /// Takes on so many floats of each.
    fn set_lengths(&mut self, [packed, bias, prologue]: [usize; 3]) {
        self.packed.set_len(packed);
        self.bias.set_len(bias);
        self.prologue.set_len(prologue);
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
        let [sources, targets] = [self.source.channels(), self.target.channels()];
        let pairs = if self.transposed { sources * self.group[1] } else { targets * self.group[0] };
        let expected = pairs * self.taps_in_kernel.iter().product::<usize>();
        assert!(weight.len() == expected, "{} numbers for {expected} weights", weight.len());
        assert!(bias.is_none_or(|b| b.len() == targets), "a bias for each of {targets} channels");
        assert!(
            prologue.is_none_or(|(scale, shift)| [scale.len(), shift.len()] == [sources; 2]),
            "a scale and a shift for each of {sources} channels"
        );
        assert!(prologue.is_some() == self.fusion.prologue.is_some(), "scale and shift belong to a prologue");
        weights.set_lengths(self.lengths());
        self.pack_panels(&mut weights.packed, weight, team);
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
        let begin = |panel: usize| self.panels.get(panel).map_or(self.packed_len, |p| p.weights[0]);
        let first_float = |part: usize| begin(first_of(part));
        share([packed], self.panels.len().div_ceil(together), first_float, team, |part, [mut packed]| {
            let panels = &self.panels[first_of(part)..first_of(part + 1)];
            let blocks = panels[0].blocks.start..panels[panels.len() - 1].blocks.end;
            let mut room = Vec::new();
            let weight = weight.piece(self.numbers_of(blocks, weight.len()), &mut room);
            for (panel, number) in panels.iter().zip(first_of(part)..) {
                let len = begin(number + 1) - begin(number);
                let packed = packed.split_off_mut(..len).expect("room for every panel");
                self.isa.run(PackPanel { conv: self, panel, packed, weight });
            }
        });
    }

    /// Which of a weight's numbers lead to some target blocks.
    fn numbers_of(&self, blocks: Range<usize>, all: usize) -> Range<usize> {
        match (self.transposed, &self.target.blocks()[blocks]) {
            (false, blocks @ [first, ..]) => {
                let row = self.group[0] * self.taps_in_kernel.iter().product::<usize>();
                let channels: usize = blocks.iter().map(|b| b.count).sum();
                first.first * row..(first.first + channels) * row
            }
            // The target's channels are columns of the weight.
            _ => 0..all,
        }
    }

    #[inline(always)]
    fn pack_panel<S: Simd>(&self, s: S, panel: &Panel, mut packed: &mut [f32], weight: Piece<'_>) {
        let of_a_k_block = self.floats_of_a_k_block(panel.blocks.len());
        for Grid { taps, .. } in &self.grids {
            let of_a_source = taps.len() * of_a_k_block;
            let packed = packed.split_off_mut(..panel.sources.len() * of_a_source).expect("room for every k-block");
            if self.is_whole(taps, panel) {
                self.turn_panel(s, panel, packed, taps, weight);
            } else {
                let sources = panel.sources.iter().zip(packed.chunks_exact_mut(of_a_source.max(1)));
                sources.for_each(|(&source, k_blocks)| self.pack_source(source, panel, k_blocks, taps, weight));
            }
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

    /// Whether all of some taps join every lane of a panel's sources to every lane of the panel.
    fn is_whole(&self, taps: &[Tap], panel: &Panel) -> bool {
        let is_full = |block: &Block| block.count == LANES;
        let all = self.taps_in_kernel.iter().product();
        self.group == [self.source.channels(), self.target.channels()]
            && taps.len() == all
            && all <= MOST_TAPS
            && panel.sources.iter().all(|&source| is_full(&self.source.blocks()[source]))
            && self.target.blocks()[panel.blocks.clone()].iter().all(is_full)
    }

    /// The weights of a panel of whole blocks through all taps, in the order in which they follow each other in memory: as few rows
    /// of the weight at a time as may be, for those lie far apart.
    #[inline(always)]
    fn turn_panel<S: Simd>(&self, s: S, panel: &Panel, packed: &mut [f32], taps: &[Tap], weight: Piece<'_>) {
        let (width, vectors) = (panel.blocks.len() * LANES, panel.blocks.len());
        let of_a_source = taps.len() * self.floats_of_a_k_block(vectors);
        let mut k_block_of = [0; MOST_TAPS];
        for (k_block, tap) in taps.iter().enumerate() {
            k_block_of[self.place(tap)] = k_block;
        }
        let sources = panel.sources.len();
        for i in 0..sources * vectors {
            let (at, vector) = if self.transposed { (i / vectors, i % vectors) } else { (i % sources, i / sources) };
            let source = &self.source.blocks()[panel.sources[at]];
            let bond = self.bond(0, source, &self.target.blocks()[panel.blocks.start + vector], vector);
            let k_blocks = &mut packed[at * of_a_source..][..of_a_source];
            self.turn_bond(s, k_blocks, &k_block_of, width, &bond, weight);
        }
    }

    /// The weights of a bond of whole blocks through all taps, of which is known in which k-block each is.
    #[inline(always)]
    fn turn_bond<S: Simd>(
        &self,
        s: S,
        k_blocks: &mut [f32],
        k_block_of: &[usize; MOST_TAPS],
        width: usize,
        bond: &Bond,
        weight: Piece<'_>,
    ) {
        let turn = Turn { taps: self.taps_in_kernel.iter().product(), steps: self.steps() };
        turn.each(s, weight.from(bond.first), |lane, tap, numbers| {
            let at = (k_block_of[tap] * LANES + lane) * width + bond.columns.start;
            let row: &mut [f32; LANES] = k_blocks[at..].first_chunk_mut().expect("room for every row");
            // SAFETY: eight floats.
            unsafe { s.store(numbers, row.as_mut_ptr()) };
        });
    }

    /// A depthwise convolution's weights of one block.
    fn pack_lanes(&self, k_blocks: &mut [f32], taps: &[Tap], source: usize, weight: Piece<'_>) {
        let Block { first, count, .. } = self.source.blocks()[source];
        let step = self.taps_in_kernel.iter().product();
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
        let first = begin[0] * self.group[1] * self.taps_in_kernel.iter().product::<usize>()
            + (source.first + rows.start - begin[0]) * from_step
            + (target.first + to.start - begin[1]) * to_step;
        Bond { rows, columns: vector * LANES + to.start..vector * LANES + to.end, first }
    }

    /// Numbers of the weight from one channel of a group to the next, on the source's side and on the target's.
    fn steps(&self) -> [usize; 2] {
        let taps = self.taps_in_kernel.iter().product();
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
