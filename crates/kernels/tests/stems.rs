//! Stems, from bytes and from numbers, against naive sums in double precision.

mod common;

use common::*;
use cspnet_kernels::{Activation, ConvShape, Isa, Pictures, Planes, Stem, Team, Window};
use proptest::prelude::*;

/// A random stem that fits a random picture.
struct Case {
    shape: ConvShape,
    picture: [usize; 3],
    output: [usize; 3],
    weight: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
    /// The pooling behind it, and what it gives.
    pool: Option<(Window, [usize; 2])>,
}

impl Case {
    fn draw(dice: &mut Dice) -> Self {
        loop {
            let channels = dice.pick(&[1, 3]);
            let mut pair = |n: usize| [1 + dice.below(n), 1 + dice.below(n)];
            let (kernel, stride, [h, w]) = (pair(7), pair(2), pair(40));
            let window = Window { kernel, stride, padding: kernel.map(|k| dice.below(k)), dilation: [1; 2] };
            let behind = dice.behind(&window).map(|cells| cells + dice.below(2));
            if let Some([oh, ow]) = outputs(&window, [h, w], behind) {
                let pool = Window { dilation: [1; 2], ..dice.window() };
                let behind = dice.behind(&pool);
                let size = dice.pick(&[outputs, outputs_rounded_up]);
                let pooled = size(&pool, [oh, ow], behind).filter(|_| dice.flip());
                let pool = pooled.map(|size| (pool, size));
                let out = 1 + dice.below(70);
                let weight = dice.numbers(out * channels * kernel[0] * kernel[1]);
                return Self {
                    shape: ConvShape { window, groups: 1 },
                    picture: [channels, h, w],
                    output: [out, oh, ow],
                    weight,
                    bias: dice.numbers(out),
                    activation: dice.pick(&ACTIVATIONS),
                    pool,
                };
            }
        }
    }

    /// One number of the output, given the picture's.
    fn exact(&self, [o, y, x]: [usize; 3], picture: &impl Fn([usize; 3]) -> f64) -> f64 {
        let Some((pool, _)) = &self.pool else { return self.activated([o, y, x], picture) };
        let along = |axis: usize, at: usize| {
            let places = (0..pool.kernel[axis]).map(move |k| at * pool.stride[axis] + k);
            places.filter_map(move |place| place.checked_sub(pool.padding[axis]).filter(|&i| i < self.output[1 + axis]))
        };
        let cells = along(0, y).flat_map(|y| along(1, x).map(move |x| [o, y, x]));
        cells.map(|cell| self.activated(cell, picture)).fold(f64::NEG_INFINITY, f64::max)
    }

    fn activated(&self, [o, y, x]: [usize; 3], picture: &impl Fn([usize; 3]) -> f64) -> f64 {
        let [channels, h, w] = self.picture;
        let Window { kernel: [kh, kw], stride, padding, .. } = self.shape.window;
        let mut sum = f64::from(self.bias[o]);
        for (c, ky) in (0..channels).flat_map(|c| (0..kh).map(move |ky| (c, ky))) {
            for kx in 0..kw {
                let row = (y * stride[0] + ky).checked_sub(padding[0]).filter(|&r| r < h);
                let column = (x * stride[1] + kx).checked_sub(padding[1]).filter(|&c| c < w);
                if let (Some(row), Some(column)) = (row, column) {
                    let weight = self.weight[((o * channels + c) * kh + ky) * kw + kx];
                    sum += f64::from(weight) * picture([c, row, column]);
                }
            }
        }
        value(self.activation, sum)
    }

    fn check(&self, image: &[f32], planes: &Planes, picture: impl Fn([usize; 3]) -> f64) {
        let length = (self.weight.len() / self.output[0] + 9) as f64;
        for (c, y, x) in cells(planes) {
            let (got, e) = (at(image, planes, c, y, x), self.exact([c, y, x], &picture));
            let allowed = 6e-6 * length.sqrt() * (1.0 + e.abs());
            assert!((got - e).abs() <= allowed, "channel {c}, pixel {y} {x}: {got} instead of {e}");
        }
    }
}

fn forward(seed: u64) {
    let mut dice = Dice::new(seed);
    let case = Case::draw(&mut dice);
    let mut layout = Layout::new();
    let of_output = partition(&mut dice, case.output[0]);
    let [_, rows, columns] = case.output;
    let output = layout.place(&mut dice, &of_output, case.pool.map_or([rows, columns], |(_, size)| size));
    let [c, h, w] = case.picture;
    let (mean, std): (Vec<f32>, Vec<f32>) =
        (0..c).map(|_| (0.5 + 0.5 * dice.number(), 0.7 + 0.5 * dice.number())).unzip();
    let bytes: Vec<u8> = (0..2 * c * h * w).map(|_| dice.below(256) as u8).collect();
    let numbers = dice.numbers(2 * c * h * w);
    for normalise in [Some((&mean[..], &std[..])), None] {
        let pictures = normalise.map_or(Pictures::Numbers(&numbers), |_| Pictures::Bytes(&bytes));
        let mut of_sets = Vec::new();
        for isa in Isa::available() {
            let stem = match case.pool {
                Some((window, _)) => {
                    let pool = ([rows, columns], window);
                    Stem::pooled(isa, case.shape, case.picture, case.activation, pool, &output)
                }
                None => Stem::new(isa, case.shape, case.picture, &output, case.activation),
            };
            let weights = stem.pack(&case.weight, Some(&case.bias), normalise);
            let mut memory = layout.memory(&mut Dice::new(seed), 2, 5, stem.scratch_len());
            let before = snapshot(&memory);
            same_bits(&before, &mut memory, |memory, team| {
                stem.run(&weights, pictures, memory, team);
                Vec::new()
            });
            untouched(&before, &memory, Some(&output));
            for image in 0..2 {
                case.check(memory.image(image), &output, |[channel, y, x]| match normalise {
                    Some((mean, std)) => {
                        let byte = f64::from(bytes[((image * h + y) * w + x) * c + channel]);
                        (byte / 255.0 - f64::from(mean[channel])) / f64::from(std[channel])
                    }
                    None => f64::from(numbers[((image * c + channel) * h + y) * w + x]),
                });
            }
            if isa > Isa::Scalar {
                of_sets.push(snapshot(&memory));
            }
        }
        assert!(of_sets.windows(2).all(|pair| pair[0] == pair[1]), "longer registers give other bits");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn stems_are_right(seed: u64) {
        forward(seed);
    }
}

/// A 3x3 stem of a 4x4 picture of so many channels.
fn small(channels: usize) -> Stem {
    let window = Window { kernel: [3; 2], stride: [1; 2], padding: [1; 2], dilation: [1; 2] };
    let output = Planes::dense(8, 4, 4, 0, 128);
    Stem::new(Isa::Scalar, ConvShape { window, groups: 1 }, [channels, 4, 4], &output, Activation::Identity)
}

#[test]
fn a_window_beside_the_picture_sees_zeros() {
    let window = Window { kernel: [1; 2], stride: [1, 6], padding: [0, 2], dilation: [1; 2] };
    let output = Planes::dense(8, 3, 1, 0, 24);
    for isa in Isa::available() {
        let stem = Stem::new(isa, ConvShape { window, groups: 1 }, [1, 3, 2], &output, Activation::Identity);
        let weights = stem.pack(&[1.0; 8], Some(&[0.5; 8]), None);
        let mut memory = cspnet_kernels::Memory::new(1, 24, 1, stem.scratch_len());
        stem.run(&weights, Pictures::Numbers(&[9.0; 6]), &mut memory, &mut Team::new(1));
        assert_eq!(memory.image(0)[..24], [0.5; 24], "{isa}");
    }
}

#[test]
#[should_panic(expected = "no stem for")]
fn pictures_of_many_channels_are_refused() {
    small(8);
}

#[test]
#[should_panic(expected = "weights for pictures of another kind")]
fn numbers_are_no_bytes() {
    let stem = small(1);
    let weights = stem.pack(&[0.0; 72], None, Some((&[0.5], &[0.5])));
    let mut memory = cspnet_kernels::Memory::new(1, 128, 1, stem.scratch_len());
    stem.run(&weights, Pictures::Numbers(&[0.0; 16]), &mut memory, &mut Team::new(1));
}
