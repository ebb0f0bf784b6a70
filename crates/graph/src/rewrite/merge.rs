//! Two matrices in a row, made one.

use std::array;

use super::copying::Copying;
use super::is_pointwise;
use crate::graph::{Graph, ValueId};
use crate::lazy::{LazyTensor, LazyWeights, Pieces, ReadError};
use crate::op::Op;

/// A cross-stage part that two linear 1 x 1 convolutions lead around a stage's body.
struct Cross {
    /// The convolution whose output is split.
    expand: ValueId,
    /// The part that goes straight across: its first channel and how many.
    across: (usize, usize),
    /// The slice of it, and the slice that goes through the body.
    slices: [ValueId; 2],
    /// Where both meet again.
    concat: ValueId,
    /// The convolution that reads them.
    transition: ValueId,
}

/// Merges the two 1 x 1 convolutions that a cross-stage part goes through where nothing lies between them but the split and the
/// concatenation (rewrite R5), if that takes fewer MACs. Values in `kept` stay as they are.
///
/// Proof: with `xs = Es x + e` across and `xb` through the body, `[Ts Tb] [xs; xb] + t = (Ts Es) x + Tb xb + (t + Ts e)`. Computed
/// in double precision and rounded once.
///
/// Fires on the stages of CSPResNet-50 and CSPResNeXt-50, whose expanding convolution has no activation: 5.9 % and 7.5 % of their
/// MACs; the cross-stage part itself is never computed.
pub fn merge_linear_pair<'a>(graph: &Graph, weights: &LazyWeights<'a>, kept: &[ValueId]) -> (Graph, LazyWeights<'a>) {
    let found: Vec<Cross> = (0..graph.nodes().len()).filter_map(|t| Cross::read_by(graph, t, kept)).collect();
    let mut copy = Copying::new(graph, weights);
    for id in 0..graph.nodes().len() {
        let role = found.iter().find_map(|c| Some((c, c.role(id)?)));
        match role {
            Some((c, Part::Expand)) => copy.push_rest(c),
            Some((_, Part::Slices)) => {}
            Some((c, Part::Concat)) => copy.push_meeting(c),
            Some((c, Part::Transition)) => copy.push_product(c),
            None => copy.push(id),
        }
    }
    copy.finish()
}

/// What a node is to a cross-stage part.
enum Part {
    Expand,
    Slices,
    Concat,
    Transition,
}

impl Cross {
    /// The cross-stage part that `transition` reads, if it can be merged.
    fn read_by(graph: &Graph, transition: ValueId, kept: &[ValueId]) -> Option<Self> {
        let readers = graph.consumers();
        let only = |id: ValueId, reader: ValueId| readers[id] == [reader] && !kept.contains(&id);
        let concat = *graph.node(transition).inputs.first()?;
        if !is_pointwise(graph, transition) || graph.node(concat).op != Op::Concat || !only(concat, transition) {
            return None;
        }
        graph.node(concat).inputs.iter().find_map(|&slice| {
            let Op::Slice { start, len } = graph.node(slice).op else { return None };
            let expand = graph.node(slice).inputs[0];
            let &[a, b] = &readers[expand][..] else { return None };
            let other = if a == slice { b } else { a };
            let Op::Slice { start: from, len: rest } = graph.node(other).op else { return None };
            let parts = if start < from { [(start, len), (from, rest)] } else { [(from, rest), (start, len)] };
            let [(first, width), (second, last)] = parts;
            let all = first == 0 && second == width && second + last == graph.channels(expand);
            let cross = Self { expand, across: (start, len), slices: [slice, other], concat, transition };
            let fits = all && a != b && only(slice, concat) && !kept.contains(&expand) && is_pointwise(graph, expand);
            (fits && cross.saves(graph)).then_some(cross)
        })
    }

    /// Whether one matrix has fewer numbers than two.
    fn saves(&self, graph: &Graph) -> bool {
        let [input, out] = [graph.node(self.expand).inputs[0], self.transition].map(|v| graph.channels(v));
        let across = self.across.1;
        input * out < across * (input + out)
    }

    fn role(&self, id: ValueId) -> Option<Part> {
        match id {
            _ if id == self.expand => Some(Part::Expand),
            _ if self.slices.contains(&id) => Some(Part::Slices),
            _ if id == self.concat => Some(Part::Concat),
            _ if id == self.transition => Some(Part::Transition),
            _ => None,
        }
    }
}

/// A matrix `[rows, columns]` and a constant for each row, not yet read.
#[derive(Clone)]
struct Linear<'a> {
    weight: LazyTensor<'a>,
    bias: Option<LazyTensor<'a>>,
    rows: usize,
}

impl<'a> Linear<'a> {
    fn of(graph: &Graph, weights: &LazyWeights<'a>, conv: ValueId) -> Self {
        let params = &graph.node(conv).params;
        let tensor = |&p: &usize| weights.get(p).clone();
        Self { weight: tensor(&params[0]), bias: params.get(1).map(tensor), rows: graph.channels(conv) }
    }

    fn columns(&self) -> usize {
        self.weight.len() / self.rows
    }

    fn weight(&self) -> Result<Vec<f64>, ReadError> {
        Ok(double(self.weight.to_vec()?))
    }

    fn bias(&self) -> Result<Vec<f64>, ReadError> {
        self.bias.as_ref().map_or_else(|| Ok(vec![0.0; self.rows]), |b| Ok(double(b.to_vec()?)))
    }
}

fn double(numbers: Vec<f32>) -> Vec<f64> {
    numbers.into_iter().map(f64::from).collect()
}

fn single(numbers: impl IntoIterator<Item = f64>) -> Vec<f32> {
    numbers.into_iter().map(|x| x as f32).collect()
}

/// Two matrices in a row: some rows of the first, from `start` on, are what columns `before..before + len` of the second read.
#[derive(Clone)]
struct Product<'a> {
    first: Linear<'a>,
    second: Linear<'a>,
    start: usize,
    before: usize,
    len: usize,
}

impl<'a> Product<'a> {
    /// Columns of the product.
    fn columns(&self) -> usize {
        self.second.columns() - self.len + self.first.columns()
    }

    /// The product's rows, which are computed when they are asked for.
    fn open(&self) -> Result<Pieces<'a>, ReadError> {
        let (first, second) = (self.tiles(&self.first.weight.to_vec()?), self.second.weight.open()?);
        let (product, columns) = (self.clone(), self.columns());
        Ok(Box::new(move |begin, out| {
            let rows = begin / columns..(begin + out.len()).div_ceil(columns);
            let mut old = vec![0.0; rows.len() * product.second.columns()];
            second(rows.start * product.second.columns(), &mut old)?;
            let numbers = product.rows(&first, &old);
            out.copy_from_slice(&numbers[begin - rows.start * columns..][..out.len()]);
            Ok(())
        }))
    }

    /// The first matrix's rows that are multiplied, a few columns after another, with zeros beyond the last.
    fn tiles(&self, first: &[f32]) -> Vec<[f32; TILE]> {
        let columns = self.first.columns();
        let rows = &first[self.start * columns..][..self.len * columns];
        let tile = |row: &[f32], column| array::from_fn(|c| row.get(column + c).copied().unwrap_or(0.0));
        let tiles = (0..columns).step_by(TILE);
        tiles.flat_map(|column| rows.chunks_exact(columns).map(move |row| tile(row, column))).collect()
    }

    /// What becomes of some rows of the second matrix.
    fn rows(&self, first: &[[f32; TILE]], second: &[f32]) -> Vec<f32> {
        let (from, to, columns) = (self.second.columns(), self.columns(), self.first.columns());
        let mut rows = vec![0.0; second.len() / from * to];
        for (new, old) in rows.chunks_exact_mut(to).zip(second.chunks_exact(from)) {
            new[..self.before].copy_from_slice(&old[..self.before]);
            new[self.before + columns..].copy_from_slice(&old[self.before + self.len..]);
        }
        for (new, old) in rows.chunks_mut(TILE * to).zip(second.chunks(TILE * from)) {
            // The last of fewer rows stands for those that are missing.
            let last = old.len() / from - 1;
            let factors = array::from_fn(|r| &old[r.min(last) * from + self.before..][..self.len]);
            for (tile, column) in first.chunks_exact(self.len).zip((0..columns).step_by(TILE)) {
                for (new, sums) in new.chunks_exact_mut(to).zip(products(factors, tile)) {
                    let new = &mut new[self.before..][..columns][column..];
                    new.iter_mut().zip(sums).for_each(|(w, sum)| *w = sum as f32);
                }
            }
        }
        rows
    }

    fn bias(&self) -> Result<Vec<f32>, ReadError> {
        let (first, second) = (self.first.bias()?, self.second.weight()?);
        let mut bias = self.second.bias()?;
        for (constant, old) in bias.iter_mut().zip(second.chunks_exact(self.second.columns())) {
            for (t, b) in old[self.before..][..self.len].iter().zip(&first[self.start..]) {
                *constant += t * b;
            }
        }
        Ok(single(bias))
    }
}

/// Rows and columns of a product that are summed at once, in registers.
const TILE: usize = 4;

/// Rows of factors, each times the rows of a tile, added up.
fn products(factors: [&[f32]; TILE], tile: &[[f32; TILE]]) -> [[f64; TILE]; TILE] {
    let factors = factors.map(|row| &row[..tile.len()]);
    let mut sums = [[0.0; TILE]; TILE];
    for (i, numbers) in tile.iter().enumerate() {
        for r in 0..TILE {
            for c in 0..TILE {
                sums[r][c] += f64::from(factors[r][i]) * f64::from(numbers[c]);
            }
        }
    }
    sums
}

impl Copying<'_, '_> {
    /// The expanding convolution without the rows that go across.
    fn push_rest(&mut self, c: &Cross) {
        let expand = Linear::of(self.graph, self.weights, c.expand);
        let (columns, (start, len)) = (expand.columns(), c.across);
        let rest = move |mut numbers: Vec<f32>, row: usize| {
            numbers.drain(row * start..row * (start + len));
            numbers
        };
        let rows = expand.rows - len;
        let of_weight = expand.clone();
        let weight = LazyTensor::computed(rows * columns, move || Ok(rest(of_weight.weight.to_vec()?, columns)));
        let bias = LazyTensor::computed(rows, move || Ok(rest(single(expand.bias()?), 1)));
        let inputs = self.inputs(c.expand);
        self.push_conv(c.slices[1], c.expand, inputs, weight, bias);
    }

    /// The concatenation, of what the expanding convolution reads instead of the part that goes across.
    fn push_meeting(&mut self, c: &Cross) {
        let mut node = self.graph.node(c.concat).clone();
        let across = |&v: &ValueId| if v == c.slices[0] { self.graph.node(c.expand).inputs[0] } else { v };
        node.inputs = node.inputs.iter().map(|v| self.value(across(v))).collect();
        self.push_as(c.concat, node);
    }

    /// The transition, with the product of both matrices where the part went across.
    fn push_product(&mut self, c: &Cross) {
        let [first, second] = [c.expand, c.transition].map(|v| Linear::of(self.graph, self.weights, v));
        let parts = &self.graph.node(c.concat).inputs;
        let before = parts.iter().take_while(|&&p| p != c.slices[0]).map(|&p| self.graph.channels(p)).sum();
        let (start, len) = c.across;
        let product = Product { first, second, start, before, len };
        let (rows, of_weight) = (product.second.rows, product.clone());
        let weight = LazyTensor::new(rows * product.columns(), move || of_weight.open());
        let bias = LazyTensor::computed(rows, move || product.bias());
        let inputs = vec![self.value(c.concat)];
        self.push_conv(c.transition, c.transition, inputs, weight, bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Count;
    use crate::{Builder, Conv, Unary, Weights};

    /// A cross-stage-partial stage around one convolution; with an activation behind the expansion it is not linear.
    fn stage(activated: bool, cross_first: bool) -> Graph {
        let mut b = Builder::new();
        let x = b.input(4);
        let mut wide = b.conv("expand", x, Conv::new(12, 1).bias());
        if activated {
            wide = b.unary("act", wide, Unary::Relu);
        }
        let (cross, part) = if cross_first { (0, 6) } else { (6, 0) };
        let cross = b.slice("cross", wide, cross, 6);
        let part = b.slice("part", wide, part, 6);
        let part = b.conv("body", part, Conv::new(6, 3));
        let both = b.concat("merge", &[part, cross]);
        let y = b.conv("transition", both, Conv::new(8, 1));
        b.finish(y).unwrap()
    }

    #[test]
    fn the_part_that_goes_across_disappears_where_it_is_linear() {
        for cross_first in [true, false] {
            let g = stage(false, cross_first);
            let (after, weights) = merge_linear_pair(&g, &LazyWeights::owned(Weights::reference(&g)), &[g.output()]);
            let paths: Vec<&str> = after.nodes().iter().map(|n| n.path.as_str()).collect();
            assert_eq!(paths, ["input", "expand", "body", "merge", "transition"]);
            let macs = |g: &Graph| Count::of(g, [4, 5, 5]).unwrap().macs();
            assert_eq!(macs(&g) - macs(&after), 25 * (4 * 6 + 6 * 8 - 4 * 8));
            assert!(weights.check(after.params()).is_ok());
        }
        let activated = stage(true, true);
        let (after, _) = merge_linear_pair(&activated, &LazyWeights::owned(Weights::reference(&activated)), &[]);
        assert_eq!(after.nodes().len(), activated.nodes().len());
    }

    #[test]
    fn values_that_are_kept_prevent_it() {
        let g = stage(false, true);
        for kept in [1, 2, 5] {
            let (after, _) = merge_linear_pair(&g, &LazyWeights::owned(Weights::reference(&g)), &[kept]);
            assert_eq!(after.nodes().len(), g.nodes().len(), "value {kept}");
        }
    }
}
