//! A function of two values, element by element, where an axis of length 1 is repeated along the other's.

use crate::activation::with_activation;
use crate::simd::{Body, Simd};
use crate::transfer::zero_pads;
use crate::{Activation, Isa, LANES, Memory, Planes, Team};

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// `a` to the power of `b`
    Pow,
    /// The larger one; NaN where either is.
    Max,
    /// The smaller one; NaN where either is.
    Min,
}

impl Operation {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, a: S::V, b: S::V) -> S::V {
        match self {
            Self::Add => s.add(a, b),
            Self::Sub => s.sub(a, b),
            Self::Mul => s.mul(a, b),
            Self::Div => s.div(a, b),
            Self::Pow => {
                let powers = powers(s.to_array(a), s.to_array(b));
                // SAFETY: the array has eight floats.
                unsafe { s.load(powers.as_ptr()) }
            }
            Self::Max => s.max_or_nan(a, b),
            Self::Min => {
                let minus = s.splat(-1.0);
                s.mul(minus, s.max_or_nan(s.mul(minus, a), s.mul(minus, b)))
            }
        }
    }

    /// Whether it makes finite numbers of finite ones that are not large; else pad lanes are cleared.
    fn keeps_finite(self) -> bool {
        !matches!(self, Self::Div | Self::Pow)
    }
}

#[inline(never)]
fn powers(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
    std::array::from_fn(|lane| a[lane].powf(b[lane]))
}

/// A value that is read, and along which axes it is repeated.
#[derive(Debug)]
struct Operand {
    planes: Planes,
    repeats: [bool; 3],
}

impl Operand {
    /// # Panics
    /// If it neither has the output's length along an axis nor 1, or blocks unlike the output's, or overlaps the output without
    /// being it.
    fn new(planes: &Planes, output: &Planes) -> Self {
        let shape = |p: &Planes| [p.channels(), p.height(), p.width()];
        let (own, of_output) = (shape(planes), shape(output));
        let repeats = std::array::from_fn(|axis| own[axis] == 1 && of_output[axis] != 1);
        assert!(repeats[0] || planes.is_cut_like(output), "values with different blocks");
        assert!((1..3).all(|axis| repeats[axis] || own[axis] == of_output[axis]), "values of different size");
        let same = planes.blocks() == output.blocks() && repeats == [false; 3];
        assert!(same || planes.is_apart_from(output), "a value that is read overlaps the one that is written");
        Self { planes: planes.clone(), repeats }
    }

    fn is_whole(&self) -> bool {
        self.repeats == [false; 3]
    }

    /// First float of a row of a block, in an image's share.
    fn at(&self, block: usize, row: usize) -> usize {
        let block = if self.repeats[0] { 0 } else { block };
        let row = if self.repeats[1] { 0 } else { row };
        self.planes.blocks()[block].offset + row * self.planes.width() * LANES
    }
}

/// `output = act(a op b)`, or `output += a op b`, element by element; an axis of length 1 of an operand is repeated.
#[derive(Debug)]
pub struct Combine {
    isa: Isa,
    operation: Operation,
    activation: Activation,
    accumulate: bool,
    operands: [Operand; 2],
    output: Planes,
}

impl Combine {
    /// # Panics
    /// If the values do not fit each other or overlap without being the same, or an activation is asked for together with
    /// accumulation.
    pub fn new(
        isa: Isa,
        operation: Operation,
        activation: Activation,
        a: &Planes,
        b: &Planes,
        output: &Planes,
        accumulate: bool,
    ) -> Self {
        assert!(!accumulate || activation == Activation::Identity, "an activation cannot be accumulated");
        assert!(output.is_disjoint(), "two blocks of a value overlap");
        let operands = [a, b].map(|p| Operand::new(p, output));
        Self { isa, operation, activation, accumulate, operands, output: output.clone() }
    }

    /// Computes all images.
    ///
    /// # Panics
    /// If the memory has no room for the values.
    pub fn run(&self, memory: &mut Memory, team: &mut Team) {
        let ends = self.operands.iter().map(|o| o.planes.end());
        assert!(ends.chain([self.output.end()]).all(|end| end <= memory.image_len()), "values beyond the arena");
        let blocks = self.output.blocks().len();
        let images = memory.images();
        let shared = memory.share();
        team.run(images * blocks, &|part, _| {
            let (image, block) = (shared.image(part / blocks), part % blocks);
            self.isa.run(CombineBody { of: self, image, block });
            if !self.operation.keeps_finite() {
                // SAFETY: the block lies in the image's share and is this part's alone.
                unsafe { zero_pads(&self.output, block, image) };
            }
        });
    }
}

/// One block of one image, which is this body's alone to write.
struct CombineBody<'a> {
    of: &'a Combine,
    image: *mut f32,
    block: usize,
}

impl Body for CombineBody<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (of, output) = (self.of, &self.of.output);
        // Where nothing is repeated, a plane is one long row.
        let [rows, columns] = match of.operands.iter().all(Operand::is_whole) {
            true => [1, output.pixels()],
            false => [output.height(), output.width()],
        };
        let steps = [0, 1].map(|i| if of.operands[i].repeats[2] { 0 } else { LANES });
        let spreads = [0, 1].map(|i| of.operands[i].repeats[0]);
        for row in 0..rows {
            let from = [0, 1].map(|i| self.image.wrapping_add(of.operands[i].at(self.block, row)).cast_const());
            let to = self.image.wrapping_add(output.blocks()[self.block].offset + row * columns * LANES);
            with_activation!(of.activation, f => for column in 0..columns {
                let at = |i: usize| from[i].wrapping_add(column * steps[i]);
                let y = to.wrapping_add(column * LANES);
                // SAFETY: `Combine::run` has checked that the values end within the image's share; a repeated axis stays at its
                // only place.
                unsafe {
                    let (a, b) = (load(s, at(0), spreads[0]), load(s, at(1), spreads[1]));
                    let value = f.apply(s, of.operation.apply(s, a, b));
                    s.store(if of.accumulate { s.add(s.load(y), value) } else { value }, y);
                }
            });
        }
    }
}

/// A pixel's vector, or its first channel in all lanes.
///
/// # Safety
/// `at` points at eight readable floats.
#[inline(always)]
pub(crate) unsafe fn load<S: Simd>(s: S, at: *const f32, spreads: bool) -> S::V {
    // SAFETY: the function's own promise.
    unsafe { if spreads { s.broadcast(at) } else { s.load(at) } }
}
