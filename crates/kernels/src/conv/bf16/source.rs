//! Where the pixels of some images lie side by side with their padding, in one list of places: a tap is then an offset, for all.
//!
//! A row is followed by the next one's padding, and an image by the next one's, so that both sides share it. Not here: what lies there.

use std::ops::Range;

use super::tiles::DEPTH;
use crate::{LANES, Planes};

/// The places of a unit of work: some whole images, or some rows of one.
#[derive(Debug)]
pub(in crate::conv) struct Grid {
    pub kernel: [usize; 2],
    pub padding: [usize; 2],
    /// Rows and columns of the source and of the target.
    source: [usize; 2],
    target: [usize; 2],
    /// Images of a unit, and rows of the target.
    images: usize,
    rows: usize,
    /// Places from a row to the next, and from an image to the next.
    row_len: usize,
    image_len: usize,
}

/// Some images, and some rows of the target in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::conv) struct Unit {
    pub images: Range<usize>,
    pub rows: Range<usize>,
}

/// A row of the source that a unit sees.
pub(in crate::conv) struct Row {
    pub image: usize,
    /// Its first float in a plane.
    pub first: usize,
    /// The place of its first pixel.
    pub place: usize,
}

impl Grid {
    /// For units of about so many pixels.
    pub fn new(kernel: [usize; 2], padding: [usize; 2], source: &Planes, target: &Planes, pixels: usize) -> Self {
        let size = |planes: &Planes| [planes.height(), planes.width()];
        let ([source, target], all) = ([size(source), size(target)], target.pixels());
        let row_len = match source[1] + padding[1] {
            len if len > target[1] => len,
            // No pair of places belongs to two rows.
            _ => target[1].next_multiple_of(2),
        };
        let (images, rows) = match all <= 2 * pixels {
            true => ((pixels / all).max(1), target[0]),
            false => (1, (pixels / target[1]).clamp(1, target[0])),
        };
        let image_len = (source[0] + padding[0]).max(target[0]) * row_len;
        Self { kernel, padding, source, target, images, rows, row_len, image_len }
    }

    /// The work on so many images.
    pub fn count(&self, images: usize) -> usize {
        images.div_ceil(self.images) * self.target[0].div_ceil(self.rows)
    }

    /// A piece of it.
    pub fn unit(&self, number: usize, images: usize) -> Unit {
        let pieces = self.target[0].div_ceil(self.rows);
        let (first, row) = (number / pieces * self.images, number % pieces * self.rows);
        Unit { images: first..(first + self.images).min(images), rows: row..(row + self.rows).min(self.target[0]) }
    }

    /// Offsets of the taps, in places.
    pub fn taps(&self) -> impl Iterator<Item = usize> {
        let (row_len, [rows, columns]) = (self.row_len, self.kernel);
        (0..rows).flat_map(move |row| (0..columns).map(move |column| row * row_len + column))
    }

    /// Places of the target's pixels, in whole tiles.
    pub fn len(&self) -> usize {
        self.len_of(&Unit { images: 0..self.images, rows: 0..self.rows })
    }

    /// Those of a unit.
    pub fn len_of(&self, unit: &Unit) -> usize {
        let (images, rows) = (unit.images.len() - 1, unit.rows.len() - 1);
        (images * self.image_len + rows * self.row_len + self.target[1]).next_multiple_of(DEPTH)
    }

    /// Places of the source: what taps reach from any of those.
    pub fn room(&self) -> usize {
        let [rows, columns] = self.kernel.map(|taps| taps - 1);
        (self.len() + rows * self.row_len + columns).next_multiple_of(DEPTH)
    }

    /// For every place of the target its image within a unit and the float of its pixel, counted from the unit's first row.
    pub fn places(&self) -> Vec<Option<(u32, u32)>> {
        let mut places = vec![None; self.len()];
        for (image, row) in (0..self.images).flat_map(|image| (0..self.rows).map(move |row| (image, row))) {
            for column in 0..self.target[1] {
                let float = (row * self.target[1] + column) * LANES;
                places[image * self.image_len + row * self.row_len + column] = Some((image as u32, float as u32));
            }
        }
        places
    }

    /// Rows of the source that a unit sees, with the places of their pixels.
    pub fn source_rows<'a>(&'a self, unit: &'a Unit) -> impl Iterator<Item = Row> + 'a {
        let [above, before] = self.padding;
        let seen = unit.rows.start..unit.rows.end + self.kernel[0] - 1;
        let inside = seen.start.max(above)..seen.end.min(above + self.source[0]);
        unit.images.clone().enumerate().flat_map(move |(i, image)| {
            inside.clone().map(move |row| Row {
                image,
                first: (row - above) * self.source[1] * LANES,
                place: i * self.image_len + (row - unit.rows.start) * self.row_len + before,
            })
        })
    }

    /// Rows of the target in a unit, with the places of their pixels.
    pub fn target_rows<'a>(&'a self, unit: &'a Unit) -> impl Iterator<Item = Row> + 'a {
        unit.images.clone().enumerate().flat_map(move |(i, image)| {
            unit.rows.clone().map(move |row| Row {
                image,
                first: row * self.target[1] * LANES,
                place: i * self.image_len + (row - unit.rows.start) * self.row_len,
            })
        })
    }
}
