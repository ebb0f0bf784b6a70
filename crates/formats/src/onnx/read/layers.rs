//! Convolutions, poolings and reductions. Not here: normalisations ([`super::norms`]), products of matrices ([`super::products`]).

use cspnet_graph::{Axis, Binary, Op, Padding, PoolKind, Rearrange, Reduction, Unary, Window};

use super::arithmetic::joined;
use super::call::{Call, Given, Operand};
use super::constant::{Constant, Numbers};
use super::dims::{Dims, Integer, Why};
use super::flow::{self, Flow, Parameter, Steps};

/// Images with channels first, of one or two further sides.
pub(super) struct Images {
    /// Channels and further sides.
    pub sides: Vec<usize>,
    batched: bool,
}

impl Images {
    /// Those that a value holds: its first dimension is that of the images, of which there is one if it is no batch.
    pub(super) fn of(flow: &Flow) -> Result<Self, Why> {
        match (flow.dims.batched, &flow.dims.sides[..]) {
            (true, [_, ..]) => Ok(Self { sides: flow.dims.sides.clone(), batched: true }),
            (false, [1, sides @ ..]) if !sides.is_empty() => Ok(Self { sides: sides.into(), batched: false }),
            (_, sides) => Err(format!("takes images with channels, not a tensor of {sides:?}").into()),
        }
    }

    /// The same images with other sides.
    pub(super) fn with(&self, sides: Vec<usize>) -> Dims {
        match self.batched {
            true => Dims { batched: true, sides },
            false => Dims::plain([vec![1], sides].concat()),
        }
    }

    /// Rows and columns; a single side is columns.
    fn pixels(&self) -> Result<[usize; 2], Why> {
        match self.sides[1..] {
            [w] => Ok([1, w]),
            [h, w] => Ok([h, w]),
            _ => Err(format!("takes images of one or two dimensions, these have {}", self.sides.len() - 1).into()),
        }
    }

    /// The sides of an output of so many channels, rows and columns.
    fn sized(&self, [c, h, w]: [usize; 3]) -> Dims {
        self.with(if self.sides.len() == 2 { vec![c, w] } else { vec![c, h, w] })
    }
}

fn flow(step: usize, dims: Dims) -> Given {
    Ok(vec![Operand::Flow(Flow::new(step, dims))])
}

/// A list of one number for each side, as rows and columns; a single one is that of the columns.
fn pair(list: Option<&[i64]>, sides: usize, default: usize) -> Result<[usize; 2], String> {
    let Some(list) = list else { return Ok([default; 2]) };
    let length = |&n: &i64| usize::try_from(n).map_err(|_| format!("has a window of {list:?}"));
    match (list, sides) {
        ([w], 1) => Ok([default, length(w)?]),
        ([h, w], 2) => Ok([length(h)?, length(w)?]),
        _ => Err(format!("has a window of {list:?} over {sides} dimensions")),
    }
}

/// The window of a convolution or pooling over images.
fn window(call: &Call<'_>, kernel: [usize; 2], images: &Images) -> Result<Window, Why> {
    let sides = images.sides.len() - 1;
    let pads = match (call.ints("pads")?, sides) {
        (None, _) => [0; 4],
        (Some(&[left, right]), 1) => [0, left, 0, right],
        (Some(&[top, left, bottom, right]), 2) => [top, left, bottom, right],
        (Some(other), _) => return Err(format!("pads by {other:?} over {sides} dimensions").into()),
    };
    let cells = |n: i64| usize::try_from(n).map_err(|_| format!("pads by {n} cells, which would cut some off"));
    let plain = Window {
        kernel,
        stride: pair(call.ints("strides")?, sides, 1)?,
        padding: Padding::NONE,
        dilation: pair(call.ints("dilations")?, sides, 1)?,
        ceil: call.flag("ceil_mode", false)?,
    };
    match call.text("auto_pad", "NOTSET")? {
        "NOTSET" | "" => {
            let padding =
                Padding { before: [cells(pads[0])?, cells(pads[1])?], after: [cells(pads[2])?, cells(pads[3])?] };
            Ok(Window { padding, ..plain })
        }
        "VALID" => Ok(plain),
        mode @ ("SAME_UPPER" | "SAME_LOWER") => Ok(plain.same(images.pixels()?, mode == "SAME_LOWER")),
        other => Err(format!("pads in the mode `{other}`").into()),
    }
}

/// An input as a parameter with as many numbers as it should have.
pub(super) fn parameter(call: &Call<'_>, place: usize, len: usize) -> Result<Parameter, String> {
    let numbers = call.parameter(place)?.clone();
    if numbers.len() != len {
        return Err(format!("has {} numbers as its input {place} instead of {len}", numbers.len()));
    }
    Ok(Parameter { name: call.node.inputs[place].clone(), numbers })
}

pub(super) fn conv(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let images = Images::of(x)?;
    let [h, w] = images.pixels()?;
    let weight = call.parameter(1)?;
    let (out, kernel) = match (&weight.dims[..], images.sides.len()) {
        (&[out, _, w], 2) => (out, [1, w]),
        (&[out, _, h, w], 3) => (out, [h, w]),
        (dims, _) => return Err(format!("has a weight of the shape {dims:?}").into()),
    };
    let groups = usize::try_from(call.int("group", 1)?).unwrap_or(0);
    let channels = images.sides[0];
    if groups.checked_mul(weight.dims[1]) != Some(channels) {
        return Err(
            format!("has a weight of the shape {:?} for {channels} channels in {groups} groups", weight.dims).into()
        );
    }
    let mut params = vec![parameter(call, 1, weight.len())?];
    if call.input(2).is_some() {
        params.push(parameter(call, 2, out)?);
    }
    let window = Window { ceil: false, ..window(call, kernel, &images)? };
    let op = Op::Conv { out, window, groups, bias: params.len() == 2 };
    let x = steps.shaped(x, [channels, h, w])?;
    let step = steps.push(&call.path(), op, &[x], params)?;
    let dims = images.sized(steps.get(step).shape);
    flow(step, dims)
}

pub(super) fn pool(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let images = Images::of(x)?;
    let [h, w] = images.pixels()?;
    let kernel = call.ints("kernel_shape")?.ok_or("has no kernel_shape")?;
    let window = window(call, pair(Some(kernel), images.sides.len() - 1, 1)?, &images)?;
    let kind = match call.node.operator.as_str() {
        "MaxPool" => PoolKind::Max,
        _ => PoolKind::Average { count_include_pad: call.flag("count_include_pad", false)? },
    };
    let x = steps.shaped(x, [images.sides[0], h, w])?;
    let step = steps.push(&call.path(), Op::Pool { kind, window }, &[x], Vec::new())?;
    let dims = images.sized(steps.get(step).shape);
    flow(step, dims)
}

pub(super) fn global_pool(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let images = Images::of(x)?;
    let x = steps.shaped(x, flow::channels_first(&images.sides))?;
    let op = match call.node.operator.as_str() {
        "GlobalAveragePool" => Op::GlobalAvgPool,
        _ => Op::Reduce { reduction: Reduction::Max, axes: [false, true, true] },
    };
    let step = steps.push(&call.path(), op, &[x], Vec::new())?;
    let mut sides = vec![1; images.sides.len()];
    sides[0] = images.sides[0];
    flow(step, images.with(sides))
}

pub(super) fn prelu(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let Ok(images) = Images::of(x) else { return prelu_of_elements(steps, call, x) };
    let (channels, slope) = (images.sides[0], call.parameter(1)?);
    let along: Vec<usize> = slope.dims.iter().copied().filter(|&n| n != 1).collect();
    // Its last side stands beside the last of the value; so one slope a channel has sides of 1 behind it.
    let behind = slope.dims.iter().rev().take_while(|&&n| n == 1).count();
    let numbers = match along[..] {
        [] => {
            let value = slope.scalar(call.files, call.allowance).ok_or("has a slope that cannot be read")?;
            Constant { dims: vec![channels], numbers: Numbers::Fill(value) }
        }
        [n] if n == channels && behind + 1 == images.sides.len() => slope.clone(),
        _ => return prelu_of_elements(steps, call, x),
    };
    let params = vec![Parameter { name: call.node.inputs[1].clone(), numbers }];
    let shaped = steps.shaped(x, flow::channels_first(&images.sides))?;
    let step = steps.push(&call.path(), Op::PRelu, &[shaped], params)?;
    flow(step, x.dims.clone())
}

/// Slopes that are not one for each channel: `max(x, 0) + slope * min(x, 0)`, of which one summand is zero.
fn prelu_of_elements(steps: &mut Steps<'_>, call: &Call<'_>, x: &Flow) -> Given {
    let mut part = |what: &str, function| {
        let step = steps.push(&format!("{}.{what}", call.path()), Op::Unary { function }, &[x.step], Vec::new())?;
        Ok::<_, Why>(Operand::Flow(x.with_step(step)))
    };
    let above = part("above", Unary::Relu)?;
    let below = part("below", Unary::Clip { min: f32::MIN.into(), max: 0.0 })?;
    let slope = (call.needed(1)?, call.node.inputs[1].as_str());
    let below = joined(steps, call, Binary::Mul, (&below, ""), slope)?;
    Ok(vec![joined(steps, call, Binary::Add, (&above, ""), (&below, ""))?])
}

pub(super) fn softmax(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let dims = &x.dims;
    let (shape, axis) = if call.opset >= 13 {
        flow::around(&dims.sides, dims.side(call.int("axis", -1)?)?)
    } else {
        // All dimensions from the axis on are one, and so are all before it.
        let (rows, row) = dims.sides.split_at(dims.side(call.int("axis", 1)?)?);
        let (rows, row): (usize, usize) = (rows.iter().product(), row.iter().product());
        if rows == 1 { ([row, 1, 1], Axis::Channels) } else { ([rows, 1, row], Axis::Columns) }
    };
    let shaped = steps.shaped(x, shape)?;
    let log = call.node.operator == "LogSoftmax";
    let step = steps.push(&call.path(), Op::Softmax { axis, log }, &[shaped], Vec::new())?;
    flow(step, dims.clone())
}

/// Blocks of pixels from channels, or the other way.
pub(super) fn blocks(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let images = Images::of(x)?;
    let ([h, w], c) = (images.pixels()?, images.sides[0]);
    let b =
        usize::try_from(call.int("blocksize", 0)?).ok().filter(|b| (1..=1024).contains(b)).ok_or("has no blocksize")?;
    let to_space = call.node.operator == "DepthToSpace";
    let (dims, order, shape) = match call.text("mode", "DCR")? {
        mode if !to_space => {
            let order = if mode == "CRD" { [0, 2, 4, 1, 3] } else { [2, 4, 0, 1, 3] };
            (vec![c, h / b, b, w / b, b], order, [c * b * b, h / b, w / b])
        }
        "CRD" => (vec![c / (b * b), b, b, h, w], [0, 3, 1, 4, 2], [c / (b * b), h * b, w * b]),
        _ => (vec![b, b, c / (b * b), h, w], [2, 3, 0, 4, 1], [c / (b * b), h * b, w * b]),
    };
    let shaped = steps.shaped(x, [c, h, w])?;
    let op = Op::Rearrange(Rearrange { dims, order: order.into(), shape });
    let step = steps.push(&call.path(), op, &[shaped], Vec::new())?;
    flow(step, images.sized(shape))
}

/// A reduction of some dimensions.
pub(super) fn reduce(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let (axes, keeps) = call.reduced(x.dims.rank())?;
    let mut gone = vec![0; x.dims.sides.len()];
    for axis in axes {
        gone[x.dims.side(axis)?] = 1;
    }
    if !gone.contains(&1) {
        return match call.node.operator.as_str() {
            "ReduceL1" | "ReduceL2" | "ReduceSumSquare" => Err("reduces no dimension".into()),
            _ => Ok(vec![Operand::Flow(x.clone())]),
        };
    }
    let reduction = match call.node.operator.as_str() {
        "ReduceMean" => Reduction::Mean,
        "ReduceMax" => Reduction::Max,
        "ReduceMin" => Reduction::Min,
        _ => Reduction::Sum,
    };
    // What is summed up, if it is not the numbers themselves.
    let x = &match call.node.operator.as_str() {
        "ReduceL1" => x.with_step(steps.push(
            &format!("{}.magnitude", call.path()),
            Op::Unary { function: Unary::Abs },
            &[x.step],
            Vec::new(),
        )?),
        "ReduceL2" | "ReduceSumSquare" => x.with_step(steps.push(
            &format!("{}.square", call.path()),
            Op::Binary { function: Binary::Mul },
            &[x.step, x.step],
            Vec::new(),
        )?),
        _ => x.clone(),
    };
    let marks: Vec<usize> = gone.iter().map(|&mark: &u8| usize::from(mark)).collect();
    let shapes = flow::together([&x.dims.sides, &marks.iter().map(|m| m + 1).collect::<Vec<_>>()], &gone);
    let step = match shapes {
        Some([shape, marked]) => {
            let axes = marked.map(|mark| mark > 1);
            let op = match (reduction, axes) {
                (Reduction::Mean, [false, true, true]) => Op::GlobalAvgPool,
                _ => Op::Reduce { reduction, axes },
            };
            let shaped = steps.shaped(x, shape)?;
            steps.push(&call.path(), op, &[shaped], Vec::new())?
        }
        None => reduced_by_runs(steps, call, x, reduction, &gone)?,
    };
    let step = match call.node.operator.as_str() {
        "ReduceL2" => {
            steps.push(&format!("{}.root", call.path()), Op::Unary { function: Unary::Sqrt }, &[step], Vec::new())?
        }
        _ => step,
    };
    let kept = x.dims.sides.iter().zip(&gone).filter(|(_, gone)| keeps || **gone == 0);
    flow(step, x.dims.with(kept.map(|(&n, &gone)| if gone == 1 { 1 } else { n }).collect()))
}

/// A reduction of dimensions that lie apart: of one after another, and of those beside each other at once.
fn reduced_by_runs(
    steps: &mut Steps<'_>,
    call: &Call<'_>,
    x: &Flow,
    reduction: Reduction,
    gone: &[u8],
) -> Result<usize, Why> {
    let (mut left, mut begin) = (x.clone(), 0);
    while let Some(run) = (begin..gone.len()).find(|&side| gone[side] == 1) {
        let end = (run..gone.len()).find(|&side| gone[side] == 0).unwrap_or(gone.len());
        let mut sides = left.dims.sides.clone();
        let shape = [&sides[..run], &sides[run..end], &sides[end..]].map(|part| part.iter().product());
        let shaped = steps.shaped(&left, shape)?;
        let op = Op::Reduce { reduction, axes: [false, true, false] };
        let step = steps.push(&call.path(), op, &[shaped], Vec::new())?;
        sides[run..end].fill(1);
        (left, begin) = (Flow::new(step, left.dims.with(sides)), end);
    }
    Ok(left.step)
}

/// The shape of a value as a constant.
pub(super) fn shape(_: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let dims = &call.flow(0)?.dims;
    Ok(vec![Operand::Constant(match call.node.operator.as_str() {
        "Size" => {
            let all = match (dims.batched, call.images, dims.count() as i64) {
                (false, _, count) => Integer::Known(count),
                (true, Integer::Batch, 1) => Integer::Batch,
                (true, Integer::Known(images), count) => {
                    images.checked_mul(count).map_or(Integer::Open, Integer::Known)
                }
                (true, ..) => Integer::Open,
            };
            Constant::few(Vec::new(), vec![all])
        }
        _ => super::evaluate::shape_of(call, dims)?,
    })])
}
