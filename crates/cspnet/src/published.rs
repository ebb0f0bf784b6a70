//! How photos were prepared for networks of other libraries.

use cspnet_vision::{Filter, Preprocess, VisionError};
use cspnet_zoo::InputSpec;

/// Whose preprocessing a network was trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assume {
    /// timm's: the shorter side to `size / crop share`, with the network's own filter, mean and deviation.
    Timm,
    /// torchvision's: the shorter side to 256 for a crop of 224, bilinear, ImageNet's mean and deviation.
    Torchvision,
    /// That of torchvision's second weights of ResNets and ResNeXts, `IMAGENET1K_V2`: the shorter side to 232.
    TorchvisionV2,
}

impl Assume {
    /// The centre's share of a photo's shorter side, where it is the same for all networks of the library.
    pub fn crop_pct(self) -> Option<f64> {
        match self {
            Self::Timm => None,
            Self::Torchvision => Some(0.875),
            Self::TorchvisionV2 => Some(0.965),
        }
    }
}

/// The preprocessing of a published network for a size of photo, or for its own.
///
/// # Errors
/// If the size is none.
///
/// ```
/// use cspnet::vision::Resize;
/// use cspnet::{Assume, published_preprocess, zoo};
///
/// let input = zoo::entry("densenet121")?.input;
/// let preprocess = published_preprocess(&input, Assume::Torchvision, None)?;
/// assert_eq!((preprocess.size, preprocess.resize), ((224, 224), Resize::ShorterSide(256)));
/// let preprocess = published_preprocess(&input, Assume::TorchvisionV2, None)?;
/// assert_eq!(preprocess.resize, Resize::ShorterSide(232));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn published_preprocess(input: &InputSpec, assume: Assume, size: Option<u32>) -> Result<Preprocess, VisionError> {
    let bilinear = Filter::Bilinear;
    let Some(crop) = assume.crop_pct() else {
        let filter = if input.bicubic { Filter::Bicubic } else { bilinear };
        let preprocess = Preprocess::imagenet(size.unwrap_or(input.size as u32), input.crop_pct, filter)?;
        return Ok(Preprocess { mean: input.mean, std: input.std, ..preprocess });
    };
    Preprocess::imagenet(size.unwrap_or(224), crop, bilinear)
}
