//! The numbers of a tensor of another library's file: in a row, or spread over more of it by strides.

use std::cmp::Reverse;

use crate::archive::Member;
use crate::error::FormatError;
use crate::tensors::{Bytes, Entry, Stored};

/// Numbers that are read at a time.
const WINDOW: usize = 4096;

/// Where a tensor's numbers are.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    stored: Stored,
    /// Its dimensions from the slowest in the file to the fastest, unless its numbers are in a row.
    spread: Option<Vec<Dimension>>,
    /// The part of the file that has a checksum of its own.
    member: Option<Member>,
}

/// A dimension of a tensor that is spread over its file.
#[derive(Clone, Copy, Debug)]
struct Dimension {
    size: usize,
    /// How many numbers further the next one stands in the file.
    stride: usize,
    /// How many numbers further it stands in the tensor.
    step: usize,
}

impl From<Stored> for Numbers {
    fn from(stored: Stored) -> Self {
        Self { stored, spread: None, member: None }
    }
}

impl Numbers {
    /// Numbers of a member, in which the next one of each dimension stands so many further. All of them are in the member.
    ///
    /// # Errors
    /// If some share a place: then the tensor may have more numbers than the file, by any factor.
    pub(crate) fn strided(stored: Stored, strides: &[usize], member: Member) -> Result<Self, String> {
        let shape = &stored.entry.shape;
        let mut step = shape.iter().product::<usize>();
        let mut spread = Vec::new();
        for (&size, &stride) in shape.iter().zip(strides) {
            step = step.checked_div(size).unwrap_or(0);
            spread.push(Dimension { size, stride, step });
        }
        spread.retain(|d| d.size != 1);
        if shape.contains(&0) || spread.iter().all(|d| d.stride == d.step) {
            return Ok(Self { stored, spread: None, member: Some(member) });
        }
        spread.sort_by_key(|d| Reverse(d.stride));
        let mut within = 0;
        for d in spread.iter().rev() {
            if d.stride <= within {
                return Err("has numbers that share a place, as after expand(); save it after contiguous()".into());
            }
            within += (d.size - 1) * d.stride;
        }
        Ok(Self { stored, spread: Some(spread), member: Some(member) })
    }

    /// What is known of the tensor, whatever its numbers.
    pub(crate) fn entry(&self) -> &Entry {
        &self.stored.entry
    }

    /// The part of the file that has a checksum of its own, if there is one.
    pub(crate) fn member(&self) -> Option<Member> {
        self.member
    }

    /// Whether its numbers can be weights.
    pub(crate) fn are_real(&self) -> bool {
        self.stored.holds_numbers()
    }

    /// All of them in single precision, row-major.
    pub(crate) fn read(&self, file: &Bytes<'_>) -> Result<Vec<f32>, FormatError> {
        let Some(spread) = &self.spread else { return self.stored.numbers(file) };
        let end = 1 + spread.iter().map(|d| (d.size - 1) * d.stride).sum::<usize>();
        let mut numbers = vec![0.0; self.entry().shape.iter().product()];
        let mut window = vec![0.0; WINDOW.min(end)];
        let (mut begin, mut until) = (0, 0);
        for (from, to) in in_order(spread) {
            // Places only grow, so nothing is read twice.
            if from >= until {
                (begin, until) = (from, end.min(from + WINDOW));
                self.stored.read_numbers(file, begin, &mut window[..until - begin])?;
            }
            numbers[to] = window[from - begin];
        }
        Ok(numbers)
    }
}

/// The numbers of a tensor in the order of the file: each one's place there and in the tensor. No size is 0.
fn in_order(spread: &[Dimension]) -> impl Iterator<Item = (usize, usize)> {
    let mut index = vec![0; spread.len()];
    let mut next = Some((0, 0));
    std::iter::from_fn(move || {
        let place = next?;
        let (mut from, mut to) = place;
        next = None;
        for (i, d) in index.iter_mut().zip(spread).rev() {
            (*i, from, to) = (*i + 1, from + d.stride, to + d.step);
            if *i < d.size {
                next = Some((from, to));
                break;
            }
            (*i, from, to) = (0, from - d.size * d.stride, to - d.size * d.step);
        }
        Some(place)
    })
}
