//! Dropout: numbers that fall out at random while a network learns, each by itself or an image's all together.
//!
//! What falls out is a pure function of the draw, the place in the network, the image and the number, so it depends neither on
//! threads nor on what was drawn before. Not here: where a network has dropout.

use crate::pointwise::Alike;
use crate::simd::{Body, Simd};
use crate::{Isa, LANES, Memory, Planes, Team};

/// What falls out together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropUnit {
    /// Every number by itself.
    Element,
    /// All numbers of an image.
    Image,
}

/// How often something falls out; what is kept is divided by the probability that it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropRule {
    /// Probability of falling out, in `0.0..1.0`.
    pub rate: f64,
    /// What falls out together.
    pub unit: DropUnit,
    /// Which place in the network this is.
    pub place: u64,
}

/// The increment and the mixing function of SplitMix64 (Steele, Lea, Flood 2014).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline(always)]
fn scramble(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl DropRule {
    /// What a number of an image is multiplied by: zero, or as much as makes up for the zeros. `element` is its place in
    /// `[c, h, w]`.
    pub fn factor(&self, draw: u64, image: usize, element: usize) -> f32 {
        let of_image = self.of_image(draw, image);
        match self.unit {
            DropUnit::Element => self.of_word(word(of_image, element)),
            DropUnit::Image => self.of_word(of_image),
        }
    }

    fn of_image(&self, draw: u64, image: usize) -> u64 {
        [self.place, image as u64]
            .iter()
            .fold(scramble(draw.wrapping_add(GOLDEN)), |key, &part| scramble((key ^ part).wrapping_add(GOLDEN)))
    }

    #[inline(always)]
    fn of_word(&self, word: u64) -> f32 {
        let falls_out = (word >> 11) < (self.rate * (1_u64 << 53) as f64) as u64;
        if falls_out { 0.0 } else { (1.0 / (1.0 - self.rate)) as f32 }
    }
}

#[inline(always)]
fn word(of_image: u64, element: usize) -> u64 {
    scramble(of_image.wrapping_add((element as u64 + 1).wrapping_mul(GOLDEN)))
}

/// `output (+)= factor * input`: forward from a value to the value, backward from gradient to gradient.
#[derive(Debug)]
pub struct Dropout {
    isa: Isa,
    rule: DropRule,
    accumulate: bool,
    values: Alike<2>,
}

impl Dropout {
    /// # Panics
    /// If the values have different shapes or blocks, or overlap without being the same.
    pub fn new(isa: Isa, rule: DropRule, input: &Planes, output: &Planes, accumulate: bool) -> Self {
        Self { isa, rule, accumulate, values: Alike::new([input, output]) }
    }

    /// Computes all images for a draw.
    pub fn run(&self, draw: u64, memory: &mut Memory, team: &mut Team) {
        self.values.each_block_of_image(self.isa, memory, team, |image, block, at, pixels| DropoutBody {
            of: self,
            of_image: self.rule.of_image(draw, image),
            first: self.values.first_channel(block) * pixels,
            at,
            pixels,
        });
    }
}

struct DropoutBody<'a> {
    of: &'a Dropout,
    of_image: u64,
    /// Place of the block's first number in `[c, h, w]`.
    first: usize,
    at: [*mut f32; 2],
    pixels: usize,
}

impl Body for DropoutBody<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Dropout { rule, accumulate, .. } = *self.of;
        let whole = [rule.of_word(self.of_image); LANES];
        for pixel in 0..self.pixels {
            let mut factors = whole;
            if rule.unit == DropUnit::Element {
                for (lane, factor) in factors.iter_mut().enumerate() {
                    *factor = rule.of_word(word(self.of_image, self.first + lane * self.pixels + pixel));
                }
            }
            let [x, y] = self.at.map(|p| p.wrapping_add(pixel * LANES));
            // SAFETY: `Alike` gives planes of so many pixels, the last of which is this body's alone; the array has eight floats.
            unsafe {
                let before = if accumulate { s.load(y) } else { s.splat(0.0) };
                s.store(s.fma(s.load(x), s.load(factors.as_ptr()), before), y);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_falls_out_as_is_stated_and_the_mean_stays() {
        for (rate, unit) in [(0.2, DropUnit::Element), (0.7, DropUnit::Element), (0.1, DropUnit::Image)] {
            let rule = DropRule { rate, unit, place: 5 };
            let factors: Vec<f32> = (0..20_000).map(|i| rule.factor(9, i / 2, i)).collect();
            let dropped = factors.iter().filter(|f| **f == 0.0).count() as f64 / 20_000.0;
            assert!((dropped - rate).abs() < 0.015, "{dropped}");
            let mean = factors.iter().map(|&f| f64::from(f)).sum::<f64>() / 20_000.0;
            assert!((mean - 1.0).abs() < 0.04, "{mean}");
            assert_eq!(factors.chunks(2).all(|pair| pair[0] == pair[1]), unit == DropUnit::Image);
        }
    }

    #[test]
    fn draws_places_images_and_numbers_are_independent() {
        let rule = DropRule { rate: 0.5, unit: DropUnit::Element, place: 1 };
        let list = |rule: DropRule, draw, image| (0..256).map(move |e| rule.factor(draw, image, e)).collect::<Vec<_>>();
        let all = [
            list(rule, 1, 0),
            list(rule, 2, 0),
            list(rule, 1, 1),
            list(DropRule { place: 2, ..rule }, 1, 0),
            (1..257).map(|e| rule.factor(1, 0, e)).collect(),
        ];
        for (i, a) in all.iter().enumerate() {
            for b in &all[..i] {
                let same = a.iter().zip(b).filter(|(a, b)| a == b).count();
                assert!((90..166).contains(&same), "{same} of 256");
            }
        }
    }
}
