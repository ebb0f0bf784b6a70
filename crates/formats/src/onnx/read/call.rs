//! A node with what it is given: its attributes, and the inputs into which later versions have made some of them.

use super::allowance::Allowance;
use super::constant::{Constant, Files, check_list};
use super::dims::{self, Dims, Integer, Place, Run, Why};
use super::flow::Flow;
use super::messages::{Attribute, Node, Value};
use crate::text::shown;

/// What a node is given.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Constant(Constant),
    Flow(Flow),
}

/// What a node gives.
pub(super) type Given = Result<Vec<Operand>, Why>;

/// A node with what it is given.
pub(super) struct Call<'a> {
    pub node: &'a Node,
    /// Version of the set of operators.
    pub opset: i64,
    /// `None` where an input is left out.
    pub inputs: Vec<Option<&'a Operand>>,
    pub files: &'a Files<'a>,
    pub allowance: &'a Allowance,
    /// The number of images, where the file says it.
    pub images: Integer,
}

impl Operand {
    /// Bytes that it has beside itself, without the numbers of a constant.
    pub(super) fn beside(&self) -> usize {
        match self {
            Self::Constant(constant) => constant.beside(),
            Self::Flow(flow) => flow.beside(),
        }
    }
}

impl<'a> Call<'a> {
    /// What the node is called: its name, or that of what it gives.
    pub(super) fn path(&self) -> String {
        super::called(self.node).to_owned()
    }

    /// The value of an attribute, if it is there.
    fn attribute(&self, name: &str) -> Option<&'a Value> {
        self.node.attributes.iter().find(|a: &&Attribute| a.name == name).map(|a| &a.value)
    }

    /// Whether the node has an attribute.
    pub(super) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64, String> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Value::Integer(value)) => Ok(*value),
            Some(_) => Err(wrong(name)),
        }
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        Ok(self.int(name, default.into())? != 0)
    }

    /// A real number. Files have it in single precision: what is meant is the shortest decimal that gives it.
    pub(super) fn float(&self, name: &str, default: f64) -> Result<f64, String> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Value::Float(value)) => Ok(decimal(*value)),
            Some(_) => Err(wrong(name)),
        }
    }

    pub(super) fn text(&self, name: &str, default: &'static str) -> Result<&'a str, String> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Value::Text(value)) => Ok(value),
            Some(_) => Err(wrong(name)),
        }
    }

    pub(super) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, String> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Value::Integers(values)) => check_list(values.len()).map(|()| Some(&values[..])),
            // An empty list has no type of its own.
            Some(Value::Floats(values)) if values.is_empty() => Ok(Some(&[])),
            Some(_) => Err(wrong(name)),
        }
    }

    pub(super) fn floats(&self, name: &str) -> Result<Option<&'a [f32]>, String> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Value::Floats(values)) => check_list(values.len()).map(|()| Some(&values[..])),
            Some(Value::Integers(values)) if values.is_empty() => Ok(Some(&[])),
            Some(_) => Err(wrong(name)),
        }
    }

    /// A tensor that is an attribute.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<Constant>, String> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Value::Tensor(tensor)) => {
                Constant::of(tensor, None).map(Some).map_err(|why| format!("has a tensor that {why}"))
            }
            Some(_) => Err(wrong(name)),
        }
    }

    /// Why an attribute cannot be read, if there is such a one.
    pub(super) fn unreadable(&self) -> Option<String> {
        self.node.attributes.iter().find_map(|a| match a.value {
            Value::Other(what) => Some(format!("has {what} as its `{}`", shown(&a.name))),
            _ => None,
        })
    }

    /// An input, if it is there.
    pub(super) fn input(&self, place: usize) -> Option<&Operand> {
        self.inputs.get(place).copied().flatten()
    }

    /// An input that there must be.
    pub(super) fn needed(&self, place: usize) -> Result<&Operand, String> {
        self.input(place).ok_or_else(|| format!("has no input {place}"))
    }

    /// An input that is computed from the picture.
    pub(super) fn flow(&self, place: usize) -> Result<&Flow, String> {
        match self.needed(place)? {
            Operand::Flow(flow) => Ok(flow),
            Operand::Constant(_) => Err(format!("has a constant as its input {place}")),
        }
    }

    /// An input that is a constant, if it is there.
    pub(super) fn constant(&self, place: usize) -> Result<Option<&Constant>, String> {
        match self.input(place) {
            None => Ok(None),
            Some(Operand::Constant(constant)) => Ok(Some(constant)),
            Some(Operand::Flow(_)) => {
                Err(format!("computes its input {place} from the picture, which must be a constant"))
            }
        }
    }

    /// A constant that there must be.
    pub(super) fn parameter(&self, place: usize) -> Result<&Constant, String> {
        self.constant(place)?.ok_or_else(|| format!("has no input {place}"))
    }

    /// Integers that are an input today, and were an attribute.
    pub(super) fn list(&self, place: usize, name: &str) -> Result<Option<Vec<Integer>>, String> {
        match self.constant(place)? {
            Some(constant) => constant.integers(self.files, self.allowance).map(Some),
            None => Ok(self.ints(name)?.map(|values| values.iter().map(|&n| Integer::Known(n)).collect())),
        }
    }

    /// The same, where all must be known.
    pub(super) fn known_list(&self, place: usize, name: &str) -> Result<Option<Vec<i64>>, Why> {
        self.list(place, name)?.map(|list| dims::known(&list)).transpose()
    }

    /// Real numbers that are an input today, and were an attribute.
    pub(super) fn reals(&self, place: usize, name: &str) -> Result<Option<Vec<f32>>, String> {
        match self.constant(place)? {
            Some(constant) => constant.floats(self.files, self.allowance).map(Some),
            None => Ok(self.floats(name)?.map(<[f32]>::to_vec)),
        }
    }

    /// One real number that is an input today, and was an attribute.
    pub(super) fn real(&self, place: usize, name: &str) -> Result<Option<f32>, String> {
        match self.constant(place)? {
            Some(constant) => match constant.len() {
                1 => Ok(constant.floats(self.files, self.allowance)?.first().copied()),
                len => Err(format!("has {len} numbers as its input {place} instead of one")),
            },
            None => match self.attribute(name) {
                None => Ok(None),
                Some(Value::Float(value)) => Ok(Some(*value)),
                Some(_) => Err(wrong(name)),
            },
        }
    }

    /// What `Slice` takes of every dimension it names.
    pub(super) fn runs(&self, of: &Dims) -> Result<Vec<(usize, Run)>, Why> {
        let starts = self.known_list(1, "starts")?.ok_or("has no starts")?;
        let ends = self.known_list(2, "ends")?.ok_or("has no ends")?;
        let axes = self.known_list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self.known_list(4, "steps")?.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            return Err("has lists of different lengths".into());
        }
        let mut runs: Vec<(usize, Run)> = Vec::new();
        for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            match of.place(axis)? {
                Place::Side(side) if runs.iter().any(|&(known, _)| known == side) => {
                    return Err(format!("names dimension {axis} twice").into());
                }
                Place::Side(side) => runs.push((side, dims::run(start, end, step, of.sides[side])?)),
                // All images, however many there are.
                Place::Batch if start == 0 && step == 1 && self.takes_all_images(end) => {}
                Place::Batch => return Err(Why::Batch),
            }
        }
        Ok(runs)
    }

    fn takes_all_images(&self, end: i64) -> bool {
        match self.images {
            Integer::Known(images) => end >= images,
            Integer::Batch | Integer::Open => end >= i64::from(i32::MAX),
        }
    }

    /// Lengths of what `Split` makes of a dimension of `length`.
    pub(super) fn parts(&self, length: usize) -> Result<Vec<usize>, Why> {
        let outputs = self.node.outputs.len();
        let lengths: Vec<usize> = match self.known_list(1, "split")? {
            Some(split) => split
                .iter()
                .map(|&n| usize::try_from(n).map_err(|_| format!("makes a part of {n}")))
                .collect::<Result<_, String>>()?,
            None => {
                let parts = usize::try_from(self.int("num_outputs", outputs as i64)?).unwrap_or(0);
                if parts == 0 || parts > outputs.max(1) {
                    return Err(format!("makes {parts} parts for {outputs} outputs").into());
                }
                let each = length.div_ceil(parts);
                (0..parts).map(|i| each.min(length.saturating_sub(i * each))).collect()
            }
        };
        match lengths.iter().try_fold(0_usize, |sum, &n| sum.checked_add(n)) {
            Some(sum) if sum == length && lengths.len() >= outputs => Ok(lengths),
            _ => Err(format!("makes parts of {lengths:?} of {length}").into()),
        }
    }

    /// The order of axes of `Transpose`, of which there are `rank`.
    pub(super) fn order(&self, rank: usize) -> Result<Vec<usize>, String> {
        let Some(order) = self.ints("perm")? else { return Ok((0..rank).rev().collect()) };
        let order: Vec<usize> = order
            .iter()
            .map(|&axis| dims::place(axis, rank).map_err(|rank| dims::outside(axis, rank)))
            .collect::<Result<_, _>>()?;
        let mut sorted = order.clone();
        sorted.sort_unstable();
        match sorted.into_iter().eq(0..rank) {
            true => Ok(order),
            false => Err(format!("orders {rank} dimensions by {order:?}")),
        }
    }

    /// The axes of a reduction, and whether they stay with length 1. Without axes it means all, or none if that is asked for.
    pub(super) fn reduced(&self, rank: usize) -> Result<(Vec<i64>, bool), Why> {
        let axes = self.known_list(1, "axes")?.filter(|axes| !axes.is_empty());
        let none = self.flag("noop_with_empty_axes", false)?;
        let axes = axes.unwrap_or_else(|| if none { Vec::new() } else { (0..rank as i64).collect() });
        Ok((axes, self.flag("keepdims", true)?))
    }
}

fn wrong(name: &str) -> String {
    format!("has an attribute `{name}` of another type")
}

/// The shortest decimal that gives a number in single precision, in double precision.
pub(super) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}
