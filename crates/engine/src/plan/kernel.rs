//! A step of inference as a kernel with its packed weights.

use cspnet_graph::rewrite::threshold;
use cspnet_graph::{Graph, Op, Shape, Unary, ValueId, Weights};
use cspnet_kernels::{
    self as kernels, Affine, AffinePool, Combine, Conv, ConvWeights, Fusion, Isa, Map, Memory, Planes, Pool, Residual,
    Team, Transfer, Winograd, WinogradWeights,
};

use crate::import::{Import, copies};
use crate::input::Input;
use crate::lower::{Order, Prologue, Step, Task};
use crate::rewrites::{Rewrite, Rewrites};
use crate::translate::{activation, conv_shape, operation, pool_kind, pool_window};

/// A step ready to run.
#[derive(Debug)]
pub(super) enum Kernel {
    Import(Import),
    Conv(Box<Conv>, ConvWeights),
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
    pub rewrites: Rewrites,
    /// Every convolution is computed directly.
    pub direct: bool,
}

impl Build<'_> {
    /// The kernel of a step; `planes` tells where values lie.
    pub(super) fn kernel(&self, step: &Step, planes: impl Fn(ValueId) -> Planes) -> Kernel {
        let input = |i: usize| planes(step.inputs[i]);
        let output = planes(step.output());
        match &step.task {
            Task::Import { normalise } => Kernel::Import(Import::new(self.graph, *normalise, output)),
            Task::Conv { node, prologue, activation: act, residual } => {
                let residual = match residual {
                    Some(Order::BeforeActivation) => Residual::BeforeActivation(input(1)),
                    Some(Order::AfterActivation) => Residual::AfterActivation(input(1)),
                    None => Residual::None,
                };
                let before = prologue.map(|p| kernels::Prologue::Affine(activation(p.activation)));
                let before = if self.is_threshold(&step.task) { Some(kernels::Prologue::Clamp) } else { before };
                let fusion = Fusion { prologue: before, activation: activation(*act), residual };
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
            Task::Pool { kind, window: w, prologue: None, activation: act } => {
                let w = pool_window(*w, self.shapes[step.inputs[0]]);
                let pool = Pool::new(self.isa, pool_kind(*kind), w, &input(0), &output);
                Kernel::Pool(pool.with_activation(activation(*act)))
            }
            Task::Copy => Kernel::Copy(copies(self.graph, step, planes)),
            Task::Loss => unreachable!("`Plan::new` refuses a loss"),
        }
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
        let params = &self.graph.node(node).params;
        let (weight, bias) = (self.weights.get(params[0]), params.get(1).map(|&p| self.weights.get(p)));
        let tile = Winograd::tile_for(&shape, input, output, &fusion).filter(|_| !self.direct);
        if let Some(tile) = tile {
            let winograd = Winograd::new(self.isa, tile, shape, input, output, fusion);
            let weights = winograd.pack(weight, bias);
            return Kernel::Winograd(Box::new(winograd), weights);
        }
        let is_clamped = fusion.prologue == Some(kernels::Prologue::Clamp);
        let conv = Conv::forward(self.isa, shape, input, output, fusion);
        let weights = match prologue {
            Some(p) if is_clamped => {
                let (scale, shift): (Vec<f64>, Vec<f64>) = self.factors(p.norm).into_iter().unzip();
                let zero = vec![0.0; output.channels()];
                let t = threshold(&scale, &shift, weight, bias.unwrap_or(&zero));
                conv.pack(&t.weight, Some(&t.bias), Some((&t.low, &t.high)))
            }
            Some(p) => {
                let Channels { scale, shift } = self.affine(p.norm);
                conv.pack(weight, bias, Some((&scale, &shift)))
            }
            None => conv.pack(weight, bias, None),
        };
        Kernel::Conv(Box::new(conv), weights)
    }

    /// Whether the normalisation in front of a convolution becomes bounds of its input: after a ReLU, and where no tap sees padding,
    /// which would have to be zero behind it.
    pub(super) fn is_threshold(&self, task: &Task) -> bool {
        let Task::Conv { node, prologue: Some(Prologue { activation: Some(Unary::Relu), .. }), .. } = task else {
            return false;
        };
        let window = conv_shape(&self.graph.node(*node).op).window;
        self.rewrites.has(Rewrite::Threshold) && window.padding == [0, 0]
    }

    /// A normalisation as `scale * x + shift`, computed in double precision and rounded once.
    fn affine(&self, node: ValueId) -> Channels {
        let rounded = self.factors(node).into_iter().map(|(a, b)| (a as f32, b as f32));
        let (scale, shift) = rounded.unzip();
        Channels { scale, shift }
    }

    /// Scale and shift of every channel of a normalisation.
    fn factors(&self, node: ValueId) -> Vec<(f64, f64)> {
        match &self.graph.node(node).op {
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
        }
    }
}

impl Kernel {
    pub(super) fn run(&self, input: Input<'_>, memory: &mut Memory, team: &mut Team) {
        match self {
            Self::Import(import) => import.run(input, memory),
            Self::Conv(conv, weights) => conv.run(weights, memory, team),
            Self::Winograd(winograd, weights) => winograd.run(weights, memory, team),
            Self::Affine(affine, c) => affine.run(&c.scale, &c.shift, memory, team),
            Self::Map(map) => map.run(memory, team),
            Self::Combine(combine) => combine.run(memory, team),
            Self::Pool(pool) => pool.run(memory, team),
            Self::AffinePool(pool, c) => pool.run(&c.scale, &c.shift, memory, team),
            Self::Copy(transfers) => transfers.iter().for_each(|t| t.run(memory, team)),
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Import(import) if import.normalises() => "import, normalise".into(),
            Self::Import(_) => "import".into(),
            Self::Conv(conv, _) => conv.name(),
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
            Self::Conv(conv, _) => conv.scratch_len(),
            Self::Winograd(winograd, _) => winograd.scratch_len(),
            _ => 0,
        }
    }

    pub(super) fn weight_bytes(&self) -> usize {
        match self {
            Self::Conv(_, weights) => weights.bytes(),
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
