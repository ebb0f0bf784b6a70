//! Convolution over NCHW8c planes: forward, and backward to the input.
//!
//! Both are one computation. An output pixel is a sum over *k-blocks*, pairs of a channel block of the source and a tap; a
//! tap says which source pixel belongs to an output pixel. Forward, the source is the input and the taps are those of the
//! window. Backward, the source is the gradient of the output, and with a stride `s` the pixels of the input fall into
//! `s * s` grids, each of which sees taps of its own ([`taps`]). [`Conv`] holds what depends on the geometry alone;
//! weights are packed apart ([`weights`]), so that training can pack them again in every step.
//!
//! The gradient of the weight is another computation ([`ConvGrad`]), and so is a convolution in fewer multiplications
//! ([`Winograd`]).

mod bands;
mod bf16;
mod epilogue;
mod grad;
mod ground;
mod grouped;
mod run;
mod stem;
mod strip;
mod taps;
#[cfg(test)]
mod tests;
mod tile;
mod turn;
mod unpacked;
mod weights;
mod winograd;

use std::ops::Range;

use crate::{Activation, Isa, LANES, Planes, Window};
use ground::InBand;
use strip::Strip;
use taps::Grid;

pub use bands::{Bands, First, Second};
pub use bf16::{TileConv, TileUnit, TileWeights};
pub use grad::ConvGrad;
pub use grouped::{Grouped, GroupedWeights};
pub use stem::{Pictures, Stem, StemWeights};
pub use weights::{ConvWeights, Numbers};
pub use winograd::{Winograd, WinogradTile, WinogradWeights};

/// The geometry of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Its window.
    pub window: Window,
    /// Groups of channels that do not see each other.
    pub groups: usize,
}

/// A value added to a convolution's result, of the same shape and the same blocks.
#[derive(Clone, Debug, PartialEq)]
pub enum Residual {
    /// Nothing.
    None,
    /// `act(W x + b + r)`
    BeforeActivation(Planes),
    /// `act(W x + b) + r`
    AfterActivation(Planes),
}

impl Residual {
    /// Checks that it lies as the output does, and gives the end of its floats.
    fn check(&self, output: &Planes) -> usize {
        let (Self::BeforeActivation(r) | Self::AfterActivation(r)) = self else { return 0 };
        assert!(r.is_cut_like(output), "a residual is laid out as the output");
        assert!((r.height(), r.width()) == (output.height(), output.width()), "a residual of another size");
        assert!(r == output || r.is_apart_from(output), "a residual is the output's own or apart from it");
        r.end()
    }
}

/// What happens to every number that a convolution reads, with two numbers for every input channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Prologue {
    /// `act(scale * x + shift)`: batch normalisation and activation of a pre-activation network.
    Affine(Activation),
    /// `min(max(x, low), high)`
    Clamp,
}

/// What is computed in one pass with a convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Fusion {
    /// Before it. Padding is zero *after* it.
    pub prologue: Option<Prologue>,
    /// After it.
    pub activation: Activation,
    /// Added to it.
    pub residual: Residual,
}

/// Blocks of output channels that one tile computes, at most: [`crate::simd::Simd::VECTORS`] of the largest set.
const PANEL: usize = 4;

/// Pixels that share the weights in the first-level cache, at most.
const RUN: usize = 224;

/// Parts that an image is cut into at least, where its shape allows and the work is worth it: late layers have few
/// pixels and many channels.
const PARTS: usize = 4;

/// Parts that keep a team busy, also towards the end of a run.
const ENOUGH_PARTS: usize = 8;

/// Multiply-adds of a part below which waking another thread for it costs more than it saves: some five microseconds.
const PART_WORK: usize = 1 << 18;

/// Floats of a strip of source rows that fit into the second-level cache beside a panel of weights.
const STRIP: usize = 48 * 1024;

/// Floats of the source of all images that make one run: every panel reads them again, and what the second-level cache does not
/// hold costs more than the weights that are read for fewer images.
const JOINED: usize = 4 * STRIP;

/// Panels that share a packed strip, at most.
const PANELS_A_PART: usize = 8;

/// A convolution between values at fixed places; see the module.
#[derive(Debug)]
pub struct Conv {
    isa: Isa,
    source: Planes,
    target: Planes,
    fusion: Fusion,
    accumulate: bool,
    /// Channels of a group on the source's side and on the target's.
    group: [usize; 2],
    transposed: bool,
    /// Every channel sees one channel, in the same lane of the same block (a depthwise convolution).
    lanewise: bool,
    taps_in_kernel: [usize; 2],
    grids: Vec<Grid>,
    /// For each grid, the pixels of its highest band.
    pixels: Vec<Vec<Pixel>>,
    panels: Vec<Panel>,
    /// The panel of each block of the target.
    panel_of: Vec<usize>,
    parts: Vec<Part>,
    /// Images whose pixels make one run, at most; their strips lie one after another.
    together: usize,
    packed_len: usize,
    strip_len: usize,
    end: usize,
    in_band: InBand,
}

/// Blocks of the next panel, where so many blocks are left: tiles are 1, 2 or 4 vectors wide.
fn width_of(full: usize, left: usize) -> usize {
    if left >= full { full } else { 1 << left.ilog2() }
}

/// Where an output pixel reads and where it lies, in floats from the first pixel of its band.
#[derive(Clone, Copy, Debug, Default)]
struct Pixel {
    from: usize,
    to: usize,
}

/// Up to [`PANEL`] neighbouring blocks of the target, and the source blocks that share a group with them.
#[derive(Debug)]
struct Panel {
    blocks: Range<usize>,
    sources: Vec<usize>,
    /// Where the packed weights of each grid begin.
    weights: Vec<usize>,
    /// For each grid, from an output pixel's first source float to its k-blocks, in the order of the weights.
    offsets: Vec<Vec<isize>>,
}

/// What one thread does at a time, for one image: some rows of a grid, some panels.
#[derive(Debug)]
struct Part {
    grid: usize,
    rows: Range<usize>,
    panels: Range<usize>,
    /// The source blocks its panels need.
    sources: Range<usize>,
    /// The source rows it sees, unless it reads the arena directly.
    strip: Option<Strip>,
}

impl Conv {
    /// `output = act(W * prologue(input) + bias)` with a residual; see [`Fusion`].
    ///
    /// # Panics
    /// If the values overlap, their channels do not fit the groups, the residual is not laid out as the output, the window
    /// lacks taps or steps or reaches beyond any memory, or the output has no pixels.
    pub fn forward(isa: Isa, shape: ConvShape, input: &Planes, output: &Planes, fusion: Fusion) -> Self {
        shape.window.check([output.height(), output.width()]);
        let grids = taps::forward(&shape.window, [output.height(), output.width()]);
        Self::new(isa, shape, grids, input, output, fusion, false, false)
    }

    /// The gradient of the input: `d_input = W^T d_output`, or added to what is there.
    ///
    /// # Panics
    /// As [`Conv::forward`].
    pub fn backward_data(isa: Isa, shape: ConvShape, d_output: &Planes, d_input: &Planes, accumulate: bool) -> Self {
        shape.window.check([d_output.height(), d_output.width()]);
        let grids = taps::backward(&shape.window, [d_input.height(), d_input.width()]);
        let fusion = Fusion { prologue: None, activation: Activation::Identity, residual: Residual::None };
        Self::new(isa, shape, grids, d_output, d_input, fusion, accumulate, true)
    }

    #[expect(clippy::too_many_arguments, reason = "the two constructors above name them")]
    fn new(
        isa: Isa,
        shape: ConvShape,
        grids: Vec<Grid>,
        source: &Planes,
        target: &Planes,
        fusion: Fusion,
        accumulate: bool,
        transposed: bool,
    ) -> Self {
        assert!(isa.is_available(), "{isa} kernels on a machine without it");
        assert!(source.is_apart_from(target) && target.is_disjoint(), "a convolution cannot overwrite its input");
        let channels = [source.channels(), target.channels()];
        assert!(channels.iter().all(|c| c.is_multiple_of(shape.groups)), "{} groups of {channels:?}", shape.groups);
        let group = channels.map(|c| c / shape.groups);
        let mut conv = Self {
            isa,
            group,
            lanewise: group == [1, 1] && source.is_cut_like(target),
            source: source.clone(),
            target: target.clone(),
            accumulate,
            transposed,
            taps_in_kernel: shape.window.kernel,
            pixels: vec![Vec::new(); grids.len()],
            grids,
            panels: Vec::new(),
            panel_of: Vec::new(),
            together: 1,
            parts: Vec::new(),
            packed_len: 0,
            strip_len: 0,
            end: source.end().max(target.end()),
            fusion,
            in_band: InBand::default(),
        };
        conv.end = conv.end.max(conv.fusion.residual.check(target));
        conv.make_panels();
        conv.make_parts();
        conv.together = conv.images_at_once();
        conv
    }

    fn make_panels(&mut self) {
        let (width, all) = (self.panel_width(), self.target.blocks().len());
        let mut first = 0;
        while first < all {
            let blocks = first..first + width_of(width, all - first);
            first = blocks.end;
            let [from, to] = [blocks.start, blocks.end - 1].map(|b| self.target.blocks()[b].groups(self.group[1]));
            let shares = |&b: &usize| {
                let has = self.source.blocks()[b].groups(self.group[0]);
                has.start < to.end && from.start < has.end
            };
            let sources: Vec<usize> = (0..self.source.blocks().len()).filter(shares).collect();
            let mut weights = Vec::new();
            for grid in &self.grids {
                weights.push(self.packed_len);
                self.packed_len += grid.taps.len() * sources.len() * self.floats_of_a_k_block(blocks.len());
            }
            self.panel_of.extend(blocks.clone().map(|_| self.panels.len()));
            self.panels.push(Panel { blocks, sources, weights, offsets: Vec::new() });
        }
    }

    /// Blocks of a panel that is not one of the last.
    fn panel_width(&self) -> usize {
        let [group, full] = [self.group[1], self.isa.full_tile()[0]];
        match group {
            // Narrow groups would leave most of a wide panel without a partner.
            _ if group <= LANES && group < self.target.channels() => 1,
            _ if group == self.target.channels() => full,
            // What a panel spans decides which k-blocks make a chain, and so bits: no more than other sets span, unless
            // the group is the panel's alone.
            _ if group.is_multiple_of(full * LANES) && self.target.blocks().iter().all(|b| b.count == LANES) => full,
            _ => 2,
        }
    }

    /// Floats of weights for one k-block and some target blocks.
    fn floats_of_a_k_block(&self, blocks: usize) -> usize {
        if self.lanewise { LANES } else { LANES * blocks * LANES }
    }

    /// Cuts the work of one image; only the shape decides.
    fn make_parts(&mut self) {
        for grid in 0..self.grids.len() {
            let together = self.panels_at_once(grid);
            for first in (0..self.panels.len()).step_by(together) {
                self.cut(grid, first..(first + together).min(self.panels.len()));
            }
        }
    }

    /// Panels of a part: fewer where the bands alone would make too few parts.
    fn panels_at_once(&self, grid: usize) -> usize {
        let all = self.panels.len();
        let band = self.rows_at_once(grid, self.sources(0..all.min(PANELS_A_PART)).len());
        let bands = self.grids[grid].size[0].div_ceil(band);
        let work = self.packed_len / self.grids.len() * self.grids[grid].size.iter().product::<usize>();
        let parts = (work / PART_WORK).clamp(1, PARTS);
        (all * bands / parts).clamp(1, PANELS_A_PART)
    }

    /// The source blocks that some panels need.
    fn sources(&self, panels: Range<usize>) -> Range<usize> {
        let needed = || self.panels[panels.clone()].iter().flat_map(|p| &p.sources);
        needed().min().map_or(0..0, |&low| low..needed().max().unwrap_or(&low) + 1)
    }

    /// Cuts a grid, for some panels, into bands of about equal height.
    fn cut(&mut self, grid: usize, panels: Range<usize>) {
        let sources = self.sources(panels.clone());
        let rows = self.grids[grid].size[0];
        let band = rows.div_ceil(rows.div_ceil(self.rows_at_once(grid, sources.len())));
        let strip = |rows| Strip::of(&self.grids[grid], rows, sources.len());
        let whole = (!self.reads_directly(grid)).then(|| strip(0..band));
        for start in (0..rows).step_by(band) {
            let rows = start..(start + band).min(rows);
            // The last band may be lower, but its blocks lie as far apart as those of the others.
            let strip = whole.map(|w| Strip { plane_len: w.plane_len, ..strip(rows.clone()) });
            self.parts.push(Part { grid, rows, panels: panels.clone(), sources: sources.clone(), strip });
        }
        self.strip_len = self.strip_len.max(whole.map_or(0, |s| s.len()));
        for panel in panels {
            let offsets = self.offsets(grid, &self.panels[panel].sources, sources.start, whole);
            self.panels[panel].offsets.push(offsets);
        }
        if self.pixels[grid].len() < band * self.grids[grid].size[1] {
            self.pixels[grid] = self.pixels_of(grid, band, whole.map_or(self.source.width(), |s| s.columns));
        }
    }

    /// Images that a run may join: where a band is a whole image and has few pixels, weights would be read again for each.
    fn images_at_once(&self) -> usize {
        let is_whole = |part: &Part| part.rows.len() == self.grids[part.grid].size[0];
        if !self.parts.iter().all(is_whole) {
            return 1;
        }
        let pixels = self.pixels.iter().map(Vec::len).max().unwrap_or(RUN);
        let source = self.source.blocks().len() * LANES * self.source.pixels();
        (RUN / pixels.max(1)).min(JOINED / source.max(self.strip_len).max(1)).max(1)
    }

    /// The pixels of a band, reading rows of so many columns.
    fn pixels_of(&self, grid: usize, rows: usize, columns: usize) -> Vec<Pixel> {
        let Grid { origin, step, size, source_step, .. } = &self.grids[grid];
        let pixel = |row: usize, column: usize| Pixel {
            from: (row * source_step[0] * columns + column * source_step[1]) * LANES,
            to: ((origin[0] + row * step[0]) * self.target.width() + origin[1] + column * step[1]) * LANES,
        };
        (0..rows).flat_map(|row| (0..size[1]).map(move |column| pixel(row, column))).collect()
    }

    /// From an output pixel's first source float to its k-blocks.
    fn offsets(&self, grid: usize, sources: &[usize], first: usize, strip: Option<Strip>) -> Vec<isize> {
        let offset = |source: usize, [dy, dx]: [isize; 2]| {
            let (base, row, columns) = match strip {
                Some(s) => ((source - first) * s.plane_len, [dy - s.first[0], dx - s.first[1]], s.columns),
                None => (self.source.blocks()[source].offset, [dy, dx], self.source.width()),
            };
            base as isize + (row[0] * columns as isize + row[1]) * LANES as isize
        };
        let taps = &self.grids[grid].taps;
        sources.iter().flat_map(|&s| taps.iter().map(move |t| offset(s, t.offset))).collect()
    }

    /// Rows of a grid whose source rows fit into a strip, or whose pixels make a band.
    fn rows_at_once(&self, grid: usize, sources: usize) -> usize {
        let [rows, columns] = self.grids[grid].size;
        if self.reads_directly(grid) {
            return (RUN / columns).clamp(1, rows);
        }
        let floats = |n: usize| Strip::of(&self.grids[grid], 0..n, sources).len();
        (1..=rows).rev().find(|&n| floats(n) <= STRIP).unwrap_or(1)
    }

    /// Whether no tap of a grid ever falls outside the source and nothing is to be applied on the way.
    fn reads_directly(&self, grid: usize) -> bool {
        let grid = &self.grids[grid];
        let (first, last) = grid.seen(0..grid.size[0]);
        let inside = first[0] >= 0 && first[1] >= 0;
        let [h, w] = [self.source.height() as isize, self.source.width() as isize];
        self.fusion.prologue.is_none() && inside && last[0] < h && last[1] < w
    }

    /// Whether it is a forward one without groups, whose panels all see the whole source.
    fn is_plain(&self) -> bool {
        !self.transposed && !self.accumulate && self.group == [self.source.channels(), self.target.channels()]
    }

    /// Looks again where the source's blocks lie.
    fn read_anew(&mut self) {
        let part = &self.parts[0];
        let (grid, first, strip) = (part.grid, part.sources.start, part.strip);
        for panel in 0..self.panels.len() {
            self.panels[panel].offsets = vec![self.offsets(grid, &self.panels[panel].sources, first, strip)];
        }
    }

    /// What runs, for tables.
    pub fn name(&self) -> String {
        let [h, w] = self.taps_in_kernel;
        let way = if self.transposed { "backward data" } else { "conv" };
        let read = if (0..self.grids.len()).all(|g| self.reads_directly(g)) { "direct" } else { "strips" };
        let panel = self.panels.first().map_or(0, |p| p.blocks.len().max(1));
        let tile = if self.lanewise {
            "depthwise".into()
        } else {
            format!("tiles {}x{}", panel * LANES, if panel == 1 { tile::SUMS } else { self.isa.full_tile()[1] })
        };
        format!("{way} {h}x{w}, {read}, {tile}, {}", self.isa)
    }
}
