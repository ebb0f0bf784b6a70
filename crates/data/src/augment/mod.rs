//! Varied views of a photo for training, in timm's order: a crop, a mirror image, RandAugment or colour jitter, random erasing.
//! Mixing several photos is [`Mix`].

mod affine;
mod colour;
mod enhance;
mod erase;
mod mix;
mod rand_augment;
mod shift;

use cspnet_vision::{Area, Photo, Preprocess, Resize, VisionError, resize};
use serde::{Deserialize, Serialize};

use crate::draw::{Draw, Purpose};
pub use colour::ColourJitter;
pub use erase::{EraseMode, RandomErasing};
pub use mix::Mix;
pub use rand_augment::{RandAugment, RandAugmentError};
pub use shift::CropPadding;

/// How views of photos vary.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Smallest and largest share of the photo's area that a random resized crop shows (Szegedy et al., arXiv:1409.4842).
    pub scale: [f64; 2],
    /// Smallest and largest stretch of a crop: its width to height, over what an undistorted view would have.
    pub ratio: [f64; 2],
    /// Instead of a random resized crop, all of the photo, shifted: its undistorted middle at the input's size, with a margin around
    /// it, of which a part of the input's size is seen (He et al., arXiv:1512.03385, section 4.2).
    pub crop_padding: Option<CropPadding>,
    /// Probability of a mirror image.
    pub hflip: f64,
    /// Whether chance decides in the first epoch only, and a photo is mirrored in every other one from then on: two epochs in turn
    /// show both images of every photo (Jordan, arXiv:2404.00498, section 3.6).
    #[serde(default)]
    pub alternate_flip: bool,
    /// How far colours change.
    pub color_jitter: ColourJitter,
    /// Random operations on the whole view.
    pub auto_augment: Option<RandAugment>,
    /// Random rectangles that are painted over.
    pub erase: RandomErasing,
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
        let mut of_crop = draw(Purpose::Crop);
        let area = match self.crop_padding {
            Some(_) => centre(photo, undistorted(photo, preprocess)),
            None => self.area(photo, preprocess, &mut of_crop),
        };
        let (height, width) = preprocess.size;
        let mut view = resize(&photo.cut(area)?, width, height, preprocess.filter)?;
        if let Some(padding) = self.crop_padding {
            view = padding.shifted(&view, &mut of_crop);
        }
        if self.mirrors(seed, epoch, sample) {
            view = view.mirrored();
        }
        if let Some(operations) = &self.auto_augment {
            view = operations.apply(view, preprocess.mean, &mut draw(Purpose::RandAugment));
        }
        self.color_jitter.apply(&mut view, &mut draw(Purpose::Colour));
        self.erase.apply(&mut view, preprocess.mean, preprocess.std, &mut draw(Purpose::Erase));
        Ok(view)
    }

    /// Whether training sees the mirror image of `sample` in `epoch`.
    pub fn mirrors(&self, seed: u64, epoch: u64, sample: u64) -> bool {
        let by_chance = |epoch| Draw::new(seed, epoch, sample, Purpose::Flip).chance(self.hflip);
        if self.alternate_flip { by_chance(0) != (epoch % 2 == 1) } else { by_chance(epoch) }
    }

    /// The part that a random resized crop shows (torchvision's `RandomResizedCrop.get_params`).
    fn area(&self, photo: &Photo, preprocess: &Preprocess, draw: &mut Draw) -> Area {
        let (w, h) = (f64::from(photo.width()), f64::from(photo.height()));
        let undistorted = undistorted(photo, preprocess);
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

/// Width to height of the part of a photo that the input shows undistorted, or as evaluation distorts it.
fn undistorted(photo: &Photo, preprocess: &Preprocess) -> f64 {
    match preprocess.resize {
        Resize::ShorterSide(_) => f64::from(preprocess.size.1) / f64::from(preprocess.size.0),
        Resize::Stretch => f64::from(photo.width()) / f64::from(photo.height()),
    }
}

/// The largest area of a shape in the middle of a photo.
fn centre(photo: &Photo, ratio: f64) -> Area {
    let (w, h) = (f64::from(photo.width()), f64::from(photo.height()));
    let (width, height) = if w / h > ratio { (h * ratio, h) } else { (w, w / ratio) };
    let (width, height) = (width.round().clamp(1.0, w) as u32, height.round().clamp(1.0, h) as u32);
    Area { x: (photo.width() - width) / 2, y: (photo.height() - height) / 2, width, height }
}

#[cfg(test)]
mod tests {
    use cspnet_vision::{Filter, PaddingMode};

    use super::*;

    const PLAIN: Augment = Augment {
        scale: [1.0, 1.0],
        ratio: [1.0, 1.0],
        crop_padding: None,
        hflip: 0.0,
        alternate_flip: false,
        color_jitter: ColourJitter { brightness: 0.0, contrast: 0.0, saturation: 0.0 },
        auto_augment: None,
        erase: RandomErasing { probability: 0.0, mode: EraseMode::Const, count: 1 },
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
        let crop = Augment { scale: [0.3, 1.0], ratio: [0.75, 4.0 / 3.0], ..PLAIN };
        let all = [
            crop,
            Augment { crop_padding: Some(CropPadding { pixels: 3, mode: PaddingMode::Reflect }), ..PLAIN },
            Augment { color_jitter: ColourJitter::of(0.4), ..PLAIN },
            Augment { auto_augment: Some("rand-m9-n4-p0.99-mstd0.5".parse().unwrap()), ..PLAIN },
            Augment { erase: RandomErasing { probability: 1.0, mode: EraseMode::Pixel, count: 1 }, ..PLAIN },
        ];
        let (photo, preprocess) = (gradient(50, 70), input(Resize::ShorterSide(16)));
        for varied in all {
            let view = |epoch, sample| varied.view(&photo, &preprocess, 9, epoch, sample).unwrap();
            assert_eq!(view(1, 1), view(1, 1));
            assert_ne!(view(1, 1), view(2, 1), "{varied:?}");
            assert_ne!(view(1, 1), view(1, 2), "{varied:?}");
            assert_eq!((view(1, 1).height(), view(1, 1).width()), preprocess.size);
        }
    }

    #[test]
    fn alternate_flips_show_both_images_in_two_epochs() {
        let augment = Augment { hflip: 0.5, alternate_flip: true, ..PLAIN };
        let mirrored = |epoch| -> Vec<bool> { (0..100).map(|sample| augment.mirrors(3, epoch, sample)).collect() };
        let first = mirrored(0);
        assert!((20..80).contains(&first.iter().filter(|&&m| m).count()));
        assert_eq!(mirrored(1), first.iter().map(|m| !m).collect::<Vec<bool>>());
        assert_eq!(mirrored(2), first);
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
}
