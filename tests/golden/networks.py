"""Networks that no library publishes, in PyTorch: what their names mean to make.py.

densenet_bc:depth=100,growth=12              DenseNet-BC for CIFAR (arXiv:1608.06993, sections 3 and 4.1)
densenet_basic:depth=40,growth=12            DenseNet without bottlenecks and compression
cspdensenet121:gamma=0.5,fusion=both         CSPDenseNet; fusion is both, first or last (arXiv:1911.11929, figure 3 b, c, d)
peleenet                                     PeleeNet (arXiv:1804.06882)
csppeleenet:gamma=0.5,fusion=both            CSPPeleeNet; fusion is both or last (arXiv:1911.11929, table 1)
cspresnet9:width=64,units=1,gamma=0.5        CSPResNet-9 for CIFAR, this project's own

gamma is the part of the channels that goes straight across. classes=N may be added to each. Where a paper leaves a choice open, the
choice is the code below.
"""
import torch
from torch import nn
from torch.nn import functional as F


class NormReluConv(nn.Sequential):
    """BN, ReLU, 1x1 convolution: a transition of DenseNet without its pooling."""

    def __init__(self, channels, out):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(channels), nn.Conv2d(channels, out, 1, bias=False)

    def forward(self, x):
        return self.conv(F.relu(self.norm(x)))


class DenseLayer(nn.Module):
    def __init__(self, channels, growth, bottleneck):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        if bottleneck:
            self.conv1 = nn.Conv2d(channels, 4 * growth, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(4 * growth)
            self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv1(F.relu(self.norm1(x)))
        return self.conv2(F.relu(self.norm2(y))) if hasattr(self, "conv2") else y


class DenseBlock(nn.Module):
    """Dense layers; the first floor(gamma * channels) channels go across. `out` is the width behind transition T, if there is one."""

    def __init__(self, channels, layers, growth, bottleneck=True, gamma=0.0, out=None):
        super().__init__()
        self.across, self.layers = int(gamma * channels), layers
        part = channels - self.across
        for i in range(layers):
            self.add_module(f"denselayer{i + 1}", DenseLayer(part + i * growth, growth, bottleneck))
        if out is not None:
            self.transition = NormReluConv(part + layers * growth, out)

    def forward(self, x):
        cross, x = x[:, : self.across], x[:, self.across :]
        for i in range(self.layers):
            x = torch.cat([x, getattr(self, f"denselayer{i + 1}")(x)], 1)
        if hasattr(self, "transition"):
            x = self.transition(x)
        return torch.cat([cross, x], 1)


class DenseNet(nn.Module):
    def __init__(self, blocks, growth, stem, classes, bottleneck=True, theta=0.5, gamma=0.0, fusion="first", cifar=False):
        super().__init__()
        f = self.features = nn.Sequential()
        if cifar:
            f.add_module("conv0", nn.Conv2d(3, stem, 3, padding=1, bias=False))
        else:
            f.add_module("conv0", nn.Conv2d(3, stem, 7, 2, 3, bias=False))
            f.add_module("norm0", nn.BatchNorm2d(stem))
            f.add_module("relu0", nn.ReLU())
            f.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        channels = stem
        for i, layers in enumerate(blocks, 1):
            is_last, across = i == len(blocks), int(gamma * channels)
            full = channels + layers * growth
            wide, merged = full - across, full
            if fusion == "first":
                out = None
            elif fusion == "both" or is_last:
                out = wide
            else:
                out = int(theta * full) - across
                merged = across + out
            f.add_module(f"denseblock{i}", DenseBlock(channels, layers, growth, bottleneck, gamma, out))
            channels = merged
            if not is_last:
                if fusion != "last":
                    f.add_module(f"transition{i}", NormReluConv(channels, int(theta * channels)))
                    channels = int(theta * channels)
                f.add_module(f"pool{i}", nn.AvgPool2d(2))
        f.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, classes)
        self.stage_paths = [f"features.denseblock{i + 1}" for i in range(len(blocks))]

    def forward(self, x):
        return self.classifier(F.relu(self.features(x)).mean((2, 3)))


class ConvNormRelu(nn.Module):
    """Convolution, BN, ReLU."""

    def __init__(self, channels, out, kernel, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x):
        return F.relu(self.norm(self.conv(x)))


class TwoWay(nn.Module):
    """PeleeNet's two-way dense layer: 1x1, 3x3 beside 1x1, 3x3, 3x3; each gives half of the growth."""

    def __init__(self, channels, bottleneck, half=16):
        super().__init__()
        self.branch1a, self.branch1b = ConvNormRelu(channels, bottleneck, 1), ConvNormRelu(bottleneck, half, 3)
        self.branch2a, self.branch2b = ConvNormRelu(channels, bottleneck, 1), ConvNormRelu(bottleneck, half, 3)
        self.branch2c = ConvNormRelu(half, half, 3)

    def forward(self, x):
        return torch.cat([x, self.branch1b(self.branch1a(x)), self.branch2c(self.branch2b(self.branch2a(x)))], 1)


class Stem(nn.Module):
    """stem1 3x3/2; beside a max pooling stem2a 1x1, stem2b 3x3/2. PeleeNet merges both by stem3 1x1; CSPPeleeNet has stem3 on the
    pooled branch instead, and none where fusion is last."""

    def __init__(self, csp, both):
        super().__init__()
        self.csp = csp
        self.stem1, self.stem2a = ConvNormRelu(3, 32, 3, 2), ConvNormRelu(32, 16, 1)
        self.stem2b = ConvNormRelu(16, 32, 3, 2)
        if not csp or both:
            self.stem3 = ConvNormRelu(32 if csp else 64, 32, 1)

    def forward(self, x):
        x = self.stem1(x)
        pooled, convolved = F.max_pool2d(x, 2), self.stem2b(self.stem2a(x))
        if not self.csp:
            return self.stem3(torch.cat([pooled, convolved], 1))
        return torch.cat([self.stem3(pooled) if hasattr(self, "stem3") else pooled, convolved], 1)


class PeleeStage(nn.Sequential):
    def __init__(self, channels, layers, bottleneck):
        super().__init__()
        for i in range(layers):
            self.add_module(f"denselayer{i + 1}", TwoWay(channels + 32 * i, bottleneck))


class CspPeleeStage(nn.Module):
    """Split by two 1x1 convolutions (cross: gamma * channels, part: the rest), dense layers on `part`, transition T of equal width,
    merged as [cross, T]."""

    def __init__(self, channels, layers, bottleneck, gamma):
        super().__init__()
        across = int(gamma * channels)
        part = channels - across
        self.cross, self.part = ConvNormRelu(channels, across, 1), ConvNormRelu(channels, part, 1)
        self.dense = PeleeStage(part, layers, bottleneck)
        self.transition = ConvNormRelu(part + 32 * layers, part + 32 * layers, 1)

    def forward(self, x):
        return torch.cat([self.cross(x), self.transition(self.dense(self.part(x)))], 1)


class PeleeNet(nn.Module):
    """Stages of 3, 4, 8, 6 (CSP: 2, 4, 8, 4) layers, bottlenecks of 16, 32, 64, 64. PeleeNet: transition 1x1, then average pooling, none
    behind the last. CSPPeleeNet: average pooling, then transition 1x1; the first stage is always halved, and where fusion is last,
    only the last transition is there."""

    def __init__(self, classes, gamma=None, fusion="both"):
        super().__init__()
        csp = gamma is not None
        f = self.features = nn.Sequential()
        f.add_module("stemblock", Stem(csp, fusion == "both"))
        channels = 64 if csp else 32
        for i, (layers, bottleneck) in enumerate(zip((2, 4, 8, 4) if csp else (3, 4, 8, 6), (16, 32, 64, 64)), 1):
            if csp:
                stage = CspPeleeStage(channels, layers, bottleneck, 0.5 if i == 1 else gamma)
            else:
                stage = PeleeStage(channels, layers, bottleneck)
            f.add_module(f"denseblock{i}", stage)
            channels += 32 * layers
            is_last = i == 4
            pool = [] if is_last else [(f"transition{i}_pool", nn.AvgPool2d(2))]
            has_transition = not csp or is_last or fusion == "both"
            transition = [(f"transition{i}", ConvNormRelu(channels, channels, 1))] if has_transition else []
            for name, module in pool + transition if csp else transition + pool:
                f.add_module(name, module)
        self.classifier = nn.Linear(channels, classes)
        self.stage_paths = [f"features.denseblock{i}" for i in range(1, 5)]

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class ConvNormSilu(nn.Module):
    """Convolution, max pooling where it is `pooled`, BN, SiLU."""

    def __init__(self, channels, out, kernel, pooled=False):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False)
        self.pool = nn.MaxPool2d(2) if pooled else nn.Identity()
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x):
        return F.silu(self.bn(self.pool(self.conv(x))))


class ResidualUnit(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1, self.conv2 = ConvNormSilu(channels, channels, 3), ConvNormSilu(channels, channels, 3)

    def forward(self, x):
        return x + self.conv2(self.conv1(x))


class SqueezeExcite(nn.Module):
    """Every channel times a share, which two 1x1 convolutions make of all channels' means."""

    def __init__(self, channels, reduced):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, reduced, 1), nn.Conv2d(reduced, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class CspResNet9Stage(nn.Module):
    """Halves the picture; the first floor(gamma * out) channels go across, the others through residual units; fusion first, then
    squeeze and excitation."""

    def __init__(self, channels, out, units, gamma):
        super().__init__()
        self.across = int(gamma * out)
        self.conv_down = ConvNormSilu(channels, out, 3, pooled=True)
        self.blocks = nn.Sequential(*[ResidualUnit(out - self.across) for _ in range(units)])
        self.conv_transition = ConvNormSilu(out, out, 1)
        self.se = SqueezeExcite(out, -(-out // 8))

    def forward(self, x):
        x = self.conv_down(x)
        cross, part = x[:, : self.across], x[:, self.across :]
        return self.se(self.conv_transition(torch.cat([cross, self.blocks(part)], 1)))


class CspResNet9(nn.Module):
    """The frame of the ResNet-9s of the DAWNBench records as narrowed in arXiv:2404.00498, its residual units cross-stage-partial."""

    def __init__(self, classes, width=64, units=1, gamma=0.5):
        super().__init__()
        self.stem = ConvNormSilu(3, width // 2, 3)
        widths = [width // 2, width, 4 * width, 4 * width]
        stages = [CspResNet9Stage(before, out, units, gamma) for before, out in zip(widths, widths[1:])]
        self.stages = nn.Sequential(*stages)
        self.head = nn.ModuleDict({"fc": nn.Linear(widths[-1], classes)})
        self.stage_paths = [f"stages.{i}" for i in range(len(stages))]

    def forward(self, x):
        return self.head["fc"](self.stages(self.stem(x)).mean((2, 3)))


DENSENET = {"121": ((6, 12, 24, 16), 32, 64), "264": ((6, 12, 64, 48), 32, 64)}


def create(spec):
    """The network that a name stands for, or None if the name is none of these."""
    name, _, knobs = spec.partition(":")
    k = dict(knob.split("=") for knob in knobs.split(",") if knob)
    is_cifar = name.startswith("densenet_") or name == "cspresnet9"
    classes, gamma = int(k.get("classes", 10 if is_cifar else 1000)), float(k.get("gamma", 0.5))
    if name in ("densenet_bc", "densenet_basic"):
        bc, growth = name == "densenet_bc", int(k["growth"])
        layers = (int(k["depth"]) - 4) // (6 if bc else 3)
        return DenseNet((layers,) * 3, growth, 2 * growth if bc else 16, classes, bc, 0.5 if bc else 1.0, cifar=True)
    if name.startswith("cspdensenet"):
        return DenseNet(*DENSENET[name.removeprefix("cspdensenet")], classes, gamma=gamma, fusion=k.get("fusion", "both"))
    if name == "densenet264":
        return DenseNet(*DENSENET["264"], classes)
    if name == "peleenet":
        return PeleeNet(classes)
    if name == "csppeleenet":
        return PeleeNet(classes, gamma, k.get("fusion", "both"))
    if name == "cspresnet9":
        return CspResNet9(classes, int(k.get("width", 64)), int(k.get("units", 1)), gamma)
    return None
