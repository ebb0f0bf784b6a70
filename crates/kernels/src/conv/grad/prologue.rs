//! What is done to every number of the input as it is read. Not here: the loops that read ([`super::pack`]).

use std::ops::Range;

use crate::simd::Simd;
use crate::{Activation, LANES, Planes};

/// A prologue's two numbers for every input channel: scale and shift, or lower and upper bound.
pub(super) type Numbers<'a> = Option<(&'a [f32], &'a [f32])>;

/// Writes both numbers of some blocks' lanes, a vector each, for every block; nothing without a prologue.
///
/// # Safety
/// `to` has room for two vectors a block, which nobody else touches.
pub(super) unsafe fn spread(numbers: Numbers<'_>, input: &Planes, blocks: Range<usize>, to: *mut f32) {
    let Some((first, second)) = numbers else { return };
    for (i, block) in blocks.enumerate() {
        for (half, of) in [first, second].into_iter().enumerate() {
            let to = to.wrapping_add((2 * i + half) * LANES).cast();
            // SAFETY: the function's own promise.
            unsafe { *to = input.lanes(block, of) };
        }
    }
}

/// A function of a vector of the input.
pub(super) trait Read<S: Simd>: Copy {
    /// Its value.
    fn read(&self, s: S, x: S::V) -> S::V;
}

/// What is read is the input itself.
#[derive(Clone, Copy)]
pub(super) struct Plain;

/// `act(scale * x + shift)`, with the numbers of eight channels.
#[derive(Clone, Copy)]
pub(super) struct Affine<V>(pub [V; 2], pub Activation);

/// `min(max(x, low), high)`, with the numbers of eight channels.
#[derive(Clone, Copy)]
pub(super) struct Clamp<V>(pub [V; 2]);

impl<S: Simd> Read<S> for Plain {
    #[inline(always)]
    fn read(&self, _: S, x: S::V) -> S::V {
        x
    }
}

impl<S: Simd> Read<S> for Affine<S::V> {
    #[inline(always)]
    fn read(&self, s: S, x: S::V) -> S::V {
        let Self([scale, shift], activation) = *self;
        activation.apply(s, s.fma(scale, x, shift))
    }
}

impl<S: Simd> Read<S> for Clamp<S::V> {
    #[inline(always)]
    fn read(&self, s: S, x: S::V) -> S::V {
        let Self([low, high]) = *self;
        // A NaN stays one: it is the second operand.
        s.min(high, s.max(low, x))
    }
}

/// Evaluates `$body` with `$read` bound to what a prologue does to a block whose numbers, if it has any, are the two vectors at
/// `$numbers`.
macro_rules! with_prologue {
    ($s:expr, $prologue:expr, $numbers:expr, $read:ident => $body:expr) => {{
        use $crate::activation::with_activation;
        use $crate::conv::Prologue;
        use $crate::conv::grad::prologue::{Affine, Clamp, Plain};
        match $prologue {
            None => {
                let $read = Plain;
                $body
            }
            Some(Prologue::Affine(activation)) => {
                let numbers = [$s.load($numbers), $s.load($numbers.wrapping_add($crate::LANES))];
                with_activation!(activation, f => {
                    let $read = Affine(numbers, f);
                    $body
                })
            }
            Some(Prologue::Clamp) => {
                let $read = Clamp([$s.load($numbers), $s.load($numbers.wrapping_add($crate::LANES))]);
                $body
            }
        }
    }};
}
pub(super) use with_prologue;
