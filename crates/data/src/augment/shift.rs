//! A view shifted by some pixels: a random crop of the view with a margin around it.

use cspnet_vision::{PaddingMode, Photo};
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

impl CropPadding {
    pub(super) fn shifted(&self, view: &Photo, draw: &mut Draw) -> Photo {
        let most = i64::from(self.pixels);
        let mut offset = || draw.below(2 * self.pixels as usize + 1) as i64 - most;
        let (dx, dy) = (offset(), offset());
        view.shifted(dx, dy, self.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Purpose;

    #[test]
    fn every_shift_comes_and_none_beyond() {
        let view = Photo::new(5, 1, [9, 8, 7, 6, 5].iter().flat_map(|&v| [v; 3]).collect()).unwrap();
        let padding = CropPadding { pixels: 2, mode: PaddingMode::Constant };
        let mut seen = std::collections::BTreeSet::new();
        for sample in 0..300 {
            seen.insert(padding.shifted(&view, &mut Draw::new(0, 0, sample, Purpose::Crop)).into_pixels());
        }
        // Five ways along, and across two of five that show the only row.
        assert_eq!(seen.len(), 5 + 1);
    }
}
