//! A step of inference as a kernel with its packed weights.

use cspnet_graph::{Graph, Op, Shape, ValueId, Weights, Window};
use cspnet_kernels::{
    Activation, Affine, AffinePool, Combine, Conv, ConvWeights, Fusion, Grouped, GroupedWeights, Isa, Map, Memory,
    Pictures, Planes, Pool, Residual, Stem, StemWeights, Team, Transfer, Winograd, WinogradWeights,
};

use crate::import::{Import, copies, pixel_norm};
use crate::input::Input;
use crate::lower::{Order, Prologue, Step, Task};
use crate::translate::{activation, conv_shape, operation, pool_kind, pool_window, window};

/// A step ready to run.
#[derive(Debug)]
pub(super) enum Kernel {
    Import(Import),
    Stem(Stem, StemWeights),
    Conv(Box<Conv>, ConvWeights),
    Grouped(Box<Grouped>, GroupedWeights),
    Winograd(Box<Winograd>, WinogradWeights),
    Affine(Affine, Channels),
    Map(Map),
    Combine(Combine),
    Pool(Pool),
    AffinePool(AffinePool, Channels),
    Copy(Vec<Transfer>),
}

/// A scale and a shift for every channel.
#[derive(Clone, Debug)]
pub(super) struct Channels {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

/// What kernels are made from.
pub(super) struct Build<'a> {
    pub graph: &'a Graph,
    pub weights: &'a Weights,
    pub shapes: &'a [Shape],
    pub isa: Isa,
    /// Every convolution is computed directly.
    pub strict: bool,
}

impl Build<'_> {
    /// The kernel of a step; `planes` tells where values lie.
    pub(super) fn kernel(&self, step: &Step, planes: impl Fn(ValueId) -> Planes) -> Kernel {
        let input = |i: usize| planes(step.inputs[i]);
        let output = planes(step.output());
        match &step.task {
            Task::Import { normalise } => Kernel::Import(Import::new(self.graph, *normalise, output)),
            Task::Stem { normalise, node, activation: act, pool } => {
                self.stem(*normalise, *node, activation(*act), *pool, &output)
            }
            Task::Conv { node, prologue, activation: act, residual } => {
                let residual = match residual {
                    Some(Order::BeforeActivation) => Residual::BeforeActivation(input(1)),
                    Some(Order::AfterActivation) => Residual::AfterActivation(input(1)),
                    None => Residual::None,
                };
                let prologue_activation = prologue.map(|p| activation(p.activation));
                let fusion = Fusion { prologue: prologue_activation, activation: activation(*act), residual };
                self.convolution(*node, *prologue, &input(0), &output, fusion)
            }
            Task::Norm { node, activation: act } => {
                Kernel::Affine(Affine::new(self.isa, activation(*act), &input(0), &output), self.affine(*node))
            }
            Task::Map { function } => Kernel::Map(Map::new(self.isa, activation(Some(*function)), &input(0), &output)),
            Task::Combine { function, activation: act } => Kernel::Combine(Combine::new(
                self.isa,
                operation(*function),
                activation(*act),
                &input(0),
                &input(1),
                &output,
                false,
            )),
            Task::Pool { window: w, prologue: Some(p), .. } => {
                let w = pool_window(*w, self.shapes[step.inputs[0]]);
                let pool = AffinePool::new(self.isa, activation(p.activation), w, &input(0), &output);
                Kernel::AffinePool(pool, self.affine(p.norm))
            }
            Task::Pool { kind, window: w, prologue: None } => {
                let w = pool_window(*w, self.shapes[step.inputs[0]]);
                Kernel::Pool(Pool::new(self.isa, pool_kind(*kind), w, &input(0), &output))
            }
            Task::Copy => Kernel::Copy(copies(self.graph, step, planes)),
            Task::Loss => unreachable!("`Plan::new` refuses a loss"),
        }
    }

    /// A convolution of the picture, normalised by a node if there is one, and a pooling if there is a window.
    fn stem(
        &self,
        normalise: Option<ValueId>,
        node: ValueId,
        activation: Activation,
        pool: Option<Window>,
        output: &Planes,
    ) -> Kernel {
        let shape = conv_shape(&self.graph.node(node).op);
        let ([_, height, width], picture) = (self.shapes[node], self.shapes[self.graph.node(node).inputs[0]]);
        let stem = match pool {
            Some(w) => Stem::pooled(self.isa, shape, picture, activation, ([height, width], window(&w)), output),
            None => Stem::new(self.isa, shape, picture, output, activation),
        };
        let (weight, bias) = self.params(node);
        let weights = stem.pack(weight, bias, normalise.map(|n| pixel_norm(self.graph, n)));
        Kernel::Stem(stem, weights)
    }

    /// A convolution by the fastest algorithm for its shape, with its weights.
    fn convolution(
        &self,
        node: ValueId,
        prologue: Option<Prologue>,
        input: &Planes,
        output: &Planes,
        fusion: Fusion,
    ) -> Kernel {
        let shape = conv_shape(&self.graph.node(node).op);
        let (weight, bias) = self.params(node);
        let tile = Winograd::tile_for(&shape, input, output, &fusion).filter(|_| !self.strict);
        if let Some(tile) = tile {
            let winograd = Winograd::new(self.isa, tile, shape, input, output, fusion);
            let weights = winograd.pack(weight, bias);
            return Kernel::Winograd(Box::new(winograd), weights);
        }
        if Grouped::fits(&shape, input, output, &fusion) && !self.strict {
            let grouped = Grouped::new(self.isa, shape, input, output, fusion);
            let weights = grouped.pack(weight, bias);
            return Kernel::Grouped(Box::new(grouped), weights);
        }
        let conv = Conv::forward(self.isa, shape, input, output, fusion);
        let prologue = prologue.map(|p| self.affine(p.norm));
        let weights = conv.pack(weight, bias, prologue.as_ref().map(|c| (&c.scale[..], &c.shift[..])));
        Kernel::Conv(Box::new(conv), weights)
    }

    /// Weight and bias of a convolution or fully connected layer.
    fn params(&self, node: ValueId) -> (&[f32], Option<&[f32]>) {
        let params = &self.graph.node(node).params;
        (self.weights.get(params[0]), params.get(1).map(|&p| self.weights.get(p)))
    }

    /// A normalisation as `scale * x + shift`, computed in double precision.
    fn affine(&self, node: ValueId) -> Channels {
        let factors: Vec<(f64, f64)> = match &self.graph.node(node).op {
            Op::BatchNorm { eps, .. } => {
                let [scale, shift, mean, variance] =
                    [0, 1, 2, 3].map(|i| self.weights.get(self.graph.node(node).params[i]));
                let factor = |c: usize| f64::from(scale[c]) / (f64::from(variance[c]) + eps).sqrt();
                let channel = |c: usize| (factor(c), f64::from(shift[c]) - f64::from(mean[c]) * factor(c));
                (0..scale.len()).map(channel).collect()
            }
            Op::Normalise { mean, std } => {
                let channel = |(&m, &s): (&f32, &f32)| (1.0 / (255.0 * f64::from(s)), -f64::from(m) / f64::from(s));
                mean.iter().zip(std).map(channel).collect()
            }
            other => unreachable!("{} is no normalisation", other.name()),
        };
        let (scale, shift) = factors.into_iter().map(|(a, b)| (a as f32, b as f32)).unzip();
        Channels { scale, shift }
    }
}

impl Kernel {
    pub(super) fn run(&self, input: Input<'_>, memory: &mut Memory, team: &mut Team) {
        match self {
            Self::Import(import) => import.run(input, memory),
            Self::Stem(stem, weights) => stem.run(weights, pictures(input), memory, team),
            Self::Conv(conv, weights) => conv.run(weights, memory, team),
            Self::Grouped(grouped, weights) => grouped.run(weights, memory, team),
            Self::Winograd(winograd, weights) => winograd.run(weights, memory, team),
            Self::Affine(affine, c) => affine.run(&c.scale, &c.shift, memory, team),
            Self::Map(map) => map.run(memory, team),
            Self::Combine(combine) => combine.run(memory, team),
            Self::Pool(pool) => pool.run(memory, team),
            Self::AffinePool(pool, c) => pool.run(&c.scale, &c.shift, memory, team),
            Self::Copy(transfers) => transfers.iter().for_each(|t| t.run(memory, team)),
        }
    }

    /// Whether it takes the picture as pixels.
    pub(super) fn takes_pixels(&self) -> bool {
        match self {
            Self::Import(import) => import.normalises(),
            Self::Stem(_, weights) => weights.normalises(),
            _ => false,
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Import(import) if import.normalises() => "import, normalise".into(),
            Self::Import(_) => "import".into(),
            Self::Stem(stem, weights) if weights.normalises() => format!("import, normalise, {}", stem.name()),
            Self::Stem(stem, _) => format!("import, {}", stem.name()),
            Self::Conv(conv, _) => conv.name(),
            Self::Grouped(grouped, _) => grouped.name(),
            Self::Winograd(winograd, _) => winograd.name(),
            Self::Affine(..) => "scale and shift".into(),
            Self::Map(_) => "map".into(),
            Self::Combine(_) => "combine".into(),
            Self::Pool(_) => "pool".into(),
            Self::AffinePool(..) => "scale, shift and pool".into(),
            Self::Copy(_) => "copy".into(),
        }
    }

    pub(super) fn scratch_len(&self) -> usize {
        match self {
            Self::Stem(stem, _) => stem.scratch_len(),
            Self::Conv(conv, _) => conv.scratch_len(),
            Self::Grouped(grouped, _) => grouped.scratch_len(),
            Self::Winograd(winograd, _) => winograd.scratch_len(),
            _ => 0,
        }
    }

    pub(super) fn weight_bytes(&self) -> usize {
        match self {
            Self::Stem(_, weights) => weights.bytes(),
            Self::Conv(_, weights) => weights.bytes(),
            Self::Grouped(_, weights) => weights.bytes(),
            Self::Winograd(_, weights) => weights.bytes(),
            Self::Affine(_, c) | Self::AffinePool(_, c) => 2 * c.scale.len() * size_of::<f32>(),
            _ => 0,
        }
    }

    pub(super) fn copied_bytes(&self) -> usize {
        match self {
            Self::Copy(transfers) => transfers.iter().map(Transfer::bytes).sum(),
            _ => 0,
        }
    }
}

fn pictures(input: Input<'_>) -> Pictures<'_> {
    match input {
        Input::Real(numbers) => Pictures::Numbers(numbers),
        Input::Pixels(bytes) => Pictures::Bytes(bytes),
    }
}
