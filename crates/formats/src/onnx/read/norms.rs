//! Normalisations: by statistics that are known, and by those of each image.

use cspnet_graph::{Binary, Op, Reduction, Unary};

use super::call::{Call, Given, Operand};
use super::constant::{Constant, Numbers};
use super::dims::{Dims, Why};
use super::flow::{self, Flow, Parameter, Steps};
use super::layers::{Images, parameter};

fn flow(step: usize, dims: Dims) -> Given {
    Ok(vec![Operand::Flow(Flow::new(step, dims))])
}

pub(super) fn batch_norm(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    if call.flag("training_mode", false)? || !call.flag("spatial", true)? {
        return Err("normalises by the statistics of the batch, or each pixel by its own".into());
    }
    let x = call.flow(0)?;
    let images = Images::of(x)?;
    let channels = images.sides[0];
    let params = (1..5).map(|place| parameter(call, place, channels)).collect::<Result<_, _>>()?;
    // ONNX's momentum is the share that the old statistics keep, a decimal that was rounded to single precision.
    let momentum = ((1.0 - call.float("momentum", 0.9)?) * 1e6).round() / 1e6;
    let op = Op::BatchNorm { eps: call.float("epsilon", 1e-5)?, momentum };
    let shaped = steps.shaped(x, flow::channels_first(&images.sides))?;
    let step = steps.push(&call.path(), op, &[shaped], params)?;
    flow(step, x.dims.clone())
}

pub(super) fn lrn(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let images = Images::of(x)?;
    let size = usize::try_from(call.int("size", 0)?).unwrap_or(0);
    let [alpha, beta, bias] = [("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)].map(|(name, n)| call.float(name, n));
    let shaped = steps.shaped(x, flow::channels_first(&images.sides))?;
    let op = Op::Lrn { size, alpha: alpha?, beta: beta?, bias: bias? };
    let step = steps.push(&call.path(), op, &[shaped], Vec::new())?;
    flow(step, x.dims.clone())
}

/// Every channel of an image by its own mean and variance.
pub(super) fn instance_norm(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let images = Images::of(x)?;
    let channels = images.sides[0];
    let eps = call.float("epsilon", 1e-5)?;
    let shaped = steps.shaped(x, flow::channels_first(&images.sides))?;
    let even = standardised(steps, &call.path(), shaped, [false, true, true], eps)?;
    let filled = |what: &str, value| Parameter {
        name: format!("{}.{what}", call.path()),
        numbers: Constant { dims: vec![channels], numbers: Numbers::Fill(value) },
    };
    // Scale and shift as those of a normalisation that changes nothing else.
    let params =
        vec![parameter(call, 1, channels)?, parameter(call, 2, channels)?, filled("mean", 0.0), filled("var", 1.0)];
    let step = steps.push(&call.path(), Op::BatchNorm { eps: 0.0, momentum: 0.1 }, &[even], params)?;
    flow(step, x.dims.clone())
}

/// All numbers from a dimension on by their own mean and variance.
pub(super) fn layer_norm(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let (rows, row) = x.dims.sides.split_at(x.dims.side(call.int("axis", -1)?)?);
    let (rows, row): (usize, usize) = (rows.iter().product(), row.iter().product());
    let shaped = steps.shaped(x, [rows, 1, row])?;
    let mut step = standardised(steps, &call.path(), shaped, [false, false, true], call.float("epsilon", 1e-5)?)?;
    for (place, function) in [(1, Binary::Mul), (2, Binary::Add)] {
        if call.input(place).is_some() {
            let Parameter { name, numbers } = parameter(call, place, row)?;
            let numbers = steps.constant(&name, [1, 1, row], numbers)?;
            step = steps.push(&call.path(), Op::Binary { function }, &[step, numbers], Vec::new())?;
        }
    }
    flow(step, x.dims.clone())
}

/// A value over the length of its vectors along a dimension.
pub(super) fn lp_norm(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let (shape, axis) = flow::around(&x.dims.sides, x.dims.side(call.int("axis", -1)?)?);
    let mut axes = [false; 3];
    axes[axis.index()] = true;
    let (path, shaped) = (call.path(), steps.shaped(x, shape)?);
    let mut push = |what: &str, op, inputs: &[usize]| steps.push(&format!("{path}.{what}"), op, inputs, Vec::new());
    let sum = Op::Reduce { reduction: Reduction::Sum, axes };
    let length = match call.int("p", 2)? {
        1 => {
            let magnitude = push("magnitude", Op::Unary { function: Unary::Abs }, &[shaped])?;
            push("sum", sum, &[magnitude])?
        }
        2 => {
            let square = push("square", Op::Binary { function: Binary::Mul }, &[shaped, shaped])?;
            let sum = push("sum", sum, &[square])?;
            push("root", Op::Unary { function: Unary::Sqrt }, &[sum])?
        }
        other => return Err(format!("takes the norm of the power {other}").into()),
    };
    // What has no length stays zero.
    let some = Unary::Clip { min: f32::MIN_POSITIVE.into(), max: f32::MAX.into() };
    let length = push("length", Op::Unary { function: some }, &[length])?;
    let step = steps.push(&path, Op::Binary { function: Binary::Div }, &[shaped, length], Vec::new())?;
    flow(step, x.dims.clone())
}

/// A value less its mean along some axes, over the root of its variance there and a little more.
fn standardised(steps: &mut Steps<'_>, path: &str, x: usize, axes: [bool; 3], eps: f64) -> Result<usize, Why> {
    let mean = match axes {
        [false, true, true] => Op::GlobalAvgPool,
        _ => Op::Reduce { reduction: Reduction::Mean, axes },
    };
    let more = Constant { dims: Vec::new(), numbers: Numbers::Fill(eps as f32) };
    let more = steps.constant(&format!("{path}.epsilon"), [1; 3], more)?;
    let mut push = |what: &str, op, inputs: &[usize]| steps.push(&format!("{path}.{what}"), op, inputs, Vec::new());
    let binary = |function| Op::Binary { function };
    let middle = push("mean", mean.clone(), &[x])?;
    let way = push("way", binary(Binary::Sub), &[x, middle])?;
    let square = push("square", binary(Binary::Mul), &[way, way])?;
    let variance = push("variance", mean, &[square])?;
    let sum = push("sum", binary(Binary::Add), &[variance, more])?;
    let root = push("root", Op::Unary { function: Unary::Sqrt }, &[sum])?;
    push("even", binary(Binary::Div), &[way, root])
}
