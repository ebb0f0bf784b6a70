//! The classification networks as Darknet has them, layer by layer: Darknet-53 (Redmon and Farhadi, arXiv:1804.02767), the
//! cross-stage-partial networks of Wang et al. (arXiv:1911.11929) with their variants, and what they are compared with.
//!
//! They are not timm's: the slope is 0.1, pictures are not normalised, the part that went through a stage comes first where both
//! are joined. DenseNet-201 normalises and activates behind its convolutions and pools maxima; residual networks add what is
//! narrower to the first channels of what is wider, without a convolution on the shortcut.

use super::writer::{Convolution, Writer};

/// Their names.
pub const ORIGINALS: [&str; 13] = [
    "csdarknet53",
    "csdarknet53-elastic",
    "csdarknet53-omega",
    "csresnet50",
    "csresnet50-elastic",
    "csresnext50",
    "csresnext50-elastic",
    "csresnext50-omega",
    "darknet53",
    "densenet201",
    "resnet152",
    "resnet50",
    "resnext50",
];

/// The `.cfg` text of one of [`ORIGINALS`]: for the 1000 classes of ImageNet and pictures of 256 x 256 pixels.
pub fn original(name: &str) -> Option<String> {
    let leaky = Stack::new("leaky");
    let stack = match name {
        "csdarknet53" => leaky.csdarknet53(false),
        "csdarknet53-elastic" => leaky.csdarknet53(true),
        "csdarknet53-omega" => Stack::new("mish").csdarknet53(false),
        "csresnet50" => leaky.csresnet50(CSRESNET, false),
        "csresnet50-elastic" => leaky.csresnet50(CSRESNET, true),
        "csresnext50" => leaky.csresnet50(CSRESNEXT, false),
        "csresnext50-elastic" => leaky.csresnet50(CSRESNEXT, true),
        "csresnext50-omega" => Stack::new("mish").csresnet50(CSRESNEXT, false),
        "darknet53" => leaky.darknet53(),
        "densenet201" => leaky.densenet201(),
        "resnet152" => leaky.resnet([3, 8, 36, 3], 64, 1).classifier_pooled().softmax().cost(),
        "resnet50" => leaky.resnet([3, 4, 6, 3], 64, 1).classifier_pooled().softmax(),
        "resnext50" => leaky.resnet([3, 4, 6, 3], 128, 32).pooled_classifier().softmax(),
        _ => return None,
    };
    Some(stack.text.finish())
}

/// What distinguishes the cross-stage-partial residual networks.
#[derive(Clone, Copy)]
struct CsResNet {
    /// Channels between, and those that a stage gives, in the first stage.
    middle: usize,
    out: usize,
    groups: usize,
}

const CSRESNET: CsResNet = CsResNet { middle: 64, out: 128, groups: 1 };
const CSRESNEXT: CsResNet = CsResNet { middle: 128, out: 256, groups: 32 };

/// Layers on one another. What adds one gives its number.
struct Stack {
    text: Writer,
    activation: &'static str,
}

impl Stack {
    fn new(activation: &'static str) -> Self {
        Self { text: Writer::new([3, 256, 256]), activation }
    }

    fn convolution(&mut self, filters: usize, size: usize, stride: usize, groups: usize, activation: &str) -> usize {
        let (padding, dilation, is_normalised) = (size / 2, 1, true);
        self.text.convolution(Convolution {
            filters,
            size,
            stride,
            padding,
            groups,
            dilation,
            is_normalised,
            activation,
        })
    }

    fn conv(&mut self, filters: usize, size: usize, stride: usize) -> usize {
        self.convolution(filters, size, stride, 1, self.activation)
    }

    fn linear(&mut self, filters: usize) -> usize {
        self.convolution(filters, 1, 1, 1, "linear")
    }

    fn halve(&mut self) -> usize {
        self.text.layer("maxpool", &[("size", &2), ("stride", &2)])
    }

    /// Twice: `cross` beside `part`, both from the layer before.
    fn parted<T>(&mut self, cross: impl FnOnce(&mut Self) -> T, part: impl FnOnce(&mut Self) -> usize) -> (T, usize) {
        let before = self.text.layers() - 1;
        let cross = cross(self);
        self.text.route(&[before]);
        (cross, part(self))
    }

    /// A body on each half of a layer's channels, on the second at half its resolution.
    fn elastic(&mut self, x: usize, body: impl Fn(&mut Self) -> usize) {
        self.text.group(x, 2, 0);
        let full = body(self);
        self.text.group(x, 2, 1);
        self.halve();
        body(self);
        let half = self.text.layer("upsample", &[("stride", &2)]);
        self.text.route(&[full, half]);
    }

    fn darknet53(mut self) -> Self {
        self.conv(32, 3, 1);
        for (out, units) in [(64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)] {
            let mut x = self.conv(out, 3, 2);
            for _ in 0..units {
                self.conv(out / 2, 1, 1);
                self.conv(out, 3, 1);
                x = self.text.shortcut(x, "linear");
            }
        }
        self.pooled_classifier().softmax()
    }

    fn csdarknet53(mut self, is_elastic: bool) -> Self {
        self.conv(32, 3, 1);
        // The first stage has Darknet-53's width and halving.
        for (out, width, middle, units) in
            [(64, 64, 32, 1), (128, 64, 64, 2), (256, 128, 128, 8), (512, 256, 256, 8), (1024, 512, 512, 4)]
        {
            self.conv(out, 3, 2);
            let (cross, mut x) = self.parted(|s| s.conv(width, 1, 1), |s| s.conv(width, 1, 1));
            for _ in 0..units {
                if is_elastic {
                    self.elastic(x, |s| {
                        s.conv(width / 2, 1, 1);
                        s.conv(width / 2, 3, 1)
                    });
                } else {
                    self.conv(middle, 1, 1);
                    self.conv(width, 3, 1);
                }
                x = self.text.shortcut(x, "linear");
            }
            let part = self.conv(width, 1, 1);
            self.text.route(&[part, cross]);
            self.conv(out, 1, 1);
        }
        self.pooled_classifier().softmax()
    }

    fn csresnet50(mut self, net: CsResNet, is_elastic: bool) -> Self {
        let activation = self.activation;
        self.conv(64, 7, 2);
        self.halve();
        for (stage, units) in [3, 3, 5, 2].into_iter().enumerate() {
            let (width, middle, out) = (128 << stage, net.middle << stage, net.out << stage);
            if stage > 0 {
                self.convolution(out / 2, 3, 2, net.groups, activation);
            }
            // The first stage's part is half as wide, and its first unit adds it to the first half of the channels.
            let narrow = if stage == 0 && !is_elastic { width / 2 } else { width };
            let split = if matches!(stage, 1 | 2) { "linear" } else { activation };
            let half = |width| move |s: &mut Self| s.convolution(width, 1, 1, 1, split);
            let (cross, mut x) = self.parted(half(width), half(narrow));
            for _ in 0..units {
                if is_elastic {
                    self.elastic(x, |s| s.bottleneck(width / 2, width / 2, 1, net.groups.div_ceil(2)));
                } else {
                    self.bottleneck(middle, width, 1, net.groups);
                }
                x = self.text.shortcut(x, activation);
            }
            let part = self.conv(width, 1, 1);
            self.text.route(&[part, cross]);
            self.conv(out, 1, 1);
        }
        self.pooled_classifier().softmax()
    }

    /// `middle` are the channels of the first stage's 3x3 convolutions.
    fn resnet(mut self, units: [usize; 4], middle: usize, groups: usize) -> Self {
        self.conv(64, 7, 2);
        let mut x = self.halve();
        for (stage, units) in units.into_iter().enumerate() {
            for unit in 0..units {
                let stride = if stage > 0 && unit == 0 { 2 } else { 1 };
                self.bottleneck(middle << stage, 256 << stage, stride, groups);
                x = self.text.shortcut(x, self.activation);
            }
        }
        self
    }

    fn bottleneck(&mut self, middle: usize, out: usize, stride: usize, groups: usize) -> usize {
        self.conv(middle, 1, 1);
        self.convolution(middle, 3, stride, groups, self.activation);
        self.linear(out)
    }

    fn densenet201(mut self) -> Self {
        self.conv(64, 7, 2);
        let mut x = self.halve();
        for (block, layers) in [6, 12, 48, 32].into_iter().enumerate() {
            if block > 0 {
                self.conv([128, 256, 512][block - 1], 1, 1);
                x = self.halve();
            }
            for _ in 0..layers {
                self.conv(128, 1, 1);
                let new = self.conv(32, 3, 1);
                x = self.text.route(&[new, x]);
            }
        }
        self.classifier_pooled().softmax().cost()
    }

    fn classifier(&mut self) {
        let (padding, groups, dilation, is_normalised, activation) = (0, 1, 1, false, "linear");
        let head =
            Convolution { filters: 1000, size: 1, stride: 1, padding, groups, dilation, is_normalised, activation };
        self.text.convolution(head);
    }

    fn pooled_classifier(mut self) -> Self {
        self.text.layer("avgpool", &[]);
        self.classifier();
        self
    }

    fn classifier_pooled(mut self) -> Self {
        self.classifier();
        self.text.layer("avgpool", &[]);
        self
    }

    fn softmax(mut self) -> Self {
        self.text.layer("softmax", &[("groups", &1)]);
        self
    }

    fn cost(mut self) -> Self {
        self.text.layer("cost", &[("type", &"sse")]);
        self
    }
}
