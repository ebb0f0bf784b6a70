//! Two convolutions band by band: the bits that they give one after the other.

mod common;

use common::*;
use cspnet_kernels::{
    Bands, Block, Conv, ConvShape, First, Fusion, Isa, Pictures, Planes, Prologue, Residual, Second, Stem, Window,
    Winograd, WinogradTile,
};
use proptest::prelude::*;

/// A window, and the size that it gives.
fn window(dice: &mut Dice, from: [usize; 2], draw: impl Fn(&mut Dice) -> Window) -> (Window, [usize; 2]) {
    let fitting = |dice: &mut Dice| {
        let window = draw(dice);
        let behind = dice.behind(&window).map(|cells| cells + dice.below(2));
        Some((window, outputs(&window, from, behind)?))
    };
    std::iter::repeat_with(|| fitting(dice)).flatten().next().unwrap()
}

/// A value between others.
fn joined(before: &Planes, value: &Planes, behind: &Planes) -> Planes {
    let mut blocks: Vec<Block> = Vec::new();
    for planes in [before, value, behind] {
        let channels = blocks.last().map_or(0, |b| b.first + b.count);
        blocks.extend(planes.blocks().iter().map(|b| Block { first: channels + b.first, ..*b }));
    }
    Planes::new(blocks, value.height(), value.width())
}

/// What two convolutions are made of; each is needed twice.
struct Case {
    isa: Isa,
    picture: [usize; 3],
    shapes: [ConvShape; 2],
    tile: Option<WinogradTile>,
    first: Fusion,
    second: Fusion,
    /// What the first reads if it is no stem, what it gives, what the second reads and gives.
    planes: [Planes; 4],
    is_stem: bool,
    numbers: Vec<f32>,
}

impl Case {
    fn draw(dice: &mut Dice, isa: Isa, layout: &mut Layout) -> Self {
        let is_stem = dice.flip();
        let (c, middle, out) = (if is_stem { 3 } else { 1 + dice.below(20) }, 1 + dice.below(40), 1 + dice.below(40));
        let from = [1 + dice.below(30), 1 + dice.below(30)];
        let (of_first, between) = window(dice, from, |dice| {
            let window = dice.window();
            let stride = [window.stride[0], 1 + window.stride[1] % 2];
            if is_stem { Window { dilation: [1; 2], stride, ..window } } else { window }
        });
        let winograd = dice.flip() && between[0].min(between[1]) > 2;
        let (of_second, to) = window(dice, between, |dice| match (winograd, dice.below(3)) {
            (true, _) => Window { kernel: [3; 2], stride: [1 + dice.below(2); 2], padding: [1; 2], dilation: [1; 2] },
            (_, 0) => Window { kernel: [1; 2], stride: [1; 2], padding: [0; 2], dilation: [1; 2] },
            _ => dice.window(),
        });
        let tile = winograd.then(|| dice.pick(WinogradTile::of_stride(of_second.stride[0])));
        let mut place = |dice: &mut Dice, channels: usize, size| {
            let blocks = partition(dice, channels);
            (layout.place(dice, &blocks, size), blocks)
        };
        let (input, _) = place(dice, c, from);
        let counts = [dice.below(12), dice.below(12)];
        let [before, behind] = counts.map(|channels| place(dice, channels, between).0);
        let (output, blocks) = place(dice, out, to);
        // The value in between lies behind all others.
        let (value, _) = place(dice, middle, between);
        let residual = match dice.below(3) {
            0 => Residual::None,
            1 => Residual::BeforeActivation(output.clone()),
            _ => Residual::AfterActivation(output.clone()),
        };
        assert_eq!(blocks.len(), output.blocks().len());
        let prologue = |dice: &mut Dice| dice.flip().then_some(Prologue::Clamp);
        let first = Fusion {
            prologue: prologue(dice).filter(|_| !is_stem),
            activation: dice.pick(&ACTIVATIONS),
            residual: Residual::None,
        };
        let second =
            Fusion { prologue: prologue(dice).filter(|_| !winograd), activation: dice.pick(&ACTIVATIONS), residual };
        let read = joined(&before, &value, &behind);
        Self {
            isa,
            picture: [c, from[0], from[1]],
            shapes: [of_first, of_second].map(|window| ConvShape { window, groups: 1 }),
            tile,
            first,
            second,
            planes: [input, value, read, output],
            is_stem,
            numbers: dice.numbers(100_000),
        }
    }

    fn numbers(&self, channels: [usize; 2], shape: &ConvShape) -> &[f32] {
        &self.numbers[..channels[0] * channels[1] * shape.window.kernel.iter().product::<usize>()]
    }

    fn bounds(&self, fusion: &Fusion, channels: usize) -> Option<(&[f32], &[f32])> {
        fusion.prologue.map(|_| (&self.numbers[7..7 + channels], &[2.0; 64][..channels]))
    }

    fn first(&self) -> First {
        let ([from, to, ..], shape) = (&self.planes, self.shapes[0]);
        let numbers = self.numbers([self.picture[0], to.channels()], &shape);
        if self.is_stem {
            let stem = Stem::new(self.isa, shape, self.picture, to, self.first.activation);
            let weights = stem.pack(numbers, None, None);
            return First::Stem(Box::new(stem), weights);
        }
        let conv = Conv::forward(self.isa, shape, from, to, self.first.clone());
        let weights = conv.pack(numbers, None, self.bounds(&self.first, from.channels()));
        First::Conv(Box::new(conv), weights)
    }

    fn second(&self) -> Second {
        let ([.., from, to], shape) = (&self.planes, self.shapes[1]);
        let numbers = self.numbers([from.channels(), to.channels()], &shape);
        let fusion = self.second.clone();
        if let Some(tile) = self.tile {
            let winograd = Winograd::new(self.isa, tile, shape, from, to, fusion);
            let weights = winograd.pack(numbers, None);
            return Second::Winograd(Box::new(winograd), weights);
        }
        let conv = Conv::forward(self.isa, shape, from, to, fusion);
        let weights = conv.pack(numbers, None, self.bounds(&self.second, from.channels()));
        Second::Conv(Box::new(conv), weights)
    }
}

const IMAGES: usize = 2;

fn in_bands(seed: u64, isa: Isa) {
    let mut dice = Dice::new(seed);
    let mut layout = Layout::new();
    let case = Case::draw(&mut dice, isa, &mut layout);
    let pixels = dice.numbers(IMAGES * case.picture.iter().product::<usize>());
    let pictures = Pictures::Numbers(&pixels);
    let rows = 1 + dice.below(9);
    let bands = Bands::of_rows(case.first(), case.second(), rows);
    let most = bands.scratch_len() + 100_000;
    let mut memory = layout.memory(&mut dice, IMAGES, 5, most);
    let before = snapshot(&memory);
    same_bits(&before, &mut memory, |memory, team| {
        bands.run(pictures, memory, team);
        Vec::new()
    });
    let [_, between, _, output] = &case.planes;
    untouched(&before, &memory, Some(output));
    let got = snapshot(&memory);
    for (image, floats) in before.iter().enumerate() {
        memory.image_mut(image).copy_from_slice(floats);
    }
    let mut team = cspnet_kernels::Team::new(1);
    match case.first() {
        First::Stem(stem, weights) => stem.run(&weights, pictures, &mut memory, &mut team),
        First::Conv(conv, weights) => conv.run(&weights, &mut memory, &mut team),
    }
    match case.second() {
        Second::Conv(conv, weights) => conv.run(&weights, &mut memory, &mut team),
        Second::Winograd(winograd, weights) => winograd.run(&weights, &mut memory, &mut team),
    }
    let mut alone = snapshot(&memory);
    for (alone, before) in alone.iter_mut().zip(&before) {
        for b in 0..between.blocks().len() {
            alone[between.range(b)].copy_from_slice(&before[between.range(b)]);
        }
    }
    let bits = |images: &[Vec<f32>]| images.iter().flatten().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert!(bits(&got) == bits(&alone), "bands of {rows} rows give other bits");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bands_give_the_bits_of_whole_maps(seed: u64) {
        for isa in Isa::available() {
            in_bands(seed, isa);
        }
    }
}

/// `[channels]` at 8x8 each, one after another.
fn places(channels: &[usize]) -> Vec<Planes> {
    let mut end = 0;
    let mut place = |&c: &usize| {
        let planes = Planes::dense(c, 8, 8, end, 512);
        end = planes.end();
        planes
    };
    channels.iter().map(&mut place).collect()
}

fn pointwise(input: &Planes, output: &Planes, residual: Residual) -> (Box<Conv>, cspnet_kernels::ConvWeights) {
    let window = Window { kernel: [1; 2], stride: [1; 2], padding: [0; 2], dilation: [1; 2] };
    let fusion = Fusion { prologue: None, activation: ACTIVATIONS[1], residual };
    let conv = Conv::forward(Isa::Scalar, ConvShape { window, groups: 1 }, input, output, fusion);
    let weights = conv.pack(&vec![0.5; input.channels() * output.channels()], None, None);
    (Box::new(conv), weights)
}

fn pair(first: [&Planes; 2], residual: Residual, second: [&Planes; 2]) -> std::thread::Result<Bands> {
    let (conv, weights) = pointwise(first[0], first[1], residual);
    let first = First::Conv(conv, weights);
    let (conv, weights) = pointwise(second[0], second[1], Residual::None);
    std::panic::catch_unwind(|| Bands::new(first, Second::Conv(conv, weights)))
}

#[test]
fn pairs_that_would_race_or_do_not_fit_are_refused() {
    let [a, b, c, d] = places(&[8, 16, 8, 16]).try_into().unwrap();
    assert!(pair([&a, &b], Residual::None, [&b, &c]).is_ok());
    // The second overwrites what the first reads for other bands.
    assert!(pair([&a, &b], Residual::None, [&b, &a]).is_err());
    // It reads something else, or half of it, or the first adds something.
    assert!(pair([&a, &b], Residual::None, [&d, &c]).is_err());
    let half = Planes::new(b.blocks()[..1].to_vec(), 8, 8);
    assert!(pair([&a, &b], Residual::None, [&half, &c]).is_err());
    assert!(pair([&a, &b], Residual::AfterActivation(d.clone()), [&b, &c]).is_err());
}

#[test]
#[should_panic(expected = "beyond the arena")]
fn a_memory_with_shorter_shares_is_refused() {
    let [a, b, c] = places(&[8, 16, 8]).try_into().unwrap();
    let bands = pair([&a, &b], Residual::None, [&b, &c]).unwrap();
    let mut memory = cspnet_kernels::Memory::new(1, c.end() - 16, 1, bands.scratch_len());
    bands.run(Pictures::Numbers(&[]), &mut memory, &mut cspnet_kernels::Team::new(1));
}

#[test]
fn what_is_between_needs_no_arena() {
    let [a, c, b] = places(&[8, 8, 16]).try_into().unwrap();
    let bands = pair([&a, &b], Residual::None, [&b, &c]).unwrap();
    let mut memory = cspnet_kernels::Memory::new(1, c.end(), 1, bands.scratch_len());
    memory.image_mut(0).fill(1.0);
    bands.run(Pictures::Numbers(&[]), &mut memory, &mut cspnet_kernels::Team::new(1));
    assert!(memory.image(0)[c.range(0)].iter().all(|&v| v == 16.0 * 0.5 * 4.0));
}
