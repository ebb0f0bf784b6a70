//! A step of training, forward or backward, as a kernel.

use cspnet_graph::{Binary, Graph, Op, ParamId, Shape, ValueId, Weights};
use cspnet_kernels::{
    self as kernels, BatchNorm, BatchNormGrad, ChannelSum, Clear, Combine, ConvGrad, Dropout, Isa, Map, MapGrad,
    Memory, Moments, MomentsGrad, Planes, Pool, PoolGrad, ProductSum, SharedNormGrad, SoftmaxCrossEntropy, Take, Team,
    TileUnit, Transfer,
};

use super::backward::Back;
use super::convolution::Convolution;
use super::norms::Segment;
use super::program::Program;
use super::{Running, State, TrainOptions};
use crate::import::{Import, copies};
use crate::input::Input;
use crate::lower::{Prologue, Step, Task};
use crate::report::{Pass, StepReport};
use crate::translate::{activation, conv_shape, drop_rule, operation, pooling};

/// A step ready to run. Numbers name statistics and moments in the workspace's state, parameters by their id. A slot is where the
/// moments of what is written are kept, if normalisations want them; what is normalised is hidden where only convolutions read it.
#[derive(Debug)]
pub(super) enum Kernel {
    Import(Import),
    Conv { conv: Convolution, norm: Option<usize>, weight: ParamId, bias: Option<ParamId>, slot: Option<usize> },
    Moments { moments: Moments, slot: usize },
    Norm { assemble: Assemble, norm: Option<BatchNorm> },
    Again { norm: BatchNorm, stats: usize },
    Map(Map),
    Combine(Combine),
    Pool { pool: Pool, slot: Option<usize> },
    Transfer(Vec<Transfer>),
    Drop(Dropout),
    Loss(SoftmaxCrossEntropy),
    Clear(Clear),
    ConvWeight { grad: Box<ConvGrad>, norm: Option<usize>, weight: ParamId },
    Bias { sum: ChannelSum, bias: ParamId },
    NormGrad { grad: BatchNormGrad, stats: usize, scale: ParamId, shift: ParamId },
    SharedNormGrad { grad: SharedNormGrad, assemble: Assemble },
    MomentsGrad { grad: MomentsGrad, slot: usize },
    MapGrad(MapGrad),
    PoolGrad(PoolGrad),
    ProductSum(ProductSum),
}

/// A normalisation whose statistics are put together from the moments of what it reads.
#[derive(Debug)]
pub(super) struct Assemble {
    parts: Vec<Segment>,
    stats: usize,
    scale: ParamId,
    shift: ParamId,
    eps: f64,
}

/// What a step of training is given.
pub(super) struct Batch<'a> {
    pub input: Input<'a>,
    pub targets: &'a [f32],
    pub weights: &'a Weights,
}

/// Makes the kernels of both passes, in order.
pub(super) struct Build<'a> {
    graph: &'a Graph,
    shapes: &'a [Shape],
    isa: Isa,
    /// What multiplies tiles of bfloat16, if they are wanted.
    unit: Option<TileUnit>,
    program: &'a Program,
    made: Made,
}

/// What a plan consists of.
#[derive(Default)]
pub(super) struct Made {
    /// The kernels of both passes, in order.
    pub kernels: Vec<Kernel>,
    /// What each of them is.
    pub steps: Vec<StepReport>,
    /// What each of them writes into the arena, if anything.
    pub written: Vec<Option<Planes>>,
    /// Running statistics in the order of the workspace's statistics.
    pub running: Vec<Running>,
}

impl<'a> Build<'a> {
    pub(super) fn new(graph: &'a Graph, shapes: &'a [Shape], options: &TrainOptions, program: &'a Program) -> Self {
        let &TrainOptions { isa, mixed: unit, .. } = options;
        Self { graph, shapes, isa, unit, program, made: Made::default() }
    }

    /// Both passes.
    pub(super) fn make(mut self) -> Made {
        let program = self.program;
        for step in &program.forward {
            if let Some(mut kernel) = self.forward(step) {
                let slot = self.slot(step.output()).filter(|&slot| !kernel.take_moments(slot));
                let written = match step.task {
                    Task::Norm { stored: false, .. } => None,
                    _ => Some(program.planes(step.output())),
                };
                self.push(kernel, Pass::Forward, &step.nodes, step.output(), written);
                if let Some(slot) = slot {
                    let moments = Moments::new(self.isa, &program.planes(step.output()));
                    let (pass, of) = (Pass::Statistics, step.output());
                    self.push(Kernel::Moments { moments, slot }, pass, &[of], of, None);
                }
            }
        }
        for step in &program.backward {
            self.backward(step);
        }
        self.made
    }

    fn push(&mut self, kernel: Kernel, pass: Pass, nodes: &[ValueId], of: ValueId, written: Option<Planes>) {
        let nodes = nodes.iter().map(|&n| self.graph.node(n).path.clone()).collect();
        self.made.steps.push(StepReport { pass, nodes, kernel: kernel.name(), shape: self.shapes[of] });
        self.made.kernels.push(kernel);
        self.made.written.push(written);
    }

    /// The kernel of a forward step; the loss has none, for its value and gradient come together at the turn.
    fn forward(&mut self, step: &Step) -> Option<Kernel> {
        let input = |i: usize| self.program.planes(step.inputs[i]);
        let output = self.program.planes(step.output());
        Some(match &step.task {
            Task::Import { normalise } => Kernel::Import(Import::new(self.graph, *normalise, output)),
            Task::Conv { node, prologue, .. } => {
                let shape = conv_shape(&self.graph.node(*node).op);
                let conv = Convolution::forward((self.isa, self.unit), shape, before(*prologue), &input(0), &output);
                let params = &self.graph.node(*node).params;
                let norm = prologue.map(|p| self.stats(p.norm));
                Kernel::Conv { conv, norm, weight: params[0], bias: params.get(1).copied(), slot: None }
            }
            Task::Norm { node, activation: act, stored } => {
                let norm = stored.then(|| BatchNorm::new(self.isa, &input(0), &output, activation(*act)));
                self.add_running(*node);
                Kernel::Norm { assemble: self.assemble(*node, step.inputs[0]), norm }
            }
            Task::Map { function } => Kernel::Map(Map::new(self.isa, activation(Some(*function)), &input(0), &output)),
            Task::Combine { function, .. } => {
                let act = activation(None);
                Kernel::Combine(Combine::new(self.isa, operation(*function), act, &input(0), &input(1), &output, false))
            }
            Task::Pool { kind, window, .. } => {
                let (kind, window) = pooling(*kind, *window, self.shapes[step.inputs[0]]);
                Kernel::Pool { pool: Pool::new(self.isa, kind, window, &input(0), &output), slot: None }
            }
            Task::Drop { node } => {
                let rule = drop_rule(self.graph, *node);
                Kernel::Drop(Dropout::new(self.isa, rule, &input(0), &output, false))
            }
            Task::Copy => Kernel::Transfer(copies(self.graph, step, |v| self.program.planes(v))),
            Task::Loss => return None,
            Task::Stem { .. } => unreachable!("only inference joins the import and a convolution"),
            Task::Alone { .. } => unreachable!("`TrainPlan::new` refuses it"),
        })
    }

    /// Adds the kernels of a backward step.
    fn backward(&mut self, step: &Back) {
        let (isa, program) = (self.isa, self.program);
        let (value, gradient) = (|v: ValueId| program.planes_backward(v), |v: ValueId| program.gradient(v));
        let op = |node: ValueId| &self.graph.node(node).op;
        let kernel = match *step {
            Back::Clear { ref missing, .. } => Kernel::Clear(Clear::new(&program.gradient_of(missing))),
            Back::Loss { logits } => Kernel::Loss(SoftmaxCrossEntropy::new(&value(logits), &gradient(logits))),
            Back::ConvWeight { node, prologue, input, output } => {
                let params = &self.graph.node(node).params;
                if let Some(&bias) = params.get(1) {
                    let sum = Kernel::Bias { sum: ChannelSum::new(isa, &gradient(output)), bias };
                    self.push(sum, Pass::Backward, &[node], output, None);
                }
                let (x, dy) = (value(input), gradient(output));
                let shape = conv_shape(op(node));
                let unit = self.unit.filter(|_| prologue.is_none() && ConvGrad::fits_tiles(&shape, &x, &dy));
                let grad = match unit {
                    Some(unit) => ConvGrad::in_tiles(isa, unit, shape, &x, &dy),
                    None => ConvGrad::new(isa, shape, &x, &dy, before(prologue)),
                };
                let norm = prologue.map(|p| self.stats(p.norm));
                Kernel::ConvWeight { grad: Box::new(grad), norm, weight: params[0] }
            }
            Back::ConvData { node, input, output, accumulate } => {
                let shape = conv_shape(op(node));
                let conv = Convolution::backward_data(
                    (isa, self.unit),
                    shape,
                    &gradient(output),
                    &gradient(input),
                    accumulate,
                );
                Kernel::Conv { conv, norm: None, weight: self.graph.node(node).params[0], bias: None, slot: None }
            }
            Back::Norm { node, activation: act, input, output, accumulate } if program.norms.is_summed(node) => {
                let (x, dy, sum) = (value(input), gradient(output), gradient(input));
                let grad = SharedNormGrad::new(isa, &x, &dy, &sum, activation(act), accumulate);
                Kernel::SharedNormGrad { grad, assemble: self.assemble(node, input) }
            }
            Back::Moments { of } => {
                let slot = program.layout.views[of].iter().find_map(|p| program.norms.slot(p.root));
                let grad = MomentsGrad::new(isa, &value(of), &gradient(of));
                Kernel::MomentsGrad { grad, slot: slot.expect("a sum has moments") }
            }
            Back::Norm { node, activation: act, input, output, accumulate } => {
                let (x, dy, dx) = (value(input), gradient(output), gradient(input));
                let grad = BatchNormGrad::new(isa, &x, &dy, &dx, activation(act), accumulate);
                self.norm_grad(node, grad)
            }
            Back::Map { function, input, output, accumulate } => {
                let (x, dy, dx) = (value(input), gradient(output), gradient(input));
                Kernel::MapGrad(MapGrad::new(isa, activation(Some(function)), &x, &dy, &dx, accumulate))
            }
            Back::Product { other, input, output, accumulate } => {
                let (a, b, dx) = (gradient(output), value(other), gradient(input));
                if self.shapes[input] == self.shapes[output] {
                    let product = operation(Binary::Mul);
                    Kernel::Combine(Combine::new(isa, product, activation(None), &a, &b, &dx, accumulate))
                } else {
                    Kernel::ProductSum(ProductSum::new(isa, &a, &b, &dx, accumulate))
                }
            }
            Back::Pass { input, output, accumulate } => {
                let (dy, dx) = (gradient(output), gradient(input));
                Kernel::Transfer(vec![Transfer::new(&dy, 0, &dx, 0, dy.channels(), accumulate)])
            }
            Back::Drop { node, input, output, accumulate } => {
                let rule = drop_rule(self.graph, node);
                Kernel::Drop(Dropout::new(isa, rule, &gradient(output), &gradient(input), accumulate))
            }
            Back::Pool { kind, window, input, output, accumulate } => {
                let (kind, window) = pooling(kind, window, self.shapes[input]);
                let (x, dy, dx) = (value(input), gradient(output), gradient(input));
                Kernel::PoolGrad(PoolGrad::new(isa, kind, window, &x, &dy, &dx, accumulate))
            }
            Back::Again { of } => self.again(of),
            Back::Copy { run, output } => {
                let (dy, dx) = (gradient(output), gradient(run.value));
                Kernel::Transfer(vec![Transfer::new(&dy, run.at, &dx, run.start, run.len, true)])
            }
        };
        let (pass, node, of) = step.place();
        self.push(kernel, pass, &[node], of, step.written().map(gradient));
    }

    /// What computes a value again from what is kept.
    fn again(&self, value: ValueId) -> Kernel {
        let step = self.program.step_of(value);
        let [input, output] = [step.inputs[0], value].map(|v| self.program.planes_backward(v));
        match step.task {
            Task::Norm { node, activation: act, .. } => {
                let norm = BatchNorm::new(self.isa, &input, &output, activation(act));
                Kernel::Again { norm, stats: self.stats(node) }
            }
            Task::Map { function } => Kernel::Map(Map::new(self.isa, activation(Some(function)), &input, &output)),
            _ => unreachable!("only normalisations and functions of every element are computed again"),
        }
    }

    /// A normalisation's eps and momentum; a normalisation of pixels has none and must come first.
    fn numbers(&self, norm: ValueId) -> [f64; 2] {
        let Op::BatchNorm { eps, momentum } = self.graph.node(norm).op else {
            unreachable!("`TrainPlan::new` refuses a normalisation of pixels that is not the first step");
        };
        [eps, momentum]
    }

    /// Adds a normalisation's running statistics, and a place for the batch's.
    fn add_running(&mut self, norm: ValueId) {
        let [mean, variance] = [2, 3].map(|i| self.graph.node(norm).params[i]);
        let [_, momentum] = self.numbers(norm);
        self.made.running.push(Running { norm, mean, variance, momentum });
    }

    /// Where a normalisation's statistics are.
    fn stats(&self, norm: ValueId) -> usize {
        self.made.running.iter().position(|r| r.norm == norm).expect("a normalisation comes before its readers")
    }

    /// Where the moments of a value are kept, if normalisations want them and it is the value that is written.
    fn slot(&self, value: ValueId) -> Option<usize> {
        let Program { norms, layout, .. } = self.program;
        let slot = layout.views[value].iter().find_map(|p| norms.slot(p.root));
        slot.filter(|_| layout.owners[layout.views[value][0].root] == value)
    }

    /// A normalisation of `input` by moments.
    fn assemble(&self, norm: ValueId, input: ValueId) -> Assemble {
        let [scale, shift] = [0, 1].map(|i| self.graph.node(norm).params[i]);
        let [eps, _] = self.numbers(norm);
        let parts = self.program.norms.segments(&self.program.layout, input);
        Assemble { parts, stats: self.stats(norm), scale, shift, eps }
    }

    fn norm_grad(&self, node: ValueId, grad: BatchNormGrad) -> Kernel {
        let stats = self.stats(node);
        let params = &self.graph.node(node).params;
        Kernel::NormGrad { grad, stats, scale: params[0], shift: params[1] }
    }
}

/// What a convolution does to its input first.
fn before(prologue: Option<Prologue>) -> Option<kernels::Prologue> {
    prologue.map(|p| kernels::Prologue::Affine(activation(p.activation)))
}

impl Assemble {
    /// Where its statistics are.
    pub(super) fn stats(&self) -> usize {
        self.stats
    }
}

impl Kernel {
    /// Has it take the moments of what it writes, to where they are kept; `false` if it cannot.
    fn take_moments(&mut self, to: usize) -> bool {
        match self {
            Self::Conv { conv, slot, .. } if conv.takes_moments() => *slot = Some(to),
            Self::Pool { slot, .. } => *slot = Some(to),
            _ => return false,
        }
        true
    }

    /// Where it keeps the moments that it takes.
    pub(super) fn moments(&self) -> Option<usize> {
        match *self {
            Self::Moments { slot, .. } => Some(slot),
            Self::Conv { slot, .. } | Self::Pool { slot, .. } => slot,
            _ => None,
        }
    }

    pub(super) fn run(&self, batch: &Batch<'_>, state: &mut State, memory: &mut Memory, team: &mut Team) {
        let weights = |p: ParamId| batch.weights.get(p);
        match self {
            Self::Import(import) => import.run(batch.input, memory),
            Self::Conv { conv, norm, weight, bias, slot } => {
                let State { stats, packed, tally, moments, .. } = state;
                let prologue = norm.map(|n| stats[n].scale_and_shift());
                let take = slot.map(|slot| Take { tally, moments: &mut moments[slot] });
                conv.run(weights(*weight), bias.map(weights), prologue, (packed, take), memory, team);
            }
            Self::Moments { moments, slot } => {
                let take = Take { tally: &mut state.tally, moments: &mut state.moments[*slot] };
                moments.run(take, memory, team);
            }
            Self::Norm { assemble: Assemble { parts, stats, scale, shift, eps }, norm } => {
                let stats = &mut state.stats[*stats];
                let parts = parts.iter().map(|p| (&state.moments[p.slot], p.channels.clone()));
                stats.assemble(parts, weights(*scale), weights(*shift), *eps, norm.is_some());
                if let Some(norm) = norm {
                    norm.run(stats, memory, team);
                }
            }
            Self::Again { norm, stats } => norm.run(&state.stats[*stats], memory, team),
            Self::Map(map) => map.run(memory, team),
            Self::Combine(combine) => combine.run(memory, team),
            Self::Pool { pool, slot } => {
                let take = slot.map(|slot| Take { tally: &mut state.tally, moments: &mut state.moments[slot] });
                pool.run_taking(take, memory, team);
            }
            Self::Transfer(transfers) => transfers.iter().for_each(|t| t.run(memory, team)),
            Self::Drop(drop) => drop.run(state.draw, memory, team),
            Self::Loss(loss) => state.loss = loss.run(batch.targets, memory),
            Self::Clear(clear) => clear.run(memory),
            Self::ConvWeight { grad, norm, weight } => {
                let prologue = norm.map(|n| state.stats[n].scale_and_shift());
                grad.run(state.gradients.get_mut(*weight), prologue, memory, team);
            }
            Self::Bias { sum, bias } => sum.run(state.gradients.get_mut(*bias), memory, team),
            Self::NormGrad { grad, stats, scale, shift } => {
                let [d_scale, d_shift] = state.gradients.pair_mut(*scale, *shift);
                let stats = &state.stats[*stats];
                grad.run(stats, d_scale, d_shift, memory, team);
            }
            Self::SharedNormGrad { grad, assemble: Assemble { parts, stats, scale, shift, .. } } => {
                let [d_scale, d_shift] = state.gradients.pair_mut(*scale, *shift);
                let stats = &state.stats[*stats];
                grad.run(stats, d_scale, d_shift, memory, team);
                let mut first = 0;
                for part in parts {
                    let channels = part.channels.clone();
                    state.moments[part.slot].add_through(channels, stats, first, [d_scale, d_shift]);
                    first += part.channels.len();
                }
            }
            Self::MomentsGrad { grad, slot } => grad.run(&state.moments[*slot], memory, team),
            Self::MapGrad(grad) => grad.run(memory, team),
            Self::PoolGrad(grad) => grad.run(memory, team),
            Self::ProductSum(sum) => sum.run(memory, team),
        }
    }

    /// The parameters whose gradients it computes.
    pub(super) fn learns(&self) -> [Option<ParamId>; 2] {
        match *self {
            Self::ConvWeight { weight: param, .. } | Self::Bias { bias: param, .. } => [Some(param), None],
            Self::NormGrad { scale, shift, .. }
            | Self::SharedNormGrad { assemble: Assemble { scale, shift, .. }, .. } => [Some(scale), Some(shift)],
            _ => [None; 2],
        }
    }

    /// The parameters that it reads.
    pub(super) fn reads(&self) -> [Option<ParamId>; 2] {
        match *self {
            Self::Conv { weight, bias, .. } => [Some(weight), bias],
            Self::Norm { assemble: Assemble { scale, shift, .. }, .. } => [Some(scale), Some(shift)],
            _ => [None; 2],
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Import(_) => "import".into(),
            Self::Conv { conv, .. } => conv.name(),
            Self::Norm { norm: Some(_), .. } => "batch norm".into(),
            Self::Norm { norm: None, .. } => "batch norm, in convolutions".into(),
            Self::Again { .. } => "batch norm, again".into(),
            Self::Moments { .. } => "moments".into(),
            Self::SharedNormGrad { .. } => "batch norm gradient, shared".into(),
            Self::MomentsGrad { .. } => "moments gradient".into(),
            Self::Map(_) => "map".into(),
            Self::Combine(_) => "combine".into(),
            Self::Pool { .. } => "pool".into(),
            Self::Transfer(_) => "transfer".into(),
            Self::Drop(_) => "dropout".into(),
            Self::Loss(_) => "softmax cross entropy".into(),
            Self::Clear(_) => "clear".into(),
            Self::ConvWeight { grad, .. } => grad.name(),
            Self::Bias { .. } => "bias gradient".into(),
            Self::NormGrad { .. } => "batch norm gradient".into(),
            Self::MapGrad(_) => "map gradient".into(),
            Self::PoolGrad(_) => "pool gradient".into(),
            Self::ProductSum(_) => "sum of products".into(),
        }
    }

    pub(super) fn scratch_len(&self) -> usize {
        match self {
            Self::Conv { conv, .. } => conv.scratch_len(),
            Self::ConvWeight { grad, .. } => grad.scratch_len(),
            _ => 0,
        }
    }
}
