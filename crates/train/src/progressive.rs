//! Progressive resizing: early epochs see photos at fewer pixels, which cost less, and the last ones all of them.
//!
//! Named and scheduled as in MosaicML's Composer, whose sizes rise evenly up to the epochs that fine-tune at the full size; the idea
//! is fastai's (DAWNBench 2018), and EfficientNetV2's (Tan and Le, arXiv:2104.00298, section 4). Not here: views of photos, which are
//! made at the full size and then made smaller ([`crate::batches`]).

use serde::{Deserialize, Serialize};

/// Sizes are multiples of so many pixels, since networks halve them several times.
const INCREMENT: u32 = 8;

/// Photos at fewer pixels in early epochs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgressiveResizing {
    /// The first epoch's height and width, over those of the last.
    pub initial_scale: f64,
    /// Share of the epochs, at the end, that see all pixels.
    pub finetune_fraction: f64,
}

impl ProgressiveResizing {
    /// Height and width after a share of the epochs, of photos that have `size` in the end.
    pub fn size_at(&self, share: f64, size: (u32, u32)) -> (u32, u32) {
        let rising = 1.0 - self.finetune_fraction;
        if share >= rising {
            return size;
        }
        let scale = self.initial_scale + (1.0 - self.initial_scale) * share / rising;
        let scaled = |full: u32| {
            let pixels = (f64::from(full) * scale) as u32;
            (pixels / INCREMENT * INCREMENT).max(INCREMENT).min(full)
        };
        (scaled(size.0), scaled(size.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_rise_to_the_full_one() {
        let progressive = ProgressiveResizing { initial_scale: 0.5, finetune_fraction: 0.4 };
        let at = |share| progressive.size_at(share, (32, 48));
        assert_eq!(at(0.0), (16, 24));
        assert_eq!(at(0.29), (16, 32));
        assert_eq!(at(0.31), (24, 32));
        assert_eq!(at(0.59), (24, 40));
        assert_eq!([at(0.6), at(1.0)], [(32, 48); 2]);
        assert_eq!(progressive.size_at(0.0, (6, 12)), (6, 8));
    }
}
