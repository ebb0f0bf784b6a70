//! Nodes whose inputs are all constants, computed while the network is read: shape arithmetic, for the most part.
//!
//! What only changes the shape of a tensor does not read its numbers.

use super::allowance::Loan;
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

/// A tensor whose numbers have been read, with the memory that they take.
struct Array<'a> {
    dims: Vec<usize>,
    values: Values,
    loan: Loan<'a>,
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
        "Size" => {
            let count = Known(first(call)?.len() as i64);
            return Ok(Some(vec![Constant::few(Vec::new(), vec![count])]));
        }
        "Shape" => return shape_of(call, &Dims::plain(first(call)?.dims.clone())).map(|c| Some(vec![c])),
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
    Ok(Some(vec![array.kept()]))
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

/// Several arrays one after another, each of so many numbers at a time.
fn concat<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
    let first = call.parameter(0)?;
    let rank = first.dims.len();
    let axis = call.int("axis", 0)?;
    let axis = dims::place(axis, rank).map_err(|rank| dims::outside(axis, rank))?;
    let mut dims = first.dims.clone();
    dims[axis] = 0;
    let mut has_fractions = false;
    for place in 0..call.inputs.len() {
        let part = call.parameter(place)?;
        if part.dims.len() != rank || (0..rank).any(|i| i != axis && part.dims[i] != first.dims[i]) {
            return Err("joins tensors of different shapes".into());
        }
        dims[axis] += part.dims[axis];
        has_fractions |= part.is_real();
    }
    let (count, mut begin) = (count(&dims)?, 0);
    let mut parts = (0..call.inputs.len()).map(|place| {
        let part = read(call, place)?;
        let each = part.dims[axis..].iter().product::<usize>();
        begin += each;
        Ok::<_, Why>((part, begin - each))
    });
    let whole = dims[axis..].iter().product();
    let (values, loan) = match has_fractions {
        true => {
            let (loan, mut all) = (call.allowance.lend::<f32>(count)?, vec![0.0; count]);
            parts.try_for_each(|part| {
                let (Array { values, loan: _lent, .. }, begin) = part?;
                put(&mut all, whole, &values.into_floats(), begin);
                Ok::<_, Why>(())
            })?;
            (Values::Floats(all), loan)
        }
        false => {
            let (loan, mut all) = (call.allowance.lend::<Integer>(count)?, vec![Known(0); count]);
            parts.try_for_each(|part| {
                let (Array { values, loan: _lent, .. }, begin) = part?;
                if let Values::Integers(numbers) = values {
                    put(&mut all, whole, &numbers, begin);
                }
                Ok::<_, Why>(())
            })?;
            (Values::Integers(all), loan)
        }
    };
    Ok(Array { dims, values, loan })
}

/// Puts as many numbers as there are for it into every run of `whole`, from its place `begin` on.
fn put<T: Copy>(all: &mut [T], whole: usize, part: &[T], begin: usize) {
    if part.is_empty() {
        return;
    }
    let each = part.len() / (all.len() / whole);
    for (run, numbers) in all.chunks_exact_mut(whole).zip(part.chunks_exact(each)) {
        run[begin..][..each].copy_from_slice(numbers);
    }
}

fn slice<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
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
    picked(call, &array, sides, places)
}

fn gather<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
    let (array, at) = (read(call, 0)?, read(call, 1)?);
    let axis = call.int("axis", 0)?;
    let axis = dims::place(axis, array.dims.len()).map_err(|rank| dims::outside(axis, rank))?;
    let length = array.dims[axis];
    let Values::Integers(places) = &at.values else { return Err("has fractions where integers should be".into()) };
    let place = |n: &Integer| -> Result<usize, String> {
        let n = n.known()?;
        dims::place(n, length).map_err(|length| format!("takes number {n} of {length}"))
    };
    places.iter().try_for_each(|n| place(n).map(drop))?;
    let (before, behind) = (&array.dims[..axis], &array.dims[axis + 1..]);
    let (rounds, each) = (before.iter().product::<usize>(), behind.iter().product::<usize>());
    let dims = [before, &at.dims, behind].concat();
    dims::check_rank(dims.len())?;
    call.allowance.work(count(&dims)?)?;
    let places = (0..rounds).flat_map(|round| {
        let known = places.iter().filter_map(|n| place(n).ok());
        known.flat_map(move |i| (0..each).map(move |e| (round * length + i) * each + e))
    });
    picked(call, &array, dims, places)
}

fn expand<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
    let array = read(call, 0)?;
    let (shape, _) = lengths(&call.known_list(1, "shape")?.ok_or("has no shape")?)?;
    let to = broadcast(&array.dims, &shape)?;
    repeated(call, array, to)
}

fn tile<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
    let array = read(call, 0)?;
    let (times, _) = lengths(&call.known_list(1, "")?.ok_or("has no repeats")?)?;
    if times.len() != array.dims.len() {
        return Err("has not one repeat for each dimension".into());
    }
    // Every dimension is a round and a place in it, of which the rounds are repeated.
    let apart: Vec<usize> = array.dims.iter().flat_map(|&n| [1, n]).collect();
    let to: Vec<usize> = times.iter().zip(&array.dims).flat_map(|(&t, &n)| [t, n]).collect();
    let dims: Option<Vec<usize>> = times.iter().zip(&array.dims).map(|(&t, &n)| t.checked_mul(n)).collect();
    let array = repeated(call, Array { dims: apart, ..array }, to)?;
    Ok(Array { dims: dims.ok_or("makes a tensor that is too large")?, ..array })
}

/// An array repeated along its dimensions of length 1.
fn repeated<'a>(call: &Call<'a>, array: Array<'a>, to: Vec<usize>) -> Result<Array<'a>, Why> {
    if array.dims == to {
        return Ok(array);
    }
    call.allowance.work(count(&to)?)?;
    let places = places(&array, &to);
    picked(call, &array, to, places)
}

/// Where the numbers of an array are that is repeated to a shape.
fn places(array: &Array<'_>, to: &[usize]) -> Sources {
    Sources::repeated(&dims::aligned(&array.dims, to.len()), to)
}

fn choose<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
    let [condition, yes, no] = [0, 1, 2].map(|place| read(call, place));
    let (condition, yes, no) = (condition?, yes?, no?);
    let dims = broadcast(&broadcast(&condition.dims, &yes.dims)?, &no.dims)?;
    let count = count(&dims)?;
    call.allowance.work(count.saturating_mul(3))?;
    let Values::Integers(conditions) = &condition.values else { return Err("has a condition with fractions".into()) };
    let sources = places(&condition, &dims).zip(places(&yes, &dims).zip(places(&no, &dims)));
    let (values, loan) = match (&yes.values, &no.values) {
        (Values::Integers(yes), Values::Integers(no)) => {
            let loan = call.allowance.lend::<Integer>(count)?;
            let pick = |(c, (y, n)): (usize, (usize, usize))| match conditions[c] {
                Known(0) => no[n],
                Known(_) => yes[y],
                _ if yes[y] == no[n] => yes[y],
                _ => Integer::Open,
            };
            (Values::Integers(sources.map(pick).collect()), loan)
        }
        (yes, no) => {
            conditions.iter().try_for_each(|c| c.known().map(drop))?;
            let loan = call.allowance.lend::<f32>(count)?;
            let pick = |(c, (y, n)): (usize, (usize, usize))| match conditions[c] {
                Known(0) => no.real(n),
                _ => yes.real(y),
            };
            (Values::Floats(sources.map(pick).collect()), loan)
        }
    };
    Ok(Array { dims, values, loan })
}

fn cast<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
    let to = DataType::of(call.int("to", 0)?).map_err(|what| format!("makes {what}"))?;
    let Array { dims, values, mut loan } = read(call, 0)?;
    let values = match values {
        values if to.is_real() => Values::Floats(values.into_floats()),
        Values::Integers(mut numbers) => {
            for number in &mut numbers {
                if let Known(n) = number {
                    *n = to.wrapped(*n);
                }
            }
            Values::Integers(numbers)
        }
        Values::Floats(numbers) => {
            let whole = |&n: &f32| match to {
                _ if n.is_nan() => Integer::Open,
                DataType::Bool => Known(i64::from(n != 0.0)),
                _ => Known(to.wrapped(n as i64)),
            };
            // Until they are dropped, both are there.
            loan.grow(numbers.len() * size_of::<Integer>())?;
            Values::Integers(numbers.iter().map(whole).collect())
        }
    };
    Ok(Array { dims, values, loan })
}

fn reduce<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
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
    if each == 0 {
        return Err("reduces nothing".into());
    }
    let ordered = order.iter().map(|&axis| array.dims[axis]).collect();
    let of = picked(call, &array, ordered, Sources::permuted(&array.dims, &order))?;
    let kept = array.dims.iter().zip(&gone).filter(|(_, gone)| keeps || !**gone);
    let dims: Vec<usize> = kept.map(|(&n, &gone)| if gone { 1 } else { n }).collect();
    drop(array);
    let (values, loan) = match &of.values {
        Values::Floats(numbers) => {
            let loan = call.allowance.lend::<f32>(numbers.len() / each)?;
            (Values::Floats(numbers.chunks(each).map(|n| reduced(&call.node.operator, n)).collect()), loan)
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
            let loan = call.allowance.lend::<Integer>(numbers.len() / each)?;
            (Values::Integers(numbers.chunks(each).map(one).collect()), loan)
        }
    };
    Ok(Array { dims, values, loan })
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
        Ok(picked(call, &array, sides, places)?.kept())
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

fn map<'a>(call: &Call<'a>, function: One) -> Result<Array<'a>, Why> {
    let mut array = read(call, 0)?;
    match &mut array.values {
        Values::Floats(numbers) => numbers.iter_mut().for_each(|n| *n = (function.float)(*n)),
        Values::Integers(numbers) => numbers.iter_mut().for_each(|n| {
            *n = if let Known(n) = *n { Known((function.integer)(n)) } else { Integer::Open };
        }),
    }
    Ok(array)
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

fn join<'a>(call: &Call<'a>, function: Two) -> Result<Array<'a>, Why> {
    let mut to = Vec::new();
    for place in 0..call.inputs.len() {
        to = broadcast(&to, &call.parameter(place)?.dims)?;
    }
    let count = count(&to)?;
    let mut joined = repeated(call, read(call, 0)?, to.clone())?;
    for place in 1..call.inputs.len() {
        let other = read(call, place)?;
        call.allowance.work(count)?;
        joined = function.applied(call, joined, &other)?;
    }
    Ok(joined)
}

impl Two {
    /// What it gives of an array and another one, which is repeated to the same shape.
    fn applied<'a>(&self, call: &Call<'a>, a: Array<'a>, b: &Array<'_>) -> Result<Array<'a>, Why> {
        let sources = places(b, &a.dims);
        let Array { dims, values, loan } = a;
        let (values, loan) = match (values, &b.values) {
            (Values::Integers(mut a), Values::Integers(b)) => {
                a.iter_mut().zip(sources).for_each(|(a, i)| *a = (self.integer)(*a, b[i]));
                (Values::Integers(a), loan)
            }
            (a, b) => {
                let mut a = a.into_floats();
                match self.float {
                    Float::Number(function) => {
                        a.iter_mut().zip(sources).for_each(|(a, i)| *a = function(*a, b.real(i)));
                        (Values::Floats(a), loan)
                    }
                    Float::Truth(function) => {
                        let truths = call.allowance.lend::<Integer>(a.len())?;
                        let truth = |(&a, i): (&f32, usize)| Known(i64::from(function(a, b.real(i))));
                        (Values::Integers(a.iter().zip(sources).map(truth).collect()), truths)
                    }
                }
            }
        };
        Ok(Array { dims, values, loan })
    }
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
