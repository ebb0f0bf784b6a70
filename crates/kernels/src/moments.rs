//! Mean and variance of every channel over a batch, taken by the kernel that writes the value, while what it has written is in the
//! caches.
//!
//! A writer cuts its value into *slots*, some pixels each, by the shape and the batch alone, and whoever has written pixels of a slot
//! adds them to the slot's sums. In the end the sums of all slots are joined in their order, so that neither the number of threads nor the
//! instruction set changes a bit. What none of these kernels writes, [`Moments`] reads once more and sums up in the same way. Not
//! here: what normalisations do with them ([`crate::BatchStats`]).

use std::ops::Range;

use crate::simd::{Body, Simd};
use crate::sums::per_channel;
use crate::{Isa, LANES, Memory, Planes, Team};

/// Pixels summed in single precision before they are added in double precision; where rows end, up to twice as many.
const RUN: usize = 32;

/// Mean and variance of a batch for every channel of a value, and what the backward pass sends through them.
#[derive(Clone, Debug, PartialEq)]
pub struct ChannelMoments {
    pub(crate) mean: Vec<f64>,
    pub(crate) variance: Vec<f64>,
    /// The gradients of every mean, and of every half variance, added up over the normalisations that read them.
    pub(crate) through: [Vec<f64>; 2],
    pub(crate) count: usize,
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

    /// The mean of every channel.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The mean square deviation from it, of every channel.
    pub fn variance(&self) -> &[f64] {
        &self.variance
    }
}

/// The sums of one block over the pixels of a slot. Squares of deviations from one of the numbers are small enough for their sum
/// not to cancel, and one pass does (Chan, Golub, LeVeque 1983).
#[derive(Clone, Copy, Debug, Default)]
struct Partial {
    /// How many; as long as there are none, the rest is another value's.
    pixels: usize,
    /// One of the slot's pixels.
    centre: [f32; LANES],
    /// Of deviations from it, and of their squares.
    sums: [[f64; LANES]; 2],
}

/// Memory for the sums of one value at a time.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Slot after slot, one for each block.
    partials: Vec<Partial>,
}

/// Where a kernel puts the moments of what it writes, if it is asked for them.
#[derive(Debug)]
pub struct Take<'a> {
    /// Memory for sums.
    pub tally: &'a mut Tally,
    /// The moments of the value's channels.
    pub moments: &'a mut ChannelMoments,
}

/// Has `write` write a value, of so many slots, and add what it has written to the sums that it is given, if moments are taken.
///
/// # Panics
/// If there is not a place for every channel.
pub(crate) fn taking(
    take: Option<Take<'_>>,
    slots: usize,
    of: &Planes,
    memory: &mut Memory,
    team: &mut Team,
    write: impl FnOnce(Option<Tallies>, &mut Memory, &mut Team),
) {
    let Some(Take { tally, moments }) = take else { return write(None, memory, team) };
    let blocks = of.blocks().len();
    let partials = tally.empty(slots * blocks);
    write(Some(Tallies { partials: partials.as_mut_ptr(), blocks }), memory, team);
    moments.count = memory.images() * of.pixels();
    moments.through.iter_mut().for_each(|list| list.fill(0.0));
    let ChannelMoments { mean, variance, .. } = moments;
    per_channel(of, [&mut mean[..], &mut variance[..]], team, |block| {
        joined(partials.iter().skip(block).step_by(blocks))
    });
}

impl Tally {
    /// So many sums, of nothing.
    fn empty(&mut self, count: usize) -> &mut [Partial] {
        if self.partials.len() < count {
            self.partials.resize(count, Partial::default());
        }
        let partials = &mut self.partials[..count];
        partials.iter_mut().for_each(|partial| partial.pixels = 0);
        partials
    }
}

/// Mean and variance by the sums of all slots.
fn joined<'a>(slots: impl Iterator<Item = &'a Partial> + Clone) -> [[f64; LANES]; 2] {
    let slots = slots.filter(|slot| slot.pixels > 0);
    let Some(first) = slots.clone().next() else { return [[0.0; LANES]; 2] };
    let (mut pixels, mut sums) = (0.0, [[0.0; LANES]; 2]);
    for partial in slots {
        let count = partial.pixels as f64;
        pixels += count;
        for l in 0..LANES {
            let [sum, squares] = [partial.sums[0][l], partial.sums[1][l]];
            let moved = f64::from(partial.centre[l]) - f64::from(first.centre[l]);
            sums[0][l] += sum + count * moved;
            sums[1][l] += squares + moved * (2.0 * sum + count * moved);
        }
    }
    let [sum, squares] = sums;
    let mean = std::array::from_fn(|l| f64::from(first.centre[l]) + sum[l] / pixels);
    // What is no number stays none.
    let variance = |l: usize| (squares[l] - sum[l] * sum[l] / pixels) / pixels;
    [mean, std::array::from_fn(|l| if variance(l) < 0.0 { 0.0 } else { variance(l) })]
}

/// The sums as the threads of a writer see them. Whoever adds to them gives each slot and block to one part.
#[derive(Clone, Copy)]
pub(crate) struct Tallies {
    partials: *mut Partial,
    blocks: usize,
}

// SAFETY: it is only an address, of a list that `taking` borrows exclusively while a writer runs; every sum of it is one part's.
unsafe impl Send for Tallies {}
// SAFETY: as above.
unsafe impl Sync for Tallies {}

/// Some pixels of a plane: rows of pixels side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Region {
    /// The first float.
    pub first: usize,
    pub rows: usize,
    pub columns: usize,
    /// Floats from a row to the next.
    pub row_len: usize,
}

impl Tallies {
    /// Adds pixels of some blocks of a value, in an image, to those of a slot. Every block sees its pixels in the order of the calls.
    ///
    /// # Safety
    /// The image's share holds these pixels, which nobody writes meanwhile; the value has these blocks and the writer this slot, and
    /// nobody else touches the slot's sums of these blocks.
    #[inline(always)]
    pub unsafe fn add<S: Simd>(
        self,
        s: S,
        (slot, blocks): (usize, Range<usize>),
        (of, image): (&Planes, *const f32),
        region: Region,
    ) {
        let mut block = blocks.start;
        while block < blocks.end {
            // The last may be alone.
            let next = (block + 1).min(blocks.end - 1);
            let from = [block, next].map(|b| image.wrapping_add(of.blocks()[b].offset + region.first));
            let partials = self.partials.wrapping_add(slot * self.blocks + block);
            // SAFETY: the function's own promise.
            unsafe {
                match next - block {
                    0 => add::<S, 1>(s, partials, from, region),
                    _ => add::<S, 2>(s, partials, from, region),
                }
            }
            block = next + 1;
        }
    }
}

/// Adds pixels of one block or two to sums that follow each other.
///
/// # Safety
/// As [`Tallies::add`].
#[inline(always)]
unsafe fn add<S: Simd, const V: usize>(s: S, partials: *mut Partial, from: [*const f32; 2], region: Region) {
    let Region { rows, columns, row_len, .. } = region;
    let mut centre = [s.splat(0.0); V];
    for v in 0..V {
        // SAFETY (here and below): the function's own promise; a centre has eight floats.
        let partial = unsafe { &mut *partials.add(v) };
        if partial.pixels == 0 {
            unsafe { s.store(s.load(from[v]), partial.centre.as_mut_ptr()) };
            partial.sums = [[0.0; LANES]; 2];
        }
        partial.pixels += rows * columns;
        centre[v] = unsafe { s.load(partial.centre.as_ptr()) };
    }
    // Of every other pixel each: a single sum would wait for itself.
    let mut sums = [[[s.splat(0.0); 2]; V]; 2];
    let mut pending = 0;
    for row in 0..rows {
        for start in (0..columns).step_by(RUN) {
            let pixels = RUN.min(columns - start);
            let at = row * row_len + start * LANES;
            for pixel in 0..pixels / 2 {
                for v in 0..V {
                    for half in 0..2 {
                        let x = unsafe { s.load(from[v].add(at + (2 * pixel + half) * LANES)) };
                        sums[half][v] = deviate(s, x, centre[v], sums[half][v]);
                    }
                }
            }
            if pixels % 2 == 1 {
                for v in 0..V {
                    let x = unsafe { s.load(from[v].add(at + (pixels - 1) * LANES)) };
                    sums[0][v] = deviate(s, x, centre[v], sums[0][v]);
                }
            }
            pending += pixels;
            let is_last = row + 1 == rows && start + pixels == columns;
            if pending >= RUN || is_last {
                for v in 0..V {
                    let partial = unsafe { &mut *partials.add(v) };
                    for n in 0..2 {
                        let lanes = s.to_array(s.add(sums[0][v][n], sums[1][v][n]));
                        for l in 0..LANES {
                            partial.sums[n][l] += f64::from(lanes[l]);
                        }
                    }
                }
                (sums, pending) = ([[[s.splat(0.0); 2]; V]; 2], 0);
            }
        }
    }
}

/// A number's deviation and its square, added to those before.
#[inline(always)]
fn deviate<S: Simd>(s: S, x: S::V, centre: S::V, [sum, squares]: [S::V; 2]) -> [S::V; 2] {
    let d = s.sub(x, centre);
    [s.add(sum, d), s.fma(d, d, squares)]
}

/// Mean and variance of a value that is there.
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
    pub fn run(&self, take: Take<'_>, memory: &mut Memory, team: &mut Team) {
        assert!(memory.image_len() >= self.input.end(), "values beyond the arena");
        let images = memory.images();
        taking(Some(take), images, &self.input, memory, team, |tallies, memory, team| {
            let (shared, Some(tallies)) = (memory.share(), tallies) else { return };
            team.run(self.input.blocks().len(), &|block, _| {
                for image in 0..images {
                    let at = shared.image(image).cast_const();
                    self.isa.run(Plane { of: &self.input, image: at, slot: image, block, tallies });
                }
            });
        });
    }
}

/// A block of an image that is there, and its slot. Whoever makes it has checked that memory holds it, and gives a slot's block to
/// one thread.
pub(crate) struct Plane<'a> {
    pub of: &'a Planes,
    /// The image's share.
    pub image: *const f32,
    pub slot: usize,
    pub block: usize,
    pub tallies: Tallies,
}

impl Body for Plane<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { of, image, slot, block, tallies } = self;
        // SAFETY: memory holds the plane, and the block is this thread's.
        unsafe { tallies.add(s, (slot, block..block + 1), (of, image), Region::of_plane(of)) };
    }
}

impl Region {
    /// All pixels of a value's planes.
    pub fn of_plane(of: &Planes) -> Self {
        Self { first: 0, rows: 1, columns: of.pixels(), row_len: 0 }
    }
}
