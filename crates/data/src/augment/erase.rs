//! Random erasing (Zhong et al., arXiv:1708.04896): rectangles that are painted over, with timm's sizes and colours.

use cspnet_vision::Photo;
use serde::{Deserialize, Serialize};

use crate::draw::Draw;

/// Which rectangles are painted over, and how.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandomErasing {
    /// Probability that anything is.
    pub probability: f64,
    /// Their colours.
    pub mode: EraseMode,
    /// How many there are, which share the area.
    pub count: usize,
}

/// Colours of an erased rectangle. What is random has the mean and the deviation that the network's input is normalised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EraseMode {
    /// The mean.
    Const,
    /// One random colour.
    Rand,
    /// A random colour for every pixel.
    Pixel,
}

/// Smallest and largest share of the view that is erased.
const AREA: [f64; 2] = [0.02, 1.0 / 3.0];
/// Smallest and largest height of a rectangle over its width.
const RATIO: [f64; 2] = [0.3, 1.0 / 0.3];
/// Tries for a rectangle that fits.
const TRIES: usize = 10;

impl RandomErasing {
    /// Paints over; `mean` and `std` are those of the network's input, on a scale of `0..=1`.
    pub(super) fn apply(&self, view: &mut Photo, mean: [f32; 3], std: [f32; 3], draw: &mut Draw) {
        if !draw.chance(self.probability) {
            return;
        }
        let colour = |draw: &mut Draw, spread: f64| -> [u8; 3] {
            std::array::from_fn(|c| {
                let value = f64::from(mean[c]) + spread * f64::from(std[c]) * draw.normal();
                (255.0 * value).round() as u8
            })
        };
        for _ in 0..self.count {
            let Some([x, y, width, height]) = self.rectangle(view, draw) else { continue };
            let one = colour(draw, if self.mode == EraseMode::Rand { 1.0 } else { 0.0 });
            let side = view.width() as usize;
            let pixels: &mut [[u8; 3]] = view.pixels_mut().as_chunks_mut().0;
            for row in pixels.chunks_exact_mut(side).skip(y).take(height) {
                for pixel in &mut row[x..x + width] {
                    *pixel = if self.mode == EraseMode::Pixel { colour(draw, 1.0) } else { one };
                }
            }
        }
    }

    /// A rectangle `[x, y, width, height]` within the view.
    fn rectangle(&self, view: &Photo, draw: &mut Draw) -> Option<[usize; 4]> {
        let (w, h) = (view.width() as usize, view.height() as usize);
        (0..TRIES).find_map(|_| {
            let area = draw.between(AREA[0], AREA[1]) * (w * h) as f64 / self.count as f64;
            let ratio = draw.between(RATIO[0].ln(), RATIO[1].ln()).exp();
            let (height, width) = ((area * ratio).sqrt().round() as usize, (area / ratio).sqrt().round() as usize);
            (width < w && height < h).then(|| [draw.below(w - width + 1), draw.below(h - height + 1), width, height])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Purpose;

    const MEAN: [f32; 3] = [0.2, 0.4, 0.6];
    const STD: [f32; 3] = [0.05, 0.1, 0.02];

    fn erased(mode: EraseMode, count: usize, sample: u64) -> Vec<[u8; 3]> {
        let mut view = Photo::new(40, 30, vec![255; 3 * 40 * 30]).unwrap();
        let erasing = RandomErasing { probability: 1.0, mode, count };
        erasing.apply(&mut view, MEAN, STD, &mut Draw::new(0, 0, sample, Purpose::Erase));
        view.pixels().as_chunks().0.to_vec()
    }

    #[test]
    fn rectangles_have_the_stated_shares_and_colours() {
        let mean = MEAN.map(|m| (255.0 * m).round() as u8);
        for sample in 0..200 {
            let view = erased(EraseMode::Const, 1, sample);
            let painted = view.iter().filter(|p| **p == mean).count();
            assert_eq!(painted + view.iter().filter(|p| **p == [255; 3]).count(), view.len());
            let share = painted as f64 / view.len() as f64;
            assert!((0.01..0.36).contains(&share), "{share}");
        }
        let colours = |mode| {
            let mut colours: Vec<[u8; 3]> = erased(mode, 1, 3).into_iter().filter(|p| *p != [255; 3]).collect();
            colours.sort_unstable();
            colours.dedup();
            colours
        };
        assert_eq!(colours(EraseMode::Rand).len(), 1);
        assert_ne!(colours(EraseMode::Rand)[0], mean);
        assert!(colours(EraseMode::Pixel).len() > 10);
    }

    #[test]
    fn noise_has_the_mean_and_deviation_of_the_input() {
        let noise: Vec<[u8; 3]> =
            (0..50).flat_map(|s| erased(EraseMode::Pixel, 2, s)).filter(|p| *p != [255; 3]).collect();
        for c in 0..3 {
            let values = || noise.iter().map(|p| f64::from(p[c]) / 255.0);
            let mean = values().sum::<f64>() / noise.len() as f64;
            let deviation = (values().map(|v| (v - mean).powi(2)).sum::<f64>() / noise.len() as f64).sqrt();
            assert!((mean - f64::from(MEAN[c])).abs() < 0.005, "{mean}");
            assert!((deviation - f64::from(STD[c])).abs() < 0.005, "{deviation}");
        }
    }

    #[test]
    fn it_is_done_as_often_as_stated() {
        let erasing = RandomErasing { probability: 0.25, mode: EraseMode::Const, count: 1 };
        let white = Photo::new(16, 16, vec![255; 3 * 256]).unwrap();
        let is_erased = |sample: &u64| {
            let mut view = white.clone();
            erasing.apply(&mut view, MEAN, STD, &mut Draw::new(7, 1, *sample, Purpose::Erase));
            view != white
        };
        let times = (0..2000).filter(is_erased).count();
        assert!((440..560).contains(&times), "{times}");
    }
}
