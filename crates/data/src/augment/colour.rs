//! Colour jitter: brightness, contrast and saturation drawn anew.

use cspnet_vision::Photo;
use serde::{Deserialize, Serialize};

use crate::draw::Draw;

/// Largest changes of colour; each is a factor drawn from `1 - x ..= 1 + x`, as in torchvision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColourJitter {
    /// Of the brightness.
    pub brightness: f64,
    /// Of the distance from the photo's mean brightness.
    pub contrast: f64,
    /// Of the distance from grey.
    pub saturation: f64,
}

impl ColourJitter {
    /// The same for all three, as a single number is meant in timm and torchvision.
    pub fn of(strength: f64) -> Self {
        Self { brightness: strength, contrast: strength, saturation: strength }
    }
}

impl ColourJitter {
    pub(super) fn apply(&self, photo: &mut Photo, draw: &mut Draw) {
        let mut factor = |reach: f64| draw.between(1.0 - reach, 1.0 + reach).max(0.0) as f32;
        let (brightness, contrast, saturation) =
            (factor(self.brightness), factor(self.contrast), factor(self.saturation));
        if *self == Self::default() {
            return;
        }
        let pixels: &mut [[u8; 3]] = photo.pixels_mut().as_chunks_mut().0;
        let sum: u64 = pixels.iter().map(|p| u64::from(grey(p.map(f32::from)) as u8)).sum();
        let mean = brightness * sum as f32 / pixels.len() as f32;
        for pixel in pixels {
            let lit = pixel.map(|v| brightness * f32::from(v));
            let contrasted = lit.map(|v| mean + contrast * (v - mean));
            let g = grey(contrasted);
            *pixel = contrasted.map(|v| (g + saturation * (v - g)).round() as u8);
        }
    }
}

/// Brightness of a pixel (ITU-R BT.601).
fn grey([r, g, b]: [f32; 3]) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Purpose;

    fn gradient(width: u32, height: u32) -> Photo {
        let pixel = |i: u32| [(i % width * 255 / width) as u8, (i / width * 255 / height) as u8, 100];
        Photo::new(width, height, (0..width * height).flat_map(pixel).collect()).unwrap()
    }

    #[test]
    fn colours_change_as_their_names_say() {
        let apply = |jitter: ColourJitter, sample| {
            let mut photo = gradient(8, 8);
            jitter.apply(&mut photo, &mut Draw::new(0, 0, sample, Purpose::Colour));
            photo
        };
        assert_eq!(apply(ColourJitter::default(), 0), gradient(8, 8));
        let brighter = ColourJitter { brightness: 0.5, ..ColourJitter::default() };
        let factors: Vec<f64> = (0..50).map(|s| f64::from(apply(brighter, s).pixels()[2]) / 100.0).collect();
        assert!(factors.iter().all(|f| (0.49..=1.51).contains(f)));
        assert!(factors.iter().any(|f| *f < 0.8) && factors.iter().any(|f| *f > 1.2));
        let saturation = ColourJitter { saturation: 0.9, ..ColourJitter::default() };
        for sample in 0..20 {
            let (before, after) = (gradient(8, 8), apply(saturation, sample));
            let grey = |p: &Photo| grey(std::array::from_fn(|i| f32::from(p.pixels()[3 * 27 + i])));
            assert!((grey(&before) - grey(&after)).abs() < 1.5);
        }
    }
}
