//! Batch normalisation in training (Ioffe and Szegedy, arXiv:1502.03167), with the activation behind it: forward by the
//! batch's own statistics, and backward.
//!
//! At inference it is folded away or an [`crate::Affine`].

use crate::activation::with_activation;
use crate::memory::Shared;
use crate::simd::{Body, Simd};
use crate::sums::{per_channel, sums};
use crate::{Activation, Isa, LANES, Memory, Planes, Team};

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

/// `output = act(gamma * (input - mean) / sqrt(variance + eps) + beta)` by the batch's statistics.
#[derive(Debug)]
pub struct BatchNorm {
    isa: Isa,
    input: Planes,
    output: Planes,
    activation: Activation,
    eps: f64,
}

/// Blocks that lie alike.
pub(crate) fn check(of: &Planes, like: &Planes) {
    assert!(of.is_cut_like(like), "values with different blocks");
    assert!((of.height(), of.width()) == (like.height(), like.width()), "values of different size");
}

impl BatchNorm {
    /// # Panics
    /// If the values have different shapes or blocks, or overlap.
    pub fn new(isa: Isa, input: &Planes, output: &Planes, activation: Activation, eps: f64) -> Self {
        check(input, output);
        assert!(output.is_apart_from(input) && output.is_disjoint(), "the backward pass needs the input");
        Self { isa, input: input.clone(), output: output.clone(), activation, eps }
    }

    /// Computes all images and their statistics, with `gamma` and `beta` `[c]`.
    ///
    /// # Panics
    /// If the memory has no room for the values, or a list has not one number for every channel.
    pub fn run(&self, gamma: &[f32], beta: &[f32], stats: &mut BatchStats, memory: &mut Memory, team: &mut Team) {
        let channels = self.input.channels();
        assert!(memory.image_len() >= self.input.end().max(self.output.end()), "values beyond the arena");
        assert!(
            gamma.len() == channels && beta.len() == channels,
            "a scale and a shift for each of {channels} channels"
        );
        stats.count = memory.images() * self.input.pixels();
        let BatchStats { mean, variance, inv_std, centre, scale, shift, .. } = stats;
        let lists = [mean, variance, inv_std, centre, scale, shift].map(|list| &mut list[..]);
        let (images, shared) = (memory.images(), memory.share());
        per_channel(&self.input, lists, team, |block| {
            let [gamma, beta] = [gamma, beta].map(|of| self.input.lanes(block, of));
            self.isa.run(NormBody { of: self, block, gamma, beta, images, shared })
        });
    }

    /// Computes all images once more, with the same bits, by the statistics that a run has left.
    ///
    /// # Panics
    /// If the memory has no room for the values, or the statistics are of other channels.
    pub fn run_again(&self, stats: &BatchStats, memory: &mut Memory, team: &mut Team) {
        assert!(memory.image_len() >= self.input.end().max(self.output.end()), "values beyond the arena");
        assert!(stats.centre.len() == self.input.channels(), "statistics of other channels");
        let (images, shared) = (memory.images(), memory.share());
        team.run(self.input.blocks().len(), &|block, _| {
            let map = [&stats.centre, &stats.scale, &stats.shift].map(|list| self.input.lanes(block, list));
            self.isa.run(AgainBody { of: self, block, map, images, shared });
        });
    }
}

/// One block of all images, whose `(x - centre) * scale + shift` is known. Whoever makes it has checked that memory holds the
/// values, and gives each block to one thread.
struct AgainBody<'a> {
    of: &'a BatchNorm,
    block: usize,
    map: [[f32; LANES]; 3],
    images: usize,
    shared: Shared,
}

impl Body for AgainBody<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let plane = |planes: &Planes, image| self.shared.image(image).wrapping_add(planes.blocks()[self.block].offset);
        let (from, to) = (|image| plane(&self.of.input, image).cast_const(), |image| plane(&self.of.output, image));
        // SAFETY: memory holds the block's planes in every image, and they are this thread's.
        unsafe { apply(s, self.of, self.map, self.images, from, to) };
    }
}

/// `act((x - centre) * scale + shift)` of a block's planes in all images.
///
/// # Safety
/// For every image both planes have all pixels, and nobody else touches the one that is written.
#[inline(always)]
unsafe fn apply<S: Simd>(
    s: S,
    of: &BatchNorm,
    map: [[f32; LANES]; 3],
    images: usize,
    from: impl Fn(usize) -> *const f32,
    to: impl Fn(usize) -> *mut f32,
) {
    // SAFETY: arrays have eight floats; for the planes it is the function's own promise.
    unsafe {
        let [centre, scale, shift] = map.map(|lanes| s.load(lanes.as_ptr()));
        with_activation!(of.activation, f => for image in 0..images {
            let (from, to) = (from(image), to(image));
            for at in (0..of.input.pixels() * LANES).step_by(LANES) {
                let z = s.fma(s.sub(s.load(from.add(at)), centre), scale, shift);
                s.store(f.apply(s, z), to.add(at));
            }
        });
    }
}

/// One block of all images. Whoever makes it has checked that memory holds the values, and gives each block to one thread.
struct NormBody<'a> {
    of: &'a BatchNorm,
    block: usize,
    gamma: [f32; LANES],
    beta: [f32; LANES],
    images: usize,
    shared: Shared,
}

impl NormBody<'_> {
    fn plane(&self, planes: &Planes, image: usize) -> *mut f32 {
        self.shared.image(image).wrapping_add(planes.blocks()[self.block].offset)
    }
}

/// Eight numbers in single precision.
pub(crate) fn single(of: [f64; LANES]) -> [f32; LANES] {
    of.map(|v| v as f32)
}

impl Body for NormBody<'_> {
    /// The block's statistics, in the order of [`BatchStats`].
    type Output = [[f64; LANES]; 6];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let (input, output) = (&self.of.input, &self.of.output);
        let (images, pixels) = (self.images, input.pixels());
        let count = (images * pixels) as f64;
        // SAFETY (all loads and stores below): `plane` is the block's plane of `pixels` vectors, `at` one of them; arrays
        // have eight floats.
        let vector = |of: [f32; LANES]| unsafe { s.load(of.as_ptr()) };
        let x = |image: usize, at: usize| unsafe { s.load(self.plane(input, image).add(at)) };
        let [sum] = sums(s, images, pixels, |image, at| [x(image, at)]);
        let mean = sum.map(|v| v / count);
        let centre = vector(single(mean));
        let [squares, rest] = sums(s, images, pixels, |image, at| {
            let d = s.sub(x(image, at), centre);
            [s.mul(d, d), d]
        });
        // The mean was rounded; `rest` says by how much the deviations are off (Chan, Golub, LeVeque 1983).
        let variance: [f64; LANES] = std::array::from_fn(|l| (squares[l] - rest[l] * rest[l] / count) / count);
        let inv_std = variance.map(|v| 1.0 / (v.max(0.0) + self.of.eps).sqrt());
        // What rounding took from the mean and the scale goes into the shift.
        let factor: [f64; LANES] = std::array::from_fn(|l| f64::from(self.gamma[l]) * inv_std[l]);
        let lost = |l: usize| mean[l] - f64::from(mean[l] as f32);
        let offset: [f64; LANES] = std::array::from_fn(|l| f64::from(self.beta[l]) - lost(l) * factor[l]);
        let map = [mean, factor, offset].map(single);
        let (from, to) = (|image| self.plane(input, image).cast_const(), |image| self.plane(output, image));
        unsafe { apply(s, self.of, map, images, from, to) };
        [mean, variance, inv_std, mean, factor, offset]
    }
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

    /// Computes all images, with the statistics that [`BatchNorm::run`] has left.
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
        let Self { mean, inv_std, centre, scale, shift } = self;
        // SAFETY: the caller's promise; the arrays have eight floats.
        let (x, dy) = unsafe { (s.load(x), s.load(dy)) };
        let (mean, inv_std) = unsafe { (s.load(mean.as_ptr()), s.load(inv_std.as_ptr())) };
        let (centre, scale) = unsafe { (s.load(centre.as_ptr()), s.load(scale.as_ptr())) };
        let slope = f.slope(s, s.fma(s.sub(x, centre), scale, unsafe { s.load(shift.as_ptr()) }));
        [s.mul(dy, slope), s.mul(s.sub(x, mean), inv_std)]
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
            let [d_beta, d_gamma] = sums(s, images, pixels, |image, at| {
                let [dz, xhat] = unsafe { self.dz(s, f, image, at) };
                [dz, s.mul(dz, xhat)]
            });
            let [mean_dz, mean_dz_xhat] = [d_beta, d_gamma].map(|sum| vector(single(sum.map(|v| v / count))));
            let scale = vector(self.normalised.scale);
            for image in 0..images {
                let to = self.plane(&of.d_input, image);
                for at in (0..pixels * LANES).step_by(LANES) {
                    let [dz, xhat] = unsafe { self.dz(s, f, image, at) };
                    let dx = s.mul(scale, s.sub(s.sub(dz, mean_dz), s.mul(xhat, mean_dz_xhat)));
                    let place = to.wrapping_add(at);
                    let dx = if of.accumulate { s.add(unsafe { s.load(place) }, dx) } else { dx };
                    unsafe { s.store(dx, place) };
                }
            }
            [d_gamma, d_beta]
        })
    }
}
