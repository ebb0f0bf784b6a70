//! One vector of eight floats, whatever the machine calls it.
//!
//! Kernels are written once, over the trait [`Simd`], and instantiated for each instruction set; a new set is one more
//! file beside `avx2.rs`. Not here: any kernel.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
pub(crate) mod scalar;

/// An instruction set kernels exist for. The default is the best this machine has; callers may force a lower one, and that
/// is how each is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain arithmetic; runs anywhere.
    Scalar,
    /// AVX2 with FMA (Intel since Haswell, AMD since Zen).
    Avx2,
}

impl Isa {
    /// The best instruction set of this machine.
    pub fn detect() -> Self {
        if Self::Avx2.is_available() { Self::Avx2 } else { Self::Scalar }
    }

    /// Whether this machine has the instruction set.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 => false,
        }
    }

    /// Every instruction set this machine has, lowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Scalar, Self::Avx2].into_iter().filter(|isa| isa.is_available())
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2+fma",
        })
    }
}

/// A computation written once for any instruction set.
pub(crate) trait Body {
    /// What it gives.
    type Output;

    /// Does it. Implementations are `#[inline(always)]`, so that they are compiled for the set that `s` stands for.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

impl Isa {
    /// Runs a body with this instruction set.
    ///
    /// # Panics
    /// If the machine does not have it.
    pub(crate) fn run<B: Body>(self, body: B) -> B::Output {
        assert!(self.is_available(), "{self} kernels on a machine without it");
        match self {
            // SAFETY: the machine has AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { run_avx2(body) },
            _ => body.run(scalar::Scalar),
        }
    }
}

/// # Safety
/// The machine has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2<B: Body>(body: B) -> B::Output {
    // SAFETY: the function's own promise.
    body.run(unsafe { avx2::Avx2::new() })
}

/// Eight floats in one register, and the arithmetic kernels need of them.
///
/// # Safety
/// A value of an implementing type may exist only where its instruction set is available; the methods assume it. Kernels
/// keep this by making the value inside the function that enables the set (`#[target_feature]`).
pub(crate) unsafe trait Simd: Copy {
    /// The register.
    type V: Copy;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;
    /// Eight floats from memory.
    ///
    /// # Safety
    /// `at` points at eight readable floats; no alignment is asked.
    unsafe fn load(self, at: *const f32) -> Self::V;
    /// One float from memory to all lanes.
    ///
    /// # Safety
    /// `at` points at a readable float.
    unsafe fn broadcast(self, at: *const f32) -> Self::V;
    /// Eight floats to memory.
    ///
    /// # Safety
    /// `at` points at eight writable floats.
    unsafe fn store(self, v: Self::V, at: *mut f32);
    /// Asks for the cache line at an address, which need not be one to read from, for the second-level cache.
    fn prefetch(self, at: *const f32);
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the set has it.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a > b ? a : b`: the second operand where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a < b ? a : b`: the second operand where either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger one, `a` where they are equal; NaN where either is.
    fn max_or_nan(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a > b ? yes : no`, lane by lane; a NaN compares false.
    fn select_gt(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    /// The nearest whole number, halves to even.
    fn round(self, a: Self::V) -> Self::V;
    /// `2^n` for whole `n` in `-126..=127`.
    fn exp2_whole(self, n: Self::V) -> Self::V;
    /// The lanes as an array.
    fn to_array(self, v: Self::V) -> [f32; 8];
}
