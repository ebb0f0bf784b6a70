//! A step of training, forward or backward, as a kernel.

use cspnet_graph::{Binary, Graph, Op, ParamId, Shape, Unary, ValueId, Weights};
use cspnet_kernels::{
    BatchNorm, BatchNormGrad, ChannelSum, Clear, Combine, Conv, ConvGrad, ConvWeights, Fusion, Isa, Map, MapGrad,
    Memory, Planes, Pool, PoolGrad, Residual, SoftmaxCrossEntropy, Team, Transfer,
};

use super::backward::Back;
use super::{Program, Running, State};
use crate::import::{Import, copies};
use crate::input::Input;
use crate::lower::{Step, Task};
use crate::report::{Pass, StepReport};
use crate::translate::{activation, conv_shape, operation, pool_kind, pool_window};

/// A step ready to run. Numbers name packed weights and statistics in the workspace's state, parameters by their id.
#[derive(Debug)]
pub(super) enum Kernel {
    Import(Import),
    Conv { conv: Box<Conv>, packed: usize, weight: ParamId, bias: Option<ParamId> },
    Norm { norm: BatchNorm, stats: usize, scale: ParamId, shift: ParamId },
    Map(Map),
    Combine(Combine),
    Pool(Pool),
    Transfer(Vec<Transfer>),
    Loss(SoftmaxCrossEntropy),
    Clear(Clear),
    ConvWeight { grad: Box<ConvGrad>, weight: ParamId },
    Bias { sum: ChannelSum, bias: ParamId },
    NormGrad { grad: BatchNormGrad, stats: usize, scale: ParamId, shift: ParamId },
    MapGrad(MapGrad),
    PoolGrad(PoolGrad),
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
    /// The packed weights' forms.
    pub packed: Vec<ConvWeights>,
    /// Running statistics in the order of the workspace's statistics.
    pub running: Vec<Running>,
}

impl<'a> Build<'a> {
    pub(super) fn new(graph: &'a Graph, shapes: &'a [Shape], isa: Isa, program: &'a Program) -> Self {
        Self { graph, shapes, isa, program, made: Made::default() }
    }

    /// Both passes.
    pub(super) fn make(mut self) -> Made {
        let program = self.program;
        for step in &program.forward {
            if let Some(kernel) = self.forward(step) {
                self.push(kernel, Pass::Forward, &step.nodes, step.output());
            }
        }
        for step in &program.backward {
            self.backward(step);
        }
        self.made
    }

    fn push(&mut self, kernel: Kernel, pass: Pass, nodes: &[ValueId], of: ValueId) {
        let nodes = nodes.iter().map(|&n| self.graph.node(n).path.clone()).collect();
        self.made.steps.push(StepReport { pass, nodes, kernel: kernel.name(), shape: self.shapes[of] });
        self.made.kernels.push(kernel);
    }

    /// The kernel of a forward step; the loss has none, for its value and gradient come together at the turn.
    fn forward(&mut self, step: &Step) -> Option<Kernel> {
        let input = |i: usize| self.program.planes(step.inputs[i]);
        let output = self.program.planes(step.output());
        Some(match &step.task {
            Task::Import { normalise } => Kernel::Import(Import::new(self.graph, *normalise, output)),
            Task::Conv { node, .. } => {
                let fusion = Fusion { prologue: None, activation: activation(None), residual: Residual::None };
                let shape = conv_shape(&self.graph.node(*node).op);
                let conv = Conv::forward(self.isa, shape, &input(0), &output, fusion);
                self.conv(conv, *node, self.graph.node(*node).params.get(1).copied())
            }
            Task::Norm { node, activation: act } => self.norm(*node, *act, &input(0), &output),
            Task::Map { function } => Kernel::Map(Map::new(self.isa, activation(Some(*function)), &input(0), &output)),
            Task::Combine { function, .. } => {
                let act = activation(None);
                Kernel::Combine(Combine::new(self.isa, operation(*function), act, &input(0), &input(1), &output, false))
            }
            Task::Pool { kind, window, .. } => {
                let window = pool_window(*window, self.shapes[step.inputs[0]]);
                Kernel::Pool(Pool::new(self.isa, pool_kind(*kind), window, &input(0), &output))
            }
            Task::Copy => Kernel::Transfer(copies(self.graph, step, |v| self.program.planes(v))),
            Task::Loss => return None,
            Task::Stem { .. } => unreachable!("only inference joins the import and a convolution"),
        })
    }

    /// Adds the kernels of a backward step.
    fn backward(&mut self, step: &Back) {
        let (isa, program) = (self.isa, self.program);
        let (value, gradient) = (|v: ValueId| program.planes(v), |v: ValueId| program.gradient(v));
        let op = |node: ValueId| &self.graph.node(node).op;
        let kernel = match *step {
            Back::Clear { ref missing, .. } => Kernel::Clear(Clear::new(&program.gradient_of(missing))),
            Back::Loss { logits } => Kernel::Loss(SoftmaxCrossEntropy::new(&value(logits), &gradient(logits))),
            Back::ConvWeight { node, input, output } => {
                let params = &self.graph.node(node).params;
                if let Some(&bias) = params.get(1) {
                    let sum = Kernel::Bias { sum: ChannelSum::new(isa, &gradient(output)), bias };
                    self.push(sum, Pass::Backward, &[node], output);
                }
                let grad = ConvGrad::new(isa, conv_shape(op(node)), &value(input), &gradient(output), None);
                Kernel::ConvWeight { grad: Box::new(grad), weight: params[0] }
            }
            Back::ConvData { node, input, output, accumulate } => {
                let shape = conv_shape(op(node));
                let conv = Conv::backward_data(isa, shape, &gradient(output), &gradient(input), accumulate);
                self.conv(conv, node, None)
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
                let product = operation(Binary::Mul);
                Kernel::Combine(Combine::new(isa, product, activation(None), &a, &b, &dx, accumulate))
            }
            Back::Pass { input, output, accumulate } => {
                let (dy, dx) = (gradient(output), gradient(input));
                Kernel::Transfer(vec![Transfer::new(&dy, 0, &dx, 0, dy.channels(), accumulate)])
            }
            Back::Pool { kind, window, input, output, accumulate } => {
                let window = pool_window(window, self.shapes[input]);
                let (x, dy, dx) = (value(input), gradient(output), gradient(input));
                Kernel::PoolGrad(PoolGrad::new(isa, pool_kind(kind), window, &x, &dy, &dx, accumulate))
            }
            Back::Copy { run, output } => {
                let (dy, dx) = (gradient(output), gradient(run.value));
                Kernel::Transfer(vec![Transfer::new(&dy, run.at, &dx, run.start, run.len, true)])
            }
        };
        let (pass, node, of) = step.place();
        self.push(kernel, pass, &[node], of);
    }

    /// A convolution whose weights are packed again in every step.
    fn conv(&mut self, conv: Conv, node: ValueId, bias: Option<ParamId>) -> Kernel {
        let weight = self.graph.node(node).params[0];
        let zeros = |p: ParamId| vec![0.0; self.graph.params()[p].len()];
        self.made.packed.push(conv.pack(&zeros(weight), bias.map(zeros).as_deref(), None));
        Kernel::Conv { conv: Box::new(conv), packed: self.made.packed.len() - 1, weight, bias }
    }

    /// Batch normalisation by the batch's own statistics; a normalisation of pixels has none and must come first.
    fn norm(&mut self, node: ValueId, act: Option<Unary>, input: &Planes, output: &Planes) -> Kernel {
        let Op::BatchNorm { eps, momentum } = self.graph.node(node).op else {
            unreachable!("`TrainPlan::new` refuses a normalisation of pixels that is not the first step");
        };
        let [scale, shift, mean, variance] = [0, 1, 2, 3].map(|i| self.graph.node(node).params[i]);
        self.made.running.push(Running { norm: node, mean, variance, momentum });
        let norm = BatchNorm::new(self.isa, input, output, activation(act), eps);
        Kernel::Norm { norm, stats: self.made.running.len() - 1, scale, shift }
    }

    fn norm_grad(&self, node: ValueId, grad: BatchNormGrad) -> Kernel {
        let stats = self.made.running.iter().position(|r| r.norm == node).expect("forward comes before backward");
        let params = &self.graph.node(node).params;
        Kernel::NormGrad { grad, stats, scale: params[0], shift: params[1] }
    }
}

impl Kernel {
    pub(super) fn run(&self, batch: &Batch<'_>, state: &mut State, memory: &mut Memory, team: &mut Team) {
        let weights = |p: ParamId| batch.weights.get(p);
        match self {
            Self::Import(import) => import.run(batch.input, memory),
            Self::Conv { conv, packed, weight, bias } => {
                let packed = &mut state.packed[*packed];
                conv.repack(packed, weights(*weight), bias.map(weights), None, team);
                conv.run(packed, memory, team);
            }
            Self::Norm { norm, stats, scale, shift } => {
                norm.run(weights(*scale), weights(*shift), &mut state.stats[*stats], memory, team);
            }
            Self::Map(map) => map.run(memory, team),
            Self::Combine(combine) => combine.run(memory, team),
            Self::Pool(pool) => pool.run(memory, team),
            Self::Transfer(transfers) => transfers.iter().for_each(|t| t.run(memory, team)),
            Self::Loss(loss) => state.loss = loss.run(batch.targets, memory),
            Self::Clear(clear) => clear.run(memory),
            Self::ConvWeight { grad, weight } => grad.run(&mut state.gradients[*weight], None, memory, team),
            Self::Bias { sum, bias } => sum.run(&mut state.gradients[*bias], memory, team),
            Self::NormGrad { grad, stats, scale, shift } => {
                let [d_scale, d_shift] =
                    state.gradients.get_disjoint_mut([*scale, *shift]).expect("a node's parameters are distinct");
                let stats = &state.stats[*stats];
                grad.run(stats, d_scale, d_shift, memory, team);
            }
            Self::MapGrad(grad) => grad.run(memory, team),
            Self::PoolGrad(grad) => grad.run(memory, team),
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Import(_) => "import".into(),
            Self::Conv { conv, .. } => conv.name(),
            Self::Norm { .. } => "batch norm".into(),
            Self::Map(_) => "map".into(),
            Self::Combine(_) => "combine".into(),
            Self::Pool(_) => "pool".into(),
            Self::Transfer(_) => "transfer".into(),
            Self::Loss(_) => "softmax cross entropy".into(),
            Self::Clear(_) => "clear".into(),
            Self::ConvWeight { grad, .. } => grad.name(),
            Self::Bias { .. } => "bias gradient".into(),
            Self::NormGrad { .. } => "batch norm gradient".into(),
            Self::MapGrad(_) => "map gradient".into(),
            Self::PoolGrad(_) => "pool gradient".into(),
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
