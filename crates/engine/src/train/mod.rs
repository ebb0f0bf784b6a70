//! Training: a graph that ends in a loss, compiled once for pictures of one size into forward, backward and update.
//!
//! The forward pass uses the batch's statistics in normalisations and keeps what the backward pass reads again; both run
//! over one arena with the kernels of inference. The bits of a step depend on the batch but not on the number of threads.
//! Not here: schedules, epochs, checkpoints (`cspnet-train`).

mod backward;
mod convolution;
mod diagnosis;
mod gradients;
mod kernel;
mod norms;
mod program;
mod recompute;
mod update;

use std::time::{Duration, Instant};

use cspnet_graph::{Binary, Graph, Op, Param, ParamId, Shape, Unary, ValueId, Weights};
use cspnet_kernels::{
    AlignedBuf, BatchStats, ChannelMoments, Isa, Memory, MuonScratch, Planes, Tally, Team, TileUnit, add, average_step,
    export_nchw, scale, sum_of_squares,
};

use crate::error::{PlanError, RunError, check_input};
use crate::input::Input;
use crate::lower::{is_unchanged, plane_pool};
use crate::report::StepReport;
use convolution::Packed;
pub use diagnosis::{Diagnosis, Phase, Symptom};
use gradients::Gradients;
use kernel::{Build, Kernel, Made};
use program::Program;
pub use update::{AdamW, UpdateRule, UpdateState};

/// A network and its loss compiled for training on pictures of one size.
#[derive(Debug)]
pub struct TrainPlan {
    picture: Shape,
    normalises: bool,
    kernels: Vec<Kernel>,
    steps: Vec<StepReport>,
    /// What each kernel writes into the arena, if anything.
    written: Vec<Option<Planes>>,
    /// Behind each kernel, the parameters whose gradients are complete and which no later kernel reads.
    finished: Vec<Vec<ParamId>>,
    logits: Planes,
    /// Every normalisation's running mean and variance, and the share of a batch in them.
    running: Vec<Running>,
    /// Channels of every value whose moments are taken.
    moments: Vec<usize>,
    params: Vec<Param>,
    /// By what the learning rate of each parameter is multiplied.
    rates: Vec<f64>,
    image_len: usize,
    scratch_len: usize,
}

/// How a step of training is computed.
#[derive(Clone, Copy, Debug)]
pub struct TrainOptions {
    /// The instruction set.
    pub isa: Isa,
    /// Less memory: what normalisations and activations give is not kept between the passes but computed again. A step gives the
    /// same bits and takes somewhat longer.
    pub recomputes: bool,
    /// Mixed precision: what convolutions of stride 1 without groups multiply is rounded to bfloat16 for this unit's tiles where their
    /// channels come in whole blocks. Sums and all else stay in single precision (Kalamkar et al., arXiv:1905.12322).
    pub mixed: Option<TileUnit>,
}

impl Default for TrainOptions {
    /// The best instruction set of this machine, and single precision.
    fn default() -> Self {
        Self { isa: Isa::detect(), recomputes: false, mixed: None }
    }
}

#[derive(Clone, Copy, Debug)]
struct Running {
    norm: ValueId,
    mean: ParamId,
    variance: ParamId,
    momentum: f64,
}

/// What a step has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stepped {
    /// The loss before the step.
    pub loss: f64,
    /// That not all numbers were finite, if so: then the step was left as soon as it was noticed.
    pub symptom: Option<Symptom>,
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
    /// The weights of the convolution that runs, as its kernel wants them.
    packed: Packed,
    /// The batch's statistics of every normalisation.
    stats: Vec<BatchStats>,
    /// The batch's moments of every value that normalisations read.
    moments: Vec<ChannelMoments>,
    /// Memory for those of the value that is being written.
    tally: Tally,
    gradients: Gradients,
    /// Sums of the gradients of several batches, as long as they wait for their update; made when the first comes.
    sums: Vec<AlignedBuf>,
    /// Batches in the sums.
    summed: usize,
    /// Room for the matrices of Muon's steps.
    muon: MuonScratch,
    /// What dropout draws by.
    draw: u64,
    loss: f64,
}

impl TrainPlan {
    /// Compiles `graph`, whose output must be a loss (see [`cspnet_graph::rewrite::with_loss`]), for pictures `[c, h, w]`.
    ///
    /// # Errors
    /// If the picture does not fit the network, or the graph does not end in a loss or takes more than a picture.
    pub fn new(graph: &Graph, picture: Shape, isa: Isa) -> Result<Self, PlanError> {
        Self::with(graph, picture, &TrainOptions { isa, ..TrainOptions::default() })
    }

    /// The same with a choice of how it is computed.
    ///
    /// # Errors
    /// As [`TrainPlan::new`].
    pub fn with(graph: &Graph, picture: Shape, options: &TrainOptions) -> Result<Self, PlanError> {
        let shapes = graph.shapes(picture)?;
        let loss = graph.node(graph.output());
        if loss.op != Op::SoftmaxCrossEntropy {
            return Err(PlanError::unsupported(graph, graph.output(), "training needs a loss at the end; append one"));
        }
        let readers = graph.consumers();
        let is_first = |id: usize| id == 1 && readers[0].len() == 1;
        let is_late = |id: &usize| !is_first(*id) && matches!(graph.node(*id).op, Op::Normalise { .. });
        if let Some(id) = (0..graph.nodes().len()).find(is_late) {
            return Err(PlanError::unsupported(graph, id, "pixels are normalised first or not at all"));
        }
        let is_other = |id: &usize| *id != graph.output() && graph.node(*id).op == Op::SoftmaxCrossEntropy;
        if let Some(id) = (0..graph.nodes().len()).find(is_other) {
            return Err(PlanError::unsupported(graph, id, "the network's output is its only loss"));
        }
        if let Some(id) = (0..graph.nodes().len()).find(|&id| !is_trainable(graph, &shapes, id)) {
            return Err(PlanError::unsupported(graph, id, "this operation can be run, but not trained through"));
        }
        let logits = loss.inputs[0];
        let program = Program::new(graph, &shapes, logits, options.recomputes);
        let Made { kernels, steps, written, running } = Build::new(graph, &shapes, options, &program).make();
        Ok(Self {
            picture,
            normalises: matches!(&kernels[0], Kernel::Import(import) if import.normalises()),
            logits: program.planes(logits),
            running,
            moments: program.norms.channels(&program.layout),
            params: graph.params().to_vec(),
            rates: vec![1.0; graph.params().len()],
            image_len: program.arena.image_len,
            scratch_len: kernels.iter().map(Kernel::scratch_len).max().unwrap_or(0),
            finished: finished(&kernels, graph.params().len()),
            kernels,
            steps,
            written,
        })
    }

    /// The same plan with a learning rate for each parameter, as a multiple of the rule's; 1 unless it is said here.
    ///
    /// # Panics
    /// If there is not one for each.
    #[must_use]
    pub fn with_rates(self, rates: Vec<f64>) -> Self {
        assert_eq!(rates.len(), self.params.len(), "a rate for each parameter");
        Self { rates, ..self }
    }

    /// Memory for batches of `images` pictures and a team of `threads`.
    pub fn workspace(&self, images: usize, threads: usize) -> TrainWorkspace {
        let team = Team::new(threads);
        let memory = Memory::new(images, self.image_len, team.threads(), self.scratch_len);
        let state = State {
            packed: Packed::default(),
            stats: self.running.iter().map(|r| BatchStats::new(self.params[r.mean].len())).collect(),
            moments: self.moments.iter().map(|&channels| ChannelMoments::new(channels)).collect(),
            tally: Tally::default(),
            gradients: Gradients::new(self.params.len()),
            sums: Vec::new(),
            summed: 0,
            muon: MuonScratch::default(),
            draw: 0,
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
        self.check(workspace, weights, input, targets)?;
        let TrainWorkspace { memory, team, state } = workspace;
        state.gradients.keep(&self.params);
        let batch = kernel::Batch { input, targets, weights };
        self.kernels.iter().for_each(|kernel| kernel.run(&batch, state, memory, team));
        Ok(state.loss)
    }

    /// A whole step: as [`TrainPlan::gradients`], but every parameter is changed as soon as its gradient is complete and nothing
    /// reads it any more, and the gradient is given up. Running statistics are changed as well, at the turn between the passes.
    /// As soon as anything is not finite, the step is left, and [`Symptom`] says what had been changed by then.
    ///
    /// # Errors
    /// As [`TrainPlan::gradients`]; nothing has changed then.
    pub fn step(
        &self,
        workspace: &mut TrainWorkspace,
        weights: &mut Weights,
        (input, targets): (Input<'_>, &[f32]),
        state: &mut UpdateState,
        rule: &UpdateRule,
    ) -> Result<Stepped, RunError> {
        self.run_step(workspace, weights, (input, targets), state, rule, |step| step())
    }

    /// As [`TrainPlan::step`], and how long each step took, in the order of [`TrainPlan::steps`], the changes of its parameters
    /// included.
    ///
    /// # Errors
    /// As [`TrainPlan::step`].
    pub fn step_timed(
        &self,
        workspace: &mut TrainWorkspace,
        weights: &mut Weights,
        (input, targets): (Input<'_>, &[f32]),
        state: &mut UpdateState,
        rule: &UpdateRule,
    ) -> Result<Vec<Duration>, RunError> {
        let mut times = Vec::with_capacity(self.steps.len());
        self.run_step(workspace, weights, (input, targets), state, rule, |step| {
            let begin = Instant::now();
            step();
            times.push(begin.elapsed());
        })?;
        Ok(times)
    }

    /// Has `each` run every step and the changes behind it, in order.
    fn run_step(
        &self,
        workspace: &mut TrainWorkspace,
        weights: &mut Weights,
        (input, targets): (Input<'_>, &[f32]),
        updates: &mut UpdateState,
        rule: &UpdateRule,
        mut each: impl FnMut(&mut dyn FnMut()),
    ) -> Result<Stepped, RunError> {
        self.check(workspace, weights, input, targets)?;
        rule.begin(&self.params, updates);
        for (kernel, finished) in self.kernels.iter().zip(&self.finished) {
            let mut bad = None;
            let TrainWorkspace { memory, team, state } = workspace;
            each(&mut || {
                for param in kernel.learns().into_iter().flatten() {
                    state.gradients.begin(param, self.params[param].len());
                }
                kernel.run(&kernel::Batch { input, targets, weights }, state, memory, team);
                for &id in finished {
                    let (gradient, room) = (state.gradients.get(id), &mut state.muon);
                    if !rule.apply(self.learnt(id), weights, gradient, (updates, room), team) {
                        bad.get_or_insert(Symptom::Parameter(id));
                    }
                    state.gradients.end(id);
                }
            });
            if matches!(kernel, Kernel::Loss(_)) {
                bad = self.update_running(workspace, weights);
            }
            if bad.is_some() {
                return Ok(Stepped { loss: workspace.state.loss, symptom: bad });
            }
        }
        Ok(Stepped { loss: workspace.state.loss, symptom: None })
    }

    fn check(
        &self,
        workspace: &TrainWorkspace,
        weights: &Weights,
        input: Input<'_>,
        targets: &[f32],
    ) -> Result<(), RunError> {
        weights.check(&self.params)?;
        let images = workspace.memory.images();
        check_input(images, self.picture, self.normalises, input)?;
        let expected = images * self.logits.channels();
        if targets.len() != expected {
            return Err(RunError::Targets { found: targets.len(), expected });
        }
        Ok(())
    }

    /// Keeps the workspace's gradients for one update by several batches.
    pub fn accumulate(&self, workspace: &mut TrainWorkspace) {
        let (State { gradients, sums, summed, .. }, team) = (&mut workspace.state, &mut workspace.team);
        let gradients = gradients.all_mut();
        if sums.is_empty() {
            sums.clone_from(gradients);
        } else if *summed == 0 {
            sums.iter_mut().zip(gradients).for_each(|(sum, gradient)| sum.copy_from_slice(gradient));
        } else {
            sums.iter_mut().zip(gradients).for_each(|(sum, gradient)| add(sum, gradient, team));
        }
        *summed += 1;
    }

    /// Makes the workspace's gradients the mean of those that were kept, if any were, and forgets these.
    pub fn average_accumulated(&self, workspace: &mut TrainWorkspace) {
        let (State { gradients, sums, summed, .. }, team) = (&mut workspace.state, &mut workspace.team);
        if *summed > 0 {
            let share = 1.0 / *summed as f32;
            sums.iter_mut().for_each(|sum| scale(share, sum, team));
            std::mem::swap(gradients.all_mut(), sums);
            *summed = 0;
        }
    }

    /// Scales the workspace's gradients so that the norm of all of them together is at most `most` (Pascanu et al.,
    /// arXiv:1211.5063), as PyTorch's `clip_grad_norm_` does, and gives the norm they had.
    pub fn clip(&self, workspace: &mut TrainWorkspace, most: f64) -> f64 {
        let (gradients, team) = (workspace.state.gradients.all_mut(), &mut workspace.team);
        let norm = gradients.iter().map(|g| sum_of_squares(g, team)).sum::<f64>().sqrt();
        let factor = most / (norm + 1e-6);
        if factor < 1.0 {
            gradients.iter_mut().for_each(|g| scale(factor as f32, g, team));
        }
        norm
    }

    /// Changes the parameters that have gradients by those of the workspace; what the loss does not depend on stays as it is.
    /// Running statistics are not a matter of gradients; see [`TrainPlan::update_running`]. The first parameter that is not
    /// finite is told of, once all were changed.
    pub fn update(
        &self,
        workspace: &mut TrainWorkspace,
        weights: &mut Weights,
        state: &mut UpdateState,
        rule: &UpdateRule,
    ) -> Option<Symptom> {
        rule.begin(&self.params, state);
        let (State { gradients, muon, .. }, team) = (&mut workspace.state, &mut workspace.team);
        let mut bad = None;
        for &id in self.finished.iter().flatten() {
            if !rule.apply(self.learnt(id), weights, gradients.get(id), (state, muon), team) {
                bad.get_or_insert(Symptom::Parameter(id));
            }
        }
        bad
    }

    /// A parameter, and by what its learning rate is multiplied.
    fn learnt(&self, id: ParamId) -> (ParamId, &Param, f64) {
        (id, &self.params[id], self.rates[id])
    }

    /// Changes the running statistics of normalisations, by the batch's. The first that is not finite is told of, or that the loss
    /// is not; then none is changed.
    pub fn update_running(&self, workspace: &TrainWorkspace, weights: &mut Weights) -> Option<Symptom> {
        if !workspace.state.loss.is_finite() {
            return Some(Symptom::Loss);
        }
        let mut bad = None;
        for (running, stats) in self.running.iter().zip(&workspace.state.stats) {
            let (mean, variance) = weights.pair_mut(running.mean, running.variance);
            stats.update_running(running.momentum, mean, variance);
            bad = bad.or_else(|| running.bad(mean, variance));
        }
        bad.map(Symptom::Statistic)
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

    /// Writes the logits of one image of the last batch to `out`.
    ///
    /// # Panics
    /// If it has not one number for every class.
    pub fn logits_into(&self, workspace: &TrainWorkspace, image: usize, out: &mut [f32]) {
        export_nchw(&self.logits, &workspace.memory, image, out);
    }

    /// The steps in the order in which they run, forward then backward.
    pub fn steps(&self) -> &[StepReport] {
        &self.steps
    }

    /// Shape of the pictures, `[c, h, w]`.
    pub fn picture(&self) -> Shape {
        self.picture
    }

    /// Numbers that a picture's target has: its classes.
    pub fn classes(&self) -> usize {
        self.logits.channels()
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

    /// Forgets what [`TrainPlan::accumulate`] has kept.
    pub fn forget_accumulated(&mut self) {
        self.state.summed = 0;
    }

    /// What dropout draws by from now on: the same number drops the same, whatever was drawn before.
    pub fn set_draw(&mut self, draw: u64) {
        self.state.draw = draw;
    }

    /// The gradient of a trained parameter after [`TrainPlan::gradients`]; empty for running statistics.
    pub fn gradient(&self, param: ParamId) -> &[f32] {
        self.state.gradients.get(param)
    }
}

/// Whether gradients go back through a function: not where the slope has no bound, be it at zero, where all numbers beside the channels
/// are, or for large numbers.
fn has_way_back(function: Unary) -> bool {
    !matches!(function, Unary::Exp | Unary::Log | Unary::Sqrt | Unary::Reciprocal)
}

/// Whether there is a way back through a node.
fn is_trainable(graph: &Graph, shapes: &[Shape], id: ValueId) -> bool {
    let node = graph.node(id);
    match node.op {
        Op::Unary { function } => has_way_back(function),
        Op::Binary { function: Binary::Add } => shapes[node.inputs[0]] == shapes[node.inputs[1]],
        // One number a channel may be repeated, as in squeeze and excitation.
        Op::Binary { function: Binary::Mul } => node.inputs.iter().all(|&input| {
            let whole = shapes[id];
            shapes[input] == whole || shapes[input] == [whole[0], 1, 1]
        }),
        Op::Reduce { .. } => plane_pool(&node.op).is_some(),
        Op::Rearrange(_) => is_unchanged(graph, shapes, id),
        Op::Binary { .. }
        | Op::Constant { .. }
        | Op::PRelu
        | Op::Lrn { .. }
        | Op::Softmax { .. }
        | Op::Pad(_)
        | Op::Crop(_)
        | Op::Resize(_)
        | Op::MatMul => false,
        Op::Input { .. }
        | Op::Normalise { .. }
        | Op::Conv { .. }
        | Op::BatchNorm { .. }
        | Op::Pool { .. }
        | Op::GlobalAvgPool
        | Op::Concat
        | Op::Slice { .. }
        | Op::Linear { .. }
        | Op::Drop { .. }
        | Op::SoftmaxCrossEntropy => true,
    }
}

/// Behind each kernel, the parameters that are learnt and that no later kernel learns or reads.
fn finished(kernels: &[Kernel], params: usize) -> Vec<Vec<ParamId>> {
    let (mut finished, mut is_learnt) = (vec![Vec::new(); kernels.len()], vec![false; params]);
    kernels.iter().flat_map(|k| k.learns().into_iter().flatten()).for_each(|param| is_learnt[param] = true);
    for (at, kernel) in kernels.iter().enumerate().rev() {
        for param in kernel.learns().into_iter().chain(kernel.reads()).flatten() {
            // What is met first, from the end, is the last.
            if std::mem::take(&mut is_learnt[param]) {
                finished[at].push(param);
            }
        }
    }
    finished
}
