//! Changing the number of rows and columns by reading between the pixels, as ONNX's operator `Resize` defines it.

use serde::{Deserialize, Serialize};

use super::positive;

/// Another number of rows and columns; every pair is `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resize {
    /// How many.
    pub to: ResizeTo,
    /// What is read between pixels.
    pub filter: Filter,
    /// Where a pixel of the output lies in the input.
    pub coordinates: Coordinates,
}

/// How many rows and columns a resized value has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeTo {
    /// So many times as the input, rounded down.
    Scale([f32; 2]),
    /// So many.
    Size([usize; 2]),
}

/// What is read at a place between pixels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Filter {
    /// The pixel that rounding leads to.
    Nearest {
        /// How it is rounded.
        rounding: Rounding,
    },
    /// The straight line between the two pixels around it; beyond the edge, the edge.
    Linear,
    /// Keys' cubic through the four pixels around it; beyond the edge, the edge.
    Cubic {
        /// Its free coefficient; PyTorch and ONNX have -0.75.
        coefficient: f64,
    },
}

/// How a place becomes a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// To the nearer one, halves down.
    PreferFloor,
    /// To the nearer one, halves up.
    PreferCeil,
    /// Down.
    Floor,
    /// Up.
    Ceil,
}

/// Where the pixel `o` of the output lies in the input, by the names of ONNX's `coordinate_transformation_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinates {
    /// `(o + 1/2) / scale - 1/2`
    HalfPixel,
    /// The same, moved so that the middle stays the middle where the scaled size was rounded.
    HalfPixelSymmetric,
    /// The same as `HalfPixel`, but a single pixel lies at 0.
    PytorchHalfPixel,
    /// `o * (input - 1) / (output - 1)`
    AlignCorners,
    /// `o / scale`
    Asymmetric,
    /// `(o + 1/2) / scale`
    TfHalfPixelForNn,
}

impl Resize {
    /// Every pixel `factor` times in both directions, as networks usually upsample.
    pub fn repeat(factor: usize) -> Self {
        Self {
            to: ResizeTo::Scale([factor as f32; 2]),
            filter: Filter::Nearest { rounding: Rounding::Floor },
            coordinates: Coordinates::Asymmetric,
        }
    }

    /// Whether its constants make sense.
    pub(super) fn check(&self) -> Result<(), String> {
        let sound = match self.to {
            ResizeTo::Scale(scale) => scale.iter().all(|s| *s > 0.0 && s.is_finite()),
            ResizeTo::Size(size) => size.iter().all(|&n| positive(n, "pixels").is_ok()),
        };
        match self.filter {
            Filter::Cubic { coefficient } if !coefficient.is_finite() => Err(format!("is cubic by {coefficient}")),
            _ if sound => Ok(()),
            _ => Err(format!("gives {:?}", self.to)),
        }
    }

    /// Rows and columns of the output.
    pub fn output(&self, size: [usize; 2]) -> [usize; 2] {
        match self.to {
            // What is beyond all numbers is the largest, and refused with other values that are too large.
            ResizeTo::Scale(scale) => [0, 1].map(|axis| (size[axis] as f32 * scale[axis]) as usize),
            ResizeTo::Size(size) => size,
        }
    }

    /// The whole number of times that every pixel is repeated in each direction, if that is all that happens to an input of this
    /// size.
    pub fn repeats(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let output = self.output(size);
        let along = |axis: usize| {
            let times = output[axis] / size[axis];
            let (taps, exact) = (self.taps(axis, size[axis]), output[axis].is_multiple_of(size[axis]));
            let repeats = exact && taps.iter().enumerate().all(|(o, taps)| taps[..] == [(o / times, 1.0)]);
            repeats.then_some(times)
        };
        Some([along(0)?, along(1)?])
    }

    /// Which pixels of `input` along a direction (0 vertical, 1 horizontal) each pixel of the output is made of, and the weight of
    /// each. Computed in single precision, as ONNX Runtime does: places may lie right between two pixels, and then that decides.
    pub fn taps(&self, axis: usize, input: usize) -> Vec<Vec<(usize, f32)>> {
        let output = self.output([input; 2])[axis];
        let scale = match self.to {
            ResizeTo::Scale(scale) => scale[axis],
            ResizeTo::Size(_) => output as f32 / input as f32,
        };
        let place = |o: usize| self.coordinates.place(o, input, output, scale);
        (0..output).map(|o| self.filter.taps(place(o), input)).collect()
    }
}

impl Coordinates {
    fn place(self, o: usize, input: usize, output: usize, scale: f32) -> f32 {
        let (x, length, resized) = (o as f32, input as f32, output as f32);
        match self {
            Self::PytorchHalfPixel | Self::AlignCorners if output == 1 => 0.0,
            Self::HalfPixel | Self::PytorchHalfPixel => (x + 0.5) / scale - 0.5,
            Self::HalfPixelSymmetric => {
                let offset = length / 2.0 * (1.0 - resized / (scale * length));
                offset + (x + 0.5) / scale - 0.5
            }
            Self::AlignCorners => x * (length - 1.0) / (resized - 1.0),
            Self::Asymmetric => x / scale,
            Self::TfHalfPixelForNn => (x + 0.5) / scale,
        }
    }
}

impl Filter {
    fn taps(self, place: f32, input: usize) -> Vec<(usize, f32)> {
        // A negative number becomes 0.
        let clamped = |pixel: f32| (pixel as usize).min(input - 1);
        match self {
            Self::Nearest { rounding } => vec![(clamped(rounding.of(place)), 1.0)],
            Self::Linear => {
                let place = place.clamp(0.0, (input - 1) as f32);
                let first = clamped(place);
                let share = place - first as f32;
                vec![(first, 1.0 - share), ((first + 1).min(input - 1), share)]
            }
            Self::Cubic { coefficient } => {
                let (first, a) = (place.floor(), coefficient as f32);
                let near = |d: f32| ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0;
                let far = |d: f32| ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a;
                let d = place - first;
                let weights = [far(d + 1.0), near(d), near(1.0 - d), far(2.0 - d)];
                let pixels = [-1.0, 0.0, 1.0, 2.0].map(|step| clamped(first + step));
                pixels.into_iter().zip(weights).collect()
            }
        }
    }
}

impl Rounding {
    fn of(self, place: f32) -> f32 {
        match self {
            Self::Floor => place.floor(),
            Self::Ceil => place.ceil(),
            Self::PreferFloor => (place - 0.5).ceil(),
            Self::PreferCeil => place.round(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(coordinates: Coordinates, to: ResizeTo) -> Resize {
        Resize { to, filter: Filter::Linear, coordinates }
    }

    /// A row `1, 2, 3 ...` resized.
    fn resized(resize: &Resize, input: usize) -> Vec<f32> {
        let sum = |taps: &Vec<(usize, f32)>| taps.iter().map(|&(i, w)| w * (i + 1) as f32).sum();
        resize.taps(1, input).iter().map(sum).collect()
    }

    #[test]
    fn nearest_by_a_factor_repeats() {
        let twice = Resize::repeat(2);
        assert_eq!((twice.output([3, 5]), twice.repeats([3, 5])), ([6, 10], Some([2, 2])));
        assert_eq!(resized(&twice, 3), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        let sized = Resize { to: ResizeTo::Size([6, 5]), ..twice };
        assert_eq!((sized.repeats([3, 5]), sized.repeats([4, 5])), (Some([2, 1]), None));
        assert_eq!(linear(Coordinates::HalfPixel, ResizeTo::Size([3, 5])).repeats([3, 5]), None);
        // PyTorch's exporter writes halves rounded down, which is the same.
        let torch = Resize {
            filter: Filter::Nearest { rounding: Rounding::PreferFloor },
            coordinates: Coordinates::HalfPixel,
            ..twice
        };
        assert_eq!(torch.repeats([7, 7]), Some([2, 2]));
    }

    #[test]
    fn lines_and_cubics_give_the_numbers_of_onnx() {
        // test_resize_upsample_scales_linear, its first row; test_resize_upsample_scales_linear_align_corners.
        let scale = ResizeTo::Scale([2.0; 2]);
        assert_eq!(resized(&linear(Coordinates::HalfPixel, scale), 2), [1.0, 1.25, 1.75, 2.0]);
        let corners = resized(&linear(Coordinates::AlignCorners, scale), 2);
        assert!(corners.iter().zip([1.0, 4.0 / 3.0, 5.0 / 3.0, 2.0]).all(|(a, b)| (a - b).abs() < 1e-6));
        assert_eq!(resized(&linear(Coordinates::PytorchHalfPixel, ResizeTo::Size([1, 1])), 4), [1.0]);
        assert_eq!(resized(&linear(Coordinates::Asymmetric, scale), 2), [1.0, 1.5, 2.0, 2.0]);
        // test_resize_upsample_scales_cubic: its rows are 1..=4 plus 4 a row, here without what the rows add.
        let cubic =
            Resize { to: scale, filter: Filter::Cubic { coefficient: -0.75 }, coordinates: Coordinates::HalfPixel };
        let expected = [229, 305, 427, 588, 692, 853].map(|n| n as f32 / 256.0);
        assert_eq!(resized(&cubic, 4)[..6], expected);
    }

    #[test]
    fn halves_are_rounded_as_told() {
        let rounded = [Rounding::PreferFloor, Rounding::PreferCeil, Rounding::Floor, Rounding::Ceil].map(|r| r.of(1.5));
        assert_eq!(rounded, [1.0, 2.0, 1.0, 2.0]);
        assert_eq!([Rounding::PreferFloor, Rounding::PreferCeil].map(|r| r.of(1.75)), [2.0, 2.0]);
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        let to = |to| linear(Coordinates::HalfPixel, to).check().is_err();
        assert!(to(ResizeTo::Scale([0.0, 1.0])) && to(ResizeTo::Scale([f32::NAN, 1.0])));
        assert!(to(ResizeTo::Scale([f32::INFINITY, 1.0])) && to(ResizeTo::Size([0, 1])));
        assert_eq!(linear(Coordinates::HalfPixel, ResizeTo::Scale([1e38; 2])).output([9, 9]), [usize::MAX; 2]);
    }
}
