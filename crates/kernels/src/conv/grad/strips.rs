//! How pixels are cut into strips, each packed and summed in one go, and which of a strip's pixels a tap brings together. Not
//! here: packing ([`super::pack`]), sums.

use std::collections::BTreeSet;
use std::ops::Range;

use super::cells::Sizes;
use super::walk::{Geometry, cut, step_of};
use crate::{Block, LANES};

/// Output pixels of a strip, at most: few enough for what a tile reads of it to stay in the first-level cache, and for their
/// sum to be exact enough.
const STRIP: usize = 128;

/// Floats of a packed strip, of either operand, that a cell may ask for: what does not fit into the second-level cache beside the
/// other is read from farther away.
const PACKED: usize = 160 * 1024;

/// What a tap multiplies in packed strips, in floats from their start: a place of the output's gradient, if it has one block, and
/// a place of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub dy: u32,
    pub x: u32,
}

/// A rectangle of an image, or several whole images.
#[derive(Debug)]
pub(super) struct Strip {
    /// Of the output.
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    /// Rows and columns of the input that its taps see, and nothing between them.
    pub seen: [Vec<usize>; 2],
    /// Its table of pairs.
    table: usize,
}

/// The strips of any number of images.
#[derive(Debug)]
pub(super) struct Strips {
    /// Images of a strip; above one, a strip holds whole images.
    images: usize,
    of_an_image: Vec<Strip>,
    /// For every tap its pairs in a strip, image after image. Most strips of a picture have the same.
    tables: Vec<Vec<Vec<Pair>>>,
}

impl Strip {
    /// Places of the input in one image.
    pub fn places(&self) -> usize {
        self.seen[0].len() * self.seen[1].len()
    }

    /// Places of the output's gradient in one image.
    pub fn pixels(&self) -> usize {
        self.rows.len() * self.columns.len()
    }
}

impl Strips {
    /// The cut depends on the output's size alone.
    pub fn new(geometry: &Geometry) -> Self {
        let [height, width] = [geometry.d_output.height(), geometry.d_output.width()];
        let columns = width.min(STRIP);
        let rows = (STRIP / columns).min(height);
        let images = if columns < width || rows < height { 1 } else { (STRIP / (rows * columns)).max(1) };
        let mut strips = Self { images, of_an_image: Vec::new(), tables: Vec::new() };
        for rows in cut(height, rows) {
            for columns in cut(width, columns) {
                strips.add(geometry, rows.clone(), columns);
            }
        }
        strips
    }

    fn add(&mut self, geometry: &Geometry, rows: Range<usize>, columns: Range<usize>) {
        let ranges = [rows.clone(), columns.clone()];
        let seen = [0, 1].map(|axis| {
            let taps = 0..geometry.window.kernel[axis];
            let outputs =
                |tap| geometry.outputs(axis, tap, &ranges[axis]).map(move |o| geometry.input_place(axis, tap, o));
            taps.flat_map(outputs).collect::<BTreeSet<usize>>().into_iter().collect::<Vec<_>>()
        });
        let mut strip = Strip { rows, columns, seen, table: 0 };
        let [kh, kw] = geometry.window.kernel;
        let taps = (0..kh).flat_map(|ky| (0..kw).map(move |kx| [ky, kx]));
        let table: Vec<_> = taps.map(|tap| self.pairs(geometry, &strip, tap)).collect();
        let known = self.tables.iter().position(|t| *t == table);
        strip.table = known.unwrap_or_else(|| {
            self.tables.push(table);
            self.tables.len() - 1
        });
        self.of_an_image.push(strip);
    }

    /// Counts places of the input in floats, so many a place.
    pub fn set_step(&mut self, step: usize) {
        self.tables.iter_mut().flatten().flatten().for_each(|pair| pair.x *= step as u32);
    }

    /// What a tap brings together in as many images as a strip has, in places of the input.
    fn pairs(&self, geometry: &Geometry, strip: &Strip, tap: [usize; 2]) -> Vec<Pair> {
        let [rows, columns] = [&strip.rows, &strip.columns];
        // Output and input place along an axis, counted within the strip.
        let along = |axis: usize, range: &Range<usize>| -> Vec<[usize; 2]> {
            let seen = &strip.seen[axis];
            let input =
                |o| seen.binary_search(&geometry.input_place(axis, tap[axis], o)).expect("a place that is seen");
            geometry.outputs(axis, tap[axis], range).map(|o| [o - range.start, input(o)]).collect()
        };
        let [down, across] = [along(0, rows), along(1, columns)];
        let mut pairs = Vec::new();
        for image in 0..self.images {
            for &[row, x_row] in &down {
                let [dy, x] = [
                    (image * rows.len() + row) * columns.len(),
                    (image * strip.seen[0].len() + x_row) * strip.seen[1].len(),
                ];
                pairs.extend(across.iter().map(|&[o, i]| Pair { dy: ((dy + o) * LANES) as u32, x: (x + i) as u32 }));
            }
        }
        pairs
    }

    /// A strip of so many images, and which of these it holds.
    pub fn at(&self, strip: usize, images: usize) -> (&Strip, Range<usize>) {
        let (group, strip) = (strip / self.of_an_image.len(), strip % self.of_an_image.len());
        (&self.of_an_image[strip], group * self.images..((group + 1) * self.images).min(images))
    }

    /// What a tap, counted row by row, brings together in some images of a strip.
    pub fn pairs_of(&self, strip: &Strip, tap: usize, images: usize) -> &[Pair] {
        let all = &self.tables[strip.table][tap];
        &all[..all.len() / self.images * images]
    }

    /// Places of the input and of the output's gradient in a strip, at most.
    pub fn most_places(&self) -> [usize; 2] {
        let most = |of: fn(&Strip) -> usize| self.of_an_image.iter().map(of).max().unwrap_or(0) * self.images;
        [most(Strip::places), most(Strip::pixels)]
    }
}

impl Sizes for Strips {
    fn units(&self, images: usize) -> usize {
        images.div_ceil(self.images) * self.of_an_image.len()
    }

    fn fits(&self, outputs: usize, inputs: &[Block]) -> bool {
        let [places, pixels] = self.most_places();
        places * step_of(inputs) <= PACKED && pixels * outputs * LANES <= PACKED
    }

    fn cuts_taps(&self) -> bool {
        true
    }

    fn sums(&self) -> usize {
        3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Planes, Window};

    fn geometry(kernel: usize, stride: usize, [height, width]: [usize; 2]) -> Geometry {
        let window = Window { kernel: [kernel; 2], stride: [stride; 2], padding: [kernel / 2; 2], dilation: [1; 2] };
        let planes = |h, w| Planes::dense(1, h, w, 0, h * w * 8);
        Geometry::new(window, &planes(height * stride, width * stride), &planes(height, width))
    }

    #[test]
    fn strips_cover_every_pixel_once() {
        for [height, width] in [[1, 1], [3, 5], [11, 13], [2, 64], [2, 65], [3, 150]] {
            let strips = Strips::new(&geometry(1, 1, [height, width]));
            let mut seen = Vec::new();
            for (s, images) in (0..strips.units(3)).map(|i| strips.at(i, 3)) {
                assert!(images.len() * s.pixels() <= STRIP);
                let pixel = |i, y, x| (i * height + y) * width + x;
                let pairs = images.flat_map(|i| s.rows.clone().map(move |y| (i, y)));
                seen.extend(pairs.flat_map(|(i, y)| s.columns.clone().map(move |x| pixel(i, y, x))));
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..3 * height * width).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_strip_sees_only_what_its_taps_see() {
        let of = |kernel, stride| Strips::new(&geometry(kernel, stride, [2, 3])).of_an_image.remove(0).seen;
        assert_eq!(of(1, 2), [vec![0, 2], vec![0, 2, 4]]);
        assert_eq!(of(3, 2), [vec![0, 1, 2, 3], vec![0, 1, 2, 3, 4, 5]]);
    }

    #[test]
    fn pairs_are_an_output_and_the_input_it_sees() {
        let strips = Strips::new(&geometry(3, 1, [2, 2]));
        let (strip, images) = strips.at(0, 2);
        let pair = |dy, x| Pair { dy: dy * LANES as u32, x };
        assert_eq!(strips.pairs_of(strip, 0, images.len()), [pair(3, 0), pair(7, 4)]);
        assert_eq!(strips.pairs_of(strip, 5, 1), [pair(0, 1), pair(2, 3)]);
        assert_eq!(strips.pairs_of(strip, 4, 1).len(), 4);
    }

    #[test]
    fn strips_inside_a_picture_share_a_table() {
        assert_eq!(Strips::new(&geometry(3, 1, [64, 32])).tables.len(), 3);
    }
}
