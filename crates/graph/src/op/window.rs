//! Windows that slide over rows and columns, the padding around these, and what poolings do with a window.

use serde::{Deserialize, Serialize};

use crate::error::GraphError;

/// Cells added around the rows and columns of a value; every pair is `[vertical, horizontal]`.
///
/// A file has two numbers where they are the same on both sides, and else four in ONNX's order, top, left, bottom, right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<usize>", into = "Vec<usize>")]
pub struct Padding {
    /// Before the first row and column.
    pub before: [usize; 2],
    /// After the last row and column.
    pub after: [usize; 2],
}

impl Padding {
    /// No cells.
    pub const NONE: Self = Self::even([0; 2]);

    /// The same on both sides.
    pub const fn even(cells: [usize; 2]) -> Self {
        Self { before: cells, after: cells }
    }
}

impl TryFrom<Vec<usize>> for Padding {
    type Error = &'static str;

    fn try_from(cells: Vec<usize>) -> Result<Self, &'static str> {
        match cells[..] {
            [vertical, horizontal] => Ok(Self::even([vertical, horizontal])),
            [top, left, bottom, right] => Ok(Self { before: [top, left], after: [bottom, right] }),
            _ => Err("a padding has two numbers, or four if its sides differ"),
        }
    }
}

impl From<Padding> for Vec<usize> {
    fn from(padding: Padding) -> Self {
        if padding.before == padding.after { padding.before.into() } else { [padding.before, padding.after].concat() }
    }
}

/// A sliding window over rows and columns; every pair is `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Taps.
    pub kernel: [usize; 2],
    /// Steps between two outputs.
    pub stride: [usize; 2],
    /// Cells around the value.
    pub padding: Padding,
    /// Steps between two taps.
    pub dilation: [usize; 2],
    /// Whether a last window that reaches beyond the padding is there, too, if it begins before the padding behind the value
    /// (PyTorch's and ONNX's ceil mode). Cells beyond the padding never count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ceil: bool,
}

impl Window {
    /// A square window of `kernel` taps with steps of `stride` and `padding` cells on every side.
    pub const fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        let padding = Padding::even([padding; 2]);
        Self { kernel: [kernel; 2], stride: [stride; 2], padding, dilation: [1; 2], ceil: false }
    }

    /// The window with the least padding that gives `ceil(size / stride)` rows and columns: `SAME_UPPER` and `SAME_LOWER` of
    /// ONNX's `auto_pad`, the former being TensorFlow's. A cell without a partner lies after the value, or before it if
    /// `is_lower`. At other sizes this may be another padding.
    #[must_use]
    pub fn same(self, size: [usize; 2], is_lower: bool) -> Self {
        let cells = [0, 1].map(|axis| {
            let strides = size[axis].saturating_sub(1).checked_div(self.stride[axis]).unwrap_or(0);
            let seen = strides.saturating_mul(self.stride[axis]).saturating_add(self.reach(axis).unwrap_or(0));
            seen.saturating_sub(size[axis])
        });
        let (less, more) = (cells.map(|n| n / 2), cells.map(|n| n.div_ceil(2)));
        let [before, after] = if is_lower { [more, less] } else { [less, more] };
        Self { padding: Padding { before, after }, ceil: false, ..self }
    }

    /// Rows and columns of the output: `floor((size + padding - dilation (kernel - 1) - 1) / stride) + 1`, rounded up in ceil
    /// mode, or `None` where the window does not fit.
    pub fn output(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let along = |axis: usize| {
            let (reach, stride) = (self.reach(axis)?, self.stride[axis]);
            let before_end = size[axis].checked_add(self.padding.before[axis])?;
            let end = before_end.checked_add(self.padding.after[axis])?;
            let last = if self.ceil {
                let last = end.checked_add(stride.checked_sub(1)?)?.checked_sub(reach)? / stride;
                last.min(before_end.checked_sub(1)? / stride)
            } else {
                end.checked_sub(reach)?.checked_div(stride)?
            };
            Some(last + 1)
        };
        Some([along(0)?, along(1)?])
    }

    /// Whether its numbers make sense.
    pub(super) fn check(&self) -> Result<(), String> {
        let all = [self.kernel, self.stride, self.dilation].concat();
        let Padding { before, after } = self.padding;
        if all.contains(&0) || all.iter().chain(&before).chain(&after).any(|&n| n > GraphError::MAX_WINDOW) {
            return Err(format!(
                "a window of kernel {:?}, stride {:?}, padding {before:?} and {after:?}, dilation {:?}",
                self.kernel, self.stride, self.dilation
            ));
        }
        Ok(())
    }

    /// Rows or columns from the first tap to the last.
    pub(super) fn reach(&self, axis: usize) -> Option<usize> {
        self.dilation[axis].checked_mul(self.kernel[axis].checked_sub(1)?)?.checked_add(1)
    }

    /// Whether a window of some output has all its taps on padding, where that is less than the reach.
    pub(super) fn misses(&self, size: [usize; 2], outputs: [usize; 2]) -> bool {
        let hits = |axis: usize, output: usize| {
            let place = |k: usize| {
                (output * self.stride[axis] + k * self.dilation[axis]).checked_sub(self.padding.before[axis])
            };
            (0..self.kernel[axis]).filter_map(place).any(|place| place < size[axis])
        };
        // Only a picture smaller than a dilation can lie between two taps.
        let narrow = |axis: &usize| size[*axis] < self.dilation[*axis];
        (0..2).filter(narrow).any(|axis| !(0..outputs[axis]).all(|output| hits(axis, output)))
    }
}

/// What a pooling window does with its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PoolKind {
    /// The largest; padding never counts.
    Max,
    /// The mean.
    Average {
        /// Whether padding counts as zeros or not at all. Cells beyond it, which ceil mode sees, do not count in any case.
        count_include_pad: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_count_like_pytorch() {
        assert_eq!(Window::square(7, 2, 3).output([224, 225]), Some([112, 113]));
        assert_eq!(Window::square(3, 2, 1).output([112, 1]), Some([56, 1]));
        assert_eq!(Window::square(2, 2, 0).output([7, 8]), Some([3, 4]));
        assert_eq!(Window::square(3, 1, 0).output([2, 8]), None);
        assert_eq!(Window { dilation: [2, 2], ..Window::square(3, 1, 2) }.output([9, 9]), Some([9, 9]));
    }

    #[test]
    fn pools_round_up_like_pytorch() {
        // What torch.nn.functional.max_pool2d(..., ceil_mode=True) gives for so many rows.
        let rows = |kernel, stride, padding, dilation, rows| {
            let window = Window { dilation: [dilation; 2], ceil: true, ..Window::square(kernel, stride, padding) };
            Some(window.output([rows, rows])?[0])
        };
        let sizes = |kernel, stride, padding| [1, 2, 3, 4, 5, 6, 7, 8].map(|n| rows(kernel, stride, padding, 1, n));
        assert_eq!(sizes(3, 2, 0), [None, Some(1), Some(1), Some(2), Some(2), Some(3), Some(3), Some(4)]);
        assert_eq!(sizes(3, 2, 1), [1, 2, 2, 3, 3, 4, 4, 5].map(Some));
        assert_eq!(rows(2, 3, 1, 1, 5), Some(2));
        assert_eq!(rows(3, 2, 0, 2, 8), Some(3));
    }

    #[test]
    fn the_same_size_takes_the_least_padding() {
        let cells = |window: Window, size, is_lower| {
            let Padding { before, after } = window.same([size, 1], is_lower).padding;
            [before[0], after[0]]
        };
        let plain = |kernel, stride| Window::square(kernel, stride, 0);
        assert_eq!(cells(plain(3, 2), 224, false), [0, 1]);
        assert_eq!(cells(plain(3, 2), 224, true), [1, 0]);
        assert_eq!(cells(plain(3, 2), 225, false), [1, 1]);
        assert_eq!(cells(plain(2, 3), 6, false), [0, 0]);
        assert_eq!(cells(Window { dilation: [2; 2], ..plain(4, 1) }, 9, true), [3, 3]);
        for (kernel, stride, size) in (1..6).flat_map(|k| (1..5).flat_map(move |s| (1..20).map(move |n| (k, s, n)))) {
            for is_lower in [false, true] {
                let output = plain(kernel, stride).same([size; 2], is_lower).output([size; 2]);
                assert_eq!(output, Some([size.div_ceil(stride); 2]), "{kernel} {stride} {size}");
            }
        }
    }

    #[test]
    fn equal_paddings_are_written_as_they_always_were() {
        let old = r#"{"kernel":[3,3],"stride":[2,2],"padding":[1,1],"dilation":[1,1]}"#;
        let window = Window::square(3, 2, 1);
        assert_eq!(serde_json::to_string(&window).unwrap(), old);
        assert_eq!(serde_json::from_str::<Window>(old).unwrap(), window);
        let window = Window { padding: Padding { before: [0, 1], after: [2, 1] }, ceil: true, ..window };
        let new = r#"{"kernel":[3,3],"stride":[2,2],"padding":[0,1,2,1],"dilation":[1,1],"ceil":true}"#;
        assert_eq!(serde_json::to_string(&window).unwrap(), new);
        assert_eq!(serde_json::from_str::<Window>(new).unwrap(), window);
        let told = serde_json::from_str::<Window>(&old.replace("[1,1],\"d", "[1,1,1],\"d")).unwrap_err().to_string();
        assert!(told.contains("two numbers, or four"), "{told}");
    }
}
