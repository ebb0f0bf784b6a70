//! Eight floats as an array: what runs where no better instruction set is known.

use super::{Simd, pairs_of_two};
use crate::bfloat16;

/// The instruction set every machine has.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

fn each(a: [f32; 8], b: [f32; 8], f: impl Fn(f32, f32) -> f32) -> [f32; 8] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

// SAFETY: needs no instruction set.
unsafe impl Simd for Scalar {
    type V = [f32; 8];

    pairs_of_two!();

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; 8]
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> Self::V {
        // SAFETY: the caller promises eight readable floats.
        unsafe { at.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn broadcast(self, at: *const f32) -> Self::V {
        // SAFETY: the caller promises a readable float.
        [unsafe { *at }; 8]
    }

    #[inline(always)]
    unsafe fn store(self, v: Self::V, at: *mut f32) {
        // SAFETY: the caller promises eight writable floats.
        unsafe { at.cast::<[f32; 8]>().write_unaligned(v) }
    }

    #[inline(always)]
    fn prefetch_near(self, _: *const f32) {}

    #[inline(always)]
    fn prefetch(self, _: *const f32) {}

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn repeat_pair<const N: usize>(self, at: *const f32) -> Self::Pair {
        // SAFETY: the caller promises `N` floats.
        [0, 8].map(|first| std::array::from_fn(|i| unsafe { *at.add((first + i) % N) }))
    }

    #[inline(always)]
    fn permute_pair(self, v: Self::Pair, from: &[i32; 16]) -> Self::Pair {
        [0, 8].map(|first| {
            std::array::from_fn(|i| {
                let lane = from[first + i] as usize;
                v[lane / 8][lane % 8]
            })
        })
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Not `mul_add`: without the instruction that is a call into the maths library for every float.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max_or_nan(self, a: Self::V, b: Self::V) -> Self::V {
        each(a, b, |a, b| if b > a || b.is_nan() { b } else { a })
    }

    #[inline(always)]
    fn select_gt(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] > b[i] { yes[i] } else { no[i] })
    }

    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        a.map(f32::round_ties_even)
    }

    #[inline(always)]
    fn exp2_whole(self, n: Self::V) -> Self::V {
        n.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23))
    }

    #[inline(always)]
    fn bfloat16(self, v: Self::V) -> Self::V {
        v.map(|x| bfloat16::widened(bfloat16::rounded(x)))
    }

    #[inline(always)]
    fn upper_halves(self, v: Self::V) -> [u16; 8] {
        v.map(|x| (x.to_bits() >> 16) as u16)
    }

    #[inline(always)]
    fn join_halves(self, low: Self::V, high: Self::V) -> Self::V {
        std::array::from_fn(|i| f32::from_bits(low[i].to_bits() >> 16 | high[i].to_bits()))
    }

    #[inline(always)]
    fn transpose(self, rows: [Self::V; 8]) -> [Self::V; 8] {
        std::array::from_fn(|i| std::array::from_fn(|j| rows[j][i]))
    }

    #[inline(always)]
    fn to_array(self, v: Self::V) -> [f32; 8] {
        v
    }
}
