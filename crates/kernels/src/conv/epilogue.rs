//! The way of finished sums to memory: residual, activation, accumulation.

use super::{Conv, PANEL, Pixel, RUN, Residual};
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

/// The sums of some pixels of one target block, and where they go.
pub(super) struct Finish<'a> {
    /// The sum of the first pixel; that of the next is `stride` floats further.
    pub totals: *const f32,
    pub stride: usize,
    pub pixels: &'a [Pixel],
    pub outlet: Outlet,
}

impl Conv {
    /// For one target block, the float in it that pixels count from, and an image.
    pub(super) fn finish<'a>(
        &self,
        block: usize,
        first: usize,
        image: *mut f32,
        pixels: &'a [Pixel],
        (totals, stride): (*const f32, usize),
    ) -> Finish<'a> {
        let outlet = Outlet::of(&self.target, &self.fusion.residual, block, first, image);
        Finish { totals, stride, pixels, outlet: Outlet { accumulate: self.accumulate, ..outlet } }
    }
}

impl Finish<'_> {
    /// Stores the results of all pixels.
    ///
    /// # Safety
    /// Every pixel has a sum, lies in the target and the residuals, and is touched by nobody else.
    #[inline(always)]
    pub unsafe fn store<S: Simd>(&self, s: S, activation: Activation) {
        // SAFETY: the function's own promise.
        unsafe { with_activation!(activation, f => self.each(s, f)) }
    }

    #[inline(always)]
    unsafe fn each<S: Simd>(&self, s: S, activation: Activation) {
        for (i, pixel) in self.pixels.iter().enumerate() {
            // SAFETY: the promise of `store`.
            unsafe {
                let sum = s.load(self.totals.add(i * self.stride));
                self.outlet.put(s, activation, sum, pixel.to);
            }
        }
    }
}
