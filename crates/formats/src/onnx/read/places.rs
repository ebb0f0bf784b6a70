//! Operators that give numbers other places or other shapes: joined, cut, turned, padded, resized.

use cspnet_graph::{Axis, Coordinates, Crop, Fill, Filter, Op, Pad, Rearrange, Resize, ResizeTo, Rounding};

use super::call::{Call, Given, Operand};
use super::dims::{self, Dims, Integer, Place, Run, Why};
use super::flow::{self, Flow, Steps};
use super::layers::Images;

/// Most pieces that one node takes of a value.
const MAX_PIECES: usize = 64;

fn given(flow: Flow) -> Given {
    Ok(vec![Operand::Flow(flow)])
}

/// `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze`.
pub(super) fn reshape(_: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let dims = match call.node.operator.as_str() {
        "Reshape" => {
            let target = call.list(1, "shape")?.ok_or("has no shape")?;
            x.dims.reshaped(&target, call.flag("allowzero", false)?, call.images)?
        }
        "Flatten" => x.dims.flattened(call.int("axis", 1)?)?,
        "Squeeze" => {
            let axes = call.known_list(1, "axes")?;
            let dims = x.dims.squeezed(axes.as_deref())?;
            match (call.images, dims.batched) {
                // The dimension of the only image is of length 1, too.
                (Integer::Known(1), true) if axes.is_none() => Dims::plain(dims.sides),
                (Integer::Known(1), _) => dims,
                (_, is_batched) if is_batched == x.dims.batched => dims,
                _ => return Err(Why::Batch),
            }
        }
        _ => x.dims.unsqueezed(&call.known_list(1, "axes")?.ok_or("has no axes")?)?,
    };
    given(x.with_dims(dims))
}

pub(super) fn transpose(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let order = call.order(x.dims.rank())?;
    let order: Vec<usize> = match (x.dims.batched, order.split_first()) {
        (true, Some((0, sides))) => sides.iter().map(|side| side - 1).collect(),
        (true, _) => return Err(Why::Batch),
        (false, _) => order,
    };
    given(steps.permuted(x, &order)?)
}

pub(super) fn concat(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let flows = call.inputs.iter().flatten().filter_map(|operand| match operand {
        Operand::Flow(flow) => Some(flow),
        Operand::Constant(_) => None,
    });
    let first = flows.clone().next().ok_or("has no inputs")?;
    if flows.into_iter().any(|flow| flow.dims.batched != first.dims.batched) {
        return Err(Why::Batch);
    }
    let side = first.dims.side(call.int("axis", 1)?)?;
    let mut sides = first.dims.sides.clone();
    sides[side] = 0;
    let before: usize = sides[..side].iter().product();
    let behind: usize = sides[side + 1..].iter().product();
    let mut inputs = Vec::new();
    for (operand, name) in call.inputs.iter().zip(&call.node.inputs) {
        let part = match operand.as_ref().ok_or("has an input that is left out")? {
            Operand::Flow(flow) => flow.clone(),
            // It has its own number of images.
            Operand::Constant(_) if first.dims.batched => return Err(Why::Batch),
            Operand::Constant(constant) => {
                let shape = flow::planes(&constant.dims);
                Flow::new(steps.constant(name, shape, constant.clone())?, Dims::plain(constant.dims.clone()))
            }
        };
        let own = &part.dims.sides;
        let fits = own.len() == sides.len() && (0..own.len()).all(|i| i == side || own[i] == sides[i]);
        if !fits {
            return Err(format!("joins tensors of {:?} and {own:?}", first.dims.sides).into());
        }
        sides[side] += own[side];
        inputs.push(match before {
            // In a row already.
            1 => steps.shaped(&part, flow::channels_first(&own[side..]))?,
            // What is before the side is put behind it.
            _ => {
                let planes = steps.planes(&part)?;
                let shape = [own[side] * behind, 1, before];
                let turn = Rearrange { dims: vec![before, own[side] * behind], order: vec![1, 0], shape };
                steps.push(&format!("{}.turned", call.path()), Op::Rearrange(turn), &[planes], Vec::new())?
            }
        });
    }
    let dims = first.dims.with(sides.clone());
    if let ([only], 1) = (&inputs[..], before) {
        return given(Flow::new(*only, dims));
    }
    let joined = steps.push(&call.path(), Op::Concat, &inputs, Vec::new())?;
    if before == 1 {
        return given(Flow::new(joined, dims));
    }
    let turned = Flow::new(joined, Dims { sides: vec![sides[side] * behind, before], ..dims });
    let back = steps.permuted(&turned, &[1, 0])?;
    given(back.with_dims(first.dims.with(sides)))
}

/// A run of a side of a value.
fn cut(steps: &mut Steps<'_>, path: &str, x: &Flow, side: usize, run: Run) -> Result<Flow, Why> {
    let length = x.dims.sides[side];
    let mut sides = x.dims.sides.clone();
    sides[side] = run.len;
    let dims = x.dims.with(sides);
    if run.len == 0 {
        return Err("takes nothing of a value".into());
    }
    if run == (Run { start: 0, step: 1, len: length }) {
        return Ok(x.clone());
    }
    let (shape, axis) = flow::around(&x.dims.sides, side);
    let op = match (axis, run.step) {
        (Axis::Channels, 1) => Op::Slice { start: run.start, len: run.len },
        (axis, step) => Op::Crop(Crop { axis, start: run.start, step: step as isize, len: run.len }),
    };
    let shaped = steps.shaped(x, shape)?;
    Ok(Flow::new(steps.push(path, op, &[shaped], Vec::new())?, dims))
}

pub(super) fn slice(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let mut x = call.flow(0)?.clone();
    for (side, run) in call.runs(&x.dims)? {
        x = cut(steps, &call.path(), &x, side, run)?;
    }
    given(x)
}

pub(super) fn split(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let side = x.dims.side(call.int("axis", 0)?)?;
    let lengths = call.parts(x.dims.sides[side])?;
    let mut start = 0;
    let mut parts = Vec::new();
    for (len, name) in lengths.into_iter().zip(&call.node.outputs) {
        // A value is called by its own name, since the node's is that of all.
        parts.push(Operand::Flow(cut(steps, name, x, side, Run { start, step: 1, len })?));
        start += len;
    }
    Ok(parts)
}

pub(super) fn gather(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let indices = call.parameter(1)?;
    let side = match (x.dims.place(call.int("axis", 0)?)?, call.images) {
        (Place::Side(side), _) => side,
        // The only image.
        (Place::Batch, Integer::Known(1)) if indices.dims.is_empty() => {
            return given(x.with_dims(Dims::plain(x.dims.sides.clone())));
        }
        (Place::Batch, _) => return Err(Why::Batch),
    };
    let length = x.dims.sides[side];
    let at: Vec<usize> = dims::known(&indices.integers(call.files, call.allowance)?)?
        .into_iter()
        .map(|i| dims::place(i, length).map_err(|n| format!("takes number {i} of {n}")))
        .collect::<Result<_, _>>()?;
    let taken = taken(steps, call, x, side, &at)?;
    let (before, behind) = (&x.dims.sides[..side], &x.dims.sides[side + 1..]);
    let dims = x.dims.with([before, &indices.dims, behind].concat());
    dims::check_rank(dims.rank())?;
    given(taken.with_dims(dims))
}

/// A value's numbers at some places of a side, in that order.
fn taken(steps: &mut Steps<'_>, call: &Call<'_>, x: &Flow, side: usize, at: &[usize]) -> Result<Flow, Why> {
    let [first, rest @ ..] = at else { return Err("takes nothing of a value".into()) };
    let step = rest.first().map_or(1, |&second| second as i64 - *first as i64);
    let is_run = step != 0 && at.windows(2).all(|pair| pair[1] as i64 - pair[0] as i64 == step);
    if is_run {
        return cut(steps, &call.path(), x, side, Run { start: *first, step, len: at.len() });
    }
    let before: usize = x.dims.sides[..side].iter().product();
    if before != 1 || at.len() > MAX_PIECES {
        return Err("takes places of a value that are no run".into());
    }
    let mut inputs = Vec::new();
    for &start in at {
        let piece = cut(steps, &format!("{}.piece", call.path()), x, side, Run { start, step: 1, len: 1 })?;
        let behind = piece.dims.sides[side + 1..].iter().product();
        inputs.push(steps.shaped(&piece, [1, 1, behind])?);
    }
    let joined = steps.push(&call.path(), Op::Concat, &inputs, Vec::new())?;
    Ok(Flow::new(joined, x.dims.clone()))
}

pub(super) fn pad(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let pads = call.known_list(1, "pads")?.ok_or("has no pads")?;
    let axes = call.known_list(3, "axes")?.unwrap_or_else(|| (0..x.dims.rank() as i64).collect());
    if pads.len() != 2 * axes.len() {
        return Err("has not two pads for each dimension".into());
    }
    let value = call.real(2, "value")?.unwrap_or(0.0);
    let fill = match call.text("mode", "constant")? {
        // Infinities are no numbers of a graph. They stand for what is less, or more, than all others, as the outermost ones do.
        "constant" => Fill::Constant { value: value.clamp(f32::MIN, f32::MAX).into() },
        "reflect" => Fill::Reflect,
        "edge" => Fill::Edge,
        "wrap" => Fill::Wrap,
        other => return Err(format!("fills in the mode `{other}`").into()),
    };
    let mut sides = vec![[0_i64; 2]; x.dims.sides.len()];
    for (&axis, cells) in axes.iter().zip(pads.iter().zip(&pads[axes.len()..])) {
        match x.dims.place(axis)? {
            Place::Side(side) => sides[side] = [*cells.0, *cells.1],
            Place::Batch if cells == (&0, &0) => {}
            Place::Batch => return Err(Why::Batch),
        }
    }
    // What cuts off is done first, so that what is filled in is what is left.
    let mut x = x.clone();
    for (side, cells) in sides.iter_mut().enumerate() {
        let off = |cells: i64| usize::try_from(cells.min(0).unsigned_abs()).unwrap_or(usize::MAX);
        let (front, back) = (off(cells[0]), off(cells[1]));
        let left = x.dims.sides[side].checked_sub(front).and_then(|n| n.checked_sub(back));
        let len = left.ok_or("cuts off more than there is")?;
        x = cut(steps, &format!("{}.cut", call.path()), &x, side, Run { start: front, step: 1, len })?;
        *cells = cells.map(|n| n.max(0));
    }
    let shaped = steps.planes(&x)?;
    // Sides that are channels together cannot be padded.
    let lead = sides.len().saturating_sub(2).max(1).min(sides.len());
    if lead > 1 && sides[..lead].iter().any(|cells| cells != &[0; 2]) {
        return Err("pads a dimension before the last three".into());
    }
    let [mut before, mut after] = [[0; 3]; 2];
    for (side, cells) in sides.iter().enumerate().skip(if lead > 1 { lead } else { 0 }) {
        let axis = match sides.len() {
            2 => 2 * side,
            rank => (side + 3).saturating_sub(rank.max(3)),
        };
        before[axis] = cells[0] as usize;
        after[axis] = cells[1] as usize;
    }
    if [before, after] == [[0; 3]; 2] {
        return given(x);
    }
    let sum = |n: usize, cells: &[i64; 2]| n.saturating_add(cells[0] as usize).saturating_add(cells[1] as usize);
    let padded = x.dims.sides.iter().zip(&sides).map(|(&n, cells)| sum(n, cells)).collect();
    let step = steps.push(&call.path(), Op::Pad(Pad { before, after, fill }), &[shaped], Vec::new())?;
    given(Flow::new(step, x.dims.with(padded)))
}

pub(super) fn resize(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let images = Images::of(x)?;
    let size = match images.sides[1..] {
        [w] => [1, w],
        [h, w] => [h, w],
        _ => return Err("resizes more than rows and columns".into()),
    };
    // Since version 11 there is a region of interest before the scales.
    let is_old = call.node.operator == "Upsample" || call.opset < 11;
    let rank = images.sides.len() + 1;
    let axes: Vec<usize> = match call.ints("axes")? {
        None => (0..rank).collect(),
        Some(axes) => axes
            .iter()
            .map(|&axis| dims::place(axis, rank).map_err(|rank| dims::outside(axis, rank)))
            .collect::<Result<_, _>>()?,
    };
    let scales = call.reals(if is_old { 1 } else { 2 }, "scales")?.filter(|scales| !scales.is_empty());
    let sizes = if is_old { None } else { call.list(3, "")?.filter(|sizes| !sizes.is_empty()) };
    let along = |axis: usize| axes.iter().position(|&a| a == axis);
    let to = match (scales, sizes) {
        (Some(scales), None) if scales.len() == axes.len() => {
            let scale = |axis: usize| along(axis).map_or(1.0, |i| scales[i]);
            if scale(0) != 1.0 || scale(1) != 1.0 {
                return Err("resizes images or channels".into());
            }
            ResizeTo::Scale(if rank == 4 { [scale(2), scale(3)] } else { [1.0, scale(2)] })
        }
        (None, Some(sizes)) if sizes.len() == axes.len() => {
            let own = |axis: usize| if axis == 0 { call.images } else { Integer::Known(images.sides[axis - 1] as i64) };
            let wanted = |axis: usize| along(axis).map_or(own(axis), |i| sizes[i]);
            let one_image = !x.dims.batched && wanted(0) == Integer::Known(1);
            if !(one_image || wanted(0) == own(0)) || wanted(1) != own(1) {
                return Err("resizes images or channels".into());
            }
            let length = |axis: usize| -> Result<usize, Why> {
                let n = wanted(axis).known()?;
                usize::try_from(n).map_err(|_| format!("makes a side of {n}").into())
            };
            if call.text("keep_aspect_ratio_policy", "stretch")? != "stretch" {
                return Err("keeps the aspect ratio".into());
            }
            ResizeTo::Size(if rank == 4 { [length(2)?, length(3)?] } else { [1, length(2)?] })
        }
        _ => return Err("has not one scale or size for each dimension".into()),
    };
    let (filter, coordinates) = sampling(call, is_old)?;
    let resize = Resize { to, filter, coordinates };
    let shaped = steps.shaped(x, [images.sides[0], size[0], size[1]])?;
    let step = steps.push(&call.path(), Op::Resize(resize), &[shaped], Vec::new())?;
    let [c, h, w] = steps.get(step).shape;
    given(Flow::new(step, images.with(if rank == 4 { vec![c, h, w] } else { vec![c, w] })))
}

/// What is read between the pixels, and where.
fn sampling(call: &Call<'_>, is_old: bool) -> Result<(Filter, Coordinates), Why> {
    if call.flag("antialias", false)? || call.flag("exclude_outside", false)? {
        return Err("reads many pixels for one, or leaves out those beyond the edge".into());
    }
    let coordinates =
        match call.text("coordinate_transformation_mode", if is_old { "asymmetric" } else { "half_pixel" })? {
            "half_pixel" => Coordinates::HalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNn,
            other => return Err(format!("places pixels in the mode `{other}`").into()),
        };
    let rounding = match call.text("nearest_mode", if is_old { "floor" } else { "round_prefer_floor" })? {
        "round_prefer_floor" | "" => Rounding::PreferFloor,
        "round_prefer_ceil" => Rounding::PreferCeil,
        "floor" => Rounding::Floor,
        "ceil" => Rounding::Ceil,
        other => return Err(format!("rounds in the mode `{other}`").into()),
    };
    let filter = match call.text("mode", "nearest")? {
        "nearest" => Filter::Nearest { rounding },
        "linear" | "bilinear" => Filter::Linear,
        "cubic" => Filter::Cubic { coefficient: call.float("cubic_coeff_a", -0.75)? },
        other => return Err(format!("reads in the mode `{other}`").into()),
    };
    Ok((filter, coordinates))
}
