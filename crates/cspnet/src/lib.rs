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
//! Model files come from `cspnet import` or `cspnet new`, or are made here. This one tells bright photos from dark ones by their
//! mean:
//!
//! ```
//! use cspnet::formats::{Manifest, ModelFile};
//! use cspnet::graph::{Builder, Weights};
//! use cspnet::vision::{Filter, Preprocess};
//! use cspnet::{Model, Photo};
//!
//! let mut b = Builder::new();
//! let photo = b.input(3);
//! let mean = b.global_avg_pool("pool", photo);
//! let answer = b.linear("classifier", mean, 2);
//! let graph = b.finish(answer)?;
//! let weights = Weights::new(&graph, vec![vec![-1.0, -1.0, -1.0, 1.0, 1.0, 1.0], vec![0.0, 0.0]])?;
//! let mut manifest = Manifest::new("brightness", graph);
//! manifest.labels = vec!["dark".into(), "bright".into()];
//! manifest.preprocess = Some(Preprocess::imagenet(32, 1.0, Filter::Bilinear)?);
//!
//! let path = std::env::temp_dir().join(format!("brightness-{}.safetensors", std::process::id()));
//! ModelFile { manifest, weights }.write(&path)?;
//! let model = Model::open(&path)?;
//! std::fs::remove_file(&path)?;
//!
//! let snow = Photo::new(64, 48, vec![250; 64 * 48 * 3])?;
//! let classes = model.classify(&snow)?;
//! assert_eq!(classes[0].label, "bright");
//! assert!(classes[0].probability > 0.99);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! For many photos, [`Model::session`] gives a [`Session`] with threads and memory of its own that is used again and again. A
//! [`Runner`] runs networks that are no classifiers of photos, with any inputs and outputs.
//! What the model is made of is in the crates below: networks in [`zoo`], the graph in [`graph`], plans in [`engine`], model
//! files in [`formats`], photos in [`vision`]. This crate only binds them. Not here: training.
#![forbid(unsafe_code)]

mod class;
mod error;
mod model;
mod options;
mod published;
mod runner;
mod session;
mod views;

pub use cspnet_engine as engine;
pub use cspnet_formats as formats;
pub use cspnet_graph as graph;
pub use cspnet_vision as vision;
pub use cspnet_zoo as zoo;

pub use class::{Class, softmax};
pub use cspnet_vision::Photo;
pub use error::Error;
pub use model::Model;
pub use options::{ModelOptions, TuneCache};
pub use published::{Assume, published_preprocess};
pub use runner::{Feed, Photos, Runner};
pub use session::Session;
pub use views::Views;
