//! Nodes whose inputs are all constants, computed while the network is read: shape arithmetic, for the most part.
//!
//! What only changes the shape of a tensor does not read its numbers. Not here: what moves numbers ([`places`]) and what computes them
//! ([`arithmetic`]).

mod arithmetic;
mod places;

use super::allowance::Loan;
use super::call::{Call, Operand};
use super::constant::{Constant, Numbers, Values, check_list};
use super::data_type::DataType;
use super::dims::{self, Dims, Integer, Why};
use super::tensor;
use Integer::Known;
use arithmetic::{One, Two, clip, converted, join, map, one, reduce, two};
use places::{choose, concat, expand, gather, slice, split, tile};

/// Most outputs of a node.
const MAX_OUTPUTS: usize = 4096;

/// Most orders of axes, one upon another, through which the numbers of a constant are read.
const MAX_DEPTH: usize = 16;

/// A tensor whose numbers have been read, with the memory that they take.
struct Array<'a> {
    dims: Vec<usize>,
    values: Values,
    loan: Loan<'a>,
}

/// How an operator is computed.
enum Way {
    /// Its numbers may stay where they are.
    Constant(fn(&Call<'_>) -> Result<Constant, Why>),
    Array(for<'a> fn(&Call<'a>) -> Result<Array<'a>, Why>),
    One(One),
    Two(Two),
    /// It has several outputs.
    Parts(fn(&Call<'_>) -> Result<Vec<Constant>, Why>),
}

fn way(operator: &str) -> Option<Way> {
    Some(match operator {
        "Identity" | "Dropout" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" => Way::Constant(seen),
        "Constant" => Way::Constant(constant),
        "ConstantOfShape" => Way::Constant(filled),
        "Size" => Way::Constant(|call| Ok(Constant::few(Vec::new(), vec![Known(first(call)?.len() as i64)]))),
        "Shape" => Way::Constant(|call| shape_of(call, &Dims::plain(first(call)?.dims.clone()))),
        "Cast" => Way::Constant(cast),
        "Range" => Way::Array(range),
        "Concat" => Way::Array(concat),
        "Slice" => Way::Array(slice),
        "Gather" => Way::Array(gather),
        "Expand" => Way::Array(expand),
        "Tile" => Way::Array(tile),
        "Where" => Way::Array(choose),
        "Clip" => Way::Array(clip),
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceMean" => Way::Array(reduce),
        "Split" => Way::Parts(split),
        _ => return one(operator).map(Way::One).or_else(|| two(operator).map(Way::Two)),
    })
}

/// Whether an operator is computed here.
pub(super) fn knows(operator: &str) -> bool {
    way(operator).is_some()
}

/// What a node gives whose inputs are constants; `None` if this operator is not computed here.
pub(super) fn evaluate(call: &Call<'_>) -> Result<Option<Vec<Constant>>, Why> {
    if call.node.outputs.len() > MAX_OUTPUTS {
        return Err(format!("has {} outputs", call.node.outputs.len()).into());
    }
    if call.node.operator == "BatchNormalization" && call.flag("training_mode", false)? {
        return Ok(Some(vec![standardised(call)?]));
    }
    let Some(way) = way(&call.node.operator) else { return Ok(None) };
    let one = match way {
        Way::Constant(function) => function(call)?,
        Way::Array(function) => function(call)?.kept(),
        Way::One(function) => map(call, function)?.kept(),
        Way::Two(function) => join(call, function)?.kept(),
        Way::Parts(function) => return function(call).map(Some),
    };
    Ok(Some(vec![one]))
}

/// What `Shape` gives of a value.
pub(super) fn shape_of(call: &Call<'_>, of: &Dims) -> Result<Constant, Why> {
    let all = of.batched.then_some(call.images).into_iter().chain(of.sides.iter().map(|&n| Known(n as i64)));
    let all: Vec<Integer> = all.collect();
    let run = dims::run(call.int("start", 0)?, call.int("end", i64::MAX)?, 1, all.len())?;
    Ok(Constant::few(vec![run.len], all[run.start..][..run.len].to_vec()))
}

impl Array<'_> {
    /// As a constant, which is kept.
    fn kept(self) -> Constant {
        Constant::new(self.dims, self.values, self.loan)
    }
}

/// An array of these dimensions, of the numbers at these places of another.
fn picked<'a>(
    call: &Call<'a>,
    of: &Array<'_>,
    dims: Vec<usize>,
    places: impl Iterator<Item = usize>,
) -> Result<Array<'a>, Why> {
    let (values, loan) = of.values.pick(count(&dims)?, places, call.allowance)?;
    Ok(Array { dims, values, loan })
}

/// How many numbers an array has, if it may be.
fn count(dims: &[usize]) -> Result<usize, Why> {
    tensor::count(dims).ok_or_else(|| "makes a tensor that is too large".into())
}

/// An operator that leaves the numbers where they are, and sees them in another shape.
fn seen(call: &Call<'_>) -> Result<Constant, Why> {
    let of = first(call)?;
    let dims = Dims::plain(of.dims.clone());
    let dims = match call.node.operator.as_str() {
        "Identity" | "Dropout" => dims,
        "Transpose" if of.depth() >= MAX_DEPTH => return Err("reorders a constant once too often".into()),
        "Transpose" => return Ok(of.permuted(&call.order(of.dims.len())?)),
        "Reshape" => {
            let target = call.list(1, "shape")?.ok_or("has no shape")?;
            dims.reshaped(&target, call.flag("allowzero", false)?, Known(1))?
        }
        "Flatten" => dims.flattened(call.int("axis", 1)?)?,
        "Squeeze" => dims.squeezed(call.known_list(1, "axes")?.as_deref())?,
        _ => dims.unsqueezed(&call.known_list(1, "axes")?.ok_or("has no axes")?)?,
    };
    Ok(of.with_dims(dims.sides))
}

/// Weights that are normalised as in training, each row of them by its own statistics (weight standardisation, arXiv:1903.10520).
fn standardised(call: &Call<'_>) -> Result<Constant, Why> {
    let of = first(call)?;
    let &[1, rows, ..] = &of.dims[..] else { return Err("normalises by the statistics of several images".into()) };
    check_list(rows)?;
    let [scale, shift] = [1, 2].map(|place| call.parameter(place));
    let (scale, shift) = (scale?, shift?);
    if of.depth() >= MAX_DEPTH {
        return Err("normalises a constant once too often".into());
    }
    if [scale, shift].iter().any(|own| own.len() != rows || own.depth() > 0) {
        return Err(format!("has not a scale and a shift for each of {rows} rows").into());
    }
    let eps = call.float("epsilon", 1e-5)?;
    let [of, scale, shift] = [of, scale, shift].map(|constant| constant.clone().into());
    Ok(Constant { dims: first(call)?.dims.clone(), numbers: Numbers::Standardised { of, scale, shift, eps } })
}

fn cast(call: &Call<'_>) -> Result<Constant, Why> {
    let of = first(call)?;
    let to = DataType::of(call.int("to", 0)?).map_err(|what| format!("makes {what}"))?;
    match of.is_real() && to.is_real() {
        // All of them are of single precision.
        true => Ok(of.clone()),
        false => Ok(converted(call, to)?.kept()),
    }
}

/// The first input.
fn first<'a>(call: &'a Call<'_>) -> Result<&'a Constant, String> {
    call.parameter(0)
}

fn read<'a>(call: &Call<'a>, place: usize) -> Result<Array<'a>, String> {
    let constant = call.parameter(place)?;
    let (values, loan) = constant.values(call.files, call.allowance)?;
    Ok(Array { dims: constant.dims.clone(), values, loan })
}

fn constant(call: &Call<'_>) -> Result<Constant, Why> {
    if let Some(tensor) = call.tensor("value")? {
        return Ok(tensor);
    }
    let array = if call.has("value_float") {
        floats(call, vec![], &[call.real(0, "value_float")?.unwrap_or(0.0)])?
    } else if let Some(numbers) = call.floats("value_floats")? {
        floats(call, vec![numbers.len()], numbers)?
    } else if call.has("value_int") {
        integers(call, vec![], &[call.int("value_int", 0)?])?
    } else if let Some(numbers) = call.ints("value_ints")? {
        integers(call, vec![numbers.len()], numbers)?
    } else {
        return Err("has no numbers as its value".into());
    };
    Ok(array.kept())
}

fn floats<'a>(call: &Call<'a>, dims: Vec<usize>, numbers: &[f32]) -> Result<Array<'a>, Why> {
    let loan = call.allowance.lend::<f32>(numbers.len())?;
    Ok(Array { dims, values: Values::Floats(numbers.to_vec()), loan })
}

fn integers<'a>(call: &Call<'a>, dims: Vec<usize>, numbers: &[i64]) -> Result<Array<'a>, Why> {
    let loan = call.allowance.lend::<Integer>(numbers.len())?;
    Ok(Array { dims, values: Values::Integers(numbers.iter().map(|&n| Known(n)).collect()), loan })
}

/// A list of lengths as a shape that is not too large.
pub(super) fn lengths(list: &[i64]) -> Result<(Vec<usize>, usize), String> {
    let sides: Option<Vec<usize>> = list.iter().map(|&n| usize::try_from(n).ok()).collect();
    let sides = sides.filter(|sides| sides.len() <= super::limits::MAX_RANK);
    let sized = sides.and_then(|sides| tensor::count(&sides).map(|count| (sides, count)));
    sized.ok_or_else(|| format!("makes a tensor of the shape {list:?}"))
}

fn filled(call: &Call<'_>) -> Result<Constant, Why> {
    let list = call.known_list(0, "")?.ok_or("has no shape")?;
    let (dims, count) = lengths(&list)?;
    let value = match call.tensor("value")? {
        None => return Ok(Constant { dims, numbers: Numbers::Fill(0.0) }),
        Some(value) if value.len() != 1 => return Err("is to be filled with more than one number".into()),
        Some(value) => value.values(call.files, call.allowance)?.0,
    };
    match value {
        Values::Floats(value) => Ok(Constant { dims, numbers: Numbers::Fill(value[0]) }),
        Values::Integers(value) => {
            call.allowance.work(count)?;
            let loan = call.allowance.lend::<Integer>(count)?;
            Ok(Constant::new(dims, Values::Integers(vec![value[0]; count]), loan))
        }
    }
}

fn range<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
    let one = |place: usize| match call.parameter(place)?.len() {
        1 => read(call, place).map(|array| array.values),
        len => Err(format!("has {len} numbers as its input {place} instead of one")),
    };
    let count = |n: f64| match n.is_finite() && n <= 1e9 {
        true => Ok(n.max(0.0) as usize),
        false => Err(format!("makes a range of {n} numbers")),
    };
    Ok(match (one(0)?, one(1)?, one(2)?) {
        (Values::Integers(start), Values::Integers(limit), Values::Integers(delta)) => {
            let (start, limit, delta) = (start[0].known()?, limit[0].known()?, delta[0].known()?);
            let count = count(((limit as f64 - start as f64) / delta as f64).ceil())?;
            call.allowance.work(count)?;
            let loan = call.allowance.lend::<Integer>(count)?;
            let at = |i: usize| Known(start.wrapping_add(delta.wrapping_mul(i as i64)));
            Array { dims: vec![count], values: Values::Integers((0..count).map(at).collect()), loan }
        }
        (start, limit, delta) => {
            let (start, limit, delta) = (start.real(0), limit.real(0), delta.real(0));
            let count = count(((f64::from(limit) - f64::from(start)) / f64::from(delta)).ceil())?;
            call.allowance.work(count)?;
            let loan = call.allowance.lend::<f32>(count)?;
            let numbers = (0..count).map(|i| start + delta * i as f32).collect();
            Array { dims: vec![count], values: Values::Floats(numbers), loan }
        }
    })
}

/// Whether all inputs of a node are constants, as far as they are there.
pub(super) fn is_constant(call: &Call<'_>) -> bool {
    call.inputs.iter().flatten().all(|operand| matches!(operand, Operand::Constant(_)))
}
