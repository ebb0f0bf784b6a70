//! Functions of one and of two values. Not here: those that files spell out in several nodes ([`super::fused`]).

use cspnet_graph::{Binary, Op, Shape, Unary};

use super::call::{Call, Given, Operand, decimal};
use super::constant::{Constant, Numbers};
use super::dims::{self, Dims, Integer, Why, aligned, broadcast};
use super::flow::{self, Flow, Parameter, Steps};
use super::fused::near;
use super::repeat::repeated;
use super::tensor;

/// The value `function` gives of every element.
fn applied(steps: &mut Steps<'_>, call: &Call<'_>, function: Unary) -> Given {
    let x = call.flow(0)?;
    let step = steps.push(&call.path(), Op::Unary { function }, &[x.step], Vec::new())?;
    Ok(vec![Operand::Flow(x.with_step(step))])
}

pub(super) fn unary(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let float = |name, default| call.float(name, default);
    let function = match call.node.operator.as_str() {
        "Relu" => Unary::Relu,
        "LeakyRelu" => match float("alpha", 0.01)? {
            slope if (0.0..=1.0).contains(&slope) => Unary::LeakyRelu { slope },
            slope => return steep(steps, call, slope as f32),
        },
        "Sigmoid" => Unary::Sigmoid,
        "Tanh" => Unary::Tanh,
        "HardSigmoid" => {
            let (alpha, beta) = (float("alpha", 0.2)?, float("beta", 0.5)?);
            // A sixth is no decimal.
            Unary::HardSigmoid { alpha: if near(alpha, 1.0 / 6.0) { 1.0 / 6.0 } else { alpha }, beta }
        }
        "HardSwish" => Unary::HardSwish,
        "Elu" => Unary::Elu { alpha: float("alpha", 1.0)? },
        "Selu" => Unary::Selu {
            alpha: float("alpha", 1.673_263_192_176_818_8)?,
            gamma: float("gamma", 1.050_701_022_148_132_3)?,
        },
        "Softplus" => Unary::Softplus,
        "Mish" => Unary::Mish,
        "Swish" if float("alpha", 1.0)? == 1.0 => Unary::Silu,
        "Swish" => return Err("scales what it gives to the sigmoid".into()),
        "Gelu" => match call.text("approximate", "none")? {
            "none" => Unary::Gelu,
            "tanh" => Unary::GeluTanh,
            other => return Err(format!("is approximated by `{other}`").into()),
        },
        "Erf" => Unary::Erf,
        "Exp" => Unary::Exp,
        "Log" => Unary::Log,
        "Sqrt" => Unary::Sqrt,
        "Neg" => Unary::Neg,
        "Abs" => Unary::Abs,
        _ => Unary::Reciprocal,
    };
    applied(steps, call, function)
}

/// A leaky rectifier of any slope: one of parameters that are all the same.
fn steep(steps: &mut Steps<'_>, call: &Call<'_>, slope: f32) -> Given {
    if !slope.is_finite() {
        return Err(format!("has {slope} as its alpha").into());
    }
    let x = call.flow(0)?;
    let numbers = Constant { dims: vec![steps.get(x.step).shape[0]], numbers: Numbers::Fill(slope) };
    let params = vec![Parameter { name: format!("{}.alpha", call.path()), numbers }];
    let step = steps.push(&call.path(), Op::PRelu, &[x.step], params)?;
    Ok(vec![Operand::Flow(x.with_step(step))])
}

pub(super) fn clip(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let (min, max) = (call.real(1, "min")?, call.real(2, "max")?);
    let min = decimal(min.unwrap_or(f32::MIN).max(f32::MIN));
    let max = decimal(max.unwrap_or(f32::MAX).min(f32::MAX));
    let function = match (min, max) {
        (0.0, 6.0) => Unary::Relu6,
        (0.0, max) if max >= f64::from(f32::MAX) => Unary::Relu,
        // Where nothing is left, the largest number is given.
        (min, max) => Unary::Clip { min: min.min(max), max },
    };
    applied(steps, call, function)
}

/// The first input itself.
pub(super) fn same(_: &mut Steps<'_>, call: &Call<'_>) -> Given {
    if call.node.operator == "Dropout" && call.real(2, "")?.is_some_and(|training| training != 0.0) {
        return Err("drops numbers, as in training".into());
    }
    Ok(vec![call.needed(0)?.clone()])
}

pub(super) fn cast(_: &mut Steps<'_>, call: &Call<'_>) -> Given {
    match super::data_type::DataType::of(call.int("to", 0)?) {
        Ok(kind) if kind.is_real() => Ok(vec![call.needed(0)?.clone()]),
        Ok(kind) => Err(format!("rounds to {kind:?}, and the network computes with real numbers only").into()),
        Err(what) => Err(format!("makes {what}").into()),
    }
}

/// Sums and the like of any number of values.
pub(super) fn binary(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let function = match call.node.operator.as_str() {
        "Add" | "Sum" | "Mean" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Pow" => Binary::Pow,
        "Max" => Binary::Max,
        _ => Binary::Min,
    };
    let mut all = call.needed(0)?.clone();
    let mut name = call.node.inputs[0].as_str();
    for place in 1..call.inputs.len() {
        all = joined(steps, call, function, (&all, name), (call.needed(place)?, &call.node.inputs[place]))?;
        name = "";
    }
    if call.node.operator == "Mean" {
        let count = Constant { dims: Vec::new(), numbers: Numbers::Fill(call.inputs.len() as f32) };
        let name = format!("{}.count", call.path());
        all = joined(steps, call, Binary::Div, (&all, ""), (&Operand::Constant(count), &name))?;
    }
    Ok(vec![all])
}

/// A value repeated to a shape: its product with ones of that shape.
pub(super) fn expand(steps: &mut Steps<'_>, call: &Call<'_>) -> Given {
    let x = call.flow(0)?;
    let mut shape = call.list(1, "shape")?.ok_or("has no shape")?;
    if x.dims.batched && shape.len() == x.dims.rank() && (shape[0] == call.images || shape[0] == Integer::Batch) {
        shape[0] = Integer::Known(1);
    }
    let length = |n: &i64| usize::try_from(*n).map_err(|_| format!("makes a dimension of {n}"));
    let dims = dims::known(&shape)?.iter().map(length).collect::<Result<Vec<usize>, String>>()?;
    tensor::count(&dims).ok_or("makes a shape that is too large")?;
    let whole = joined_dims(&x.dims, &Dims::plain(dims.clone()))?;
    tensor::count(&whole.sides).ok_or("makes a shape that is too large")?;
    if whole == x.dims {
        return Ok(vec![Operand::Flow(x.clone())]);
    }
    if shapes(&aligned(&x.dims.sides, whole.sides.len()), &whole.sides).is_none() {
        let all = repeated(steps, &call.path(), x, &whole.sides)?;
        return Ok(vec![Operand::Flow(all.with_dims(whole))]);
    }
    let ones = Operand::Constant(Constant { dims, numbers: Numbers::Fill(1.0) });
    let name = format!("{}.ones", call.path());
    Ok(vec![joined(steps, call, Binary::Mul, (call.needed(0)?, ""), (&ones, &name))?])
}

/// A function of two operands, each with its name.
pub(super) fn joined(
    steps: &mut Steps<'_>,
    call: &Call<'_>,
    function: Binary,
    a: (&Operand, &str),
    b: (&Operand, &str),
) -> Result<Operand, Why> {
    let [left, right] = [a, b].map(|(operand, _)| dims_of(operand));
    let dims = joined_dims(&left, &right)?;
    tensor::count(&dims.sides).ok_or("makes a shape that is too large")?;
    if let (Operand::Flow(x), Operand::Flow(y)) = (a.0, b.0)
        && left == right
        && x.is_plain()
        && y.is_plain()
        && steps.get(x.step).shape == steps.get(y.step).shape
    {
        // Both lie alike already.
        let step = steps.push(&call.path(), Op::Binary { function }, &[x.step, y.step], Vec::new())?;
        return Ok(Operand::Flow(Flow::new(step, dims)));
    }
    let sides = |of: &Dims| {
        // A constant has the same numbers for all images.
        let skip = usize::from(dims.batched && !of.batched && of.rank() == dims.rank());
        aligned(&of.sides[skip..], dims.sides.len())
    };
    let (left, right) = (sides(&left), sides(&right));
    let Some(shapes) = shapes(&left, &right) else {
        return joined_apart(steps, call, function, [(a, left), (b, right)], &dims);
    };
    let mut inputs = [0; 2];
    for (i, (operand, name)) in [a, b].into_iter().enumerate() {
        inputs[i] = match operand {
            Operand::Flow(flow) => steps.shaped(flow, shapes[i])?,
            Operand::Constant(constant) => steps.constant(name, shapes[i], constant.clone())?,
        };
    }
    let step = steps.push(&call.path(), Op::Binary { function }, &inputs, Vec::new())?;
    Ok(Operand::Flow(Flow::new(step, dims)))
}

/// The shapes in which two are joined element by element whose sides stand beside each other; `None` if these are more than three axes
/// in turn of which one has only one number.
fn shapes(left: &[usize], right: &[usize]) -> Option<[Shape; 2]> {
    let mark = |(&a, &b): (&usize, &usize)| if a == b { 0 } else { 1 + u8::from(a == 1) };
    let marks: Vec<u8> = left.iter().zip(right).map(mark).collect();
    flow::together([left, right], &marks)
}

/// Two operands that are repeated in turn along more axes than a value has: one of them is repeated before, or both are.
fn joined_apart(
    steps: &mut Steps<'_>,
    call: &Call<'_>,
    function: Binary,
    [a, b]: [((&Operand, &str), Vec<usize>); 2],
    dims: &Dims,
) -> Result<Operand, Why> {
    let only_b = shapes(&a.1, &dims.sides).is_some();
    let only_a = !only_b && shapes(&dims.sides, &b.1).is_some();
    let mut whole = |((operand, name), sides): ((&Operand, &str), Vec<usize>), stays: bool| {
        let own = Dims::plain(sides);
        let flow = match operand {
            operand if stays => return Ok(operand.clone()),
            Operand::Flow(flow) => flow.with_dims(own),
            Operand::Constant(constant) => {
                Flow::new(steps.constant(name, flow::planes(&own.sides), constant.clone())?, own)
            }
        };
        Ok::<_, Why>(Operand::Flow(repeated(steps, &call.path(), &flow, &dims.sides)?.with_dims(dims.clone())))
    };
    let names = [a.0.1, b.0.1];
    let (a, b) = (whole(a, only_b)?, whole(b, only_a)?);
    joined(steps, call, function, (&a, names[0]), (&b, names[1]))
}

/// An operand's dimensions.
pub(super) fn dims_of(operand: &Operand) -> Dims {
    match operand {
        Operand::Flow(flow) => flow.dims.clone(),
        Operand::Constant(constant) => Dims::plain(constant.dims.clone()),
    }
}

/// The dimensions of two that are joined element by element.
fn joined_dims(a: &Dims, b: &Dims) -> Result<Dims, Why> {
    if a.batched == b.batched {
        if a.batched && a.rank() != b.rank() {
            return Err(Why::Batch);
        }
        return Ok(a.with(broadcast(&a.sides, &b.sides)?));
    }
    let (images, other) = if a.batched { (a, b) } else { (b, a) };
    let other = match other.rank().cmp(&images.rank()) {
        std::cmp::Ordering::Less => &other.sides[..],
        std::cmp::Ordering::Equal if other.sides[0] == 1 => &other.sides[1..],
        _ => return Err(Why::Batch),
    };
    Ok(images.with(broadcast(&images.sides, other)?))
}
