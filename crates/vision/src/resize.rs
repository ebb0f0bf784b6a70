//! Resizing with antialiasing, bit for bit as Pillow's `Image.resize` does it. No geometry of preprocessing; that is in
//! `geometry`.
//!
//! Each axis is a convolution with weights of 22 bits in 32-bit integers, rounded to 8 bits: first along the rows, then
//! along the columns. The order matters where the bicubic filter overshoots, because rounding clips. (Pillow 12 takes the
//! columns first in pictures a hundred times taller than wide, Pillow 13 in many tall ones. The order here is that of all
//! releases before, with which the published networks were trained.) Being integers, the sums are the same on every machine.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::geometry::MAX_RESIZED_PIXELS;
use crate::{Photo, VisionError};

/// Bits of a weight behind the point: 8 of 32 go to the pixel, 2 to overshoot and sign.
const PRECISION: u32 = 22;
/// One half, so that shifting rounds to the nearest.
const HALF: i32 = 1 << (PRECISION - 1);

/// The filter of [`resize`]. When shrinking it is widened by the ratio of the sizes (antialiasing).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// A triangle of radius 1: Pillow's and torchvision's `BILINEAR`.
    Bilinear,
    /// Keys' cubic with a = -1/2 and radius 2: Pillow's and torchvision's `BICUBIC`.
    Bicubic,
}

impl Filter {
    /// Distance from the centre beyond which the filter is 0, at scale 1.
    fn radius(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// The filter at a distance of `x >= 0` from its centre (Keys 1981 for the cubic).
    fn at(self, x: f64) -> f64 {
        match self {
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            _ => 0.0,
        }
    }
}

/// Resizes `photo` to `width` x `height`, ignoring its aspect ratio.
///
/// The pixels are those of `Image.resize((width, height), filter)` in Pillow up to 11.
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
    let mut resized = Cow::Borrowed(photo);
    if width != photo.width() {
        resized = Cow::Owned(convolve_rows(&resized, &windows(photo.width(), width, filter)));
    }
    if height != photo.height() {
        resized = Cow::Owned(convolve_columns(&resized, &windows(photo.height(), height, filter)));
    }
    Ok(resized.into_owned())
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

/// The pixels, and their weights in units of `2^-PRECISION`, that make up one pixel of the result along an axis.
struct Window {
    start: usize,
    weights: Vec<i32>,
}

/// The windows of all `to` pixels that an axis of `from` pixels becomes.
fn windows(from: u32, to: u32, filter: Filter) -> Vec<Window> {
    let scale = f64::from(from) / f64::from(to);
    let shrink = scale.max(1.0);
    let radius = filter.radius() * shrink;
    let window = |i| {
        let centre = (f64::from(i) + 0.5) * scale;
        // The pixels whose centres lie within the radius; a negative start saturates to 0.
        let start = (centre - radius + 0.5) as u32;
        let end = ((centre + radius + 0.5) as u32).min(from);
        let distance = |x| (f64::from(x) - centre + 0.5) * (1.0 / shrink);
        let exact: Vec<f64> = (start..end).map(|x| filter.at(distance(x).abs())).collect();
        let sum: f64 = exact.iter().sum();
        let rounded = |w: &f64| (w / sum * f64::from(1 << PRECISION)).round() as i32;
        Window { start: start as usize, weights: exact.iter().map(rounded).collect() }
    };
    (0..to).map(window).collect()
}

/// `sum + weight * sample`. The sum stays within 31 bits until an axis shrinks a million times, where weights of 22 bits
/// mean nothing any more; wrapping keeps even that defined.
fn add(sum: i32, weight: i32, sample: u8) -> i32 {
    sum.wrapping_add(weight.wrapping_mul(i32::from(sample)))
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

fn convolve_rows(photo: &Photo, windows: &[Window]) -> Photo {
    let rows = photo.pixels().chunks_exact(photo.width() as usize * 3);
    let mut pixels = Vec::with_capacity(rows.len() * windows.len() * 3);
    for row in rows {
        let row: &[[u8; 3]] = row.as_chunks().0;
        for Window { start, weights } in windows {
            let terms = weights.iter().zip(&row[*start..]);
            let sums = terms.fold([HALF; 3], |[r, g, b], (&w, pixel)| {
                [add(r, w, pixel[0]), add(g, w, pixel[1]), add(b, w, pixel[2])]
            });
            pixels.extend(sums.map(to_byte));
        }
    }
    Photo::new(windows.len() as u32, photo.height(), pixels).expect("each row has a pixel for each window")
}

fn convolve_columns(photo: &Photo, windows: &[Window]) -> Photo {
    let row_bytes = photo.width() as usize * 3;
    let mut pixels = Vec::with_capacity(windows.len() * row_bytes);
    let mut sums = vec![0; row_bytes];
    for Window { start, weights } in windows {
        sums.fill(HALF);
        let rows = photo.pixels().chunks_exact(row_bytes).skip(*start);
        for (&weight, row) in weights.iter().zip(rows) {
            for (sum, &sample) in sums.iter_mut().zip(row) {
                *sum = add(*sum, weight, sample);
            }
        }
        pixels.extend(sums.iter().map(|&sum| to_byte(sum)));
    }
    Photo::new(photo.width(), windows.len() as u32, pixels).expect("each window has a row")
}
