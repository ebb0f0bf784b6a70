//! `Preprocess`: how a photo becomes the input of one network. It is stored in model files, so its fields are a format.

use serde::{Deserialize, Serialize};

use crate::geometry::{Span, centre_crop, scaled_side, shorter_side};
use crate::resize::check_size;
use crate::{Filter, Photo, VisionError, resize};

/// Mean of the red, green and blue channel over ImageNet, on a scale of 0..=1.
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of the red, green and blue channel over ImageNet, on a scale of 0..=1.
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];
/// The longest side of an input.
const MAX_SIDE: u32 = 8192;

/// How the photo is brought to the input's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The shorter side becomes so many pixels, the aspect ratio stays; then the centre is cropped to the input's size.
    /// Where the resized photo is smaller than the input, black pixels surround it.
    ShorterSide(u32),
    /// Both sides become those of the input; the aspect ratio is lost.
    Stretch,
}

/// How a photo becomes the input of a network.
///
/// The fields may hold anything a file can say; [`validate`](Self::validate) tells whether they make sense, and
/// [`apply`](Self::apply) refuses those that do not.
///
/// ```
/// use cspnet_vision::{DecodeOptions, Filter, Preprocess};
///
/// let preprocess = Preprocess::imagenet(256, 0.887, Filter::Bicubic)?;
/// let json = serde_json::to_string(&preprocess).unwrap();
/// assert_eq!(
///     json,
///     r#"{"size":[256,256],"resize":{"shorter_side":288},"filter":"bicubic","mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225],"background":[255,255,255]}"#
/// );
/// assert_eq!(serde_json::from_str::<Preprocess>(&json).unwrap(), preprocess);
///
/// // What lies behind transparent pixels belongs to the network, and is said when decoding.
/// let options = DecodeOptions { background: preprocess.background, ..DecodeOptions::default() };
/// # Ok::<(), cspnet_vision::VisionError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Height and width of the network's input, each in 1..=8192.
    pub size: (u32, u32),
    /// How the photo is brought to that size.
    pub resize: Resize,
    /// The filter of resizing.
    pub filter: Filter,
    /// What the network's graph subtracts from each of the three channels, on a scale of 0..=1.
    pub mean: [f32; 3],
    /// By what the network's graph divides each of the three channels, on a scale of 0..=1; positive.
    pub std: [f32; 3],
    /// RGB colour behind transparent pixels, for [`DecodeOptions::background`](crate::DecodeOptions::background).
    pub background: [u8; 3],
}

impl Preprocess {
    /// timm's evaluation on ImageNet: shorter side `floor(size / crop_pct)`, centre crop to `size` x `size`.
    ///
    /// # Errors
    /// [`VisionError::Preprocess`] if `crop_pct` is not in 0..=1 or a size leaves 1..=8192.
    ///
    /// ```
    /// use cspnet_vision::{Filter, Preprocess, Resize};
    ///
    /// let preprocess = Preprocess::imagenet(224, 0.95, Filter::Bicubic)?;
    /// assert_eq!(preprocess.resize, Resize::ShorterSide(235));
    /// # Ok::<(), cspnet_vision::VisionError>(())
    /// ```
    pub fn imagenet(size: u32, crop_pct: f64, filter: Filter) -> Result<Self, VisionError> {
        if !(crop_pct > 0.0 && crop_pct <= 1.0) {
            return Err(invalid("crop_pct", crop_pct, "above 0 and at most 1"));
        }
        let preprocess = Self {
            size: (size, size),
            resize: Resize::ShorterSide(scaled_side(size, crop_pct)),
            filter,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
            background: [255; 3],
        };
        preprocess.validate().map(|()| preprocess)
    }

    /// torchvision's classic evaluation on ImageNet: shorter side 256, bilinear, centre crop to 224 x 224.
    ///
    /// ```
    /// use cspnet_vision::{Photo, Preprocess};
    ///
    /// let photo = Photo::new(500, 375, vec![128; 3 * 500 * 375])?;
    /// let input = Preprocess::torchvision().apply(&photo)?;
    /// assert_eq!(input.pixels().len(), 224 * 224 * 3);
    /// # Ok::<(), cspnet_vision::VisionError>(())
    /// ```
    pub fn torchvision() -> Self {
        Self {
            size: (224, 224),
            resize: Resize::ShorterSide(256),
            filter: Filter::Bilinear,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
            background: [255; 3],
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`VisionError::Preprocess`] naming the first field that makes no sense.
    pub fn validate(&self) -> Result<(), VisionError> {
        let (height, width) = self.size;
        let side = |field, side| {
            if (1..=MAX_SIDE).contains(&side) {
                return Ok(());
            }
            Err(invalid(field, side, "in 1..=8192"))
        };
        side("size", height)?;
        side("size", width)?;
        if let Resize::ShorterSide(shorter) = self.resize {
            side("resize.shorter_side", shorter)?;
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return Err(invalid("mean", mean, "finite"));
        }
        if let Some(std) = self.std.iter().find(|&&std| !std.is_finite() || std <= 0.0) {
            return Err(invalid("std", std, "finite and above 0"));
        }
        Ok(())
    }

    /// Brings `photo` to the input's size: RGB pixels `[height, width, 3]`, not yet normalised.
    ///
    /// # Errors
    /// Those of [`validate`](Self::validate), and [`VisionError::ResizeTooLarge`] for photos so much longer than wide, or
    /// wider than long, that keeping their aspect ratio is out of reach.
    pub fn apply(&self, photo: &Photo) -> Result<Photo, VisionError> {
        self.validate()?;
        let (height, width) = self.size;
        match self.resize {
            Resize::Stretch => resize(photo, width, height, self.filter),
            Resize::ShorterSide(shorter) => {
                let (w, h) = shorter_side(photo.width(), photo.height(), shorter);
                check_size(photo, w, h)?;
                let resized = resize(photo, w as u32, h as u32, self.filter)?;
                crop_centre(&resized, width, height)
            }
        }
    }
}

/// Cuts the centre `width` x `height` out of `photo`, with black where it is smaller.
fn crop_centre(photo: &Photo, width: u32, height: u32) -> Result<Photo, VisionError> {
    let (columns, rows) = (centre_crop(photo.width(), width), centre_crop(photo.height(), height));
    let bytes = |pixels: u32| pixels as usize * 3;
    let mut cropped = vec![0; bytes(width) * height as usize];
    let Span { from, to, len } = rows;
    let source = photo.pixels().chunks_exact(bytes(photo.width())).skip(from as usize);
    let target = cropped.chunks_exact_mut(bytes(width)).skip(to as usize);
    for (source, target) in source.zip(target).take(len as usize) {
        let Span { from, to, len } = columns;
        target[bytes(to)..][..bytes(len)].copy_from_slice(&source[bytes(from)..][..bytes(len)]);
    }
    Photo::new(width, height, cropped)
}

fn invalid(field: &'static str, value: impl ToString, rule: &'static str) -> VisionError {
    VisionError::Preprocess { field, value: value.to_string(), rule }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(width: u32, height: u32) -> Photo {
        let pixels = (0..width * height).flat_map(|i| [i as u8 + 1; 3]).collect();
        Photo::new(width, height, pixels).unwrap()
    }

    fn grey(photo: &Photo) -> Vec<u8> {
        photo.pixels().chunks_exact(3).map(|pixel| pixel[0]).collect()
    }

    fn shorter_side(shorter: u32, size: (u32, u32)) -> Preprocess {
        Preprocess { size, resize: Resize::ShorterSide(shorter), ..Preprocess::torchvision() }
    }

    #[test]
    fn crops_the_centre() {
        let input = shorter_side(3, (1, 2)).apply(&numbered(4, 3)).unwrap();
        assert_eq!(grey(&input), [6, 7]);
    }

    #[test]
    fn pads_with_black_on_both_axes() {
        let input = shorter_side(2, (4, 5)).apply(&numbered(2, 2)).unwrap();
        #[rustfmt::skip]
        assert_eq!(grey(&input), [
            0, 0, 0, 0, 0,
            0, 1, 2, 0, 0,
            0, 3, 4, 0, 0,
            0, 0, 0, 0, 0,
        ]);
    }

    #[test]
    fn crops_one_axis_and_pads_the_other() {
        let input = shorter_side(2, (1, 4)).apply(&numbered(2, 4)).unwrap();
        assert_eq!(grey(&input), [0, 5, 6, 0]);
    }

    #[test]
    fn stretches() {
        let stretch = Preprocess { size: (1, 4), resize: Resize::Stretch, ..Preprocess::torchvision() };
        let photo = Photo::new(2, 1, vec![0, 0, 0, 255, 255, 255]).unwrap();
        assert_eq!(grey(&stretch.apply(&photo).unwrap()), [0, 64, 191, 255]);
    }

    #[test]
    fn extreme_shapes_are_refused_without_allocating() {
        let line = Photo::new(1, 10_000_000, vec![0; 30_000_000]).unwrap();
        let error = Preprocess::torchvision().apply(&line).unwrap_err();
        assert!(matches!(error, VisionError::ResizeTooLarge { height: 2_560_000_000, .. }));
        assert!(resize(&line, 224, 224, Filter::Bilinear).is_err());
        assert!(resize(&line, 0, 224, Filter::Bilinear).is_err());
        assert!(resize(&line, 1, 0, Filter::Bilinear).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        let good = Preprocess::torchvision;
        let bad = [
            Preprocess { size: (0, 224), ..good() },
            Preprocess { size: (224, 8193), ..good() },
            Preprocess { resize: Resize::ShorterSide(0), ..good() },
            Preprocess { mean: [0.0, f32::NAN, 0.0], ..good() },
            Preprocess { std: [1.0, 1.0, 0.0], ..good() },
            Preprocess { std: [1.0, -1.0, 1.0], ..good() },
            Preprocess { std: [f32::INFINITY, 1.0, 1.0], ..good() },
        ];
        for preprocess in bad {
            assert!(preprocess.validate().is_err(), "{preprocess:?}");
            assert!(preprocess.apply(&numbered(1, 1)).is_err());
        }
        for crop_pct in [0.0, -0.5, 1.5, f64::NAN, 1e-9] {
            assert!(Preprocess::imagenet(224, crop_pct, Filter::Bicubic).is_err());
        }
        assert!(good().validate().is_ok());
    }

    #[test]
    fn unknown_fields_are_refused() {
        let mut json = serde_json::to_value(Preprocess::torchvision()).unwrap();
        assert!(serde_json::from_value::<Preprocess>(json.clone()).is_ok());
        json["crop"] = 1.into();
        assert!(serde_json::from_value::<Preprocess>(json).is_err());
    }
}
