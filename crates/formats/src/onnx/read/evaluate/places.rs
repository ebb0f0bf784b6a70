//! Constants whose numbers get other places: joined, cut, picked, repeated. Not here: what only changes their shape.

use super::{Array, count, lengths, picked, read};
use crate::onnx::read::call::Call;
use crate::onnx::read::constant::{Constant, Values};
use crate::onnx::read::dims::{self, Dims, Integer, Why, broadcast};
use crate::onnx::read::sources::{Sources, steps};
use Integer::Known;

/// Several arrays one after another, each of so many numbers at a time.
pub(super) fn concat<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
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

pub(super) fn slice<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
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

pub(super) fn split(call: &Call<'_>) -> Result<Vec<Constant>, Why> {
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

pub(super) fn gather<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
    let (array, at) = (read(call, 0)?, read(call, 1)?);
    let axis = call.int("axis", 0)?;
    let axis = dims::place(axis, array.dims.len()).map_err(|rank| dims::outside(axis, rank))?;
    let length = array.dims[axis];
    let Values::Integers(places) = &at.values else { return Err("has fractions where integers should be".into()) };
    let place = |n: &Integer| -> Result<usize, Why> {
        let n = n.known()?;
        dims::place(n, length).map_err(|length| format!("takes number {n} of {length}").into())
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

pub(super) fn expand<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
    let array = read(call, 0)?;
    let (shape, _) = lengths(&call.known_list(1, "shape")?.ok_or("has no shape")?)?;
    let to = broadcast(&array.dims, &shape)?;
    repeated(call, array, to)
}

pub(super) fn tile<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
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
pub(super) fn repeated<'a>(call: &Call<'a>, array: Array<'a>, to: Vec<usize>) -> Result<Array<'a>, Why> {
    if array.dims == to {
        return Ok(array);
    }
    call.allowance.work(count(&to)?)?;
    let places = places(&array, &to);
    picked(call, &array, to, places)
}

/// Where the numbers of an array are that is repeated to a shape.
pub(super) fn places(array: &Array<'_>, to: &[usize]) -> Sources {
    Sources::repeated(&dims::aligned(&array.dims, to.len()), to)
}

pub(super) fn choose<'a>(call: &Call<'a>) -> Result<Array<'a>, Why> {
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
