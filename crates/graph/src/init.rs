//! How parameters begin: the published initialisations, and the reference rule that any language can repeat.
//!
//! All are pure functions of a seed and the parameter's name, so a network begins the same wherever and in whatever order
//! its parameters are filled.

use crate::param::{Init, Param, Role};

/// A layer that has weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Convolution.
    Conv,
    /// Fully connected.
    Linear,
}

/// The initialisation a family of networks was published with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Family {
    /// PyTorch's layers as they come: weight and bias uniform within `1 / sqrt(fan_in)`.
    #[default]
    PyTorch,
    /// DenseNet in torchvision and timm: convolutions normal with `sqrt(2 / fan_in)` (He et al., arXiv:1502.01852), linear
    /// weight uniform within `1 / sqrt(fan_in)`, linear bias zero.
    DenseNet,
    /// CSPNet and Darknet in timm: convolutions normal with `sqrt(2 / fan_out)`, linear weight normal with 0.01, bias zero.
    CspNet,
    /// ResNet in torchvision and timm: convolutions normal with `sqrt(2 / fan_out)`, linear layer as PyTorch's.
    ResNet,
    /// PeleeNet: uniform with the variance `2 / (fan_in + fan_out)` (Glorot and Bengio 2010), biases zero.
    Xavier,
    /// Darknet's own: uniform within `sqrt(2 / fan_in)`, biases zero.
    Darknet,
}

impl Family {
    /// How a parameter of a layer begins, given the shape of the layer's weight.
    pub fn init(self, layer: Layer, role: Role, weight: &[usize]) -> Init {
        let zero = Init::Constant { value: 0.0 };
        match role {
            Role::NormScale | Role::RunningVariance => return Init::Constant { value: 1.0 },
            Role::NormShift | Role::RunningMean | Role::Constant => return zero,
            // As PyTorch's and the paper's (arXiv:1502.01852).
            Role::Slope => return Init::Constant { value: 0.25 },
            Role::Weight | Role::Bias => {}
        }
        let taps: usize = weight.iter().skip(2).product();
        let fan_out = (weight[0] * taps) as f32;
        let fan_in = (weight[1] * taps) as f32;
        let from_pytorch = Init::Uniform { bound: 1.0 / fan_in.sqrt() };
        match (self, layer, role) {
            (Self::PyTorch, ..) | (Self::ResNet, Layer::Linear, _) => from_pytorch,
            (_, _, Role::Bias) => zero,
            (Self::DenseNet, Layer::Linear, _) => from_pytorch,
            (Self::DenseNet, Layer::Conv, _) => Init::Normal { std: (2.0 / fan_in).sqrt() },
            (Self::CspNet | Self::ResNet, Layer::Conv, _) => Init::Normal { std: (2.0 / fan_out).sqrt() },
            (Self::CspNet, Layer::Linear, _) => Init::Normal { std: 0.01 },
            (Self::Darknet, ..) => Init::Uniform { bound: (2.0 / fan_in).sqrt() },
            (Self::Xavier, ..) => Init::Uniform { bound: (6.0 / (fan_in + fan_out)).sqrt() },
        }
    }
}

/// A parameter's numbers as its [`Init`] asks, for a seed.
pub fn published(param: &Param, seed: u64) -> Vec<f32> {
    let stream = fnv1a(&param.name) ^ splitmix64(seed);
    let unit = |i: usize| unit(stream, i);
    (0..param.len())
        .map(|i| match param.init {
            Init::Constant { value } => value,
            Init::Uniform { bound } => ((2.0 * unit(i) - 1.0) * f64::from(bound)) as f32,
            Init::Normal { std } => (normal(unit(2 * i), unit(2 * i + 1)) * f64::from(std)) as f32,
        })
        .collect()
}

/// A parameter's numbers by the rule of the reference values in `tests/golden`, which depends on its name alone.
pub fn reference(param: &Param) -> Vec<f32> {
    let fan_in: usize = param.shape.iter().skip(1).product();
    let scale = (3.0 / fan_in as f64).sqrt();
    let number = |u: f64| match param.role {
        Role::Weight => (2.0 * u - 1.0) * scale,
        Role::NormScale | Role::RunningVariance | Role::Constant => 0.5 + u,
        Role::Slope => 0.5 * u,
        Role::Bias | Role::NormShift | Role::RunningMean => 0.2 * (u - 0.5),
    };
    let stream = fnv1a(&param.name);
    (0..param.len()).map(|i| number(unit(stream, i)) as f32).collect()
}

/// The reference rule's picture: `len` numbers in `-1..1`.
pub fn reference_input(len: usize) -> Vec<f32> {
    let stream = fnv1a("input");
    (0..len).map(|i| (2.0 * unit(stream, i) - 1.0) as f32).collect()
}

/// 64-bit FNV-1a (Fowler, Noll, Vo) of a name.
fn fnv1a(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// The mixing function of SplitMix64 (Steele, Lea, Flood 2014).
fn splitmix64(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The `i`-th number of a stream, in `[0, 1)`, with 24 bits.
fn unit(stream: u64, i: usize) -> f64 {
    (splitmix64(stream.wrapping_add(i as u64)) >> 40) as f64 / f64::from(1 << 24)
}

/// A standard normal number of two uniform ones (Box and Muller 1958).
fn normal(u: f64, v: f64) -> f64 {
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(name: &str, shape: &[usize], role: Role, init: Init) -> Param {
        Param { name: name.into(), shape: shape.into(), role, init }
    }

    #[test]
    fn the_reference_rule_gives_the_numbers_of_its_definition() {
        assert_eq!(fnv1a("a"), 0xAF63_DC4C_8601_EC8C);
        assert_eq!(splitmix64(0), 0xE220_A839_7B1D_CDAF);
        let x = reference_input(4);
        assert!(x.iter().all(|v| (-1.0..1.0).contains(v)));
    }

    #[test]
    fn normal_numbers_have_the_stated_deviation_and_depend_on_the_seed() {
        let p = param("conv.weight", &[64, 64, 3, 3], Role::Weight, Init::Normal { std: 0.05 });
        let (a, b) = (published(&p, 1), published(&p, 2));
        let mean = a.iter().sum::<f32>() / a.len() as f32;
        let std = (a.iter().map(|v| v * v).sum::<f32>() / a.len() as f32).sqrt();
        assert!(mean.abs() < 1e-3 && (std - 0.05).abs() < 5e-4, "{mean} {std}");
        assert_eq!(a, published(&p, 1));
        assert_ne!(a, b);
    }

    #[test]
    fn families_use_the_published_fans() {
        let shape = [8, 4, 3, 3];
        let std = |f: Family| match f.init(Layer::Conv, Role::Weight, &shape) {
            Init::Normal { std } => std,
            other => panic!("{other:?}"),
        };
        assert_eq!(std(Family::DenseNet), (2.0_f32 / 36.0).sqrt());
        assert_eq!(std(Family::CspNet), (2.0_f32 / 72.0).sqrt());
        assert_eq!(Family::CspNet.init(Layer::Linear, Role::Bias, &[10, 64]), Init::Constant { value: 0.0 });
        assert_eq!(Family::PyTorch.init(Layer::Linear, Role::Bias, &[10, 64]), Init::Uniform { bound: 0.125 });
    }
}
