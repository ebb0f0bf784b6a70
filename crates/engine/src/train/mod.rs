//! Training: a graph that ends in a loss, compiled once for pictures of one size into forward, backward and update.
//!
//! The forward pass uses the batch's statistics in normalisations and keeps what the backward pass reads again; both run
//! over one arena with the kernels of inference. The bits of a step depend on the batch but not on the number of threads.
//! Not here: schedules, epochs, checkpoints (`cspnet-train`).

mod backward;
mod kernel;
mod update;

use std::collections::BTreeSet;

use cspnet_graph::{Graph, Op, Param, ParamId, Shape, ValueId, Weights};
use cspnet_kernels::{BatchStats, ConvWeights, Isa, Memory, Planes, Team, average_step, export_nchw};

use crate::error::{PlanError, RunError, check_input};
use crate::input::Input;
use crate::layout::{Layout, Piece, RootId, View};
use crate::lower::{Purpose, Step, lower};
use crate::views::{Arena, Root};
use backward::{Back, backward};
use kernel::{Build, Kernel};
pub use update::{UpdateRule, UpdateState};

/// A network and its loss compiled for training on pictures of one size.
#[derive(Debug)]
pub struct TrainPlan {
    picture: Shape,
    normalises: bool,
    kernels: Vec<Kernel>,
    logits: Planes,
    /// Every normalisation's running mean and variance, and the share of a batch in them.
    running: Vec<Running>,
    params: Vec<Param>,
    packed: Vec<ConvWeights>,
    image_len: usize,
    scratch_len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    norm: ValueId,
    mean: ParamId,
    variance: ParamId,
    momentum: f64,
}

/// What one caller needs to train with a plan: memory for its batch, gradients, statistics, and its threads.
#[derive(Debug)]
pub struct TrainWorkspace {
    memory: Memory,
    team: Team,
    state: State,
}

/// What a step of training computes besides activations.
#[derive(Debug)]
struct State {
    /// The weights of convolutions as their kernels want them.
    packed: Vec<ConvWeights>,
    /// The batch's statistics of every normalisation.
    stats: Vec<BatchStats>,
    /// The gradient of every trained parameter; empty for running statistics.
    gradients: Vec<Vec<f32>>,
    loss: f64,
}

impl TrainPlan {
    /// Compiles `graph`, whose output must be a loss (see [`cspnet_graph::rewrite::with_loss`]), for pictures `[c, h, w]`.
    ///
    /// # Errors
    /// If the picture does not fit the network, or the graph does not end in a loss.
    pub fn new(graph: &Graph, picture: Shape, isa: Isa) -> Result<Self, PlanError> {
        let shapes = graph.shapes(picture)?;
        let loss = graph.node(graph.output());
        if loss.op != Op::SoftmaxCrossEntropy {
            return Err(PlanError::unsupported(graph, graph.output(), "training needs a loss at the end; append one"));
        }
        let is_late = |id: &usize| *id > 1 && matches!(graph.node(*id).op, Op::Normalise { .. });
        if let Some(id) = (0..graph.nodes().len()).find(is_late) {
            return Err(PlanError::unsupported(graph, id, "pixels are normalised first or not at all"));
        }
        let logits = loss.inputs[0];
        let program = Program::new(graph, &shapes, logits);
        let mut build = Build::new(graph, &shapes, isa, &program);
        let kernels = build.kernels();
        let (running, packed) = build.finish();
        Ok(Self {
            picture,
            normalises: matches!(&kernels[0], Kernel::Import(import) if import.normalises()),
            logits: program.planes(logits),
            running,
            packed,
            params: graph.params().to_vec(),
            image_len: program.arena.image_len,
            scratch_len: kernels.iter().map(Kernel::scratch_len).max().unwrap_or(0),
            kernels,
        })
    }

    /// Memory for batches of `images` pictures and a team of `threads`.
    pub fn workspace(&self, images: usize, threads: usize) -> TrainWorkspace {
        let team = Team::new(threads);
        let memory = Memory::new(images, self.image_len, team.threads(), self.scratch_len);
        let gradient = |p: &Param| vec![0.0; if p.role.is_trained() { p.len() } else { 0 }];
        let state = State {
            packed: self.packed.clone(),
            stats: self.running.iter().map(|r| BatchStats::new(self.params[r.mean].len())).collect(),
            gradients: self.params.iter().map(gradient).collect(),
            loss: 0.0,
        };
        TrainWorkspace { memory, team, state }
    }

    /// Runs forward and backward: the loss is returned, gradients and the batch's statistics stay in the workspace.
    ///
    /// `targets` are distributions over the classes, `[n, classes]`; the loss is the mean over the images.
    ///
    /// # Errors
    /// If `input`, `targets` or `weights` are not those of the plan and of the workspace's batch.
    pub fn gradients(
        &self,
        workspace: &mut TrainWorkspace,
        weights: &Weights,
        input: Input<'_>,
        targets: &[f32],
    ) -> Result<f64, RunError> {
        let TrainWorkspace { memory, team, state } = workspace;
        weights.check(&self.params)?;
        check_input(memory.images(), self.picture, self.normalises, input)?;
        let expected = memory.images() * self.logits.channels();
        if targets.len() != expected {
            return Err(RunError::Targets { found: targets.len(), expected });
        }
        let batch = kernel::Batch { input, targets, weights };
        for kernel in &self.kernels {
            kernel.run(&batch, state, memory, team);
        }
        Ok(state.loss)
    }

    /// Changes the trained parameters by the workspace's gradients, and the running statistics by the batch's.
    pub fn update(
        &self,
        workspace: &mut TrainWorkspace,
        weights: &mut Weights,
        state: &mut UpdateState,
        rule: &UpdateRule,
    ) {
        rule.apply(&self.params, weights, &workspace.state.gradients, state, &mut workspace.team);
        self.update_running(workspace, weights);
    }

    /// Changes only the running statistics of normalisations, by the batch's.
    pub fn update_running(&self, workspace: &TrainWorkspace, weights: &mut Weights) {
        for (running, stats) in self.running.iter().zip(&workspace.state.stats) {
            let (mean, variance) = weights.pair_mut(running.mean, running.variance);
            stats.update_running(running.momentum, mean, variance);
        }
    }

    /// Moves `average`, an exponential moving average of all parameters and running statistics, towards `weights`.
    ///
    /// # Errors
    /// If either are not those of the plan.
    pub fn average(
        &self,
        workspace: &mut TrainWorkspace,
        average: &mut Weights,
        weights: &Weights,
        decay: f32,
    ) -> Result<(), RunError> {
        weights.check(&self.params)?;
        average.check(&self.params)?;
        for param in 0..self.params.len() {
            average_step(decay, average.get_mut(param), weights.get(param), &mut workspace.team);
        }
        Ok(())
    }

    /// The logits of one image of the last batch.
    pub fn logits(&self, workspace: &TrainWorkspace, image: usize) -> Vec<f32> {
        let mut out = vec![0.0; self.logits.channels()];
        export_nchw(&self.logits, &workspace.memory, image, &mut out);
        out
    }

    /// The kernels in the order in which they run, forward then backward.
    pub fn kernel_names(&self) -> Vec<String> {
        self.kernels.iter().map(Kernel::name).collect()
    }

    /// Bytes of the arena for one image.
    pub fn activation_bytes(&self) -> usize {
        self.image_len * size_of::<f32>()
    }
}

impl TrainWorkspace {
    /// Makes the batch smaller, or as large again as the workspace was made for.
    ///
    /// # Panics
    /// If there is no room for so many images.
    pub fn set_images(&mut self, images: usize) {
        self.memory.set_images(images);
    }

    /// The gradient of a trained parameter after [`TrainPlan::gradients`]; empty for running statistics.
    pub fn gradient(&self, param: ParamId) -> &[f32] {
        &self.state.gradients[param]
    }
}

/// Both passes with the places of all values and gradients they touch.
struct Program {
    forward: Vec<Step>,
    backward: Vec<Back>,
    views: Vec<View>,
    roots: usize,
    arena: Arena,
}

impl Program {
    fn new(graph: &Graph, shapes: &[Shape], logits: ValueId) -> Self {
        let kept = BTreeSet::from([logits, graph.output()]);
        let (mut forward, definitions) = lower(graph, &kept, Purpose::Training);
        let channels: Vec<usize> = shapes.iter().map(|s| s[0]).collect();
        let layout = Layout::of(&definitions, &channels, &BTreeSet::new());
        forward.extend(layout.copied.iter().map(|&v| Step::copy(graph, v)));
        forward.sort_by_key(Step::output);
        let backward = backward(graph, &layout, &forward);

        let mut program = Self {
            forward,
            backward,
            views: layout.views.clone(),
            roots: layout.roots.len(),
            arena: Arena::new(Vec::new(), &[], &[], &[]),
        };
        let mut roots = Root::all(&layout, shapes);
        roots.extend(roots.clone());
        let kept: Vec<RootId> = layout.views[logits].iter().map(|p| p.root).collect();
        program.arena = Arena::new(roots, &program.touched(), &kept, &[]);
        program
    }

    /// The roots each step of both passes reads or writes; gradients' roots follow the values'.
    fn touched(&self) -> Vec<Vec<RootId>> {
        let value = |v: ValueId| self.views[v].iter().map(|p| p.root).collect::<Vec<_>>();
        let gradient = |v: ValueId| self.views[v].iter().map(|p| p.root + self.roots).collect::<Vec<_>>();
        let forward =
            self.forward.iter().map(|s| s.inputs.iter().chain([&s.output()]).flat_map(|&v| value(v)).collect());
        let backward = self.backward.iter().map(|b| match b {
            Back::Clear(view) => view.iter().map(|p| p.root + self.roots).collect(),
            Back::Loss { logits } => [value(*logits), gradient(*logits)].concat(),
            Back::ConvWeight { input, output, .. } => [value(*input), gradient(*output)].concat(),
            Back::Product { other, input, output, .. } => [value(*other), gradient(*input), gradient(*output)].concat(),
            Back::Copy { run, output } => [gradient(run.value), gradient(*output)].concat(),
            Back::ConvData { input, output, .. } | Back::Pass { input, output, .. } => {
                [gradient(*input), gradient(*output)].concat()
            }
            Back::Norm { input, output, .. } | Back::Map { input, output, .. } | Back::Pool { input, output, .. } => {
                [value(*input), gradient(*input), gradient(*output)].concat()
            }
        });
        forward.chain(backward).collect()
    }

    fn planes(&self, value: ValueId) -> Planes {
        self.arena.planes(&self.views[value])
    }

    fn gradient(&self, value: ValueId) -> Planes {
        self.gradient_of(&self.views[value])
    }

    fn gradient_of(&self, view: &View) -> Planes {
        let moved: View = view.iter().map(|p| Piece { root: p.root + self.roots, ..*p }).collect();
        self.arena.planes(&moved)
    }
}
