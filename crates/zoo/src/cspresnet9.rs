//! CSPResNet-9 for CIFAR: wide and shallow, for training from scratch on a CPU within an hour.
//!
//! It is published nowhere. Its frame is that of the ResNet-9s of the DAWNBench records, as Keller Jordan has narrowed it
//! where pixels are many (arXiv:2404.00498): few wide 3x3 convolutions, each pooled before it is normalised. Its residual units
//! are made cross-stage-partial (Wang et al., arXiv:1911.11929, figure 3, fusion first): only the part of the channels that the
//! partial ratio leaves goes through them, which takes three quarters of their multiplications away at one half. Every stage
//! ends in squeeze and excitation (Hu et al., arXiv:1709.01507), which costs little time; docs/recipes.md tells what it brings.

use cspnet_graph::blocks::{Split, Transitions, Width, csp_stage, residual, squeeze_excite};
use cspnet_graph::init::Family;
use cspnet_graph::{Builder, Conv, Graph, Unary, Value, Window};

use crate::entry::{Entry, InputSpec};
use crate::error::ZooError;
use crate::knobs::{CHANNELS, CIFAR_CLASSES, GAMMA, Knob, Values};
use crate::spec::Spec;

const ACTIVATION: Unary = Unary::Silu;

/// Channels that the stages give, as multiples of the first one's.
const STAGES: [usize; 3] = [1, 4, 4];

/// By what the squeeze of squeeze and excitation divides a stage's channels.
const REDUCTION: usize = 8;

fn build(spec: &Spec) -> Result<Graph, ZooError> {
    let (width, units, gamma) = (spec.whole("width"), spec.whole("units"), spec.gamma(spec.whole("width"), true)?);
    let mut b = Builder::with_init(Family::CspNet);
    let x = b.input(spec.channels());
    // At the picture's own size a convolution is dearest.
    let mut x = unit(&mut b, "stem", x, Conv::new(width / 2, 3));
    for (i, multiple) in STAGES.into_iter().enumerate() {
        x = b.module(&format!("stages.{i}"), |b| stage(b, x, multiple * width, units, gamma));
    }
    let x = b.module("head", |b| {
        let x = b.global_avg_pool("global_pool", x);
        b.linear("fc", x, spec.classes())
    });
    Ok(b.finish(x)?)
}

/// Halves rows and columns, gives `out` channels, sends a part of them through residual units and weighs all by what they are.
fn stage(b: &mut Builder, x: Value, out: usize, units: usize, gamma: f64) -> Value {
    let x = pooled(b, "conv_down", x, out);
    let u = |b: &mut Builder, x, width| unit(b, "conv_transition", x, Conv::new(width, 1));
    let transitions = Transitions { part: None, merged: Some((Width::Same, &u)), part_first: false };
    let x = csp_stage(b, x, Split::Channels { gamma }, transitions, |b, x| {
        (0..units).fold(x, |x, i| b.module(&format!("blocks.{i}"), |b| residual_unit(b, x)))
    });
    squeeze_excite(b, "se", x, out.div_ceil(REDUCTION))
}

/// Two convolutions, added to what they read.
fn residual_unit(b: &mut Builder, x: Value) -> Value {
    let width = b.channels(x);
    residual(b, "add", x, |b, x| {
        let x = unit(b, "conv1", x, Conv::new(width, 3));
        unit(b, "conv2", x, Conv::new(width, 3))
    })
}

/// Convolution, BN, activation.
fn unit(b: &mut Builder, name: &str, x: Value, conv: Conv) -> Value {
    b.module(name, |b| {
        let x = b.conv("conv", x, conv);
        let x = b.batch_norm("bn", x);
        b.unary("act", x, ACTIVATION)
    })
}

/// Convolution, pooling, BN, activation: pooled first, so that the others have a quarter of the work.
fn pooled(b: &mut Builder, name: &str, x: Value, out: usize) -> Value {
    b.module(name, |b| {
        let x = b.conv("conv", x, Conv::new(out, 3));
        let x = b.max_pool("pool", x, Window::square(2, 2, 0));
        let x = b.batch_norm("bn", x);
        b.unary("act", x, ACTIVATION)
    })
}

const WIDTH: Knob = Knob {
    name: "width",
    values: Values::Whole { from: 2, to: 1024 },
    default: "64",
    example: "32",
    about: "channels of the first stage; the others have four times as many",
};

const UNITS: Knob = Knob {
    name: "units",
    values: Values::Whole { from: 1, to: 64 },
    default: "1",
    example: "2",
    about: "residual units of every stage",
};

pub(crate) const ENTRIES: &[Entry] = &[Entry {
    name: "cspresnet9",
    family: "cspresnet-cifar",
    about: "CSPResNet-9 for CIFAR, wide and shallow",
    paper: "arXiv:1911.11929",
    knobs: &[CIFAR_CLASSES, CHANNELS, WIDTH, UNITS, GAMMA],
    input: InputSpec::CIFAR,
    plan: build,
}];
