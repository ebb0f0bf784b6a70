//! DenseNet (Huang et al., arXiv:1608.06993) for ImageNet and CIFAR, and CSPDenseNet (Wang et al., arXiv:1911.11929).
//!
//! Parameter names are timm's. No code of CSPDenseNet was ever published; where the paper leaves a choice open (the split by
//! channels, the width of the transition of *fusion last*), the one made is documented at [`Fusion`].

use cspnet_graph::blocks::{Split, Transitions, Width, csp_stage, dense_block};
use cspnet_graph::init::Family;
use cspnet_graph::{Builder, Conv, Graph, GraphError, Unary, Value, Window};

use crate::entry::{Entry, InputSpec, Plan};
use crate::error::ZooError;
use crate::knobs::{CHANNELS, CIFAR_CLASSES, CLASSES, GAMMA, Knob, Values};
use crate::spec::Spec;

/// What distinguishes one DenseNet from another.
struct DenseNet<'a> {
    channels: usize,
    classes: usize,
    stem: Stem,
    /// Channels after the stem.
    width: usize,
    /// Channels that every layer adds.
    growth: usize,
    /// Layers of every block.
    blocks: &'a [usize],
    /// Whether a layer begins with a 1x1 convolution to `4 * growth` channels ("B" in the paper).
    bottleneck: bool,
    /// Share of the channels that a transition keeps ("C" in the paper, where below 1).
    compression: f64,
    csp: Option<Csp>,
}

#[derive(Clone, Copy)]
enum Stem {
    /// 7x7 with stride 2, then a pooling with stride 2.
    ImageNet,
    /// 3x3 alone.
    Cifar,
}

#[derive(Clone, Copy)]
struct Csp {
    /// Share of a block's channels that goes straight across.
    gamma: f64,
    fusion: Fusion,
}

/// Where a CSPDenseNet has its transitions (CSPNet paper, figure 3).
#[derive(Clone, Copy, PartialEq)]
enum Fusion {
    /// (b): T on the dense part, keeping its width, and U behind the merge.
    Both,
    /// (c): U alone.
    First,
    /// (d): T alone, as wide as makes the merged value what DenseNet's transition would give; behind the last block, which
    /// has no transition, T keeps its width.
    Last,
}

impl DenseNet<'_> {
    fn build(&self) -> Result<Graph, GraphError> {
        let mut b = Builder::with_init(Family::DenseNet);
        let x = b.input(self.channels);
        let x = b.module("features", |b| {
            let mut x = self.stem(b, x);
            for (i, &layers) in (1..).zip(self.blocks) {
                x = b.module(&format!("denseblock{i}"), |b| self.block(b, x, layers, i == self.blocks.len()));
                if i < self.blocks.len() {
                    x = self.transition(b, i, x);
                }
            }
            norm_relu(b, "5", x)
        });
        let x = b.global_avg_pool("global_pool", x);
        let x = b.linear("classifier", x, self.classes);
        b.finish(x)
    }

    fn stem(&self, b: &mut Builder, x: Value) -> Value {
        match self.stem {
            Stem::ImageNet => {
                let x = b.conv("conv0", x, Conv::new(self.width, 7).stride(2));
                let x = norm_relu(b, "0", x);
                b.max_pool("pool0", x, Window::square(3, 2, 1))
            }
            Stem::Cifar => b.conv("conv0", x, Conv::new(self.width, 3)),
        }
    }

    /// A dense block, or one through which only a part of the channels goes.
    fn block(&self, b: &mut Builder, x: Value, layers: usize, is_last: bool) -> Value {
        let dense = |b: &mut Builder, x| dense_block(b, x, layers, |b, i, x| [self.layer(b, i + 1, x)]);
        let Some(Csp { gamma, fusion }) = self.csp else { return dense(b, x) };
        let base = b.channels(x);
        let across = (gamma * base as f64).floor() as usize;
        let kept = self.compressed(base + layers * self.growth) - across;
        let width = match fusion {
            Fusion::First => None,
            Fusion::Last if !is_last => Some(Width::Exactly(kept)),
            Fusion::Both | Fusion::Last => Some(Width::Same),
        };
        let t = |b: &mut Builder, x, width| b.module("transition", |b| norm_relu_conv(b, x, width));
        let transitions = Transitions { part: width.map(|w| (w, &t as _)), ..Transitions::default() };
        csp_stage(b, x, Split::Channels { gamma }, transitions, dense)
    }

    /// BN, ReLU, 1x1 convolution to `4 * growth` (if a bottleneck), BN, ReLU, 3x3 convolution to `growth` channels.
    fn layer(&self, b: &mut Builder, number: usize, x: Value) -> Value {
        b.module(&format!("denselayer{number}"), |b| {
            let x = norm_relu(b, "1", x);
            if !self.bottleneck {
                return b.conv("conv1", x, Conv::new(self.growth, 3));
            }
            let x = b.conv("conv1", x, Conv::new(4 * self.growth, 1));
            let x = norm_relu(b, "2", x);
            b.conv("conv2", x, Conv::new(self.growth, 3))
        })
    }

    /// Between two blocks: fewer channels (but not if they were fused last), and half the rows and columns.
    fn transition(&self, b: &mut Builder, number: usize, x: Value) -> Value {
        let is_compressed = self.csp.is_some_and(|csp| csp.fusion == Fusion::Last);
        b.module(&format!("transition{number}"), |b| {
            let width = self.compressed(b.channels(x));
            let x = if is_compressed { x } else { norm_relu_conv(b, x, width) };
            b.avg_pool("pool", x, Window::square(2, 2, 0))
        })
    }

    fn compressed(&self, channels: usize) -> usize {
        (self.compression * channels as f64).floor() as usize
    }
}

/// BN `norm<suffix>`, ReLU `relu<suffix>`. As in timm, where one module does both, the former's path gives the latter's value.
fn norm_relu(b: &mut Builder, suffix: &str, x: Value) -> Value {
    let norm = format!("norm{suffix}");
    let x = b.batch_norm(&norm, x);
    let x = b.unary(&format!("relu{suffix}"), x, Unary::Relu);
    b.name_module(&norm, x);
    x
}

fn norm_relu_conv(b: &mut Builder, x: Value, width: usize) -> Value {
    let x = norm_relu(b, "", x);
    b.conv("conv", x, Conv::new(width, 1))
}

/// Blocks, growth and stem width of an ImageNet network: the paper's table 1.
type Size = ([usize; 4], usize, usize);

const SIZE_121: Size = ([6, 12, 24, 16], 32, 64);
const SIZE_169: Size = ([6, 12, 32, 32], 32, 64);
const SIZE_201: Size = ([6, 12, 48, 32], 32, 64);
const SIZE_161: Size = ([6, 12, 36, 24], 48, 96);
const SIZE_264: Size = ([6, 12, 64, 48], 32, 64);

fn imagenet(spec: &Spec, size: &Size, csp: Option<Csp>) -> Result<Graph, ZooError> {
    let (blocks, growth, width) = size;
    let net = DenseNet {
        channels: spec.channels(),
        classes: spec.classes(),
        stem: Stem::ImageNet,
        width: *width,
        growth: *growth,
        blocks,
        bottleneck: true,
        compression: 0.5,
        csp,
    };
    Ok(net.build()?)
}

fn csp(spec: &Spec, size: &Size) -> Result<Graph, ZooError> {
    let fusion = match spec.word("fusion") {
        "first" => Fusion::First,
        "last" => Fusion::Last,
        _ => Fusion::Both,
    };
    let narrowest = size.2;
    imagenet(spec, size, Some(Csp { gamma: spec.gamma(narrowest, true)?, fusion }))
}

fn cifar(spec: &Spec, is_bc: bool) -> Result<Graph, ZooError> {
    let (depth, growth) = (spec.whole("depth"), spec.whole("growth"));
    // Three blocks of layers with one convolution (two with a bottleneck); stem, two transitions and classifier are the rest.
    let step = if is_bc { 6 } else { 3 };
    let layers = (depth - 4) / step;
    if depth != 4 + step * layers {
        let (below, above) = (4 + step * layers, 4 + step * (layers + 1));
        return Err(spec.bad("depth", format!("4 + {step} n for a whole n, such as {below} or {above}")));
    }
    let net = DenseNet {
        channels: spec.channels(),
        classes: spec.classes(),
        stem: Stem::Cifar,
        width: if is_bc { 2 * growth } else { 16 },
        growth,
        blocks: &[layers; 3],
        bottleneck: is_bc,
        compression: if is_bc { 0.5 } else { 1.0 },
        csp: None,
    };
    Ok(net.build()?)
}

const FUSION: Knob = Knob {
    name: "fusion",
    values: Values::Word(&["both", "first", "last"]),
    default: "both",
    example: "last",
    about: "where the transitions are: both, first, last",
};
const GROWTH: Knob = Knob {
    name: "growth",
    values: Values::Whole { from: 1, to: 512 },
    default: "12",
    example: "24",
    about: "channels that every layer adds",
};
const BC_DEPTH: Knob = Knob {
    name: "depth",
    values: Values::Whole { from: 10, to: 1000 },
    default: "100",
    example: "40",
    about: "layers, 4 + 6 n",
};
const BASIC_DEPTH: Knob = Knob {
    values: Values::Whole { from: 7, to: 1000 },
    default: "40",
    example: "100",
    about: "layers, 4 + 3 n",
    ..BC_DEPTH
};

const DENSENET: &str = "arXiv:1608.06993";
const IMAGENET: InputSpec = InputSpec::imagenet(224, 0.875, true);

const fn on_imagenet(name: &'static str, about: &'static str, plan: Plan) -> Entry {
    Entry { name, family: "densenet", about, paper: DENSENET, knobs: &[CLASSES, CHANNELS], input: IMAGENET, plan }
}

const fn partial(name: &'static str, about: &'static str, plan: Plan) -> Entry {
    let knobs = &[CLASSES, CHANNELS, GAMMA, FUSION];
    Entry { name, family: "cspdensenet", about, paper: "arXiv:1911.11929", knobs, input: IMAGENET, plan }
}

const fn on_cifar(name: &'static str, about: &'static str, knobs: &'static [Knob], plan: Plan) -> Entry {
    Entry { name, family: "densenet-cifar", about, paper: DENSENET, knobs, input: InputSpec::CIFAR, plan }
}

pub(crate) const ENTRIES: &[Entry] = &[
    on_imagenet("densenet121", "DenseNet-121, growth 32", |k| imagenet(k, &SIZE_121, None)),
    on_imagenet("densenet169", "DenseNet-169, growth 32", |k| imagenet(k, &SIZE_169, None)),
    on_imagenet("densenet201", "DenseNet-201, growth 32", |k| imagenet(k, &SIZE_201, None)),
    on_imagenet("densenet161", "DenseNet-161, growth 48", |k| imagenet(k, &SIZE_161, None)),
    on_imagenet("densenet264", "DenseNet-264, growth 32", |k| imagenet(k, &SIZE_264, None)),
    partial("cspdensenet121", "CSPDenseNet-121", |k| csp(k, &SIZE_121)),
    partial("cspdensenet169", "CSPDenseNet-169", |k| csp(k, &SIZE_169)),
    partial("cspdensenet201", "CSPDenseNet-201", |k| csp(k, &SIZE_201)),
    partial("cspdensenet161", "CSPDenseNet-161", |k| csp(k, &SIZE_161)),
    partial("cspdensenet264", "CSPDenseNet-264", |k| csp(k, &SIZE_264)),
    on_cifar("densenet_bc", "DenseNet-BC for CIFAR", &[CIFAR_CLASSES, CHANNELS, BC_DEPTH, GROWTH], |k| cifar(k, true)),
    on_cifar(
        "densenet_basic",
        "DenseNet for CIFAR without bottleneck and compression",
        &[CIFAR_CLASSES, CHANNELS, BASIC_DEPTH, GROWTH],
        |k| cifar(k, false),
    ),
];
