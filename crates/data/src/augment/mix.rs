//! Mixing the photos of a batch in pairs: mixup (Zhang et al., arXiv:1710.09412) and CutMix (Yun et al., arXiv:1905.04899), with
//! timm's choices: one share for the whole batch, and behind each photo the batch in reverse order.

use serde::{Deserialize, Serialize};

use crate::draw::{Draw, Purpose};

/// How the photos of a batch are mixed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// Parameter of mixup's Beta distribution; 0 for no mixup.
    pub mixup: f64,
    /// Parameter of CutMix's Beta distribution; 0 for no CutMix.
    pub cutmix: f64,
    /// Probability that a batch is mixed at all.
    pub probability: f64,
    /// Probability of CutMix where there is mixup as well.
    pub switch_probability: f64,
}

/// Photos of a batch, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    images: usize,
    height: usize,
    width: usize,
}

impl Mix {
    /// Mixes a batch: `pixels` are RGB `[n, h, w, 3]` and `targets` `[n, classes]`, `[n, h, w]` are given by `size`.
    pub fn apply(
        &self,
        pixels: &mut [u8],
        targets: &mut [f32],
        [images, height, width]: [usize; 3],
        seed: u64,
        epoch: u64,
        batch: u64,
    ) {
        let mut choice = Draw::new(seed, epoch, batch, Purpose::Mixing);
        let is_mixed = choice.chance(self.probability);
        let cuts = self.cutmix > 0.0 && (self.mixup == 0.0 || choice.chance(self.switch_probability));
        let alpha = if cuts { self.cutmix } else { self.mixup };
        if !is_mixed || alpha == 0.0 || images < 2 {
            return;
        }
        let share = Draw::new(seed, epoch, batch, Purpose::Mix).beta(alpha);
        let size = Size { images, height, width };
        let share = if cuts { paste(pixels, size, share, &mut choice) } else { blend(pixels, size, share as f32) };
        pair_up(targets, images, |_, a, b| share * a + (1.0 - share) * b);
    }
}

/// Blends every photo with its other; how much of itself is left.
fn blend(pixels: &mut [u8], size: Size, share: f32) -> f32 {
    let blend = |_, a: u8, b: u8| (share * f32::from(a) + (1.0 - share) * f32::from(b)).round() as u8;
    pair_up(pixels, size.images, blend);
    share
}

/// Pastes a rectangle of its other into every photo, at the same place; how much of itself is left.
fn paste(pixels: &mut [u8], size: Size, share: f64, draw: &mut Draw) -> f32 {
    let Size { images, height, width } = size;
    let span = |side: usize, draw: &mut Draw| {
        let (len, middle) = ((side as f64 * (1.0 - share).sqrt()) as usize, draw.below(side));
        middle.saturating_sub(len / 2)..(middle + len.div_ceil(2)).min(side)
    };
    let (rows, columns) = (span(height, draw), span(width, draw));
    let is_inside = |i: usize| rows.contains(&(i / 3 / width)) && columns.contains(&(i / 3 % width));
    pair_up(pixels, images, |i, a, b| if is_inside(i) { b } else { a });
    1.0 - (rows.len() * columns.len()) as f32 / (height * width) as f32
}

/// Replaces every item's elements, and those of the item at the same place from the end, by what becomes of each with the other;
/// `mixed` is told the element's place in its item.
fn pair_up<T: Copy>(all: &mut [T], items: usize, mixed: impl Fn(usize, T, T) -> T) {
    let len = all.len() / items;
    for i in 0..items / 2 {
        let (front, back) = all.split_at_mut((items - 1 - i) * len);
        for (place, (a, b)) in front[i * len..][..len].iter_mut().zip(&mut back[..len]).enumerate() {
            (*a, *b) = (mixed(place, *a, *b), mixed(place, *b, *a));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Mix = Mix { mixup: 0.0, cutmix: 0.0, probability: 1.0, switch_probability: 0.5 };

    #[test]
    fn mixing_keeps_sums_and_pairs_opposite_places() {
        let (mut pixels, mut targets) = (vec![10, 20, 0, 200, 100, 60, 100, 60, 7], vec![1.0, 0.0, 0.5, 0.5, 0.0, 1.0]);
        let mix = Mix { mixup: 0.4, ..NONE };
        mix.apply(&mut pixels, &mut targets, [3, 1, 1], 1, 0, 0);
        let share = targets[0];
        assert!(share > 0.0 && share < 1.0 && (targets[0] + targets[1] - 1.0).abs() < 1e-6);
        let blend = |a: f32, b: f32| (share * a + (1.0 - share) * b).round() as u8;
        let (first, last) = ([(10.0, 100.0), (20.0, 60.0), (0.0, 7.0)], [200, 100, 60]);
        let expected: Vec<u8> = first.iter().map(|&(a, b)| blend(a, b)).collect();
        assert_eq!((&pixels[..3], &pixels[3..6]), (&expected[..], &last[..]));
        assert_eq!(pixels[6..], first.map(|(a, b)| blend(b, a)));
        let before = (pixels.clone(), targets.clone());
        NONE.apply(&mut pixels, &mut targets, [3, 1, 1], 1, 0, 0);
        Mix { probability: 0.0, ..mix }.apply(&mut pixels, &mut targets, [3, 1, 1], 1, 0, 0);
        assert_eq!((pixels, targets), before);
    }

    #[test]
    fn pasted_rectangles_are_whole_and_targets_say_how_large_they_are() {
        let (height, width) = (9, 13);
        let mix = Mix { cutmix: 1.0, ..NONE };
        let mut shares = Vec::new();
        for batch in 0..200 {
            let mut pixels = vec![0; 2 * height * width * 3];
            pixels[height * width * 3..].fill(255);
            let mut targets = vec![1.0, 0.0, 0.0, 1.0];
            mix.apply(&mut pixels, &mut targets, [2, height, width], 3, 1, batch);
            let (first, second) = pixels.split_at(height * width * 3);
            assert!(first.iter().zip(second).all(|(a, b)| *a == 255 - *b));
            let pasted: Vec<usize> = (0..height * width).filter(|i| first[3 * i] == 255).collect();
            let share = 1.0 - pasted.len() as f32 / (height * width) as f32;
            assert!((targets[0] - share).abs() < 1e-6 && (targets[0] + targets[1] - 1.0).abs() < 1e-6);
            if let (Some(first), Some(last)) = (pasted.first(), pasted.last()) {
                let sides = [last / width - first / width + 1, last % width - first % width + 1];
                assert_eq!(sides[0] * sides[1], pasted.len(), "a rectangle");
            }
            shares.push(f64::from(share));
        }
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        // A Beta(1, 1) share is a half on average; rectangles that reach over the edge leave more.
        assert!((0.5..0.75).contains(&mean), "{mean}");
    }

    #[test]
    fn batches_change_between_the_two_as_stated() {
        let mix = Mix { mixup: 1.0, cutmix: 1.0, probability: 0.8, switch_probability: 0.25 };
        let mut seen = [0_usize; 3];
        for batch in 0..2000 {
            let mut pixels = vec![0; 2 * 64 * 3];
            pixels[64 * 3..].fill(255);
            let before = pixels.clone();
            mix.apply(&mut pixels, &mut [1.0, 0.0, 0.0, 1.0], [2, 8, 8], 3, 0, batch);
            let is_cut = pixels.iter().all(|&v| v == 0 || v == 255);
            seen[if pixels == before { 0 } else { 1 + usize::from(is_cut) }] += 1;
        }
        // 400, 1200 and 400, but for shares so near to 0 or 1 that nothing is to be seen.
        assert!(seen[0].abs_diff(410) < 60 && seen[1].abs_diff(1200) < 80 && seen[2].abs_diff(390) < 60, "{seen:?}");
    }
}
