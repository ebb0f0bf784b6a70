//! Sizes and offsets of preprocessing, as pure functions of sizes, in the arithmetic of torchvision and timm.

/// The most pixels that resizing may hold at a time (Pillow's limit for decoding), about 512 MiB of RGB.
pub const MAX_RESIZED_PIXELS: u64 = 178_956_970;

/// Size `(width, height)` of a picture whose shorter side becomes `shorter`; the other is `int(shorter * long / short)`,
/// as in torchvision's `Resize(shorter)`. Meant for sides of at least 1.
///
/// ```
/// use cspnet_vision::geometry::shorter_side;
///
/// assert_eq!(shorter_side(640, 427, 256), (383, 256));
/// ```
pub fn shorter_side(width: u32, height: u32, shorter: u32) -> (u64, u64) {
    let (short, long) = (width.min(height).max(1), width.max(height));
    // The quotient's fraction is a multiple of 1 / short, so flooring it exactly agrees with Python's `int` of a double.
    let longer = u64::from(shorter) * u64::from(long) / u64::from(short);
    if width <= height { (u64::from(shorter), longer) } else { (longer, u64::from(shorter)) }
}

/// The shorter side before a centre crop to `size`, in timm: `floor(size / crop_pct)`. Meant for a `crop_pct` in 0..=1.
///
/// ```
/// use cspnet_vision::geometry::scaled_side;
///
/// assert_eq!((scaled_side(224, 0.875), scaled_side(256, 0.887)), (256, 288));
/// ```
pub fn scaled_side(size: u32, crop_pct: f64) -> u32 {
    (f64::from(size) / crop_pct).floor() as u32
}

/// Which part of a side a centre crop keeps, and where it lies in the crop; what it does not cover is padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First pixel taken from the picture.
    pub from: u32,
    /// Where it goes in the crop.
    pub to: u32,
    /// Pixels taken.
    pub len: u32,
}

/// The centre `crop` pixels of a side of `len`, as in torchvision's `CenterCrop`: the offset `(len - crop) / 2` is rounded,
/// ties to even. If the crop is longer, the side is padded, with the odd pixel of padding at the end.
///
/// ```
/// use cspnet_vision::geometry::{Span, centre_crop};
///
/// assert_eq!(centre_crop(257, 224), Span { from: 16, to: 0, len: 224 });
/// assert_eq!(centre_crop(3, 6), Span { from: 0, to: 1, len: 3 });
/// ```
pub fn centre_crop(len: u32, crop: u32) -> Span {
    if crop > len {
        let to = (crop - len) / 2;
        return Span { from: 0, to, len };
    }
    let (half, tie) = ((len - crop) / 2, (len - crop) % 2);
    Span { from: half + tie * (half % 2), to: 0, len: crop }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of torchvision 0.29, `_compute_resized_output_size`.
    #[test]
    fn shorter_side_as_in_torchvision() {
        let cases = [
            ((500, 375, 256), (341, 256)),
            ((375, 500, 256), (256, 341)),
            ((256, 342, 256), (256, 342)),
            ((640, 427, 256), (383, 256)),
            ((1, 1000, 256), (256, 256_000)),
            ((333, 333, 232), (232, 232)),
            ((4000, 3000, 288), (384, 288)),
            ((100, 33, 7), (21, 7)),
        ];
        for ((width, height, shorter), expected) in cases {
            assert_eq!(shorter_side(width, height, shorter), expected);
        }
    }

    /// Python's `int(size * long / short)` works in doubles; it never differs for sides that occur.
    #[test]
    fn flooring_agrees_with_doubles() {
        for short in 1..400_u32 {
            for long in (short..70_000).step_by(397) {
                for shorter in [1, 7, 224, 256, 8192] {
                    let double = f64::from(shorter) * f64::from(long) / f64::from(short);
                    assert_eq!(shorter_side(long, short, shorter).0, double as u64);
                }
            }
        }
    }

    /// `int(round((len - crop) / 2.0))` in Python, where halves go to the even neighbour.
    #[test]
    fn crop_offsets_round_halves_to_even() {
        let cases = [(224, 0), (225, 0), (226, 1), (227, 2), (228, 2), (229, 2), (231, 4), (341, 58)];
        for (len, from) in cases {
            let expected = Span { from, to: 0, len: 224 };
            assert_eq!(centre_crop(len, 224), expected, "{len}");
        }
        for len in 10..200 {
            let rounded = (f64::from(len - 10) / 2.0).round_ties_even();
            assert_eq!(f64::from(centre_crop(len, 10).from), rounded);
        }
    }

    #[test]
    fn a_crop_longer_than_the_side_is_padded() {
        for (len, to) in [(9, 0), (8, 1), (7, 1), (6, 2), (5, 2)] {
            assert_eq!(centre_crop(len, 10), Span { from: 0, to, len });
        }
    }

    #[test]
    fn scaled_sides_of_timm() {
        let cases = [(224, 0.875, 256), (256, 0.887, 288), (224, 0.95, 235), (224, 0.9, 248), (288, 1.0, 288)];
        for (size, crop_pct, expected) in cases {
            assert_eq!(scaled_side(size, crop_pct), expected);
        }
    }
}
