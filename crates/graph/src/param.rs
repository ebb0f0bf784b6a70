//! A network's parameters as names, shapes and roles; their numbers are [`crate::Weights`].

use serde::{Deserialize, Serialize};

/// Place of a parameter in [`crate::Graph::params`].
pub type ParamId = usize;

/// What a parameter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Weight of a convolution `[out, in / groups, kh, kw]` or of a fully connected layer `[out, in]`.
    Weight,
    /// Bias `[out]`.
    Bias,
    /// Scale (gamma) of a batch normalisation `[c]`.
    NormScale,
    /// Shift (beta) of a batch normalisation `[c]`.
    NormShift,
    /// Running mean of a batch normalisation `[c]`; not trained.
    RunningMean,
    /// Running variance of a batch normalisation `[c]`; not trained.
    RunningVariance,
    /// Slope of an activation below zero `[c]`.
    Slope,
    /// A constant value `[c, h, w]`; not trained.
    Constant,
}

impl Role {
    /// Whether gradients change it.
    pub fn is_trained(self) -> bool {
        !matches!(self, Self::RunningMean | Self::RunningVariance | Self::Constant)
    }

    /// The last part of the published names of such parameters.
    pub fn leaf(self) -> &'static str {
        match self {
            Self::Weight | Self::NormScale | Self::Slope => "weight",
            Self::Bias | Self::NormShift => "bias",
            Self::RunningMean => "running_mean",
            Self::RunningVariance => "running_var",
            Self::Constant => "value",
        }
    }
}

/// How a parameter begins when a network is trained from nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "distribution", rename_all = "snake_case", deny_unknown_fields)]
pub enum Init {
    /// The same number everywhere.
    Constant {
        /// The number.
        value: f32,
    },
    /// Normal around zero.
    Normal {
        /// Standard deviation.
        std: f32,
    },
    /// Uniform in `-bound..bound`.
    Uniform {
        /// Largest magnitude.
        bound: f32,
    },
}

/// A parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// Its published name, e.g. `features.denseblock1.denselayer2.conv1.weight`.
    pub name: String,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
    /// How it begins.
    pub init: Init,
}

impl Param {
    /// Numbers it holds.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
