//! A step of inference as a kernel with its packed weights.

use std::sync::{Mutex, PoisonError};

use cspnet_graph::rewrite::threshold;
use cspnet_graph::{Fill, Filter, Graph, LazyTensor, LazyWeights, Op, Pad, ReadError, Shape, Unary, ValueId, Window};
use cspnet_kernels::{
    self as kernels, Activation, Affine, AffinePool, Bands, Combine, Conv, ConvWeights, First, Fusion, Gather, Grouped,
    GroupedWeights, Isa, Lines, Map, Memory, Numbers, PRelu, Pictures, Planes, Pool, Product, Resample, Residual,
    Second, Stem, StemWeights, Team, Transfer, Winograd, WinogradWeights,
};

use super::choices::{Algorithm, Layer};
use crate::import::{Constant, Import, copies, pixel_norm};
use crate::input::Input;
use crate::lower::{Order, Prologue, Step, Task};
use crate::rewrites::{Rewrite, Rewrites};
use crate::translate::{activation, conv_shape, is_unpadded, lines, operation, pooling, source, window};

/// A step ready to run.
#[derive(Debug)]
pub(super) enum Kernel {
    /// Which of the network's inputs comes in.
    Import(usize, Import),
    /// Which of the network's inputs is read.
    Stem(usize, Stem, StemWeights),
    Conv(Box<Conv>, ConvWeights),
    Grouped(Box<Grouped>, GroupedWeights),
    Winograd(Box<Winograd>, WinogradWeights),
    Affine(Affine, Channels),
    Map(Map),
    Combine(Combine),
    Pool(Pool),
    AffinePool(AffinePool, Channels),
    Constant(Constant),
    PRelu(PRelu, Vec<f32>),
    Gather(Gather),
    Resample(Resample),
    Lines(Lines),
    Product(Product),
    Copy(Vec<Transfer>),
    /// Which of the network's inputs is read, if the first of both reads one.
    Bands(usize, Bands),
}

/// A scale and a shift for every channel.
#[derive(Clone, Debug)]
pub(super) struct Channels {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

/// What kernels are made from.
pub(super) struct Build<'g, 'a> {
    pub graph: &'g Graph,
    pub weights: &'g LazyWeights<'a>,
    pub shapes: &'g [Shape],
    pub isa: Isa,
    /// The instruction set whose model of the cost chooses algorithms.
    pub chooses: Isa,
    pub rewrites: Rewrites,
    /// Every convolution is computed by the kernel for all.
    pub direct: bool,
}

impl<'a> Build<'_, 'a> {
    /// The step as a layer whose algorithm can be chosen, if it is one.
    pub(super) fn layer(&self, step: &Step, planes: impl Fn(ValueId) -> Planes) -> Option<Layer> {
        let Task::Conv { node, .. } = step.task else { return None };
        let shape = conv_shape(&self.graph.node(node).op);
        Layer::of(self.chooses, &shape, &planes(step.inputs[0]), &planes(step.output()), &self.fusion(step, &planes))
    }

    /// The kernel of a step, by an algorithm if there is a choice; `planes` tells where values lie, and the team shares the
    /// packing of weights.
    pub(super) fn kernel(
        &self,
        step: &Step,
        algorithm: Algorithm,
        planes: impl Fn(ValueId) -> Planes,
        team: &mut Team,
    ) -> Result<Kernel, ReadError> {
        let input = |i: usize| planes(step.inputs[i]);
        let output = planes(step.output());
        Ok(match &step.task {
            Task::Import { normalise } => {
                Kernel::Import(self.number(step.nodes[0]), Import::new(self.graph, *normalise, output))
            }
            Task::Stem { normalise, node, activation: act, pool } => {
                let (stem, weights) = self.stem(*normalise, *node, activation(*act), *pool, &output)?;
                Kernel::Stem(self.number(step.nodes[0]), stem, weights)
            }
            Task::Conv { node, prologue, .. } => {
                let (input, fusion) = (input(0), self.fusion(step, &planes));
                self.convolution(*node, *prologue, &input, &output, fusion, algorithm, team)?
            }
            Task::Norm { node, activation: act, .. } => {
                Kernel::Affine(Affine::new(self.isa, activation(*act), &input(0), &output), self.affine(*node)?)
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
            Task::Pool { kind, window: w, prologue: Some(p), .. } => {
                let (_, w) = pooling(*kind, *w, self.shapes[step.inputs[0]]);
                let pool = AffinePool::new(self.isa, activation(p.activation), w, &input(0), &output);
                Kernel::AffinePool(pool, self.affine(p.norm)?)
            }
            Task::Pool { kind, window: w, prologue: None, activation: act } => {
                let (kind, w) = pooling(*kind, *w, self.shapes[step.inputs[0]]);
                let pool = Pool::new(self.isa, kind, w, &input(0), &output);
                Kernel::Pool(pool.with_activation(activation(*act)))
            }
            Task::Alone { node } => self.alone(*node, step, &planes)?,
            Task::Copy => Kernel::Copy(copies(self.graph, step, planes)),
            Task::Loss => unreachable!("`Plan::new` refuses a loss"),
            Task::Drop { .. } => unreachable!("nothing is dropped in inference"),
        })
    }

    /// Which of the network's inputs a value is.
    fn number(&self, input: ValueId) -> usize {
        self.graph.inputs().iter().position(|&v| v == input).expect("what comes in is an input")
    }

    /// The kernel of an operation that is computed by itself.
    fn alone(&self, node: ValueId, step: &Step, planes: impl Fn(ValueId) -> Planes) -> Result<Kernel, ReadError> {
        let (op, output) = (&self.graph.node(node).op, planes(node));
        let input = |i: usize| planes(step.inputs[i]);
        let numbers = || self.weights.get(self.graph.node(node).params[0]).to_vec();
        Ok(match op {
            Op::Constant { .. } => Kernel::Constant(Constant::new(output, numbers()?)),
            Op::PRelu => Kernel::PRelu(PRelu::new(self.isa, &input(0), &output), numbers()?),
            Op::MatMul => Kernel::Product(Product::new(self.isa, &input(0), &input(1), &output)),
            Op::Resize(resize) if !matches!(resize.filter, Filter::Nearest { .. }) => {
                let x = input(0);
                let (rows, columns) = (resize.taps(0, x.height()), resize.taps(1, x.width()));
                Kernel::Resample(Resample::new(self.isa, rows, columns, &x, &output))
            }
            Op::Pad(_) | Op::Crop(_) | Op::Rearrange(_) | Op::Resize(_) => {
                let fill = match op {
                    Op::Pad(Pad { fill: Fill::Constant { value }, .. }) => *value as f32,
                    _ => 0.0,
                };
                let source = source(op, self.shapes[step.inputs[0]]);
                Kernel::Gather(Gather::new(&input(0), &output, fill, source))
            }
            _ => match lines(op) {
                Some((function, axes)) => Kernel::Lines(Lines::new(function, axes, &input(0), &output)),
                None => unreachable!("{} has another task", op.name()),
            },
        })
    }

    /// A convolution of a picture, normalised by a node if there is one, and a pooling if there is a window.
    fn stem(
        &self,
        normalise: Option<ValueId>,
        node: ValueId,
        activation: Activation,
        pool: Option<Window>,
        output: &Planes,
    ) -> Result<(Stem, StemWeights), ReadError> {
        let shape = conv_shape(&self.graph.node(node).op);
        let ([_, height, width], picture) = (self.shapes[node], self.shapes[self.graph.node(node).inputs[0]]);
        let stem = match pool {
            Some(w) => Stem::pooled(self.isa, shape, picture, activation, ([height, width], window(&w)), output),
            None => Stem::new(self.isa, shape, picture, output, activation),
        };
        let (weight, bias) = self.params(node)?;
        let weights = stem.pack(&weight.to_vec()?, bias.as_deref(), normalise.map(|n| pixel_norm(self.graph, n)));
        Ok((stem, weights))
    }

    /// A convolution with its weights.
    #[expect(clippy::too_many_arguments, reason = "a step's parts, taken apart once")]
    fn convolution(
        &self,
        node: ValueId,
        prologue: Option<Prologue>,
        input: &Planes,
        output: &Planes,
        fusion: Fusion,
        algorithm: Algorithm,
        team: &mut Team,
    ) -> Result<Kernel, ReadError> {
        let shape = conv_shape(&self.graph.node(node).op);
        let (weight, bias) = self.params(node)?;
        let tiles = Winograd::tiles_for(&shape, input, output, &fusion);
        let tile = match algorithm {
            Algorithm::Direct => None,
            Algorithm::Winograd2 => tiles.map(|[small, _]| small),
            Algorithm::Winograd4 => tiles.map(|[_, large]| large),
        };
        if let Some(tile) = tile {
            let winograd = Winograd::new(self.isa, tile, shape, input, output, fusion);
            let weights = in_pieces(weight, |numbers| winograd.pack_pieces(numbers, bias.as_deref(), team))?;
            return Ok(Kernel::Winograd(Box::new(winograd), weights));
        }
        if !self.direct && Grouped::fits(&shape, input, output, &fusion) {
            let grouped = Grouped::new(self.isa, shape, input, output, fusion);
            let weights = grouped.pack(&weight.to_vec()?, bias.as_deref());
            return Ok(Kernel::Grouped(Box::new(grouped), weights));
        }
        let is_clamped = fusion.prologue == Some(kernels::Prologue::Clamp);
        let conv = Conv::forward(self.isa, shape, input, output, fusion);
        let weights = match prologue {
            Some(p) if is_clamped => {
                let (scale, shift): (Vec<f64>, Vec<f64>) = self.factors(p.norm)?.into_iter().unzip();
                let bias = bias.unwrap_or_else(|| vec![0.0; output.channels()]);
                let t = threshold(&scale, &shift, &weight.to_vec()?, &bias);
                conv.pack(&t.weight, Some(&t.bias), Some((&t.low, &t.high)))
            }
            _ => {
                let prologue = prologue.map(|p| self.affine(p.norm)).transpose()?;
                let prologue = prologue.as_ref().map(|c| (&c.scale[..], &c.shift[..]));
                in_pieces(weight, |numbers| conv.pack_pieces(numbers, bias.as_deref(), prologue, team))?
            }
        };
        Ok(Kernel::Conv(Box::new(conv), weights))
    }

    /// Whether the normalisation in front of a convolution becomes bounds of its input: after a ReLU, and where no tap sees padding,
    /// which would have to be zero behind it.
    pub(super) fn is_threshold(&self, task: &Task) -> bool {
        let Task::Conv { node, prologue: Some(Prologue { activation: Some(Unary::Relu), .. }), .. } = task else {
            return false;
        };
        self.rewrites.has(Rewrite::Threshold) && is_unpadded(&self.graph.node(*node).op)
    }

    /// What a convolution computes besides itself.
    fn fusion(&self, step: &Step, planes: impl Fn(ValueId) -> Planes) -> Fusion {
        let Task::Conv { prologue, activation: act, residual, .. } = &step.task else {
            unreachable!("only convolutions take others in");
        };
        let residual = match residual {
            Some(Order::BeforeActivation) => Residual::BeforeActivation(planes(step.inputs[1])),
            Some(Order::AfterActivation) => Residual::AfterActivation(planes(step.inputs[1])),
            None => Residual::None,
        };
        let before = prologue.map(|p| kernels::Prologue::Affine(activation(p.activation)));
        let before = if self.is_threshold(&step.task) { Some(kernels::Prologue::Clamp) } else { before };
        Fusion { prologue: before, activation: activation(*act), residual }
    }

    /// Weight and bias of a convolution or fully connected layer.
    fn params(&self, node: ValueId) -> Result<(&LazyTensor<'a>, Option<Vec<f32>>), ReadError> {
        let params = &self.graph.node(node).params;
        let bias = params.get(1).map(|&p| self.weights.get(p).to_vec()).transpose()?;
        Ok((self.weights.get(params[0]), bias))
    }

    /// A normalisation as `scale * x + shift`, computed in double precision and rounded once.
    fn affine(&self, node: ValueId) -> Result<Channels, ReadError> {
        let rounded = self.factors(node)?.into_iter().map(|(a, b)| (a as f32, b as f32));
        let (scale, shift) = rounded.unzip();
        Ok(Channels { scale, shift })
    }

    /// Scale and shift of every channel of a normalisation.
    fn factors(&self, node: ValueId) -> Result<Vec<(f64, f64)>, ReadError> {
        Ok(match &self.graph.node(node).op {
            Op::BatchNorm { eps, .. } => {
                let read = |i: usize| self.weights.get(self.graph.node(node).params[i]).to_vec();
                let (scale, shift, mean, variance) = (read(0)?, read(1)?, read(2)?, read(3)?);
                let factor = |c: usize| f64::from(scale[c]) / (f64::from(variance[c]) + eps).sqrt();
                let channel = |c: usize| (factor(c), f64::from(shift[c]) - f64::from(mean[c]) * factor(c));
                (0..scale.len()).map(channel).collect()
            }
            Op::Normalise { mean, std } => {
                let channel = |(&m, &s): (&f32, &f32)| (1.0 / (255.0 * f64::from(s)), -f64::from(m) / f64::from(s));
                mean.iter().zip(std).map(channel).collect()
            }
            other => unreachable!("{} is no normalisation", other.name()),
        })
    }
}

/// Lets `pack` read a tensor piece by piece, on any thread.
fn in_pieces<T>(tensor: &LazyTensor<'_>, pack: impl FnOnce(Numbers<'_>) -> T) -> Result<T, ReadError> {
    let (pieces, failed) = (tensor.open()?, Mutex::new(None));
    let read = |first: usize, out: &mut [f32]| {
        if let Err(error) = pieces(first, out) {
            *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    };
    let packed = pack(Numbers::Pieces { len: tensor.len(), read: &read });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(packed),
    }
}

impl Kernel {
    /// This one and the one that reads what it gives, band by band.
    pub(super) fn in_bands_with(self, second: Self) -> Self {
        let (input, first) = match self {
            Self::Stem(input, stem, weights) => (input, First::Stem(Box::new(stem), weights)),
            Self::Conv(conv, weights) => (0, First::Conv(conv, weights)),
            other => unreachable!("`bands::join` chose {}", other.name()),
        };
        let second = match second {
            Self::Conv(conv, weights) => Second::Conv(conv, weights),
            Self::Winograd(winograd, weights) => Second::Winograd(winograd, weights),
            other => unreachable!("`bands::join` chose {}", other.name()),
        };
        Self::Bands(input, Bands::new(first, second))
    }

    pub(super) fn run(&self, inputs: &[Input<'_>], memory: &mut Memory, team: &mut Team) {
        match self {
            Self::Import(input, import) => import.run(inputs[*input], memory),
            Self::Stem(input, stem, weights) => stem.run(weights, pictures(inputs[*input]), memory, team),
            Self::Conv(conv, weights) => conv.run(weights, memory, team),
            Self::Grouped(grouped, weights) => grouped.run(weights, memory, team),
            Self::Winograd(winograd, weights) => winograd.run(weights, memory, team),
            Self::Affine(affine, c) => affine.run(&c.scale, &c.shift, memory, team),
            Self::Map(map) => map.run(memory, team),
            Self::Combine(combine) => combine.run(memory, team),
            Self::Pool(pool) => pool.run(memory, team),
            Self::AffinePool(pool, c) => pool.run(&c.scale, &c.shift, memory, team),
            Self::Constant(constant) => constant.run(memory),
            Self::PRelu(prelu, slopes) => prelu.run(slopes, memory, team),
            Self::Gather(gather) => gather.run(memory, team),
            Self::Resample(resample) => resample.run(memory, team),
            Self::Lines(lines) => lines.run(memory, team),
            Self::Product(product) => product.run(memory, team),
            Self::Copy(transfers) => transfers.iter().for_each(|t| t.run(memory, team)),
            Self::Bands(input, bands) => bands.run(pictures(inputs[*input]), memory, team),
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Import(_, import) if import.normalises() => "import, normalise".into(),
            Self::Import(..) => "import".into(),
            Self::Stem(_, stem, weights) if weights.normalises() => format!("import, normalise, {}", stem.name()),
            Self::Stem(_, stem, _) => format!("import, {}", stem.name()),
            Self::Conv(conv, _) => conv.name(),
            Self::Grouped(grouped, _) => grouped.name(),
            Self::Winograd(winograd, _) => winograd.name(),
            Self::Affine(..) => "scale and shift".into(),
            Self::Map(_) => "map".into(),
            Self::Combine(_) => "combine".into(),
            Self::Pool(_) => "pool".into(),
            Self::AffinePool(..) => "scale, shift and pool".into(),
            Self::Constant(_) => "constant".into(),
            Self::PRelu(..) => "prelu".into(),
            Self::Gather(_) => "gather".into(),
            Self::Resample(_) => "resample".into(),
            Self::Lines(_) => "lines".into(),
            Self::Product(_) => "matrix product".into(),
            Self::Copy(_) => "copy".into(),
            Self::Bands(_, bands) if bands.normalises() => format!("import, normalise, {}", bands.name()),
            Self::Bands(_, bands) => bands.name(),
        }
    }

    pub(super) fn scratch_len(&self) -> usize {
        match self {
            Self::Stem(_, stem, _) => stem.scratch_len(),
            Self::Conv(conv, _) => conv.scratch_len(),
            Self::Grouped(grouped, _) => grouped.scratch_len(),
            Self::Winograd(winograd, _) => winograd.scratch_len(),
            Self::Bands(_, bands) => bands.scratch_len(),
            Self::Lines(lines) => lines.scratch_len(),
            _ => 0,
        }
    }

    pub(super) fn weight_bytes(&self) -> usize {
        match self {
            Self::Stem(_, _, weights) => weights.bytes(),
            Self::Conv(_, weights) => weights.bytes(),
            Self::Grouped(_, weights) => weights.bytes(),
            Self::Winograd(_, weights) => weights.bytes(),
            Self::Bands(_, bands) => bands.weight_bytes(),
            Self::Affine(_, c) | Self::AffinePool(_, c) => 2 * c.scale.len() * size_of::<f32>(),
            Self::PRelu(_, slopes) => slopes.len() * size_of::<f32>(),
            Self::Constant(constant) => constant.bytes(),
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
