//! What files spell out in several nodes and is one operation: activations that are products of a value with a function of it, and
//! biases that are added behind a layer.
//!
//! The steps that became needless are left for whoever asks which are needed.

use std::f64::consts::FRAC_1_SQRT_2;

use cspnet_graph::{Binary, Op, Shape, Unary};

use super::allowance::Allowance;
use super::constant::{Files, Numbers};
use super::flow::{Parameter, Steps};

/// Joins steps into one where that computes the same; gives for every step the one whose value is now its own. The values of `kept`
/// steps stay.
pub(super) fn fuse(steps: &mut Steps<'_>, kept: &[usize], files: &Files<'_>, allowance: &Allowance) -> Vec<usize> {
    let mut same: Vec<usize> = (0..steps.list().len()).collect();
    let mut readers = vec![0_usize; same.len()];
    steps.list().iter().flat_map(|step| &step.inputs).chain(kept).for_each(|&input| readers[input] += 1);
    let scalars: Vec<Option<f64>> = steps
        .list()
        .iter()
        .map(|step| match step.op {
            Op::Constant { .. } => step.params[0].numbers.scalar(files, allowance).map(f64::from),
            _ => None,
        })
        .collect();
    for id in 0..same.len() {
        let moved: Vec<usize> = steps.get(id).inputs.iter().map(|&input| same[input]).collect();
        steps.get_mut(id).inputs = moved;
        let seen = Seen { steps, scalars: &scalars };
        if let Some((function, input)) = seen.activation(id) {
            let step = steps.get_mut(id);
            (step.op, step.inputs) = (Op::Unary { function }, vec![input]);
        } else if let Some((layer, bias)) = seen.bias(id).filter(|&(layer, _)| readers[layer] == 1) {
            let step = steps.get_mut(layer);
            match &mut step.op {
                Op::Conv { bias: has_bias, .. } => {
                    *has_bias = true;
                    step.params.push(bias);
                }
                _ => step.params[1] = bias,
            }
            same[id] = layer;
            // It is read by those who read the sum.
            readers[layer] = readers[id];
        }
    }
    same
}

/// Whether a number that a file has in single precision is this one.
pub(super) fn near(found: f64, meant: f64) -> bool {
    (found - meant).abs() <= 1e-6 * meant.abs()
}

/// The steps so far.
struct Seen<'a> {
    steps: &'a Steps<'a>,
    /// The number that a constant step has everywhere.
    scalars: &'a [Option<f64>],
}

impl Seen<'_> {
    /// A step that is a function of one value, and of which.
    fn unary(&self, id: usize) -> Option<(Unary, usize)> {
        let step = self.steps.get(id);
        match step.op {
            Op::Unary { function } => Some((function, *step.inputs.first()?)),
            _ => None,
        }
    }

    /// A step that is a function of two values.
    fn binary(&self, id: usize, wanted: Binary) -> Option<[usize; 2]> {
        let step = self.steps.get(id);
        match (&step.op, &step.inputs[..]) {
            (Op::Binary { function }, &[a, b]) if *function == wanted => Some([a, b]),
            _ => None,
        }
    }

    /// A step that adds a number to a value, or multiplies it with one: the value and the number.
    fn with_number(&self, id: usize, wanted: Binary) -> Option<(usize, f64)> {
        let [a, b] = self.binary(id, wanted)?;
        match (self.scalars[a], self.scalars[b]) {
            (None, Some(number)) => Some((a, number)),
            (Some(number), None) if wanted.commutes() => Some((b, number)),
            _ => None,
        }
    }

    /// A step that is a value times a number.
    fn scaled(&self, id: usize) -> Option<(usize, f64)> {
        let divided = || self.with_number(id, Binary::Div).map(|(x, number)| (x, 1.0 / number));
        self.with_number(id, Binary::Mul).or_else(divided)
    }

    /// A step that is a value times this number.
    fn scaled_by(&self, id: usize, factor: f64) -> Option<usize> {
        self.scaled(id).filter(|&(_, number)| near(number, factor)).map(|(x, _)| x)
    }

    /// The function of one value that a step computes by way of others, and of which value.
    fn activation(&self, id: usize) -> Option<(Unary, usize)> {
        let sixth = self.scaled_by(id, 1.0 / 6.0);
        let (function, x) = None
            .or_else(|| self.gated(id))
            .or_else(|| sixth.and_then(|product| self.hard_swish_times_six(product)))
            .or_else(|| Some((Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }, self.clipped_sum(sixth?)?)))
            .or_else(|| Some((Unary::Gelu, self.twice_gelu(self.scaled_by(id, 0.5)?)?)))?;
        // Not where the value was repeated on the way.
        (self.shape(x) == self.shape(id)).then_some((function, x))
    }

    fn shape(&self, id: usize) -> Shape {
        self.steps.get(id).shape
    }

    /// `x * gate(x)`.
    fn gated(&self, id: usize) -> Option<(Unary, usize)> {
        let [a, b] = self.binary(id, Binary::Mul)?;
        [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
            // `x / 2 * (1 + erf(x / sqrt 2))`
            if let (Some(whole), Some(of)) = (self.scaled_by(x, 0.5), self.one_plus_erf(gate)) {
                return (whole == of).then_some((Unary::Gelu, whole));
            }
            match self.unary(gate)? {
                (Unary::Sigmoid, of) if of == x => Some((Unary::Silu, x)),
                (Unary::HardSigmoid { alpha, beta }, of) if of == x && near(alpha, 1.0 / 6.0) && beta == 0.5 => {
                    Some((Unary::HardSwish, x))
                }
                (Unary::Tanh, inner) if self.unary(inner) == Some((Unary::Softplus, x)) => Some((Unary::Mish, x)),
                _ => None,
            }
        })
    }

    /// `clip(x + 3, 0, 6)`, of which the `x`.
    fn clipped_sum(&self, id: usize) -> Option<usize> {
        let (Unary::Relu6, sum) = self.unary(id)? else { return None };
        self.with_number(sum, Binary::Add).filter(|&(_, number)| number == 3.0).map(|(x, _)| x)
    }

    /// `x * clip(x + 3, 0, 6)`.
    fn hard_swish_times_six(&self, id: usize) -> Option<(Unary, usize)> {
        let [a, b] = self.binary(id, Binary::Mul)?;
        [(a, b), (b, a)]
            .into_iter()
            .find_map(|(x, gate)| (self.clipped_sum(gate)? == x).then_some((Unary::HardSwish, x)))
    }

    /// `1 + erf(x / sqrt 2)`, of which the `x`.
    fn one_plus_erf(&self, id: usize) -> Option<usize> {
        let (erf, _) = self.with_number(id, Binary::Add).filter(|&(_, number)| number == 1.0)?;
        let (Unary::Erf, scaled) = self.unary(erf)? else { return None };
        self.scaled_by(scaled, FRAC_1_SQRT_2)
    }

    /// `x * (1 + erf(x / sqrt 2))`, of which the `x`.
    fn twice_gelu(&self, id: usize) -> Option<usize> {
        let [a, b] = self.binary(id, Binary::Mul)?;
        [(a, b), (b, a)].into_iter().find_map(|(x, gate)| (self.one_plus_erf(gate)? == x).then_some(x))
    }

    /// A step that adds one number for each channel behind a layer that has no bias: the layer and the numbers.
    fn bias(&self, id: usize) -> Option<(usize, Parameter)> {
        let [a, b] = self.binary(id, Binary::Add)?;
        [(a, b), (b, a)].into_iter().find_map(|(layer, numbers)| {
            let (layer_step, numbers_step) = (self.steps.get(layer), self.steps.get(numbers));
            let is_open = match layer_step.op {
                Op::Conv { bias, .. } => !bias,
                // One that stands for none.
                Op::Linear { .. } => matches!(layer_step.params[1].numbers.numbers, Numbers::Fill(0.0)),
                _ => false,
            };
            let is_numbers = matches!(numbers_step.op, Op::Constant { .. });
            let fits = numbers_step.shape == [layer_step.shape[0], 1, 1] && layer_step.shape == self.shape(id);
            (is_open && is_numbers && fits).then(|| (layer, numbers_step.params[0].clone()))
        })
    }
}
