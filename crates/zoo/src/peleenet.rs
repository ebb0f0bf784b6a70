//! PeleeNet (Wang, Li and Ling, arXiv:1804.06882) and CSPPeleeNet (Wang et al., arXiv:1911.11929, table 1).
//!
//! CSPPeleeNet's code was never published; its layers are those that reproduce the operation counts the paper prints.

use cspnet_graph::blocks::{Split, Transitions, Width, csp_stage, dense_block};
use cspnet_graph::init::Family;
use cspnet_graph::{Builder, Conv, Graph, Unary, Value, Window};

use crate::entry::{Entry, InputSpec};
use crate::error::ZooError;
use crate::knobs::{CHANNELS, CLASSES, GAMMA, Knob, Values};
use crate::spec::Spec;

/// Channels that each of the two ways of a dense layer adds.
const HALF_GROWTH: usize = 16;

/// Width of the 1x1 convolutions in the layers of every stage.
const BOTTLENECKS: [usize; 4] = [16, 32, 64, 64];

const HALVE: Window = Window::square(2, 2, 0);

fn peleenet(spec: &Spec) -> Result<Graph, ZooError> {
    let (channels, classes) = (spec.channels(), spec.classes());
    network(channels, classes, |b, x| {
        let mut x = b.module("stemblock", |b| {
            let (pooled, convolved) = two_branch_stem(b, x);
            let x = b.concat("concat", &[pooled, convolved]);
            unit(b, "stem3", x, Conv::new(32, 1))
        });
        for (i, layers, bottleneck) in stages([3, 4, 8, 6]) {
            x = b.module(&format!("denseblock{i}"), |b| two_way_block(b, x, layers, bottleneck));
            x = same_width(b, &format!("transition{i}"), x);
            x = if i < 4 { b.avg_pool(&format!("transition{i}_pool"), x, HALVE) } else { x };
        }
        x
    })
}

/// With `with_transitions` ("both"), a transition follows every stage's merge; without ("last") only the last stage's, and
/// the stem lacks its convolution on the pooled branch.
fn csppeleenet(spec: &Spec) -> Result<Graph, ZooError> {
    let (channels, classes) = (spec.channels(), spec.classes());
    // The first stage has 64 channels but its own gamma; the second has 128.
    let gamma = spec.gamma(128, false)?;
    let with_transitions = spec.word("fusion") == "both";
    network(channels, classes, |b, x| {
        let mut x = b.module("stemblock", |b| {
            let (pooled, convolved) = two_branch_stem(b, x);
            let pooled = if with_transitions { unit(b, "stem3", pooled, Conv::new(32, 1)) } else { pooled };
            b.concat("concat", &[pooled, convolved])
        });
        for (i, layers, bottleneck) in stages([2, 4, 8, 4]) {
            let gamma = if i == 1 { 0.5 } else { gamma };
            x = b.module(&format!("denseblock{i}"), |b| partial_stage(b, x, gamma, layers, bottleneck));
            x = if i < 4 { b.avg_pool(&format!("transition{i}_pool"), x, HALVE) } else { x };
            x = if i == 4 || with_transitions { same_width(b, &format!("transition{i}"), x) } else { x };
        }
        x
    })
}

/// Number, layers and bottleneck width of the four stages.
fn stages(layers: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize)> {
    (1..).zip(layers).zip(BOTTLENECKS).map(|((i, layers), bottleneck)| (i, layers, bottleneck))
}

fn network(
    channels: usize,
    classes: usize,
    features: impl FnOnce(&mut Builder, Value) -> Value,
) -> Result<Graph, ZooError> {
    let mut b = Builder::with_init(Family::Xavier);
    let x = b.input(channels);
    let x = b.module("features", |b| features(b, x));
    let x = b.global_avg_pool("global_pool", x);
    let x = b.linear("classifier", x, classes);
    Ok(b.finish(x)?)
}

/// Half the rows and columns by 3x3, then half again by pooling and by convolution: both branches, 32 channels each.
fn two_branch_stem(b: &mut Builder, x: Value) -> (Value, Value) {
    let x = unit(b, "stem1", x, Conv::new(32, 3).stride(2));
    let convolved = unit(b, "stem2a", x, Conv::new(16, 1));
    let convolved = unit(b, "stem2b", convolved, Conv::new(32, 3).stride(2));
    (b.max_pool("pool", x, HALVE), convolved)
}

/// Two-way dense layers: one way sees 3x3 pixels, the other 5x5.
fn two_way_block(b: &mut Builder, x: Value, layers: usize, bottleneck: usize) -> Value {
    let (narrow, wide) = (Conv::new(bottleneck, 1), Conv::new(HALF_GROWTH, 3));
    dense_block(b, x, layers, |b, i, x| {
        let mut way = |convs: &[(&str, Conv)]| {
            convs.iter().fold(x, |x, (name, conv)| unit(b, &format!("denselayer{}.{name}", i + 1), x, *conv))
        };
        [
            way(&[("branch1a", narrow), ("branch1b", wide)]),
            way(&[("branch2a", narrow), ("branch2b", wide), ("branch2c", wide)]),
        ]
    })
}

/// Split by two 1x1 convolutions, dense layers on one part, transition T of equal width on it, merge.
fn partial_stage(b: &mut Builder, x: Value, gamma: f64, layers: usize, bottleneck: usize) -> Value {
    let all = b.channels(x);
    let across = (gamma * all as f64).floor() as usize;
    let split = Split::TwoConvs { cross: (across, &pointwise("cross")), part: (all - across, &pointwise("part")) };
    let transitions = Transitions { part: Some((Width::Same, &pointwise("transition"))), ..Transitions::default() };
    csp_stage(b, x, split, transitions, |b, x| b.module("dense", |b| two_way_block(b, x, layers, bottleneck)))
}

fn pointwise(name: &str) -> impl Fn(&mut Builder, Value, usize) -> Value {
    move |b, x, width| unit(b, name, x, Conv::new(width, 1))
}

fn same_width(b: &mut Builder, name: &str, x: Value) -> Value {
    let width = b.channels(x);
    unit(b, name, x, Conv::new(width, 1))
}

/// Convolution, BN, ReLU.
fn unit(b: &mut Builder, name: &str, x: Value, conv: Conv) -> Value {
    b.module(name, |b| {
        let x = b.conv("conv", x, conv);
        let x = b.batch_norm("norm", x);
        b.unary("relu", x, Unary::Relu)
    })
}

const INPUT: InputSpec = InputSpec::imagenet(224, 0.875, true);

const FUSION: Knob = Knob {
    name: "fusion",
    values: Values::Word(&["both", "last"]),
    default: "both",
    example: "last",
    about: "where the transitions are: both, last",
};

pub(crate) const ENTRIES: &[Entry] = &[
    Entry {
        name: "peleenet",
        family: "peleenet",
        about: "PeleeNet",
        paper: "arXiv:1804.06882",
        knobs: &[CLASSES, CHANNELS],
        input: INPUT,
        plan: peleenet,
    },
    Entry {
        name: "csppeleenet",
        family: "csppeleenet",
        about: "CSPPeleeNet",
        paper: "arXiv:1911.11929",
        knobs: &[CLASSES, CHANNELS, GAMMA, FUSION],
        input: INPUT,
        plan: csppeleenet,
    },
];
