//! The networks of timm's `CspNet`: Darknet-53 (Redmon and Farhadi, arXiv:1804.02767), CSPDarknet-53, CSPResNet-50 and
//! CSPResNeXt-50 (Wang et al., arXiv:1911.11929), and the CS3Darknets, whose stages are those of YOLOv5.
//!
//! Not here: the Darknet originals, which differ from timm's in stem, slope and the first stage.

use cspnet_graph::blocks::{Split, Transitions, Width, csp_stage, residual};
use cspnet_graph::init::Family;
use cspnet_graph::{Builder, Conv, Graph, Unary, Value, Window};

use crate::entry::{Entry, InputSpec, Plan};
use crate::error::ZooError;
use crate::knobs::{CHANNELS, CLASSES};
use crate::spec::Spec;

/// PyTorch's slope; Darknet's is 0.1.
const LEAKY: Unary = Unary::LeakyRelu { slope: 0.01 };

/// What distinguishes one network from another.
struct CspNet<'a> {
    activation: Unary,
    stem: &'a [Conv],
    /// Whether a pooling with stride 2 ends the stem.
    pooled_stem: bool,
    stages: &'a [Stage],
}

/// Some residual units at one resolution.
#[derive(Clone, Copy)]
struct Stage {
    kind: Kind,
    /// Channels that it gives.
    out: usize,
    stride: usize,
    /// Residual units.
    units: usize,
    unit: Residual,
}

/// How the units are embedded.
#[derive(Clone, Copy)]
enum Kind {
    /// A convolution and the units, no more.
    Plain,
    /// CSPNet's: an expanding convolution is halved, the second half goes through the units and a transition T, a transition U
    /// follows the merge.
    CrossStage {
        /// Channels of the expanded value.
        expanded: usize,
        /// Whether the expanding convolution has no activation.
        is_linear: bool,
        /// Whether the down-sampling convolution already gives the stage's channels.
        grows_early: bool,
    },
    /// YOLOv5's "C3": the first half goes through the units, there is no T, and the part that went through comes first.
    CrossStage3,
}

/// A residual unit.
#[derive(Clone, Copy)]
struct Residual {
    /// Channels it takes and gives.
    width: usize,
    /// Channels between.
    middle: usize,
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    /// 1x1 and 3x3 convolution; no activation behind the sum.
    Dark,
    /// 1x1, 3x3 in groups and 1x1 convolution; the last convolution's activation stands behind the sum.
    Bottleneck { groups: usize },
}

impl CspNet<'_> {
    fn build(&self, spec: &Spec) -> Result<Graph, ZooError> {
        let (channels, classes) = (spec.channels(), spec.classes());
        let mut b = Builder::with_init(Family::CspNet);
        let x = b.input(channels);
        let mut x = b.module("stem", |b| self.stem(b, x));
        for (i, stage) in self.stages.iter().enumerate() {
            x = b.module(&format!("stages.{i}"), |b| self.stage(b, x, stage));
        }
        let x = b.module("head", |b| {
            let x = b.global_avg_pool("global_pool", x);
            b.linear("fc", x, classes)
        });
        Ok(b.finish(x)?)
    }

    fn stem(&self, b: &mut Builder, x: Value) -> Value {
        let convs = (1..).zip(self.stem);
        let x = convs.fold(x, |x, (i, conv)| self.unit(b, &format!("conv{i}"), x, *conv));
        if self.pooled_stem { b.max_pool("pool", x, Window::square(3, 2, 1)) } else { x }
    }

    fn stage(&self, b: &mut Builder, x: Value, stage: &Stage) -> Value {
        let narrow = b.channels(x);
        let groups = stage.unit.groups();
        let down = |b: &mut Builder, width| match stage.stride {
            1 => x,
            stride => self.unit(b, "conv_down", x, Conv::new(width, 3).stride(stride).groups(groups)),
        };
        let units = |b: &mut Builder, x| self.units(b, x, stage);
        let linear_exp =
            |b: &mut Builder, x, width| conv_norm(b, "conv_exp", x, Conv::new(width, 1), Builder::batch_norm);
        let exp = |b: &mut Builder, x, width| self.unit(b, "conv_exp", x, Conv::new(width, 1));
        let t = |b: &mut Builder, x, width| self.unit(b, "conv_transition_b", x, Conv::new(width, 1));
        let u = |b: &mut Builder, x, width| self.unit(b, "conv_transition", x, Conv::new(width, 1));
        match stage.kind {
            Kind::Plain => {
                let x = down(b, stage.out);
                units(b, x)
            }
            Kind::CrossStage { expanded, is_linear, grows_early } => {
                let x = down(b, if grows_early { stage.out } else { narrow });
                let unit = if is_linear { &linear_exp as _ } else { &exp as _ };
                let split = Split::Expand { width: expanded, unit, cross_first: true };
                let transitions = Transitions {
                    part: Some((Width::Exactly(expanded / 2), &t)),
                    merged: Some((Width::Exactly(stage.out), &u)),
                    part_first: false,
                };
                csp_stage(b, x, split, transitions, units)
            }
            Kind::CrossStage3 => {
                let x = down(b, narrow);
                let split = Split::Expand { width: stage.out, unit: &exp, cross_first: false };
                let merged = Some((Width::Exactly(stage.out), &u as _));
                csp_stage(b, x, split, Transitions { part: None, merged, part_first: true }, units)
            }
        }
    }

    fn units(&self, b: &mut Builder, x: Value, stage: &Stage) -> Value {
        let Residual { width, middle, form } = stage.unit;
        (0..stage.units).fold(x, |x, i| {
            b.module(&format!("blocks.{i}"), |b| match form {
                Form::Dark => residual(b, "add", x, |b, x| {
                    let x = self.unit(b, "conv1", x, Conv::new(middle, 1));
                    self.activated(b, "conv2", x, Conv::new(width, 3), Builder::batch_norm_from_zero)
                }),
                Form::Bottleneck { groups } => {
                    let x = residual(b, "add", x, |b, x| {
                        let x = self.unit(b, "conv1", x, Conv::new(middle, 1));
                        let x = self.unit(b, "conv2", x, Conv::new(middle, 3).groups(groups));
                        conv_norm(b, "conv3", x, Conv::new(width, 1), Builder::batch_norm_from_zero)
                    });
                    b.unary("act3", x, self.activation)
                }
            })
        })
    }

    /// Convolution, BN, activation.
    fn unit(&self, b: &mut Builder, name: &str, x: Value, conv: Conv) -> Value {
        self.activated(b, name, x, conv, Builder::batch_norm)
    }

    fn activated(&self, b: &mut Builder, name: &str, x: Value, conv: Conv, norm: Norm) -> Value {
        let x = conv_norm(b, name, x, conv, norm);
        let x = b.unary(&format!("{name}.act"), x, self.activation);
        b.name_module(name, x);
        x
    }
}

impl Residual {
    /// Groups of the 3x3 convolutions of a stage of such units.
    fn groups(self) -> usize {
        match self.form {
            Form::Dark => 1,
            Form::Bottleneck { groups } => groups,
        }
    }
}

/// Batch normalisation as it is written into a network, with whatever beginning.
type Norm = fn(&mut Builder, &str, Value) -> Value;

fn conv_norm(b: &mut Builder, name: &str, x: Value, conv: Conv, norm: Norm) -> Value {
    b.module(name, |b| {
        let x = b.conv("conv", x, conv);
        norm(b, "bn", x)
    })
}

fn darknet53(spec: &Spec) -> Result<Graph, ZooError> {
    let stage = |out, units| Stage {
        kind: Kind::Plain,
        out,
        stride: 2,
        units,
        unit: Residual { width: out, middle: out / 2, form: Form::Dark },
    };
    let stages = [stage(64, 1), stage(128, 2), stage(256, 8), stage(512, 8), stage(1024, 4)];
    CspNet { activation: LEAKY, stem: &[Conv::new(32, 3)], pooled_stem: false, stages: &stages }.build(spec)
}

fn cspdarknet53(spec: &Spec) -> Result<Graph, ZooError> {
    let stage = |out, units, expanded, middle| Stage {
        kind: Kind::CrossStage { expanded, is_linear: false, grows_early: true },
        out,
        stride: 2,
        units,
        unit: Residual { width: expanded / 2, middle, form: Form::Dark },
    };
    // The first stage keeps Darknet-53's width and halving; in the others a unit has the same width throughout.
    let stages = [
        stage(64, 1, 128, 32),
        stage(128, 2, 128, 64),
        stage(256, 8, 256, 128),
        stage(512, 8, 512, 256),
        stage(1024, 4, 1024, 512),
    ];
    CspNet { activation: LEAKY, stem: &[Conv::new(32, 3)], pooled_stem: false, stages: &stages }.build(spec)
}

/// The CSPResNets: stages of 3, 3, 5, 2 bottlenecks, the first stage giving `out` channels.
#[derive(Clone, Copy)]
struct CspResNet<'a> {
    stem: &'a [Conv],
    /// Channels that the first stage gives; each later one gives twice as many as the one before.
    out: usize,
    /// The first stage's bottlenecks: channels between, and groups.
    middle: usize,
    groups: usize,
}

impl CspResNet<'_> {
    fn build(self, spec: &Spec) -> Result<Graph, ZooError> {
        // All variants halve an expanded value of 256 channels in the first stage, twice as many in the next, and so on.
        let stage = |(i, units): (usize, usize)| Stage {
            kind: Kind::CrossStage { expanded: 256 << i, is_linear: true, grows_early: false },
            out: self.out << i,
            stride: if i == 0 { 1 } else { 2 },
            units,
            unit: Residual {
                width: 128 << i,
                middle: self.middle << i,
                form: Form::Bottleneck { groups: self.groups },
            },
        };
        let stages: Vec<Stage> = [3, 3, 5, 2].into_iter().enumerate().map(stage).collect();
        CspNet { activation: LEAKY, stem: self.stem, pooled_stem: true, stages: &stages }.build(spec)
    }
}

/// One wide convolution, or three narrow ones ("d").
fn wide_stem() -> [Conv; 1] {
    [Conv::new(64, 7).stride(2)]
}

fn deep_stem() -> [Conv; 3] {
    [Conv::new(32, 3).stride(2), Conv::new(32, 3), Conv::new(64, 3)]
}

/// Width and depth of a CS3Darknet, as multiples of the large one's.
#[derive(Clone, Copy)]
struct Scale {
    width: f64,
    depth: f64,
}

const S: Scale = Scale { width: 0.5, depth: 0.5 };
const M: Scale = Scale { width: 0.75, depth: 0.67 };
const L: Scale = Scale { width: 1.0, depth: 1.0 };
const X: Scale = Scale { width: 1.25, depth: 1.33 };

/// With `is_focus`, one 6x6 convolution stands in the place of the two of the stem.
fn cs3darknet(spec: &Spec, scale: Scale, is_focus: bool) -> Result<Graph, ZooError> {
    let wide = |channels: f64| (scale.width * channels) as usize;
    let stage = |(out, units): (f64, f64)| Stage {
        kind: Kind::CrossStage3,
        out: wide(out),
        stride: 2,
        // Rounded down, unlike YOLOv5.
        units: (scale.depth * units) as usize,
        unit: Residual { width: wide(out) / 2, middle: wide(out) / 2, form: Form::Dark },
    };
    let stages = [(128.0, 3.0), (256.0, 6.0), (512.0, 9.0), (1024.0, 3.0)].map(stage);
    let focus = [Conv::new(wide(64.0), 6).stride(2).padding(2)];
    let plain = [Conv::new(wide(32.0), 3).stride(2), Conv::new(wide(64.0), 3)];
    let stem: &[Conv] = if is_focus { &focus } else { &plain };
    CspNet { activation: Unary::Silu, stem, pooled_stem: false, stages: &stages }.build(spec)
}

const CSPNET: &str = "arXiv:1911.11929";
const BILINEAR: InputSpec = InputSpec::imagenet(256, 0.887, false);
const BICUBIC: InputSpec = InputSpec::imagenet(256, 0.887, true);

const fn leaky(name: &'static str, family: &'static str, about: &'static str, plan: Plan) -> Entry {
    Entry { name, family, about, paper: CSPNET, knobs: &[CLASSES, CHANNELS], input: BILINEAR, plan }
}

const fn cs3(name: &'static str, about: &'static str, plan: Plan) -> Entry {
    let knobs = &[CLASSES, CHANNELS];
    Entry { name, family: "cs3darknet", about, paper: CSPNET, knobs, input: BICUBIC, plan }
}

/// An entry whose published weights want other pictures than its family's.
const fn with_input(entry: Entry, input: InputSpec) -> Entry {
    Entry { input, ..entry }
}

pub(crate) const ENTRIES: &[Entry] = &[
    Entry {
        name: "darknet53",
        family: "darknet",
        about: "Darknet-53",
        paper: "arXiv:1804.02767",
        knobs: &[CLASSES, CHANNELS],
        input: BICUBIC,
        plan: darknet53,
    },
    leaky("cspdarknet53", "cspdarknet", "CSPDarknet-53", cspdarknet53),
    leaky("cspresnet50", "cspresnet", "CSPResNet-50", |k| {
        CspResNet { stem: &wide_stem(), out: 128, middle: 64, groups: 1 }.build(k)
    }),
    leaky("cspresnet50d", "cspresnet", "CSPResNet-50 with a deep stem", |k| {
        CspResNet { stem: &deep_stem(), out: 128, middle: 64, groups: 1 }.build(k)
    }),
    leaky("cspresnet50w", "cspresnet", "CSPResNet-50, wide, with a deep stem", |k| {
        CspResNet { stem: &deep_stem(), out: 256, middle: 32, groups: 1 }.build(k)
    }),
    leaky("cspresnext50", "cspresnet", "CSPResNeXt-50, 32 groups", |k| {
        CspResNet { stem: &wide_stem(), out: 256, middle: 128, groups: 32 }.build(k)
    }),
    cs3("cs3darknet_s", "CS3Darknet, small", |k| cs3darknet(k, S, false)),
    cs3("cs3darknet_m", "CS3Darknet, medium", |k| cs3darknet(k, M, false)),
    cs3("cs3darknet_l", "CS3Darknet, large", |k| cs3darknet(k, L, false)),
    with_input(
        cs3("cs3darknet_x", "CS3Darknet, extra large", |k| cs3darknet(k, X, false)),
        InputSpec::imagenet(256, 0.95, true),
    ),
    with_input(
        cs3("cs3darknet_focus_s", "CS3Darknet, small, 6x6 stem", |k| cs3darknet(k, S, true)),
        InputSpec { mean: [0.5; 3], std: [0.5; 3], ..BICUBIC },
    ),
    cs3("cs3darknet_focus_m", "CS3Darknet, medium, 6x6 stem", |k| cs3darknet(k, M, true)),
    cs3("cs3darknet_focus_l", "CS3Darknet, large, 6x6 stem", |k| cs3darknet(k, L, true)),
    cs3("cs3darknet_focus_x", "CS3Darknet, extra large, 6x6 stem", |k| cs3darknet(k, X, true)),
];
