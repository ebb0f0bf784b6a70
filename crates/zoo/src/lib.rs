//! Networks by name.
//!
//! [`build`] turns a specification such as `cspdensenet121:gamma=0.25,fusion=last` into a [`cspnet_graph::Graph`] whose
//! parameters have the names, shapes and order of the published library (timm, where it has the network), so that published
//! weights fit without translation. [`models`] lists what there is and which knobs each network has.
//!
//! Not here: trained weights and their files, and running a network.
//!
//! ```
//! let graph = cspnet_zoo::build("densenet_bc:depth=100,growth=12")?;
//! assert_eq!(graph.param_count(), 769_162);
//! # Ok::<(), cspnet_zoo::ZooError>(())
//! ```
#![forbid(unsafe_code)]

mod cspnet;
mod cspresnet9;
mod densenet;
mod entry;
mod error;
mod knobs;
mod parse;
mod peleenet;
mod registry;
mod resnet;
mod spec;

pub use entry::{Entry, InputSpec};
pub use error::ZooError;
pub use knobs::{Knob, Values};
pub use parse::{build, entry};
pub use registry::models;
pub use spec::Spec;
