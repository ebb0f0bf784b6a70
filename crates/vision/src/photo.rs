//! A decoded photo: upright RGB, 8 bits a channel, rows from top to bottom.

use crate::VisionError;

/// An upright RGB picture with at least one pixel.
///
/// The pixels lie interleaved as `[height, width, 3]`, so that pixel `(x, y)` starts at byte `3 * (y * width + x)`.
#[derive(Clone, PartialEq, Eq)]
pub struct Photo {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Photo {
    /// Takes RGB pixels `[height, width, 3]` as a photo.
    ///
    /// # Errors
    /// [`VisionError::Shape`] if a side is 0 or `pixels` does not hold `3 * width * height` bytes.
    ///
    /// ```
    /// use cspnet_vision::Photo;
    ///
    /// let photo = Photo::new(2, 1, vec![255, 0, 0, 0, 0, 255])?;
    /// assert_eq!(photo.pixels().len(), 6);
    /// assert!(Photo::new(2, 2, vec![0; 6]).is_err());
    /// # Ok::<(), cspnet_vision::VisionError>(())
    /// ```
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, VisionError> {
        let bytes = u64::from(width) * u64::from(height);
        if bytes == 0 || bytes.checked_mul(3) != Some(pixels.len() as u64) {
            return Err(VisionError::Shape { width, height, bytes: pixels.len() });
        }
        Ok(Self { width, height, pixels })
    }

    /// Pixels in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// RGB bytes, `[height, width, 3]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// RGB bytes, `[height, width, 3]`, to change.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// How bright every pixel is, `[height, width]`: `(19595 r + 38470 g + 7471 b) / 65536`, rounded, the luma of ITU-R BT.601 as
    /// Pillow computes it. Grey stays as it is.
    ///
    /// ```
    /// use cspnet_vision::Photo;
    ///
    /// let photo = Photo::new(3, 1, vec![255, 0, 0, 0, 255, 0, 9, 9, 9])?;
    /// assert_eq!(photo.grey(), [76, 150, 9]);
    /// # Ok::<(), cspnet_vision::VisionError>(())
    /// ```
    pub fn grey(&self) -> Vec<u8> {
        let luma = |pixel: &[u8]| {
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
            ((19_595 * r + 38_470 * g + 7_471 * b + 32_768) >> 16) as u8
        };
        self.pixels.chunks_exact(3).map(luma).collect()
    }

    /// Gives up the RGB bytes, `[height, width, 3]`.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}

/// Names the size only: a failing assertion shall not print millions of bytes.
impl std::fmt::Debug for Photo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Photo({} x {})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_whole_pictures() {
        assert!(Photo::new(1, 1, vec![1, 2, 3]).is_ok());
        for (width, height, bytes) in [(0, 0, 0), (0, 7, 0), (1, 1, 2), (1, 1, 4), (2, 3, 6)] {
            assert!(Photo::new(width, height, vec![0; bytes]).is_err());
        }
        // 3 * width * height is 2^64 too large here and must not wrap around.
        assert!(Photo::new(u32::MAX, u32::MAX, vec![0; 3]).is_err());
    }
}
