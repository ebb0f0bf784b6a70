//! Where the numbers of an array lie, row-major, in the order in which another array takes them. Not here: numbers.

/// Places of an array's numbers, row-major, one after another as another array takes them.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    /// Length and step of every axis of the other array.
    axes: Vec<(usize, isize)>,
    /// The place of its first number.
    start: usize,
    next: usize,
    count: usize,
}

impl Sources {
    /// An array of these lengths, whose numbers lie so many places apart along each axis.
    pub(super) fn new(axes: Vec<(usize, isize)>, start: usize) -> Self {
        let count = axes.iter().map(|&(len, _)| len).product();
        Self { axes, start, next: 0, count }
    }

    /// An array's axes in another order.
    pub(super) fn permuted(dims: &[usize], order: &[usize]) -> Self {
        let steps = steps(dims);
        Self::new(order.iter().map(|&axis| (dims[axis], steps[axis])).collect(), 0)
    }

    /// The way back: where in the array with its axes in another order each number of the array is.
    pub(super) fn permuted_back(dims: &[usize], order: &[usize]) -> Self {
        let ordered: Vec<usize> = order.iter().map(|&axis| dims[axis]).collect();
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, &axis)| back[axis] = place);
        Self::permuted(&ordered, &back)
    }

    /// The place that is the `place`-th.
    pub(super) fn at(&self, place: usize) -> usize {
        let mut rest = place;
        let way: isize = self
            .axes
            .iter()
            .rev()
            .map(|&(len, step)| {
                let at = rest % len;
                rest /= len;
                step * at as isize
            })
            .sum();
        self.start.wrapping_add_signed(way)
    }

    /// An array repeated along its axes of length 1 to a shape of as many axes.
    pub(super) fn repeated(dims: &[usize], to: &[usize]) -> Self {
        let steps = steps(dims);
        let axis = |i: usize| (to[i], if dims[i] == 1 { 0 } else { steps[i] });
        Self::new((0..to.len()).map(axis).collect(), 0)
    }
}

/// How many places further the next number along every axis lies.
pub(super) fn steps(dims: &[usize]) -> Vec<isize> {
    let mut steps = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        steps[axis - 1] = steps[axis] * dims[axis] as isize;
    }
    steps
}

impl Iterator for Sources {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.next == self.count {
            return None;
        }
        self.next += 1;
        Some(self.at(self.next - 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count - self.next, Some(self.count - self.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_the_axes() {
        let all = |sources: Sources| sources.collect::<Vec<_>>();
        assert_eq!(all(Sources::permuted(&[2, 3], &[1, 0])), [0, 3, 1, 4, 2, 5]);
        assert_eq!(all(Sources::repeated(&[2, 1], &[2, 3])), [0, 0, 0, 1, 1, 1]);
        assert_eq!(all(Sources::new(vec![(3, -2)], 4)), [4, 2, 0]);
        assert_eq!(all(Sources::new(vec![(3, 1), (0, 1)], 4)), [0; 0]);
        assert_eq!(all(Sources::new(vec![], 0)), [0]);
    }
}
