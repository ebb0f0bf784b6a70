//! Eight floats in a `ymm` register: AVX2 with FMA.

use super::{Simd, pairs_of_two};
use std::arch::x86_64::*;

/// AVX2 with FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The instruction set, for a function that has enabled it.
    ///
    /// # Safety
    /// The machine has AVX2 and FMA.
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

// SAFETY: a value comes only from `Avx2::new`, whose caller promises AVX2 and FMA; so every intrinsic below may run.
unsafe impl Simd for Avx2 {
    type V = __m256;

    pairs_of_two!();

    #[inline(always)]
    unsafe fn repeat_pair<const N: usize>(self, at: *const f32) -> Self::Pair {
        // SAFETY: the caller promises `N` floats.
        unsafe {
            match N {
                1 => [_mm256_broadcast_ss(&*at); 2],
                2 => [_mm256_castpd_ps(_mm256_broadcast_sd(&*at.cast())); 2],
                4 => [_mm256_broadcast_ps(&*at.cast()); 2],
                16 => [_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))],
                _ => unreachable!("{N} floats do not repeat"),
            }
        }
    }

    #[inline(always)]
    fn permute_pair(self, v: Self::Pair, from: &[i32; 16]) -> Self::Pair {
        // Lanes 8 to 15 are those of the second vector: of a number its lowest three bits count, and the fourth, moved to the
        // sign, chooses.
        unsafe {
            let mut half = v;
            for (half, from) in half.iter_mut().zip(from.as_chunks::<8>().0) {
                let from = _mm256_loadu_si256(from.as_ptr().cast());
                let [a, b] = [_mm256_permutevar8x32_ps(v[0], from), _mm256_permutevar8x32_ps(v[1], from)];
                *half = _mm256_blendv_ps(a, b, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(from)));
            }
            half
        }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> Self::V {
        unsafe { _mm256_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn broadcast(self, at: *const f32) -> Self::V {
        unsafe { _mm256_broadcast_ss(&*at) }
    }

    #[inline(always)]
    unsafe fn store(self, v: Self::V, at: *mut f32) {
        unsafe { _mm256_storeu_ps(at, v) }
    }

    #[inline(always)]
    fn prefetch_near(self, at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        unsafe { _mm256_min_ps(a, b) }
    }

    #[inline(always)]
    fn max_or_nan(self, a: Self::V, b: Self::V) -> Self::V {
        // `max` gives its second operand where either is NaN, so `a` stays one; a mask of ones is a NaN of `b`'s.
        unsafe { _mm256_or_ps(_mm256_max_ps(b, a), _mm256_cmp_ps::<_CMP_UNORD_Q>(b, b)) }
    }

    #[inline(always)]
    fn select_gt(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V {
        unsafe { _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b)) }
    }

    #[inline(always)]
    fn round(self, a: Self::V) -> Self::V {
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }

    #[inline(always)]
    fn exp2_whole(self, n: Self::V) -> Self::V {
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        }
    }

    #[inline(always)]
    fn bfloat16(self, v: Self::V) -> Self::V {
        unsafe {
            let bits = _mm256_castps_si256(v);
            let is_odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let near = _mm256_add_epi32(bits, _mm256_add_epi32(is_odd, _mm256_set1_epi32(0x7FFF)));
            let near = _mm256_and_si256(near, _mm256_set1_epi32(0xFFFF_0000_u32.cast_signed()));
            let none = _mm256_set1_ps(f32::from_bits(0x7FC0_0000));
            _mm256_blendv_ps(_mm256_castsi256_ps(near), none, _mm256_cmp_ps::<_CMP_UNORD_Q>(v, v))
        }
    }

    #[inline(always)]
    fn upper_halves(self, v: Self::V) -> [u16; 8] {
        unsafe {
            let halves = _mm256_srli_epi32::<16>(_mm256_castps_si256(v));
            let halves = _mm_packus_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256::<1>(halves));
            std::mem::transmute(halves)
        }
    }

    #[inline(always)]
    fn join_halves(self, low: Self::V, high: Self::V) -> Self::V {
        unsafe {
            let low = _mm256_srli_epi32::<16>(_mm256_castps_si256(low));
            _mm256_castsi256_ps(_mm256_or_si256(low, _mm256_castps_si256(high)))
        }
    }

    #[inline(always)]
    fn transpose(self, r: [Self::V; 8]) -> [Self::V; 8] {
        let mut out = r;
        // Within each half pairs of two rows, then of four; then halves change places.
        unsafe {
            for i in (0..8).step_by(4) {
                let [a, b] = [_mm256_unpacklo_ps(r[i], r[i + 1]), _mm256_unpacklo_ps(r[i + 2], r[i + 3])];
                let [c, d] = [_mm256_unpackhi_ps(r[i], r[i + 1]), _mm256_unpackhi_ps(r[i + 2], r[i + 3])];
                out[i] = _mm256_shuffle_ps::<0b01_00_01_00>(a, b);
                out[i + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(a, b);
                out[i + 2] = _mm256_shuffle_ps::<0b01_00_01_00>(c, d);
                out[i + 3] = _mm256_shuffle_ps::<0b11_10_11_10>(c, d);
            }
            for i in 0..4 {
                let [a, b] = [out[i], out[i + 4]];
                out[i] = _mm256_permute2f128_ps::<0x20>(a, b);
                out[i + 4] = _mm256_permute2f128_ps::<0x31>(a, b);
            }
        }
        out
    }

    #[inline(always)]
    fn to_array(self, v: Self::V) -> [f32; 8] {
        let mut out = [0.0; 8];
        // SAFETY: `out` has room for eight floats.
        unsafe { self.store(v, out.as_mut_ptr()) };
        out
    }
}
