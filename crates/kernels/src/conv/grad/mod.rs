//! The gradient of a convolution's weight: for every pair of an output and an input channel and every tap, the sum over
//! images and pixels of the output's gradient times the input pixel it came from.
//!
//! Where channels have many partners, strips of pixels are packed ([`pack`]) and summed up in tiles of output times input
//! channels ([`tiles`]), or windows are taken to points first ([`winograd`]); where each channel has only itself for a
//! partner, lane by lane in place ([`depthwise`]). All sum a strip in registers and then add it to a total: two levels, so that
//! long sums stay exact enough. Strips follow in order, and a weight belongs to one part. Not here: the gradient of the input
//! ([`super::Conv::backward_data`]).

mod bf16;
mod cells;
mod depthwise;
mod pack;
mod prologue;
mod strips;
mod tile;
mod tiles;
mod totals;
mod walk;
mod winograd;

use super::{ConvShape, Prologue, TileUnit};
use crate::{Isa, Memory, Planes, Team};
use bf16::TileGrad;
use prologue::Numbers;
use tiles::Tiles;
use walk::Geometry;

/// The gradient of a convolution's weight; see the module.
#[derive(Debug)]
pub struct ConvGrad {
    isa: Isa,
    geometry: Geometry,
    prologue: Option<Prologue>,
    way: Way,
    /// Numbers of the weight.
    weights: usize,
    scratch_len: usize,
    end: usize,
}

/// How the sums are computed.
#[derive(Debug)]
enum Way {
    Tiles(Tiles),
    Depthwise,
    Rounded(TileGrad),
}

impl ConvGrad {
    /// For an input and the gradient of the output. With a prologue the convolution saw what that makes of the input; padding is
    /// zero *after* it.
    ///
    /// # Panics
    /// If the machine does not have the instruction set, the channels do not fit the groups, the window lacks taps or
    /// steps or reaches beyond any memory, or the output has no pixels.
    pub fn new(isa: Isa, shape: ConvShape, input: &Planes, d_output: &Planes, prologue: Option<Prologue>) -> Self {
        assert!(isa.is_available(), "{isa} kernels on a machine without it");
        shape.window.check([d_output.height(), d_output.width()]);
        let channels = [input.channels(), d_output.channels()];
        assert!(channels.iter().all(|c| c.is_multiple_of(shape.groups)), "{} groups of {channels:?}", shape.groups);
        let group = channels.map(|c| c / shape.groups);
        let geometry = Geometry::new(shape.window, input, d_output);
        let [kh, kw] = shape.window.kernel;
        let weights = [channels[1], group[0], kh, kw].into_iter().try_fold(1, usize::checked_mul);
        let weights = weights.expect("a weight beyond any memory");
        let (way, scratch_len) = if group == [1, 1] && depthwise::lanes_meet(&geometry) {
            (Way::Depthwise, depthwise::totals_len(&geometry))
        } else {
            let tiles = Tiles::new(isa, &shape, &geometry, prologue);
            let scratch_len = tiles.scratch_len();
            (Way::Tiles(tiles), scratch_len)
        };
        Self { isa, geometry, prologue, way, weights, scratch_len, end: input.end().max(d_output.end()) }
    }

    /// Whether the factors can be rounded to bfloat16 for the processor's tiles.
    pub fn fits_tiles(shape: &ConvShape, input: &Planes, d_output: &Planes) -> bool {
        TileGrad::fits(shape, input, d_output)
    }

    /// With factors that are rounded to bfloat16 for tiles, and no prologue.
    ///
    /// # Panics
    /// If it does not fit, or the machine lacks the unit; else as [`ConvGrad::new`].
    pub fn in_tiles(isa: Isa, unit: TileUnit, shape: ConvShape, input: &Planes, d_output: &Planes) -> Self {
        assert!(Self::fits_tiles(&shape, input, d_output), "no gradient in tiles for {shape:?}");
        let tiles = TileGrad::new(unit, &shape, input, d_output);
        Self {
            isa,
            geometry: Geometry::new(shape.window, input, d_output),
            prologue: None,
            weights: input.channels() * d_output.channels() * shape.window.kernel.iter().product::<usize>(),
            scratch_len: tiles.scratch_len(),
            way: Way::Rounded(tiles),
            end: input.end().max(d_output.end()),
        }
    }

    /// Floats of scratch each thread needs.
    pub fn scratch_len(&self) -> usize {
        self.scratch_len
    }

    /// What runs, for tables.
    pub fn name(&self) -> String {
        let [h, w] = self.geometry.window.kernel;
        let way = match &self.way {
            Way::Tiles(tiles) => tiles.name(),
            Way::Depthwise => "depthwise".to_owned(),
            Way::Rounded(tiles) => return format!("backward weight {h}x{w}, {}", tiles.name()),
        };
        format!("backward weight {h}x{w}, {way}, {}", self.isa)
    }

    /// Writes the gradient to `d_weight`, `[out, in / groups, kh, kw]`. The prologue's two numbers are `[in]` each: scale and
    /// shift, or lower and upper bound.
    ///
    /// # Panics
    /// If the length of `d_weight` is not the weight's, or those of the prologue's numbers are not the input's, or the memory has
    /// no room for the values or no scratch for every thread.
    pub fn run(&self, d_weight: &mut [f32], prologue: Option<(&[f32], &[f32])>, memory: &mut Memory, team: &mut Team) {
        assert!(d_weight.len() == self.weights, "{} numbers for {} weights", d_weight.len(), self.weights);
        let lengths = prologue.map(|(a, b)| [a.len(), b.len()]);
        let expected = self.prologue.map(|_| [self.geometry.input.channels(); 2]);
        assert!(lengths == expected, "a prologue's numbers are {lengths:?} instead of {expected:?}");
        memory.check(self.end, self.scratch_len, team);
        let (count, len) = (memory.images(), memory.image_len());
        let (shared, d_weight) = (memory.share(), Gradient(d_weight.as_mut_ptr()));
        let images = Images { count, len, arena: shared.image(0) };
        let run = Run { isa: self.isa, geometry: &self.geometry, numbers: prologue, images, d_weight };
        match &self.way {
            // SAFETY: all lengths have just been checked.
            Way::Tiles(tiles) => unsafe { tiles.run(&run, shared, team) },
            // SAFETY: as above.
            Way::Rounded(tiles) => unsafe { tiles.run(&run, shared, team) },
            Way::Depthwise => team.run(depthwise::parts(&self.geometry), &|part, worker| {
                let totals = shared.scratch(worker);
                self.isa.run(depthwise::PartOf { run: &run, prologue: self.prologue, part, totals });
            }),
        }
    }
}

/// What all parts of a run share.
struct Run<'a> {
    isa: Isa,
    geometry: &'a Geometry,
    /// The prologue's.
    numbers: Numbers<'a>,
    images: Images,
    d_weight: Gradient,
}

/// The images of a run, which nobody writes meanwhile.
#[derive(Clone, Copy)]
struct Images {
    count: usize,
    /// Floats from one to the next.
    len: usize,
    arena: *const f32,
}

impl Images {
    /// The start of an image's share.
    fn image(&self, image: usize) -> *const f32 {
        self.arena.wrapping_add(image * self.len)
    }
}

// SAFETY: it is only an address; the run that made it holds the memory exclusively, and all its parts only read there.
unsafe impl Sync for Images {}

/// The gradient as the threads of one run see it: each writes the weights of its own parts.
#[derive(Clone, Copy)]
struct Gradient(*mut f32);

// SAFETY: it is only an address, of the list that the run that made it holds exclusively; the parts write disjoint weights.
unsafe impl Sync for Gradient {}
