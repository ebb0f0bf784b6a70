//! Photos in, network pixels out: bytes of a file -> upright RGB -> resized and cropped RGB.
//!
//! This crate decodes photos ([`decode`], [`decode_file`]), resizes them as Pillow does ([`resize`]) and brings them to
//! the size a network was trained with ([`Preprocess`]). It knows no networks: subtracting the mean and dividing by the
//! standard deviation are an operation of the network's graph, and [`Preprocess`] merely carries the two.
//!
//! ```
//! use cspnet_vision::{DecodeOptions, Filter, Preprocess, decode};
//!
//! // A picture of one row and two pixels, red and blue, in the BMP format.
//! let mut bytes = b"BM\x3e\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x02\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
//! bytes.extend([0; 24]);
//! bytes.extend([0, 0, 255, 255, 0, 0, 0, 0]);
//!
//! let photo = decode(&bytes, &DecodeOptions::default())?;
//! assert_eq!((photo.width(), photo.height()), (2, 1));
//! assert_eq!(photo.pixels(), [255, 0, 0, 0, 0, 255]);
//!
//! let input = Preprocess::imagenet(224, 0.875, Filter::Bicubic)?.apply(&photo)?;
//! assert_eq!((input.width(), input.height()), (224, 224));
//! # Ok::<(), cspnet_vision::VisionError>(())
//! ```
#![forbid(unsafe_code)]

mod colour;
mod cut;
mod decode;
mod error;
pub mod geometry;
mod jpeg;
mod options;
mod orient;
mod photo;
mod png;
mod preprocess;
mod resize;
mod shift;
mod tiff;
mod webp;

pub use cut::Area;
pub use decode::{decode, decode_file, is_called_a_photo, read_file};
pub use error::VisionError;
pub use options::DecodeOptions;
pub use photo::Photo;
pub use preprocess::{Preprocess, Resize};
pub use resize::{Filter, resize};
pub use shift::PaddingMode;
