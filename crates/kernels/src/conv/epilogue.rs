//! The way of finished sums to memory: residual, activation, accumulation.

use super::tile::LINE;
use super::{Conv, PANEL, Panel, Pixel, RUN, Residual};
use crate::activation::with_activation;
use crate::simd::Simd;
use crate::{Activation, LANES, Planes};

/// Floats of the totals of a run of pixels.
pub(super) const TOTALS: usize = RUN * PANEL * LANES;

/// Where the results of one target block go.
///
/// No closure here or in the tiles touches a vector: one that the compiler does not inline is compiled without the
/// instruction set, and each of its vector operations becomes a call.
pub(super) struct Outlet {
    /// Target float that pixels count from.
    pub to: *mut f32,
    /// The same of the residuals.
    pub before: Option<*const f32>,
    pub after: Option<*const f32>,
    pub accumulate: bool,
}

impl Outlet {
    /// Of a block, in an image, from so many floats into the block on; nothing is accumulated.
    pub fn of(target: &Planes, residual: &Residual, block: usize, first: usize, image: *mut f32) -> Self {
        let place = |planes: &Planes| image.wrapping_add(planes.blocks()[block].offset + first);
        let (before, after) = match residual {
            Residual::None => (None, None),
            Residual::BeforeActivation(r) => (Some(place(r).cast_const()), None),
            Residual::AfterActivation(r) => (None, Some(place(r).cast_const())),
        };
        Self { to: place(target), before, after, accumulate: false }
    }

    /// Stores `act(sum + before) + after` at so many floats from the first, or adds it to what is there.
    ///
    /// # Safety
    /// The pixel lies in the target and the residuals and is touched by nobody else.
    #[inline(always)]
    pub unsafe fn put<S: Simd>(&self, s: S, activation: Activation, sum: S::V, at: usize) {
        // SAFETY: the function's own promise.
        unsafe {
            let mut value = sum;
            if let Some(residual) = self.before {
                value = s.add(value, s.load(residual.add(at)));
            }
            value = activation.apply(s, value);
            if let Some(residual) = self.after {
                value = s.add(value, s.load(residual.add(at)));
            }
            let to = self.to.add(at);
            if self.accumulate {
                value = s.add(s.load(to), value);
            }
            s.store(value, to);
        }
    }
}

/// The way of a panel's sums to memory.
pub(super) struct Finish<const V: usize> {
    /// Of each of its blocks.
    outlets: [Outlet; V],
    activation: Activation,
}

impl Conv {
    /// For the blocks of a panel, the float in each that pixels count from, and an image.
    pub(super) fn finish<const V: usize>(&self, panel: &Panel, first: usize, image: *mut f32) -> Finish<V> {
        let outlet = |v| {
            let outlet = Outlet::of(&self.target, &self.fusion.residual, panel.blocks.start + v, first, image);
            Outlet { accumulate: self.accumulate, ..outlet }
        };
        Finish { outlets: std::array::from_fn(outlet), activation: self.fusion.activation }
    }
}

impl<const V: usize> Finish<V> {
    /// Asks for the lines that [`Finish::store`] will touch, if the pixels lie side by side.
    #[inline(always)]
    pub fn ask<S: Simd>(&self, s: S, pixels: &[Pixel]) {
        let first = pixels.first().map_or(0, |p| p.to);
        for outlet in &self.outlets {
            for at in (first..first + pixels.len() * LANES).step_by(LINE) {
                s.prefetch_near(outlet.to.wrapping_add(at));
                if let Some(residual) = outlet.before.or(outlet.after) {
                    s.prefetch_near(residual.wrapping_add(at));
                }
            }
        }
    }

    /// Stores the results of some pixels, whose sums are `[pixel][V][8]`.
    ///
    /// # Safety
    /// Every pixel has its sums, lies in the target and the residuals, and is touched by nobody else.
    #[inline(always)]
    pub unsafe fn store<S: Simd>(&self, s: S, pixels: &[Pixel], sums: *const f32) {
        // SAFETY: the function's own promise.
        unsafe { with_activation!(self.activation, f => self.each(s, f, pixels, sums)) }
    }

    #[inline(always)]
    unsafe fn each<S: Simd>(&self, s: S, activation: Activation, pixels: &[Pixel], sums: *const f32) {
        for v in 0..V {
            for (p, pixel) in pixels.iter().enumerate() {
                // SAFETY: the promise of `store`.
                unsafe { self.outlets[v].put(s, activation, s.load(sums.add((p * V + v) * LANES)), pixel.to) };
            }
        }
    }
}
