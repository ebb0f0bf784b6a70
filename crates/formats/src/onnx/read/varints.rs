//! Numbers of 16 bits that a file holds as a list of integers of varying length, and not as bytes: `int32_data` of halves.
//!
//! Where one of them lies is known only from all before it. So the list is gone through when it is opened, and of every so many-th
//! number the place is kept.

use cspnet_graph::{LazyTensor, Pieces, ReadError};
use half::{bf16, f16};

use super::data_type::DataType;
use super::wire::Span;
use crate::error::FormatError;
use crate::tensors::Bytes;

/// Numbers from one whose place is kept to the next.
const STRIDE: usize = 4096;

/// Bytes that are read at a time.
const WINDOW: usize = 8 << 10;

/// The numbers that lie at a place of a file, of which there must be so many.
pub(super) fn tensor<'f>(file: &'f Bytes<'_>, kind: DataType, place: Span, len: usize) -> LazyTensor<'f> {
    LazyTensor::new(len, move || {
        let blame = move |e| ReadError::new(file.blame(e));
        let places = places(file, place, len).map_err(blame)?;
        let pieces: Pieces<'f> = Box::new(move |first: usize, out: &mut [f32]| {
            // Behind the last one no place is kept.
            let Some(&begin) = places.get(first / STRIDE) else { return Ok(()) };
            let mut integers = Integers::new(file, Span { begin, ..place });
            for _ in 0..first % STRIDE {
                integers.take().map_err(blame)?;
            }
            for slot in out {
                let bits = integers.take().map_err(blame)?;
                *slot = match kind {
                    DataType::BFloat16 => bf16::from_bits(bits).to_f32(),
                    _ => f16::from_bits(bits).to_f32(),
                };
            }
            Ok(())
        });
        Ok(pieces)
    })
}

/// Where every so many-th of them lies.
fn places(file: &Bytes<'_>, place: Span, len: usize) -> Result<Vec<usize>, FormatError> {
    let mut integers = Integers::new(file, place);
    let mut places = Vec::with_capacity(len.div_ceil(STRIDE));
    for i in 0..len {
        if i.is_multiple_of(STRIDE) {
            places.push(integers.place());
        }
        integers.take()?;
    }
    match integers.place() {
        end if end == place.end => Ok(places),
        end => Err(FormatError::OnnxFile(format!("byte {end} begins more numbers than a tensor of {len} has"))),
    }
}

/// Integers one after another, of which only the last 16 bits are looked at.
struct Integers<'f> {
    file: &'f Bytes<'f>,
    /// What has not been read of the file.
    left: Span,
    window: Vec<u8>,
    /// The next byte of the window.
    next: usize,
}

impl<'f> Integers<'f> {
    fn new(file: &'f Bytes<'_>, place: Span) -> Self {
        Self { file, left: place, window: Vec::new(), next: 0 }
    }

    /// Where the next one lies.
    fn place(&self) -> usize {
        self.left.begin - (self.window.len() - self.next)
    }

    fn take(&mut self) -> Result<u16, FormatError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value as u16);
            }
        }
        Err(FormatError::OnnxFile(format!("byte {} ends a number that does not end", self.place())))
    }

    fn byte(&mut self) -> Result<u8, FormatError> {
        if self.next == self.window.len() {
            let Span { begin, end } = self.left;
            if begin == end {
                return Err(FormatError::OnnxFile(format!("byte {end} is where a tensor has too few numbers")));
            }
            self.window.resize(WINDOW.min(end - begin), 0);
            self.file.read(begin, &mut self.window)?;
            (self.left.begin, self.next) = (begin + self.window.len(), 0);
        }
        self.next += 1;
        Ok(self.window[self.next - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Halves as a list, with three bytes before them and one behind.
    fn list(bits: &[u16]) -> (Vec<u8>, Span) {
        let mut bytes = vec![0xFF; 3];
        bits.iter().for_each(|&bits| prost::encoding::encode_varint(bits.into(), &mut bytes));
        let place = Span { begin: 3, end: bytes.len() };
        bytes.push(0);
        (bytes, place)
    }

    #[test]
    fn numbers_are_found_from_any_place_on() {
        let bits = |i: usize| f16::from_f32(i as f32 / 8.0 - 700.0).to_bits();
        let all: Vec<u16> = (0..2 * STRIDE + 5).map(bits).collect();
        let (bytes, place) = list(&all);
        let file = Bytes::Memory(&bytes);
        let numbers = tensor(&file, DataType::Float16, place, all.len());
        let expected: Vec<f32> = all.iter().map(|&bits| f16::from_bits(bits).to_f32()).collect();
        assert_eq!(numbers.to_vec().unwrap(), expected);
        let pieces = numbers.open().unwrap();
        for (first, len) in [(0, 3), (STRIDE - 1, 2), (STRIDE, STRIDE + 5), (2 * STRIDE + 4, 1), (all.len(), 0)] {
            let mut piece = vec![0.0; len];
            pieces(first, &mut piece).unwrap();
            assert_eq!(piece, expected[first..][..len]);
        }
        let wide = tensor(&file, DataType::BFloat16, place, all.len()).to_vec().unwrap();
        assert_eq!(wide[7], bf16::from_bits(all[7]).to_f32());
    }

    #[test]
    fn lists_of_another_length_are_refused() {
        let (bytes, place) = list(&[1, 300, 0xFFFF]);
        let file = Bytes::Memory(&bytes);
        let told = |len, place| tensor(&file, DataType::Float16, place, len).to_vec().unwrap_err().to_string();
        assert!(told(2, place).contains("byte 6 begins more numbers than a tensor of 2 has"));
        assert!(told(4, place).contains("byte 9 is where a tensor has too few numbers"));
        assert!(told(3, Span { end: 8, ..place }).contains("byte 8 is where a tensor has too few numbers"));
        let endless = Bytes::Memory(&[0xFF; 12]);
        let told = tensor(&endless, DataType::Float16, Span { begin: 0, end: 12 }, 2).to_vec().unwrap_err();
        assert!(told.to_string().contains("does not end"));
    }
}
