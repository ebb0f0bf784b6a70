//! A view shifted by some pixels: a random crop of the view with a margin around it.

use cspnet_vision::Photo;
use serde::{Deserialize, Serialize};

use crate::draw::Draw;

/// The margin of which a random part is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CropPadding {
    /// Pixels on every side.
    pub pixels: u32,
    /// What is in the margin.
    pub mode: PaddingMode,
}

/// What is in a margin; the names are torchvision's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaddingMode {
    /// Black.
    Constant,
    /// The view's mirror image, without its outermost pixels.
    Reflect,
}

impl CropPadding {
    pub(super) fn shifted(&self, view: &Photo, draw: &mut Draw) -> Photo {
        let most = i64::from(self.pixels);
        let mut offset = || draw.below(2 * self.pixels as usize + 1) as i64 - most;
        let (dx, dy) = (offset(), offset());
        self.at(view, dx, dy)
    }

    /// The view whose pixel `(x, y)` is `(x + dx, y + dy)` of `view`.
    fn at(&self, view: &Photo, dx: i64, dy: i64) -> Photo {
        let (width, height) = (i64::from(view.width()), i64::from(view.height()));
        let from: &[[u8; 3]] = view.pixels().as_chunks().0;
        let mut shifted = view.clone();
        let to: &mut [[u8; 3]] = shifted.pixels_mut().as_chunks_mut().0;
        for (i, pixel) in to.iter_mut().enumerate() {
            let (x, y) = (i as i64 % width + dx, i as i64 / width + dy);
            let place = self.mode.place(x, width).zip(self.mode.place(y, height));
            *pixel = place.map_or([0; 3], |(x, y)| from[(y * width + x) as usize]);
        }
        shifted
    }
}

impl PaddingMode {
    /// The place within `0..len` that a place in the margin shows, if it shows one.
    fn place(self, at: i64, len: i64) -> Option<i64> {
        match self {
            Self::Constant => (0..len).contains(&at).then_some(at),
            Self::Reflect if len == 1 => Some(0),
            Self::Reflect => {
                let there_and_back = at.rem_euclid(2 * len - 2);
                Some(there_and_back.min(2 * len - 2 - there_and_back))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Purpose;

    fn row(values: &[u8]) -> Photo {
        Photo::new(values.len() as u32, 1, values.iter().flat_map(|&v| [v; 3]).collect()).unwrap()
    }

    #[test]
    fn margins_are_black_or_mirrored() {
        let view = row(&[1, 2, 3, 4]);
        let shifted = |mode, dx| CropPadding { pixels: 9, mode }.at(&view, dx, 0);
        assert_eq!(shifted(PaddingMode::Constant, -2), row(&[0, 0, 1, 2]));
        assert_eq!(shifted(PaddingMode::Constant, 1), row(&[2, 3, 4, 0]));
        assert_eq!(shifted(PaddingMode::Reflect, -2), row(&[3, 2, 1, 2]));
        assert_eq!(shifted(PaddingMode::Reflect, 3), row(&[4, 3, 2, 1]));
        assert_eq!(shifted(PaddingMode::Reflect, 7), row(&[2, 3, 4, 3]));
        let one = Photo::new(1, 1, vec![7; 3]).unwrap();
        assert_eq!(CropPadding { pixels: 2, mode: PaddingMode::Reflect }.at(&one, 2, -1), one);
    }

    #[test]
    fn every_shift_comes_and_none_beyond() {
        let view = row(&[9, 8, 7, 6, 5]);
        let padding = CropPadding { pixels: 2, mode: PaddingMode::Constant };
        let mut seen = std::collections::BTreeSet::new();
        for sample in 0..300 {
            seen.insert(padding.shifted(&view, &mut Draw::new(0, 0, sample, Purpose::Crop)).into_pixels());
        }
        // Five ways along, and across two of five that show the only row.
        assert_eq!(seen.len(), 5 + 1);
    }
}
