//! Batch normalisations that read the same value, as all later layers of a dense block read each of its slices.
//!
//! They differ in scales and shifts, while mean and variance are the value's own. So these are taken once ([`Moments`]), however
//! many read it, and so is the gradient through them: that is linear in what the readers pass back, so each reader adds its
//! share ([`SharedNormGrad`]), and what goes through mean and variance is taken from the sum in the end ([`MomentsGrad`]). A
//! normalisation that is alone with its input is better off with [`crate::BatchNorm`] and [`crate::BatchNormGrad`], which are
//! one kernel each.

use std::ops::Range;

use crate::activation::with_activation;
use crate::memory::Shared;
use crate::norm::{BatchStats, Normalised, check, single};
use crate::simd::{Body, Simd};
use crate::sums::{per_channel, sums};
use crate::{Activation, Isa, LANES, Memory, Planes, Team};

/// Mean and variance of a batch for every channel of a value, and what the backward pass sends through them.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelMoments {
    mean: Vec<f64>,
    variance: Vec<f64>,
    /// The gradients of every mean, and of every half variance, added up over the normalisations that read them.
    through: [Vec<f64>; 2],
    count: usize,
}

impl ChannelMoments {
    /// Of `channels` channels, of nothing yet.
    pub fn new(channels: usize) -> Self {
        let zeros = || vec![0.0; channels];
        Self { mean: zeros(), variance: zeros(), through: [zeros(), zeros()], count: 0 }
    }

    /// Whether all of them are finite.
    pub fn is_finite(&self) -> bool {
        let lists = [&self.mean, &self.variance, &self.through[0], &self.through[1]];
        lists.into_iter().flatten().all(|x| x.is_finite())
    }

    /// Adds what a normalisation sends back through the moments of `channels`: it computed `stats`, in which they follow each
    /// other from channel `first` on, and has the gradients of its scales and shifts.
    ///
    /// # Panics
    /// If there are no such channels.
    pub fn add_through(
        &mut self,
        channels: Range<usize>,
        stats: &BatchStats,
        first: usize,
        [d_gamma, d_beta]: [&[f32]; 2],
    ) {
        let [mean, variance] = &mut self.through;
        for (of, c) in (first..).zip(channels) {
            let scale = f64::from(stats.scale[of]);
            mean[c] += scale * f64::from(d_beta[of]);
            variance[c] += scale * f64::from(stats.inv_std[of]) * f64::from(d_gamma[of]);
        }
    }
}

impl BatchStats {
    /// Puts the statistics of a normalisation together from its input's: runs of channels of some values.
    ///
    /// # Panics
    /// If these are not as many channels as scales `gamma` and shifts `beta`.
    pub fn assemble<'a>(
        &mut self,
        parts: impl Iterator<Item = (&'a ChannelMoments, Range<usize>)>,
        gamma: &[f32],
        beta: &[f32],
        eps: f64,
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
                self.centre[at] = 0.0;
                self.scale[at] = (f64::from(gamma[at]) * inv_std) as f32;
                // By the scale as it was rounded: its error then counts with the deviation only, not with the mean.
                self.shift[at] = (f64::from(beta[at]) - mean * f64::from(self.scale[at])) as f32;
                at += 1;
            }
        }
        assert!(at == gamma.len() && at == beta.len(), "{at} channels with {} scales", gamma.len());
    }

    /// What [`BatchStats::assemble`] has made of a normalisation: `x * scale + shift`.
    pub fn scale_and_shift(&self) -> (&[f32], &[f32]) {
        (&self.scale, &self.shift)
    }
}

/// Mean and variance of a value.
#[derive(Debug)]
pub struct Moments {
    isa: Isa,
    input: Planes,
}

impl Moments {
    /// Of the value at `input`.
    pub fn new(isa: Isa, input: &Planes) -> Self {
        Self { isa, input: input.clone() }
    }

    /// Takes them over all images; nothing has gone through them yet.
    ///
    /// # Panics
    /// If the memory has no room for the value, or there is not a place for every channel.
    pub fn run(&self, out: &mut ChannelMoments, memory: &mut Memory, team: &mut Team) {
        assert!(memory.image_len() >= self.input.end(), "values beyond the arena");
        out.count = memory.images() * self.input.pixels();
        out.through.iter_mut().for_each(|list| list.fill(0.0));
        let (images, shared) = (memory.images(), memory.share());
        per_channel(&self.input, [&mut out.mean[..], &mut out.variance[..]], team, |block| {
            self.isa.run(MomentsBody { input: &self.input, block, images, shared })
        });
    }
}

/// One block of all images. Whoever makes it has checked that memory holds the value.
struct MomentsBody<'a> {
    input: &'a Planes,
    block: usize,
    images: usize,
    shared: Shared,
}

impl Body for MomentsBody<'_> {
    /// Mean and variance.
    type Output = [[f64; LANES]; 2];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let plane = |image: usize| self.shared.image(image).wrapping_add(self.input.blocks()[self.block].offset);
        let (images, pixels) = (self.images, self.input.pixels());
        let count = (images * pixels) as f64;
        if images * pixels == 0 {
            return [[0.0; LANES]; 2];
        }
        // SAFETY (here and below): the block's plane has `pixels` vectors, and `at` is one of them.
        let centre = unsafe { s.load(plane(0)) };
        // Squares of deviations from one of the numbers are small enough for their sum not to cancel, and one pass does
        // (Chan, Golub, LeVeque 1983).
        let [sum, squares] = sums(s, images, pixels, |image, at| {
            let d = s.sub(unsafe { s.load(plane(image).add(at)) }, centre);
            [d, s.mul(d, d)]
        });
        let centre = s.to_array(centre).map(f64::from);
        let mean = std::array::from_fn(|l| centre[l] + sum[l] / count);
        let variance = std::array::from_fn(|l| ((squares[l] - sum[l] * sum[l] / count) / count).max(0.0));
        [mean, variance]
    }
}

/// One normalisation's gradients of scale and shift, and its share of its input's gradient, apart from what goes through mean
/// and variance.
#[derive(Debug)]
pub struct SharedNormGrad {
    isa: Isa,
    input: Planes,
    d_output: Planes,
    sum: Planes,
    activation: Activation,
    accumulate: bool,
}

impl SharedNormGrad {
    /// The share is written to `sum`, or added to what is there.
    ///
    /// # Panics
    /// If the values have different shapes or blocks, or the sum overlaps what is read.
    pub fn new(
        isa: Isa,
        input: &Planes,
        d_output: &Planes,
        sum: &Planes,
        activation: Activation,
        accumulate: bool,
    ) -> Self {
        check(input, d_output);
        check(input, sum);
        let apart = sum.is_apart_from(input) && sum.is_apart_from(d_output);
        assert!(apart && sum.is_disjoint(), "a gradient over what it comes from");
        let [input, d_output, sum] = [input, d_output, sum].map(Planes::clone);
        Self { isa, input, d_output, sum, activation, accumulate }
    }

    /// Computes all images, with the statistics that the forward pass has used.
    ///
    /// # Panics
    /// If the memory has no room for the values, or a list has not one number for every channel.
    pub fn run(
        &self,
        stats: &BatchStats,
        d_gamma: &mut [f32],
        d_beta: &mut [f32],
        memory: &mut Memory,
        team: &mut Team,
    ) {
        let end = [&self.input, &self.d_output, &self.sum].map(Planes::end).into_iter().max();
        assert!(end <= Some(memory.image_len()), "values beyond the arena");
        assert!(stats.mean.len() == self.input.channels(), "a number for each of {} channels", stats.mean.len());
        let (images, shared) = (memory.images(), memory.share());
        per_channel(&self.input, [d_gamma, d_beta], team, |block| {
            let normalised = Normalised::of(stats, &self.input, block);
            self.isa.run(ShareBody { of: self, block, normalised, images, shared })
        });
    }
}

/// One block of all images. Whoever makes it has checked that memory holds the values, and gives each block to one thread.
struct ShareBody<'a> {
    of: &'a SharedNormGrad,
    block: usize,
    normalised: Normalised,
    images: usize,
    shared: Shared,
}

impl ShareBody<'_> {
    fn plane(&self, planes: &Planes, image: usize) -> *mut f32 {
        self.shared.image(image).wrapping_add(planes.blocks()[self.block].offset)
    }
}

impl Body for ShareBody<'_> {
    /// The gradients of gamma and beta.
    type Output = [[f64; LANES]; 2];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let of = self.of;
        // SAFETY (all below): the loop sees the images and the first floats of their pixels; arrays have eight floats.
        let scale = unsafe { s.load(self.normalised.scale.as_ptr()) };
        with_activation!(of.activation, f => {
            let [d_beta, d_gamma] = sums(s, self.images, of.input.pixels(), |image, at| {
                let place = |planes| self.plane(planes, image).wrapping_add(at);
                let [dz, xhat] = unsafe { self.normalised.dz(s, f, place(&of.input), place(&of.d_output)) };
                let to = place(&of.sum);
                let share = if of.accumulate { s.fma(scale, dz, unsafe { s.load(to) }) } else { s.mul(scale, dz) };
                unsafe { s.store(share, to) };
                [dz, s.mul(dz, xhat)]
            });
            [d_gamma, d_beta]
        })
    }
}

/// From the sum of all shares to the gradient of the value, in its place: less what goes through mean and variance.
#[derive(Debug)]
pub struct MomentsGrad {
    isa: Isa,
    input: Planes,
    d_input: Planes,
}

impl MomentsGrad {
    /// # Panics
    /// If the values have different shapes or blocks, or overlap.
    pub fn new(isa: Isa, input: &Planes, d_input: &Planes) -> Self {
        check(input, d_input);
        assert!(d_input.is_apart_from(input) && d_input.is_disjoint(), "a gradient over what it comes from");
        Self { isa, input: input.clone(), d_input: d_input.clone() }
    }

    /// Computes all images, with what has been added to the moments.
    ///
    /// # Panics
    /// If the memory has no room for the values, or the moments have other channels.
    pub fn run(&self, moments: &ChannelMoments, memory: &mut Memory, team: &mut Team) {
        assert!(memory.image_len() >= self.input.end().max(self.d_input.end()), "values beyond the arena");
        assert!(moments.mean.len() == self.input.channels(), "moments of {} channels", moments.mean.len());
        let (images, shared) = (memory.images(), memory.share());
        team.run(self.input.blocks().len(), &|block, _| {
            let count = moments.count as f64;
            let lanes = |of: &[f64], by: f64| {
                let block = &self.input.blocks()[block];
                let lane = |l: usize| if l < block.count { of[block.first + l] / by } else { 0.0 };
                single(std::array::from_fn(lane))
            };
            let [mean, variance] = &moments.through;
            let through = [lanes(mean, count), lanes(variance, count)];
            let body = ThroughBody { of: self, block, mean: lanes(&moments.mean, 1.0), through, images, shared };
            self.isa.run(body);
        });
    }
}

/// One block of all images; as [`ShareBody`].
struct ThroughBody<'a> {
    of: &'a MomentsGrad,
    block: usize,
    mean: [f32; LANES],
    through: [[f32; LANES]; 2],
    images: usize,
    shared: Shared,
}

impl Body for ThroughBody<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let plane = |planes: &Planes, image| self.shared.image(image).wrapping_add(planes.blocks()[self.block].offset);
        // SAFETY (all below): arrays have eight floats, and `at` is the first float of a pixel of the block's planes.
        let vector = |of: [f32; LANES]| unsafe { s.load(of.as_ptr()) };
        let (mean, [of_mean, of_variance]) = (vector(self.mean), self.through.map(vector));
        for image in 0..self.images {
            let (x, d) = (plane(&self.of.input, image), plane(&self.of.d_input, image));
            for at in (0..self.of.input.pixels() * LANES).step_by(LANES) {
                unsafe {
                    let centred = s.sub(s.load(x.add(at)), mean);
                    let through = s.fma(of_variance, centred, of_mean);
                    s.store(s.sub(s.load(d.add(at)), through), d.add(at));
                }
            }
        }
    }
}
