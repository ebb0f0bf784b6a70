//! A strip of a picture's rows in a thread's scratch: pixel after pixel, padded with zeros, without the mean.

use super::Pictures;
use crate::Window;
use crate::memory::MOST_FLOATS;

/// Pixels after which the channels of three or of one are in step with vectors of eight.
const PATTERN: usize = 24;

/// The rows and columns of a picture that a band of output rows sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strip {
    channels: usize,
    rows: usize,
    columns: usize,
    /// Floats from one row to the next.
    pub row_len: usize,
}

/// One picture of a batch.
#[derive(Clone, Copy)]
pub(super) enum Picture<'a> {
    Numbers(&'a [f32]),
    Bytes(&'a [u8], [f32; PATTERN]),
}

impl<'a> Picture<'a> {
    /// The `image`-th of so many numbers each, with what is to be taken from the bytes of a pixel.
    pub fn of(pictures: Pictures<'a>, image: usize, len: usize, mean: Option<&[f32]>) -> Self {
        let range = image * len..(image + 1) * len;
        match (pictures, mean) {
            (Pictures::Numbers(numbers), None) => Self::Numbers(&numbers[range]),
            (Pictures::Bytes(bytes), Some(mean)) => {
                Self::Bytes(&bytes[range], std::array::from_fn(|i| mean[i % mean.len()]))
            }
            _ => panic!("weights for pictures of another kind"),
        }
    }
}

impl Strip {
    /// For so many rows and columns of the output.
    pub fn of(window: &Window, [channels, ..]: [usize; 3], rows: usize, columns: usize) -> Self {
        let [rows, columns] =
            [(0, rows), (1, columns)].map(|(axis, n)| (n - 1) * window.stride[axis] + window.kernel[axis]);
        let row_len = columns.checked_mul(channels).expect("a strip beyond any memory");
        Self { channels, rows, columns, row_len }
    }

    /// Floats of all rows.
    pub fn len(&self) -> usize {
        let len = self.rows.checked_mul(self.row_len).filter(|&len| len <= MOST_FLOATS);
        len.expect("a strip beyond any memory")
    }

    /// Fills as many rows as there are floats for, from row and column `first` of a picture of `size` on.
    #[inline(always)]
    pub fn fill(&self, picture: &Picture<'_>, size: [usize; 2], first: [isize; 2], floats: &mut [f32]) {
        let [height, width] = size;
        let right = (width as isize - first[1]).clamp(0, self.columns as isize) as usize;
        let left = ((-first[1]).max(0) as usize).min(right);
        let column = (first[1] + left as isize) as usize;
        for (row, floats) in floats.chunks_exact_mut(self.row_len).enumerate() {
            let Some(y) =
                first[0].checked_add_unsigned(row).filter(|y| left < right && (0..height as isize).contains(y))
            else {
                floats.fill(0.0);
                continue;
            };
            let from = y as usize * width + column;
            floats[..left * self.channels].fill(0.0);
            floats[right * self.channels..].fill(0.0);
            let inner = &mut floats[left * self.channels..right * self.channels];
            match picture {
                Picture::Bytes(bytes, mean) => centre(&bytes[from * self.channels..][..inner.len()], mean, inner),
                Picture::Numbers(numbers) => interleave(numbers, height * width, from, self.channels, inner),
            }
        }
    }
}

/// Bytes as numbers without the mean.
#[inline(always)]
fn centre(bytes: &[u8], mean: &[f32; PATTERN], floats: &mut [f32]) {
    let (whole, rest) = bytes.as_chunks::<PATTERN>();
    let (whole_floats, rest_floats) = floats.as_chunks_mut::<PATTERN>();
    for (floats, bytes) in whole_floats.iter_mut().zip(whole) {
        *floats = std::array::from_fn(|i| f32::from(bytes[i]) - mean[i]);
    }
    for ((float, &byte), mean) in rest_floats.iter_mut().zip(rest).zip(mean) {
        *float = f32::from(byte) - mean;
    }
}

/// Numbers of some pixels, from planes of so many, pixel after pixel.
#[inline(always)]
fn interleave(numbers: &[f32], plane: usize, from: usize, channels: usize, floats: &mut [f32]) {
    let pixels = floats.len() / channels;
    for channel in 0..channels {
        let of_channel = &numbers[channel * plane + from..][..pixels];
        for (float, &number) in floats[channel..].iter_mut().step_by(channels).zip(of_channel) {
            *float = number;
        }
    }
}
