//! Sixteen floats in a `zmm` register where a kernel takes pairs of vectors, and AVX2's eight everywhere else: AVX-512F and
//! AVX-512VL.
//!
//! The layout stays in blocks of eight channels, so a value is the same floats on every machine.

use super::Simd;
use super::avx2::Avx2;
use std::arch::x86_64::*;

/// AVX-512 with vectors of every length.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(Avx2);

impl Avx512 {
    /// The instruction set, for a function that has enabled it.
    ///
    /// # Safety
    /// The machine has AVX-512F and AVX-512VL, AVX2 and FMA.
    #[inline(always)]
    pub(crate) unsafe fn new() -> Self {
        // SAFETY: the caller promises AVX2 and FMA.
        Self(unsafe { Avx2::new() })
    }
}

/// Vectors of eight are AVX2's.
macro_rules! as_avx2 {
    ($(fn $name:ident($($x:ident: $t:ty),*) -> $out:ty;)*) => {
        $(#[inline(always)]
        fn $name(self, $($x: $t),*) -> $out {
            self.0.$name($($x),*)
        })*
    };
}

// SAFETY: a value comes only from `Avx512::new`, whose caller promises AVX-512F and AVX-512VL, AVX2 and FMA; so every intrinsic
// below may run.
unsafe impl Simd for Avx512 {
    type V = __m256;
    type Pair = __m512;
    // Twenty-four sums in thirty-two registers.
    const PIXELS: usize = 12;
    const VECTORS: usize = 4;

    #[inline(always)]
    fn splat_pair(self, x: f32) -> Self::Pair {
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load_pair(self, at: *const f32) -> Self::Pair {
        unsafe { _mm512_loadu_ps(at) }
    }

    #[inline(always)]
    unsafe fn store_pair(self, v: Self::Pair, at: *mut f32) {
        unsafe { _mm512_storeu_ps(at, v) }
    }

    #[inline(always)]
    unsafe fn broadcast_pair(self, at: *const f32) -> Self::Pair {
        unsafe { _mm512_set1_ps(*at) }
    }

    #[inline(always)]
    fn halves(self, v: Self::Pair) -> [Self::V; 2] {
        // AVX-512F knows the upper half as doubles only.
        unsafe { [_mm512_castps512_ps256(v), _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v)))] }
    }

    #[inline(always)]
    fn add_pair(self, a: Self::Pair, b: Self::Pair) -> Self::Pair {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub_pair(self, a: Self::Pair, b: Self::Pair) -> Self::Pair {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul_pair(self, a: Self::Pair, b: Self::Pair) -> Self::Pair {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn fma_pair(self, a: Self::Pair, b: Self::Pair, c: Self::Pair) -> Self::Pair {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn pair(self, a: Self::V, b: Self::V) -> Self::Pair {
        unsafe {
            let [a, b] = [_mm512_castps256_ps512(a), _mm512_castps256_ps512(b)];
            _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b)
        }
    }

    #[inline(always)]
    unsafe fn repeat_pair<const N: usize>(self, at: *const f32) -> Self::Pair {
        // SAFETY: the caller promises `N` floats.
        unsafe {
            match N {
                1 => _mm512_set1_ps(*at),
                2 => _mm512_castpd_ps(_mm512_set1_pd(at.cast::<f64>().read_unaligned())),
                4 => _mm512_broadcast_f32x4(_mm_loadu_ps(at)),
                16 => _mm512_loadu_ps(at),
                _ => unreachable!("{N} floats do not repeat"),
            }
        }
    }

    #[inline(always)]
    fn permute_pair(self, v: Self::Pair, from: &[i32; 16]) -> Self::Pair {
        unsafe { _mm512_permutexvar_ps(_mm512_loadu_si512(from.as_ptr().cast()), v) }
    }

    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> Self::V {
        unsafe { self.0.load(at) }
    }

    #[inline(always)]
    unsafe fn broadcast(self, at: *const f32) -> Self::V {
        unsafe { self.0.broadcast(at) }
    }

    #[inline(always)]
    unsafe fn store(self, v: Self::V, at: *mut f32) {
        unsafe { self.0.store(v, at) }
    }

    as_avx2! {
        fn splat(x: f32) -> Self::V;
        fn add(a: Self::V, b: Self::V) -> Self::V;
        fn sub(a: Self::V, b: Self::V) -> Self::V;
        fn mul(a: Self::V, b: Self::V) -> Self::V;
        fn div(a: Self::V, b: Self::V) -> Self::V;
        fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
        fn max(a: Self::V, b: Self::V) -> Self::V;
        fn min(a: Self::V, b: Self::V) -> Self::V;
        fn max_or_nan(a: Self::V, b: Self::V) -> Self::V;
        fn select_gt(a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
        fn round(a: Self::V) -> Self::V;
        fn exp2_whole(n: Self::V) -> Self::V;
        fn bfloat16(v: Self::V) -> Self::V;
        fn upper_halves(v: Self::V) -> [u16; 8];
        fn join_halves(low: Self::V, high: Self::V) -> Self::V;
        fn transpose(rows: [Self::V; 8]) -> [Self::V; 8];
        fn to_array(v: Self::V) -> [f32; 8];
    }

    #[inline(always)]
    fn prefetch_near(self, at: *const f32) {
        self.0.prefetch_near(at);
    }

    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        self.0.prefetch(at);
    }
}
