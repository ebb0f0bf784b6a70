//! The two Darknets: Redmon's, the first, and Bochkovskiy's (AlexeyAB), which grew out of it and has more layers.
//!
//! What both compute alike but for a trifle is computed as Redmon's does on a processor, for it is what the first knows; a network
//! that needs the second is computed as by that. Not here: what the layers do ([`super::layers`]).

use cspnet_graph::Unary;

use super::layers::{Kind, Parsed};

/// What Bochkovskiy's adds to the variance in a normalisation.
const EPS: f64 = 1e-5;

/// Redmon's adds 1e-6 to the deviation instead. About a deviation of one half that is this much in the variance; between a third and
/// one, what is given agrees to two millionths. A smaller number would come nearer where deviations are small, but then channels that
/// hardly vary would disturb training.
const REDMONS_EPS: f64 = 1e-6;

/// What of a network Bochkovskiy's Darknet has, and Redmon's has not or computes otherwise, each once.
pub(super) fn beyond_redmon(parsed: &Parsed) -> Vec<&'static str> {
    let mut beyond: Vec<&str> = parsed.layers.iter().flat_map(|layer| of_layer(&layer.kind)).flatten().collect();
    beyond.sort_unstable();
    beyond.dedup();
    beyond
}

/// What a network with these peculiarities adds to the variance in its normalisations.
pub(super) fn eps(beyond_redmon: &[&str]) -> f64 {
    if beyond_redmon.is_empty() { REDMONS_EPS } else { EPS }
}

/// What Redmon's lacks of a layer, and of its activation, which it takes for a ReLU where it does not know it.
fn of_layer(kind: &Kind) -> [Option<&'static str>; 2] {
    let (layer, activation) = match kind {
        Kind::Convolutional { window, activation, .. } => {
            // Redmon's takes every pixel there, whatever the stride.
            let is_skipping = window.kernel == [1, 1] && window.stride != [1, 1];
            let is_dilated = window.dilation != [1, 1];
            let lacking = is_skipping.then_some("1x1 convolutions with a stride");
            (lacking.or(is_dilated.then_some("dilation")), *activation)
        }
        Kind::Connected { activation, .. } | Kind::Shortcut { activation, .. } => (None, *activation),
        Kind::Activation { function } => (None, *function),
        // Its numbers lie in another order in the `.weights` file.
        Kind::BatchNorm => (Some("[batchnorm]"), None),
        Kind::LocalAvgPool(_) => (Some("[local_avgpool]"), None),
        Kind::Route { groups, .. } => ((*groups > 1).then_some("grouped routes"), None),
        Kind::MaxPool(_)
        | Kind::AvgPool
        | Kind::Upsample { .. }
        | Kind::Dropout { .. }
        | Kind::Softmax
        | Kind::Cost => (None, None),
    };
    let function = match activation {
        Some(Unary::Mish) => Some("mish"),
        Some(Unary::Silu) => Some("swish"),
        Some(Unary::Relu6) => Some("relu6"),
        _ => None,
    };
    [layer, function]
}
