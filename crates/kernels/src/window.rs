//! A sliding window. Not here: which pixels it meets in a convolution or a pooling.

use crate::memory::MOST_FLOATS;

/// A sliding window; every pair is `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Taps.
    pub kernel: [usize; 2],
    /// Steps between two outputs.
    pub stride: [usize; 2],
    /// Cells of padding above and to the left; how many there are below and to the right follows from the output's size.
    pub padding: [usize; 2],
    /// Steps between two taps.
    pub dilation: [usize; 2],
}

impl Window {
    /// Whether kernels can take it for so many rows and columns of outputs: they count places and do not look for
    /// overflow.
    ///
    /// # Panics
    /// If there is no output, a number other than the padding is zero, or the last window ends beyond any memory.
    pub(crate) fn check(&self, outputs: [usize; 2]) {
        for axis in 0..2 {
            let [outputs, kernel, stride] = [outputs, self.kernel, self.stride].map(|of| of[axis]);
            let (padding, dilation) = (self.padding[axis], self.dilation[axis]);
            assert!(![outputs, kernel, stride, dilation].contains(&0), "{self:?} for {outputs} outputs");
            let ends = || kernel.checked_mul(dilation)?.checked_add(outputs.checked_mul(stride)?)?.checked_add(padding);
            assert!(ends().is_some_and(|end| end <= MOST_FLOATS), "{self:?} ends beyond any memory");
        }
    }
}
