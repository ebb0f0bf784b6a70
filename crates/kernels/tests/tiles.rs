//! Convolutions and gradients in tiles of bfloat16, against those in single precision, whose own tests are in `convolutions.rs` and
//! `weight_gradients.rs`: of numbers that bfloat16 holds exactly, so that only the order of the sums differs.

mod common;

use common::*;
use cspnet_kernels::{
    Activation, ChannelMoments, Conv, ConvGrad, ConvShape, Fusion, Isa, LANES, Memory, Planes, Residual, Take, Tally,
    Team, TileConv, TileUnit, TileWeights, Window,
};
use proptest::prelude::*;

const IMAGES: usize = 3;
const THREADS: usize = 5;

/// A convolution of stride 1 between values of whole blocks.
struct Case {
    shape: ConvShape,
    input: Planes,
    output: Planes,
    weight: Vec<f32>,
    bias: Vec<f32>,
    layout: Layout,
}

fn exact(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & 0xFFFF_0000)
}

fn units() -> impl Iterator<Item = TileUnit> {
    [Some(TileUnit::Emulated), TileUnit::detect()].into_iter().flatten()
}

impl Case {
    fn draw(dice: &mut Dice) -> Self {
        let kernel = [1 + dice.below(4), 1 + dice.below(4)];
        let padding = kernel.map(|taps| dice.below(taps));
        let most = dice.pick(&[3, 9, 40]);
        let size = [0, 1].map(|axis| kernel[axis] + dice.below(most));
        Self::of(dice, kernel, padding, size)
    }

    fn of(dice: &mut Dice, kernel: [usize; 2], padding: [usize; 2], size: [usize; 2]) -> Self {
        let window = Window { kernel, stride: [1; 2], padding, dilation: [1; 2] };
        let mut layout = Layout::new();
        let mut blocks = || vec![LANES; 1 + dice.below(6)];
        let [of_input, of_output] = [blocks(), blocks()];
        let input = layout.place(dice, &of_input, size);
        let output = layout.place(dice, &of_output, outputs(&window, size, padding).unwrap());
        let len = input.channels() * output.channels() * kernel[0] * kernel[1];
        let weight = dice.numbers(len).into_iter().map(exact).collect();
        let bias = dice.numbers(output.channels());
        Self { shape: ConvShape { window, groups: 1 }, input, output, weight, bias, layout }
    }

    fn memory(&self, dice: &mut Dice, scratch: usize) -> Memory {
        let mut memory = self.layout.memory(dice, IMAGES, THREADS, scratch);
        (0..IMAGES).for_each(|i| memory.image_mut(i).iter_mut().for_each(|x| *x = exact(*x)));
        memory
    }
}

/// Compares numbers, relative to the root mean square of what is expected.
fn alike(found: &[f64], expected: &[f64]) {
    let norm = |of: &mut dyn Iterator<Item = f64>| of.map(|x| x * x).sum::<f64>().sqrt();
    let error = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    let all = norm(&mut expected.iter().copied());
    assert!(found.len() == expected.len() && error <= 3e-6 * all, "{:.1e} of {all:.1e}", error / all);
}

fn numbers(images: &[Vec<f32>], planes: &Planes) -> Vec<f64> {
    images.iter().flat_map(|image| cells(planes).map(move |(c, y, x)| at(image, planes, c, y, x))).collect()
}

/// Runs both on the same memory, and compares what they write to a value.
fn compare(
    memory: &mut Memory,
    written: &Planes,
    mut tiles: impl FnMut(&mut Memory, &mut Team) -> Vec<f32>,
    direct: impl FnOnce(&mut Memory, &mut Team),
) {
    let before = snapshot(memory);
    same_bits(&before, memory, &mut tiles);
    untouched(&before, memory, Some(written));
    let found = numbers(&snapshot(memory), written);
    before.iter().enumerate().for_each(|(image, floats)| memory.image_mut(image).copy_from_slice(floats));
    direct(memory, &mut Team::new(1));
    alike(&found, &numbers(&snapshot(memory), written));
}

fn forward(dice: &mut Dice, case: &Case, unit: TileUnit) {
    let isa = Isa::detect();
    let Case { shape, input, output, weight, bias, .. } = case;
    let fusion = Fusion { prologue: None, activation: Activation::Identity, residual: Residual::None };
    let direct = Conv::forward(isa, *shape, input, output, fusion);
    let tiles = TileConv::forward(isa, unit, *shape, input, output);
    let mut memory = case.memory(dice, direct.scratch_len().max(tiles.scratch_len()));
    let (bias, mut weights, mut tally) = (dice.flip().then_some(&bias[..]), TileWeights::default(), Tally::default());
    let mut moments = ChannelMoments::new(output.channels());
    let run = |memory: &mut Memory, team: &mut Team| {
        let take = Take { tally: &mut tally, moments: &mut moments };
        tiles.run_unpacked(weight, bias, (&mut weights, Some(take)), memory, team);
        moments.mean().iter().chain(moments.variance()).map(|&x| x as f32).collect()
    };
    compare(&mut memory, output, run, |memory, team| direct.run(&direct.pack(weight, bias, None), memory, team));
    let images = snapshot(&memory);
    let pixels = (IMAGES * output.pixels()) as f64;
    let mean = |channel: usize, of: fn(f64) -> f64| {
        let numbers = images.iter().flat_map(|image| {
            cells(output).filter(move |cell| cell.0 == channel).map(move |(c, y, x)| at(image, output, c, y, x))
        });
        numbers.map(of).sum::<f64>() / pixels
    };
    let all: Vec<usize> = (0..output.channels()).collect();
    let means: Vec<f64> = all.iter().map(|&c| mean(c, |x| x)).collect();
    let variances: Vec<f64> = all.iter().map(|&c| mean(c, |x| x * x) - means[c] * means[c]).collect();
    alike(moments.mean(), &means);
    alike(moments.variance(), &variances);
}

fn backward_data(dice: &mut Dice, case: &Case, unit: TileUnit) {
    let (isa, accumulate) = (Isa::detect(), dice.flip());
    let Case { shape, input, output, weight, .. } = case;
    let direct = Conv::backward_data(isa, *shape, output, input, accumulate);
    let tiles = TileConv::backward_data(isa, unit, *shape, output, input, accumulate);
    let mut memory = case.memory(dice, direct.scratch_len().max(tiles.scratch_len()));
    let mut weights = TileWeights::default();
    let run = |memory: &mut Memory, team: &mut Team| {
        tiles.run_unpacked(weight, None, (&mut weights, None), memory, team);
        Vec::new()
    };
    compare(&mut memory, input, run, |memory, team| direct.run(&direct.pack(weight, None, None), memory, team));
}

fn backward_weight(dice: &mut Dice, case: &Case, unit: TileUnit) {
    let isa = Isa::detect();
    let Case { shape, input, output, weight, .. } = case;
    let direct = ConvGrad::new(isa, *shape, input, output, None);
    let tiles = ConvGrad::in_tiles(isa, unit, *shape, input, output);
    let mut memory = case.memory(dice, direct.scratch_len().max(tiles.scratch_len()));
    let before = snapshot(&memory);
    let gradient = |of: &ConvGrad, memory: &mut Memory, team: &mut Team| {
        let mut gradient = vec![f32::NAN; weight.len()];
        of.run(&mut gradient, None, memory, team);
        gradient
    };
    same_bits(&before, &mut memory, |memory, team| gradient(&tiles, memory, team));
    untouched(&before, &memory, None);
    let [found, expected] = [&tiles, &direct]
        .map(|of| gradient(of, &mut memory, &mut Team::new(1)).into_iter().map(f64::from).collect::<Vec<_>>());
    alike(&found, &expected);
}

fn check(dice: &mut Dice, case: &Case) {
    assert!(TileConv::fits(&case.shape, &case.input, &case.output));
    for unit in units() {
        forward(dice, case, unit);
        backward_data(dice, case, unit);
        backward_weight(dice, case, unit);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn tiles_are_right(seed: u64) {
        let dice = &mut Dice::new(seed);
        let case = Case::draw(dice);
        check(dice, &case);
    }
}

/// Pictures that are cut into bands of rows, and many that share a unit of work.
#[test]
fn large_and_small_pictures_are_right() {
    let dice = &mut Dice::new(3);
    for (kernel, size) in
        [([3, 3], [70, 45]), ([1, 1], [60, 47]), ([2, 5], [50, 64]), ([3, 3], [4, 4]), ([1, 1], [1, 1])]
    {
        let case = Case::of(dice, kernel, kernel.map(|taps| taps / 2), size);
        check(dice, &case);
    }
}

/// What is no number stays none, and spoils nothing but what it should.
#[test]
fn what_is_no_number_stays_none() {
    let dice = &mut Dice::new(5);
    let case = Case::of(dice, [3, 3], [1, 1], [8, 8]);
    for unit in units() {
        let tiles = TileConv::forward(Isa::detect(), unit, case.shape, &case.input, &case.output);
        let mut memory = case.memory(dice, tiles.scratch_len());
        memory.image_mut(1)[case.input.blocks()[0].offset + (3 * 8 + 4) * LANES] = f32::NAN;
        tiles.run_unpacked(&case.weight, None, (&mut TileWeights::default(), None), &mut memory, &mut Team::new(1));
        for image in 0..IMAGES {
            for (c, y, x) in cells(&case.output) {
                let sees = image == 1 && y.abs_diff(3) <= 1 && x.abs_diff(4) <= 1;
                assert_eq!(at(memory.image(image), &case.output, c, y, x).is_nan(), sees);
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let planes = |channels, size| Planes::dense(channels, size, size, 0, size * size * LANES);
    let shape = |kernel, stride, padding, groups| ConvShape {
        window: Window { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2], dilation: [1; 2] },
        groups,
    };
    let fits =
        |shape: ConvShape, [a, b]: [(usize, usize); 2]| TileConv::fits(&shape, &planes(a.0, a.1), &planes(b.0, b.1));
    assert!(fits(shape(3, 1, 1, 1), [(16, 9), (8, 9)]));
    assert!(!fits(shape(3, 2, 1, 1), [(16, 9), (8, 5)]));
    assert!(!fits(shape(3, 1, 1, 2), [(16, 9), (8, 9)]));
    assert!(!fits(shape(3, 1, 1, 1), [(3, 9), (8, 9)]));
    assert!(!fits(shape(3, 1, 1, 1), [(16, 9), (8, 10)]));
    assert!(!fits(shape(9, 1, 4, 1), [(16, 9), (8, 9)]));
}
