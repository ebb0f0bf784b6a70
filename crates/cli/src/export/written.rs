//! What an export has written before anybody sees it. Not here: how it is checked.

use std::path::Path;

use cspnet::formats::atomic::Pending;
use cspnet::graph::Weights;

use super::engine::Pictures;

/// What has been written and has no names yet.
pub struct Written {
    /// In the order in which they get their names: the last is the one that was asked for.
    pub files: Vec<Pending>,
    /// What it is, in a line.
    pub said: String,
    /// How photos are brought to the network that is compared.
    pub pictures: Pictures,
    /// The weights as they were rounded, if they were.
    pub rounded: Option<Weights>,
}

impl Written {
    /// The file that was asked for.
    pub fn file(&self) -> &Path {
        self.files.last().expect("something was written").path()
    }
}
