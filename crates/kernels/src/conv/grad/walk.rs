//! Which pixels of the input and of the output's gradient a tap brings together, and in which order. Not here: any sum.

use std::ops::Range;

use super::Images;
use crate::{Block, LANES, Planes, Window};

/// Output pixels summed in registers: few enough for their gradients and inputs to stay in the first-level cache for all
/// tiles and taps, and for their sum to be exact enough.
const STRIP: usize = 256;

/// Where the values lie and how the window moves over them.
#[derive(Debug)]
pub(super) struct Geometry {
    pub window: Window,
    pub input: Planes,
    pub d_output: Planes,
    /// For each row and each column of the kernel, the output rows or columns for which it lies inside the picture.
    inside: [Vec<Range<usize>>; 2],
}

/// Output pixels that are summed in one go: a rectangle of some images.
pub(super) struct Strip {
    images: Range<usize>,
    rows: Range<usize>,
    columns: Range<usize>,
}

/// Neighbours in one direction: how many, and the floats between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    pub count: usize,
    pub x: usize,
    pub dy: usize,
}

/// The pixel pairs of one tap in one strip: where the first lies in block-relative floats, and three axes, outermost first.
#[derive(Clone, Copy)]
pub(super) struct Walk {
    pub x: *const f32,
    pub dy: *const f32,
    pub axes: [Axis; 3],
}

impl Geometry {
    pub fn new(window: Window, input: &Planes, d_output: &Planes) -> Self {
        let sizes = [[input.height(), d_output.height()], [input.width(), d_output.width()]];
        let along = |axis: usize| (0..window.kernel[axis]).map(|tap| inside(&window, axis, tap, sizes[axis])).collect();
        Self { window, input: input.clone(), d_output: d_output.clone(), inside: [along(0), along(1)] }
    }

    /// All pixels of all images, in the order of the sum. The cut depends on the output's size alone; small pictures share
    /// a strip.
    pub fn strips(&self, images: usize) -> impl Iterator<Item = Strip> {
        let [height, width] = [self.d_output.height(), self.d_output.width()];
        let columns = width.min(STRIP);
        let rows = (STRIP / columns).min(height);
        let at_once = if columns < width || rows < height { 1 } else { (STRIP / (rows * columns)).max(1) };
        cut(images, at_once).flat_map(move |images| {
            cut(height, rows).flat_map(move |rows| {
                let images = images.clone();
                cut(width, columns).map(move |columns| Strip { images: images.clone(), rows: rows.clone(), columns })
            })
        })
    }

    /// The outputs within a range, along an axis, for which a tap lies inside the picture.
    pub fn outputs(&self, axis: usize, tap: usize, within: &Range<usize>) -> Range<usize> {
        common(within, &self.inside[axis][tap])
    }

    /// The input's row or column that an output sees through a tap which lies inside the picture.
    pub fn input_place(&self, axis: usize, tap: usize, output: usize) -> usize {
        let w = &self.window;
        // A tap that sees nothing has no first place; its axis is empty.
        (output * w.stride[axis] + tap * w.dilation[axis]).saturating_sub(w.padding[axis])
    }

    /// The pairs of a tap `[row, column]` in a strip: the outputs whose input place lies in the picture. The addresses are
    /// those of the first pair in a block at the arena's start.
    ///
    /// Every place `x + i * axis.x + ...` is then a pixel of the input's planes once a block's offset is added, and so for
    /// `dy`, within the images of the strip.
    pub fn walk(&self, strip: &Strip, tap: [usize; 2], images: &Images) -> Walk {
        let rows = self.outputs(0, tap[0], &strip.rows);
        let columns = self.outputs(1, tap[1], &strip.columns);
        let place = |axis: usize, o: usize| self.input_place(axis, tap[axis], o);
        let first_image = images.arena.wrapping_add(strip.images.start * images.len);
        let pixel = |row: usize, column: usize, width: usize| (row * width + column) * LANES;
        let (wide, narrow) = (self.input.width(), self.d_output.width());
        let axes = [
            Axis { count: strip.images.len(), x: images.len, dy: images.len },
            Axis { count: rows.len(), x: self.window.stride[0] * wide * LANES, dy: narrow * LANES },
            Axis { count: columns.len(), x: self.window.stride[1] * LANES, dy: LANES },
        ];
        Walk {
            x: first_image.wrapping_add(pixel(place(0, rows.start), place(1, columns.start), wide)),
            dy: first_image.wrapping_add(pixel(rows.start, columns.start, narrow)),
            axes: lengthen_innermost(axes),
        }
    }
}

/// Floats from one place to the next that packing some blocks asks for: those of their channels, and of the last one's pad lanes.
pub(super) fn step_of(blocks: &[Block]) -> usize {
    let (first, last) = (&blocks[0], &blocks[blocks.len() - 1]);
    last.first - first.first + LANES
}

/// A range from zero in pieces.
pub(super) fn cut(size: usize, by: usize) -> impl Iterator<Item = Range<usize>> {
    (0..size).step_by(by).map(move |start| start..(start + by).min(size))
}

/// Output rows or columns for which a tap lies inside the picture: those whose input place
/// `o * stride + tap * dilation - padding` is in `0..input`.
fn inside(window: &Window, axis: usize, tap: usize, [input, output]: [usize; 2]) -> Range<usize> {
    let reach = tap * window.dilation[axis];
    let first = window.padding[axis].saturating_sub(reach).div_ceil(window.stride[axis]);
    let end = (input + window.padding[axis]).saturating_sub(reach).div_ceil(window.stride[axis]);
    first.min(output)..end.min(output)
}

/// What two ranges share; empty at a place in the first where that is nothing.
fn common(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let start = a.start.max(b.start).min(a.end);
    start..a.end.min(b.end).max(start)
}

/// The same pairs in the same order with as long an innermost axis as there is: axes that follow on are joined, so that a
/// 1x1 window goes through whole strips and a fully connected layer through images.
fn lengthen_innermost(axes: [Axis; 3]) -> [Axis; 3] {
    let mut long = [Axis { count: 1, x: 0, dy: 0 }; 3];
    let mut at = 2;
    for axis in axes.into_iter().rev().filter(|a| a.count != 1) {
        let inner = &mut long[at];
        if inner.count == 1 {
            *inner = axis;
        } else if (axis.x, axis.dy) == (inner.count * inner.x, inner.count * inner.dy) {
            inner.count *= axis.count;
        } else {
            at -= 1;
            long[at] = axis;
        }
    }
    long
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(count: usize, x: usize, dy: usize) -> Axis {
        Axis { count, x, dy }
    }

    #[test]
    fn axes_are_joined_where_they_follow_on() {
        let one = axis(1, 0, 0);
        assert_eq!(
            lengthen_innermost([axis(1, 900, 900), axis(4, 80, 80), axis(10, 8, 8)]),
            [one, one, axis(40, 8, 8)]
        );
        assert_eq!(lengthen_innermost([axis(7, 64, 64), axis(1, 8, 8), axis(1, 8, 8)]), [one, one, axis(7, 64, 64)]);
        let clipped = [axis(2, 900, 900), axis(4, 80, 80), axis(9, 8, 8)];
        assert_eq!(lengthen_innermost(clipped), clipped);
        assert_eq!(lengthen_innermost([axis(2, 900, 900), axis(4, 80, 80), axis(0, 8, 8)])[2].count, 0);
    }

    #[test]
    fn strips_cover_every_pixel_once() {
        for [height, width] in [[1, 1], [3, 5], [11, 13], [2, 128], [2, 129], [3, 300]] {
            let planes = Planes::dense(1, height, width, 0, 8);
            let window = Window { kernel: [1; 2], stride: [1; 2], padding: [0; 2], dilation: [1; 2] };
            let geometry = Geometry::new(window, &planes, &planes);
            let mut seen = Vec::new();
            for s in geometry.strips(3) {
                assert!(s.images.len() * s.rows.len() * s.columns.len() <= STRIP);
                let pixel = |i, y, x| (i * height + y) * width + x;
                let each = |i: usize| s.rows.clone().flat_map(move |y| [(i, y)]);
                let pairs = s.images.clone().flat_map(each);
                seen.extend(pairs.flat_map(|(i, y)| s.columns.clone().map(move |x| pixel(i, y, x))));
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..3 * height * width).collect::<Vec<_>>());
        }
    }
}
