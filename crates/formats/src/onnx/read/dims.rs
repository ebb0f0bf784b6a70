//! Dimensions of tensors, of which the first may be the batch, and what operators say of them.
//!
//! Not here: numbers other than lengths and places.

use super::{limits, tensor};

/// Why a node cannot be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It is not supported, or wrong.
    Unsupported(String),
    /// It would mix the images of a batch, if the first dimension is one.
    Batch,
    /// It needs to know how many images there are.
    Images,
}

impl From<String> for Why {
    fn from(why: String) -> Self {
        Self::Unsupported(why)
    }
}

impl From<&str> for Why {
    fn from(why: &str) -> Self {
        Self::Unsupported(why.into())
    }
}

/// An integer that is computed from shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Integer {
    Known(i64),
    /// The number of images, which is known when the network runs.
    Batch,
    /// Something that depends on it.
    Open,
}

impl Integer {
    pub(super) fn known(self) -> Result<i64, Why> {
        match self {
            Self::Known(value) => Ok(value),
            Self::Batch | Self::Open => Err(Why::Images),
        }
    }
}

/// Numbers of which all must be known.
pub(super) fn known(numbers: &[Integer]) -> Result<Vec<i64>, Why> {
    numbers.iter().map(|n| n.known()).collect()
}

/// The dimensions of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dims {
    /// Whether the images of a batch are a first dimension that is not among the sides.
    pub batched: bool,
    /// Those of one image.
    pub sides: Vec<usize>,
}

/// A dimension of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Batch,
    /// One of the sides.
    Side(usize),
}

impl Dims {
    pub(super) fn plain(sides: Vec<usize>) -> Self {
        Self { batched: false, sides }
    }

    /// How many dimensions there are.
    pub(super) fn rank(&self) -> usize {
        self.sides.len() + usize::from(self.batched)
    }

    /// How many numbers an image has.
    pub(super) fn count(&self) -> usize {
        self.sides.iter().product()
    }

    /// The dimension that an operator means, which counts from the end where it is negative.
    pub(super) fn place(&self, axis: i64) -> Result<Place, String> {
        place(axis, self.rank()).map(|axis| self.at(axis)).map_err(|rank| outside(axis, rank))
    }

    /// The dimension of a number from 0 on.
    pub(super) fn at(&self, axis: usize) -> Place {
        match axis.checked_sub(usize::from(self.batched)) {
            None => Place::Batch,
            Some(side) => Place::Side(side),
        }
    }

    /// The side that an operator means.
    pub(super) fn side(&self, axis: i64) -> Result<usize, Why> {
        match self.place(axis)? {
            Place::Batch => Err(Why::Batch),
            Place::Side(side) => Ok(side),
        }
    }

    /// The same images with other sides.
    pub(super) fn with(&self, sides: Vec<usize>) -> Self {
        Self { batched: self.batched, sides }
    }

    /// Without dimensions of length 1: those at these axes, or all of them.
    pub(super) fn squeezed(&self, axes: Option<&[i64]>) -> Result<Self, Why> {
        let Some(axes) = axes else {
            return Ok(self.with(self.sides.iter().copied().filter(|&n| n != 1).collect()));
        };
        let mut gone = vec![false; self.rank()];
        for &axis in axes {
            gone[place(axis, self.rank()).map_err(|rank| outside(axis, rank))?] = true;
        }
        let sides = &gone[usize::from(self.batched)..];
        if let Some((n, _)) = self.sides.iter().zip(sides).find(|(n, gone)| **gone && **n != 1) {
            return Err(format!("squeezes a dimension of {n}").into());
        }
        let left = self.sides.iter().zip(sides).filter(|(_, gone)| !**gone).map(|(&n, _)| n).collect();
        Ok(Self { batched: self.batched && !gone[0], sides: left })
    }

    /// With dimensions of length 1 at these axes of the result.
    pub(super) fn unsqueezed(&self, axes: &[i64]) -> Result<Self, Why> {
        let rank = self.rank() + axes.len();
        check_rank(rank)?;
        let mut new = vec![false; rank];
        for &axis in axes {
            let axis = place(axis, rank).map_err(|rank| outside(axis, rank))?;
            if std::mem::replace(&mut new[axis], true) {
                return Err(format!("adds a dimension at {axis} twice").into());
            }
        }
        if self.batched && new[0] {
            return Err(Why::Batch);
        }
        let mut sides = self.sides.iter();
        let all = new[usize::from(self.batched)..].iter();
        Ok(self.with(all.map(|&new| if new { 1 } else { sides.next().copied().unwrap_or(1) }).collect()))
    }

    /// In two, at an axis: all before it, and all from it on.
    pub(super) fn flattened(&self, axis: i64) -> Result<Self, Why> {
        let rank = self.rank();
        let axis = if axis == rank as i64 { rank } else { place(axis, rank).map_err(|rank| outside(axis, rank))? };
        match (self.batched, axis) {
            (true, 1) => Ok(self.with(vec![self.count()])),
            (true, _) => Err(Why::Batch),
            (false, _) => {
                let (before, after) = self.sides.split_at(axis);
                Ok(self.with(vec![before.iter().product(), after.iter().product()]))
            }
        }
    }

    /// As another shape, of which 0 stands for the old length there (unless it is allowed as a length) and -1 for what is left. The
    /// batch has `images` images.
    pub(super) fn reshaped(&self, target: &[Integer], allows_zero: bool, images: Integer) -> Result<Self, Why> {
        check_rank(target.len())?;
        // The first dimension stays the batch if all others hold an image.
        let keeps = |first: Integer, is_zero: bool| first == Integer::Batch || first == images || is_zero;
        if let (true, Some((&first, rest))) = (self.batched, target.split_first()) {
            let is_zero = first == Integer::Known(0) && !allows_zero;
            let is_left = first == Integer::Known(-1);
            let rest = self.lengths(rest, 1, allows_zero).and_then(|sides| resolve(sides, self.count(), !is_left));
            match rest {
                Ok(sides) if keeps(first, is_zero) || is_left => return Ok(self.with(sides)),
                Err(why) if keeps(first, is_zero) => return Err(why),
                _ => {}
            }
            // All images together, of which there is one only.
            if images != Integer::Known(1) {
                return Err(Why::Batch);
            }
        }
        let sides = self.lengths(target, 0, allows_zero)?;
        Ok(Self::plain(resolve(sides, self.count(), true)?))
    }

    /// Lengths of a new shape from its dimension `from` on; `None` stands for what is left.
    fn lengths(&self, target: &[Integer], from: usize, allows_zero: bool) -> Result<Vec<Option<usize>>, Why> {
        let length = |(i, n): (usize, &Integer)| match n.known()? {
            -1 => Ok(None),
            0 if !allows_zero => match (from + i < self.rank()).then(|| self.at(from + i)) {
                Some(Place::Side(side)) => Ok(Some(self.sides[side])),
                Some(Place::Batch) => Ok(Some(1)),
                None => Err(Why::from("keeps the length of a dimension that there is not")),
            },
            n => usize::try_from(n).map(Some).map_err(|_| format!("makes a dimension of {n}").into()),
        };
        target.iter().enumerate().map(length).collect()
    }
}

/// Lengths of a shape of `count` numbers, of which one may be what is left.
fn resolve(lengths: Vec<Option<usize>>, count: usize, may_be_left: bool) -> Result<Vec<usize>, Why> {
    let known: Vec<usize> = lengths.iter().copied().flatten().collect();
    let product = tensor::count(&known).ok_or("makes a shape that is too large")?;
    let rest = match lengths.len() - known.len() {
        0 => None,
        1 if may_be_left && product != 0 && count.is_multiple_of(product) => Some(count / product),
        _ => return Err(format!("makes a shape of {known:?} and something of {count} numbers").into()),
    };
    if product * rest.unwrap_or(1) != count {
        return Err(format!("makes {known:?} of {count} numbers").into());
    }
    Ok(lengths.into_iter().map(|n| n.or(rest).unwrap_or(1)).collect())
}

/// Refuses more dimensions than a tensor may have.
pub(super) fn check_rank(rank: usize) -> Result<(), String> {
    match rank <= limits::MAX_RANK {
        true => Ok(()),
        false => Err(limits::too_many()),
    }
}

/// The axis that is meant, from 0 on; else the rank.
pub(super) fn place(axis: i64, rank: usize) -> Result<usize, usize> {
    let from_start = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    from_start.and_then(|a| usize::try_from(a).ok()).filter(|&a| a < rank).ok_or(rank)
}

/// What is wrong with an axis that is none of so many.
pub(super) fn outside(axis: i64, rank: usize) -> String {
    format!("means dimension {axis} of {rank}")
}

/// The shape of two that are joined element by element, the last dimension beside the last, where 1 is repeated.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let (a, b) = (aligned(a, rank), aligned(b, rank));
    let along = |(&a, &b): (&usize, &usize)| match (a, b) {
        (1, n) | (n, 1) => Ok(n),
        (a, b) if a == b => Ok(a),
        (a, b) => Err(format!("joins lengths {a} and {b}")),
    };
    a.iter().zip(&b).map(along).collect()
}

/// Sides with as many of length 1 in front as make this rank.
pub(super) fn aligned(sides: &[usize], rank: usize) -> Vec<usize> {
    let mut all = vec![1; rank.saturating_sub(sides.len())];
    all.extend(sides);
    all
}

/// A run of places along a dimension: where it begins, how far from one to the next, how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub start: usize,
    pub step: i64,
    pub len: usize,
}

/// What `Slice` means along a dimension of `length`.
pub(super) fn run(start: i64, end: i64, step: i64, length: usize) -> Result<Run, String> {
    if step == 0 || step == i64::MIN {
        return Err(format!("takes steps of {step}"));
    }
    let n = length as i64;
    let from_start = |i: i64| if i < 0 { i.saturating_add(n) } else { i };
    let (start, end) = match step > 0 {
        true => (from_start(start).clamp(0, n), from_start(end).clamp(0, n)),
        // Behind the last, -1 stands for the end; so the smallest number comes as it is.
        false => (from_start(start).clamp(-1, n - 1), from_start(end).clamp(-1, n - 1)),
    };
    let way = if step > 0 { end - start } else { start - end };
    let len = if way <= 0 { 0 } else { (way - 1) / step.abs() + 1 };
    // Where nothing follows the first, a step may be as long as it likes.
    let step = if len <= 1 { 1 } else { step };
    Ok(Run { start: start.max(0) as usize, step, len: len as usize })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Integer::{Batch, Known};

    fn images(sides: &[usize]) -> Dims {
        Dims { batched: true, sides: sides.into() }
    }

    #[test]
    fn axes_count_from_both_ends_and_the_batch_is_the_first() {
        let dims = images(&[4, 5]);
        assert_eq!(
            [0, 1, -1, -3].map(|a| dims.place(a).unwrap()),
            [Place::Batch, Place::Side(0), Place::Side(1), Place::Batch]
        );
        assert_eq!(dims.place(3), Err("means dimension 3 of 3".into()));
        assert!(dims.place(-4).is_err() && dims.place(i64::MIN).is_err());
        assert_eq!(Dims::plain(vec![4]).place(0), Ok(Place::Side(0)));
    }

    #[test]
    fn shapes_keep_the_batch_where_they_can() {
        let x = images(&[4, 3, 2]);
        let to = |target: &[Integer], n| x.reshaped(target, false, n);
        for (target, n) in [
            (&[Known(0), Known(-1)][..], Batch),
            (&[Known(-1), Known(24)], Batch),
            (&[Batch, Known(-1)], Batch),
            (&[Known(1), Known(24)], Known(1)),
            (&[Known(5), Known(24)], Known(5)),
            (&[Known(1), Known(-1)], Known(1)),
        ] {
            assert_eq!(to(target, n), Ok(images(&[24])), "{target:?}");
        }
        assert_eq!(to(&[Known(0), Known(0), Known(6)], Batch), Ok(images(&[4, 6])));
        assert_eq!(to(&[Known(0), Known(2), Known(-1), Known(0)], Known(7)), Ok(images(&[2, 6, 2])));
        assert_eq!(to(&[Known(4), Known(-1)], Known(1)), Ok(Dims::plain(vec![4, 6])));
        assert_eq!(to(&[Known(4), Known(-1)], Batch), Err(Why::Batch));
        assert_eq!(to(&[Known(-1), Known(8)], Batch), Err(Why::Batch));
        assert!(to(&[Known(0), Known(7)], Batch).is_err() && to(&[Batch, Integer::Open], Batch).is_err());
        assert!(to(&[Known(0), Known(-1), Known(-1)], Batch).is_err());
        assert!(to(&[Known(i64::MAX), Known(i64::MAX)], Known(1)).is_err());
    }

    #[test]
    fn dimensions_of_one_come_and_go() {
        let x = images(&[4, 1, 1]);
        assert_eq!(x.squeezed(Some(&[2, -1])), Ok(images(&[4])));
        assert_eq!(x.squeezed(None), Ok(images(&[4])));
        assert_eq!(x.squeezed(Some(&[0])), Ok(Dims::plain(vec![4, 1, 1])));
        assert!(x.squeezed(Some(&[1])).is_err());
        assert_eq!(images(&[4]).unsqueezed(&[2, 3]), Ok(x.clone()));
        assert_eq!(images(&[4]).unsqueezed(&[-1, 1]), Ok(images(&[1, 4, 1])));
        assert_eq!(images(&[4]).unsqueezed(&[0]), Err(Why::Batch));
        assert!(images(&[4]).unsqueezed(&[1, 1]).is_err() && images(&[4]).unsqueezed(&[9]).is_err());
        assert_eq!(x.flattened(1), Ok(images(&[4])));
        assert_eq!(x.flattened(2), Err(Why::Batch));
        assert_eq!(Dims::plain(vec![2, 3, 4]).flattened(-1), Ok(Dims::plain(vec![6, 4])));
        assert_eq!(Dims::plain(vec![2, 3]).flattened(2), Ok(Dims::plain(vec![6, 1])));
    }

    #[test]
    fn runs_are_those_of_python() {
        let of = |start, end, step, length| {
            let Run { start, step, len } = run(start, end, step, length).unwrap();
            (0..len as i64).map(|i| start as i64 + i * step).collect::<Vec<_>>()
        };
        assert_eq!(of(1, 4, 2, 5), [1, 3]);
        assert_eq!(of(-3, i64::MAX, 1, 5), [2, 3, 4]);
        assert_eq!(of(20, 0, -2, 5), [4, 2]);
        assert_eq!(of(-1, i64::MIN, -1, 3), [2, 1, 0]);
        assert_eq!(of(4, 2, 1, 5), [0; 0]);
        assert_eq!(of(0, 9, 1, 0), [0; 0]);
        assert_eq!(run(1, 5, i64::MAX, 5), Ok(Run { start: 1, step: 1, len: 1 }));
        assert!(run(0, 1, 0, 5).is_err());
    }
}
