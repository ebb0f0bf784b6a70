//! Varied views of a photo for training: random resized crop, mirror image, colour jitter, and mixing two photos.

use cspnet_vision::{Area, Photo, Preprocess, Resize, VisionError, resize};
use serde::{Deserialize, Serialize};

use crate::draw::{Draw, Purpose};

/// How views of photos vary.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Smallest and largest share of the photo's area that a random resized crop shows (Szegedy et al., arXiv:1409.4842).
    pub scale: [f64; 2],
    /// Smallest and largest stretch of a crop: its width to height, over what an undistorted view would have.
    pub ratio: [f64; 2],
    /// Probability of a mirror image.
    pub hflip: f64,
    /// How far colours change.
    pub color_jitter: ColourJitter,
}

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

/// Tries for a crop that fits, as in torchvision.
const TRIES: usize = 10;

impl Augment {
    /// The view of `photo` that training sees of `sample` in `epoch`: RGB pixels of the network's input size.
    ///
    /// # Errors
    /// If the photo's shape is too extreme for `preprocess`.
    pub fn view(
        &self,
        photo: &Photo,
        preprocess: &Preprocess,
        seed: u64,
        epoch: u64,
        sample: u64,
    ) -> Result<Photo, VisionError> {
        let draw = |purpose| Draw::new(seed, epoch, sample, purpose);
        let area = self.area(photo, preprocess, &mut draw(Purpose::Crop));
        let (height, width) = preprocess.size;
        let mut view = resize(&photo.cut(area)?, width, height, preprocess.filter)?;
        if draw(Purpose::Flip).chance(self.hflip) {
            view = view.mirrored();
        }
        self.color_jitter.apply(&mut view, &mut draw(Purpose::Colour));
        Ok(view)
    }

    /// The part that a random resized crop shows (torchvision's `RandomResizedCrop.get_params`).
    fn area(&self, photo: &Photo, preprocess: &Preprocess, draw: &mut Draw) -> Area {
        let (w, h) = (f64::from(photo.width()), f64::from(photo.height()));
        let undistorted = match preprocess.resize {
            Resize::ShorterSide(_) => f64::from(preprocess.size.1) / f64::from(preprocess.size.0),
            Resize::Stretch => w / h,
        };
        let [narrowest, widest] = self.ratio.map(f64::ln);
        for _ in 0..TRIES {
            let area = w * h * draw.between(self.scale[0], self.scale[1]);
            let ratio = undistorted * draw.between(narrowest, widest).exp();
            let (width, height) = ((area * ratio).sqrt().round(), (area / ratio).sqrt().round());
            if (1.0..=w).contains(&width) && (1.0..=h).contains(&height) {
                return Area {
                    x: draw.below((w - width) as usize + 1) as u32,
                    y: draw.below((h - height) as usize + 1) as u32,
                    width: width as u32,
                    height: height as u32,
                };
            }
        }
        centre(photo, undistorted)
    }
}

/// The largest area of a shape in the middle of a photo.
fn centre(photo: &Photo, ratio: f64) -> Area {
    let (w, h) = (f64::from(photo.width()), f64::from(photo.height()));
    let (width, height) = if w / h > ratio { (h * ratio, h) } else { (w, w / ratio) };
    let (width, height) = (width.round().clamp(1.0, w) as u32, height.round().clamp(1.0, h) as u32);
    Area { x: (photo.width() - width) / 2, y: (photo.height() - height) / 2, width, height }
}

impl ColourJitter {
    fn apply(&self, photo: &mut Photo, draw: &mut Draw) {
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

/// Mixes the photos and targets of a batch in pairs (mixup: Zhang et al., arXiv:1710.09412), with one share for the whole
/// batch, drawn from Beta(`alpha`, `alpha`); the photo behind each is the batch in reverse order, as in timm.
///
/// `pixels` are `[n, bytes]` and `targets` `[n, classes]`. Nothing is mixed if `alpha` is 0.
pub fn mix(pixels: &mut [u8], targets: &mut [f32], images: usize, alpha: f64, mut draw: Draw) {
    if alpha == 0.0 || images < 2 {
        return;
    }
    let share = draw.beta(alpha) as f32;
    let blend_bytes = |a: u8, b: u8| (share * f32::from(a) + (1.0 - share) * f32::from(b)).round() as u8;
    pair_up(pixels, images, blend_bytes);
    pair_up(targets, images, |a, b| share * a + (1.0 - share) * b);
}

/// Replaces every item's elements, and those of the item at the same place from the end, by their blend with each other.
fn pair_up<T: Copy>(all: &mut [T], items: usize, blend: impl Fn(T, T) -> T) {
    let len = all.len() / items;
    for i in 0..items / 2 {
        let (front, back) = all.split_at_mut((items - 1 - i) * len);
        for (a, b) in front[i * len..][..len].iter_mut().zip(&mut back[..len]) {
            (*a, *b) = (blend(*a, *b), blend(*b, *a));
        }
    }
}

#[cfg(test)]
mod tests {
    use cspnet_vision::Filter;

    use super::*;

    const PLAIN: Augment = Augment {
        scale: [1.0, 1.0],
        ratio: [1.0, 1.0],
        hflip: 0.0,
        color_jitter: ColourJitter { brightness: 0.0, contrast: 0.0, saturation: 0.0 },
    };

    fn gradient(width: u32, height: u32) -> Photo {
        let pixel = |i: u32| [(i % width * 255 / width) as u8, (i / width * 255 / height) as u8, 100];
        Photo::new(width, height, (0..width * height).flat_map(pixel).collect()).unwrap()
    }

    fn input(resize: Resize) -> Preprocess {
        Preprocess { size: (24, 16), resize, filter: Filter::Bilinear, ..Preprocess::torchvision() }
    }

    #[test]
    fn a_view_that_does_not_vary_is_what_evaluation_sees() {
        let photo = gradient(40, 60);
        for preprocess in [input(Resize::ShorterSide(16)), input(Resize::Stretch)] {
            let view = PLAIN.view(&photo, &preprocess, 1, 2, 3).unwrap();
            assert_eq!(view, preprocess.apply(&photo).unwrap());
        }
    }

    #[test]
    fn views_differ_between_epochs_and_samples_and_come_again() {
        let varied =
            Augment { scale: [0.3, 1.0], ratio: [0.75, 4.0 / 3.0], hflip: 0.5, color_jitter: ColourJitter::of(0.4) };
        let (photo, preprocess) = (gradient(50, 70), input(Resize::ShorterSide(16)));
        let view = |epoch, sample| varied.view(&photo, &preprocess, 9, epoch, sample).unwrap();
        assert_eq!(view(1, 1), view(1, 1));
        assert_ne!(view(1, 1), view(2, 1));
        assert_ne!(view(1, 1), view(1, 2));
    }

    #[test]
    fn crops_stay_inside_and_have_the_stated_shares() {
        let augment = Augment { scale: [0.25, 0.5], ratio: [0.8, 1.25], ..PLAIN };
        for (w, h) in [(40, 60), (60, 40), (1, 1), (1, 100), (300, 2)] {
            let photo = gradient(w, h);
            for sample in 0..200 {
                let mut draw = Draw::new(0, 0, sample, Purpose::Crop);
                let a = augment.area(&photo, &input(Resize::Stretch), &mut draw);
                assert!(a.width >= 1 && a.height >= 1 && a.x + a.width <= w && a.y + a.height <= h, "{a:?}");
                let share = f64::from(a.width * a.height) / f64::from(w * h);
                assert!(w.min(h) < 40 || (0.2..0.55).contains(&share), "{share}");
            }
        }
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

    #[test]
    fn mixing_keeps_sums_and_pairs_opposite_places() {
        let (mut pixels, mut targets) = (vec![10, 20, 0, 200, 100, 60], vec![1.0, 0.0, 0.5, 0.5, 0.0, 1.0]);
        mix(&mut pixels, &mut targets, 3, 0.4, Draw::new(1, 0, 0, Purpose::Mix));
        let share = targets[0];
        assert!(share > 0.0 && share < 1.0 && (targets[0] + targets[1] - 1.0).abs() < 1e-6);
        let blend = |a: f32, b: f32| (share * a + (1.0 - share) * b).round() as u8;
        assert_eq!(pixels, [blend(10.0, 100.0), blend(20.0, 60.0), 0, 200, blend(100.0, 10.0), blend(60.0, 20.0)]);
        let before = pixels.clone();
        mix(&mut pixels, &mut targets, 3, 0.0, Draw::new(1, 0, 0, Purpose::Mix));
        assert_eq!(pixels, before);
    }
}
