//! Sums over the pixels of a block, lane by lane, in double precision and in one order.
//!
//! Images and runs of pixels follow each other in order; within a run single precision is enough. So a sum depends neither on
//! threads nor on how long ago another block was summed. Not here: what the sums are for ([`crate::BatchNorm`]).

use crate::share::share;
use crate::simd::{Body, Simd};
use crate::{Isa, LANES, Memory, Planes, Team};

/// Pixels summed in single precision before they are added in double precision.
const RUN: usize = 32;

/// Sums of `N` vectors that `each` gives for every pixel `0..pixels` of every plane, plane after plane.
///
/// `each(plane, offset)` is called with the plane's number and the pixel's first float in it.
#[inline(always)]
pub(crate) fn sums<S: Simd, const N: usize>(
    s: S,
    planes: usize,
    pixels: usize,
    mut each: impl FnMut(usize, usize) -> [S::V; N],
) -> [[f64; LANES]; N] {
    let mut totals = [[0.0; LANES]; N];
    for plane in 0..planes {
        for start in (0..pixels).step_by(RUN) {
            let mut run = [s.splat(0.0); N];
            for pixel in start..(start + RUN).min(pixels) {
                let values = each(plane, pixel * LANES);
                for n in 0..N {
                    run[n] = s.add(run[n], values[n]);
                }
            }
            for (total, run) in totals.iter_mut().zip(run) {
                for (total, lane) in total.iter_mut().zip(s.to_array(run)) {
                    *total += f64::from(lane);
                }
            }
        }
    }
    totals
}

/// A number that a list of channels may keep.
pub(crate) trait Rounded: Copy + Send {
    /// Rounded once.
    fn rounded(exact: f64) -> Self;
}

impl Rounded for f32 {
    fn rounded(exact: f64) -> Self {
        exact as Self
    }
}

impl Rounded for f64 {
    fn rounded(exact: f64) -> Self {
        exact
    }
}

/// Numbers of every channel of a value, which the team finds block by block: the lanes of each go to the lists.
///
/// # Panics
/// If a list has not one number for each channel.
pub(crate) fn per_channel<T: Rounded, const N: usize>(
    planes: &Planes,
    lists: [&mut [T]; N],
    team: &mut Team,
    found: impl Fn(usize) -> [[f64; LANES]; N] + Sync,
) {
    let fits = lists.iter().all(|list| list.len() == planes.channels());
    assert!(fits, "lists of another length than {} channels", planes.channels());
    let blocks = planes.blocks();
    let begin = |part: usize| blocks.get(part).map_or(planes.channels(), |block| block.first);
    share(lists, blocks.len(), begin, team, |part, pieces| {
        for (piece, lanes) in pieces.into_iter().zip(found(part)) {
            piece.iter_mut().zip(lanes).for_each(|(number, lane)| *number = T::rounded(lane));
        }
    });
}

/// The sum of every channel over all images and pixels: the gradient of a bias.
#[derive(Debug)]
pub struct ChannelSum {
    isa: Isa,
    planes: Planes,
}

impl ChannelSum {
    /// Of the value at `planes`.
    pub fn new(isa: Isa, planes: &Planes) -> Self {
        Self { isa, planes: planes.clone() }
    }

    /// Writes the sums to `out`, `[c]`.
    ///
    /// # Panics
    /// If `out` has not one number for every channel, or the memory has no room for the value.
    pub fn run(&self, out: &mut [f32], memory: &mut Memory, team: &mut Team) {
        assert!(memory.image_len() >= self.planes.end(), "values beyond the arena");
        let memory = &*memory;
        per_channel(&self.planes, [out], team, |block| self.isa.run(SumBody { memory, planes: &self.planes, block }));
    }
}

struct SumBody<'a> {
    memory: &'a Memory,
    planes: &'a Planes,
    block: usize,
}

impl Body for SumBody<'_> {
    type Output = [[f64; LANES]; 1];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let range = self.planes.range(self.block);
        sums(s, self.memory.images(), self.planes.pixels(), |image, at| {
            let plane = &self.memory.image(image)[range.clone()];
            // SAFETY: `at` is the first float of one of the plane's pixels.
            [unsafe { s.load(plane.as_ptr().add(at)) }]
        })
    }
}
