//! Nodes whose inputs are all constants, computed while the network is read: shape arithmetic, for the most part.
//!
//! What only changes the shape of a tensor does not read its numbers.

use super::call::{Call, Operand};
use super::constant::{Constant, Numbers, Sources, Values, steps};
use super::data_type::DataType;
use super::dims::{self, Dims, Integer, Place, Why, broadcast};
use super::tensor;
use Integer::Known;

/// Most outputs of a node.
const MAX_OUTPUTS: usize = 4096;

/// Most orders of axes, one upon another, through which the numbers of a constant are read.
const MAX_DEPTH: usize = 16;

/// A tensor whose numbers have been read.
struct Array {
    dims: Vec<usize>,
    values: Values,
}

/// Operators that are computed here, and those of [`one`] and [`two`].
const KNOWN: [&str; 25] = [
    "Cast",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Dropout",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "Range",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "Reshape",
    "Shape",
    "Size",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Whether an operator is computed here.
pub(super) fn knows(operator: &str) -> bool {
    KNOWN.contains(&operator) || one(operator).is_some() || two(operator).is_some()
}

/// What a node gives whose inputs are constants; `None` if this operator is not computed here.
pub(super) fn evaluate(call: &Call<'_>) -> Result<Option<Vec<Constant>>, Why> {
    if call.node.outputs.len() > MAX_OUTPUTS {
        return Err(format!("has {} outputs", call.node.outputs.len()).into());
    }
    if let Some(constant) = moved(call)? {
        return Ok(Some(vec![constant]));
    }
    let array = match call.node.operator.as_str() {
        "Split" => return split(call).map(Some),
        "Constant" => return constant(call).map(|c| Some(vec![c])),
        "ConstantOfShape" => return filled(call).map(|c| Some(vec![c])),
        "Size" => Array { dims: Vec::new(), values: Values::Integers(vec![Known(first(call)?.len() as i64)]) },
        "Shape" => shape(call, &Dims::plain(first(call)?.dims.clone()))?,
        "Range" => range(call)?,
        "Concat" => concat(call)?,
        "Slice" => slice(call)?,
        "Gather" => gather(call)?,
        "Expand" => expand(call)?,
        "Tile" => tile(call)?,
        "Where" => choose(call)?,
        "Cast" => cast(call)?,
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceMean" => reduce(call)?,
        operator => match (one(operator), two(operator)) {
            (Some(function), _) => map(call, function)?,
            (_, Some(function)) => join(call, function)?,
            _ => return Ok(None),
        },
    };
    Ok(Some(vec![Constant::new(array.dims, array.values, call.allowance)?]))
}

/// What `Shape` gives of a value.
pub(super) fn shape_of(call: &Call<'_>, of: &Dims) -> Result<Constant, Why> {
    let array = shape(call, of)?;
    Ok(Constant::new(array.dims, array.values, call.allowance)?)
}

fn shape(call: &Call<'_>, of: &Dims) -> Result<Array, Why> {
    let all = of.batched.then_some(call.images).into_iter().chain(of.sides.iter().map(|&n| Known(n as i64)));
    let all: Vec<Integer> = all.collect();
    let run = dims::run(call.int("start", 0)?, call.int("end", i64::MAX)?, 1, all.len())?;
    Ok(line(all[run.start..][..run.len].to_vec()))
}

fn line(integers: Vec<Integer>) -> Array {
    Array { dims: vec![integers.len()], values: Values::Integers(integers) }
}

/// An operator that leaves the numbers where they are.
fn moved(call: &Call<'_>) -> Result<Option<Constant>, Why> {
    let operator = call.node.operator.as_str();
    if !matches!(
        operator,
        "Identity" | "Dropout" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Cast"
    ) {
        return Ok(None);
    }
    let of = first(call)?;
    let dims = Dims::plain(of.dims.clone());
    let dims = match operator {
        "Identity" | "Dropout" => dims,
        "Cast" => match DataType::of(call.int("to", 0)?) {
            // All real numbers become those of single precision.
            Ok(to) if to.is_real() && of.is_real() => dims,
            _ => return Ok(None),
        },
        "Transpose" if of.depth() >= MAX_DEPTH => return Err("reorders a constant once too often".into()),
        "Transpose" => return Ok(Some(of.permuted(&call.order(of.dims.len())?))),
        "Reshape" => {
            let target = call.list(1, "shape")?.ok_or("has no shape")?;
            dims.reshaped(&target, call.flag("allowzero", false)?, Known(1))?
        }
        "Flatten" => dims.flattened(call.int("axis", 1)?)?,
        "Squeeze" => dims.squeezed(call.known_list(1, "axes")?.as_deref())?,
        _ => dims.unsqueezed(&call.known_list(1, "axes")?.ok_or("has no axes")?)?,
    };
    Ok(Some(of.with_dims(dims.sides)))
}

/// The first input.
fn first<'a>(call: &'a Call<'_>) -> Result<&'a Constant, String> {
    call.parameter(0)
}

fn read(call: &Call<'_>, place: usize) -> Result<Array, String> {
    let constant = call.parameter(place)?;
    Ok(Array { dims: constant.dims.clone(), values: constant.values(call.files, call.allowance)? })
}

fn constant(call: &Call<'_>) -> Result<Constant, Why> {
    if let Some(tensor) = call.tensor("value")? {
        return Ok(tensor);
    }
    let (dims, values) = if call.has("value_float") {
        (vec![], Values::Floats(vec![call.real(0, "value_float")?.unwrap_or(0.0)]))
    } else if let Some(floats) = call.floats("value_floats")? {
        (vec![floats.len()], Values::Floats(floats.to_vec()))
    } else if call.has("value_int") {
        (vec![], Values::Integers(vec![Known(call.int("value_int", 0)?)]))
    } else if let Some(ints) = call.ints("value_ints")? {
        (vec![ints.len()], Values::Integers(ints.iter().map(|&n| Known(n)).collect()))
    } else {
        return Err("has no numbers as its value".into());
    };
    Ok(Constant::new(dims, values, call.allowance)?)
}

/// A list of lengths as a shape that is not too large.
fn lengths(list: &[i64]) -> Result<(Vec<usize>, usize), String> {
    let sides: Option<Vec<usize>> = list.iter().map(|&n| usize::try_from(n).ok()).collect();
    let sides = sides.filter(|sides| sides.len() <= super::messages::MAX_RANK);
    let sized = sides.and_then(|sides| tensor::count(&sides).map(|count| (sides, count)));
    sized.ok_or_else(|| format!("makes a tensor of the shape {list:?}"))
}

fn filled(call: &Call<'_>) -> Result<Constant, Why> {
    let list = call.known_list(0, "")?.ok_or("has no shape")?;
    let (dims, count) = lengths(&list)?;
    let value = match call.tensor("value")? {
        None => return Ok(Constant { dims, numbers: Numbers::Fill(0.0) }),
        Some(value) => value.values(call.files, call.allowance)?,
    };
    match value {
        Values::Floats(value) if value.len() == 1 => Ok(Constant { dims, numbers: Numbers::Fill(value[0]) }),
        Values::Integers(value) if value.len() == 1 => {
            call.allowance.work(count)?;
            Ok(Constant::new(dims, Values::Integers(vec![value[0]; count]), call.allowance)?)
        }
        _ => Err("is to be filled with more than one number".into()),
    }
}

fn range(call: &Call<'_>) -> Result<Array, Why> {
    let [start, limit, delta] = [0, 1, 2].map(|place| read(call, place));
    let count = |n: f64| match n.is_finite() && n <= 1e9 {
        true => Ok(n.max(0.0) as usize),
        false => Err(format!("makes a range of {n} numbers")),
    };
    match (start?.values, limit?.values, delta?.values) {
        (Values::Integers(start), Values::Integers(limit), Values::Integers(delta)) => {
            let one = |n: &[Integer]| n.first().ok_or("has an empty input".to_owned())?.known();
            let (start, limit, delta) = (one(&start)?, one(&limit)?, one(&delta)?);
            let count = count(((limit as f64 - start as f64) / delta as f64).ceil())?;
            call.allowance.work(count)?;
            let at = |i: usize| Known(start.wrapping_add(delta.wrapping_mul(i as i64)));
            Ok(line((0..count).map(at).collect()))
        }
        (start, limit, delta) => {
            let one = |n: Values| n.into_floats().first().copied().ok_or("has an empty input".to_owned());
            let (start, limit, delta) = (one(start)?, one(limit)?, one(delta)?);
            let count = count(((f64::from(limit) - f64::from(start)) / f64::from(delta)).ceil())?;
            call.allowance.work(count)?;
            let numbers = (0..count).map(|i| start + delta * i as f32).collect();
            Ok(Array { dims: vec![count], values: Values::Floats(numbers) })
        }
    }
}

/// Several arrays one after another, each of so many numbers at a time.
fn concat(call: &Call<'_>) -> Result<Array, Why> {
    let arrays: Vec<Array> = (0..call.inputs.len()).map(|i| read(call, i)).collect::<Result<_, _>>()?;
    let first = arrays.first().ok_or("has no inputs")?;
    let rank = first.dims.len();
    let axis = call.int("axis", 0)?;
    let axis = dims::place(axis, rank).map_err(|rank| dims::outside(axis, rank))?;
    let fits = |a: &Array| a.dims.len() == rank && (0..rank).all(|i| i == axis || a.dims[i] == first.dims[i]);
    if !arrays.iter().all(fits) {
        return Err("joins tensors of different shapes".into());
    }
    let mut dims = first.dims.clone();
    dims[axis] = arrays.iter().map(|a| a.dims[axis]).sum();
    let rounds: usize = dims[..axis].iter().product();
    let floats = arrays.iter().any(|a| matches!(a.values, Values::Floats(_)));
    let pieces = (0..rounds).flat_map(|round| {
        arrays.iter().map(move |a| {
            let each = a.values.len() / rounds;
            a.values.pick(round * each..(round + 1) * each)
        })
    });
    let values = match floats {
        true => Values::Floats(pieces.flat_map(Values::into_floats).collect()),
        false => {
            Values::Integers(pieces.flat_map(|p| if let Values::Integers(n) = p { n } else { Vec::new() }).collect())
        }
    };
    Ok(Array { dims, values })
}

fn slice(call: &Call<'_>) -> Result<Array, Why> {
    let array = read(call, 0)?;
    let mut sides = array.dims.clone();
    let (mut start, mut way) = (0, steps(&array.dims));
    for (side, run) in call.runs(&Dims::plain(array.dims.clone()))? {
        start += run.start * way[side].unsigned_abs();
        (sides[side], way[side]) = (run.len, way[side] * run.step as isize);
    }
    if sides.contains(&0) {
        start = 0;
    }
    let places = Sources::new(sides.iter().copied().zip(way).collect(), start);
    Ok(Array { values: array.values.pick(places), dims: sides })
}

fn gather(call: &Call<'_>) -> Result<Array, Why> {
    let (array, at) = (read(call, 0)?, call.parameter(1)?);
    let axis = call.int("axis", 0)?;
    let axis = dims::place(axis, array.dims.len()).map_err(|rank| dims::outside(axis, rank))?;
    let length = array.dims[axis];
    let at: Vec<usize> = dims::known(&at.integers(call.files, call.allowance)?)?
        .into_iter()
        .map(|i| dims::place(i, length).map_err(|n| format!("takes number {i} of {n}")))
        .collect::<Result<_, _>>()?;
    let (before, behind) = (&array.dims[..axis], &array.dims[axis + 1..]);
    let (rounds, each) = (before.iter().product::<usize>(), behind.iter().product::<usize>());
    call.allowance.work(rounds.saturating_mul(each).saturating_mul(at.len()))?;
    let at = &at;
    let places = (0..rounds)
        .flat_map(|round| at.iter().flat_map(move |i| (0..each).map(move |e| (round * length + i) * each + e)));
    let dims = [before, &call.parameter(1)?.dims, behind].concat();
    dims::check_rank(dims.len())?;
    Ok(Array { values: array.values.pick(places), dims })
}

fn expand(call: &Call<'_>) -> Result<Array, Why> {
    let array = read(call, 0)?;
    let (shape, _) = lengths(&call.known_list(1, "shape")?.ok_or("has no shape")?)?;
    repeated(call, &array, broadcast(&array.dims, &shape)?)
}

fn tile(call: &Call<'_>) -> Result<Array, Why> {
    let array = read(call, 0)?;
    let (times, _) = lengths(&call.known_list(1, "")?.ok_or("has no repeats")?)?;
    if times.len() != array.dims.len() {
        return Err("has not one repeat for each dimension".into());
    }
    // Every dimension is a round and a place in it, of which the rounds are repeated.
    let apart: Vec<usize> = array.dims.iter().flat_map(|&n| [1, n]).collect();
    let to: Vec<usize> = times.iter().zip(&array.dims).flat_map(|(&t, &n)| [t, n]).collect();
    let dims: Option<Vec<usize>> = times.iter().zip(&array.dims).map(|(&t, &n)| t.checked_mul(n)).collect();
    let array = repeated(call, &Array { dims: apart, values: array.values }, to)?;
    Ok(Array { dims: dims.ok_or("makes a tensor that is too large")?, ..array })
}

/// An array repeated along its dimensions of length 1.
fn repeated(call: &Call<'_>, array: &Array, to: Vec<usize>) -> Result<Array, Why> {
    call.allowance.work(tensor::count(&to).ok_or("makes a tensor that is too large")?)?;
    let aligned = dims::aligned(&array.dims, to.len());
    Ok(Array { values: array.values.pick(Sources::repeated(&aligned, &to)), dims: to })
}

/// Arrays repeated to one shape.
fn together(call: &Call<'_>, arrays: Vec<Array>) -> Result<(Vec<usize>, Vec<Values>), Why> {
    let mut to = Vec::new();
    for array in &arrays {
        to = broadcast(&to, &array.dims)?;
    }
    let values = arrays.iter().map(|a| Ok(repeated(call, a, to.clone())?.values)).collect::<Result<_, Why>>()?;
    Ok((to, values))
}

fn choose(call: &Call<'_>) -> Result<Array, Why> {
    let arrays = (0..3).map(|i| read(call, i)).collect::<Result<_, _>>()?;
    let (dims, mut values) = together(call, arrays)?;
    let (no, yes, condition) = (values.remove(2), values.remove(1), values.remove(0));
    let Values::Integers(condition) = condition else { return Err("has a condition with fractions".into()) };
    let values = match (yes, no) {
        (Values::Integers(yes), Values::Integers(no)) => {
            let pick = |(c, (y, n)): (&Integer, (Integer, Integer))| match c {
                Known(0) => n,
                Known(_) => y,
                _ if y == n => y,
                _ => Integer::Open,
            };
            Values::Integers(condition.iter().zip(yes.into_iter().zip(no)).map(pick).collect())
        }
        (yes, no) => {
            let condition = dims::known(&condition)?;
            let both = yes.into_floats().into_iter().zip(no.into_floats());
            Values::Floats(condition.iter().zip(both).map(|(&c, (y, n))| if c != 0 { y } else { n }).collect())
        }
    };
    Ok(Array { dims, values })
}

fn cast(call: &Call<'_>) -> Result<Array, Why> {
    let to = DataType::of(call.int("to", 0)?).map_err(|what| format!("makes {what}"))?;
    let Array { dims, values } = read(call, 0)?;
    let values = match values {
        values if to.is_real() => Values::Floats(values.into_floats()),
        Values::Integers(numbers) => {
            let wrap = |n: Integer| match n {
                Known(n) => Known(to.wrapped(n)),
                other => other,
            };
            Values::Integers(numbers.into_iter().map(wrap).collect())
        }
        Values::Floats(numbers) => {
            let whole = |n: f32| match to {
                _ if n.is_nan() => Integer::Open,
                DataType::Bool => Known(i64::from(n != 0.0)),
                _ => Known(to.wrapped(n as i64)),
            };
            Values::Integers(numbers.into_iter().map(whole).collect())
        }
    };
    Ok(Array { dims, values })
}

fn reduce(call: &Call<'_>) -> Result<Array, Why> {
    let array = read(call, 0)?;
    let of = Dims::plain(array.dims.clone());
    let (axes, keeps) = call.reduced(array.dims.len())?;
    let mut gone = vec![false; array.dims.len()];
    for &axis in &axes {
        if let Place::Side(side) = of.place(axis)? {
            gone[side] = true;
        }
    }
    // The axes that stay come first, and then all that becomes one number.
    let axes = (0..array.dims.len()).filter(|&i| !gone[i]).chain((0..array.dims.len()).filter(|&i| gone[i]));
    let order: Vec<usize> = axes.collect();
    let each: usize = (0..array.dims.len()).filter(|&i| gone[i]).map(|i| array.dims[i]).product();
    let values = array.values.pick(Sources::permuted(&array.dims, &order));
    if each == 0 {
        return Err("reduces nothing".into());
    }
    let values = match values {
        Values::Floats(numbers) => {
            Values::Floats(numbers.chunks(each).map(|n| reduced(&call.node.operator, n)).collect())
        }
        Values::Integers(numbers) => {
            let function = match call.node.operator.as_str() {
                "ReduceProd" => mul,
                "ReduceSum" => add,
                "ReduceMax" => largest,
                "ReduceMin" => smallest,
                _ => return Err("takes the mean of integers".into()),
            };
            let one = |n: &[Integer]| n[1..].iter().fold(n[0], |a, &b| function(a, b));
            Values::Integers(numbers.chunks(each).map(one).collect())
        }
    };
    let kept = array.dims.iter().zip(&gone).filter(|(_, gone)| keeps || !**gone);
    Ok(Array { dims: kept.map(|(&n, &gone)| if gone { 1 } else { n }).collect(), values })
}

fn reduced(operator: &str, numbers: &[f32]) -> f32 {
    match operator {
        "ReduceProd" => numbers.iter().product(),
        "ReduceSum" => numbers.iter().sum(),
        "ReduceMax" => numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        "ReduceMin" => numbers.iter().copied().fold(f32::INFINITY, f32::min),
        _ => numbers.iter().sum::<f32>() / numbers.len() as f32,
    }
}

fn split(call: &Call<'_>) -> Result<Vec<Constant>, Why> {
    let array = read(call, 0)?;
    let axis = Dims::plain(array.dims.clone()).side(call.int("axis", 0)?)?;
    let way = steps(&array.dims);
    let mut begin = 0;
    let part = |length: usize| {
        let mut sides = array.dims.clone();
        sides[axis] = length;
        let places =
            Sources::new(sides.iter().copied().zip(way.iter().copied()).collect(), begin * way[axis].unsigned_abs());
        begin += length;
        Ok(Constant::new(sides, array.values.pick(places), call.allowance)?)
    };
    call.parts(array.dims[axis])?.into_iter().take(call.node.outputs.len()).map(part).collect()
}

/// A function of one number, of integers and of real numbers.
struct One {
    integer: fn(i64) -> i64,
    float: fn(f32) -> f32,
}

fn one(operator: &str) -> Option<One> {
    let same = |n: i64| n;
    Some(match operator {
        "Neg" => One { integer: i64::wrapping_neg, float: |x| -x },
        "Abs" => One { integer: i64::wrapping_abs, float: f32::abs },
        "Not" => One { integer: |n| i64::from(n == 0), float: |_| f32::NAN },
        "Floor" => One { integer: same, float: f32::floor },
        "Ceil" => One { integer: same, float: f32::ceil },
        "Round" => One { integer: same, float: f32::round_ties_even },
        "Sqrt" => One { integer: same, float: f32::sqrt },
        "Exp" => One { integer: same, float: f32::exp },
        "Log" => One { integer: same, float: f32::ln },
        "Reciprocal" => One { integer: same, float: |x| 1.0 / x },
        _ => return None,
    })
}

fn map(call: &Call<'_>, function: One) -> Result<Array, Why> {
    let Array { dims, values } = read(call, 0)?;
    let values = match values {
        Values::Floats(numbers) => Values::Floats(numbers.into_iter().map(function.float).collect()),
        Values::Integers(numbers) => {
            let known = |n: Integer| if let Known(n) = n { Known((function.integer)(n)) } else { Integer::Open };
            Values::Integers(numbers.into_iter().map(known).collect())
        }
    };
    Ok(Array { dims, values })
}

/// A function of two numbers, of integers and of real numbers.
struct Two {
    integer: fn(Integer, Integer) -> Integer,
    float: Float,
}

/// What a function of two real numbers gives.
enum Float {
    Number(fn(f32, f32) -> f32),
    Truth(fn(f32, f32) -> bool),
}

fn two(operator: &str) -> Option<Two> {
    let number = |integer, float| Two { integer, float: Float::Number(float) };
    let truth = |integer, float| Two { integer, float: Float::Truth(float) };
    Some(match operator {
        "Add" | "Sum" => number(add, |a, b| a + b),
        "Sub" => number(sub, |a, b| a - b),
        "Mul" => number(mul, |a, b| a * b),
        "Div" => number(div, |a, b| a / b),
        "Mod" => number(
            |a, b| of_known(a, b, |a, b| Some(a.checked_rem_euclid(b)? + if b < 0 && a % b != 0 { b } else { 0 })),
            |a, b| a % b,
        ),
        "Pow" => number(|a, b| of_known(a, b, |a, b| a.checked_pow(u32::try_from(b).ok()?)), f32::powf),
        "Max" => number(largest, f32::max),
        "Min" => number(smallest, f32::min),
        "Equal" => truth(equal, |a, b| a == b),
        "Less" => truth(|a, b| compared(a, b, |a, b| a < b), |a, b| a < b),
        "Greater" => truth(|a, b| compared(a, b, |a, b| a > b), |a, b| a > b),
        "LessOrEqual" => truth(|a, b| compared(a, b, |a, b| a <= b), |a, b| a <= b),
        "GreaterOrEqual" => truth(|a, b| compared(a, b, |a, b| a >= b), |a, b| a >= b),
        "And" => truth(|a, b| compared(a, b, |a, b| a != 0 && b != 0), |_, _| false),
        "Or" => truth(|a, b| compared(a, b, |a, b| a != 0 || b != 0), |_, _| false),
        _ => return None,
    })
}

fn join(call: &Call<'_>, function: Two) -> Result<Array, Why> {
    let arrays: Vec<Array> = (0..call.inputs.len()).map(|i| read(call, i)).collect::<Result<_, _>>()?;
    let (dims, values) = together(call, arrays)?;
    let mut values = values.into_iter();
    let first = values.next().ok_or("has no inputs")?;
    let joined = values.fold(first, |a, b| match (a, b) {
        (Values::Integers(a), Values::Integers(b)) => {
            Values::Integers(a.into_iter().zip(b).map(|(a, b)| (function.integer)(a, b)).collect())
        }
        (a, b) => {
            let both = a.into_floats().into_iter().zip(b.into_floats());
            match function.float {
                Float::Number(function) => Values::Floats(both.map(|(a, b)| function(a, b)).collect()),
                Float::Truth(function) => {
                    Values::Integers(both.map(|(a, b)| Known(i64::from(function(a, b)))).collect())
                }
            }
        }
    });
    Ok(Array { dims, values: joined })
}

fn of_known(a: Integer, b: Integer, function: fn(i64, i64) -> Option<i64>) -> Integer {
    match (a, b) {
        (Known(a), Known(b)) => function(a, b).map_or(Integer::Open, Known),
        _ => Integer::Open,
    }
}

fn add(a: Integer, b: Integer) -> Integer {
    match (a, b) {
        (n, Known(0)) | (Known(0), n) => n,
        _ => of_known(a, b, i64::checked_add),
    }
}

fn sub(a: Integer, b: Integer) -> Integer {
    match (a, b) {
        (n, Known(0)) => n,
        (Integer::Batch, Integer::Batch) => Known(0),
        _ => of_known(a, b, i64::checked_sub),
    }
}

fn mul(a: Integer, b: Integer) -> Integer {
    match (a, b) {
        (n, Known(1)) | (Known(1), n) => n,
        (_, Known(0)) | (Known(0), _) => Known(0),
        _ => of_known(a, b, i64::checked_mul),
    }
}

fn div(a: Integer, b: Integer) -> Integer {
    match (a, b) {
        (n, Known(1)) => n,
        (Integer::Batch, Integer::Batch) => Known(1),
        _ => of_known(a, b, i64::checked_div),
    }
}

fn largest(a: Integer, b: Integer) -> Integer {
    match (a, b) {
        // There is one image at least.
        (Integer::Batch, Known(n)) | (Known(n), Integer::Batch) if n <= 1 => Integer::Batch,
        (a, b) if a == b => a,
        _ => of_known(a, b, |a, b| Some(a.max(b))),
    }
}

fn smallest(a: Integer, b: Integer) -> Integer {
    match (a, b) {
        (Integer::Batch, Known(n)) | (Known(n), Integer::Batch) if n <= 1 => Known(n),
        (a, b) if a == b => a,
        _ => of_known(a, b, |a, b| Some(a.min(b))),
    }
}

fn equal(a: Integer, b: Integer) -> Integer {
    match (a, b) {
        (Integer::Batch, Known(n)) | (Known(n), Integer::Batch) if n <= 0 => Known(0),
        (Integer::Batch, Integer::Batch) => Known(1),
        _ => compared(a, b, |a, b| a == b),
    }
}

fn compared(a: Integer, b: Integer, function: fn(i64, i64) -> bool) -> Integer {
    match (a, b) {
        (Known(a), Known(b)) => Known(i64::from(function(a, b))),
        _ => Integer::Open,
    }
}

/// Whether all inputs of a node are constants, as far as they are there.
pub(super) fn is_constant(call: &Call<'_>) -> bool {
    call.inputs.iter().flatten().all(|operand| matches!(operand, Operand::Constant(_)))
}
