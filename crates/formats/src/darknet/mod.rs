//! Networks of Darknet: a `.cfg` text with the layers and a `.weights` file with the numbers, read and written.
//!
//! What is meant are the Darknets of Redmon and of Bochkovskiy (AlexeyAB), which agree in what is read here but for what
//! [`Written::beyond_redmon`] tells, where the latter's is meant, and for a trifle (`dialect.rs`). A network becomes a graph like
//! any other. [`original`] gives the texts of the classification networks of the CSPNet paper and of those that they are compared
//! with, as Darknet has them, which is not as timm has them. Not here: detection.
//!
//! ```
//! use cspnet_formats::darknet::{self, Network};
//!
//! let text = darknet::original("csresnext50").unwrap();
//! let network = Network::parse(&text)?;
//! assert_eq!(network.graph.param_count(), 20_557_480);
//! assert_eq!(network.size, [256, 256]);
//! # Ok::<(), cspnet_formats::FormatError>(())
//! ```

mod cfg;
mod dialect;
mod export;
mod graph;
mod layers;
mod originals;
#[cfg(test)]
mod tests;
mod weights;
mod writer;

use std::path::Path;

use cspnet_graph::{Graph, ParamId, Weights};

use crate::error::FormatError;
use crate::tensors::Bytes;

pub use export::{Written, write};
pub use originals::{ORIGINALS, original};
pub use weights::Header;

/// The network of a `.cfg` file.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Its layers; it takes pixels divided by 255, and its output are the numbers before the softmax.
    pub graph: Graph,
    /// Rows and columns of the picture it was written for. At others, poolings and shortcuts may be other than Darknet's.
    pub size: [usize; 2],
    /// In which the parameters lie in a `.weights` file.
    order: Vec<ParamId>,
}

impl Network {
    /// What [`Network::size`] is called among the facts of a model.
    pub const SIZE_FACT: &str = "darknet_size";

    /// Reads a `.cfg` file.
    ///
    /// # Errors
    /// If it cannot be read, is no network of Darknet's, or has layers that are not supported: all of them are told.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let file = Bytes::open(path)?;
        let read = || {
            // One byte more than is read tells that there is more.
            let mut bytes = vec![0; file.len().min(cfg::MAX_LEN + 1)];
            file.read(0, &mut bytes)?;
            Self::parse(&String::from_utf8_lossy(&bytes))
        };
        read().map_err(|e| e.at(path))
    }

    /// Understands the text of a `.cfg` file.
    ///
    /// # Errors
    /// As [`Network::read`].
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let parsed = layers::parse(&cfg::sections(text)?)?;
        if !parsed.unsupported.is_empty() {
            return Err(FormatError::CfgUnsupported(parsed.unsupported.join("; ")));
        }
        let graph = graph::build(&parsed, dialect::eps(&dialect::beyond_redmon(&parsed)))?;
        graph.shapes(parsed.input)?;
        let order = graph::order(&graph);
        Ok(Self { graph, size: [parsed.input[1], parsed.input[2]], order })
    }

    /// The weights in a `.weights` file.
    ///
    /// # Errors
    /// If it cannot be read, or is not as long as that of this network, or holds a number that is not finite.
    pub fn read_weights(&self, path: impl AsRef<Path>) -> Result<(Weights, Header), FormatError> {
        weights::read(path.as_ref(), &self.graph, &self.order)
    }

    /// As [`Network::read_weights`], from the bytes of the file.
    ///
    /// # Errors
    /// As [`Network::read_weights`].
    pub fn read_weights_bytes(&self, bytes: &[u8]) -> Result<(Weights, Header), FormatError> {
        weights::read_bytes(&Bytes::Memory(bytes), &self.graph, &self.order)
    }
}
