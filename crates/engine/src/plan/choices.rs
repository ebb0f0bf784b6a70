//! By which algorithm convolutions are computed, as a table that can be kept and given again.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::str::FromStr;

use cspnet_kernels::{ConvShape, Fusion, Planes, Residual, Winograd, WinogradTile};

/// How a convolution is computed that can be computed in several ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// As it is defined.
    Direct,
    /// By Winograd's method, in tiles of 2x2 outputs.
    Winograd2,
    /// By Winograd's method, in tiles of 4x4 outputs.
    Winograd4,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Winograd2, Self::Winograd4];

    /// The one that uses a tile.
    fn of(tile: Option<WinogradTile>) -> Self {
        match tile.map(WinogradTile::outputs) {
            None => Self::Direct,
            Some(2) => Self::Winograd2,
            Some(_) => Self::Winograd4,
        }
    }
}

impl Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Winograd2 => "winograd 2x2",
            Self::Winograd4 => "winograd 4x4",
        })
    }
}

/// A text that names no [`Algorithm`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no algorithm has this name")]
pub struct NoAlgorithm;

impl FromStr for Algorithm {
    type Err = NoAlgorithm;

    fn from_str(name: &str) -> Result<Self, NoAlgorithm> {
        Self::ALL.into_iter().find(|a| a.to_string() == name).ok_or(NoAlgorithm)
    }
}

/// The algorithm of every convolution that has several. Equal ones share a name, which says all that their speed depends on: such
/// as `3x3 stride 1 padding 1, 16 -> 16 blocks at 32 x 32, Relu`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices(BTreeMap<String, Algorithm>);

impl Choices {
    /// The algorithm of the convolutions of this name.
    pub fn get(&self, name: &str) -> Option<Algorithm> {
        self.0.get(name).copied()
    }

    /// All names with their algorithms.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Algorithm)> {
        self.0.iter().map(|(name, &algorithm)| (name.as_str(), algorithm))
    }
}

impl FromIterator<(String, Algorithm)> for Choices {
    fn from_iter<T: IntoIterator<Item = (String, Algorithm)>>(choices: T) -> Self {
        Self(choices.into_iter().collect())
    }
}

/// A convolution that can be computed in several ways.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub name: String,
    /// The fastest by the model of the cost.
    pub by_model: Algorithm,
}

impl Layer {
    /// A convolution, if there is anything to choose.
    pub(super) fn of(shape: &ConvShape, input: &Planes, output: &Planes, fusion: &Fusion) -> Option<Self> {
        Winograd::tiles_for(shape, input, output, fusion)?;
        let [stride, _] = shape.window.stride;
        let [rows, columns] = shape.window.padding;
        let [from, to] = [input, output].map(|planes| planes.blocks().len());
        let residual = match fusion.residual {
            Residual::None => "",
            Residual::BeforeActivation(_) => ", added to before",
            Residual::AfterActivation(_) => ", added to after",
        };
        let name = format!(
            "3x3 stride {stride} padding {rows} {columns}, {from} -> {to} blocks at {} x {}, {:?}{residual}",
            output.height(),
            output.width(),
            fusion.activation,
        );
        Some(Self { name, by_model: Algorithm::of(Winograd::tile_for(shape, input, output, fusion)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_algorithms_are_read_again() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
        assert_eq!("winograd 6x6".parse::<Algorithm>(), Err(NoAlgorithm));
    }
}
