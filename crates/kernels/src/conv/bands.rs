//! Two convolutions run band by band: what is between them is never stored.
//!
//! A band is some rows of the second's result for one image. A thread computes the rows of the first's result that these see into
//! its scratch and reads them from there, so that they stay in the second-level cache; rows that two bands see are computed twice.
//! Every number is the sum of the same products in the same order as when each convolution runs alone, so no bit depends on how
//! bands are cut. The second may read more beside the first's result, as behind a concatenation.
//!
//! Not here: which pairs are worth it (the engine), and the convolutions themselves, which only learn where rows lie ([`Ground`]).

use std::ops::Range;

use super::ground::Ground;
use super::winograd::odd_lines;
use super::{Conv, ConvWeights, PARTS, Pictures, Residual, Stem, StemWeights, Winograd, WinogradWeights};
use crate::memory::Shared;
use crate::{Block, LANES, Memory, Planes, Team};

/// Floats of the rows in between that are best kept at a time: measured, from half of this to twice as much makes no difference
/// of a per cent.
const BAND: usize = 64 * 1024;

/// Bands that an image is cut into at least, where their overlap allows: threads share them.
const BANDS: usize = 2 * PARTS;

/// Of the rows in between, at most one in so many is computed twice, though a band be larger for it.
const OVERLAP: usize = 16;

/// The convolution that comes first.
#[derive(Debug)]
pub enum First {
    /// Of the picture, without pooling.
    Stem(Box<Stem>, StemWeights),
    /// Of a value, without a residual.
    Conv(Box<Conv>, ConvWeights),
}

/// The convolution that reads what the first gives.
#[derive(Debug)]
pub enum Second {
    /// Directly.
    Conv(Box<Conv>, ConvWeights),
    /// By Winograd's method.
    Winograd(Box<Winograd>, WinogradWeights),
}

/// Two convolutions that run band by band; see the module.
#[derive(Debug)]
pub struct Bands {
    first: First,
    second: Second,
    /// The first's result.
    between: Planes,
    /// Floats from one of its blocks to the next in a band.
    plane_len: usize,
    /// Rows of the second's result.
    bands: Vec<Range<usize>>,
    end: usize,
}

impl First {
    fn target(&self) -> &Planes {
        match self {
            Self::Stem(stem, _) => &stem.output,
            Self::Conv(conv, _) => &conv.target,
        }
    }

    /// What it reads of the arena.
    fn source(&self) -> Option<&Planes> {
        match self {
            Self::Stem(..) => None,
            Self::Conv(conv, _) => Some(&conv.source),
        }
    }

    fn is_plain(&self) -> bool {
        match self {
            Self::Stem(stem, _) => stem.pool.is_none(),
            Self::Conv(conv, _) => conv.is_plain() && conv.fusion.residual == Residual::None,
        }
    }

    fn write_to_band(&mut self, planes: Planes) {
        let (target, in_band) = match self {
            Self::Stem(stem, _) => (&mut stem.output, &mut stem.in_band),
            Self::Conv(conv, _) => (&mut conv.target, &mut conv.in_band),
        };
        (*target, in_band.target) = (planes, true);
    }

    fn scratch_len(&self) -> usize {
        match self {
            Self::Stem(stem, _) => stem.scratch_len(),
            Self::Conv(conv, _) => conv.scratch_len(),
        }
    }
}

impl Second {
    fn source(&self) -> &Planes {
        match self {
            Self::Conv(conv, _) => &conv.source,
            Self::Winograd(winograd, _) => &winograd.source,
        }
    }

    fn target(&self) -> &Planes {
        match self {
            Self::Conv(conv, _) => &conv.target,
            Self::Winograd(winograd, _) => &winograd.target,
        }
    }

    fn residual(&self) -> &Residual {
        match self {
            Self::Conv(conv, _) => &conv.fusion.residual,
            Self::Winograd(winograd, _) => &winograd.fusion.residual,
        }
    }

    fn is_plain(&self) -> bool {
        match self {
            Self::Conv(conv, _) => conv.is_plain(),
            Self::Winograd(..) => true,
        }
    }

    fn read_from_band(&mut self, planes: Planes, blocks: Range<usize>) {
        match self {
            Self::Conv(conv, _) => {
                (conv.source, conv.in_band.source) = (planes, blocks);
                conv.read_anew();
            }
            Self::Winograd(winograd, _) => (winograd.source, winograd.in_band.source) = (planes, blocks),
        }
    }

    fn scratch_len(&self) -> usize {
        match self {
            Self::Conv(conv, _) => conv.scratch_len(),
            Self::Winograd(winograd, _) => winograd.scratch_len(),
        }
    }

    /// Rows of the target that are computed together at least.
    fn unit(&self) -> usize {
        match self {
            Self::Conv(..) => 1,
            Self::Winograd(winograd, _) => winograd.tile.outputs(),
        }
    }

    /// From one row of the target to the next, rows of the source.
    fn step(&self) -> usize {
        match self {
            Self::Conv(conv, _) => conv.grids[0].source_step[0],
            Self::Winograd(winograd, _) => winograd.tile.stride(),
        }
    }

    /// The rows of the source that some rows of the target see, those outside of it included.
    fn reaches(&self, rows: Range<usize>) -> Range<isize> {
        match self {
            Self::Conv(conv, _) => {
                let (first, last) = conv.grids[0].seen(rows);
                first[0]..last[0] + 1
            }
            Self::Winograd(winograd, _) => {
                let tiles = winograd.rows_of_tiles(rows);
                let first = (tiles.start * winograd.tile.outputs() * winograd.tile.stride()) as isize;
                let first = first - winograd.padding[0] as isize;
                first..first + winograd.tile.inputs(tiles.len()) as isize
            }
        }
    }

    /// The same, within the source.
    fn sees(&self, rows: Range<usize>) -> Range<usize> {
        let seen = self.reaches(rows);
        let inside = |row: isize| row.clamp(0, self.source().height() as isize) as usize;
        inside(seen.start)..inside(seen.end)
    }

    /// Rows of a band that is not the last.
    fn rows_at_once(&self, blocks: usize) -> usize {
        let (unit, step, height) = (self.unit(), self.step(), self.target().height());
        let row = (blocks * self.source().width() * LANES).max(1);
        let overlap = (self.reaches(0..unit).len() as isize - (unit * step) as isize).max(0) as usize;
        let fitting = ((BAND / row).saturating_sub(overlap) / step).min(height / BANDS);
        let least = (OVERLAP * overlap).div_ceil(step);
        (fitting / unit * unit).max(least.next_multiple_of(unit)).clamp(unit, height.next_multiple_of(unit))
    }
}

impl Bands {
    /// The second convolution reads, among other blocks or not, all blocks of what the first gives, one after another. Where the
    /// kernels have the first's result, nothing needs to be: it may lie beyond the arena.
    ///
    /// # Panics
    /// If the second does not read the first's result so, one of the convolutions has groups or is a backward pass, the first pools
    /// or has a residual, or the second overwrites what the first reads.
    pub fn new(first: First, second: Second) -> Self {
        let rows = second.rows_at_once(first.target().blocks().len());
        Self::of_rows(first, second, rows)
    }

    /// The same with bands of so many rows, or more if the second computes more together.
    ///
    /// # Panics
    /// As [`Bands::new`].
    pub fn of_rows(first: First, second: Second, rows: usize) -> Self {
        assert!(first.is_plain() && second.is_plain(), "no bands of such convolutions");
        let between = first.target().clone();
        let offsets = |planes: &Planes| planes.blocks().iter().map(|b| b.offset).collect::<Vec<_>>();
        let (given, read) = (offsets(&between), offsets(second.source()));
        let at =
            read.windows(given.len().max(1)).position(|w| w == given).expect("the second reads what the first gives");
        let blocks = at..at + given.len();
        let same_size = [between.height(), between.width()] == [second.source().height(), second.source().width()];
        assert!(same_size && second.source().is_disjoint(), "the second reads what the first gives");
        assert!(
            first.source().is_none_or(|s| s.is_apart_from(second.target())),
            "a convolution cannot overwrite its input"
        );
        let height = second.target().height();
        let rows = rows.max(1).next_multiple_of(second.unit());
        let bands: Vec<Range<usize>> = (0..height).step_by(rows).map(|r| r..(r + rows).min(height)).collect();
        let most = bands.iter().map(|b| second.sees(b.clone()).len()).max().unwrap_or(0);
        let plane_len = odd_lines(most * between.width() * LANES);
        let mut bands = Self { first, second, between, plane_len, bands, end: 0 };
        bands.move_between(blocks);
        bands
    }

    /// Lets the first write to the band and the second read from it.
    fn move_between(&mut self, blocks: Range<usize>) {
        let (height, width) = (self.between.height(), self.between.width());
        let (first, plane_len) = (blocks.start, self.plane_len);
        let moved = |planes: &Planes, blocks: Range<usize>, first: usize| {
            let place = |(i, b): (usize, &Block)| match i {
                _ if blocks.contains(&i) => Block { offset: (i - first) * plane_len, ..*b },
                _ => *b,
            };
            Planes::new(planes.blocks().iter().enumerate().map(place).collect(), height, width)
        };
        let residual = self.second.residual().check(self.second.target());
        let source = self.second.source();
        let others = (0..source.blocks().len()).filter(|b| !blocks.contains(b)).map(|b| source.range(b).end).max();
        let of_first = self.first.source().map_or(0, Planes::end);
        self.end = residual.max(others.unwrap_or(0)).max(of_first).max(self.second.target().end());
        self.between = moved(&self.between, 0..blocks.len(), 0);
        self.first.write_to_band(self.between.clone());
        let source = moved(self.second.source(), blocks.clone(), first);
        self.second.read_from_band(source, blocks);
    }

    /// Floats of scratch each thread needs: what either convolution needs, then the band.
    pub fn scratch_len(&self) -> usize {
        self.before_band() + self.between.blocks().len() * self.plane_len
    }

    /// Floats of scratch in front of the band, in whole cache lines.
    fn before_band(&self) -> usize {
        self.first.scratch_len().max(self.second.scratch_len()).next_multiple_of(2 * LANES)
    }

    /// Computes all images of the memory, of `pictures` if the first convolution is a stem.
    ///
    /// # Panics
    /// If the memory has no room for the values, or no scratch for every thread, the weights are another convolution's, or there are
    /// not as many pictures of the right kind as images for a stem.
    pub fn run(&self, pictures: Pictures<'_>, memory: &mut Memory, team: &mut Team) {
        memory.check(self.end, self.scratch_len(), team);
        match &self.first {
            First::Stem(stem, weights) => stem.check(weights, pictures, memory.images()),
            First::Conv(conv, weights) => assert!(weights.fit(conv), "weights of another convolution"),
        }
        let fit = match &self.second {
            Second::Conv(conv, weights) => weights.fit(conv),
            Second::Winograd(winograd, weights) => weights.fit(winograd),
        };
        assert!(fit, "weights of another convolution");
        let (images, bands) = (memory.images(), self.bands.len());
        let shared = memory.share();
        team.run(images * bands, &|part, worker| {
            self.band(pictures, shared, part / bands, self.bands[part % bands].clone(), worker);
        });
    }

    /// Computes a band of one image. `run` has checked the memory; bands write different rows of the target, which is apart from all
    /// that is read.
    fn band(&self, pictures: Pictures<'_>, shared: Shared, image: usize, rows: Range<usize>, worker: usize) {
        let seen = self.second.sees(rows.clone());
        let band = shared.scratch(worker).wrapping_add(self.before_band());
        let band = band.wrapping_sub(seen.start * self.between.width() * LANES);
        let ground = Ground { band, ..Ground::of(shared, image, worker) };
        match &self.first {
            First::Stem(stem, weights) => stem.run_rows(weights, (pictures, image), seen, ground),
            First::Conv(conv, weights) => conv.run_rows(weights, seen, ground),
        }
        match &self.second {
            Second::Conv(conv, weights) => conv.run_rows(weights, rows, ground),
            Second::Winograd(winograd, weights) => {
                winograd.run_rows(weights, (shared, image), winograd.rows_of_tiles(rows), ground);
            }
        }
    }

    /// Whether the first convolution reads pictures of bytes.
    pub fn normalises(&self) -> bool {
        matches!(&self.first, First::Stem(_, weights) if weights.normalises())
    }

    /// Bytes of the weights of both.
    pub fn weight_bytes(&self) -> usize {
        let first = match &self.first {
            First::Stem(_, weights) => weights.bytes(),
            First::Conv(_, weights) => weights.bytes(),
        };
        first
            + match &self.second {
                Second::Conv(_, weights) => weights.bytes(),
                Second::Winograd(_, weights) => weights.bytes(),
            }
    }

    /// What runs, for tables.
    pub fn name(&self) -> String {
        let first = match &self.first {
            First::Stem(stem, _) => stem.name(),
            First::Conv(conv, _) => conv.name(),
        };
        let second = match &self.second {
            Second::Conv(conv, _) => conv.name(),
            Second::Winograd(winograd, _) => winograd.name(),
        };
        format!("bands of {} rows: {first}; {second}", self.bands.first().map_or(0, Range::len))
    }
}
