//! Functions of the numbers of constants: of one, of two, of all along some axes. Integers may be known only when the network runs.

use super::places::{places, repeated};
use super::{Array, count, picked, read};
use crate::onnx::read::call::Call;
use crate::onnx::read::constant::Values;
use crate::onnx::read::data_type::DataType;
use crate::onnx::read::dims::{Dims, Integer, Place, Why, broadcast};
use crate::onnx::read::sources::Sources;
use Integer::Known;

/// The first input as numbers of a type.
pub(super) fn converted<'a>(call: &Call<'a>, to: DataType) -> Result<Array<'a>, Why> {
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

pub(super) fn reduce<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
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

/// A function of one number, of integers and of real numbers.
pub(super) struct One {
    integer: fn(i64) -> i64,
    float: fn(f32) -> f32,
}

pub(super) fn one(operator: &str) -> Option<One> {
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
        // What is no number stays none.
        "Relu" => One { integer: |n| n.max(0), float: |x| if x < 0.0 { 0.0 } else { x } },
        "Sigmoid" => One { integer: same, float: |x| 1.0 / (1.0 + (-x).exp()) },
        "Tanh" => One { integer: same, float: f32::tanh },
        _ => return None,
    })
}

pub(super) fn map<'a>(call: &Call<'a>, function: One) -> Result<Array<'a>, Why> {
    let mut array = read(call, 0)?;
    match &mut array.values {
        Values::Floats(numbers) => numbers.iter_mut().for_each(|n| *n = (function.float)(*n)),
        Values::Integers(numbers) => numbers.iter_mut().for_each(|n| {
            *n = if let Known(n) = *n { Known((function.integer)(n)) } else { Integer::Open };
        }),
    }
    Ok(array)
}

/// The first input within bounds, of which each may be left out. Where nothing is left between them, the upper one is given.
pub(super) fn clip<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
    let mut array = read(call, 0)?;
    match &mut array.values {
        Values::Floats(numbers) => {
            let (min, max) = (call.real(1, "min")?, call.real(2, "max")?);
            for n in numbers {
                *n = min.map_or(*n, |min| if *n < min { min } else { *n });
                *n = max.map_or(*n, |max| if *n > max { max } else { *n });
            }
        }
        Values::Integers(numbers) => {
            let (min, max) = (bound(call, 1)?, bound(call, 2)?);
            for n in numbers {
                *n = min.map_or(*n, |min| largest(*n, min));
                *n = max.map_or(*n, |max| smallest(*n, max));
            }
        }
    }
    Ok(array)
}

/// A bound of integers, if there is one.
fn bound(call: &Call<'_>, place: usize) -> Result<Option<Integer>, String> {
    match call.list(place, "")?.as_deref() {
        None => Ok(None),
        Some(&[bound]) => Ok(Some(bound)),
        Some(list) => Err(format!("has {} numbers as its input {place} instead of one", list.len())),
    }
}

/// A function of two numbers, of integers and of real numbers.
pub(super) struct Two {
    integer: fn(Integer, Integer) -> Integer,
    float: Float,
}

/// What a function of two real numbers gives.
enum Float {
    Number(fn(f32, f32) -> f32),
    Truth(fn(f32, f32) -> bool),
}

pub(super) fn two(operator: &str) -> Option<Two> {
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

pub(super) fn join<'a>(call: &Call<'a>, function: Two) -> Result<Array<'a>, Why> {
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
