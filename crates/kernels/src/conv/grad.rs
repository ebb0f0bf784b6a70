//! The gradient of a convolution's weight: for every pair of an output and an input channel and every tap, the sum over
//! images and pixels of the output's gradient times the input pixel it came from.
//!
//! The sum of a few rows is kept in registers, [`TILE`] output blocks times four or eight input channels, and then added to
//! the total: two levels, so that long sums stay exact enough. Images and rows follow in order, and a pair of blocks belongs
//! to one part. Not here: the gradient of the input ([`super::Conv::backward_data`]).

use std::ops::Range;
use std::sync::atomic::{Ordering, compiler_fence};

use super::{ConvShape, Window};
use crate::memory::Shared;
use crate::simd::{Body, Simd};
use crate::{Isa, LANES, Memory, Planes, Team};

/// Output blocks of a tile: with four input channels that makes eight sums in registers. Three would make twelve, which with
/// their operands fill all sixteen registers, and the compiler then spills some of them in the innermost loop.
const TILE: usize = 2;

/// Output pixels summed in registers: their gradients and inputs stay in the first-level cache for all taps.
const STRIP: usize = 128;

/// The gradient of a convolution's weight; see the module.
#[derive(Debug)]
pub struct ConvGrad {
    isa: Isa,
    shape: ConvShape,
    input: Planes,
    d_output: Planes,
    /// Channels of a group on the input's side and on the output's.
    group: [usize; 2],
    parts: Vec<Part>,
    scratch_len: usize,
}

/// Some neighbouring output blocks and one input block that share a group.
#[derive(Debug)]
struct Part {
    outputs: Range<usize>,
    input: usize,
}

impl ConvGrad {
    /// For an input and the gradient of the output.
    ///
    /// # Panics
    /// If the channels do not fit the groups.
    pub fn new(isa: Isa, shape: ConvShape, input: &Planes, d_output: &Planes) -> Self {
        let channels = [input.channels(), d_output.channels()];
        assert!(channels.iter().all(|c| c.is_multiple_of(shape.groups)), "{} groups of {channels:?}", shape.groups);
        let group = channels.map(|c| c / shape.groups);
        // Narrow groups would leave most of a wide tile without a partner.
        let tile = if shape.groups > 1 && group[1] < TILE * LANES { 1 } else { TILE };
        let mut parts = Vec::new();
        let blocks = d_output.blocks();
        for first in (0..blocks.len()).step_by(tile) {
            let outputs = first..(first + tile).min(blocks.len());
            let (from, to) = (&blocks[outputs.start], &blocks[outputs.end - 1]);
            let wanted = from.first / group[1]..(to.first + to.count).div_ceil(group[1]);
            for (b, block) in input.blocks().iter().enumerate() {
                let has = block.first / group[0]..(block.first + block.count).div_ceil(group[0]);
                if has.start < wanted.end && wanted.start < has.end {
                    parts.push(Part { outputs: outputs.clone(), input: b });
                }
            }
        }
        let taps = shape.window.kernel[0] * shape.window.kernel[1];
        let scratch_len = taps * LANES * tile * LANES;
        Self { isa, shape, input: input.clone(), d_output: d_output.clone(), group, parts, scratch_len }
    }

    /// Floats of scratch each thread needs.
    pub fn scratch_len(&self) -> usize {
        self.scratch_len
    }

    /// What runs, for tables.
    pub fn name(&self) -> String {
        let [h, w] = self.shape.window.kernel;
        format!("backward weight {h}x{w}, tiles 16x4, {}", self.isa)
    }

    /// Writes the gradient to `d_weight`, `[out, in / groups, kh, kw]`.
    ///
    /// # Panics
    /// If the length of `d_weight` is not the weight's, or the memory has no room for the values or no scratch for every
    /// thread.
    pub fn run(&self, d_weight: &mut [f32], memory: &mut Memory, team: &mut Team) {
        let [kh, kw] = self.shape.window.kernel;
        assert!(d_weight.len() == self.d_output.channels() * self.group[0] * kh * kw, "{} weights", d_weight.len());
        assert!(memory.image_len() >= self.input.end().max(self.d_output.end()), "values beyond the arena");
        assert!(memory.scratch_len() >= self.scratch_len, "too little scratch");
        assert!(memory.threads() >= team.threads(), "scratch for fewer threads than the team has");
        let (images, shared) = (memory.images(), memory.share());
        let d_weight = Output(d_weight.as_mut_ptr());
        team.run(self.parts.len(), &|part, worker| {
            let part = &self.parts[part];
            let scratch = shared.scratch(worker);
            self.isa.run(PartOf { grad: self, part, images, shared, totals: scratch });
            // SAFETY: the totals of the part lie in the worker's scratch; the weights of a pair of blocks belong to one
            // part, and the list has a number for each weight.
            unsafe { self.write(part, scratch, d_weight) };
        });
    }

    /// Totals to the weight's own order.
    ///
    /// # Safety
    /// `totals` holds the part's sums, and nobody else writes the part's weights.
    unsafe fn write(&self, part: &Part, totals: *const f32, d_weight: Output) {
        let [kh, kw] = self.shape.window.kernel;
        let width = part.outputs.len() * LANES;
        let input = &self.input.blocks()[part.input];
        for (v, output) in self.d_output.blocks()[part.outputs.clone()].iter().enumerate() {
            for (o, i) in (0..output.count).flat_map(|o| (0..input.count).map(move |i| (o, i))) {
                let (out, inp) = (output.first + o, input.first + i);
                if out / self.group[1] != inp / self.group[0] {
                    continue;
                }
                let to = (out * self.group[0] + inp % self.group[0]) * kh * kw;
                for tap in 0..kh * kw {
                    // SAFETY: the function's own promise.
                    unsafe { *d_weight.0.add(to + tap) = *totals.add((tap * LANES + i) * width + v * LANES + o) }
                }
            }
        }
    }
}

/// The list of gradients, as the threads of one run see it: each writes the weights of its own parts.
#[derive(Clone, Copy)]
struct Output(*mut f32);

// SAFETY: it is only an address; `ConvGrad::write` says who writes where.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

/// One part of all images. Whoever makes it has checked that the memory holds the values and the totals.
struct PartOf<'a> {
    grad: &'a ConvGrad,
    part: &'a Part,
    images: usize,
    shared: Shared,
    totals: *mut f32,
}

impl Body for PartOf<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // SAFETY: the scratch holds the totals of the part, eight floats for each tap, input lane and output block.
        unsafe {
            let [kh, kw] = self.grad.shape.window.kernel;
            for i in 0..kh * kw * LANES * self.part.outputs.len() {
                s.store(s.splat(0.0), self.totals.add(i * LANES));
            }
            for image in 0..self.images {
                match self.part.outputs.len() {
                    1 => self.image::<S, 1, 8>(s, image),
                    _ => self.image::<S, TILE, 4>(s, image),
                }
            }
        }
    }
}

/// Output rows and columns for which a tap lies inside the picture, along one axis: those whose input place
/// `o * stride + k * dilation - padding` is in `0..size`.
fn inside(window: &Window, axis: usize, tap: usize, input: usize, output: usize) -> Range<usize> {
    let reach = tap * window.dilation[axis];
    let first = window.padding[axis].saturating_sub(reach).div_ceil(window.stride[axis]);
    let end = (input + window.padding[axis]).saturating_sub(reach).div_ceil(window.stride[axis]);
    first.min(output)..end.min(output)
}

impl PartOf<'_> {
    /// Adds one image's products to the totals.
    ///
    /// # Safety
    /// As in `Body::run`; `V` is the number of the part's output blocks, and `L` divides the lanes.
    #[inline(always)]
    unsafe fn image<S: Simd, const V: usize, const L: usize>(&self, s: S, image: usize) {
        let (g, part) = (self.grad, self.part);
        let base = self.shared.image(image).cast_const();
        let x = base.wrapping_add(g.input.blocks()[part.input].offset);
        let dy: [*const f32; V] =
            std::array::from_fn(|v| base.wrapping_add(g.d_output.blocks()[part.outputs.start + v].offset));
        let window = &g.shape.window;
        let [kh, kw] = window.kernel;
        let band = STRIP.div_ceil(g.d_output.width());
        for start in (0..g.d_output.height()).step_by(band) {
            for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                let rows = inside(window, 0, ky, g.input.height(), g.d_output.height());
                let rows = rows.start.max(start)..rows.end.min(start + band);
                let columns = inside(window, 1, kx, g.input.width(), g.d_output.width());
                if columns.is_empty() {
                    continue;
                }
                for lane in (0..LANES).step_by(L) {
                    let total = self.totals.wrapping_add(((ky * kw + kx) * LANES + lane) * V * LANES);
                    let tap = Tap { x: x.wrapping_add(lane), dy, rows: rows.clone(), columns: columns.clone(), ky, kx };
                    // SAFETY: rows and columns have been chosen so that the tap lies inside the input.
                    unsafe { self.tap::<S, V, L>(s, &tap, total) };
                }
            }
        }
    }

    /// Sums one tap over a strip and adds it to its total.
    ///
    /// # Safety
    /// For every row and column of the tap, its input pixel and its output pixel lie in their planes.
    #[inline(always)]
    unsafe fn tap<S: Simd, const V: usize, const L: usize>(&self, s: S, tap: &Tap<V>, total: *mut f32) {
        let g = self.grad;
        let window = &g.shape.window;
        let mut sums = [[s.splat(0.0); L]; V];
        let step = window.stride[1] * LANES;
        for row in tap.rows.clone() {
            let y = row * window.stride[0] + tap.ky * window.dilation[0] - window.padding[0];
            let first = tap.columns.start * window.stride[1] + tap.kx * window.dilation[1] - window.padding[1];
            let mut x = tap.x.wrapping_add((y * g.input.width() + first) * LANES);
            let mut at = (row * g.d_output.width() + tap.columns.start) * LANES;
            for _ in tap.columns.clone() {
                // SAFETY: the function's own promise.
                unsafe {
                    let dy: [S::V; V] = std::array::from_fn(|v| s.load(tap.dy[v].add(at)));
                    for l in 0..L {
                        let x = s.broadcast(x.add(l));
                        for v in 0..V {
                            sums[v][l] = s.fma(dy[v], x, sums[v][l]);
                        }
                    }
                }
                // Without the fence the compiler hoists loads of later pixels and has no registers left for the sums.
                compiler_fence(Ordering::SeqCst);
                x = x.wrapping_add(step);
                at += LANES;
            }
        }
        for l in 0..L {
            for v in 0..V {
                let to = total.wrapping_add((l * V + v) * LANES);
                // SAFETY: the totals have eight floats for every lane and output block of the tap.
                unsafe { s.store(s.add(s.load(to), sums[v][l]), to) };
            }
        }
    }
}

/// One tap over a strip: where the input's lanes and the outputs' gradients lie, and which outputs see it.
struct Tap<const V: usize> {
    x: *const f32,
    dy: [*const f32; V],
    rows: Range<usize>,
    columns: Range<usize>,
    ky: usize,
    kx: usize,
}
