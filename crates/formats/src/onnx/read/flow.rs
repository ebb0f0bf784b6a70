//! Values that are computed from the picture, and the steps that compute them: a network in the making.
//!
//! A tensor of any rank lies row-major in a value `[c, h, w]` of its step. So a new shape costs nothing until somebody wants the
//! numbers as channels, rows and columns; and axes in another order are only remembered, because the shape that follows may be part
//! of the same [`Rearrange`]. Not here: what operators mean.

use std::borrow::Cow;
use std::collections::HashMap;

use cspnet_graph::{Axis, GraphError, Node, Op, Param, Rearrange, Shape};

use super::allowance::{Allowance, Loan};
use super::constant::Constant;
use super::dims::{Dims, Why};
use super::tensor;
use crate::text::shown;

/// Most steps.
const MAX_STEPS: usize = GraphError::MAX_NODES;

/// Memory for a step until it is a node of the graph, without its names: in the lists of both, that of nodes while it grows, and in
/// tables beside them.
const STEP: usize = 2 * size_of::<Step>() + 3 * size_of::<Node>() + 512;

/// Memory for each of its parameters, likewise.
const PARAMETER: usize = 2 * size_of::<Parameter>() + 3 * (size_of::<Param>() + size_of::<Constant>()) + 192;

/// Memory for each of its inputs.
const INPUT: usize = 4 * size_of::<usize>();

/// Memory for a value that is known in another shape, without its axes.
const SHAPED: usize = 4 * size_of::<((usize, Option<View>, Shape), usize)>();

/// How many times a name is in memory at once: in the graph, among the names that are taken, and on its way.
const NAMES: usize = 3;

/// A value that is computed from the picture.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// The step that computes it.
    pub step: usize,
    pub dims: Dims,
    view: Option<View>,
}

/// The numbers of a step seen as an array, its axes in another order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct View {
    dims: Vec<usize>,
    order: Vec<usize>,
}

/// An operation of the network.
#[derive(Debug)]
pub(super) struct Step {
    /// What it is to be called, without control characters.
    pub path: String,
    pub op: Op,
    pub inputs: Vec<usize>,
    pub params: Vec<Parameter>,
    pub shape: Shape,
    /// Whether it depends on something that the network takes.
    pub varies: bool,
}

/// Numbers of a step.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    /// What they are to be called; without control characters once they are a step's.
    pub name: String,
    /// Its numbers, row-major in the parameter's shape, whatever its own is.
    pub numbers: Constant,
}

/// The network so far.
#[derive(Debug)]
pub(super) struct Steps<'a> {
    list: Vec<Step>,
    /// Values in other shapes, once somebody asked for them.
    shaped: HashMap<(usize, Option<View>, Shape), usize>,
    /// The memory for all of it.
    held: Loan<'a>,
}

impl Flow {
    pub(super) fn new(step: usize, dims: Dims) -> Self {
        Self { step, dims, view: None }
    }

    /// The same numbers in the same order with other dimensions.
    pub(super) fn with_dims(&self, dims: Dims) -> Self {
        Self { dims, ..self.clone() }
    }

    /// What another step gives that does the same to each number, wherever it lies.
    pub(super) fn with_step(&self, step: usize) -> Self {
        Self { step, ..self.clone() }
    }

    /// Bytes that it has beside itself.
    pub(super) fn beside(&self) -> usize {
        size_of_val(&self.dims.sides[..]) + self.view.as_ref().map_or(0, View::bytes)
    }

    /// Whether the step's numbers lie in the order of this value's.
    pub(super) fn is_plain(&self) -> bool {
        self.view.is_none()
    }
}

impl View {
    fn bytes(&self) -> usize {
        size_of_val(&self.dims[..]) + size_of_val(&self.order[..])
    }
}

impl Step {
    /// Memory for it, as a step and as a node.
    fn bytes(&self) -> usize {
        let of_parameter = |p: &Parameter| PARAMETER + NAMES * p.name.len() + p.numbers.beside();
        let parameters: usize = self.params.iter().map(of_parameter).sum();
        STEP + NAMES * self.path.len() + INPUT * self.inputs.len() + parameters
    }
}

impl<'a> Steps<'a> {
    /// None so far, whose memory is taken from what is left.
    pub(super) fn new(allowance: &'a Allowance) -> Self {
        Self { list: Vec::new(), shaped: HashMap::new(), held: allowance.account() }
    }

    pub(super) fn list(&self) -> &[Step] {
        &self.list
    }

    /// The steps, and the memory for what becomes of them.
    pub(super) fn into_list(self) -> (Vec<Step>, Loan<'a>) {
        (self.list, self.held)
    }

    /// Takes memory for as long as the steps have theirs.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), String> {
        self.held.grow(bytes)
    }

    pub(super) fn get(&self, step: usize) -> &Step {
        &self.list[step]
    }

    pub(super) fn get_mut(&mut self, step: usize) -> &mut Step {
        &mut self.list[step]
    }

    /// Adds something that the network takes.
    pub(super) fn input(&mut self, path: &str, shape: Shape) -> Result<usize, Why> {
        let op = Op::Input { channels: shape[0] };
        self.add(Step {
            path: shown(path).into_owned(),
            op,
            inputs: Vec::new(),
            params: Vec::new(),
            shape,
            varies: true,
        })
    }

    fn add(&mut self, step: Step) -> Result<usize, Why> {
        if self.list.len() >= MAX_STEPS {
            return Err(format!("would be one of more than {MAX_STEPS} operations").into());
        }
        self.held.grow(step.bytes())?;
        self.list.push(step);
        Ok(self.list.len() - 1)
    }

    /// Adds a step; gives its number.
    pub(super) fn push(
        &mut self,
        path: &str,
        op: Op,
        inputs: &[usize],
        mut params: Vec<Parameter>,
    ) -> Result<usize, Why> {
        let shapes: Vec<Shape> = inputs.iter().map(|&i| self.list[i].shape).collect();
        let shape = op.output(&shapes).map_err(|why| format!("{} {why}", op.name()))?;
        if tensor::count(&shape).is_none_or(|count| !(1..=GraphError::MAX_ELEMENTS).contains(&count)) {
            return Err(format!("gives a value of the shape {shape:?}").into());
        }
        for parameter in &mut params {
            if let Cow::Owned(name) = shown(&parameter.name) {
                parameter.name = name;
            }
        }
        let varies = inputs.iter().any(|&i| self.list[i].varies);
        self.add(Step { path: shown(path).into_owned(), op, inputs: inputs.into(), params, shape, varies })
    }

    /// Adds a constant of a shape.
    pub(super) fn constant(&mut self, name: &str, shape: Shape, numbers: Constant) -> Result<usize, Why> {
        let params = vec![Parameter { name: name.into(), numbers }];
        self.push(name, Op::Constant { shape }, &[], params)
    }

    /// The step that gives a value's numbers in a shape.
    pub(super) fn shaped(&mut self, flow: &Flow, shape: Shape) -> Result<usize, Why> {
        let Flow { step, view, .. } = flow;
        if view.is_none() && self.list[*step].shape == shape {
            return Ok(*step);
        }
        let key = (*step, view.clone(), shape);
        if let Some(&known) = self.shaped.get(&key) {
            return Ok(known);
        }
        let base = &self.list[*step];
        let (from, rearrange) = match (view, &base.op) {
            (Some(View { dims, order }), _) => (*step, Rearrange { dims: dims.clone(), order: order.clone(), shape }),
            // Its numbers are in order; only their shape is another.
            (None, Op::Rearrange(before)) => (base.inputs[0], Rearrange { shape, ..before.clone() }),
            (None, _) => (*step, Rearrange { shape, ..Rearrange::reshape(base.shape) }),
        };
        let path = format!("{}.rearranged", base.path);
        let made = self.push(&path, Op::Rearrange(rearrange), &[from], Vec::new())?;
        self.held.grow(SHAPED + key.1.as_ref().map_or(0, View::bytes))?;
        self.shaped.insert(key, made);
        Ok(made)
    }

    /// The step that gives a value's numbers as channels, rows and columns, as its dimensions suggest.
    pub(super) fn planes(&mut self, flow: &Flow) -> Result<usize, Why> {
        self.shaped(flow, planes(&flow.dims.sides))
    }

    /// A value with its sides in another order.
    pub(super) fn permuted(&mut self, flow: &Flow, order: &[usize]) -> Result<Flow, Why> {
        let sides = &flow.dims.sides;
        let dims = flow.dims.with(order.iter().map(|&side| sides[side]).collect());
        let flow = self.plain(flow)?;
        // Sides of length 1 are nowhere.
        let is_long = |side: &&usize| sides[**side] != 1;
        let mut places = vec![None; sides.len()];
        let long: Vec<usize> = (0..sides.len()).filter(|side| is_long(&side)).collect();
        long.iter().enumerate().for_each(|(place, &side)| places[side] = Some(place));
        let order: Vec<usize> = order.iter().filter_map(|&side| places[side]).collect();
        if order.iter().copied().eq(0..order.len()) {
            return Ok(flow.with_dims(dims));
        }
        let view = View { dims: long.iter().map(|&side| sides[side]).collect(), order };
        Ok(Flow { step: flow.step, dims, view: Some(view) })
    }

    /// A value whose numbers lie in their order.
    pub(super) fn plain(&mut self, flow: &Flow) -> Result<Flow, Why> {
        match flow.is_plain() {
            true => Ok(flow.clone()),
            false => Ok(Flow::new(self.planes(flow)?, flow.dims.clone())),
        }
    }

    /// The steps on which those in `needed` depend, themselves included.
    pub(super) fn leading_to(&self, needed: &[usize]) -> Vec<bool> {
        let mut leads = vec![false; self.list.len()];
        needed.iter().for_each(|&step| leads[step] = true);
        for step in (0..self.list.len()).rev() {
            if leads[step] {
                self.list[step].inputs.iter().for_each(|&input| leads[input] = true);
            }
        }
        leads
    }
}

/// The shape in which a tensor of these sides is kept: up to three of them as they are, the last as columns, and of more the first
/// together as channels.
pub(super) fn planes(sides: &[usize]) -> Shape {
    match *sides {
        [] => [1; 3],
        [c] => [c, 1, 1],
        [c, w] => [c, 1, w],
        [ref c @ .., h, w] => [c.iter().product(), h, w],
    }
}

/// The shape of a tensor with one side as an axis of its own, and which axis that is.
pub(super) fn around(sides: &[usize], side: usize) -> (Shape, Axis) {
    match (sides.len(), side) {
        _ if sides[..side].iter().all(|&n| n == 1) => (channels_first(&sides[side..]), Axis::Channels),
        (2, _) => (planes(sides), Axis::Columns),
        (3, _) => (planes(sides), Axis::ALL[side]),
        _ => {
            let (before, after) = (&sides[..side], &sides[side + 1..]);
            ([before.iter().product(), sides[side], after.iter().product()], Axis::Rows)
        }
    }
}

/// The shape of a tensor with its first side as channels and its last as columns.
pub(super) fn channels_first(sides: &[usize]) -> Shape {
    match *sides {
        [c, ref h @ .., w] if !h.is_empty() => [c, h.iter().product(), w],
        _ => planes(sides),
    }
}

/// Shapes of tensors of one rank, some of whose sides are marked alike in all of them: neighbours that are marked alike are one axis.
/// `None` if that leaves more than three axes.
pub(super) fn together<const N: usize>(tensors: [&[usize]; N], marks: &[u8]) -> Option<[Shape; N]> {
    // Without a first side that none of them has.
    if marks.len() > 3 && tensors.iter().all(|sides| sides[0] == 1) {
        return together(tensors.map(|sides| &sides[1..]), &marks[1..]);
    }
    if marks.len() <= 3 {
        return Some(tensors.map(planes));
    }
    let mut axes: Vec<([usize; N], u8)> = Vec::new();
    for (side, &mark) in marks.iter().enumerate() {
        let lengths = tensors.map(|sides| sides[side]);
        // It may be part of either neighbour.
        if lengths == [1; N] {
            continue;
        }
        match axes.last_mut() {
            Some((last, before)) if *before == mark => (0..N).for_each(|i| last[i] *= lengths[i]),
            _ => axes.push((lengths, mark)),
        }
    }
    let shape = |i: usize| planes(&axes.iter().map(|(lengths, _)| lengths[i]).collect::<Vec<_>>());
    (axes.len() <= 3).then(|| std::array::from_fn(shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(sides: &[usize]) -> Dims {
        Dims { batched: true, sides: sides.into() }
    }

    #[test]
    fn shapes_cost_nothing_until_they_are_needed() {
        let allowance = Allowance::new();
        let mut steps = Steps::new(&allowance);
        let x = Flow::new(steps.input("x", [8, 3, 5]).unwrap(), images(&[8, 3, 5]));
        // ShuffleNet's: two groups of channels taken in turn.
        let apart = x.with_dims(images(&[2, 4, 3, 5]));
        let turned = steps.permuted(&apart, &[1, 0, 2, 3]).unwrap();
        let shuffled = turned.with_dims(images(&[8, 3, 5]));
        let planes = steps.planes(&shuffled).unwrap();
        assert_eq!(steps.planes(&shuffled).unwrap(), planes);
        assert_eq!(steps.list().len(), 2);
        let Op::Rearrange(rearrange) = &steps.get(planes).op else { panic!() };
        assert_eq!(rearrange.walk(), Rearrange::shuffle([8, 3, 5], 2).walk());
        // Another shape of what is rearranged is one rearrangement, too.
        let line = shuffled.with_dims(images(&[120]));
        let flat = steps.planes(&Flow::new(planes, line.dims)).unwrap();
        assert_eq!((steps.get(flat).inputs[0], steps.get(flat).shape), (0, [120, 1, 1]));
        assert_eq!(steps.leading_to(&[flat]), [true, false, true]);
    }

    #[test]
    fn sides_of_one_are_nowhere() {
        let allowance = Allowance::new();
        let mut steps = Steps::new(&allowance);
        let x = Flow::new(steps.input("x", [8, 1, 1]).unwrap(), images(&[8, 1, 1]));
        let turned = steps.permuted(&x, &[1, 2, 0]).unwrap();
        assert!(turned.is_plain() && turned.dims == images(&[1, 1, 8]));
        let y = Flow::new(steps.input("y", [2, 1, 3]).unwrap(), images(&[2, 1, 3]));
        let turned = steps.permuted(&y, &[1, 2, 0]).unwrap();
        assert!(!turned.is_plain() && turned.dims == images(&[1, 3, 2]));
    }

    #[test]
    fn tensors_of_many_sides_become_three_axes_where_neighbours_are_alike() {
        let (a, b) = ([2, 3, 4, 5], [2, 3, 1, 1]);
        assert_eq!(together([&a, &b], &[0, 0, 1, 1]), Some([[6, 1, 20], [6, 1, 1]]));
        assert_eq!(together([&a], &[0, 1, 0, 1]), None);
        // Sides of 1 part nothing.
        let (a1, b1) = ([2, 1, 3, 1, 4], [1, 1, 1, 1, 4]);
        assert_eq!(together([&a1, &b1], &[1, 0, 1, 0, 0]), Some([[6, 1, 4], [1, 1, 4]]));
        assert_eq!(together([&a[..2]], &[0, 1]), Some([[2, 1, 3]]));
        assert_eq!(around(&a, 1), ([2, 3, 20], Axis::Rows));
        assert_eq!(around(&a, 0), ([2, 12, 5], Axis::Channels));
        assert_eq!(around(&a[..2], 1), ([2, 1, 3], Axis::Columns));
    }
}
