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
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn published_preprocess(input: &InputSpec, assume: Assume, size: Option<u32>) -> Result<Preprocess, VisionError> {
    let (own, crop, filter) = match assume {
        Assume::Timm => {
            (input.size as u32, input.crop_pct, if input.bicubic { Filter::Bicubic } else { Filter::Bilinear })
        }
        Assume::Torchvision => (224, 0.875, Filter::Bilinear),
    };
    let preprocess = Preprocess::imagenet(size.unwrap_or(own), crop, filter)?;
    Ok(match assume {
        Assume::Timm => Preprocess { mean: input.mean, std: input.std, ..preprocess },
        Assume::Torchvision => preprocess,
    })
}
