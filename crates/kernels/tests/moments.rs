//! Mean and variance that kernels take of what they write, against those of the written numbers in double precision: for any number
//! of threads, with the same bits for registers of either length, and far from zero.

mod common;

use common::*;
use cspnet_kernels::*;

/// A value that some kernel writes, in a memory of some images.
struct Written {
    output: Planes,
    layout: Layout,
    images: usize,
    /// The memory's numbers are moved by so much.
    offset: f32,
}

impl Written {
    fn memory(&self, scratch: usize) -> Memory {
        let mut memory = self.layout.memory(&mut Dice::new(5), self.images, 5, scratch);
        (0..self.images).for_each(|i| memory.image_mut(i).iter_mut().for_each(|x| *x += self.offset));
        memory
    }

    /// `run` writes the value, with an instruction set and scratch for it, and takes moments if it is asked for them.
    fn check(&self, scratch: impl Fn(Isa) -> usize, run: impl Fn(Isa, Option<Take<'_>>, &mut Memory, &mut Team)) {
        let mut of_sets = Vec::new();
        for isa in Isa::available() {
            let mut memory = self.memory(scratch(isa));
            let before = snapshot(&memory);
            run(isa, None, &mut memory, &mut Team::new(1));
            let written = snapshot(&memory);
            let mut moments = ChannelMoments::new(self.output.channels());
            // Of another value before: what was summed up then is forgotten.
            let mut tally = Tally::default();
            same_bits(&before, &mut memory, |memory, team| {
                run(isa, Some(Take { tally: &mut tally, moments: &mut moments }), memory, team);
                let numbers = moments.mean().iter().chain(moments.variance());
                numbers.flat_map(|&x| [x as f32, (x - f64::from(x as f32)) as f32]).collect()
            });
            assert!(snapshot(&memory) == written, "{isa}: other results with moments");
            self.compare(isa, &moments, &written);
            if isa > Isa::Scalar {
                of_sets.push(moments);
            }
        }
        assert!(of_sets.windows(2).all(|pair| pair[0] == pair[1]), "longer registers give other bits");
    }

    fn compare(&self, isa: Isa, moments: &ChannelMoments, written: &[Vec<f32>]) {
        for c in 0..self.output.channels() {
            let numbers: Vec<f64> = written
                .iter()
                .flat_map(|i| {
                    cells(&self.output).filter(|cell| cell.0 == c).map(|(c, y, x)| at(i, &self.output, c, y, x))
                })
                .collect();
            let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
            let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / numbers.len() as f64;
            let (got, got_variance) = (moments.mean()[c], moments.variance()[c]);
            assert!((got - mean).abs() <= 2e-6 * variance.sqrt() + 1e-12, "{isa}: a mean of {got} instead of {mean}");
            let off = (got_variance - variance).abs();
            assert!(off <= 1e-5 * variance + 1e-12, "{isa}: a variance of {got_variance} instead of {variance}");
        }
    }
}

/// Biases around zero, and so far from it that the squares of the numbers themselves would say nothing of their variance.
const BIASES: [f32; 2] = [0.0, 3000.0];

/// A convolution of so many channels, of pictures of a size, with its input and a bias.
fn convolution(
    dice: &mut Dice,
    shape: ConvShape,
    [c, out]: [usize; 2],
    size: [usize; 2],
    (images, bias): (usize, f32),
) -> (Written, Planes, [Vec<f32>; 2]) {
    let Window { kernel, stride, padding, .. } = shape.window;
    let outputs = [0, 1].map(|a| (size[a] + 2 * padding[a] - kernel[a]) / stride[a] + 1);
    let cut = |dice: &mut Dice, channels: usize| match shape.groups {
        1 => partition(dice, channels),
        _ => vec![LANES; channels / LANES],
    };
    let mut layout = Layout::new();
    let of = [c, out].map(|channels| cut(dice, channels));
    let input = layout.place(dice, &of[0], size);
    let output = layout.place(dice, &of[1], outputs);
    let weight = dice.numbers(out * c / shape.groups * kernel[0] * kernel[1]);
    let bias = dice.numbers(out).iter().map(|b| b + bias).collect();
    (Written { output, layout, images, offset: 0.0 }, input, [weight, bias])
}

fn shape(kernel: usize, stride: usize, groups: usize) -> ConvShape {
    let window = Window { kernel: [kernel; 2], stride: [stride; 2], padding: [kernel / 2; 2], dilation: [1; 2] };
    ConvShape { window, groups }
}

fn plain() -> Fusion {
    Fusion { prologue: None, activation: Activation::Identity, residual: Residual::None }
}

#[test]
fn direct_convolutions_take_moments() {
    let mut dice = Dice::new(1);
    // Bands of whole images, rows longer than a run, strips, a last panel of another width.
    for (kernel, stride, channels, size) in [
        (1, 1, [16, 40], [21, 20]),
        (1, 1, [9, 24], [5, 7]),
        (1, 1, [8, 8], [3, 300]),
        (1, 2, [16, 70], [8, 8]),
        (3, 1, [12, 21], [30, 17]),
        (3, 2, [30, 72], [33, 40]),
    ] {
        for bias in BIASES {
            let shape = shape(kernel, stride, 1);
            let (written, input, [weight, bias]) = convolution(&mut dice, shape, channels, size, (3, bias));
            let conv = |isa| Conv::forward(isa, shape, &input, &written.output, plain());
            assert!(conv(Isa::Scalar).takes_moments());
            written.check(
                |isa| conv(isa).scratch_len(),
                |isa, take, memory, team| {
                    let conv = conv(isa);
                    conv.run_taking(&conv.pack(&weight, Some(&bias), None), take, memory, team);
                },
            );
        }
    }
}

#[test]
fn winograds_convolutions_take_moments() {
    let mut dice = Dice::new(2);
    for (stride, size, bias) in [(1, 5, 0), (1, 13, 1), (1, 50, 0), (2, 9, 1), (2, 44, 0)] {
        for &tile in WinogradTile::of_stride(stride) {
            let shape = shape(3, stride, 1);
            let of = (3, BIASES[bias]);
            let (written, input, [weight, bias]) = convolution(&mut dice, shape, [24, 43], [size, size + 3], of);
            let winograd = |isa| Winograd::new(isa, tile, shape, &input, &written.output, plain());
            written.check(
                |isa| winograd(isa).scratch_len(),
                |isa, take, memory, team| {
                    let winograd = winograd(isa);
                    winograd.run_taking(&winograd.pack(&weight, Some(&bias)), take, memory, team);
                },
            );
        }
    }
}

#[test]
fn convolutions_in_groups_take_moments() {
    let mut dice = Dice::new(3);
    for (stride, width, channels, size, bias) in
        [(1, 4, 40, [40, 23], 0), (2, 8, 32, [17, 30], 1), (1, 32, 64, [11, 6], 0), (1, 1, 24, [30, 31], 1)]
    {
        let shape = shape(3, stride, channels / width);
        let of = (2, BIASES[bias]);
        let (written, input, [weight, bias]) = convolution(&mut dice, shape, [channels; 2], size, of);
        let grouped = |isa| Grouped::new(isa, shape, &input, &written.output, plain());
        written.check(
            |isa| grouped(isa).scratch_len(),
            |isa, take, memory, team| {
                let grouped = grouped(isa);
                grouped.run_taking(&grouped.pack(&weight, Some(&bias)), take, memory, team);
            },
        );
    }
}

#[test]
fn pooling_takes_moments() {
    let mut dice = Dice::new(4);
    for (kind, offset) in [(PoolKind::Max, 0.0), (PoolKind::Average { padding_behind: None }, 3000.0)] {
        let (mut layout, of) = (Layout::new(), partition(&mut dice, 21));
        let [input, output] = [[24, 22], [12, 11]].map(|size| layout.place(&mut dice, &of, size));
        let window = Window { kernel: [2; 2], stride: [2; 2], padding: [0; 2], dilation: [1; 2] };
        let written = Written { output, layout, images: 3, offset };
        written.check(
            |_| 0,
            |isa, take, memory, team| {
                Pool::new(isa, kind, window, &input, &written.output).run_taking(take, memory, team);
            },
        );
    }
}

#[test]
fn moments_of_what_is_there() {
    let mut dice = Dice::new(6);
    for (channels, size, offset) in [(1, [1, 1], 0.0), (30, [7, 9], -3000.0), (17, [40, 40], 3000.0)] {
        let (mut layout, of) = (Layout::new(), partition(&mut dice, channels));
        let output = layout.place(&mut dice, &of, size);
        let written = Written { output, layout, images: 3, offset };
        written.check(
            |_| 0,
            |isa, take, memory, team| {
                if let Some(take) = take {
                    Moments::new(isa, &written.output).run(take, memory, team);
                }
            },
        );
    }
}

#[test]
#[should_panic(expected = "moments of a convolution in groups")]
fn groups_that_sets_cut_differently_are_refused() {
    let planes = |offset| Planes::dense(16, 4, 4, offset, 128);
    let conv = Conv::forward(Isa::Scalar, shape(1, 1, 2), &planes(0), &planes(256), plain());
    assert!(!conv.takes_moments());
    let take = Take { tally: &mut Tally::default(), moments: &mut ChannelMoments::new(16) };
    let mut memory = Memory::new(1, 512, 1, conv.scratch_len());
    conv.run_taking(&conv.pack(&[0.0; 128], None, None), Some(take), &mut memory, &mut Team::new(1));
}
