//! The gradients of parameters: all of them kept, or each only until its parameter is changed.
//!
//! Not here: how they are computed, and how they change parameters ([`super::UpdateRule`]).

use cspnet_graph::{Param, ParamId};
use cspnet_kernels::AlignedBuf;

/// The gradient of every trained parameter, as far as there is one now.
#[derive(Debug)]
pub(super) struct Gradients {
    of: Vec<AlignedBuf>,
    /// Memory of gradients that are not needed any more.
    spare: Vec<AlignedBuf>,
}

impl Gradients {
    /// None, of so many parameters.
    pub(super) fn new(params: usize) -> Self {
        Self { of: vec![AlignedBuf::default(); params], spare: Vec::new() }
    }

    pub(super) fn get(&self, param: ParamId) -> &[f32] {
        &self.of[param]
    }

    pub(super) fn get_mut(&mut self, param: ParamId) -> &mut [f32] {
        &mut self.of[param]
    }

    /// The gradients of two parameters.
    pub(super) fn pair_mut(&mut self, a: ParamId, b: ParamId) -> [&mut [f32]; 2] {
        self.of.get_disjoint_mut([a, b]).expect("a node's parameters are distinct").map(|buf| &mut buf[..])
    }

    /// All of them; empty where a parameter is not trained.
    pub(super) fn all_mut(&mut self) -> &mut Vec<AlignedBuf> {
        &mut self.of
    }

    /// Makes room for all of them.
    pub(super) fn keep(&mut self, params: &[Param]) {
        self.spare.clear();
        for (of, param) in self.of.iter_mut().zip(params).filter(|(_, param)| param.role.is_trained()) {
            of.set_len(param.len());
        }
    }

    /// Makes room for one, where others were if there is any that no longer serves.
    pub(super) fn begin(&mut self, param: ParamId, len: usize) {
        if self.of[param].len() == len {
            return;
        }
        // The smallest that is large enough, or else the largest grows.
        let serves = |buf: &AlignedBuf| if buf.room() >= len { (0, buf.room()) } else { (1, usize::MAX - buf.room()) };
        let best = (0..self.spare.len()).min_by_key(|&i| serves(&self.spare[i]));
        let mut buf = best.map(|i| self.spare.swap_remove(i)).unwrap_or_default();
        buf.set_len(len);
        self.of[param] = buf;
    }

    /// Gives one up.
    pub(super) fn end(&mut self, param: ParamId) {
        self.spare.push(std::mem::take(&mut self.of[param]));
    }
}
