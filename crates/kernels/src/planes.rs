//! Where the channels of a value lie inside one image's share of the arena.
//!
//! Not here: who decides it (the planner of the engine) and the floats themselves ([`crate::Memory`]).

use std::ops::Range;

use crate::memory::MOST_FLOATS;

/// Channels of one block: eight floats, one AVX register.
pub const LANES: usize = 8;

/// One block of up to [`LANES`] channels of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// First float of the block's plane, counted from the start of an image's share of the arena; a multiple of 8.
    pub offset: usize,
    /// The value's channel that lies in lane 0.
    pub first: usize,
    /// How many lanes hold channels (`first..first + count`), 1 to 8; the others are pad lanes.
    pub count: usize,
}

impl Block {
    /// Which groups of so many channels it holds channels of.
    pub(crate) fn groups(&self, size: usize) -> Range<usize> {
        self.first / size..(self.first + self.count).div_ceil(size)
    }
}

/// A value of shape `[channels, height, width]` as a list of channel blocks, in the order of the channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planes {
    blocks: Vec<Block>,
    height: usize,
    width: usize,
}

impl Planes {
    /// A value whose blocks hold the channels `0..` in order and without gaps.
    ///
    /// # Panics
    /// If a block's `first` is not the number of channels before it, its `count` is not in `1..=8`, its `offset` is not a
    /// multiple of 8, or it ends beyond any memory: a planner that hands out such a list is wrong, and no input from
    /// outside can cause it.
    pub fn new(blocks: Vec<Block>, height: usize, width: usize) -> Self {
        let plane = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(LANES));
        let plane = plane.filter(|&len| len <= MOST_FLOATS).expect("a plane beyond any memory");
        let mut channels = 0;
        for b in &blocks {
            assert!(b.first == channels, "block starts at channel {} instead of {channels}", b.first);
            assert!((1..=LANES).contains(&b.count), "block of {} channels", b.count);
            let fits = b.offset.is_multiple_of(LANES) && b.offset <= MOST_FLOATS - plane;
            assert!(fits, "block at float {}", b.offset);
            channels += b.count;
        }
        Self { blocks, height, width }
    }

    /// `channels` channels in whole blocks, plane after plane from `offset` on, `plane_stride` floats apart.
    pub fn dense(channels: usize, height: usize, width: usize, offset: usize, plane_stride: usize) -> Self {
        let block = |b: usize| Block {
            offset: offset + b * plane_stride,
            first: b * LANES,
            count: LANES.min(channels - b * LANES),
        };
        Self::new((0..channels.div_ceil(LANES)).map(block).collect(), height, width)
    }

    /// The blocks in the order of their channels.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Channels, pad lanes not counted.
    pub fn channels(&self) -> usize {
        self.blocks.last().map_or(0, |b| b.first + b.count)
    }

    /// Rows of a plane.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels of a plane.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Floats of a plane.
    pub fn plane_len(&self) -> usize {
        self.pixels() * LANES
    }

    /// The floats a block covers, within one image's share of the arena.
    pub fn range(&self, block: usize) -> Range<usize> {
        let start = self.blocks[block].offset;
        start..start + self.plane_len()
    }

    /// One past the last float any block covers.
    pub fn end(&self) -> usize {
        (0..self.blocks.len()).map(|b| self.range(b).end).max().unwrap_or(0)
    }

    /// Whether both values have the same channels in the same lanes of their blocks, whatever the size of their planes.
    pub(crate) fn is_cut_like(&self, other: &Planes) -> bool {
        let counts = |p: &Planes| p.blocks.iter().map(|b| b.count).collect::<Vec<_>>();
        counts(self) == counts(other)
    }

    /// The numbers of a block's channels out of a list with one for every channel; zero in pad lanes.
    pub(crate) fn lanes(&self, block: usize, of: &[f32]) -> [f32; LANES] {
        let Block { first, count, .. } = self.blocks[block];
        std::array::from_fn(|lane| if lane < count { of[first + lane] } else { 0.0 })
    }

    /// Whether no two blocks overlap, so that blocks may be written by different threads.
    pub fn is_disjoint(&self) -> bool {
        let mut starts: Vec<usize> = self.blocks.iter().map(|b| b.offset).collect();
        starts.sort_unstable();
        starts.windows(2).all(|w| w[0] + self.plane_len() <= w[1])
    }

    /// Whether no float belongs to both values.
    pub fn is_apart_from(&self, other: &Planes) -> bool {
        let mut ranges: Vec<(usize, usize, bool)> = Vec::new();
        ranges.extend((0..self.blocks.len()).map(|b| (self.range(b).start, self.range(b).end, true)));
        ranges.extend((0..other.blocks.len()).map(|b| (other.range(b).start, other.range(b).end, false)));
        ranges.sort_unstable();
        let (mut mine, mut theirs) = (0, 0);
        ranges.iter().all(|&(start, end, own)| {
            let free = if own { start >= theirs } else { start >= mine };
            let reached = if own { &mut mine } else { &mut theirs };
            *reached = end.max(*reached);
            free || start == end
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_planes_count_their_channels() {
        let p = Planes::dense(12, 2, 3, 16, 64);
        assert_eq!(p.channels(), 12);
        assert_eq!(p.blocks()[1], Block { offset: 80, first: 8, count: 4 });
        assert_eq!(p.end(), 80 + 48);
        assert!(p.is_disjoint());
    }

    #[test]
    fn overlap_is_seen() {
        let a = Planes::dense(16, 2, 2, 0, 32);
        assert!(!a.is_apart_from(&Planes::dense(8, 2, 2, 56, 32)));
        assert!(a.is_apart_from(&Planes::dense(8, 2, 2, 64, 32)));
        assert!(!Planes::dense(16, 2, 2, 0, 24).is_disjoint());
        let inner = Planes::dense(8, 1, 1, 8, 8);
        assert!(!Planes::dense(8, 8, 8, 0, 512).is_apart_from(&inner));
    }

    #[test]
    #[should_panic(expected = "starts at channel")]
    fn a_gap_in_the_channels_is_refused() {
        Planes::new(vec![Block { offset: 0, first: 4, count: 4 }], 1, 1);
    }

    #[test]
    #[should_panic(expected = "beyond any memory")]
    fn a_plane_whose_length_overflows_is_refused() {
        Planes::dense(8, 1 << 61, 1, 0, 8);
    }

    #[test]
    #[should_panic(expected = "block at float")]
    fn a_block_whose_end_overflows_is_refused() {
        Planes::dense(8, 1, 1, usize::MAX - 7, 8);
    }
}
