//! Cutting a part out of a photo, and its mirror image: what varied views for training are made of.

use crate::{Photo, VisionError};

/// A part of a photo, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Photo {
    /// The pixels of `area`.
    ///
    /// # Errors
    /// [`VisionError::Shape`] if the area is empty or reaches beyond the photo.
    ///
    /// ```
    /// use cspnet_vision::{Area, Photo};
    ///
    /// let photo = Photo::new(2, 1, vec![255, 0, 0, 0, 0, 255])?;
    /// let right = photo.cut(Area { x: 1, y: 0, width: 1, height: 1 })?;
    /// assert_eq!(right.pixels(), [0, 0, 255]);
    /// assert!(photo.cut(Area { x: 1, y: 0, width: 2, height: 1 }).is_err());
    /// # Ok::<(), cspnet_vision::VisionError>(())
    /// ```
    pub fn cut(&self, area: Area) -> Result<Self, VisionError> {
        let Area { x, y, width, height } = area;
        let ends_within = |from: u32, len: u32, side: u32| from.checked_add(len).is_some_and(|end| end <= side);
        if !ends_within(x, width, self.width()) || !ends_within(y, height, self.height()) {
            return Err(VisionError::Shape { width, height, bytes: self.pixels().len() });
        }
        let bytes = |pixels: u32| pixels as usize * 3;
        let rows = self.pixels().chunks_exact(bytes(self.width())).skip(y as usize).take(height as usize);
        let pixels = rows.flat_map(|row| &row[bytes(x)..][..bytes(width)]).copied().collect();
        Self::new(width, height, pixels)
    }

    /// The photo with left and right exchanged.
    pub fn mirrored(mut self) -> Self {
        let row = self.width() as usize;
        let pixels: &mut [[u8; 3]] = self.pixels_mut().as_chunks_mut().0;
        pixels.chunks_exact_mut(row).for_each(<[[u8; 3]]>::reverse);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(width: u32, height: u32) -> Photo {
        Photo::new(width, height, (0..width * height).flat_map(|i| [i as u8, 0, 255 - i as u8]).collect()).unwrap()
    }

    fn red(photo: &Photo) -> Vec<u8> {
        photo.pixels().chunks_exact(3).map(|pixel| pixel[0]).collect()
    }

    #[test]
    fn an_area_is_cut_out_row_by_row() {
        let cut = numbered(4, 3).cut(Area { x: 1, y: 1, width: 2, height: 2 }).unwrap();
        assert_eq!((cut.width(), cut.height(), red(&cut)), (2, 2, vec![5, 6, 9, 10]));
        for (x, y, width, height) in [(3, 0, 2, 1), (0, 3, 1, 1), (0, 0, 0, 1), (u32::MAX, 0, 2, 1)] {
            assert!(numbered(4, 3).cut(Area { x, y, width, height }).is_err());
        }
    }

    #[test]
    fn a_mirror_exchanges_pixels_and_not_colours() {
        let mirrored = numbered(3, 2).mirrored();
        assert_eq!(red(&mirrored), [2, 1, 0, 5, 4, 3]);
        assert_eq!(mirrored.pixels()[..3], [2, 0, 253]);
        assert_eq!(mirrored.mirrored(), numbered(3, 2));
    }
}
