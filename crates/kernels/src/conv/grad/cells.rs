//! How the weight is cut into cells, each the work of one part: some panels of output blocks, some input channels, some taps;
//! and into how many groups the pixels are cut where the weight is small.

use std::ops::Range;

use super::walk::{Geometry, cut, step_of};
use crate::conv::{ENOUGH_PARTS, width_of};
use crate::{Block, Isa, LANES};

/// Images of a batch for which work is cut well.
pub(super) const IMAGES: usize = 8;

/// Channels of a slab, at most: two or four full tiles.
const SLAB: usize = 24;

/// Floats that all groups of pixels may take for their sums together.
pub(super) const SUMS: usize = 512 * 1024;

/// Into how many groups pixels may be cut.
const GROUPS: [usize; 4] = [1, 2, 4, 8];

/// What a way of computing asks of a cell.
pub(super) trait Sizes {
    /// Into how many units that are summed in one go the pixels of so many images are cut.
    fn units(&self, images: usize) -> usize;
    /// Whether a cell of so many output blocks and these input blocks keeps to the caches.
    fn fits(&self, outputs: usize, inputs: &[Block]) -> bool;
    /// Whether cells may have some of the taps only.
    fn cuts_taps(&self) -> bool;
    /// How often floats of totals are written and read where each group of pixels has its own.
    fn sums(&self) -> usize;
}

/// Neighbouring output blocks whose channels have the same partners, as panels: of as many blocks as a tile has vectors, the
/// last of fewer.
#[derive(Debug)]
struct Section {
    panels: Vec<Range<usize>>,
    /// Their partners.
    channels: Range<usize>,
    /// Blocks of the input that hold them.
    blocks: Range<usize>,
}

/// What one part sums up.
#[derive(Debug)]
pub(super) struct Cell {
    pub panels: Vec<Range<usize>>,
    pub channels: Range<usize>,
    pub blocks: Range<usize>,
    /// Its input blocks, a few at a time.
    pub slabs: Vec<Slab>,
    pub taps: Range<usize>,
    /// Where its totals begin if those of all cells follow each other.
    pub start: usize,
}

/// Neighbouring input blocks that are packed together: tiles read nothing else of a strip, and it is small.
#[derive(Clone, Debug)]
pub(super) struct Slab {
    pub blocks: Range<usize>,
    /// Those of their channels that are the cell's, counted from the first block's first.
    pub channels: Range<usize>,
    /// The first of those, counted from the cell's first.
    pub first: usize,
}

/// All cells.
#[derive(Debug)]
pub(super) struct Cells {
    pub cells: Vec<Cell>,
    /// Floats from one place of a packed slab to the next.
    pub step: usize,
    /// Groups of pixels whose sums are computed apart, at most; each then has totals of its own.
    pub groups: usize,
}

impl Cell {
    /// Output blocks of its panels.
    pub fn outputs(&self) -> Range<usize> {
        self.panels[0].start..self.panels[self.panels.len() - 1].end
    }

    /// Floats of its totals.
    pub fn totals_len(&self) -> usize {
        self.outputs().len() * LANES * self.channels.len() * self.taps.len()
    }
}

/// Into how many pieces work is cut, along each of its axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pieces {
    panels: usize,
    blocks: usize,
    taps: usize,
    groups: usize,
}

impl Cells {
    pub fn new(isa: Isa, geometry: &Geometry, group: [usize; 2], sizes: &dyn Sizes) -> Self {
        let sections = sections(isa, geometry, group);
        let [kh, kw] = geometry.window.kernel;
        // The order of the sum is one for all instruction sets, so it is chosen as one of them has it.
        let wide = self::sections(Isa::Avx512, geometry, group);
        let groups = Pieces::best(geometry, &wide, sizes, &GROUPS).groups;
        let pieces = Pieces::best(geometry, &sections, sizes, &[groups]);
        let mut cells: Vec<Cell> = Vec::new();
        for section in &sections {
            for panels in even(section.panels.len(), pieces.panels) {
                for blocks in even(section.blocks.len(), pieces.blocks) {
                    for taps in cut(kh * kw, (kh * kw).div_ceil(pieces.taps)) {
                        let blocks = section.blocks.start + blocks.start..section.blocks.start + blocks.end;
                        let (first, last) =
                            (&geometry.input.blocks()[blocks.start], &geometry.input.blocks()[blocks.end - 1]);
                        let channels = first.first.max(section.channels.start)
                            ..(last.first + last.count).min(section.channels.end);
                        let slabs = slabs(geometry.input.blocks(), &blocks, &channels);
                        let start = cells.last().map_or(0, |c| c.start + c.totals_len());
                        let panels = section.panels[panels.clone()].to_vec();
                        cells.push(Cell { panels, channels, blocks, slabs, taps, start });
                    }
                }
            }
        }
        let slabs = cells.iter().flat_map(|c| &c.slabs);
        let step = slabs.map(|s| step_of(&geometry.input.blocks()[s.blocks.clone()])).max().unwrap_or(0);
        Self { cells, step, groups: pieces.groups }
    }

    /// Floats of the totals of all cells.
    pub fn totals_len(&self) -> usize {
        self.cells.last().map_or(0, |c| c.start + c.totals_len())
    }
}

/// A range from zero in so many pieces, as even as can be.
pub(super) fn even(size: usize, pieces: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let pieces = pieces.min(size);
    (0..pieces).map(move |i| i * size / pieces..(i + 1) * size / pieces)
}

/// A cell's input blocks in slabs of as many channels as go into one.
fn slabs(all: &[Block], blocks: &Range<usize>, channels: &Range<usize>) -> Vec<Slab> {
    let mut slabs: Vec<Slab> = Vec::new();
    let mut start = blocks.start;
    while start < blocks.end {
        let first = all[start].first;
        let fits = |&b: &usize| all[b].first + all[b].count <= first + SLAB;
        let end = (start + 1..blocks.end).take_while(fits).last().map_or(start, |b| b) + 1;
        let own = channels.start.max(first)..channels.end.min(all[end - 1].first + all[end - 1].count);
        slabs.push(Slab {
            blocks: start..end,
            channels: own.start - first..own.end - first,
            first: own.start - channels.start,
        });
        start = end;
    }
    slabs
}

fn sections(isa: Isa, geometry: &Geometry, group: [usize; 2]) -> Vec<Section> {
    let outputs = geometry.d_output.blocks();
    let full = isa.full_tile()[0];
    let width = match group[1] {
        of if of == geometry.d_output.channels() || of.is_multiple_of(full * LANES) => full,
        // Groups that end within a tile would leave most of its pairs of channels without a meaning.
        of if of < 2 * LANES => 1,
        _ => 2,
    };
    let mut sections: Vec<Section> = Vec::new();
    let mut first = 0;
    while first < outputs.len() {
        let panel = first..first + width_of(width, outputs.len() - first);
        first = panel.end;
        let groups = outputs[panel.start].groups(group[1]).start..outputs[panel.end - 1].groups(group[1]).end;
        let channels = groups.start * group[0]..groups.end * group[0];
        match sections.last_mut().filter(|s| s.channels == channels) {
            Some(section) => section.panels.push(panel),
            None => {
                let holds = |b: &crate::Block| b.first < channels.end && channels.start < b.first + b.count;
                let blocks = geometry.input.blocks();
                let start = blocks.iter().position(holds).expect("a group has channels");
                let end = blocks.iter().rposition(holds).expect("a group has channels") + 1;
                sections.push(Section { panels: vec![panel], channels, blocks: start..end });
            }
        }
    }
    sections
}

impl Pieces {
    /// Those with which least is read and written, for a batch of an ordinary size, where they keep a team busy; with one of these
    /// numbers of groups, of which the first is always possible.
    fn best(geometry: &Geometry, sections: &[Section], sizes: &dyn Sizes, groups: &[usize]) -> Self {
        let [kh, kw] = geometry.window.kernel;
        let most = |of: fn(&Section) -> usize| sections.iter().map(of).max().unwrap_or(1).min(4 * ENOUGH_PARTS);
        let (panels, blocks) = (most(|s| s.panels.len()), most(|s| s.blocks.len()));
        let mut all = Vec::new();
        for (panels, blocks) in (1..=panels).flat_map(|p| (1..=blocks).map(move |b| (p, b))) {
            let taps = if sizes.cuts_taps() { vec![1, kh, kh * kw] } else { vec![1] };
            for (taps, groups) in taps.into_iter().flat_map(|t| groups.iter().map(move |&g| (t, g))) {
                all.push(Self { panels, blocks, taps, groups });
            }
        }
        let possible = |p: &&Self| p.groups == groups[0] || p.fits(geometry, sections, sizes);
        let rank = |p: &&Self| {
            let parts = p.parts(sections).min(ENOUGH_PARTS);
            (
                usize::from(p.is_small(geometry, sections, sizes)),
                parts,
                std::cmp::Reverse(p.cost(geometry, sections, sizes)),
            )
        };
        *all.iter().filter(possible).max_by_key(rank).expect("one piece is possible")
    }

    fn parts(&self, sections: &[Section]) -> usize {
        let of = |s: &Section| self.panels.min(s.panels.len()) * self.blocks.min(s.blocks.len());
        sections.iter().map(of).sum::<usize>() * self.taps * self.groups
    }

    /// Whether a batch has enough units for the groups of pixels, and memory room for their sums.
    fn fits(&self, geometry: &Geometry, sections: &[Section], sizes: &dyn Sizes) -> bool {
        sizes.units(IMAGES) >= self.groups && self.groups * weights(geometry, sections) <= SUMS
    }

    /// Whether its cells keep to the caches.
    fn is_small(&self, geometry: &Geometry, sections: &[Section], sizes: &dyn Sizes) -> bool {
        sections.iter().all(|s| {
            let outputs = s.panels.iter().map(|p| p.len()).sum::<usize>().div_ceil(self.panels);
            let blocks = s.blocks.len().div_ceil(self.blocks);
            sizes.fits(outputs, &geometry.input.blocks()[s.blocks.start..s.blocks.start + blocks])
        })
    }

    /// Floats that are packed, and those of sums that are written and read again.
    fn cost(&self, geometry: &Geometry, sections: &[Section], sizes: &dyn Sizes) -> usize {
        let inputs = geometry.input.pixels() * sections.iter().map(|s| s.blocks.len()).sum::<usize>() * LANES;
        let outputs = geometry.d_output.plane_len() * geometry.d_output.blocks().len();
        let packed = IMAGES * self.taps * (self.panels * inputs + self.blocks * outputs);
        packed + if self.groups > 1 { sizes.sums() * self.groups * weights(geometry, sections) } else { 0 }
    }
}

/// Floats of all totals.
fn weights(geometry: &Geometry, sections: &[Section]) -> usize {
    let [kh, kw] = geometry.window.kernel;
    let of = |s: &Section| s.panels.iter().map(|p| p.len()).sum::<usize>() * LANES * s.channels.len();
    sections.iter().map(of).sum::<usize>() * kh * kw
}
