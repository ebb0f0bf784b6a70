//! Recognises what is on a photo, on an ordinary CPU.
//!
//! A model file carries its network, labels and preprocessing, so opening one is all there is to set up:
//!
//! ```no_run
//! let model = cspnet::Model::open("clothing.safetensors")?;
//! for class in model.classify_file("photo.jpg")?.iter().take(3) {
//!     println!("{:>5.1} %  {}", 100.0 * class.probability, class.label);
//! }
//! # Ok::<(), cspnet::Error>(())
//! ```
//!
//! For many photos, [`Model::session`] gives a [`Session`] with threads and memory of its own that is used again and again.
//! What the model is made of is in the crates below: networks in [`zoo`], the graph in [`graph`], plans in [`engine`], model
//! files in [`formats`], photos in [`vision`]. This crate only binds them. Not here: training.
#![forbid(unsafe_code)]

mod class;
mod error;
mod model;
mod published;
mod session;

pub use cspnet_engine as engine;
pub use cspnet_formats as formats;
pub use cspnet_graph as graph;
pub use cspnet_vision as vision;
pub use cspnet_zoo as zoo;

pub use class::Class;
pub use cspnet_vision::Photo;
pub use error::Error;
pub use model::Model;
pub use published::{Assume, published_preprocess};
pub use session::Session;
