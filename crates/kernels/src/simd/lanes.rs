//! Arithmetic alike on one vector and on a pair of them, for formulas that are written once for both. Not here: memory.

use super::Simd;

/// The arithmetic of formulas.
pub(crate) trait Lanes: Copy {
    /// A register, or as many as make up a value.
    type T: Copy;

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
    ($of:ident, $t:ident: $($name:ident = $method:ident($($x:ident),*);)*) => {
        impl<S: Simd> Lanes for $of<S> {
            type T = S::$t;

            #[inline(always)]
            fn splat(self, x: f32) -> Self::T {
                lanes!(@splat $t, self, x)
            }

            $(#[inline(always)]
            fn $name(self, $($x: Self::T),*) -> Self::T {
                self.0.$method($($x),*)
            })*
        }
    };
    (@splat V, $self:ident, $x:ident) => { $self.0.splat($x) };
    (@splat Pair, $self:ident, $x:ident) => { $self.0.splat_pair($x) };
}

lanes! { One, V: add = add(a, b); sub = sub(a, b); mul = mul(a, b); fma = fma(a, b, c); }
lanes! { Two, Pair: add = add_pair(a, b); sub = sub_pair(a, b); mul = mul_pair(a, b); fma = fma_pair(a, b, c); }
