//! Numbers in rows, each less its mean and over its deviation: what networks with weight standardisation convolve with. They are made
//! of a file's numbers when somebody asks for them.

use cspnet_graph::{LazyTensor, Pieces, ReadError};

/// Numbers that are read at a time.
const CHUNK: usize = 4096;

/// The rows of a tensor, of which there are as many as there are scales and shifts.
pub(super) fn tensor<'f>(of: LazyTensor<'f>, scale: LazyTensor<'f>, shift: LazyTensor<'f>, eps: f64) -> LazyTensor<'f> {
    LazyTensor::new(of.len(), move || {
        let numbers = of.open()?;
        let (scales, shifts) = (scale.to_vec()?, shift.to_vec()?);
        let row = (of.len() / scales.len().max(1)).max(1);
        let mut lines = Vec::with_capacity(scales.len());
        for (i, (scale, shift)) in scales.into_iter().zip(shifts).enumerate() {
            let [mean, variance] = moments(&numbers, row * i, row)?;
            let factor = f64::from(scale) / (variance + eps).sqrt();
            lines.push([factor, f64::from(shift) - mean * factor]);
        }
        let pieces: Pieces<'f> = Box::new(move |first: usize, out: &mut [f32]| {
            numbers(first, out)?;
            for (place, number) in (first..).zip(out) {
                let [factor, summand] = lines[place / row];
                *number = (f64::from(*number) * factor + summand) as f32;
            }
            Ok(())
        });
        Ok(pieces)
    })
}

/// Mean and variance of so many numbers from a place on.
fn moments(numbers: &Pieces<'_>, begin: usize, len: usize) -> Result<[f64; 2], ReadError> {
    let sum = |of: &dyn Fn(f64) -> f64| -> Result<f64, ReadError> {
        let (mut chunk, mut sum) = ([0.0; CHUNK], 0.0);
        for first in (0..len).step_by(CHUNK) {
            let chunk = &mut chunk[..CHUNK.min(len - first)];
            numbers(begin + first, chunk)?;
            sum += chunk.iter().map(|&n| of(n.into())).sum::<f64>();
        }
        Ok(sum / len as f64)
    };
    let mean = sum(&|n| n)?;
    Ok([mean, sum(&|n| (n - mean) * (n - mean))?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_their_scale_and_shift() {
        let of = LazyTensor::from((0..2 * 5000).map(|i| (i % 7) as f32).collect::<Vec<_>>());
        let of = of.with_rows_times(5000, || Ok(vec![1.0, -3.0]));
        let tensor = tensor(of, vec![2.0, 0.5].into(), vec![1.0, -1.0].into(), 0.0);
        let all = tensor.to_vec().unwrap();
        for (row, (scale, shift)) in all.chunks(5000).zip([(2.0, 1.0), (0.5, -1.0)]) {
            let mean = row.iter().map(|&n| f64::from(n)).sum::<f64>() / 5000.0;
            let square = row.iter().map(|&n| (f64::from(n) - mean).powi(2)).sum::<f64>() / 5000.0;
            assert!((mean - shift).abs() < 1e-6 && (square.sqrt() - scale).abs() < 1e-6, "{mean}, {square}");
        }
        let mut piece = [0.0; 3];
        tensor.open().unwrap()(4999, &mut piece).unwrap();
        assert_eq!(piece, all[4999..][..3]);
    }
}
