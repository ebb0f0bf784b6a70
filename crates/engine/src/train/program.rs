//! What a step of training does, forward and backward, and where every value and gradient lies. Not here: kernels.

use std::collections::BTreeSet;

use cspnet_graph::{Graph, Shape, ValueId};
use cspnet_kernels::Planes;

use super::backward::{Back, backward};
use super::norms::Norms;
use super::recompute::Recomputed;
use crate::layout::{Layout, Piece, RootId, View};
use crate::lower::{Purpose, Step, Task, lower};
use crate::views::{Arena, Root};

/// Both passes with the places of all values and gradients they touch.
pub(super) struct Program {
    pub forward: Vec<Step>,
    pub backward: Vec<Back>,
    pub norms: Norms,
    pub layout: Layout,
    pub recomputed: Recomputed,
    pub arena: Arena,
}

impl Program {
    pub fn new(graph: &Graph, shapes: &[Shape], logits: ValueId, recomputes: bool) -> Self {
        let kept = BTreeSet::from([logits, graph.output()]);
        let (mut forward, definitions) = lower(graph, shapes, &kept, Purpose::Training);
        let channels: Vec<usize> = shapes.iter().map(|s| s[0]).collect();
        let layout = Layout::of(&definitions, &channels, &BTreeSet::new());
        forward.extend(layout.copied.iter().map(|&v| Step::copy(graph, v)));
        forward.sort_by_key(Step::output);
        let norms = Norms::of(&layout, &forward);
        let mut backward = backward(graph, &layout, &norms, &forward);
        let mut roots = Root::all(&layout, shapes);
        roots.extend(roots.clone());
        let kept: Vec<RootId> = layout.views[logits].iter().map(|p| p.root).collect();
        let recomputed = match recomputes {
            true => Recomputed::choose(&layout, &forward, &mut backward, &kept, &mut roots),
            false => Recomputed::default(),
        };
        let nowhere = Arena::new(Vec::new(), &[], &[], &[]);
        let mut program = Self { forward, backward, norms, layout, recomputed, arena: nowhere };
        program.arena = Arena::new(roots, &program.touched(), &kept, &[]);
        program
    }

    /// The roots each step of both passes reads or writes; gradients' roots follow the values', and those of values that are
    /// computed again follow these.
    fn touched(&self) -> Vec<Vec<RootId>> {
        let roots = self.layout.roots.len();
        let roots_of = |view: &View| view.iter().map(|p| p.root).collect::<Vec<_>>();
        let gradient = |v: ValueId| self.layout.views[v].iter().map(|p| p.root + roots).collect::<Vec<_>>();
        let forward = self.forward.iter().map(|s| match s.task {
            Task::Norm { stored: false, .. } => Vec::new(),
            _ => s.inputs.iter().chain([&s.output()]).flat_map(|&v| roots_of(&self.layout.views[v])).collect(),
        });
        let value = |v: ValueId| roots_of(&self.recomputed.view(&self.layout.views[v]));
        let backward = self.backward.iter().map(|b| match b {
            Back::Clear { missing, .. } => missing.iter().map(|p| p.root + roots).collect(),
            Back::Loss { logits } => [value(*logits), gradient(*logits)].concat(),
            Back::ConvWeight { input, output, .. } => [value(*input), gradient(*output)].concat(),
            Back::Product { other, input, output, .. } => [value(*other), gradient(*input), gradient(*output)].concat(),
            Back::Moments { of } => [value(*of), gradient(*of)].concat(),
            Back::Copy { run, output } => [gradient(run.value), gradient(*output)].concat(),
            Back::Again { of } => [value(self.step_of(*of).inputs[0]), value(*of)].concat(),
            Back::ConvData { input, output, .. }
            | Back::Pass { input, output, .. }
            | Back::Drop { input, output, .. } => [gradient(*input), gradient(*output)].concat(),
            Back::Norm { input, output, .. } | Back::Map { input, output, .. } | Back::Pool { input, output, .. } => {
                [value(*input), gradient(*input), gradient(*output)].concat()
            }
        });
        forward.chain(backward).collect()
    }

    /// The step that gives a value.
    pub fn step_of(&self, value: ValueId) -> &Step {
        self.forward.iter().find(|s| s.output() == value).expect("a value that is computed has a step")
    }

    pub fn planes(&self, value: ValueId) -> Planes {
        self.arena.planes(&self.layout.views[value])
    }

    /// A value as the backward pass reads it.
    pub fn planes_backward(&self, value: ValueId) -> Planes {
        self.arena.planes(&self.recomputed.view(&self.layout.views[value]))
    }

    pub fn gradient(&self, value: ValueId) -> Planes {
        self.gradient_of(&self.layout.views[value])
    }

    pub fn gradient_of(&self, view: &View) -> Planes {
        let roots = self.layout.roots.len();
        let moved: View = view.iter().map(|p| Piece { root: p.root + roots, ..*p }).collect();
        self.arena.planes(&moved)
    }
}
