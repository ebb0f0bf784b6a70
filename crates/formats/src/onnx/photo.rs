//! A photo's way to the network's picture in ONNX's operators: bytes `[batch, height, width, 3]` of any size become numbers
//! `0..=255`, `[batch, 3, rows, columns]`, as [`Preprocess::apply`] makes them, and these are normalised. What reads such files
//! ([`super::read`]) knows these nodes again; they come first in the file.
//!
//! ONNX's `Resize` can smooth what it shrinks since opset 18, but OpenVINO passes over that, and ONNX Runtime rounds a little
//! otherwise than Pillow (`docs/export.md` has figures). So resizing is said as what it is: the product with a matrix from the right,
//! which mixes columns, and with one from the left. Of the matrices only those rows are made that the crop keeps, from the photo's
//! size, when the network runs.
//!
//! Weights have 22 bits and pixels 8, which single precision cannot add up. But a weight is `2^11 high + low`, sums of either part are
//! whole numbers below `2^24` and so exact in any order, and with `s = 2^11 h + l` the byte that is wanted, `floor(s / 2^22 + 1/2)`,
//! is `floor((h + 2^10 + floor(l / 2^11)) / 2^11)`. (Sums of low parts can be larger where a photo shrinks more than 32 times;
//! then their last bit may be lost, which is `2^-22` of a level.)

use cspnet_vision::{Filter, Preprocess, Resize};

use super::emit::{Emitter, Form};
use super::proto::{Attribute, DOUBLE, FLOAT, INT64};

#[cfg(test)]
mod tests;

/// Bits of a weight behind the point, as in Pillow.
const PRECISION: i32 = 22;
/// Bits of the low part of a weight.
const LOW: i32 = PRECISION / 2;

/// A whole number that is known when the network runs, or before.
#[derive(Clone)]
enum Number {
    Known(i64),
    Computed(String),
}

/// A weight's two parts for every pixel of the crop and of the photo's side, `[crop, side]`.
struct Matrix {
    high: String,
    low: String,
}

impl Emitter<'_> {
    /// Writes all that leads from photos to what the network takes, its first value, and gives the name by which they go in.
    pub(super) fn photo(&mut self, preprocess: &Preprocess) -> String {
        let photo = self.claim("photo");
        let taken = self.claim(&self.graph.node(0).path);
        let picture = self.picture(&photo, preprocess);
        let taken = self.normalise(taken, vec![picture], &preprocess.mean, &preprocess.std);
        self.push(taken, Form::Planes);
        photo
    }

    /// Writes the way of `photo` to the picture's bytes; gives their name.
    fn picture(&mut self, photo: &str, preprocess: &Preprocess) -> String {
        let (rows, columns) = (i64::from(preprocess.size.0), i64::from(preprocess.size.1));
        let shape = self.step("shape", "Shape", &[photo]);
        let [height, width] = [("height", 1), ("width", 2)].map(|(side, axis)| {
            let axis = self.whole(side, axis);
            Number::Computed(self.step(side, "Gather", &[&shape, &axis]))
        });
        let [tall, wide] = match preprocess.resize {
            Resize::Stretch => [Number::Known(rows), Number::Known(columns)],
            Resize::ShorterSide(to) => {
                let to = Number::Known(to.into());
                let shorter = self.whole_step("shorter", "Min", &[&height, &width]);
                [&height, &width].map(|side| {
                    let product = self.whole_step("resized", "Mul", &[side, &to]);
                    self.whole_step("resized", "Div", &[&product, &shorter])
                })
            }
        };
        let smallest = match preprocess.resize {
            Resize::Stretch => i64::MAX,
            Resize::ShorterSide(to) => to.into(),
        };
        let planes = self.with("planes", "Transpose", &[photo], vec![Attribute::ints("perm", &[0, 3, 1, 2])]);
        let planes = self.cast("planes", &planes, FLOAT);
        let by_columns = self.matrix(&width, &wide, columns, smallest, preprocess.filter);
        let [high, low] = [&by_columns.high, &by_columns.low].map(|part| {
            let turned = self.with("columns", "Transpose", &[part], vec![Attribute::ints("perm", &[1, 0])]);
            self.step("columns", "MatMul", &[&planes, &turned])
        });
        let narrowed = self.bytes(&high, &low);
        let by_rows = self.matrix(&height, &tall, rows, smallest, preprocess.filter);
        let [high, low] = [&by_rows.high, &by_rows.low].map(|part| self.step("rows", "MatMul", &[part, &narrowed]));
        self.bytes(&high, &low)
    }

    /// The weights with which `from` pixels make up those `crop` in the middle of `to`; `smallest` is known of `to`.
    fn matrix(&mut self, from: &Number, to: &Number, crop: i64, smallest: i64, filter: Filter) -> Matrix {
        let pixels: Vec<i64> = (0..crop).collect();
        let pixels = self.wholes("crop", &[crop as usize, 1], &pixels);
        let (pixels, inside) = match to {
            // The whole side.
            Number::Known(to) if *to == crop => (pixels, None),
            _ => {
                let first = self.first(to, crop, smallest);
                let pixels = self.step("crop", "Add", &[&pixels, &first]);
                if smallest < crop { self.padded(&pixels, to) } else { (pixels, None) }
            }
        };
        let distance = self.distance(&pixels, from, to);
        let mut shape = self.filtered(&distance, filter);
        let axis = self.wholes("axis", &[1], &[1]);
        let sum = self.with("weights.sum", "ReduceSum", &[&shape, &axis], vec![Attribute::int("keepdims", 1)]);
        if let Some(inside) = inside {
            shape = self.step("weights", "Mul", &[&shape, &inside]);
        }
        let weights = self.step("weights", "Div", &[&shape, &sum]);
        let weights = self.affine("weights", &weights, 2_f64.powi(PRECISION), 0.5);
        let weights = self.step("weights", "Floor", &[&weights]);
        let high = self.affine("weights.high", &weights, 2_f64.powi(-LOW), 0.5);
        let high = self.step("weights.high", "Floor", &[&high]);
        let back = self.affine("weights.low", &high, -2_f64.powi(LOW), 0.0);
        let low = self.step("weights.low", "Add", &[&weights, &back]);
        Matrix { high: self.cast("weights.high", &high, FLOAT), low: self.cast("weights.low", &low, FLOAT) }
    }

    /// Where in a side of `to` pixels the crop begins: as [`cspnet_vision::geometry::centre_crop`], negative where it is padded.
    fn first(&mut self, to: &Number, crop: i64, smallest: i64) -> String {
        let [crop_, two, zero] = [crop, 2, 0].map(Number::Known);
        let mut over = self.whole_step("over", "Sub", &[to, &crop_]);
        if smallest < crop {
            over = self.whole_step("over", "Max", &[&over, &zero]);
        }
        let half = self.whole_step("first", "Div", &[&over, &two]);
        // Halves go to the even neighbour.
        let tie = self.whole_step("first.tie", "Mod", &[&over, &two]);
        let odd = self.whole_step("first.odd", "Mod", &[&half, &two]);
        let up = self.whole_step("first.up", "Mul", &[&tie, &odd]);
        let mut first = self.whole_step("first", "Add", &[&half, &up]);
        if smallest < crop {
            let under = self.whole_step("under", "Sub", &[&crop_, to]);
            let under = self.whole_step("under", "Max", &[&under, &zero]);
            let before = self.whole_step("under", "Div", &[&under, &two]);
            first = self.whole_step("first", "Sub", &[&first, &before]);
        }
        self.name_of("first", &first)
    }

    /// The nearest pixels of a side of `to`, and 1 for those that were of it already, 0 for those beside it, which are black.
    fn padded(&mut self, pixels: &str, to: &Number) -> (String, Option<String>) {
        let last = self.whole_step("last", "Sub", &[to, &Number::Known(1)]);
        let [zero, last] = [Number::Known(0), last].map(|number| self.name_of("last", &number));
        let nearest = self.step("inside", "Max", &[pixels, &zero]);
        let nearest = self.step("inside", "Min", &[&nearest, &last]);
        let inside = self.step("inside", "Equal", &[pixels, &nearest]);
        let inside = self.cast("inside", &inside, DOUBLE);
        (nearest, Some(inside))
    }

    /// How far the centres of the photo's pixels are from that of each of `pixels`, in units of the filter:
    /// `|(2 x + 1) to - (2 i + 1) from| / (2 max(from, to))`, of which all but the quotient is whole.
    fn distance(&mut self, pixels: &str, from: &Number, to: &Number) -> String {
        let [zero, one, two] = [0, 1, 2].map(|number| self.whole("number", number));
        let [from_, to_] = [from, to].map(|number| self.name_of("side", number));
        let all = self.step("side", "Range", &[&zero, &from_, &one]);
        let [theirs, ours] = [(&all[..], &to_), (pixels, &from_)].map(|(pixels, factor)| {
            let doubled = self.step("centre", "Mul", &[pixels, &two]);
            let centre = self.step("centre", "Add", &[&doubled, &one]);
            self.step("centre", "Mul", &[&centre, factor])
        });
        let apart = self.step("distance", "Sub", &[&theirs, &ours]);
        let apart = self.step("distance", "Abs", &[&apart]);
        let larger = self.step("unit", "Max", &[&from_, &to_]);
        let unit = self.step("unit", "Mul", &[&larger, &two]);
        let [apart, unit] = [apart, unit].map(|whole| self.cast("distance", &whole, DOUBLE));
        self.step("distance", "Div", &[&apart, &unit])
    }

    /// The filter at each distance; see [`Filter`].
    fn filtered(&mut self, distance: &str, filter: Filter) -> String {
        match filter {
            Filter::Bilinear => {
                let near = self.clipped(distance, 0.0, 1.0);
                self.affine("filter", &near, -1.0, 1.0)
            }
            // A polynomial up to 1 and another up to 2. Each is 0 where it ends, so the two are added.
            Filter::Bicubic => {
                let near = self.clipped(distance, 0.0, 1.0);
                let near = self.polynomial(&near, &[1.5, -2.5, 0.0, 1.0]);
                let far = self.clipped(distance, 1.0, 2.0);
                let far = self.polynomial(&far, &[-0.5, 2.5, -4.0, 2.0]);
                self.step("filter", "Add", &[&near, &far])
            }
        }
    }

    /// A polynomial by Horner's rule, the highest coefficient first.
    fn polynomial(&mut self, x: &str, coefficients: &[f64]) -> String {
        let mut sum = self.affine("filter", x, coefficients[0], coefficients[1]);
        for &coefficient in &coefficients[2..] {
            let product = self.step("filter", "Mul", &[&sum, x]);
            sum = self.affine("filter", &product, 1.0, coefficient);
        }
        sum
    }

    fn clipped(&mut self, x: &str, least: f64, most: f64) -> String {
        let bounds = [least, most].map(|bound| self.double("bound", bound));
        self.step("distance", "Clip", &[x, &bounds[0], &bounds[1]])
    }

    /// The bytes, as single-precision numbers, of sums of which these are the two parts.
    fn bytes(&mut self, high: &str, low: &str) -> String {
        let [unit, half, zero, most] = [2_f32.powi(-LOW), 2_f32.powi(LOW - 1), 0.0, 255.0]
            .map(|number| self.floats("preprocess.number", &[], &[number]));
        let low = self.step("bytes", "Mul", &[low, &unit]);
        let low = self.step("bytes", "Floor", &[&low]);
        let sum = self.step("bytes", "Add", &[high, &low]);
        let sum = self.step("bytes", "Add", &[&sum, &half]);
        let sum = self.step("bytes", "Mul", &[&sum, &unit]);
        let sum = self.step("bytes", "Floor", &[&sum]);
        self.step("bytes", "Clip", &[&sum, &zero, &most])
    }

    /// `factor x + summand` in double precision, without what changes nothing.
    fn affine(&mut self, what: &str, x: &str, factor: f64, summand: f64) -> String {
        let mut value = x.to_owned();
        if factor != 1.0 {
            let factor = self.double(what, factor);
            value = self.step(what, "Mul", &[&value, &factor]);
        }
        if summand != 0.0 {
            let summand = self.double(what, summand);
            value = self.step(what, "Add", &[&value, &summand]);
        }
        value
    }

    fn cast(&mut self, what: &str, value: &str, to: i32) -> String {
        self.with(what, "Cast", &[value], vec![Attribute::int("to", to as usize)])
    }

    /// An operation on whole numbers.
    fn whole_step(&mut self, what: &str, operator: &str, inputs: &[&Number; 2]) -> Number {
        let inputs = inputs.map(|number| self.name_of(what, number));
        Number::Computed(self.step(what, operator, &[&inputs[0], &inputs[1]]))
    }

    fn name_of(&mut self, what: &str, number: &Number) -> String {
        match number {
            Number::Known(number) => self.whole(what, *number),
            Number::Computed(name) => name.clone(),
        }
    }

    /// A node of the way, named by what it computes.
    fn step(&mut self, what: &str, operator: &str, inputs: &[&str]) -> String {
        self.with(what, operator, inputs, Vec::new())
    }

    fn with(&mut self, what: &str, operator: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        let name = self.claim(&format!("preprocess.{what}"));
        self.node(operator, name, inputs.iter().map(|&i| i.to_owned()).collect(), attributes)
    }

    /// A whole number, without dimensions.
    fn whole(&mut self, what: &str, number: i64) -> String {
        self.wholes(what, &[], &[number])
    }

    fn wholes(&mut self, what: &str, shape: &[usize], numbers: &[i64]) -> String {
        let bytes = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initialiser(&format!("preprocess.{what}"), INT64, shape, bytes)
    }

    /// A number in double precision, without dimensions.
    fn double(&mut self, what: &str, number: f64) -> String {
        self.initialiser(&format!("preprocess.{what}"), DOUBLE, &[], number.to_le_bytes().to_vec())
    }
}
