//! A photo moved by some pixels within its frame: what varied views for training, and several views for one answer, are made of.

use serde::{Deserialize, Serialize};

use crate::Photo;

/// What is seen beyond a photo's edge; the names are torchvision's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaddingMode {
    /// Black.
    Constant,
    /// The photo's mirror image, without its outermost pixels.
    Reflect,
}

impl Photo {
    /// The photo of the same size whose pixel `(x, y)` is `(x + dx, y + dy)` of this one.
    ///
    /// ```
    /// use cspnet_vision::{PaddingMode, Photo};
    ///
    /// let photo = Photo::new(2, 1, vec![255, 0, 0, 0, 0, 255])?;
    /// assert_eq!(photo.shifted(1, 0, PaddingMode::Constant).pixels(), [0, 0, 255, 0, 0, 0]);
    /// # Ok::<(), cspnet_vision::VisionError>(())
    /// ```
    #[must_use]
    pub fn shifted(&self, dx: i64, dy: i64, beyond: PaddingMode) -> Self {
        let (width, height) = (i64::from(self.width()), i64::from(self.height()));
        let from: &[[u8; 3]] = self.pixels().as_chunks().0;
        let mut shifted = self.clone();
        let to: &mut [[u8; 3]] = shifted.pixels_mut().as_chunks_mut().0;
        for (i, pixel) in to.iter_mut().enumerate() {
            let (x, y) = (i as i64 % width, i as i64 / width);
            let place = beyond.place(x.saturating_add(dx), width).zip(beyond.place(y.saturating_add(dy), height));
            *pixel = place.map_or([0; 3], |(x, y)| from[(y * width + x) as usize]);
        }
        shifted
    }
}

impl PaddingMode {
    /// The place within `0..len` that is seen at a place perhaps beyond it, if any is.
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

    fn row(values: &[u8]) -> Photo {
        Photo::new(values.len() as u32, 1, values.iter().flat_map(|&v| [v; 3]).collect()).unwrap()
    }

    #[test]
    fn beyond_the_edge_it_is_black_or_mirrored() {
        let view = row(&[1, 2, 3, 4]);
        let shifted = |mode, dx| view.shifted(dx, 0, mode);
        assert_eq!(shifted(PaddingMode::Constant, -2), row(&[0, 0, 1, 2]));
        assert_eq!(shifted(PaddingMode::Constant, 1), row(&[2, 3, 4, 0]));
        assert_eq!(shifted(PaddingMode::Constant, i64::MAX), row(&[0; 4]));
        assert_eq!(shifted(PaddingMode::Reflect, -2), row(&[3, 2, 1, 2]));
        assert_eq!(shifted(PaddingMode::Reflect, 3), row(&[4, 3, 2, 1]));
        assert_eq!(shifted(PaddingMode::Reflect, 7), row(&[2, 3, 4, 3]));
        let one = Photo::new(1, 1, vec![7; 3]).unwrap();
        assert_eq!(one.shifted(2, -1, PaddingMode::Reflect), one);
    }
}
