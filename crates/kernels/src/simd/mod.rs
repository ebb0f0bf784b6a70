//! One vector of eight floats, whatever the machine calls it.
//!
//! Kernels are written once, over the trait [`Simd`], and instantiated for each instruction set; a new set is one more
//! file beside `avx2.rs`. Not here: any kernel.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod lanes;
pub(crate) mod scalar;

/// An instruction set kernels exist for. The default is the best this machine has; callers may force a lower one, and that
/// is how each is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain arithmetic; runs anywhere.
    Scalar,
    /// AVX2 with FMA (Intel since Haswell, AMD since Zen).
    Avx2,
    /// AVX-512 with vectors of every length (Intel since Skylake-X, AMD since Zen 4). It gives the bits that AVX2 gives: every
    /// lane is computed by the same steps.
    Avx512,
}

impl Isa {
    /// The best instruction set of this machine.
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    /// Whether this machine has the instruction set.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available() && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// Every instruction set this machine has, lowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Scalar, Self::Avx2, Self::Avx512].into_iter().filter(|isa| isa.is_available())
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2+fma",
            Self::Avx512 => "avx512",
        })
    }
}

impl Isa {
    /// Vectors and pixels of a full tile of a convolution.
    pub(crate) fn full_tile(self) -> [usize; 2] {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => [avx512::Avx512::VECTORS, avx512::Avx512::PIXELS],
            _ => [scalar::Scalar::VECTORS, scalar::Scalar::PIXELS],
        }
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
            // SAFETY: the machine has AVX-512F and AVX-512VL, AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { run_avx512(body) },
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

/// # Safety
/// The machine has AVX-512F and AVX-512VL, AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
unsafe fn run_avx512<B: Body>(body: B) -> B::Output {
    // SAFETY: the function's own promise.
    body.run(unsafe { avx512::Avx512::new() })
}

/// Eight floats in one register, and the arithmetic kernels need of them.
///
/// # Safety
/// A value of an implementing type may exist only where its instruction set is available; the methods assume it. Kernels
/// keep this by making the value inside the function that enables the set (`#[target_feature]`).
pub(crate) unsafe trait Simd: Copy {
    /// The register.
    type V: Copy;
    /// Two vectors side by side: one register where the set has such, else two.
    type Pair: Copy;
    /// Pixels of a full tile, whose sums of pairs keep the set's multiply-add pipes busy and leave registers for the factors.
    const PIXELS: usize;
    /// Vectors of a full tile: 2, or 4 where there are registers for the sums of two pairs a pixel.
    const VECTORS: usize;

    /// All lanes of both `x`.
    fn splat_pair(self, x: f32) -> Self::Pair;
    /// Sixteen floats from memory.
    ///
    /// # Safety
    /// `at` points at sixteen readable floats; no alignment is asked.
    unsafe fn load_pair(self, at: *const f32) -> Self::Pair;
    /// Sixteen floats to memory.
    ///
    /// # Safety
    /// `at` points at sixteen writable floats.
    unsafe fn store_pair(self, v: Self::Pair, at: *mut f32);
    /// One float from memory to all lanes.
    ///
    /// # Safety
    /// `at` points at a readable float.
    unsafe fn broadcast_pair(self, at: *const f32) -> Self::Pair;
    /// Both vectors.
    fn halves(self, v: Self::Pair) -> [Self::V; 2];
    /// `a + b`.
    fn add_pair(self, a: Self::Pair, b: Self::Pair) -> Self::Pair;
    /// `a - b`.
    fn sub_pair(self, a: Self::Pair, b: Self::Pair) -> Self::Pair;
    /// `a * b`.
    fn mul_pair(self, a: Self::Pair, b: Self::Pair) -> Self::Pair;
    /// `a * b + c`, as [`Simd::fma`].
    fn fma_pair(self, a: Self::Pair, b: Self::Pair, c: Self::Pair) -> Self::Pair;
    /// Two vectors side by side.
    fn pair(self, a: Self::V, b: Self::V) -> Self::Pair;
    /// 1, 2, 4 or 16 floats from memory, over and over.
    ///
    /// # Safety
    /// `at` points at so many readable floats.
    unsafe fn repeat_pair<const N: usize>(self, at: *const f32) -> Self::Pair;
    /// The lanes of a pair in another order: `from[i]`, below 16, becomes lane `i`.
    fn permute_pair(self, v: Self::Pair, from: &[i32; 16]) -> Self::Pair;

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
    /// The same for the first-level cache.
    fn prefetch_near(self, at: *const f32);
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
    /// The nearest number of bfloat16 in every lane, as [`crate::bfloat16::rounded`]: it is the upper half of the lane's bits, and the
    /// lower half is zero.
    fn bfloat16(self, v: Self::V) -> Self::V;
    /// The upper halves of the lanes.
    fn upper_halves(self, v: Self::V) -> [u16; 8];
    /// Two vectors of which every lane has only an upper half as one: the first's become the lower halves.
    fn join_halves(self, low: Self::V, high: Self::V) -> Self::V;
    /// Rows as columns: lane `i` of row `j` becomes lane `j` of row `i`.
    fn transpose(self, rows: [Self::V; 8]) -> [Self::V; 8];
    /// The lanes as an array.
    fn to_array(self, v: Self::V) -> [f32; 8];
}

/// Pairs as two vectors, for sets without longer registers.
macro_rules! pairs_of_two {
    () => {
        type Pair = [Self::V; 2];
        const PIXELS: usize = 6;
        const VECTORS: usize = 2;

        #[inline(always)]
        fn splat_pair(self, x: f32) -> Self::Pair {
            [self.splat(x); 2]
        }

        #[inline(always)]
        unsafe fn load_pair(self, at: *const f32) -> Self::Pair {
            // SAFETY: the caller promises sixteen floats.
            unsafe { [self.load(at), self.load(at.add($crate::LANES))] }
        }

        #[inline(always)]
        unsafe fn store_pair(self, v: Self::Pair, at: *mut f32) {
            // SAFETY: the caller promises sixteen floats.
            unsafe {
                self.store(v[0], at);
                self.store(v[1], at.add($crate::LANES));
            }
        }

        #[inline(always)]
        unsafe fn broadcast_pair(self, at: *const f32) -> Self::Pair {
            // SAFETY: the caller promises a float.
            [unsafe { self.broadcast(at) }; 2]
        }

        #[inline(always)]
        fn halves(self, v: Self::Pair) -> [Self::V; 2] {
            v
        }

        #[inline(always)]
        fn add_pair(self, a: Self::Pair, b: Self::Pair) -> Self::Pair {
            [self.add(a[0], b[0]), self.add(a[1], b[1])]
        }

        #[inline(always)]
        fn sub_pair(self, a: Self::Pair, b: Self::Pair) -> Self::Pair {
            [self.sub(a[0], b[0]), self.sub(a[1], b[1])]
        }

        #[inline(always)]
        fn mul_pair(self, a: Self::Pair, b: Self::Pair) -> Self::Pair {
            [self.mul(a[0], b[0]), self.mul(a[1], b[1])]
        }

        #[inline(always)]
        fn fma_pair(self, a: Self::Pair, b: Self::Pair, c: Self::Pair) -> Self::Pair {
            [self.fma(a[0], b[0], c[0]), self.fma(a[1], b[1], c[1])]
        }

        #[inline(always)]
        fn pair(self, a: Self::V, b: Self::V) -> Self::Pair {
            [a, b]
        }
    };
}
pub(crate) use pairs_of_two;
