//! Numbers of bfloat16: the upper half of a number of single precision, with as many exponents and eight bits of precision.
//!
//! Not here: products of them ([`crate::TileConv`]).

/// The bfloat16 number nearest to one of single precision, the even one of two; no number stays none.
#[inline(always)]
pub(crate) fn rounded(x: f32) -> u16 {
    let bits = x.to_bits();
    let near = (bits.wrapping_add(0x7FFF + (bits >> 16 & 1))) >> 16;
    if x.is_nan() { 0x7FC0 } else { near as u16 }
}

/// A bfloat16 number in single precision, which holds it exactly.
#[inline(always)]
pub(crate) fn widened(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::simd::{Body, Simd};

    #[test]
    fn numbers_are_rounded_to_the_nearest() {
        assert_eq!(widened(rounded(1.0 + 1.0 / 256.0)), 1.0);
        assert_eq!(widened(rounded(1.0 + 3.0 / 256.0)), 1.015_625);
        assert_eq!(widened(rounded(-0.0)).to_bits(), (-0.0_f32).to_bits());
        assert_eq!(widened(rounded(f32::MAX)), f32::INFINITY);
        for bits in [0x7F80_0001, 0x7FFF_FFFF, 0xFFFF_FFFF] {
            assert!(widened(rounded(f32::from_bits(bits))).is_nan());
        }
    }

    struct Halves([f32; 8]);

    impl Body for Halves {
        type Output = ([u16; 8], [f32; 8]);

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Self::Output {
            // SAFETY: eight floats.
            let v = s.bfloat16(unsafe { s.load(self.0.as_ptr()) });
            let one = s.splat(1.0);
            (s.upper_halves(v), s.to_array(s.join_halves(v, one)))
        }
    }

    #[test]
    fn every_set_rounds_alike() {
        let numbers = [0.1, -2.5e-41, 1.0 + 1.0 / 256.0, f32::MAX, f32::NEG_INFINITY, -f32::NAN, 3.0e38, -0.0];
        for isa in Isa::available() {
            let (halves, joined) = isa.run(Halves(numbers));
            assert_eq!(halves, numbers.map(rounded), "{isa}");
            let low = joined.map(|x| (x.to_bits() & 0xFFFF) as u16);
            assert!(low == halves && joined.iter().all(|x| x.to_bits() >> 16 == 0x3F80), "{isa}");
        }
    }
}
