//! A normalisation and ReLU in front of a convolution, as bounds for its input.

/// Bounds, weight and bias of a convolution that takes the place of another with a normalisation and ReLU in front of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// Lower bound of every input channel, `[in]`; perhaps minus infinity.
    pub low: Vec<f32>,
    /// Upper bound of every input channel, `[in]`; perhaps infinity.
    pub high: Vec<f32>,
    /// `[out, in, kh, kw]`
    pub weight: Vec<f32>,
    /// `[out]`
    pub bias: Vec<f32>,
}

/// Beyond it a bound is none: no number of a network comes there, and a bound must stay far from the largest float, for it is
/// multiplied.
const NO_BOUND: f64 = 1e18;

/// `W relu(scale * x + shift) + bias` as `V min(max(x, low), high) + c`, for a convolution without groups all of whose taps lie on
/// the picture (rewrite R3): a normalised number costs one maximum or minimum.
///
/// Proof, with `a` and `b` the scale and shift of a channel and `t = -b / a`: where `a > 0`, `relu(a x + b) = a (max(x, t) - t)`;
/// where `a < 0` it is `a (min(x, t) - t)`; where `a = 0`, the constant `relu(b)`. `V = W diag(a)` meets every pixel, so what is
/// left, `-V t` and `W relu(b)`, is a bias. Computed in double precision and rounded once; the bias is that of the rounded `V` and
/// `t`, so that channels which are off cancel however large their bounds are.
///
/// # Panics
/// If there are not as many scales as shifts, or the weight does not fit them and the bias.
pub fn threshold(scale: &[f64], shift: &[f64], weight: &[f32], bias: &[f32]) -> Threshold {
    assert!(scale.len() == shift.len(), "{} scales and {} shifts", scale.len(), shift.len());
    let channels: Vec<Channel> = scale.iter().zip(shift).map(|(&a, &b)| Channel::of(a, b)).collect();
    let taps = weight.len() / (channels.len() * bias.len());
    assert!(weight.len() == taps * channels.len() * bias.len(), "{} weights", weight.len());
    let channel = |i: usize| &channels[i / taps % channels.len()];
    let scaled = |(i, &w): (usize, &f32)| (f64::from(w) * channel(i).factor) as f32;
    let new: Vec<f32> = weight.iter().enumerate().map(scaled).collect();
    let rest = |out: usize| {
        let of_row = out * taps * channels.len()..(out + 1) * taps * channels.len();
        of_row.map(|i| channel(i).rest(f64::from(weight[i]), f64::from(new[i]))).sum::<f64>()
    };
    let bias = (0..bias.len()).map(|out| (f64::from(bias[out]) + rest(out)) as f32).collect();
    let (low, high) = channels.iter().map(|c| (c.low, c.high)).unzip();
    Threshold { low, high, weight: new, bias }
}

/// `relu(a x + b)` as `factor * (min(max(x, low), high) - bound)`, or with `constant` in the place of a missing bound's share.
struct Channel {
    low: f32,
    high: f32,
    factor: f64,
    bound: Option<f64>,
    constant: f64,
}

impl Channel {
    fn of(a: f64, b: f64) -> Self {
        let bound = -b / a;
        let free = Self { low: f32::NEG_INFINITY, high: f32::INFINITY, factor: a, bound: None, constant: b };
        // What is below a bound that nothing reaches is never off, what is above it always.
        match (bound.abs() <= NO_BOUND, a > 0.0) {
            (true, true) => Self { low: bound as f32, bound: Some(f64::from(bound as f32)), ..free },
            (true, false) => Self { high: bound as f32, bound: Some(f64::from(bound as f32)), ..free },
            _ if b > 0.0 => free,
            _ => Self { factor: 0.0, constant: 0.0, ..free },
        }
    }

    /// What a weight adds to the bias, given its new value.
    fn rest(&self, weight: f64, new: f64) -> f64 {
        match self.bound {
            Some(bound) => -new * bound,
            None => weight * self.constant,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both sides for one output of as many channels as there are numbers, and the sum of the terms' sizes; the new side in
    /// single precision.
    fn sides(scale: &[f64], shift: &[f64], weight: &[f32], x: &[f32]) -> (f64, f32, f64) {
        let of_it = |c: usize| f64::from(weight[c]) * (scale[c] * f64::from(x[c]) + shift[c]).max(0.0);
        let size = |c: usize| (f64::from(weight[c]) * shift[c]).abs() + of_it(c).abs();
        let t = threshold(scale, shift, weight, &[0.5]);
        let new = |sum: f32, c: usize| t.weight[c].mul_add(x[c].max(t.low[c]).min(t.high[c]), sum);
        let channels = 0..x.len();
        (
            0.5 + channels.clone().map(of_it).sum::<f64>(),
            channels.clone().fold(t.bias[0], new),
            0.5 + channels.map(size).sum::<f64>(),
        )
    }

    /// Numbers in `-1..1`.
    fn numbers(n: usize, seed: u32) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 23) - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn both_sides_agree_whatever_the_scale() {
        for seed in 0..200 {
            let n = 128;
            // A fifth of the channels is scaled by nearly nothing, as training with weight decay leaves them.
            let tiny = [1e-8, 1e-30, 1e-45, 0.0][seed as usize % 4];
            let scale: Vec<f64> =
                numbers(n, seed).into_iter().enumerate().map(|(c, a)| if c % 5 == 0 { a * tiny } else { a }).collect();
            let shift = numbers(n, seed + 1000);
            let [weight, x] =
                [2000, 3000].map(|s| numbers(n, seed + s).into_iter().map(|v| 3.0 * v as f32).collect::<Vec<_>>());
            let (expected, got, size) = sides(&scale, &shift, &weight, &x);
            let off = (f64::from(got) - expected).abs();
            assert!(off <= 4e-7 * size, "seed {seed}: {off:.1e} of {size:.1e}");
        }
    }

    #[test]
    fn the_bounds_are_where_relu_bends() {
        let t = threshold(&[2.0, -2.0, 0.0, 0.0], &[1.0, 1.0, 3.0, -3.0], &[1.0; 4], &[0.0]);
        assert_eq!(t.low, [-0.5, f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY]);
        assert_eq!(t.high, [f32::INFINITY, 0.5, f32::INFINITY, f32::INFINITY]);
        assert_eq!((t.weight, t.bias), (vec![2.0, -2.0, 0.0, 0.0], vec![1.0 + 1.0 + 3.0]));
    }

    #[test]
    fn wider_windows_share_the_bound_of_their_channel() {
        let t = threshold(&[1.0, 2.0], &[-1.0, -2.0], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], &[0.0, 0.0]);
        assert_eq!(t.weight, [1.0, 2.0, 6.0, 8.0, 5.0, 6.0, 14.0, 16.0]);
        assert_eq!((t.low, t.bias), (vec![1.0, 1.0], vec![-17.0, -41.0]));
    }
}
