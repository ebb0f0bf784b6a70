//! ResNet-50 (He et al., arXiv:1512.03385) and ResNeXt-50 32x4d (Xie et al., arXiv:1611.05431) as timm and torchvision have
//! them (the stride is in the 3x3 convolution): what the cross-stage-partial versions are compared with.

use cspnet_graph::blocks::residual;
use cspnet_graph::init::Family;
use cspnet_graph::{Builder, Conv, Graph, Unary, Value, Window};

use crate::entry::{Entry, InputSpec};
use crate::error::ZooError;
use crate::knobs::{CHANNELS, CLASSES, Knob};
use crate::spec::Spec;

/// A bottleneck unit: 1x1, 3x3 and 1x1 convolution around a shortcut.
#[derive(Clone, Copy)]
struct Bottleneck {
    /// Channels of the 3x3 convolution.
    middle: usize,
    groups: usize,
    stride: usize,
    out: usize,
}

impl Bottleneck {
    fn unit(self, b: &mut Builder, x: Value) -> Value {
        let sum = if self.stride == 1 && b.channels(x) == self.out {
            residual(b, "add", x, |b, x| self.body(b, x))
        } else {
            let y = self.body(b, x);
            let shortcut = b.module("downsample", |b| {
                let x = b.conv("0", x, Conv::new(self.out, 1).stride(self.stride));
                b.batch_norm("1", x)
            });
            b.add("add", y, shortcut)
        };
        b.unary("act3", sum, Unary::Relu)
    }

    fn body(self, b: &mut Builder, x: Value) -> Value {
        let x = b.conv("conv1", x, Conv::new(self.middle, 1));
        let x = b.batch_norm("bn1", x);
        let x = b.unary("act1", x, Unary::Relu);
        let x = b.conv("conv2", x, Conv::new(self.middle, 3).stride(self.stride).groups(self.groups));
        let x = b.batch_norm("bn2", x);
        let x = b.unary("act2", x, Unary::Relu);
        let x = b.conv("conv3", x, Conv::new(self.out, 1));
        b.batch_norm_from_zero("bn3", x)
    }
}

/// Fifty layers; the first stage's 3x3 convolutions have `groups` groups of `width` channels.
fn fifty(spec: &Spec, groups: usize, width: usize) -> Result<Graph, ZooError> {
    let (channels, classes) = (spec.channels(), spec.classes());
    let mut b = Builder::with_init(Family::ResNet);
    let x = b.input(channels);
    let x = b.conv("conv1", x, Conv::new(64, 7).stride(2));
    let x = b.batch_norm("bn1", x);
    let x = b.unary("act1", x, Unary::Relu);
    let mut x = b.max_pool("maxpool", x, Window::square(3, 2, 1));
    for (stage, units) in [3, 4, 6, 3].into_iter().enumerate() {
        x = b.module(&format!("layer{}", stage + 1), |b| {
            (0..units).fold(x, |x, i| {
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                let unit = Bottleneck { middle: (groups * width) << stage, groups, stride, out: 256 << stage };
                b.module(&i.to_string(), |b| unit.unit(b, x))
            })
        });
    }
    let x = b.global_avg_pool("global_pool", x);
    let x = b.linear("fc", x, classes);
    Ok(b.finish(x)?)
}

const KNOBS: &[Knob] = &[CLASSES, CHANNELS];
const INPUT: InputSpec = InputSpec::imagenet(224, 0.95, true);

pub(crate) const ENTRIES: &[Entry] = &[
    Entry {
        name: "resnet50",
        family: "resnet",
        about: "ResNet-50",
        paper: "arXiv:1512.03385",
        knobs: KNOBS,
        input: INPUT,
        plan: |k| fifty(k, 1, 64),
    },
    Entry {
        name: "resnext50_32x4d",
        family: "resnet",
        about: "ResNeXt-50, 32 groups of 4 channels",
        paper: "arXiv:1611.05431",
        knobs: KNOBS,
        input: INPUT,
        plan: |k| fifty(k, 32, 4),
    },
];
