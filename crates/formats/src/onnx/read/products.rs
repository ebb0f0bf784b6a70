//! Fully connected layers and products of matrices.

use cspnet_graph::{Binary, Op};

use super::arithmetic::{dims_of, joined};
use super::call::{Call, Given, Operand};
use super::constant::{Constant, Numbers};
use super::dims::{Dims, Why, broadcast};
use super::flow::{Flow, Parameter, Steps};
use super::repeat::repeated;
use super::tensor;

fn flow(step: usize, dims: Dims) -> Given {
    Ok(vec![Operand::Flow(Flow::new(step, dims))])
}

/// A fully connected layer on values of one side.
fn linear(steps: &mut Steps<'_>, call: &Call<'_>, x: &Flow, out: usize, params: Vec<Parameter>, dims: Dims) -> Given {
    let x = steps.shaped(x, [x.dims.count(), 1, 1])?;
    let step = steps.push(&call.path(), Op::Linear { out }, &[x], params)?;
    flow(step, dims)
}

/// The bias of a layer that has none.
fn no_bias(call: &Call<'_>, out: usize) -> Parameter {
    Parameter {
        name: format!("{}.bias", call.path()),
        numbers: Constant { dims: vec![out], numbers: Numbers::Fill(0.0) },
    }
}

pub(super) fn gemm(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let weight = call.parameter(1)?;
    let [alpha, beta] = ["alpha", "beta"].map(|name| call.float(name, 1.0));
    let (alpha, beta) = (alpha? as f32, beta? as f32);
    if weight.dims.len() != 2 || x.dims.rank() != 2 {
        return Err(format!("multiplies tensors of {} and {} dimensions", x.dims.rank(), weight.dims.len()).into());
    }
    let weight = if call.flag("transB", false)? { weight.clone() } else { weight.permuted(&[1, 0]) };
    let weight = weight.scaled(alpha);
    let out = weight.dims[0];
    let x = match (call.flag("transA", false)?, x.dims.batched) {
        (false, _) => x.clone(),
        (true, true) => return Err(Why::Batch),
        (true, false) => steps.permuted(x, &[1, 0])?,
    };
    let within = *x.dims.sides.last().ok_or("takes a matrix")?;
    if weight.dims[1] != within {
        return Err(format!("multiplies {within} numbers with a matrix of {:?}", weight.dims).into());
    }
    let dims = match x.dims.sides[..] {
        [rows, _] => x.dims.with(vec![rows, out]),
        _ => x.dims.with(vec![out]),
    };
    let bias = call.constant(2)?.map(|c| c.clone().scaled(beta));
    let name = |place: usize| call.node.inputs[place].clone();
    if x.dims.count() == within {
        let numbers = match &bias {
            None => Some(no_bias(call, out).numbers),
            Some(c) if c.len() == out => Some(c.clone()),
            Some(c) if c.len() == 1 => c
                .scalar(call.files, call.allowance)
                .map(|value| Constant { dims: vec![out], numbers: Numbers::Fill(value) }),
            // Those of several images.
            Some(c) if c.dims.first() != Some(&1) => return Err(Why::Batch),
            Some(_) => None,
        };
        let numbers = numbers.ok_or("adds numbers that are not one for each output")?;
        let bias = Parameter { name: bias.as_ref().map_or_else(|| no_bias(call, out).name, |_| name(2)), numbers };
        let params = vec![Parameter { name: name(1), numbers: weight }, bias];
        return linear(steps, call, &x, out, params, dims);
    }
    let rows = x.dims.count() / within;
    let x = steps.shaped(&x, [1, rows, within])?;
    let weight = steps.constant(&name(1), [1, within, out], weight.permuted(&[1, 0]))?;
    let step = steps.push(&call.path(), Op::MatMul, &[x, weight], Vec::new())?;
    let product = Operand::Flow(Flow::new(step, dims));
    match bias {
        None => Ok(vec![product]),
        Some(bias) => Ok(vec![joined(steps, call, Binary::Add, (&product, ""), (&Operand::Constant(bias), &name(2)))?]),
    }
}

pub(super) fn matmul(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let (a, b) = (call.needed(0)?, call.needed(1)?);
    // One row of each image by a matrix is a fully connected layer.
    if let (Operand::Flow(x), Operand::Constant(weight)) = (a, b)
        && let [within, out] = weight.dims[..]
        && x.dims.sides.last() == Some(&within)
        && x.dims.rank() >= 2
        && x.dims.count() == within
    {
        let mut sides = x.dims.sides.clone();
        *sides.last_mut().ok_or("takes a matrix")? = out;
        let weight = Parameter { name: call.node.inputs[1].clone(), numbers: weight.permuted(&[1, 0]) };
        return linear(steps, call, x, out, vec![weight, no_bias(call, out)], x.dims.with(sides));
    }
    let (left, right) = (dims_of(a), dims_of(b));
    let (batched, rank) = (left.batched || right.batched, left.rank().max(right.rank()));
    let ((many, [m, k]), (others, [l, n])) = (matrices(&left, batched, rank)?, matrices(&right, batched, rank)?);
    let all = broadcast(&many, &others).ok().filter(|_| k == l);
    let all = all.ok_or_else(|| format!("multiplies tensors of {:?} and {:?}", left.sides, right.sides))?;
    tensor::count(&all).ok_or("makes a shape that is too large")?;
    let count = |of: &[usize]| of.iter().product::<usize>();
    // One matrix is multiplied with each of the other's; what else is repeated has to be so before.
    let is_apart =
        count(&many) != 1 && count(&others) != 1 && [&many, &others].iter().any(|of| count(of) != count(&all));
    let mut operand = |operand: &Operand, place: usize, of: &[usize], [rows, columns]: [usize; 2]| {
        let flow = match operand {
            Operand::Flow(flow) => flow.with_dims(Dims::plain([of, &[rows, columns]].concat())),
            Operand::Constant(constant) => {
                let shape = [count(of), rows, columns];
                let step = steps.constant(&call.node.inputs[place], shape, constant.clone())?;
                Flow::new(step, Dims::plain([of, &[rows, columns]].concat()))
            }
        };
        match is_apart {
            false => steps.shaped(&flow, [count(of), rows, columns]),
            true => {
                let flow = repeated(steps, &call.path(), &flow, &[&all[..], &[rows, columns]].concat())?;
                steps.shaped(&flow, [count(&all), rows, columns])
            }
        }
    };
    let (x, y) = (operand(a, 0, &many, [m, k])?, operand(b, 1, &others, [k, n])?);
    let step = steps.push(&call.path(), Op::MatMul, &[x, y], Vec::new())?;
    flow(step, Dims { batched, sides: [all, vec![m, n]].concat() })
}

/// Of an operand of a product of so many dimensions: how many matrices it has along each of an image's dimensions, and their sides.
fn matrices(of: &Dims, batched: bool, rank: usize) -> Result<(Vec<usize>, [usize; 2]), Why> {
    let sides = match (of.batched, of.rank() == rank, &of.sides[..]) {
        // Dimensions stand beside each other from the last one on, so that the images would stand beside something else.
        (true, false, _) => return Err(Why::Batch),
        // A constant has the same numbers for all images.
        (false, true, [1, sides @ ..]) if batched => sides,
        (false, true, _) if batched => return Err(Why::Batch),
        (.., sides) => sides,
    };
    match sides {
        [many @ .., rows, columns] => Ok((many.to_vec(), [*rows, *columns])),
        // Its rows or columns are the images.
        _ if of.batched => Err(Why::Batch),
        _ => Err(format!("multiplies tensors of {} and of {rank} dimensions", of.rank()).into()),
    }
}
