//! Inference: a graph, its weights and a picture size, compiled once into a [`Plan`] that any number of threads may share.
//!
//! Making a plan folds normalisations, fuses steps, lays values out so that concatenation and splitting copy nothing,
//! places them in one arena and packs the weights. Running it allocates nothing; each caller brings a [`Workspace`]. Not
//! here: training ([`crate::train`]), file formats, pixels of photos.

mod kernel;
mod stem;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use cspnet_graph::rewrite::{fold_batch_norm, merge_linear_pair, pool_first};
use cspnet_graph::{Graph, Op, Shape, ValueId, Weights};
use cspnet_kernels::{Isa, Memory, Planes, Team, export_nchw};

use crate::error::{PlanError, RunError, check_input};
use crate::input::Input;
use crate::layout::{Layout, RootId, View};
use crate::lower::{Purpose, Step, lower};
use crate::report::{Report, StepReport};
use crate::views::{Arena, Root};
use kernel::{Build, Kernel};

/// Choices in making a plan.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Instruction set of the kernels.
    pub isa: Isa,
    /// Modules whose values are to be seen after a run; they are kept, so fewer steps can be fused.
    pub taps: Vec<String>,
    /// The graph is computed as it stands: no rewrites of it or its weights, and every convolution directly. Slower, and
    /// what the optimised plan is held against.
    pub strict: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { isa: Isa::detect(), taps: Vec::new(), strict: false }
    }
}

/// A network compiled for pictures of one size.
#[derive(Debug)]
pub struct Plan {
    picture: Shape,
    normalises: bool,
    kernels: Vec<Kernel>,
    output: Planes,
    taps: BTreeMap<String, Planes>,
    image_len: usize,
    scratch_len: usize,
    report: Report,
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
    /// Compiles `graph` with `weights` for pictures `[c, h, w]`.
    ///
    /// # Errors
    /// If the picture or the weights do not fit the graph, a tap does not exist, or the graph ends in a loss.
    pub fn new(graph: &Graph, weights: &Weights, picture: Shape, options: &PlanOptions) -> Result<Self, PlanError> {
        weights.check(graph.params())?;
        graph.shapes(picture)?;
        let (graph, weights) =
            if options.strict { (graph.clone(), weights.clone()) } else { rewritten(graph, weights, &options.taps)? };
        let shapes = graph.shapes(picture)?;
        let taps = tapped(&graph, &options.taps)?;
        let kept: BTreeSet<ValueId> = taps.values().copied().chain([graph.output()]).collect();
        let program = Program::new(&graph, &shapes, &kept, options.strict)?;
        let PlanOptions { isa, strict, .. } = *options;
        let build = Build { graph: &graph, weights: &weights, shapes: &shapes, isa, strict };
        let kernels: Vec<Kernel> = program.steps.iter().map(|s| build.kernel(s, |v| program.planes(v))).collect();
        let report = program.report(&build, &kernels);
        Ok(Self {
            picture,
            normalises: kernels[0].takes_pixels(),
            output: program.planes(graph.output()),
            taps: taps.into_iter().map(|(name, v)| (name, program.planes(v))).collect(),
            image_len: program.arena.image_len,
            scratch_len: kernels.iter().map(Kernel::scratch_len).max().unwrap_or(0),
            kernels,
            report,
        })
    }

    /// Memory for batches of `images` pictures and a team of `threads`.
    pub fn workspace(&self, images: usize, threads: usize) -> Workspace {
        let team = Team::new(threads);
        Workspace { memory: Memory::new(images, self.image_len, team.threads(), self.scratch_len), team }
    }

    /// Runs a batch as large as the workspace was made for.
    ///
    /// # Errors
    /// If `input` is not that many pictures of the plan's size, or not of the kind the network takes.
    ///
    /// # Panics
    /// If the workspace belongs to another plan.
    pub fn run(&self, workspace: &mut Workspace, input: Input<'_>) -> Result<(), RunError> {
        let Workspace { memory, team } = workspace;
        check_input(memory.images(), self.picture, self.normalises, input)?;
        for kernel in &self.kernels {
            kernel.run(input, memory, team);
        }
        Ok(())
    }

    /// Runs a batch as [`Plan::run`] does, and tells how long each step took, in the order of [`Report::steps`].
    ///
    /// # Errors
    /// As [`Plan::run`].
    ///
    /// # Panics
    /// As [`Plan::run`].
    pub fn run_timed(&self, workspace: &mut Workspace, input: Input<'_>) -> Result<Vec<Duration>, RunError> {
        let Workspace { memory, team } = workspace;
        check_input(memory.images(), self.picture, self.normalises, input)?;
        let timed = |kernel: &Kernel| {
            let begin = Instant::now();
            kernel.run(input, memory, team);
            begin.elapsed()
        };
        Ok(self.kernels.iter().map(timed).collect())
    }

    /// Whether the network begins with a normalisation of pixels, so that a batch is [`Input::Pixels`] and not [`Input::Real`].
    pub fn takes_pixels(&self) -> bool {
        self.normalises
    }

    /// The network's answer for one image of the batch, `[c, h, w]` row-major.
    pub fn output(&self, workspace: &Workspace, image: usize) -> Vec<f32> {
        export(&self.output, workspace, image)
    }

    /// The value of a tapped module for one image, `[c, h, w]` row-major; `None` if it was not asked for in the options.
    pub fn tap(&self, workspace: &Workspace, module: &str, image: usize) -> Option<Vec<f32>> {
        Some(export(self.taps.get(module)?, workspace, image))
    }

    /// Shape of the network's answer for one image.
    pub fn output_shape(&self) -> Shape {
        [self.output.channels(), self.output.height(), self.output.width()]
    }

    /// Shape of the pictures the plan was made for.
    pub fn picture(&self) -> Shape {
        self.picture
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

/// The graph with all rewrites that leave the tapped values as they are.
fn rewritten(graph: &Graph, weights: &Weights, taps: &[String]) -> Result<(Graph, Weights), PlanError> {
    let (mut graph, mut weights) = fold_batch_norm(graph, weights);
    for rewrite in [merge_linear_pair, pool_first] {
        let kept: Vec<ValueId> = tapped(&graph, taps)?.into_values().chain([graph.output()]).collect();
        (graph, weights) = rewrite(&graph, &weights, &kept);
    }
    Ok((graph, weights))
}

fn export(planes: &Planes, workspace: &Workspace, image: usize) -> Vec<f32> {
    let mut out = vec![0.0; planes.channels() * planes.pixels()];
    export_nchw(planes, &workspace.memory, image, &mut out);
    out
}

/// Steps with the places of all values they touch.
struct Program {
    steps: Vec<Step>,
    views: Vec<View>,
    arena: Arena,
}

impl Program {
    fn new(graph: &Graph, shapes: &[Shape], kept: &BTreeSet<ValueId>, strict: bool) -> Result<Self, PlanError> {
        if let Some(loss) = graph.nodes().iter().position(|n| n.op == Op::SoftmaxCrossEntropy) {
            return Err(PlanError::unsupported(graph, loss, "a loss is for training; plan the network without it"));
        }
        let (mut steps, mut definitions) = lower(graph, kept, Purpose::Inference);
        if !strict {
            stem::join(graph, kept, &mut steps, &mut definitions);
        }
        let channels: Vec<usize> = shapes.iter().map(|s| s[0]).collect();
        let layout = Layout::of(&definitions, &channels);
        steps.extend(layout.copied.iter().map(|&v| Step::copy(graph, v)));
        steps.sort_by_key(Step::output);
        let arena = Self::place(&layout, shapes, &steps, kept);
        Ok(Self { steps, views: layout.views, arena })
    }

    /// Puts every root where it does not disturb the others, from the step that writes it to the last that reads it.
    fn place(layout: &Layout, shapes: &[Shape], steps: &[Step], kept: &BTreeSet<ValueId>) -> Arena {
        let roots_of = |v: &ValueId| layout.views[*v].iter().map(|p| p.root);
        let touched = |s: &Step| s.inputs.iter().chain([&s.output()]).flat_map(roots_of).collect();
        let touched: Vec<Vec<RootId>> = steps.iter().map(touched).collect();
        let kept: Vec<RootId> = kept.iter().flat_map(roots_of).collect();
        Arena::new(Root::all(layout, shapes), &touched, &kept)
    }

    fn planes(&self, value: ValueId) -> Planes {
        self.arena.planes(&self.views[value])
    }

    fn report(&self, build: &Build<'_>, kernels: &[Kernel]) -> Report {
        let step = |(step, kernel): (&Step, &Kernel)| StepReport {
            nodes: step.nodes.iter().map(|&n| build.graph.node(n).path.clone()).collect(),
            kernel: kernel.name(),
            shape: build.shapes[step.output()],
        };
        Report {
            steps: self.steps.iter().zip(kernels).map(step).collect(),
            weight_bytes: kernels.iter().map(Kernel::weight_bytes).sum(),
            activation_bytes: self.arena.image_len * size_of::<f32>(),
            copied_bytes: kernels.iter().map(Kernel::copied_bytes).sum(),
        }
    }
}
