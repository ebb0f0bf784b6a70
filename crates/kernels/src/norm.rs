//! Batch normalisation in training (Ioffe and Szegedy, arXiv:1502.03167), with the activation behind it: forward by the
//! batch's own statistics, and backward.
//!
//! At inference it is folded away or an [`crate::Affine`]. Not here: how mean and variance are taken ([`ChannelMoments`]).

use std::ops::Range;

use crate::activation::with_activation;
use crate::memory::Shared;
use crate::simd::{Body, Simd};
use crate::sums::{per_channel, sums};
use crate::{Activation, ChannelMoments, Isa, LANES, Memory, Planes, Team};

/// Statistics of a batch for every channel.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchStats {
    /// Mean.
    pub mean: Vec<f32>,
    /// Mean square deviation from it (the biased variance).
    pub variance: Vec<f32>,
    /// `1 / sqrt(variance + eps)`
    pub inv_std: Vec<f32>,
    /// The forward pass computed `(x - centre) * scale + shift`; the backward pass finds the activation's slope there again.
    pub(crate) centre: Vec<f32>,
    pub(crate) scale: Vec<f32>,
    pub(crate) shift: Vec<f32>,
    /// How many numbers of each channel they were taken from.
    pub count: usize,
}

impl BatchStats {
    /// Statistics of `channels` channels, of nothing yet.
    pub fn new(channels: usize) -> Self {
        let zeros = || vec![0.0; channels];
        let [mean, variance, inv_std, centre, scale, shift] = std::array::from_fn(|_| zeros());
        Self { mean, variance, inv_std, centre, scale, shift, count: 0 }
    }

    /// Whether all of them are finite.
    pub fn is_finite(&self) -> bool {
        self.mean.iter().chain(&self.variance).chain(&self.inv_std).all(|x| x.is_finite())
    }

    /// Puts the statistics of a normalisation together from its input's: runs of channels of some values. It is to be computed as
    /// `(x - mean) * scale + shift` if it is `centred`, else as `x * scale + shift`, which is what a convolution does to its input.
    ///
    /// # Panics
    /// If these are not as many channels as scales `gamma` and shifts `beta`.
    pub fn assemble<'a>(
        &mut self,
        parts: impl Iterator<Item = (&'a ChannelMoments, Range<usize>)>,
        gamma: &[f32],
        beta: &[f32],
        eps: f64,
        centred: bool,
    ) {
        let mut at = 0;
        for (moments, channels) in parts {
            self.count = moments.count;
            for c in channels {
                let (mean, variance) = (moments.mean[c], moments.variance[c]);
                let inv_std = 1.0 / (variance + eps).sqrt();
                self.mean[at] = mean as f32;
                self.variance[at] = variance as f32;
                self.inv_std[at] = inv_std as f32;
                self.centre[at] = if centred { mean as f32 } else { 0.0 };
                self.scale[at] = (f64::from(gamma[at]) * inv_std) as f32;
                // By scale and centre as they were rounded: the scale's error then counts with the deviation only, not with the mean.
                let rest = mean - f64::from(self.centre[at]);
                self.shift[at] = (f64::from(beta[at]) - rest * f64::from(self.scale[at])) as f32;
                at += 1;
            }
        }
        assert!(at == gamma.len() && at == beta.len(), "{at} channels with {} scales", gamma.len());
    }

    /// What [`BatchStats::assemble`] has made of a normalisation that is not centred: `x * scale + shift`.
    pub fn scale_and_shift(&self) -> (&[f32], &[f32]) {
        (&self.scale, &self.shift)
    }

    /// Mixes them into running statistics with the share `momentum`. The running variance takes the unbiased one, as in
    /// PyTorch.
    pub fn update_running(&self, momentum: f64, mean: &mut [f32], variance: &mut [f32]) {
        let unbiased = self.count as f64 / self.count.saturating_sub(1).max(1) as f64;
        let mix =
            |running: &mut f32, new: f64| *running = ((1.0 - momentum) * f64::from(*running) + momentum * new) as f32;
        mean.iter_mut().zip(&self.mean).for_each(|(r, &m)| mix(r, f64::from(m)));
        variance.iter_mut().zip(&self.variance).for_each(|(r, &v)| mix(r, f64::from(v) * unbiased));
    }
}

/// Blocks that lie alike.
pub(crate) fn check(of: &Planes, like: &Planes) {
    assert!(of.is_cut_like(like), "values with different blocks");
    assert!((of.height(), of.width()) == (like.height(), like.width()), "values of different size");
}

/// `output = act((input - centre) * scale + shift)` by statistics that [`BatchStats::assemble`] has made.
#[derive(Debug)]
pub struct BatchNorm {
    isa: Isa,
    input: Planes,
    output: Planes,
    activation: Activation,
}

impl BatchNorm {
    /// # Panics
    /// If the values have different shapes or blocks, or overlap.
    pub fn new(isa: Isa, input: &Planes, output: &Planes, activation: Activation) -> Self {
        check(input, output);
        assert!(output.is_apart_from(input) && output.is_disjoint(), "the backward pass needs the input");
        Self { isa, input: input.clone(), output: output.clone(), activation }
    }

    /// Computes all images.
    ///
    /// # Panics
    /// If the memory has no room for the values, or the statistics are of other channels.
    pub fn run(&self, stats: &BatchStats, memory: &mut Memory, team: &mut Team) {
        assert!(memory.image_len() >= self.input.end().max(self.output.end()), "values beyond the arena");
        assert!(stats.centre.len() == self.input.channels(), "statistics of other channels");
        let (images, shared) = (memory.images(), memory.share());
        team.run(self.input.blocks().len(), &|block, _| {
            let map = [&stats.centre, &stats.scale, &stats.shift].map(|list| self.input.lanes(block, list));
            self.isa.run(NormBody { of: self, block, map, images, shared });
        });
    }
}

/// One block of all images. Whoever makes it has checked that memory holds the values, and gives each block to one thread.
struct NormBody<'a> {
    of: &'a BatchNorm,
    block: usize,
    /// Centre, scale and shift.
    map: [[f32; LANES]; 3],
    images: usize,
    shared: Shared,
}

impl Body for NormBody<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let BatchNorm { input, output, activation, .. } = self.of;
        // SAFETY (all below): arrays have eight floats, and `at` is the first float of a pixel of the block's planes.
        let [centre, scale, shift] = self.map.map(|lanes| unsafe { s.load(lanes.as_ptr()) });
        with_activation!(*activation, f => for image in 0..self.images {
            let image = self.shared.image(image);
            let [from, to] = [input, output].map(|planes| image.wrapping_add(planes.blocks()[self.block].offset));
            for at in (0..input.pixels() * LANES).step_by(LANES) {
                let z = s.fma(s.sub(unsafe { s.load(from.add(at)) }, centre), scale, shift);
                unsafe { s.store(f.apply(s, z), to.add(at)) };
            }
        });
    }
}

/// Eight numbers in single precision.
pub(crate) fn single(of: [f64; LANES]) -> [f32; LANES] {
    of.map(|v| v as f32)
}

/// The gradients of [`BatchNorm`]: of its input, of gamma and of beta. The activation's slope is found again from the input.
#[derive(Debug)]
pub struct BatchNormGrad {
    isa: Isa,
    input: Planes,
    d_output: Planes,
    d_input: Planes,
    activation: Activation,
    accumulate: bool,
}

impl BatchNormGrad {
    /// # Panics
    /// If the values have different shapes or blocks, or the gradient written overlaps what is read.
    pub fn new(
        isa: Isa,
        input: &Planes,
        d_output: &Planes,
        d_input: &Planes,
        activation: Activation,
        accumulate: bool,
    ) -> Self {
        check(input, d_output);
        check(input, d_input);
        let apart = d_input.is_apart_from(input) && d_input.is_apart_from(d_output);
        assert!(apart && d_input.is_disjoint(), "a gradient over what it comes from");
        let [input, d_output, d_input] = [input, d_output, d_input].map(Planes::clone);
        Self { isa, input, d_output, d_input, activation, accumulate }
    }

    /// Computes all images, with the statistics that [`BatchNorm::run`] was given.
    ///
    /// # Panics
    /// As [`BatchNorm::run`].
    pub fn run(
        &self,
        stats: &BatchStats,
        d_gamma: &mut [f32],
        d_beta: &mut [f32],
        memory: &mut Memory,
        team: &mut Team,
    ) {
        let channels = self.input.channels();
        let end = [&self.input, &self.d_output, &self.d_input].map(Planes::end).into_iter().max();
        assert!(end <= Some(memory.image_len()), "values beyond the arena");
        assert!(stats.mean.len() == channels, "a number for each of {channels} channels");
        let (images, shared) = (memory.images(), memory.share());
        per_channel(&self.input, [d_gamma, d_beta], team, |block| {
            let normalised = Normalised::of(stats, &self.input, block);
            self.isa.run(NormGradBody { of: self, block, normalised, images, shared })
        });
    }
}

/// What the forward pass made of one block.
pub(crate) struct Normalised {
    mean: [f32; LANES],
    inv_std: [f32; LANES],
    centre: [f32; LANES],
    pub scale: [f32; LANES],
    shift: [f32; LANES],
}

impl Normalised {
    pub fn of(stats: &BatchStats, input: &Planes, block: usize) -> Self {
        let lanes = |of: &[f32]| input.lanes(block, of);
        Self {
            mean: lanes(&stats.mean),
            inv_std: lanes(&stats.inv_std),
            centre: lanes(&stats.centre),
            scale: lanes(&stats.scale),
            shift: lanes(&stats.shift),
        }
    }

    /// The gradient before the activation `f`, and the normalised input, of one pixel.
    ///
    /// A method, since a closure called from two loops is compiled apart from them and then without their instruction set.
    ///
    /// # Safety
    /// Both places have eight floats.
    #[inline(always)]
    pub unsafe fn dz<S: Simd>(&self, s: S, f: Activation, x: *const f32, dy: *const f32) -> [S::V; 2] {
        let Self { centre, scale, shift, .. } = self;
        // SAFETY: the caller's promise; the arrays have eight floats.
        let (x, dy) = unsafe { (s.load(x), s.load(dy)) };
        let (centre, scale) = unsafe { (s.load(centre.as_ptr()), s.load(scale.as_ptr())) };
        let slope = f.slope(s, s.fma(s.sub(x, centre), scale, unsafe { s.load(shift.as_ptr()) }));
        [s.mul(dy, slope), self.xhat(s, x)]
    }

    /// The normalised input.
    #[inline(always)]
    fn xhat<S: Simd>(&self, s: S, x: S::V) -> S::V {
        // SAFETY: the arrays have eight floats.
        let (mean, inv_std) = unsafe { (s.load(self.mean.as_ptr()), s.load(self.inv_std.as_ptr())) };
        s.mul(s.sub(x, mean), inv_std)
    }
}

/// One block of all images; as [`NormBody`].
struct NormGradBody<'a> {
    of: &'a BatchNormGrad,
    block: usize,
    normalised: Normalised,
    images: usize,
    shared: Shared,
}

impl NormGradBody<'_> {
    fn plane(&self, planes: &Planes, image: usize) -> *mut f32 {
        self.shared.image(image).wrapping_add(planes.blocks()[self.block].offset)
    }

    /// [`Normalised::dz`] of the vector `at` of an image.
    ///
    /// # Safety
    /// `at` is the first float of one of the planes' pixels, and `image` one of the images.
    #[inline(always)]
    unsafe fn dz<S: Simd>(&self, s: S, f: Activation, image: usize, at: usize) -> [S::V; 2] {
        let place = |planes| self.plane(planes, image).wrapping_add(at).cast_const();
        // SAFETY: the caller's promise.
        unsafe { self.normalised.dz(s, f, place(&self.of.input), place(&self.of.d_output)) }
    }
}

impl Body for NormGradBody<'_> {
    /// The gradients of gamma and beta.
    type Output = [[f64; LANES]; 2];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let of = self.of;
        let (images, pixels) = (self.images, of.input.pixels());
        let count = (images * pixels) as f64;
        // SAFETY (all below): the loops see the images and the first floats of their pixels; arrays have eight floats.
        let vector = |of: [f32; LANES]| unsafe { s.load(of.as_ptr()) };
        with_activation!(of.activation, f => {
            // What costs more than to be read again is kept where the gradient will be.
            let is_kept = f.is_curved() && !of.accumulate;
            let [d_beta, d_gamma] = sums(s, images, pixels, |image, at| {
                let [dz, xhat] = unsafe { self.dz(s, f, image, at) };
                if is_kept {
                    unsafe { s.store(dz, self.plane(&of.d_input, image).wrapping_add(at)) };
                }
                [dz, s.mul(dz, xhat)]
            });
            let [mean_dz, mean_dz_xhat] = [d_beta, d_gamma].map(|sum| vector(single(sum.map(|v| v / count))));
            let scale = vector(self.normalised.scale);
            for image in 0..images {
                let (x, to) = (self.plane(&of.input, image), self.plane(&of.d_input, image));
                for at in (0..pixels * LANES).step_by(LANES) {
                    let place = to.wrapping_add(at);
                    let [dz, xhat] = if is_kept {
                        unsafe { [s.load(place), self.normalised.xhat(s, s.load(x.wrapping_add(at)))] }
                    } else {
                        unsafe { self.dz(s, f, image, at) }
                    };
                    let dx = s.mul(scale, s.sub(s.sub(dz, mean_dz), s.mul(xhat, mean_dz_xhat)));
                    let dx = if of.accumulate { s.add(unsafe { s.load(place) }, dx) } else { dx };
                    unsafe { s.store(dx, place) };
                }
            }
            [d_gamma, d_beta]
        })
    }
}
