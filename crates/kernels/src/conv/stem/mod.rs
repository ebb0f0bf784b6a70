//! The convolution that reads the picture itself, before anything lies in blocks of channels.
//!
//! A picture has three channels or one, so a block of eight would be mostly pad lanes, and most products with zero. Here a
//! thread puts the rows that it needs into its scratch as they come, pixel after pixel, as numbers without the mean; what a
//! row of the kernel meets is then one run of numbers, and no product is wasted. The division by the deviation is in the
//! weights. A maximum pooling behind it is taken from rows in the scratch, so that the largest value of most networks is never
//! stored. Not here: convolutions of what other layers computed ([`super::Conv`]).

mod pool;
mod run;
mod strip;

use std::ops::Range;

use super::ground::InBand;
use super::{ConvShape, PARTS};
use crate::{Activation, AlignedBuf, Isa, LANES, Planes, Window};
use strip::Strip;

/// Blocks of output channels whose weights lie side by side.
const PANEL: usize = 4;

/// Floats of a strip that leave room for weights in the second-level cache.
const STRIP: usize = 32 * 1024;

/// Multiply-adds of a part below which waking another thread for it costs more than it saves.
const PART_WORK: usize = 1 << 18;

/// Pictures of one size, image after image.
#[derive(Clone, Copy, Debug)]
pub enum Pictures<'a> {
    /// Numbers `[n, c, h, w]`.
    Numbers(&'a [f32]),
    /// Bytes `[n, h, w, c]`, for weights that were packed with a normalisation.
    Bytes(&'a [u8]),
}

/// A convolution of pictures, into a value at a fixed place; see the module.
#[derive(Debug)]
pub struct Stem {
    pub(super) isa: Isa,
    shape: ConvShape,
    /// Channels, rows, columns.
    picture: [usize; 3],
    /// Rows and columns of the convolution.
    size: [usize; 2],
    activation: Activation,
    /// What takes the largest of the convolution's pixels.
    pub(super) pool: Option<Window>,
    pub(super) output: Planes,
    /// Rows of the output that are computed at a time.
    bands: Vec<Range<usize>>,
    /// Rows of the convolution whose rows of the picture lie in the strip together.
    chunk: usize,
    strip: Strip,
    pub(super) in_band: InBand,
}

/// The weights of a [`Stem`], packed.
#[derive(Clone, Debug)]
pub struct StemWeights {
    /// For every panel and every tap, as they follow each other in a strip, the weights of the panel's channels.
    packed: AlignedBuf,
    bias: AlignedBuf,
    /// What is taken from every byte of a pixel; none for pictures of numbers.
    mean: Option<Vec<f32>>,
}

impl StemWeights {
    /// Whether they are for pictures of bytes.
    pub fn normalises(&self) -> bool {
        self.mean.is_some()
    }

    /// Bytes they take.
    pub fn bytes(&self) -> usize {
        (self.packed.len() + self.bias.len()) * size_of::<f32>()
    }
}

impl Stem {
    /// Whether there is a stem for pictures of so many channels: not for groups, for dilated windows, and for steps that no
    /// tile was made for.
    pub fn fits(shape: &ConvShape, channels: usize) -> bool {
        let step = channels * shape.window.stride[1];
        shape.groups == 1 && shape.window.dilation == [1, 1] && [1, 3].contains(&channels) && run::STEPS.contains(&step)
    }

    /// Whether a maximum pooling can be taken from the rows of a stem: one to three rows and columns side by side.
    pub fn fits_pool(window: &Window) -> bool {
        let fits = |axis: usize| window.padding[axis] < window.kernel[axis] && window.kernel[axis] <= 3;
        window.dilation == [1, 1] && fits(0) && fits(1)
    }

    /// `output = act(W * pictures + bias)` for pictures `[c, h, w]`, the padding zero after a normalisation.
    ///
    /// # Panics
    /// If [`Stem::fits`] says no, blocks of the output overlap, the window lacks taps or steps or reaches beyond any memory,
    /// or the output has no pixels.
    pub fn new(isa: Isa, shape: ConvShape, picture: [usize; 3], output: &Planes, activation: Activation) -> Self {
        Self::with(isa, shape, picture, activation, [output.height(), output.width()], None, output)
    }

    /// The same, and of its rows and columns, as many as `size` says, the largest in each `window`; padding never counts.
    ///
    /// # Panics
    /// As [`Stem::new`], or if [`Stem::fits_pool`] says no, or a window lies beyond the rows or columns.
    pub fn pooled(
        isa: Isa,
        shape: ConvShape,
        picture: [usize; 3],
        activation: Activation,
        (size, window): ([usize; 2], Window),
        output: &Planes,
    ) -> Self {
        assert!(Self::fits_pool(&window), "no pooling by {window:?} in a stem");
        window.check([output.height(), output.width()]);
        let last = |axis: usize, outputs: usize| (outputs - 1) * window.stride[axis];
        let sees = |axis: usize, outputs| last(axis, outputs) < size[axis] + window.padding[axis];
        assert!(sees(0, output.height()) && sees(1, output.width()), "a window beyond {size:?} pixels");
        Self::with(isa, shape, picture, activation, size, Some(window), output)
    }

    fn with(
        isa: Isa,
        shape: ConvShape,
        picture: [usize; 3],
        activation: Activation,
        size: [usize; 2],
        pool: Option<Window>,
        output: &Planes,
    ) -> Self {
        assert!(isa.is_available(), "{isa} kernels on a machine without it");
        assert!(Self::fits(&shape, picture[0]), "no stem for {shape:?} of {} channels", picture[0]);
        assert!(output.is_disjoint(), "two blocks of a value overlap");
        shape.window.check(size);
        let strip = |rows| Strip::of(&shape.window, picture, rows, size[1]);
        let taps = picture[0] * shape.window.kernel.iter().product::<usize>();
        let work = taps * output.blocks().len() * LANES * size[0] * size[1];
        let height = output.height();
        // Bands that pool share a row of the convolution, which both compute.
        let most = if pool.is_some() { PARTS } else { 2 * PARTS };
        let rows = height.div_ceil((work / PART_WORK).clamp(1, most));
        let chunk = (1..=size[0].div_ceil(height) * rows).rev().find(|&n| strip(n).len() <= STRIP).unwrap_or(1);
        Self {
            isa,
            shape,
            picture,
            size,
            activation,
            pool,
            output: output.clone(),
            bands: (0..height).step_by(rows).map(|first| first..(first + rows).min(height)).collect(),
            chunk,
            strip: strip(chunk),
            in_band: InBand::default(),
        }
    }

    /// Panels of the output's blocks.
    fn panels(&self) -> usize {
        self.output.blocks().len().div_ceil(PANEL)
    }

    /// Numbers that an output pixel sees.
    fn taps(&self) -> usize {
        self.picture[0] * self.shape.window.kernel.iter().product::<usize>()
    }

    /// Packs a weight `[out, c, kh, kw]`, a bias `[out]`, and the mean and deviation `[c]` of bytes divided by 255, if
    /// pictures are bytes.
    ///
    /// # Panics
    /// If their lengths are not those of the convolution.
    pub fn pack(&self, weight: &[f32], bias: Option<&[f32]>, normalise: Option<(&[f32], &[f32])>) -> StemWeights {
        let (channels, outputs, taps) = (self.picture[0], self.output.channels(), self.taps());
        assert!(weight.len() == outputs * taps, "{} numbers for {} weights", weight.len(), outputs * taps);
        assert!(bias.is_none_or(|b| b.len() == outputs), "a bias for each of {outputs} channels");
        let fits = normalise.is_none_or(|(mean, std)| [mean.len(), std.len()] == [channels; 2]);
        assert!(fits, "a mean and a deviation for each of {channels} channels");
        let width = PANEL * LANES;
        let mut packed = AlignedBuf::zeroed(self.panels() * taps * width);
        let mut biases = AlignedBuf::zeroed(self.panels() * width);
        for (b, block) in self.output.blocks().iter().enumerate() {
            let (panel, lane) = (b / PANEL, b % PANEL * LANES);
            for of in 0..block.count {
                let output = block.first + of;
                biases[panel * width + lane + of] = bias.map_or(0.0, |b| b[output]);
                for tap in 0..taps {
                    let (channel, place) = (tap % channels, tap / channels);
                    let number = f64::from(weight[output * taps + channel * (taps / channels) + place]);
                    let number = normalise.map_or(number, |(_, std)| number / (255.0 * f64::from(std[channel])));
                    packed[(panel * taps + tap) * width + lane + of] = number as f32;
                }
            }
        }
        let mean = normalise.map(|(mean, _)| mean.iter().map(|&m| (255.0 * f64::from(m)) as f32).collect());
        StemWeights { packed, bias: biases, mean }
    }

    /// What runs, for tables.
    pub fn name(&self) -> String {
        let [h, w] = self.shape.window.kernel;
        let pool = if self.pool.is_some() { ", pool" } else { "" };
        format!("stem {h}x{w}{pool}, {}", self.isa)
    }
}
