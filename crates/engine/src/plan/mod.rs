//! Inference: a graph, its weights and a picture size, compiled once into a [`Plan`] that any number of threads may share.
//!
//! Making a plan rewrites the graph, fuses steps, lays values out so that concatenation and splitting copy nothing, places them in
//! one arena and packs the weights. Running it allocates nothing; each caller brings a [`Workspace`]. Not
//! here: training ([`crate::train`]), file formats, pixels of photos.

mod bands;
mod choices;
mod kernel;
mod stem;
mod tune;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use cspnet_graph::{Graph, InputShapes, LazyWeights, Op, ReadError, Shape, ValueId};
use cspnet_kernels::{Isa, Memory, Planes, Team, export_nchw};

use crate::error::{PlanError, RunError, check_input};
use crate::input::Input;
use crate::layout::{Layout, RootId, View};
use crate::lower::{Prologue, Purpose, Step, Task, lower};
use crate::report::{Pass, Report, StepReport};
use crate::rewrites::{Rewrite, Rewrites, Saving, numbers, rewritten};
use crate::threads::default_threads;
use crate::views::{Arena, Root};
use choices::Layer;
use kernel::{Build, Kernel};

pub use choices::{Algorithm, Choices, NoAlgorithm};

/// Choices in making a plan.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Instruction set of the kernels.
    pub isa: Isa,
    /// Modules whose values are to be seen after a run; they are kept, so fewer steps can be fused.
    pub taps: Vec<String>,
    /// What may be changed about the network as long as its function stays.
    pub rewrites: Rewrites,
    /// Every convolution is computed directly, none by Winograd's method or by the kernel for narrow groups.
    pub direct: bool,
    /// No method that transforms values or weights, and so no scratch for them: some megabytes less a thread, and slower. Weights
    /// are kept in no larger form than the network's own either way.
    pub low_memory: bool,
    /// Convolutions that can be computed in several ways are computed in these; what is missing here is measured, which takes
    /// seconds. `None` leaves it to a model of the cost. Nothing is measured where only direct convolutions are allowed.
    pub tune: Option<Choices>,
    /// The model of the cost is that of plain arithmetic on every machine, so that all instruction sets choose alike and AVX-512
    /// gives the bits of AVX2; somewhat slower than what suits each. Training chooses so.
    pub alike: bool,
}

/// The instruction set whose model of the cost chooses where all machines are to choose alike.
pub(crate) const ALIKE: Isa = Isa::Scalar;

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            isa: Isa::detect(),
            taps: Vec::new(),
            rewrites: Rewrites::all(),
            direct: false,
            low_memory: false,
            tune: None,
            alike: false,
        }
    }
}

impl PlanOptions {
    /// The graph as it stands, every node a step of its own, every convolution computed directly. Slower, and what the optimised
    /// plan is held against.
    pub fn strict() -> Self {
        Self { rewrites: Rewrites::NONE, direct: true, ..Self::default() }
    }

    /// The bits of the strict plan, with all rewrites that leave them as they are.
    pub fn with_strict_bits() -> Self {
        Self { rewrites: Rewrites::that_keep_bits(), ..Self::strict() }
    }
}

/// A network compiled for pictures of one size.
#[derive(Debug)]
pub struct Plan {
    inputs: Vec<PlanInput>,
    kernels: Vec<Kernel>,
    /// The answer first.
    outputs: Vec<(String, Planes)>,
    taps: BTreeMap<String, Planes>,
    image_len: usize,
    scratch_len: usize,
    choices: Choices,
    report: Report,
}

/// What a plan takes of one of the network's inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanInput {
    /// The input's name.
    pub name: String,
    /// Its shape for one image.
    pub shape: Shape,
    /// Whether it is normalised first, so that a batch is [`Input::Pixels`] and not [`Input::Real`].
    pub takes_pixels: bool,
}

impl PlanInput {
    /// Whether a batch of so many images can be taken.
    fn check(&self, images: usize, input: Input<'_>) -> Result<(), RunError> {
        check_input(images, self.shape, self.takes_pixels, input)
    }
}

/// What one caller needs to run a plan: memory for its batch, and its threads.
#[derive(Debug)]
pub struct Workspace {
    memory: Memory,
    team: Team,
}

impl Workspace {
    /// Makes the batch smaller, or as large again as the workspace was made for.
    ///
    /// # Panics
    /// If the workspace was made for fewer images.
    pub fn set_images(&mut self, images: usize) {
        self.memory.set_images(images);
    }
}

impl Plan {
    /// Compiles `graph` with `weights` for pictures `[c, h, w]`, or for several inputs in the order of [`Graph::inputs`], with all
    /// threads this process may use.
    ///
    /// Weights are [`Weights`](cspnet_graph::Weights) in memory, or [`LazyWeights`], which are read layer by layer and piece by
    /// piece into the form that kernels take.
    ///
    /// # Errors
    /// If the inputs' shapes or the weights do not fit the graph, weights cannot be read, a tap does not exist, or the graph ends
    /// in a loss.
    pub fn new<'a>(
        graph: &Graph,
        weights: impl Into<LazyWeights<'a>>,
        inputs: impl Into<InputShapes>,
        options: &PlanOptions,
    ) -> Result<Self, PlanError> {
        let (weights, inputs) = (weights.into(), inputs.into());
        weights.check(graph.params())?;
        graph.shapes(&*inputs)?;
        // Rewrites may leave the answer to a node of another path.
        let names: Vec<String> = graph.outputs().iter().map(|o| o.name.clone()).collect();
        let PlanOptions { isa, rewrites, direct, low_memory, alike, .. } = *options;
        let chooses = if alike { ALIKE } else { isa };
        let kept = |graph: &Graph| Ok(tapped(graph, &options.taps)?.into_values().collect());
        let named = graph.clone().with_modules(&options.taps);
        let (graph, weights, mut savings) = rewritten((named, weights), &inputs, rewrites, kept)?;
        let shapes = graph.shapes(&*inputs)?;
        let taps = tapped(&graph, &options.taps)?;
        let kept: BTreeSet<ValueId> = taps.values().copied().chain(graph.outputs().iter().map(|o| o.value)).collect();
        let program = Program::new(&graph, &shapes, &kept, rewrites)?;
        let build = Build { graph: &graph, weights: &weights, shapes: &shapes, isa, chooses, rewrites, direct };
        let mut team = Team::new(default_threads());
        let layer = |step: &Step| build.layer(step, |v| program.planes(v));
        let layers: Vec<Option<Layer>> = program.steps.iter().map(layer).collect();
        let choices = match &options.tune {
            _ if direct || low_memory => Choices::default(),
            Some(known) => tune::choose(known, &layers, &build, &program, &mut team)?,
            None => layers.iter().flatten().map(|l| (l.name.clone(), l.by_model)).collect(),
        };
        let kernels = program.joined(program.kernels(&build, &layers, &choices, &mut team)?);
        savings.extend(program.savings(&build));
        let report = program.report(&build, &kernels, &savings);
        Ok(Self {
            inputs: program.inputs(&graph, &shapes),
            outputs: names.into_iter().zip(graph.outputs()).map(|(n, o)| (n, program.planes(o.value))).collect(),
            taps: taps.into_iter().map(|(name, v)| (name, program.planes(v))).collect(),
            image_len: program.arena.image_len,
            scratch_len: kernels.iter().map(Kernel::scratch_len).max().unwrap_or(0),
            kernels,
            choices,
            report,
        })
    }

    /// Memory for batches of `images` pictures and a team of `threads`.
    pub fn workspace(&self, images: usize, threads: usize) -> Workspace {
        let team = Team::new(threads);
        Workspace { memory: Memory::new(images, self.image_len, team.threads(), self.scratch_len), team }
    }

    /// Runs a batch as large as the workspace was made for: one [`Input`], or several in the order of [`Plan::inputs`].
    ///
    /// # Errors
    /// If there is not one for every input of the network, or one is not that many images of the plan's size, or not of the kind
    /// the network takes.
    ///
    /// # Panics
    /// If the workspace belongs to another plan.
    pub fn run<'i>(&self, workspace: &mut Workspace, inputs: impl AsRef<[Input<'i>]>) -> Result<(), RunError> {
        let Workspace { memory, team } = workspace;
        let inputs = self.checked(memory.images(), inputs.as_ref())?;
        for kernel in &self.kernels {
            kernel.run(inputs, memory, team);
        }
        Ok(())
    }

    /// The same inputs, if each is a batch that the plan takes.
    fn checked<'s, 'i>(&self, images: usize, inputs: &'s [Input<'i>]) -> Result<&'s [Input<'i>], RunError> {
        match &self.inputs[..] {
            own if own.len() != inputs.len() => {
                return Err(RunError::Inputs { found: inputs.len(), expected: own.len() });
            }
            [own] => own.check(images, inputs[0])?,
            own => own.iter().zip(inputs).try_for_each(|(own, &input)| {
                let named = |source| RunError::Input { name: own.name.clone(), source: Box::new(source) };
                own.check(images, input).map_err(named)
            })?,
        }
        Ok(inputs)
    }

    /// Runs a batch as [`Plan::run`] does, and tells how long each step took, in the order of [`Report::steps`].
    ///
    /// # Errors
    /// As [`Plan::run`].
    ///
    /// # Panics
    /// As [`Plan::run`].
    pub fn run_timed<'i>(
        &self,
        workspace: &mut Workspace,
        inputs: impl AsRef<[Input<'i>]>,
    ) -> Result<Vec<Duration>, RunError> {
        let Workspace { memory, team } = workspace;
        let inputs = self.checked(memory.images(), inputs.as_ref())?;
        let timed = |kernel: &Kernel| {
            let begin = Instant::now();
            kernel.run(inputs, memory, team);
            begin.elapsed()
        };
        Ok(self.kernels.iter().map(timed).collect())
    }

    /// What the plan takes, the picture first.
    pub fn inputs(&self) -> &[PlanInput] {
        &self.inputs
    }

    /// Whether the network begins with a normalisation of pixels, so that a batch is [`Input::Pixels`] and not [`Input::Real`].
    pub fn takes_pixels(&self) -> bool {
        self.inputs[0].takes_pixels
    }

    /// Names and shapes, for one image, of all that the network gives, the answer first.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, Shape)> {
        self.outputs.iter().map(|(name, planes)| (name.as_str(), shape(planes)))
    }

    /// The network's answer for one image of the batch, `[c, h, w]` row-major.
    pub fn output(&self, workspace: &Workspace, image: usize) -> Vec<f32> {
        export(self.answer(), workspace, image)
    }

    fn answer(&self) -> &Planes {
        &self.outputs[0].1
    }

    /// Writes the network's answer for one image of the batch where [`Plan::output`] would give it.
    ///
    /// # Panics
    /// If `out` has not as many numbers as [`Plan::output_shape`].
    pub fn output_into(&self, workspace: &Workspace, image: usize, out: &mut [f32]) {
        export_nchw(self.answer(), &workspace.memory, image, out);
    }

    /// The output of this name for one image, `[c, h, w]` row-major; `None` if there is none.
    pub fn named_output(&self, workspace: &Workspace, name: &str, image: usize) -> Option<Vec<f32>> {
        let (_, planes) = self.outputs.iter().find(|(own, _)| own == name)?;
        Some(export(planes, workspace, image))
    }

    /// The value of a tapped module for one image, `[c, h, w]` row-major; `None` if it was not asked for in the options.
    pub fn tap(&self, workspace: &Workspace, module: &str, image: usize) -> Option<Vec<f32>> {
        Some(export(self.taps.get(module)?, workspace, image))
    }

    /// The shape of a tapped module's value for one image; `None` if it was not asked for in the options.
    pub fn tap_shape(&self, module: &str) -> Option<Shape> {
        self.taps.get(module).map(shape)
    }

    /// Shape of the network's answer for one image.
    pub fn output_shape(&self) -> Shape {
        shape(self.answer())
    }

    /// Shape of the pictures the plan was made for.
    pub fn picture(&self) -> Shape {
        self.inputs[0].shape
    }

    /// The algorithms of its convolutions that have several.
    pub fn choices(&self) -> &Choices {
        &self.choices
    }

    /// What was planned: steps with their kernels, bytes of weights, activations and copies.
    pub fn report(&self) -> &Report {
        &self.report
    }
}

/// The values of modules that are to be seen.
fn tapped(graph: &Graph, taps: &[String]) -> Result<BTreeMap<String, ValueId>, PlanError> {
    let value = |name: &String| graph.value(name).ok_or_else(|| PlanError::Tap(name.clone()));
    taps.iter().map(|name| Ok((name.clone(), value(name)?))).collect()
}

/// The rewrite that makes a value a view instead of a copy.
fn view_rewrite(graph: &Graph, value: ValueId) -> Option<Rewrite> {
    match graph.node(value).op {
        Op::Concat => Some(Rewrite::ConcatView),
        Op::Slice { .. } => Some(Rewrite::SplitView),
        _ => None,
    }
}

fn shape(planes: &Planes) -> Shape {
    [planes.channels(), planes.height(), planes.width()]
}

fn export(planes: &Planes, workspace: &Workspace, image: usize) -> Vec<f32> {
    let mut out = vec![0.0; planes.channels() * planes.pixels()];
    export_nchw(planes, &workspace.memory, image, &mut out);
    out
}

/// Steps with the places of all values they touch.
struct Program {
    steps: Vec<Step>,
    /// Concatenations and slices that are copied.
    copied: Vec<ValueId>,
    /// Values that are handed on in bands, by the step in front of the one that reads them.
    in_bands: BTreeSet<ValueId>,
    views: Vec<View>,
    arena: Arena,
}

impl Program {
    fn new(graph: &Graph, shapes: &[Shape], kept: &BTreeSet<ValueId>, rewrites: Rewrites) -> Result<Self, PlanError> {
        if let Some(loss) = graph.nodes().iter().position(|n| n.op == Op::SoftmaxCrossEntropy) {
            return Err(PlanError::unsupported(graph, loss, "a loss is for training; plan the network without it"));
        }
        let (mut steps, mut definitions) = lower(graph, shapes, kept, Purpose::Inference(rewrites));
        if rewrites.has(Rewrite::Stem) {
            stem::join(graph, kept, &mut steps, &mut definitions);
        }
        let channels: Vec<usize> = shapes.iter().map(|s| s[0]).collect();
        let is_stored = |&v: &ValueId| view_rewrite(graph, v).is_some_and(|r| !rewrites.has(r));
        let layout = Layout::of(&definitions, &channels, &(0..channels.len()).filter(is_stored).collect());
        steps.extend(layout.copied.iter().map(|&v| Step::copy(graph, v)));
        steps.sort_by_key(Step::output);
        let large = if rewrites.has(Rewrite::Bands) { bands::LARGE } else { usize::MAX };
        let in_bands = bands::join(graph, shapes, kept, &layout, &mut steps, large);
        let mut program = Self {
            steps,
            copied: layout.copied.clone(),
            in_bands: in_bands.keys().copied().collect(),
            views: layout.views.clone(),
            arena: Arena::new(Vec::new(), &[], &[], &[]),
        };
        let (touched, kept) = (program.touched(), kept.iter().flat_map(|&v| program.roots(v)).collect::<Vec<_>>());
        let unstored: Vec<RootId> = in_bands.into_values().collect();
        program.arena = Arena::new(Root::all(&layout, shapes), &touched, &kept, &unstored);
        Ok(program)
    }

    fn roots(&self, value: ValueId) -> impl Iterator<Item = RootId> {
        self.views[value].iter().map(|p| p.root)
    }

    /// What the steps take of the network's inputs.
    fn inputs(&self, graph: &Graph, shapes: &[Shape]) -> Vec<PlanInput> {
        let is_normalised = |&value: &ValueId| {
            self.steps.iter().any(|step| {
                step.nodes[0] == value
                    && matches!(step.task, Task::Import { normalise: Some(_) } | Task::Stem { normalise: Some(_), .. })
            })
        };
        let input = |value: &ValueId| PlanInput {
            name: graph.node(*value).path.clone(),
            shape: shapes[*value],
            takes_pixels: is_normalised(value),
        };
        graph.inputs().iter().map(input).collect()
    }

    /// For each kernel's steps the roots that they touch.
    fn touched(&self) -> Vec<Vec<RootId>> {
        let of_step = |s: &Step| s.inputs.iter().chain([&s.output()]).flat_map(|&v| self.roots(v)).collect::<Vec<_>>();
        self.together().map(|steps| steps.iter().flat_map(of_step).collect()).collect()
    }

    /// The steps of each kernel: one, or two that run band by band.
    fn together(&self) -> impl Iterator<Item = &[Step]> {
        self.steps.chunk_by(|step, _| self.in_bands.contains(&step.output()))
    }

    /// The kernels that run, given those of all steps.
    fn joined(&self, kernels: Vec<Kernel>) -> Vec<Kernel> {
        let mut kernels = kernels.into_iter();
        let mut next = || kernels.next().expect("a kernel for every step");
        self.together().map(|steps| if steps.len() == 2 { next().in_bands_with(next()) } else { next() }).collect()
    }

    fn planes(&self, value: ValueId) -> Planes {
        self.arena.planes(&self.views[value])
    }

    /// The kernels of all steps, each by itself; a layer that has no choice is computed directly.
    fn kernels(
        &self,
        build: &Build<'_, '_>,
        layers: &[Option<Layer>],
        choices: &Choices,
        team: &mut Team,
    ) -> Result<Vec<Kernel>, ReadError> {
        let kernel = |(step, layer): (&Step, &Option<Layer>)| {
            let chosen = layer.as_ref().and_then(|l| choices.get(&l.name));
            build.kernel(step, chosen.unwrap_or(Algorithm::Direct), |v| self.planes(v), team)
        };
        self.steps.iter().zip(layers).map(kernel).collect()
    }

    /// What fusing steps and viewing values has saved.
    fn savings(&self, build: &Build<'_, '_>) -> Vec<Saving> {
        let unstored = |rewrite, value: ValueId| Saving::unstored(rewrite, numbers(build.shapes[value]));
        let fused = self.steps.iter().flat_map(|s| s.fused(build.graph)).map(|(r, v)| unstored(r, v));
        let views = (0..build.shapes.len()).filter(|v| !self.copied.contains(v));
        let views = views.filter_map(|v| Some(unstored(view_rewrite(build.graph, v)?, v)));
        // A prologue is there once, however many read through it.
        let prologues: BTreeMap<ValueId, (Rewrite, Prologue)> =
            self.steps.iter().filter_map(Step::prologue).map(|(r, p)| (p.norm, (r, p))).collect();
        let hidden = prologues.into_values().map(|(rewrite, prologue)| {
            let both = if prologue.activation.is_some() { 2 } else { 1 };
            let one = unstored(rewrite, prologue.norm);
            Saving { bytes: both * one.bytes, ..one }
        });
        let thresholds = self.steps.iter().filter(|s| build.is_threshold(&s.task));
        let thresholds = thresholds.map(|s| Saving::unscaled(Rewrite::Threshold, numbers(build.shapes[s.inputs[0]])));
        let in_bands = self.in_bands.iter().map(|&v| unstored(Rewrite::Bands, v));
        fused.chain(views).chain(hidden).chain(thresholds).chain(in_bands).collect()
    }

    fn report(&self, build: &Build<'_, '_>, kernels: &[Kernel], savings: &[Saving]) -> Report {
        let step = |(steps, kernel): (&[Step], &Kernel)| StepReport {
            pass: Pass::Forward,
            nodes: steps.iter().flat_map(|s| &s.nodes).map(|&n| build.graph.node(n).path.clone()).collect(),
            kernel: kernel.name(),
            shape: build.shapes[steps[steps.len() - 1].output()],
        };
        Report {
            steps: self.together().zip(kernels).map(step).collect(),
            rewrites: Saving::summed(savings),
            weight_bytes: kernels.iter().map(Kernel::weight_bytes).sum(),
            activation_bytes: self.arena.image_len * size_of::<f32>(),
            copied_bytes: kernels.iter().map(Kernel::copied_bytes).sum(),
        }
    }
}
