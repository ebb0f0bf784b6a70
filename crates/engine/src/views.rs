//! Values as kernels see them: the blocks of a view, each at its place in the arena.
//!
//! Not here: which blocks a view has ([`crate::layout`]) and where roots are put ([`crate::storage`]).

use cspnet_graph::{Shape, ValueId};
use cspnet_kernels::{Block, Planes};

use crate::layout::{Layout, Piece, RootId, View};
use crate::storage::{Demand, Place, assign};

/// A root: the channels in each of its blocks, and the size of its planes.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub blocks: Vec<usize>,
    pub height: usize,
    pub width: usize,
}

impl Root {
    /// The roots of a layout, given every value's shape.
    pub(crate) fn all(layout: &Layout, shapes: &[Shape]) -> Vec<Self> {
        let root = |(blocks, &owner): (&Vec<usize>, &ValueId)| {
            let [_, height, width] = shapes[owner];
            Self { blocks: blocks.clone(), height, width }
        };
        layout.roots.iter().zip(&layout.owners).map(root).collect()
    }
}

/// All roots of a plan, each at its place.
#[derive(Debug)]
pub(crate) struct Arena {
    roots: Vec<Root>,
    places: Vec<Place>,
    /// Floats of one image's share.
    pub image_len: usize,
    /// The same if all roots were stored.
    pub whole_len: usize,
}

impl Arena {
    /// Places `roots`, given for every step the roots it touches, the roots that must outlive all steps, and those that are never
    /// stored: these lie behind the image's share, where nothing is, and so do roots that no step touches.
    pub(crate) fn new(roots: Vec<Root>, touched: &[Vec<RootId>], kept: &[RootId], unstored: &[RootId]) -> Self {
        let demand = |(id, root): (RootId, &Root)| {
            let mut at = (0..touched.len()).filter(|&s| touched[s].contains(&id));
            let first = at.next().unwrap_or(0);
            let last = if kept.contains(&id) { touched.len() } else { at.next_back().unwrap_or(first) };
            Demand { blocks: root.blocks.len(), height: root.height, width: root.width, first, last }
        };
        let demands: Vec<Demand> = roots.iter().enumerate().map(demand).collect();
        let is_touched = |id: &RootId| kept.contains(id) || touched.iter().any(|of_step| of_step.contains(id));
        let is_stored = |id: &RootId| !unstored.contains(id) && is_touched(id);
        let (stored, unstored): (Vec<RootId>, Vec<RootId>) = (0..roots.len()).partition(is_stored);
        let (of_stored, image_len) = assign(&stored.iter().map(|&id| demands[id]).collect::<Vec<_>>());
        let mut places = vec![Place::default(); roots.len()];
        stored.into_iter().zip(of_stored).for_each(|(id, place)| places[id] = place);
        let mut whole_len = image_len;
        for id in unstored {
            places[id] = Place { offset: whole_len, plane_stride: demands[id].plane_stride() };
            whole_len += demands[id].len();
        }
        Self { roots, places, image_len, whole_len }
    }

    /// The planes of a view.
    pub(crate) fn planes(&self, view: &View) -> Planes {
        let mut channels = 0;
        let mut blocks = Vec::new();
        for &Piece { root, first, len } in view {
            let Place { offset, plane_stride } = self.places[root];
            for block in first..first + len {
                let count = self.roots[root].blocks[block];
                blocks.push(Block { offset: offset + block * plane_stride, first: channels, count });
                channels += count;
            }
        }
        let root = &self.roots[view[0].root];
        Planes::new(blocks, root.height, root.width)
    }
}
