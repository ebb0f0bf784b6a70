//! Convolutions, forward and both backwards, against naive sums in double precision.

mod common;

use common::*;
use cspnet_kernels::{Activation, Conv, ConvGrad, ConvShape, Fusion, Isa, Planes, Prologue, Residual};
use proptest::prelude::*;

/// A random convolution that fits a random picture.
struct Case {
    shape: ConvShape,
    input: [usize; 3],
    output: [usize; 3],
    weight: Vec<f32>,
}

impl Case {
    fn draw(dice: &mut Dice) -> Self {
        loop {
            let groups = dice.pick(&[1, 1, 1, 2, 3, 4, 9]);
            let window = dice.window();
            let (c, out) = (groups * (1 + dice.below(12)), groups * (1 + dice.below(25)));
            let (h, w) = (1 + dice.below(14), 1 + dice.below(14));
            // Now and then a last output sees padding alone.
            let behind = dice.behind(&window).map(|cells| cells + dice.below(2));
            if let Some([oh, ow]) = outputs(&window, [h, w], behind) {
                let weight = dice.numbers(out * c / groups * window.kernel[0] * window.kernel[1]);
                return Self { shape: ConvShape { window, groups }, input: [c, h, w], output: [out, oh, ow], weight };
            }
        }
    }

    /// Calls `each(weight's place, output channel and pixel, input channel and pixel)` for every product.
    fn each_product(&self, mut each: impl FnMut(usize, [usize; 3], [usize; 3])) {
        let w = &self.shape.window;
        let ([c, h, wd], [out, oh, ow]) = (self.input, self.output);
        let (ci, co) = (c / self.shape.groups, out / self.shape.groups);
        let [kh, kw] = w.kernel;
        for (o, i) in (0..out).flat_map(|o| (0..ci).map(move |i| (o, i))) {
            for (ky, kx) in (0..kh).flat_map(|y| (0..kw).map(move |x| (y, x))) {
                for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                    let row = (y * w.stride[0] + ky * w.dilation[0]).checked_sub(w.padding[0]).filter(|&r| r < h);
                    let column = (x * w.stride[1] + kx * w.dilation[1]).checked_sub(w.padding[1]).filter(|&c| c < wd);
                    if let (Some(row), Some(column)) = (row, column) {
                        let place = ((o * ci + i) * kh + ky) * kw + kx;
                        each(place, [o, y, x], [o / co * ci + i, row, column]);
                    }
                }
            }
        }
    }
}

fn index([_, h, w]: [usize; 3], [c, y, x]: [usize; 3]) -> usize {
    (c * h + y) * w + x
}

fn compare(image: &[f32], planes: &Planes, shape: [usize; 3], expected: &[f64], length: usize) {
    for (c, y, x) in cells(planes) {
        let (got, e) = (at(image, planes, c, y, x), expected[index(shape, [c, y, x])]);
        let allowed = 2e-6 * (length as f64).sqrt() * (1.0 + e.abs());
        assert!((got - e).abs() <= allowed, "channel {c}, pixel {y} {x}: {got} instead of {e}");
    }
}

fn forward(seed: u64, isa: Isa) {
    let mut dice = Dice::new(seed);
    let case = Case::draw(&mut dice);
    let (c, out) = (case.input[0], case.output[0]);
    let mut layout = Layout::new();
    let (of_input, of_output) = (partition(&mut dice, c), partition(&mut dice, out));
    let input = layout.place(&mut dice, &of_input, [case.input[1], case.input[2]]);
    let size = [case.output[1], case.output[2]];
    let output = layout.place(&mut dice, &of_output, size);
    let other = layout.place(&mut dice, &of_output, size);
    let (bias, scale, mut shift) = (dice.numbers(out), dice.numbers(c), dice.numbers(c));
    let order = dice.below(3);
    let prologue = match dice.below(4) {
        0 | 1 => None,
        2 => Some(Prologue::Affine(dice.pick(&ACTIVATIONS))),
        _ => Some(Prologue::Clamp),
    };
    if prologue == Some(Prologue::Clamp) && dice.flip() {
        shift.fill(f32::INFINITY);
    }
    let residual = match order {
        0 => Residual::None,
        1 => Residual::BeforeActivation(if dice.flip() { other.clone() } else { output.clone() }),
        _ => Residual::AfterActivation(other.clone()),
    };
    let act = dice.pick(&ACTIVATIONS);
    let fusion = Fusion { prologue, activation: act, residual: residual.clone() };
    let conv = Conv::forward(isa, case.shape, &input, &output, fusion);
    let mut memory = layout.memory(&mut dice, 2, 5, conv.scratch_len());
    let before = snapshot(&memory);
    let weights = conv.pack(&case.weight, Some(&bias), prologue.is_some().then_some((&scale[..], &shift[..])));
    same_bits(&before, &mut memory, |memory, team| {
        conv.run(&weights, memory, team);
        Vec::new()
    });
    untouched(&before, &memory, Some(&output));
    for (image, before) in before.iter().enumerate() {
        let mut sums = vec![0.0; case.output.iter().product()];
        case.each_product(|w, o, i| {
            let x = at(before, &input, i[0], i[1], i[2]);
            let [first, second] = [&scale, &shift].map(|of_channel| f64::from(of_channel[i[0]]));
            let x = match prologue {
                None => x,
                Some(Prologue::Affine(f)) => value(f, x * first + second),
                Some(Prologue::Clamp) => x.max(first).min(second),
            };
            sums[index(case.output, o)] += x * f64::from(case.weight[w]);
        });
        for (c, y, x) in cells(&output) {
            let sum = &mut sums[index(case.output, [c, y, x])];
            *sum += f64::from(bias[c]);
            *sum = match &residual {
                Residual::None => value(act, *sum),
                Residual::BeforeActivation(r) => value(act, *sum + at(before, r, c, y, x)),
                Residual::AfterActivation(r) => value(act, *sum) + at(before, r, c, y, x),
            };
        }
        compare(memory.image(image), &output, case.output, &sums, case.weight.len() / out + 9);
    }
}

fn backward(seed: u64, isa: Isa) {
    let mut dice = Dice::new(seed);
    let case = Case::draw(&mut dice);
    let mut layout = Layout::new();
    let (of_input, of_output) = (partition(&mut dice, case.input[0]), partition(&mut dice, case.output[0]));
    let [input, d_input] = [(); 2].map(|()| layout.place(&mut dice, &of_input, [case.input[1], case.input[2]]));
    let d_output = layout.place(&mut dice, &of_output, [case.output[1], case.output[2]]);
    let accumulate = dice.flip();
    let data = Conv::backward_data(isa, case.shape, &d_output, &d_input, accumulate);
    let grad = ConvGrad::new(isa, case.shape, &input, &d_output, None);
    let mut memory = layout.memory(&mut dice, 2, 5, data.scratch_len().max(grad.scratch_len()));
    let before = snapshot(&memory);
    let mut d_weight = vec![f32::NAN; case.weight.len()];
    same_bits(&before, &mut memory, |memory, team| {
        grad.run(&mut d_weight, None, memory, team);
        d_weight.clone()
    });
    untouched(&before, &memory, None);
    let mut exact = vec![0.0; case.weight.len()];
    let weights = data.pack(&case.weight, None, None);
    same_bits(&before, &mut memory, |memory, team| {
        data.run(&weights, memory, team);
        Vec::new()
    });
    untouched(&before, &memory, Some(&d_input));
    for (image, before) in before.iter().enumerate() {
        let mut sums = vec![0.0; case.input.iter().product()];
        for (c, y, x) in cells(&d_input).filter(|_| accumulate) {
            sums[index(case.input, [c, y, x])] = at(before, &d_input, c, y, x);
        }
        case.each_product(|w, o, i| {
            let dy = at(before, &d_output, o[0], o[1], o[2]);
            sums[index(case.input, i)] += dy * f64::from(case.weight[w]);
            exact[w] += dy * at(before, &input, i[0], i[1], i[2]);
        });
        compare(memory.image(image), &d_input, case.input, &sums, case.weight.len() / case.input[0] + 9);
    }
    let length = (2 * case.output[1] * case.output[2]) as f64;
    for (got, e) in d_weight.iter().zip(&exact) {
        let allowed = 2e-6 * length.sqrt() * (1.0 + e.abs());
        assert!((f64::from(*got) - e).abs() <= allowed, "{got} instead of {e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn forward_is_right(seed: u64) {
        Isa::available().for_each(|isa| forward(seed, isa));
    }

    #[test]
    fn backward_is_right(seed: u64) {
        Isa::available().for_each(|isa| backward(seed, isa));
    }
}

#[test]
#[should_panic(expected = "cannot overwrite its input")]
fn an_output_over_the_input_is_refused() {
    let planes = Planes::dense(8, 4, 4, 0, 128);
    let window = cspnet_kernels::Window { kernel: [1; 2], stride: [1; 2], padding: [0; 2], dilation: [1; 2] };
    let fusion = Fusion { prologue: None, activation: Activation::Identity, residual: Residual::None };
    Conv::forward(Isa::Scalar, ConvShape { window, groups: 1 }, &planes, &planes, fusion);
}
