//! Photos in class folders or Parquet files: found, checked, split, varied, and loaded in order.
//!
//! [`DataSet::open`] looks at every file once before anything else is done with it: it finds the classes and matches them
//! between splits by name, reads and decodes each photo, names what cannot be used, and finds photos that are in two splits.
//! [`Outline`] tells the classes without opening a photo. [`Ordered`] loads on threads of its own and delivers in order. Everything
//! random is a pure function of seed, epoch, sample and purpose ([`Draw`]), so what a photo looks like in some epoch depends neither on
//! threads nor on what came before.
//!
//! Not here: training.
#![forbid(unsafe_code)]

mod augment;
mod check;
mod classes;
mod dataset;
mod draw;
mod duplicates;
mod error;
mod folders;
mod ordered;
mod outline;
mod packed;
mod parquet;
mod places;
mod sample;
mod set_aside;
mod split;

pub use augment::{Augment, ColourJitter, CropPadding, EraseMode, Mix, RandAugment, RandAugmentError, RandomErasing};
pub use classes::class_name;
pub use dataset::{DataOptions, DataSet};
pub use draw::{Draw, Purpose};
pub use duplicates::Duplicate;
pub use error::DataError;
pub use ordered::Ordered;
pub use outline::Outline;
pub use sample::{Sample, Skipped};
pub use split::Split;
