//! Convolutions in narrow groups without products of channels that share no group.
//!
//! Sixteen channels, two blocks, are computed together. Where groups are narrower than that, the lanes of a pixel are put in
//! another order on their way into the thread's scratch: channel `i` of every group, then channel `i + 1` of every group.
//! One load that repeats the `16 / width` numbers at hand then meets sixteen outputs in the same order, output `j` of every
//! group after output `j - 1` of every group, and no lane is idle. Sums go back into the order of blocks as they leave.
//! Depthwise is the case of one channel a group. Not here: other kernels and other groups ([`super::Conv`] takes any).

mod run;
mod strip;

use std::ops::Range;

use super::{ConvShape, Fusion, PARTS, Residual, STRIP};
use crate::{Activation, AlignedBuf, Isa, LANES, Planes, Window};
use strip::Strip;

/// Channels that are computed together.
const PAIR: usize = 2 * LANES;

/// Columns of the kernel, which share what is read of a pixel.
const COLUMNS: usize = 3;

/// The widest groups: beyond them, weights are a matter of the cache.
const WIDEST: usize = 64;

/// Multiply-adds of a part below which waking another thread for it costs more than it saves.
const PART_WORK: usize = 1 << 18;

/// A convolution in groups between values at fixed places; see the module.
#[derive(Debug)]
pub struct Grouped {
    isa: Isa,
    shape: ConvShape,
    input: Planes,
    output: Planes,
    fusion: Fusion,
    /// The weight's inputs are the target's channels.
    transposed: bool,
    /// Channels of a group.
    width: usize,
    parts: Vec<Part>,
    strip: Strip,
    /// Lanes as they come, for every lane in the order of the strip; and back.
    orders: [[i32; PAIR]; 2],
    end: usize,
}

/// The weights of a [`Grouped`], packed; by default the memory for some.
#[derive(Clone, Debug, Default)]
pub struct GroupedWeights {
    /// For every pair of target blocks, row of the kernel, source pair, channel and column, sixteen numbers.
    packed: AlignedBuf,
    bias: AlignedBuf,
}

/// What one thread does at a time, for one image.
#[derive(Debug)]
struct Part {
    /// Rows of the output.
    rows: Range<usize>,
    /// Sets of pairs of blocks that see each other.
    sets: Range<usize>,
}

impl GroupedWeights {
    /// Bytes they take.
    pub fn bytes(&self) -> usize {
        (self.packed.len() + self.bias.len()) * size_of::<f32>()
    }
}

impl Grouped {
    /// Whether this kernel can compute a convolution: as many outputs as inputs a group, 1, 4, 8 or a few sixteens of them,
    /// three columns of taps side by side, steps of 1 or 2, whole blocks.
    pub fn fits(shape: &ConvShape, input: &Planes, output: &Planes, fusion: &Fusion) -> bool {
        let window = &shape.window;
        let width = input.channels() / shape.groups;
        let even = |p: &Planes| p.blocks().iter().all(|b| b.count == LANES);
        let whole = even(input) && even(output) && input.channels() == output.channels();
        let known = [1, 4, 8].contains(&width) || width.is_multiple_of(PAIR) && width <= WIDEST;
        let taps = window.kernel[1] == COLUMNS && window.dilation == [1, 1] && window.stride[1] <= 2;
        shape.groups > 1 && fusion.prologue.is_none() && whole && known && taps
    }

    /// `output = act(W * input + bias)` with a residual; see [`Fusion`].
    ///
    /// # Panics
    /// If [`Grouped::fits`] says no, or as [`super::Conv::forward`].
    pub fn new(isa: Isa, shape: ConvShape, input: &Planes, output: &Planes, fusion: Fusion) -> Self {
        assert!(isa.is_available(), "{isa} kernels on a machine without it");
        assert!(Self::fits(&shape, input, output, &fusion), "not for {shape:?}");
        assert!(input.is_apart_from(output) && output.is_disjoint(), "a convolution cannot overwrite its input");
        shape.window.check([output.height(), output.width()]);
        let width = input.channels() / shape.groups;
        // Groups side by side in a pair, and channels of each.
        let (groups, channels) = ((PAIR / width).max(1), width.min(PAIR));
        let [there, back] = [groups, channels].map(|n| std::array::from_fn(|l| (l % n * (PAIR / n) + l / n) as i32));
        let end = input.end().max(output.end()).max(fusion.residual.check(output));
        let mut grouped = Self {
            isa,
            strip: Strip::of(&shape.window, 1, output.width(), width.div_ceil(PAIR)),
            shape,
            input: input.clone(),
            output: output.clone(),
            fusion,
            transposed: false,
            width,
            parts: Vec::new(),
            orders: [there, back],
            end,
        };
        grouped.make_parts();
        grouped
    }

    /// Whether this kernel can compute the gradient of a convolution's input: it is a convolution with the taps in reverse, if the
    /// stride is 1 and there is no padding beyond the taps.
    pub fn fits_backward(shape: &ConvShape, d_output: &Planes, d_input: &Planes) -> bool {
        let fusion = Fusion { prologue: None, activation: Activation::Identity, residual: Residual::None };
        let window = &shape.window;
        let inside = window.padding.iter().zip(window.kernel).all(|(&padding, taps)| padding < taps);
        window.stride == [1; 2] && inside && Self::fits(shape, d_output, d_input, &fusion)
    }

    /// The gradient of the input: `d_input = W^T d_output`, or added to what is there.
    ///
    /// # Panics
    /// If [`Grouped::fits_backward`] says no, or as [`super::Conv::backward_data`].
    pub fn backward_data(isa: Isa, shape: ConvShape, d_output: &Planes, d_input: &Planes, accumulate: bool) -> Self {
        assert!(Self::fits_backward(&shape, d_output, d_input), "not for the gradient of {shape:?}");
        shape.window.check([d_output.height(), d_output.width()]);
        let padding = std::array::from_fn(|axis| shape.window.kernel[axis] - 1 - shape.window.padding[axis]);
        let shape = ConvShape { window: Window { padding, ..shape.window }, ..shape };
        let sum = |planes: &Planes| Residual::BeforeActivation(planes.clone());
        let residual = if accumulate { sum(d_input) } else { Residual::None };
        let fusion = Fusion { prologue: None, activation: Activation::Identity, residual };
        Self { transposed: true, ..Self::new(isa, shape, d_output, d_input, fusion) }
    }

    /// Pairs of blocks; the last may have only one.
    fn pairs(&self) -> usize {
        self.input.blocks().len().div_ceil(2)
    }

    /// Pairs that see each other.
    fn pairs_of_a_set(&self) -> usize {
        self.width.div_ceil(PAIR)
    }

    /// Floats of weights for a pair of target blocks.
    fn floats_of_a_pair(&self) -> usize {
        self.shape.window.kernel[0] * COLUMNS * self.width * PAIR
    }

    /// Cuts the work of one image; only the shape decides.
    fn make_parts(&mut self) {
        let (height, sets) = (self.output.height(), self.pairs().div_ceil(self.pairs_of_a_set()));
        let strip = |rows| Strip::of(&self.shape.window, rows, self.output.width(), self.pairs_of_a_set());
        let work = self.floats_of_a_pair() * self.pairs_of_a_set() * self.output.pixels();
        let bands = (work * sets / PART_WORK).clamp(1, PARTS).div_ceil(sets);
        let rows = (1..=height.div_ceil(bands)).rev().find(|&n| strip(n).len() <= STRIP).unwrap_or(1);
        let rows = height.div_ceil(height.div_ceil(rows));
        let together = (PART_WORK / (work * rows / height).max(1)).clamp(1, sets.div_ceil(PARTS));
        let mut parts = Vec::new();
        for first in (0..sets).step_by(together) {
            let sets = first..(first + together).min(sets);
            let part = |row: usize| Part { rows: row..(row + rows).min(height), sets: sets.clone() };
            parts.extend((0..height).step_by(rows).map(part));
        }
        (self.strip, self.parts) = (strip(rows), parts);
    }

    /// Packs a weight `[out, in / groups, kh, kw]` and a bias `[out]`.
    ///
    /// # Panics
    /// If their lengths are not those of the convolution.
    pub fn pack(&self, weight: &[f32], bias: Option<&[f32]>) -> GroupedWeights {
        let mut weights = GroupedWeights::default();
        self.repack(&mut weights, weight, bias);
        weights
    }

    /// Packs into the memory of other weights, of this convolution or of another.
    ///
    /// # Panics
    /// As [`Grouped::pack`].
    pub fn repack(&self, weights: &mut GroupedWeights, weight: &[f32], bias: Option<&[f32]>) {
        let (outputs, rows) = (self.output.channels(), self.shape.window.kernel[0]);
        let of_output = self.width * rows * COLUMNS;
        assert!(weight.len() == outputs * of_output, "{} numbers for {} weights", weight.len(), outputs * of_output);
        assert!(bias.is_none_or(|b| b.len() == outputs), "a bias for each of {outputs} channels");
        weights.packed.set_len(self.pairs() * self.floats_of_a_pair());
        weights.bias.set_len(self.pairs() * PAIR);
        let (width, taps) = (self.width, rows * COLUMNS);
        // Numbers from one channel that an output sees to the next.
        let step = if self.transposed { width * taps } else { taps };
        for (pair, packed) in weights.packed.chunks_exact_mut(self.floats_of_a_pair()).enumerate() {
            let firsts = self.orders[0].map(|lane| {
                let output = pair * PAIR + lane as usize;
                let first =
                    if self.transposed { output / width * width * width + output % width } else { output * width };
                (output < outputs).then_some(first * taps)
            });
            // Rows, source pairs, channels of each, columns.
            for (at, vector) in packed.as_chunks_mut::<PAIR>().0.iter_mut().enumerate() {
                let (column, channel) = (at % COLUMNS, at / COLUMNS % width);
                let tap = at / COLUMNS / width * COLUMNS + column;
                // Backward, what came through the first tap leaves through the last.
                let from = &weight[channel * step + if self.transposed { taps - 1 - tap } else { tap }..];
                *vector = firsts.map(|first| first.map_or(0.0, |first| from[first]));
            }
        }
        for (vector, pair) in weights.bias.chunks_exact_mut(PAIR).zip(0..) {
            for (slot, lane) in vector.iter_mut().zip(self.orders[0]) {
                *slot = bias.and_then(|b| b.get(pair * PAIR + lane as usize)).copied().unwrap_or(0.0);
            }
        }
    }

    /// What runs, for tables.
    pub fn name(&self) -> String {
        let [h, w] = self.shape.window.kernel;
        let way = if self.transposed { "backward data, " } else { "" };
        let what = if self.width == 1 { "depthwise".into() } else { format!("groups of {}", self.width) };
        format!("{way}{what} {h}x{w}, {}", self.isa)
    }
}
