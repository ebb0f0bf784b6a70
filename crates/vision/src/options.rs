//! What decoding a photo may cost, and the checks that hold it to that.

use crate::VisionError;

/// What [`decode`](crate::decode()) may spend on a photo, and what lies behind transparent pixels.
///
/// ```
/// use cspnet_vision::DecodeOptions;
///
/// let careful = DecodeOptions { max_pixels: 20_000_000, ..DecodeOptions::default() };
/// assert_eq!(careful.background, [255, 255, 255]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeOptions {
    /// RGB colour on which pixels with alpha are laid; white by default, the colour of a page.
    pub background: [u8; 3],
    /// The longest file, in bytes; 256 MiB by default.
    pub max_bytes: u64,
    /// The most pixels a header may declare; 178,956,970 by default, as in Pillow.
    pub max_pixels: u64,
    /// The most memory for pixels at any one time, in bytes; 1 GiB by default.
    ///
    /// Counted are the decoded samples, their RGB copy, and what the decoders hold in proportion to the picture. Small
    /// tables and the file itself come on top.
    pub max_alloc: u64,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { background: [255; 3], max_bytes: 256 << 20, max_pixels: 178_956_970, max_alloc: 1 << 30 }
    }
}

/// The limits, as the decoders ask for them.
#[derive(Clone, Copy)]
pub(crate) struct Budget<'a>(pub &'a DecodeOptions);

impl Budget<'_> {
    /// Checks the length of a file.
    pub(crate) fn bytes(self, bytes: u64) -> Result<(), VisionError> {
        let limit = self.0.max_bytes;
        if bytes > limit {
            return Err(VisionError::TooManyBytes { bytes, limit });
        }
        if bytes == 0 {
            return Err(VisionError::Empty);
        }
        Ok(())
    }

    /// The number of pixels of a picture that may be decoded.
    pub(crate) fn pixels(self, format: &'static str, width: u32, height: u32) -> Result<u64, VisionError> {
        let (limit, pixels) = (self.0.max_pixels, u64::from(width) * u64::from(height));
        if pixels > limit {
            return Err(VisionError::TooManyPixels { width, height, limit });
        }
        if pixels == 0 {
            return Err(VisionError::damaged(format, "it declares no pixels"));
        }
        Ok(pixels)
    }

    /// Checks the bytes that decoding holds at its peak.
    pub(crate) fn memory(self, bytes: u64) -> Result<(), VisionError> {
        let limit = self.0.max_alloc;
        if bytes > limit || usize::try_from(bytes).is_err() {
            return Err(VisionError::TooMuchMemory { limit });
        }
        Ok(())
    }
}
