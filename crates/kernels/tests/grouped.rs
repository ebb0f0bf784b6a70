//! Convolutions in narrow groups against naive sums in double precision.

mod common;

use common::*;
use cspnet_kernels::{Activation, ConvShape, Fusion, Grouped, Isa, LANES, Planes, Residual, Window};
use proptest::prelude::*;

/// A random convolution that fits a random picture; as many channels out as in.
struct Case {
    shape: ConvShape,
    channels: usize,
    input: [usize; 2],
    output: [usize; 2],
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Case {
    fn draw(dice: &mut Dice) -> Self {
        loop {
            let width = dice.pick(&[1, 4, 8, 16, 32, 48]);
            // A whole number of blocks and of groups, more than one.
            let channels = width.max(LANES) * (1 + dice.below(5));
            let kernel = [1 + dice.below(4), 3];
            let stride = [1 + dice.below(3), 1 + dice.below(2)];
            let padding = [dice.below(kernel[0]), dice.below(3)];
            let window = Window { kernel, stride, padding, dilation: [1; 2] };
            let input = [1 + dice.below(14), 1 + dice.below(40)];
            let behind = dice.behind(&window).map(|cells| cells + dice.below(2));
            if let (Some(output), true) = (outputs(&window, input, behind), channels > width) {
                let weight = dice.numbers(channels * width * kernel[0] * 3);
                let shape = ConvShape { window, groups: channels / width };
                return Self { shape, channels, input, output, weight, bias: dice.numbers(channels) };
            }
        }
    }

    /// Before residual and activation, one number of the output, given the input's.
    fn exact(&self, [o, y, x]: [usize; 3], input: impl Fn([usize; 3]) -> f64) -> f64 {
        let Window { kernel: [kh, kw], stride, padding, .. } = self.shape.window;
        let width = self.channels / self.shape.groups;
        let mut sum = f64::from(self.bias[o]);
        for (i, ky) in (0..width).flat_map(|i| (0..kh).map(move |ky| (i, ky))) {
            for kx in 0..kw {
                let row = (y * stride[0] + ky).checked_sub(padding[0]).filter(|&r| r < self.input[0]);
                let column = (x * stride[1] + kx).checked_sub(padding[1]).filter(|&c| c < self.input[1]);
                if let (Some(row), Some(column)) = (row, column) {
                    let weight = self.weight[((o * width + i) * kh + ky) * kw + kx];
                    sum += f64::from(weight) * input([o / width * width + i, row, column]);
                }
            }
        }
        sum
    }
}

fn forward(seed: u64) {
    let mut dice = Dice::new(seed);
    let case = Case::draw(&mut dice);
    let mut layout = Layout::new();
    let blocks = vec![LANES; case.channels / LANES];
    let input = layout.place(&mut dice, &blocks, case.input);
    let [output, other] = [(); 2].map(|()| layout.place(&mut dice, &blocks, case.output));
    let residual = match dice.below(3) {
        0 => Residual::None,
        1 => Residual::BeforeActivation(if dice.flip() { other.clone() } else { output.clone() }),
        _ => Residual::AfterActivation(other.clone()),
    };
    let activation = dice.pick(&ACTIVATIONS);
    let mut of_sets = Vec::new();
    for isa in Isa::available() {
        let fusion = Fusion { prologue: None, activation, residual: residual.clone() };
        let grouped = Grouped::new(isa, case.shape, &input, &output, fusion);
        let weights = grouped.pack(&case.weight, Some(&case.bias));
        let mut memory = layout.memory(&mut Dice::new(seed), 2, 5, grouped.scratch_len());
        let before = snapshot(&memory);
        same_bits(&before, &mut memory, |memory, team| {
            grouped.run(&weights, memory, team);
            Vec::new()
        });
        untouched(&before, &memory, Some(&output));
        let length = (case.weight.len() / case.channels + 9) as f64;
        for (image, before) in before.iter().enumerate() {
            for (c, y, x) in cells(&output) {
                let sum = case.exact([c, y, x], |[c, y, x]| at(before, &input, c, y, x));
                let e = match &residual {
                    Residual::None => value(activation, sum),
                    Residual::BeforeActivation(r) => value(activation, sum + at(before, r, c, y, x)),
                    Residual::AfterActivation(r) => value(activation, sum) + at(before, r, c, y, x),
                };
                let got = at(memory.image(image), &output, c, y, x);
                let allowed = 2e-6 * length.sqrt() * (1.0 + e.abs());
                assert!((got - e).abs() <= allowed, "{isa}, channel {c}, pixel {y} {x}: {got} instead of {e}");
            }
        }
        if isa > Isa::Scalar {
            of_sets.push(snapshot(&memory));
        }
    }
    assert!(of_sets.windows(2).all(|pair| pair[0] == pair[1]), "longer registers give other bits");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn narrow_groups_are_right(seed: u64) {
        forward(seed);
    }
}

#[test]
fn other_convolutions_are_left_to_the_kernel_for_all() {
    let fits = |channels: usize, groups: usize, kernel: usize, stride: usize, dilation: usize| {
        let window = Window { kernel: [kernel; 2], stride: [stride; 2], padding: [0; 2], dilation: [dilation; 2] };
        let [input, output] = [0, 1 << 16].map(|offset| Planes::dense(channels, 8, 8, offset, 512));
        let fusion = Fusion { prologue: None, activation: Activation::Relu, residual: Residual::None };
        Grouped::fits(&ConvShape { window, groups }, &input, &output, &fusion)
    };
    assert!(fits(32, 4, 3, 1, 1));
    assert!(
        ![(32, 1, 3, 1, 1), (24, 2, 3, 1, 1), (32, 4, 5, 1, 1), (32, 4, 3, 3, 1), (32, 4, 3, 1, 2)]
            .into_iter()
            .any(|(channels, groups, kernel, stride, dilation)| fits(channels, groups, kernel, stride, dilation))
    );
    // Blocks that are not whole.
    assert!(!fits(20, 5, 3, 1, 1));
}
