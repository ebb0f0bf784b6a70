//! Arithmetic alike on one vector and on a pair of them, for formulas that are written once for both.

use super::Simd;

/// The arithmetic of formulas.
pub(crate) trait Lanes: Copy {
    /// A register, or as many as make up a value.
    type T: Copy;
    /// Vectors of a value.
    const VECTORS: usize;

    /// A value from memory.
    ///
    /// # Safety
    /// `at` points at as many readable floats as the value has lanes.
    unsafe fn load(self, at: *const f32) -> Self::T;
    /// A value to memory.
    ///
    /// # Safety
    /// `at` points at as many writable floats.
    unsafe fn store(self, v: Self::T, at: *mut f32);
    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::T;
    /// `a + b`.
    fn add(self, a: Self::T, b: Self::T) -> Self::T;
    /// `a - b`.
    fn sub(self, a: Self::T, b: Self::T) -> Self::T;
    /// `a * b`.
    fn mul(self, a: Self::T, b: Self::T) -> Self::T;
    /// `a * b + c`, as [`Simd::fma`].
    fn fma(self, a: Self::T, b: Self::T, c: Self::T) -> Self::T;
}

/// One vector of a set.
#[derive(Clone, Copy)]
pub(crate) struct One<S>(pub S);

/// Two vectors of a set.
#[derive(Clone, Copy)]
pub(crate) struct Two<S>(pub S);

macro_rules! lanes {
    ($of:ident, $t:ident, $vectors:literal, $splat:ident, $load:ident, $store:ident: $($name:ident = $method:ident($($x:ident),*);)*) => {
        impl<S: Simd> Lanes for $of<S> {
            type T = S::$t;
            const VECTORS: usize = $vectors;

            #[inline(always)]
            unsafe fn load(self, at: *const f32) -> Self::T {
                // SAFETY: the caller promises the floats.
                unsafe { self.0.$load(at) }
            }

            #[inline(always)]
            unsafe fn store(self, v: Self::T, at: *mut f32) {
                // SAFETY: the caller promises the floats.
                unsafe { self.0.$store(v, at) }
            }

            #[inline(always)]
            fn splat(self, x: f32) -> Self::T {
                self.0.$splat(x)
            }

            $(#[inline(always)]
            fn $name(self, $($x: Self::T),*) -> Self::T {
                self.0.$method($($x),*)
            })*
        }
    };
}

lanes! { One, V, 1, splat, load, store: add = add(a, b); sub = sub(a, b); mul = mul(a, b); fma = fma(a, b, c); }
lanes! {
    Two, Pair, 2, splat_pair, load_pair, store_pair:
    add = add_pair(a, b); sub = sub_pair(a, b); mul = mul_pair(a, b); fma = fma_pair(a, b, c);
}
