//! Values and constants that are repeated along some of their dimensions.

use cspnet_graph::{Op, Resize, ResizeTo};

use super::call::Call;
use super::constant::{Constant, Numbers};
use super::dims::{self, Dims, Integer, Why, aligned, broadcast};
use super::flow::{self, Flow, Steps};
use super::{evaluate, tensor};

/// Most rows or columns that become of repeating: pixels are found by numbers of single precision, which are exact far beyond that.
const MAX_REPEATED: usize = 1 << 20;

/// A value repeated along its sides of length 1, as pixels are when a picture is enlarged: those beside each other at once, and
/// together with the last ones.
pub(super) fn repeated(steps: &mut Steps<'_>, path: &str, x: &Flow, to: &[usize]) -> Result<Flow, Why> {
    tensor::count(to).ok_or("makes a shape that is too large")?;
    let product = |sides: &[usize]| sides.iter().product::<usize>();
    let mut sides = aligned(&x.dims.sides, to.len());
    let mut x = x.with_dims(x.dims.with(sides.clone()));
    while let Some(first) = (0..to.len()).find(|&side| sides[side] != to[side]) {
        if sides[first] != 1 {
            return Err(format!("repeats a dimension of {} to {}", sides[first], to[first]).into());
        }
        // Until a side that is longer, which is not repeated.
        let run = |from: usize| (from..to.len()).find(|&side| sides[side] != 1).unwrap_or(to.len());
        let end = run(first);
        let next = (end..to.len()).find(|&side| sides[side] != to[side]).unwrap_or(to.len());
        let done = if run(next) == to.len() { to.len() } else { end };
        let is_last = done == to.len();
        let columns = if is_last { product(&sides[end..next]) } else { product(&sides[end..]) };
        let rows = sides[..first].iter().rev().copied().find(|&n| n != 1).unwrap_or(1);
        let times = [product(&to[first..end]), if is_last { product(&to[next..]) } else { 1 }];
        if [rows, columns].iter().zip(&times).any(|(n, times)| n.saturating_mul(*times) > MAX_REPEATED) {
            return Err(format!("repeats {rows} and {columns} numbers {times:?} times").into());
        }
        let resize = Resize { to: ResizeTo::Scale(times.map(|n| n as f32)), ..Resize::repeat(1) };
        let shaped = steps.shaped(&x, [product(&sides[..first]) / rows, rows, columns])?;
        let step = steps.push(&format!("{path}.repeated"), Op::Resize(resize), &[shaped], Vec::new())?;
        sides[first..done].copy_from_slice(&to[first..done]);
        x = Flow::new(step, x.dims.with(sides.clone()));
    }
    Ok(x)
}

/// A constant that is given to every image of a batch, however many there are: of nodes that make it for as many; `None` if this is no
/// such node.
pub(super) fn for_every_image(steps: &mut Steps<'_>, call: &Call<'_>) -> Result<Option<Flow>, Why> {
    let place = match call.node.operator.as_str() {
        "Expand" | "Tile" => 1,
        "ConstantOfShape" => 0,
        _ => return Ok(None),
    };
    let shape = call.list(place, "")?.unwrap_or_default();
    let Some((Integer::Batch, rest)) = shape.split_first() else { return Ok(None) };
    let (rest, _) = evaluate::lengths(&dims::known(rest)?)?;
    let (of, name, to) = match call.node.operator.as_str() {
        "ConstantOfShape" => {
            let value = match call.tensor("value")? {
                None => 0.0,
                Some(value) if value.is_real() => {
                    value.scalar(call.files, call.allowance).ok_or("is to be filled with more than one number")?
                }
                // Integers are lengths and places, which must be known.
                Some(_) => return Ok(None),
            };
            (Constant { dims: rest.clone(), numbers: Numbers::Fill(value) }, call.path(), rest)
        }
        operator => {
            let of = call.parameter(0)?;
            let own = match of.dims.len() > rest.len() {
                true => of.dims.strip_prefix(&[1]).filter(|own| own.len() == rest.len()),
                false => Some(&of.dims[..]),
            };
            let Some(own) = own.filter(|_| of.is_real()) else { return Ok(None) };
            let to = match operator {
                "Expand" => broadcast(own, &rest)?,
                _ if own.len() == rest.len() && rest.iter().all(|&times| times == 1) => own.to_vec(),
                _ => return Ok(None),
            };
            (of.with_dims(own.to_vec()), call.node.inputs[0].clone(), to)
        }
    };
    tensor::count(&to).ok_or("makes a tensor that is too large")?;
    let step = steps.constant(&name, flow::planes(&of.dims), of.clone())?;
    let one = repeated(steps, &call.path(), &Flow::new(step, Dims::plain(of.dims)), &to)?;
    Ok(Some(one.with_dims(Dims { batched: true, sides: to })))
}
