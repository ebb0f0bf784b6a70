//! The mean of a pooling window over a normalised and activated value that is never stored: the transition of a dense
//! network whose average is taken first.

use crate::activation::with_activation;
use crate::pool::{PoolBody, Windows, divisor};
use crate::simd::{Body, Simd};
use crate::{Activation, Isa, LANES, Memory, Planes, PoolKind, Team, Window};

/// `output = mean of the window's cells on the plane over activation(scale * input + shift)`, with a scale and a shift for every
/// channel.
#[derive(Debug)]
pub struct AffinePool {
    isa: Isa,
    activation: Activation,
    windows: Windows,
    input: Planes,
    output: Planes,
}

impl AffinePool {
    /// # Panics
    /// If the window has padding, whose cells the function would not leave zero, or as [`crate::Pool::new`].
    pub fn new(isa: Isa, activation: Activation, window: Window, input: &Planes, output: &Planes) -> Self {
        assert!(window.padding == [0, 0], "a cell of padding is no value of the function");
        assert!(input.is_apart_from(output) && output.is_disjoint(), "pooling cannot overwrite its input");
        let kind = PoolKind::Average { padding_behind: None };
        let windows = Windows::new(kind, window, input, output);
        Self { isa, activation, windows, input: input.clone(), output: output.clone() }
    }

    /// Computes all images with `scale` and `shift` `[c]`.
    ///
    /// # Panics
    /// If there are not as many scales and shifts as channels, or the memory has no room for the values.
    pub fn run(&self, scale: &[f32], shift: &[f32], memory: &mut Memory, team: &mut Team) {
        assert!(memory.image_len() >= self.input.end().max(self.output.end()), "values beyond the arena");
        let channels = self.input.channels();
        assert!([scale.len(), shift.len()] == [channels; 2], "a scale and a shift for each of {channels} channels");
        let blocks = self.input.blocks().len();
        let images = memory.images();
        let shared = memory.share();
        team.run(images * blocks, &|part, _| {
            let (image, block) = (shared.image(part / blocks), part % blocks);
            let at = |p: &Planes| image.wrapping_add(p.blocks()[block].offset);
            let of = PoolBody { windows: &self.windows, input: at(&self.input), output: at(&self.output) };
            let [scale, shift] = [scale, shift].map(|all| self.input.lanes(block, all));
            self.isa.run(AffinePoolBody { of, activation: self.activation, scale, shift });
        });
    }
}

/// Pools one plane; the output is this body's alone.
struct AffinePoolBody<'a> {
    of: PoolBody<'a>,
    activation: Activation,
    scale: [f32; LANES],
    shift: [f32; LANES],
}

impl Body for AffinePoolBody<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        with_activation!(self.activation, f => self.each(s, f));
    }
}

impl AffinePoolBody<'_> {
    #[inline(always)]
    fn each<S: Simd>(&self, s: S, activation: Activation) {
        // SAFETY: both arrays have eight floats.
        let [scale, shift] = unsafe { [s.load(self.scale.as_ptr()), s.load(self.shift.as_ptr())] };
        let [rows, columns] = &self.of.windows.reaches;
        let mut to = self.of.output;
        for row in rows {
            for column in columns {
                // Row by row, as in `Pool`.
                let mut sum = s.splat(0.0);
                for i in 0..row.count {
                    let mut of_row = s.splat(0.0);
                    for j in 0..column.count {
                        // SAFETY: a cell of the window.
                        let x = unsafe { self.of.load(s, self.of.cell(row, column, i, j)) };
                        of_row = s.add(of_row, activation.apply(s, s.fma(x, scale, shift)));
                    }
                    sum = s.add(sum, of_row);
                }
                // SAFETY: `to` is the next of the output's pixels, and the reaches are as many.
                unsafe { s.store(s.div(sum, divisor(s, row, column)), to) };
                to = to.wrapping_add(LANES);
            }
        }
    }
}
