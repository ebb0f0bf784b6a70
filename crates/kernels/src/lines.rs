//! What takes a whole line of numbers into account, along any axes: softmax, normalisation over channels, reductions.
//!
//! A line is taken out of the planes into a thread's scratch, computed there and put back, so that it does not matter how it lies.

use crate::gather::bases;
use crate::transfer::clear_pads;
use crate::{LANES, Memory, Planes, Team};

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LineFunction {
    /// `exp(x)` over the sum of them, or its logarithm.
    Softmax {
        /// Whether the logarithm is wanted.
        log: bool,
    },
    /// `x / (bias + alpha / size * s) ^ beta`, where `s` is the sum of `size` squares, from `(size - 1) / 2` before the number on, as
    /// far as there are any.
    Lrn {
        /// Numbers that are summed.
        size: usize,
        /// Weight of their mean square.
        alpha: f64,
        /// The power.
        beta: f64,
        /// What is added.
        bias: f64,
    },
    /// One number for all.
    Reduce(Reduction),
}

/// One number for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// The largest; NaN where one is.
    Max,
    /// The smallest; NaN where one is.
    Min,
}

/// Numbers of a part of the work, roughly.
const PART: usize = 4096;

/// Where the lines of a value lie: each begins at a place of its own, and all go on alike.
#[derive(Debug)]
struct Way {
    starts: Vec<usize>,
    steps: Vec<usize>,
}

impl Way {
    /// Lines along some axes.
    fn new(planes: &Planes, axes: [bool; 3]) -> Self {
        let pixels = |rows: bool, columns: bool| {
            let (height, width) = (planes.height(), planes.width());
            let rows = 0..if rows { height } else { 1 };
            let columns = 0..if columns { width } else { 1 };
            rows.flat_map(move |y| columns.clone().map(move |x| (y * width + x) * LANES))
        };
        let with_channels = |yes: bool, pixels: Vec<usize>| -> Vec<usize> {
            let channels = if yes { bases(planes) } else { vec![0] };
            channels.iter().flat_map(|base| pixels.iter().map(move |pixel| base + pixel)).collect()
        };
        Self {
            starts: with_channels(!axes[0], pixels(!axes[1], !axes[2]).collect()),
            steps: with_channels(axes[0], pixels(axes[1], axes[2]).collect()),
        }
    }
}

/// A function of every line of a value.
#[derive(Debug)]
pub struct Lines {
    function: LineFunction,
    from: Way,
    to: Way,
    end: usize,
    output: Planes,
}

impl Lines {
    /// Lines along the axes (channels, rows, columns) that are told.
    ///
    /// # Panics
    /// If the values overlap, two blocks of the output do, or the output has not the input's shape, with lengths of 1 along the
    /// axes that are reduced.
    pub fn new(function: LineFunction, axes: [bool; 3], input: &Planes, output: &Planes) -> Self {
        assert!(input.is_apart_from(output) && output.is_disjoint(), "lines cannot overwrite what they come from");
        let (from, to) = (Way::new(input, axes), Way::new(output, axes));
        let len = if matches!(function, LineFunction::Reduce(_)) { 1 } else { from.steps.len() };
        assert!(from.starts.len() == to.starts.len() && to.steps.len() == len, "lines of another shape");
        Self { function, from, to, end: input.end().max(output.end()), output: output.clone() }
    }

    /// Floats of scratch that each thread needs.
    pub fn scratch_len(&self) -> usize {
        2 * self.from.steps.len()
    }

    /// Computes all images.
    ///
    /// # Panics
    /// If the memory has no room for the values or the scratch.
    pub fn run(&self, memory: &mut Memory, team: &mut Team) {
        memory.check(self.end, self.scratch_len(), team);
        // Lines lead past pad lanes.
        clear_pads(&self.output, memory, team);
        let (lines, len, images) = (self.from.starts.len(), self.from.steps.len(), memory.images());
        let of_part = (PART / len).max(1);
        let parts = lines.div_ceil(of_part);
        let shared = memory.share();
        team.run(images * parts, &|part, worker| {
            let (image, first) = (shared.image(part / parts), part % parts * of_part);
            // SAFETY: every worker has scratch of that length to itself, as has been checked.
            let scratch = unsafe { std::slice::from_raw_parts_mut(shared.scratch(worker), 2 * len) };
            for line in first..(first + of_part).min(lines) {
                // SAFETY: both values lie in the image's share; the output's lines are apart, and each belongs to one part.
                unsafe { self.line(image, line, scratch) };
            }
        });
    }

    /// # Safety
    /// `image` points at an image's share that holds both values, and nobody else touches the output's line.
    unsafe fn line(&self, image: *mut f32, line: usize, scratch: &mut [f32]) {
        let (numbers, beside) = scratch.split_at_mut(self.from.steps.len());
        for (number, step) in numbers.iter_mut().zip(&self.from.steps) {
            // SAFETY: a number of the input.
            *number = unsafe { *image.wrapping_add(self.from.starts[line] + step) };
        }
        match self.function {
            LineFunction::Softmax { log } => softmax(numbers, log),
            LineFunction::Lrn { size, alpha, beta, bias } => {
                let before = (size - 1) / 2;
                divisors(numbers, beside, [before, size - before], [alpha / size as f64, bias]);
                numbers.iter_mut().zip(beside).for_each(|(x, d)| *x *= power(*d, -beta as f32));
            }
            LineFunction::Reduce(reduction) => numbers[0] = reduced(reduction, numbers),
        }
        for (number, step) in numbers.iter().zip(&self.to.steps) {
            // SAFETY: a number of the output.
            unsafe { *image.wrapping_add(self.to.starts[line] + step) = *number };
        }
    }
}

fn softmax(numbers: &mut [f32], log: bool) {
    let largest = reduced(Reduction::Max, numbers);
    if log {
        let sum: f64 = numbers.iter().map(|x| f64::from((x - largest).exp())).sum();
        let ln = sum.ln() as f32;
        numbers.iter_mut().for_each(|x| *x = (*x - largest) - ln);
        return;
    }
    numbers.iter_mut().for_each(|x| *x = (*x - largest).exp());
    let sum: f64 = numbers.iter().map(|&x| f64::from(x)).sum();
    let factor = (1.0 / sum) as f32;
    numbers.iter_mut().for_each(|x| *x *= factor);
}

/// `bias + weight * (the sum of the squares of the window around each number)`.
fn divisors(numbers: &[f32], divisors: &mut [f32], [before, behind]: [usize; 2], [weight, bias]: [f64; 2]) {
    for (i, divisor) in divisors.iter_mut().enumerate() {
        let window = &numbers[i.saturating_sub(before)..i.saturating_add(behind).min(numbers.len())];
        let sum: f32 = window.iter().map(|x| x * x).sum();
        *divisor = (weight as f32).mul_add(sum, bias as f32);
    }
}

/// A power; that of the original normalisation costs two roots.
fn power(x: f32, power: f32) -> f32 {
    if power == -0.75 { 1.0 / (x.sqrt() * x.sqrt().sqrt()) } else { x.powf(power) }
}

fn reduced(reduction: Reduction, numbers: &[f32]) -> f32 {
    let sum = || numbers.iter().map(|&x| f64::from(x)).sum::<f64>();
    // A NaN is neither larger nor smaller, and stays once it is there.
    let best = |better: fn(f32, f32) -> bool| {
        numbers.iter().copied().reduce(|a, b| if a.is_nan() || better(a, b) { a } else { b }).unwrap_or(f32::NAN)
    };
    match reduction {
        Reduction::Sum => sum() as f32,
        Reduction::Mean => (sum() / numbers.len() as f64) as f32,
        Reduction::Max => best(|a, b| a >= b),
        Reduction::Min => best(|a, b| a <= b),
    }
}
