//! Batch normalisations that read the same value, as all later layers of a dense block read each of its slices.
//!
//! They differ in scales and shifts, while mean and variance are the value's own ([`ChannelMoments`]). So the gradient through these
//! is taken once, too: it is linear in what the readers pass back, so each reader adds its share ([`SharedNormGrad`]), and what goes
//! through mean and variance is taken from the sum in the end ([`MomentsGrad`]). A normalisation that is alone with its input is
//! better off with [`crate::BatchNormGrad`], which is one kernel.

use std::ops::Range;

use crate::activation::with_activation;
use crate::memory::Shared;
use crate::norm::{BatchStats, Normalised, check, single};
use crate::simd::{Body, Simd};
use crate::sums::{per_channel, sums};
use crate::{Activation, ChannelMoments, Isa, LANES, Memory, Planes, Team};

impl ChannelMoments {
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
