//! Loops over whole planes: a function of every element, scale and shift of every channel.
//!
//! Not here: functions of two values ([`crate::Combine`]), what crosses pixels (pooling, convolution) or sums over them
//! (statistics).

use crate::activation::with_activation;
use crate::memory::Shared;
use crate::simd::{Body, Simd};
use crate::transfer::clear_pads;
use crate::{Activation, Isa, LANES, Memory, Planes, Team};

/// Values of one shape and one partition into blocks: the last is written, the others are read.
#[derive(Debug)]
pub(crate) struct Alike<const N: usize> {
    planes: [Planes; N],
    end: usize,
}

impl<const N: usize> Alike<N> {
    /// # Panics
    /// If shapes or partitions differ, or a value that is read overlaps the written one without being it.
    pub(crate) fn new(planes: [&Planes; N]) -> Self {
        let written = planes[N - 1];
        assert!(written.is_disjoint(), "two blocks of a value overlap");
        for p in planes {
            assert!(p.is_cut_like(written), "values with different blocks");
            assert!((p.height(), p.width()) == (written.height(), written.width()), "values of different size");
            let same = p.blocks() == written.blocks();
            assert!(same || p.is_apart_from(written), "a value that is read overlaps the one that is written");
        }
        let end = planes.iter().map(|p| p.end()).max().unwrap_or(0);
        Self { planes: planes.map(Planes::clone), end }
    }

    /// Number of the first channel of a block.
    pub(crate) fn first_channel(&self, block: usize) -> usize {
        self.planes[0].blocks()[block].first
    }

    /// Gives every block of every image to one call of `body`, with the addresses of its planes.
    fn each_block<B: Body<Output = ()>>(
        &self,
        isa: Isa,
        memory: &mut Memory,
        team: &mut Team,
        body: impl Fn(usize, [*mut f32; N], usize) -> B + Sync,
    ) {
        self.each_block_of_image(isa, memory, team, |_, block, at, pixels| body(block, at, pixels));
    }

    /// The same, with the number of the image before that of the block.
    pub(crate) fn each_block_of_image<B: Body<Output = ()>>(
        &self,
        isa: Isa,
        memory: &mut Memory,
        team: &mut Team,
        body: impl Fn(usize, usize, [*mut f32; N], usize) -> B + Sync,
    ) {
        assert!(memory.image_len() >= self.end, "values beyond the arena");
        let blocks = self.planes[0].blocks().len();
        let images = memory.images();
        let shared: Shared = memory.share();
        team.run(images * blocks, &|part, _| {
            let (image, block) = (part / blocks, part % blocks);
            let at = |i: usize| shared.image(image).wrapping_add(self.planes[i].blocks()[block].offset);
            isa.run(body(image, block, std::array::from_fn(at), self.planes[0].pixels()));
        });
    }
}

/// Applies `each` to the addresses of every pixel's vector.
#[inline(always)]
fn each_pixel<const N: usize>(at: [*mut f32; N], pixels: usize, mut each: impl FnMut([*mut f32; N])) {
    for pixel in 0..pixels {
        each(at.map(|p| p.wrapping_add(pixel * LANES)));
    }
}

/// `output = act(input)`, element by element; input and output may be the same value.
#[derive(Debug)]
pub struct Map {
    isa: Isa,
    activation: Activation,
    values: Alike<2>,
}

impl Map {
    /// # Panics
    /// If the values have different shapes or blocks, or overlap without being the same.
    pub fn new(isa: Isa, activation: Activation, input: &Planes, output: &Planes) -> Self {
        Self { isa, activation, values: Alike::new([input, output]) }
    }

    /// Computes all images.
    pub fn run(&self, memory: &mut Memory, team: &mut Team) {
        let body = |_, at, pixels| MapBody { activation: self.activation, at, pixels };
        self.values.each_block(self.isa, memory, team, body);
        if matches!(self.activation, Activation::Other(function) if !function.keeps_finite()) {
            clear_pads(&self.values.planes[1], memory, team);
        }
    }
}

struct MapBody {
    activation: Activation,
    at: [*mut f32; 2],
    pixels: usize,
}

impl Body for MapBody {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        with_activation!(self.activation, f => each_pixel(self.at, self.pixels, |[x, y]| {
            // SAFETY: `Alike::each_block` gives planes of so many pixels, the last of which is this body's alone.
            unsafe { s.store(f.apply(s, s.load(x)), y) }
        }));
    }
}

/// `d_input (+)= act'(input) * d_output`, element by element.
#[derive(Debug)]
pub struct MapGrad {
    isa: Isa,
    activation: Activation,
    accumulate: bool,
    values: Alike<3>,
}

impl MapGrad {
    /// # Panics
    /// As [`Map::new`].
    pub fn new(
        isa: Isa,
        activation: Activation,
        input: &Planes,
        d_output: &Planes,
        d_input: &Planes,
        accumulate: bool,
    ) -> Self {
        Self { isa, activation, accumulate, values: Alike::new([input, d_output, d_input]) }
    }

    /// Computes all images.
    pub fn run(&self, memory: &mut Memory, team: &mut Team) {
        let body = |_, at, pixels| MapGradBody { of: self, at, pixels };
        self.values.each_block(self.isa, memory, team, body);
    }
}

struct MapGradBody<'a> {
    of: &'a MapGrad,
    at: [*mut f32; 3],
    pixels: usize,
}

impl Body for MapGradBody<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let accumulate = self.of.accumulate;
        with_activation!(self.of.activation, f => each_pixel(self.at, self.pixels, |[x, dy, dx]| {
            // SAFETY: as in `MapBody`.
            unsafe {
                let before = if accumulate { s.load(dx) } else { s.splat(0.0) };
                s.store(s.fma(f.slope(s, s.load(x)), s.load(dy), before), dx);
            }
        }));
    }
}

/// `output = act(scale * input + shift)` with a scale and a shift for every channel: batch normalisation at inference,
/// where it cannot be folded into a convolution.
#[derive(Debug)]
pub struct Affine {
    isa: Isa,
    activation: Activation,
    values: Alike<2>,
}

impl Affine {
    /// # Panics
    /// As [`Map::new`].
    pub fn new(isa: Isa, activation: Activation, input: &Planes, output: &Planes) -> Self {
        Self { isa, activation, values: Alike::new([input, output]) }
    }

    /// Computes all images with `scale` and `shift` `[c]`.
    ///
    /// # Panics
    /// If there are not as many scales and shifts as channels.
    pub fn run(&self, scale: &[f32], shift: &[f32], memory: &mut Memory, team: &mut Team) {
        let channels = self.values.planes[0].channels();
        assert!(
            scale.len() == channels && shift.len() == channels,
            "a scale and a shift for each of {channels} channels"
        );
        let lanes = |block, of: &[f32]| self.values.planes[0].lanes(block, of);
        self.values.each_block(self.isa, memory, team, |block, at, pixels| AffineBody {
            activation: self.activation,
            scale: lanes(block, scale),
            shift: lanes(block, shift),
            at,
            pixels,
        });
    }
}

struct AffineBody {
    activation: Activation,
    scale: [f32; LANES],
    shift: [f32; LANES],
    at: [*mut f32; 2],
    pixels: usize,
}

impl Body for AffineBody {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: both arrays have eight floats.
        let [scale, shift] = unsafe { [s.load(self.scale.as_ptr()), s.load(self.shift.as_ptr())] };
        with_activation!(self.activation, f => each_pixel(self.at, self.pixels, |[x, y]| {
            // SAFETY: as in `MapBody`.
            unsafe { s.store(f.apply(s, s.fma(s.load(x), scale, shift)), y) }
        }));
    }
}

/// `output = x > 0 ? x : slope * x` with a slope for every channel.
#[derive(Debug)]
pub struct PRelu {
    isa: Isa,
    values: Alike<2>,
}

impl PRelu {
    /// # Panics
    /// As [`Map::new`].
    pub fn new(isa: Isa, input: &Planes, output: &Planes) -> Self {
        Self { isa, values: Alike::new([input, output]) }
    }

    /// Computes all images with slopes `[c]`.
    ///
    /// # Panics
    /// If there are not as many slopes as channels.
    pub fn run(&self, slopes: &[f32], memory: &mut Memory, team: &mut Team) {
        let channels = self.values.planes[0].channels();
        assert!(slopes.len() == channels, "a slope for each of {channels} channels");
        self.values.each_block(self.isa, memory, team, |block, at, pixels| PReluBody {
            slopes: self.values.planes[0].lanes(block, slopes),
            at,
            pixels,
        });
    }
}

struct PReluBody {
    slopes: [f32; LANES],
    at: [*mut f32; 2],
    pixels: usize,
}

impl Body for PReluBody {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: the array has eight floats.
        let slopes = unsafe { s.load(self.slopes.as_ptr()) };
        each_pixel(self.at, self.pixels, |[x, y]| {
            // SAFETY: as in `MapBody`.
            unsafe {
                let x = s.load(x);
                s.store(s.select_gt(x, s.splat(0.0), x, s.mul(x, slopes)), y);
            }
        });
    }
}
