//! From totals to the gradient: the sums of a panel lie channel after channel, tap after tap, with a lane for each output
//! channel; the weight's own order has an output channel's taps side by side.

use std::ops::Range;

use super::Gradient;
use super::walk::Geometry;
use crate::simd::Simd;
use crate::{Block, LANES};

/// Adds the totals of other groups of pixels, each `step` floats behind the one before, to those of the first, in their order.
///
/// # Safety
/// Every group has so many floats, whole vectors, and the first's are the caller's.
#[inline(always)]
pub(super) unsafe fn add_groups<S: Simd>(s: S, totals: *mut f32, len: usize, groups: usize, step: usize) {
    for group in 1..groups {
        // SAFETY: the function's own promise.
        unsafe { add(s, totals, totals.wrapping_add(group * step), len) };
    }
}

/// Adds so many floats to totals.
///
/// # Safety
/// Both have as many, whole vectors, and the totals are the caller's.
#[inline(always)]
pub(super) unsafe fn add<S: Simd>(s: S, totals: *mut f32, more: *const f32, len: usize) {
    for at in (0..len).step_by(LANES) {
        let to = totals.wrapping_add(at);
        // SAFETY: the function's own promise.
        unsafe { s.store(s.add(s.load(to), s.load(more.wrapping_add(at))), to) };
    }
}

/// The totals of a panel: for every channel and every tap a vector for each of its blocks.
pub(super) struct Totals<'a> {
    pub geometry: &'a Geometry,
    /// Channels of a group on the input's side and on the output's.
    pub group: [usize; 2],
    /// Blocks of the output.
    pub blocks: Range<usize>,
    /// Channels of the input, and taps of the kernel.
    pub channels: Range<usize>,
    pub taps: Range<usize>,
    pub start: *const f32,
}

impl Totals<'_> {
    /// Writes those of pairs that share a group to the gradient.
    ///
    /// # Safety
    /// The totals are there, and nobody else touches these weights of the gradient.
    #[inline(always)]
    pub unsafe fn write<S: Simd>(&self, s: S, to: Gradient) {
        for (v, block) in self.geometry.d_output.blocks()[self.blocks.clone()].iter().enumerate() {
            let groups = block.groups(self.group[1]);
            for group in groups {
                let lanes = self.lanes(block, group);
                let partners = group * self.group[0]..(group + 1) * self.group[0];
                let channels = self.channels.start.max(partners.start)..self.channels.end.min(partners.end);
                if channels.is_empty() {
                    continue;
                }
                // Runs of weights that lie side by side for an output channel.
                let (taps, all) = (self.taps.len(), self.geometry.window.kernel.iter().product::<usize>());
                let runs = if taps == all { 1 } else { channels.len() };
                let len = channels.len() / runs * taps;
                for run in 0..runs {
                    let channel = channels.start + run;
                    let first = (channel - self.channels.start) * taps;
                    let from = self.start.wrapping_add((first * self.blocks.len() + v) * LANES);
                    let step = self.group[0] * all;
                    let weight = (block.first * self.group[0] + channel - partners.start) * all + self.taps.start;
                    // SAFETY: the function's own promise.
                    unsafe { self.turn(s, from, len, to.0.wrapping_add(weight), step, lanes.clone()) };
                }
            }
        }
    }

    /// The lanes of a block that belong to a group.
    fn lanes(&self, block: &Block, group: usize) -> Range<usize> {
        let outputs = group * self.group[1]..(group + 1) * self.group[1];
        let lane = |output: usize| output.clamp(block.first, block.first + block.count) - block.first;
        lane(outputs.start)..lane(outputs.end)
    }

    /// Columns to rows: so many vectors of the totals to a list for each of some lanes.
    ///
    /// # Safety
    /// `from` has the vectors, a panel's width apart; and the list of lane `i`, from `to + i * step` on, has room for them.
    #[inline(always)]
    unsafe fn turn<S: Simd>(&self, s: S, from: *const f32, len: usize, to: *mut f32, step: usize, lanes: Range<usize>) {
        let width = self.blocks.len() * LANES;
        let whole = len - len % LANES;
        for first in (0..whole).step_by(LANES) {
            let mut rows = [s.splat(0.0); LANES];
            // SAFETY: the function's own promise.
            unsafe {
                for i in 0..LANES {
                    rows[i] = s.load(from.wrapping_add((first + i) * width));
                }
                let columns = s.transpose(rows);
                for lane in 0..LANES {
                    if lanes.contains(&lane) {
                        s.store(columns[lane], to.wrapping_add(lane * step + first));
                    }
                }
            }
        }
        for lane in lanes {
            for i in whole..len {
                // SAFETY: the function's own promise.
                unsafe { *to.wrapping_add(lane * step + i) = *from.wrapping_add(i * width + lane) };
            }
        }
    }
}
