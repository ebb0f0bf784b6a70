//! Winograd's convolution against naive sums in double precision, and against itself: threads and batch do not matter.

mod common;

use common::*;
use cspnet_kernels::{
    Activation, Conv, ConvShape, Fusion, Isa, Memory, Planes, Prologue, Residual, Team, Window, Winograd, WinogradTile,
};
use proptest::prelude::*;

/// The most that the root mean square of the error may be, relative to that of what is summed up.
fn allowed(tile: WinogradTile) -> f64 {
    match tile {
        WinogradTile::F2 | WinogradTile::F2Strided => 1e-6,
        WinogradTile::F4 | WinogradTile::F4Strided => 3e-6,
    }
}

/// A convolution at places in a memory.
struct Case {
    shape: ConvShape,
    input: Planes,
    output: Planes,
    weight: Vec<f32>,
    bias: Vec<f32>,
    fusion: Fusion,
    layout: Layout,
}

fn shape(stride: usize, padding: [usize; 2]) -> ConvShape {
    ConvShape { window: Window { kernel: [3; 2], stride: [stride; 2], padding, dilation: [1; 2] }, groups: 1 }
}

impl Case {
    fn draw(dice: &mut Dice) -> Self {
        let padding = if dice.flip() { [1; 2] } else { [dice.below(4), dice.below(4)] };
        let behind = if dice.flip() { padding } else { [dice.below(4), dice.below(4)] };
        let size = [0, 1].map(|axis| 1 + 2_usize.saturating_sub(padding[axis] + behind[axis]) + dice.below(40));
        let channels = [1 + dice.below(40), 1 + dice.below(50)];
        let mut layout = Layout::new();
        let [of_input, of_output] = channels.map(|c| partition(dice, c));
        let input = layout.place(dice, &of_input, size);
        let stride = 1 + dice.below(2);
        let outputs = outputs(&shape(stride, padding).window, size, behind).unwrap();
        let output = layout.place(dice, &of_output, outputs);
        let other = layout.place(dice, &of_output, outputs);
        let residual = match dice.below(4) {
            0 => Residual::None,
            1 => Residual::BeforeActivation(output.clone()),
            2 => Residual::BeforeActivation(other),
            _ => Residual::AfterActivation(other),
        };
        let fusion = Fusion { prologue: None, activation: dice.pick(&ACTIVATIONS), residual };
        let weight = dice.numbers(channels[0] * channels[1] * 9);
        Self { shape: shape(stride, padding), input, output, weight, bias: dice.numbers(channels[1]), fusion, layout }
    }

    /// A realistic layer: whole blocks, ReLU behind it and before it.
    fn layer(dice: &mut Dice, stride: usize, [c, out]: [usize; 2], size: usize) -> Self {
        let mut layout = Layout::new();
        let input = layout.place(dice, &vec![8; c / 8], [stride * size; 2]);
        let output = layout.place(dice, &vec![8; out / 8], [size; 2]);
        let fusion = Fusion { prologue: None, activation: Activation::Relu, residual: Residual::None };
        let weight = dice.numbers(c * out * 9);
        Self { shape: shape(stride, [1; 2]), input, output, weight, bias: vec![0.0; out], fusion, layout }
    }

    fn stride(&self) -> usize {
        self.shape.window.stride[0]
    }

    fn tiles(&self) -> impl Iterator<Item = WinogradTile> {
        WinogradTile::of_stride(self.stride()).iter().copied()
    }

    fn winograd(&self, isa: Isa, tile: WinogradTile) -> Winograd {
        Winograd::new(isa, tile, self.shape, &self.input, &self.output, self.fusion.clone())
    }

    /// For every output of an image, its value and how large the numbers are that it is the sum of.
    fn exact(&self, image: &[f32]) -> Vec<(f64, f64)> {
        let channels = self.input.channels();
        let [top, left] = self.shape.window.padding;
        let one = |(o, y, x): (usize, usize, usize)| {
            let (mut sum, mut squares) = (f64::from(self.bias[o]), 0.0);
            for (ky, kx) in (0..3).flat_map(|ky| (0..3).map(move |kx| (ky, kx))) {
                let [row, column] =
                    [(y, ky, top), (x, kx, left)].map(|(o, k, p)| (o * self.stride() + k).wrapping_sub(p));
                if row >= self.input.height() || column >= self.input.width() {
                    continue;
                }
                for b in self.input.blocks() {
                    let from = &image[b.offset + (row * self.input.width() + column) * 8..][..b.count];
                    for (lane, &number) in from.iter().enumerate() {
                        let place = ((o * channels + b.first + lane) * 3 + ky) * 3 + kx;
                        let product = f64::from(number) * f64::from(self.weight[place]);
                        sum += product;
                        squares += product * product;
                    }
                }
            }
            let f = |x| value(self.fusion.activation, x);
            let result = match &self.fusion.residual {
                Residual::None => f(sum),
                Residual::BeforeActivation(r) => f(sum + at(image, r, o, y, x)),
                Residual::AfterActivation(r) => f(sum) + at(image, r, o, y, x),
            };
            (result, squares)
        };
        cells(&self.output).map(one).collect()
    }
}

/// The root mean square of an image's error.
fn error(case: &Case, image: &[f32], exact: &[(f64, f64)]) -> f64 {
    let off = cells(&case.output).zip(exact).map(|((o, y, x), (e, _))| at(image, &case.output, o, y, x) - e);
    (off.map(|d| d * d).sum::<f64>() / exact.len() as f64).sqrt()
}

fn check(seed: u64) {
    let mut dice = Dice::new(seed);
    let case = Case::draw(&mut dice);
    let images = 1 + dice.below(3);
    let mut memory = case.layout.memory(&mut dice, images, 0, 0);
    let before = snapshot(&memory);
    let exact: Vec<_> = before.iter().map(|image| case.exact(image)).collect();
    for (isa, tile) in Isa::available().flat_map(|isa| case.tiles().map(move |tile| (isa, tile))) {
        let winograd = case.winograd(isa, tile);
        memory = Memory::new(images, before[0].len(), 5, winograd.scratch_len());
        let weights = winograd.pack(&case.weight, Some(&case.bias));
        same_bits(&before, &mut memory, |memory, team| {
            winograd.run(&weights, memory, team);
            Vec::new()
        });
        untouched(&before, &memory, Some(&case.output));
        for (i, exact) in exact.iter().enumerate() {
            let scale = (exact.iter().map(|e| e.1).sum::<f64>() / exact.len() as f64).sqrt().max(0.1);
            let off = error(&case, memory.image(i), exact) / scale;
            assert!(off <= allowed(tile), "{isa}, {tile:?}: an error of {off:.1e}");
            let mut alone = Memory::new(1, before[i].len(), 1, winograd.scratch_len());
            alone.image_mut(0).copy_from_slice(&before[i]);
            winograd.run(&weights, &mut alone, &mut Team::new(1));
            assert!(alone.image(0) == memory.image(i), "{isa}, {tile:?}: an image has other bits in a batch");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn random_convolutions_are_right(seed: u64) {
        check(seed);
    }
}

/// On layers as networks have them: more k-blocks than a chain, an odd panel, many tiles, few pixels.
#[test]
fn errors_are_small_beside_the_output() {
    let mut dice = Dice::new(1);
    for (channels, size) in [([256, 40], 15), ([64, 8], 37), ([24, 72], 66), ([160, 64], 7), ([8, 8], 1)] {
        for (stride, isa) in [1, 2].into_iter().flat_map(|stride| Isa::available().map(move |isa| (stride, isa))) {
            let case = Case::layer(&mut dice, stride, channels, size);
            let direct = Conv::forward(isa, case.shape, &case.input, &case.output, case.fusion.clone());
            let winograds: Vec<_> = case.tiles().map(|tile| (tile, case.winograd(isa, tile))).collect();
            let scratch = winograds.iter().map(|w| w.1.scratch_len()).max().unwrap().max(direct.scratch_len());
            let mut memory = case.layout.memory(&mut dice, 1, 1, scratch);
            memory.image_mut(0).iter_mut().for_each(|x| *x = x.max(0.0));
            let exact = case.exact(memory.image(0));
            let rms = (exact.iter().map(|e| e.0 * e.0).sum::<f64>() / exact.len() as f64).sqrt();
            direct.run(&direct.pack(&case.weight, Some(&case.bias), None), &mut memory, &mut Team::new(1));
            let of_direct = error(&case, memory.image(0), &exact) / rms;
            for (tile, winograd) in winograds {
                winograd.run(&winograd.pack(&case.weight, Some(&case.bias)), &mut memory, &mut Team::new(1));
                let off = error(&case, memory.image(0), &exact) / rms;
                println!("{channels:?} at {size}, {isa}: {tile:?} {off:.1e}, directly {of_direct:.1e}");
                assert!(off <= allowed(tile), "{channels:?} at {size}, {isa}, {tile:?}: an error of {off:.1e}");
            }
        }
    }
}

fn refused(shape: ConvShape, prologue: Option<Prologue>) {
    let planes = |offset| Planes::dense(8, 4, 4, offset, 128);
    let fusion = Fusion { prologue, activation: Activation::Identity, residual: Residual::None };
    Winograd::new(Isa::Scalar, WinogradTile::F2, shape, &planes(0), &planes(128), fusion);
}

#[test]
#[should_panic(expected = "no Winograd's convolution")]
fn a_stride_of_another_tile_is_refused() {
    refused(shape(2, [1; 2]), None);
}

#[test]
#[should_panic(expected = "no Winograd's convolution")]
fn a_prologue_is_refused() {
    refused(shape(1, [1; 2]), Some(Prologue::Clamp));
}

#[test]
#[should_panic(expected = "weights of another convolution")]
fn weights_of_another_layer_are_refused() {
    let mut dice = Dice::new(2);
    let [few, many] = [8, 16].map(|channels| Case::layer(&mut dice, 1, [channels, 8], 4));
    let [small, large] = [&few, &many].map(|case| case.winograd(Isa::Scalar, WinogradTile::F2));
    let mut memory = many.layout.memory(&mut dice, 1, 1, large.scratch_len());
    large.run(&small.pack(&few.weight, None), &mut memory, &mut Team::new(1));
}

/// One tile and another read the same weights.
#[test]
fn weights_are_packed_alike_for_every_tile() {
    let case = Case::layer(&mut Dice::new(2), 1, [24, 40], 4);
    let [small, large] = [WinogradTile::F2, WinogradTile::F4].map(|tile| {
        let weights = case.winograd(Isa::Scalar, tile).pack(&case.weight, None);
        weights.bytes()
    });
    assert_eq!(small, large);
    assert!(small < 4 * (case.weight.len() + 3 * 24 * 8 * 9), "{small} bytes for {} weights", case.weight.len());
}

#[test]
#[should_panic(expected = "numbers for")]
fn weights_of_another_length_are_refused() {
    let case = Case::layer(&mut Dice::new(2), 1, [8, 8], 4);
    case.winograd(Isa::Scalar, WinogradTile::F2).pack(&case.weight[1..], None);
}
