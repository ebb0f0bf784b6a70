//! Resizing with antialiasing, as Pillow's `Image.resize` does it. No geometry of preprocessing; that is in `geometry`.
//!
//! Pillow convolves the rows first, rounds to 8 bits, then convolves the columns. The order matters where the bicubic
//! filter overshoots, because rounding clips; so the two passes are asked for one after the other here.
//!
//! The arithmetic is in integers (16-bit weights made in double precision, 32-bit sums), so that every instruction set
//! gives the same bits; `tests/resize.rs` holds it against a scalar version.

use std::borrow::Cow;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use crate::geometry::MAX_RESIZED_PIXELS;
use crate::{Photo, VisionError};

/// The filter of [`resize`]. When shrinking it is widened by the ratio of the sizes (antialiasing).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// A triangle of radius 1: Pillow's and torchvision's `BILINEAR`.
    Bilinear,
    /// Keys' cubic with a = -1/2 and radius 2: Pillow's and torchvision's `BICUBIC`.
    Bicubic,
}

impl From<Filter> for FilterType {
    fn from(filter: Filter) -> Self {
        match filter {
            Filter::Bilinear => Self::Bilinear,
            Filter::Bicubic => Self::CatmullRom,
        }
    }
}

/// Resizes `photo` to `width` x `height`, ignoring its aspect ratio.
///
/// Each channel lies within 1 of what Pillow's `Image.resize((width, height), filter)` gives.
///
/// # Errors
/// [`VisionError::ResizeTooLarge`] if a side is 0, or the result or the picture between the two passes
/// (`width` x height of the photo) has more than [`MAX_RESIZED_PIXELS`] pixels.
///
/// ```
/// use cspnet_vision::{Filter, Photo, resize};
///
/// let photo = Photo::new(2, 1, vec![0, 0, 0, 255, 255, 255])?;
/// let wider = resize(&photo, 4, 1, Filter::Bilinear)?;
/// assert_eq!(wider.pixels(), [0, 0, 0, 64, 64, 64, 191, 191, 191, 255, 255, 255]);
/// # Ok::<(), cspnet_vision::VisionError>(())
/// ```
pub fn resize(photo: &Photo, width: u32, height: u32, filter: Filter) -> Result<Photo, VisionError> {
    check_size(photo, u64::from(width), u64::from(height))?;
    let columns_done = pass(Cow::Borrowed(photo), width, photo.height(), filter);
    Ok(pass(columns_done, width, height, filter).into_owned())
}

/// Checks that resizing `photo` to `width` x `height` stays within [`MAX_RESIZED_PIXELS`] at every step.
pub(crate) fn check_size(photo: &Photo, width: u64, height: u64) -> Result<(), VisionError> {
    let pixels = width.saturating_mul(height.max(u64::from(photo.height())));
    if width > 0 && height > 0 && pixels <= MAX_RESIZED_PIXELS {
        return Ok(());
    }
    Err(VisionError::ResizeTooLarge {
        from_width: photo.width(),
        from_height: photo.height(),
        width,
        height,
        pixels: if height == 0 { 0 } else { pixels },
        limit: MAX_RESIZED_PIXELS,
    })
}

/// Resizes along the one axis, if any, whose size changes.
fn pass(photo: Cow<'_, Photo>, width: u32, height: u32, filter: Filter) -> Cow<'_, Photo> {
    if (width, height) == (photo.width(), photo.height()) {
        return photo;
    }
    let source = ImageRef::new(photo.width(), photo.height(), photo.pixels(), PixelType::U8x3)
        .expect("a photo holds 3 * width * height bytes");
    let mut resized = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter.into()));
    Resizer::new()
        .resize(&source, &mut resized, &options)
        .expect("both pictures have the same pixel type and no side of 0");
    let resized = Photo::new(width, height, resized.into_vec());
    Cow::Owned(resized.expect("a resized picture holds 3 * width * height bytes"))
}
