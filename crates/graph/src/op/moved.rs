//! Operations that give numbers other places and compute nothing: padding, cropping, rearranging.
//!
//! Each says where the number at a place of its output comes from, so that whoever runs it backwards or writes it to a file
//! need not work that out again.

use serde::{Deserialize, Serialize};

use super::{Axis, Shape, elements};

/// Cells added around a value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pad {
    /// Cells before the first along every axis.
    pub before: [usize; 3],
    /// Cells behind the last along every axis.
    pub after: [usize; 3],
    /// What they hold.
    pub fill: Fill,
}

/// What cells hold that are added around a value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fill {
    /// The same number everywhere, finite.
    Constant {
        /// The number.
        value: f64,
    },
    /// The value as in a mirror that stands on its last cell, which is not repeated.
    Reflect,
    /// The nearest cell of the value.
    Edge,
    /// The value once more from its other end.
    Wrap,
}

impl Pad {
    /// Length of the output along an axis, given the input's.
    pub(super) fn len(&self, axis: Axis, len: usize) -> Result<usize, String> {
        let (before, after) = (self.before[axis.index()], self.after[axis.index()]);
        if let Fill::Constant { value } = self.fill
            && !value.is_finite()
        {
            return Err(format!("fills with {value}"));
        }
        if self.fill == Fill::Reflect && before.max(after) >= len.max(1) {
            return Err(format!("reflects {} cells of {len}", before.max(after)));
        }
        let padded = len.checked_add(before).and_then(|n| n.checked_add(after));
        padded.ok_or_else(|| format!("adds {before} and {after} cells to {len}"))
    }

    /// Which cell of `len` along an axis the cell `place` of the output is; `None` where it is filled with a constant.
    pub fn source(&self, axis: Axis, len: usize, place: usize) -> Option<usize> {
        let before = self.before[axis.index()];
        match self.fill {
            Fill::Constant { .. } => place.checked_sub(before).filter(|&i| i < len),
            Fill::Edge => Some(place.saturating_sub(before).min(len - 1)),
            Fill::Wrap => Some((place + len - before % len) % len),
            Fill::Reflect => {
                let from_start = place.abs_diff(before);
                Some(from_start.min((2 * (len - 1)).saturating_sub(from_start)))
            }
        }
    }
}

/// Every `step`-th cell along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// Along which axis.
    pub axis: Axis,
    /// The first cell.
    pub start: usize,
    /// Cells from one to the next; backwards where it is negative.
    pub step: isize,
    /// How many.
    pub len: usize,
}

impl Crop {
    /// Whether all cells are among `len`.
    pub(super) fn check(&self, len: usize) -> Result<(), String> {
        let last = isize::try_from(self.len).ok().and_then(|n| (n - 1).checked_mul(self.step));
        let last = last.and_then(|way| self.start.checked_add_signed(way));
        let is_within = self.start < len && last.is_some_and(|last| last < len);
        if self.step == 0 || self.len == 0 || !is_within {
            return Err(format!("takes {} {} from {} on by {} of {len}", self.len, self.axis, self.start, self.step));
        }
        Ok(())
    }

    /// Which cell the cell `place` of the output is.
    pub fn source(&self, place: usize) -> usize {
        self.start.wrapping_add_signed(self.step * place as isize)
    }
}

/// A change of order and shape: an image's numbers, row-major, are seen as an array of lengths `dims`, whose axes are put in the
/// `order`, and then seen as `shape`. Reshaping, flattening, transposing, shuffling of channels and of pixels are all this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rearrange {
    /// Lengths of the array's axes, before they are put in order.
    pub dims: Vec<usize>,
    /// Axis `i` of the ordered array is axis `order[i]` of `dims`.
    pub order: Vec<usize>,
    /// The output's shape.
    pub shape: Shape,
}

impl Rearrange {
    /// Most axes.
    pub const MAX_RANK: usize = 8;

    /// The same numbers in the same order as another shape.
    pub fn reshape(shape: Shape) -> Self {
        Self { dims: shape.to_vec(), order: vec![0, 1, 2], shape }
    }

    /// All numbers of an image of this shape as channels.
    pub fn flatten(of: Shape) -> Self {
        Self::reshape([of.iter().product(), 1, 1])
    }

    /// A value of the shape `of` with its axes in another order.
    pub fn transpose(of: Shape, order: [usize; 3]) -> Self {
        Self { dims: of.to_vec(), order: order.to_vec(), shape: order.map(|axis| of[axis]) }
    }

    /// Channels of a value of the shape `of` taken in turn from `groups` runs of them (ShuffleNet, arXiv:1707.01083, section 3.1).
    pub fn shuffle(of: Shape, groups: usize) -> Self {
        Self { dims: vec![groups, of[0] / groups, of[1] * of[2]], order: vec![1, 0, 2], shape: of }
    }

    /// Whether it can be, whatever it is applied to.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        let rank = self.dims.len();
        if rank > Self::MAX_RANK || !sorted.iter().copied().eq(0..rank) {
            return Err(format!("orders {:?} by {:?}", self.dims, self.order));
        }
        match (elements(&self.dims), elements(&self.shape)) {
            (Some(a), Some(b)) if a == b => Ok(()),
            _ => Err(format!("makes {:?} of {:?}", self.shape, self.dims)),
        }
    }

    /// How many numbers it rearranges.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The array's lengths and its steps in the input, in the output's order: the number at a place of the ordered array lies in
    /// the input at the sum of place times step. Axes that lie as they lay before are one.
    pub fn walk(&self) -> Vec<(usize, usize)> {
        let mut steps = vec![1; self.dims.len()];
        for axis in (1..self.dims.len()).rev() {
            steps[axis - 1] = steps[axis] * self.dims[axis];
        }
        let mut walk: Vec<(usize, usize)> = Vec::new();
        for &axis in self.order.iter().filter(|&&axis| self.dims[axis] > 1) {
            let (len, step) = (self.dims[axis], steps[axis]);
            match walk.last_mut() {
                Some(last) if last.1 == len * step => *last = (last.0 * len, step),
                _ => walk.push((len, step)),
            }
        }
        walk
    }

    /// Whether every number stays at its place and only the shape is another.
    pub fn is_reshape(&self) -> bool {
        matches!(self.walk()[..], [] | [(_, 1)])
    }

    /// Where the number at a place of the output lies in the input, both counted row-major.
    pub fn source(&self) -> impl Fn(usize) -> usize + use<> {
        let walk = self.walk();
        move |place| {
            let mut rest = place;
            walk.iter().rev().fold(0, |source, &(len, step)| {
                let at = rest % len;
                rest /= len;
                source + at * step
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_comes_from_where_it_says() {
        let sources = |fill| {
            let pad = Pad { before: [0, 0, 2], after: [0, 0, 2], fill };
            let len = pad.len(Axis::Columns, 3).unwrap();
            (0..len).map(|i| pad.source(Axis::Columns, 3, i)).collect::<Vec<_>>()
        };
        let some = |places: [usize; 7]| places.map(Some).to_vec();
        assert_eq!(sources(Fill::Reflect), some([2, 1, 0, 1, 2, 1, 0]));
        assert_eq!(sources(Fill::Edge), some([0, 0, 0, 1, 2, 2, 2]));
        assert_eq!(sources(Fill::Wrap), some([1, 2, 0, 1, 2, 0, 1]));
        let zeros = [None, None, Some(0), Some(1), Some(2), None, None];
        assert_eq!(sources(Fill::Constant { value: 0.0 }), zeros);
        let far = Pad { before: [0, 0, 3], after: [0; 3], fill: Fill::Reflect };
        assert!(far.len(Axis::Columns, 3).is_err() && far.len(Axis::Rows, 1).is_ok());
        let huge = Pad { before: [usize::MAX, 0, 0], after: [0; 3], fill: Fill::Edge };
        assert!(huge.len(Axis::Channels, 1).is_err());
    }

    #[test]
    fn crops_stay_within() {
        let crop = |start, step, len| Crop { axis: Axis::Rows, start, step, len };
        let backwards = crop(4, -2, 3);
        assert_eq!((0..3).map(|i| backwards.source(i)).collect::<Vec<_>>(), [4, 2, 0]);
        assert!(backwards.check(5).is_ok() && backwards.check(4).is_err());
        let wrong = [crop(0, 0, 1), crop(0, 1, 0), crop(5, 1, 1), crop(4, -2, 4), crop(0, isize::MAX, 3)];
        assert!(wrong.iter().all(|c| c.check(5).is_err()));
        assert!(crop(1, isize::MIN, usize::MAX).check(5).is_err());
    }

    #[test]
    fn rearrangements_are_what_their_names_say() {
        let order = |r: &Rearrange| {
            r.check().unwrap();
            (0..r.elements()).map(r.source()).collect::<Vec<_>>()
        };
        assert_eq!(order(&Rearrange::transpose([1, 2, 3], [0, 2, 1])), [0, 3, 1, 4, 2, 5]);
        assert_eq!(order(&Rearrange::shuffle([6, 1, 1], 2)), [0, 3, 1, 4, 2, 5]);
        assert!(Rearrange::flatten([2, 3, 4]).is_reshape() && Rearrange::transpose([3, 1, 1], [2, 1, 0]).is_reshape());
        assert!(!Rearrange::shuffle([6, 2, 2], 2).is_reshape());
        // Four channels of a pixel become two by two pixels.
        let pixels = Rearrange { dims: vec![1, 2, 2, 2, 2], order: vec![0, 3, 1, 4, 2], shape: [1, 4, 4] };
        assert_eq!(order(&pixels)[..8], [0, 4, 1, 5, 8, 12, 9, 13]);
    }

    #[test]
    fn rearrangements_that_cannot_be_are_refused() {
        let wrong = |dims: &[usize], order: &[usize], shape| {
            Rearrange { dims: dims.into(), order: order.into(), shape }.check().is_err()
        };
        assert!(wrong(&[2, 3], &[0, 0], [6, 1, 1]) && wrong(&[2, 3], &[0], [6, 1, 1]));
        assert!(wrong(&[2, 3], &[1, 2], [6, 1, 1]) && wrong(&[2, 3], &[1, 0], [5, 1, 1]));
        assert!(wrong(&[usize::MAX, 3], &[1, 0], [1, 1, 1]) && wrong(&[1; 9], &[0, 1, 2, 3, 4, 5, 6, 7, 8], [1; 3]));
        assert!(wrong(&[0, 3], &[1, 0], [0, 1, 1]));
    }
}
