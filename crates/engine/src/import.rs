//! What moves numbers without computing with them: the way of pictures and constants into the arena, and the copies of
//! concatenations and slices that could not be views.

use cspnet_graph::{Graph, Op, ValueId};
use cspnet_kernels::{Memory, Planes, Transfer, import_nchw, import_pixels};

use crate::input::Input;
use crate::lower::Step;

/// The step that brings a batch of one input into the arena.
#[derive(Debug)]
pub(crate) struct Import {
    planes: Planes,
    /// Mean and deviation of every channel of the pixels, if the network normalises them.
    normalise: Option<(Vec<f32>, Vec<f32>)>,
}

impl Import {
    /// Into `planes`, through the node `normalise` if there is one.
    pub(crate) fn new(graph: &Graph, normalise: Option<ValueId>, planes: Planes) -> Self {
        let normalise = normalise.map(|n| {
            let (mean, std) = pixel_norm(graph, n);
            (mean.to_vec(), std.to_vec())
        });
        Self { planes, normalise }
    }

    /// Whether it takes pixels.
    pub(crate) fn normalises(&self) -> bool {
        self.normalise.is_some()
    }

    /// Brings in a batch whose length and kind have been checked.
    pub(crate) fn run(&self, input: Input<'_>, memory: &mut Memory) {
        let len = self.planes.channels() * self.planes.pixels();
        for image in 0..memory.images() {
            let of_image = image * len..(image + 1) * len;
            match (input, &self.normalise) {
                (Input::Pixels(pixels), Some((mean, std))) => {
                    import_pixels(&self.planes, memory, image, &pixels[of_image], mean, std);
                }
                (Input::Real(numbers), None) => import_nchw(&self.planes, memory, image, &numbers[of_image]),
                _ => unreachable!("the kind of input is checked before a run"),
            }
        }
    }
}

/// Numbers that are the same for all images, to be brought into the arena before they are read.
#[derive(Debug)]
pub(crate) struct Constant {
    planes: Planes,
    numbers: Vec<f32>,
}

impl Constant {
    /// `numbers` `[c, h, w]` into `planes`.
    pub(crate) fn new(planes: Planes, numbers: Vec<f32>) -> Self {
        Self { planes, numbers }
    }

    /// Bytes of the numbers.
    pub(crate) fn bytes(&self) -> usize {
        self.numbers.len() * size_of::<f32>()
    }

    pub(crate) fn run(&self, memory: &mut Memory) {
        for image in 0..memory.images() {
            import_nchw(&self.planes, memory, image, &self.numbers);
        }
    }
}

/// Mean and deviation of every channel of a normalisation of pixels.
pub(crate) fn pixel_norm(graph: &Graph, node: ValueId) -> (&[f32], &[f32]) {
    match &graph.node(node).op {
        Op::Normalise { mean, std } => (mean, std),
        other => unreachable!("{} is no normalisation of pixels", other.name()),
    }
}

/// The transfers of a concatenation or slice that is no view.
pub(crate) fn copies(graph: &Graph, step: &Step, planes: impl Fn(ValueId) -> Planes) -> Vec<Transfer> {
    let output = planes(step.output());
    let runs = copied_runs(graph, step);
    runs.into_iter().map(|r| Transfer::new(&planes(r.value), r.start, &output, r.at, r.len, false)).collect()
}

/// A run of channels that a copy takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CopiedRun {
    /// From this value,
    pub value: ValueId,
    /// beginning at this channel,
    pub start: usize,
    /// so many channels,
    pub len: usize,
    /// to this channel of the copy.
    pub at: usize,
}

/// What a concatenation or slice takes from its inputs.
pub(crate) fn copied_runs(graph: &Graph, step: &Step) -> Vec<CopiedRun> {
    let mut at = 0;
    let run = |&value: &ValueId| {
        let (start, len) = match graph.node(step.output()).op {
            Op::Slice { start, len } => (start, len),
            _ => (0, graph.channels(value)),
        };
        at += len;
        CopiedRun { value, start, len, at: at - len }
    };
    step.inputs.iter().map(run).collect()
}
