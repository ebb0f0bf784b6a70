//! Shapes that random small ones seldom meet: depthwise, rows longer than a run, sums of many chains, narrow groups.
//! Random shapes are in the crate's `tests/`.

use super::*;
use crate::{Block, Memory, Team};

/// A convolution of `input` = `[c, h, w]` with blocks of so many channels, again and again.
struct Case {
    window: Window,
    groups: usize,
    input: [usize; 3],
    out: usize,
    counts: [&'static [usize]; 2],
}

const WHOLE: &[usize] = &[8];
const RAGGED: &[usize] = &[8, 3, 8, 1, 5];

fn window(kernel: usize, stride: usize, padding: usize, dilation: usize) -> Window {
    Window { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2], dilation: [dilation; 2] }
}

fn cases() -> Vec<Case> {
    let case = |window, groups, input, out, counts| Case { window, groups, input, out, counts };
    vec![
        case(window(3, 1, 1, 1), 21, [21, 9, 13], 21, [RAGGED, RAGGED]),
        case(window(3, 2, 1, 1), 40, [40, 17, 30], 40, [WHOLE, WHOLE]),
        case(window(5, 3, 2, 2), 12, [12, 19, 16], 12, [RAGGED, RAGGED]),
        case(window(1, 1, 0, 1), 16, [16, 5, 50], 16, [WHOLE, WHOLE]),
        case(window(3, 1, 1, 1), 12, [12, 8, 8], 12, [WHOLE, RAGGED]),
        case(window(3, 1, 1, 1), 8, [8, 7, 9], 24, [WHOLE, WHOLE]),
        case(window(3, 1, 1, 1), 9, [36, 12, 21], 36, [WHOLE, RAGGED]),
        case(window(3, 2, 1, 1), 5, [40, 30, 11], 40, [WHOLE, WHOLE]),
        case(window(1, 1, 0, 1), 1, [30, 3, 300], 17, [RAGGED, WHOLE]),
        case(window(3, 1, 1, 1), 1, [3, 4, 270], 33, [WHOLE, RAGGED]),
        case(window(3, 1, 1, 1), 1, [150, 21, 19], 18, [WHOLE, WHOLE]),
        case(window(7, 2, 3, 1), 1, [3, 61, 47], 16, [WHOLE, WHOLE]),
        case(window(1, 1, 0, 1), 1, [520, 1, 1], 90, [WHOLE, WHOLE]),
        case(window(1, 2, 0, 1), 1, [24, 9, 9], 40, [RAGGED, RAGGED]),
        case(window(1, 1, 0, 1), 1, [88, 3, 5], 40, [WHOLE, WHOLE]),
        case(window(3, 2, 1, 1), 1, [56, 7, 4], 24, [WHOLE, WHOLE]),
        case(window(3, 2, 1, 1), 1, [16, 1, 5], 24, [WHOLE, WHOLE]),
    ]
}

/// Values lie one after another with a gap between blocks.
fn place(channels: usize, size: [usize; 2], counts: &[usize], end: &mut usize) -> Planes {
    let (mut blocks, mut first) = (Vec::new(), 0);
    for &count in counts.iter().cycle() {
        if first == channels {
            break;
        }
        let count = count.min(channels - first);
        blocks.push(Block { offset: *end, first, count });
        first += count;
        *end += size[0] * size[1] * LANES + LANES;
    }
    Planes::new(blocks, size[0], size[1])
}

fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Where a channel's pixel lies.
fn at(planes: &Planes, c: usize, y: usize, x: usize) -> usize {
    let b = planes.blocks().iter().find(|b| (b.first..b.first + b.count).contains(&c)).unwrap();
    b.offset + (y * planes.width() + x) * LANES + c - b.first
}

/// Calls `each(input's float, output's float, weight)` for every product.
fn products(case: &Case, input: &Planes, output: &Planes, mut each: impl FnMut(usize, usize, usize)) {
    let w = &case.window;
    let (ci, co) = (case.input[0] / case.groups, case.out / case.groups);
    let [kh, kw] = w.kernel;
    for (o, i) in (0..case.out).flat_map(|o| (0..ci).map(move |i| (o, i))) {
        for (ky, kx) in (0..kh).flat_map(|y| (0..kw).map(move |x| (y, x))) {
            for (y, x) in (0..output.height()).flat_map(|y| (0..output.width()).map(move |x| (y, x))) {
                let row = (y * w.stride[0] + ky * w.dilation[0]).wrapping_sub(w.padding[0]);
                let column = (x * w.stride[1] + kx * w.dilation[1]).wrapping_sub(w.padding[1]);
                if row < input.height() && column < input.width() {
                    let from = at(input, o / co * ci + i, row, column);
                    each(from, at(output, o, y, x), ((o * ci + i) * kh + ky) * kw + kx);
                }
            }
        }
    }
}

/// Runs with several teams and checks every float of both images: results within an error that grows with the root of
/// the sum's length, all else untouched.
fn check(conv: &Conv, weights: &ConvWeights, target: &Planes, before: &[f32], expected: &[f64], length: usize) {
    let mut seen: Option<Vec<f32>> = None;
    for threads in [1, 2, 3, 5] {
        let mut memory = Memory::new(2, before.len(), threads, conv.scratch_len());
        (0..2).for_each(|n| memory.image_mut(n)[..before.len()].copy_from_slice(before));
        conv.run(weights, &mut memory, &mut Team::new(threads));
        assert!(memory.image(0) == memory.image(1), "an image of a batch has other bits");
        let image = memory.image(0).to_vec();
        assert!(seen.as_ref().is_none_or(|s| *s == image), "{threads} threads give other bits");
        seen = Some(image);
    }
    let image = seen.unwrap();
    let mut written = vec![false; before.len()];
    (0..target.blocks().len()).for_each(|b| written[target.range(b)].fill(true));
    for (i, written) in written.into_iter().enumerate() {
        assert!(written || image[i].to_bits() == before[i].to_bits(), "float {i} is not the output's");
    }
    let scale = 2e-7 * (length as f64 + 4.0).sqrt();
    for (c, y, x) in (0..target.channels())
        .flat_map(|c| (0..target.height()).flat_map(move |y| (0..target.width()).map(move |x| (c, y, x))))
    {
        let (got, e) = (f64::from(image[at(target, c, y, x)]), expected[at(target, c, y, x)]);
        assert!((got - e).abs() <= scale * (4.0 + e.abs()), "channel {c}, pixel {y} {x}: {got} instead of {e}");
    }
}

fn size(case: &Case) -> [usize; 2] {
    let w = &case.window;
    let along =
        |a: usize| (case.input[a + 1] + 2 * w.padding[a] - w.dilation[a] * (w.kernel[a] - 1) - 1) / w.stride[a] + 1;
    [along(0), along(1)]
}

fn on_every_isa(mut run: impl FnMut(Isa, &Case, &Planes, &Planes, &[f32], &[f32])) {
    for case in cases() {
        let mut end = LANES;
        let input = place(case.input[0], [case.input[1], case.input[2]], case.counts[0], &mut end);
        let output = place(case.out, size(&case), case.counts[1], &mut end);
        let before = numbers(end + LANES, 1);
        let weight = numbers(case.out * case.input[0] / case.groups * case.window.kernel[0] * case.window.kernel[1], 2);
        for isa in Isa::available() {
            run(isa, &case, &input, &output, &before, &weight);
        }
    }
}

#[test]
fn forward_in_every_way_of_running() {
    on_every_isa(|isa, case, input, output, before, weight| {
        for prologue in [None, Some(Prologue::Affine(Activation::Relu))] {
            let fusion = Fusion { prologue, activation: Activation::Relu, residual: Residual::None };
            let shape = ConvShape { window: case.window, groups: case.groups };
            let conv = Conv::forward(isa, shape, input, output, fusion);
            let (bias, scale, shift) = (numbers(case.out, 3), numbers(case.input[0], 4), numbers(case.input[0], 5));
            let weights = conv.pack(weight, Some(&bias), prologue.is_some().then_some((&scale, &shift)));
            let mut x: Vec<f64> = before.iter().map(|&v| f64::from(v)).collect();
            for c in (0..case.input[0]).filter(|_| prologue.is_some()) {
                for i in (0..input.pixels()).map(|p| at(input, c, 0, 0) + p * LANES) {
                    x[i] = (x[i] * f64::from(scale[c]) + f64::from(shift[c])).max(0.0);
                }
            }
            let mut sums = vec![0.0; before.len()];
            products(case, input, output, |from, to, w| sums[to] += x[from] * f64::from(weight[w]));
            for (c, bias) in bias.iter().enumerate() {
                for i in (0..output.pixels()).map(|p| at(output, c, 0, 0) + p * LANES) {
                    sums[i] = (sums[i] + f64::from(*bias)).max(0.0);
                }
            }
            check(&conv, &weights, output, before, &sums, weight.len() / case.out);
        }
    });
}

/// Subsampling goes before a matrix on channels for free (rewrite R15): the pixels between are never read.
#[test]
fn a_1x1_convolution_with_stride_reads_every_second_pixel_only() {
    for isa in Isa::available() {
        let mut end = 0;
        let [input, output] = [[9, 12], [5, 6]].map(|size| place(24, size, WHOLE, &mut end));
        let fusion = Fusion { prologue: None, activation: Activation::Relu, residual: Residual::None };
        let conv = Conv::forward(isa, ConvShape { window: window(1, 2, 0, 1), groups: 1 }, &input, &output, fusion);
        let weights = conv.pack(&numbers(24 * 24, 1), None, None);
        let answer = |between: f32| {
            let mut memory = Memory::new(1, end, 1, conv.scratch_len());
            memory.image_mut(0)[..end].copy_from_slice(&numbers(end, 2));
            for (c, y, x) in (0..24).flat_map(|c| (0..9).flat_map(move |y| (0..12).map(move |x| (c, y, x)))) {
                if y % 2 == 1 || x % 2 == 1 {
                    memory.image_mut(0)[at(&input, c, y, x)] = between;
                }
            }
            conv.run(&weights, &mut memory, &mut Team::new(1));
            (0..output.blocks().len()).flat_map(|b| memory.image(0)[output.range(b)].to_vec()).collect::<Vec<f32>>()
        };
        assert_eq!(answer(f32::NAN), answer(0.0), "{isa}");
    }
}

#[test]
fn backward_in_every_way_of_running() {
    on_every_isa(|isa, case, input, output, before, weight| {
        for accumulate in [false, true] {
            let shape = ConvShape { window: case.window, groups: case.groups };
            let conv = Conv::backward_data(isa, shape, output, input, accumulate);
            let weights = conv.pack(weight, None, None);
            let mut sums: Vec<f64> = before.iter().map(|&v| if accumulate { f64::from(v) } else { 0.0 }).collect();
            products(case, input, output, |to, from, w| sums[to] += f64::from(before[from]) * f64::from(weight[w]));
            check(&conv, &weights, input, before, &sums, weight.len() / case.input[0]);
        }
    });
}

/// What a lane of a source block and a lane of a target block are multiplied by through a tap, element by element.
fn weight_of(conv: &Conv, weight: &[f32], from: (usize, usize), to: (usize, usize), [ky, kx]: [usize; 2]) -> f32 {
    let channel = |planes: &Planes, (block, lane): (usize, usize)| {
        let block = &planes.blocks()[block];
        (lane < block.count).then_some(block.first + lane)
    };
    let (Some(from), Some(to)) = (channel(&conv.source, from), channel(&conv.target, to)) else { return 0.0 };
    let [sources, targets] = conv.group;
    if from / sources != to / targets {
        return 0.0;
    }
    let (out, input, inputs) =
        if conv.transposed { (from, to % targets, targets) } else { (to, from % sources, sources) };
    let [kh, kw] = conv.taps_in_kernel;
    weight[((out * inputs + input) * kh + ky) * kw + kx]
}

fn packed_one_by_one(conv: &Conv, weight: &[f32]) -> Vec<f32> {
    let mut packed = Vec::new();
    for panel in &conv.panels {
        for grid in &conv.grids {
            for (&source, tap) in panel.sources.iter().flat_map(|s| grid.taps.iter().map(move |t| (s, t))) {
                if conv.lanewise {
                    packed.extend((0..LANES).map(|l| weight_of(conv, weight, (source, l), (source, l), tap.kernel)));
                    continue;
                }
                for (lane, block) in (0..LANES).flat_map(|l| panel.blocks.clone().map(move |b| (l, b))) {
                    let number = |t| weight_of(conv, weight, (source, lane), (block, t), tap.kernel);
                    packed.extend((0..LANES).map(number));
                }
            }
        }
    }
    packed
}

#[test]
fn weights_are_packed_as_one_by_one() {
    on_every_isa(|isa, case, input, output, _, weight| {
        let shape = ConvShape { window: case.window, groups: case.groups };
        let fusion = Fusion { prologue: None, activation: Activation::Relu, residual: Residual::None };
        let forward = Conv::forward(isa, shape, input, output, fusion);
        for conv in [forward, Conv::backward_data(isa, shape, output, input, false)] {
            let expected = packed_one_by_one(&conv, weight);
            for threads in [1, 3] {
                let mut weights = conv.pack(weight, None, None);
                weights.packed.fill(f32::NAN);
                conv.repack(&mut weights, weight, None, None, &mut Team::new(threads));
                assert!(weights.packed[..] == expected[..], "{}", conv.name());
                let read = |first: usize, out: &mut [f32]| out.copy_from_slice(&weight[first..][..out.len()]);
                let pieces = Numbers::Pieces { len: weight.len(), read: &read };
                let weights = conv.pack_pieces(pieces, None, None, &mut Team::new(threads));
                assert!(weights.packed[..] == expected[..], "{} in pieces", conv.name());
            }
        }
    });
}

#[test]
fn images_that_share_a_run_have_the_bits_of_each_alone() {
    for (isa, side, kernel) in Isa::available().flat_map(|isa| [(isa, 7, 1), (isa, 7, 3), (isa, 1, 1)]) {
        let (input, output) = (Planes::dense(40, side, side, 0, 512), Planes::dense(50, side, side, 5 * 512, 512));
        let shape = ConvShape { window: window(kernel, 1, kernel / 2, 1), groups: 1 };
        let residual = Residual::BeforeActivation(output.clone());
        let fusion = Fusion { prologue: None, activation: Activation::Relu, residual };
        let conv = Conv::forward(isa, shape, &input, &output, fusion);
        assert!(conv.together > 1, "{}", conv.name());
        let weights = conv.pack(&numbers(50 * 40 * kernel * kernel, 1), Some(&numbers(50, 2)), None);
        let run = |seeds: std::ops::Range<usize>| {
            let mut memory = Memory::new(seeds.len(), output.end(), 2, conv.scratch_len());
            for (n, seed) in seeds.enumerate() {
                let before = numbers(memory.image_len(), seed as u32);
                memory.image_mut(n).copy_from_slice(&before);
            }
            conv.run(&weights, &mut memory, &mut Team::new(2));
            memory
        };
        // Two groups of images, one of them smaller.
        let images = 2 * conv.together - 1;
        let batch = run(0..images);
        for n in [0, 1, conv.together - 1, conv.together, images - 1] {
            assert!(batch.image(n) == run(n..n + 1).image(0), "image {n} of {images}, {}", conv.name());
        }
    }
}

/// In pieces, which late layers with large weights are cut into, and at once.
#[test]
fn weights_packed_as_they_are_read_give_the_same_bits() {
    let case = |window, input, out| Case { window, groups: 1, input, out, counts: [WHOLE, WHOLE] };
    let cases = [
        (true, case(window(1, 1, 0, 1), [264, 3, 3], 520)),
        (true, case(window(1, 1, 0, 1), [520, 1, 8], 261)),
        (true, case(window(3, 1, 1, 1), [120, 7, 6], 136)),
        (true, case(window(3, 2, 1, 1), [160, 9, 9], 128)),
        (false, case(window(1, 1, 0, 1), [40, 3, 3], 48)),
    ];
    for ((in_pieces, case), isa) in cases.iter().flat_map(|case| Isa::available().map(move |isa| (case, isa))) {
        let mut end = 0;
        let input = place(case.input[0], [case.input[1], case.input[2]], WHOLE, &mut end);
        let output = place(case.out, size(case), WHOLE, &mut end);
        let taps = case.window.kernel.iter().product::<usize>();
        let (weight, bias) = (numbers(case.out * case.input[0] * taps, 1), numbers(case.out, 2));
        let (scale, shift) = (numbers(case.input[0], 3), numbers(case.input[0], 4));
        let shape = ConvShape { window: case.window, groups: 1 };
        let forward = |prologue| {
            let fusion = Fusion { prologue, activation: Activation::Relu, residual: Residual::None };
            Conv::forward(isa, shape, &input, &output, fusion)
        };
        let prologue = Some((&scale[..], &shift[..]));
        for (conv, bias, prologue) in [
            (forward(None), Some(&bias[..]), None),
            (forward(Some(Prologue::Affine(Activation::Relu))), None, prologue),
            (Conv::backward_data(isa, shape, &output, &input, false), None, None),
            (Conv::backward_data(isa, shape, &output, &input, true), None, None),
        ] {
            assert_eq!(conv.panels_a_piece().is_some(), *in_pieces, "{}", conv.name());
            let run = |threads, work: &mut dyn FnMut(&mut Memory, &mut Team)| {
                // Two groups of images.
                let images = conv.together + 2;
                let mut memory = Memory::new(images, end, threads, conv.unpacked_scratch_len());
                (0..images).for_each(|n| memory.image_mut(n)[..end].copy_from_slice(&numbers(end, n as u32)));
                work(&mut memory, &mut Team::new(threads));
                (0..images).map(|n| memory.image(n)[..end].to_vec()).collect::<Vec<_>>()
            };
            let packed = conv.pack(&weight, bias, prologue);
            let expected = run(1, &mut |memory, team| conv.run(&packed, memory, team));
            for threads in [1, 3] {
                // Memory that holds another's.
                let mut weights = small(None).pack(&[1.0; 64], Some(&[1.0; 8]), None);
                let got = run(threads, &mut |memory, team| {
                    conv.run_unpacked(&weight, bias, prologue, (&mut weights, None), memory, team);
                });
                assert!(got == expected, "{threads} threads, {}", conv.name());
            }
        }
    }
}

#[test]
#[should_panic(expected = "63 numbers for 64 weights")]
fn a_weight_that_is_too_short_is_refused_before_a_run() {
    let conv = small(None);
    let mut memory = Memory::new(1, 16, 1, conv.unpacked_scratch_len());
    conv.run_unpacked(&[0.0; 63], None, None, (&mut ConvWeights::default(), None), &mut memory, &mut Team::new(1));
}

fn small(prologue: Option<Prologue>) -> Conv {
    let shape = ConvShape { window: window(1, 1, 0, 1), groups: 1 };
    let fusion = Fusion { prologue, activation: Activation::Identity, residual: Residual::None };
    Conv::forward(Isa::Scalar, shape, &Planes::dense(8, 1, 1, 0, 8), &Planes::dense(8, 1, 1, 8, 8), fusion)
}

#[test]
fn packing_without_a_bias_forgets_the_last_one() {
    let conv = small(None);
    let mut weights = conv.pack(&[0.0; 64], Some(&[1.0; 8]), None);
    conv.repack(&mut weights, &[0.0; 64], None, None, &mut Team::new(1));
    let mut memory = Memory::new(1, 16, 1, conv.scratch_len());
    conv.run(&weights, &mut memory, &mut Team::new(1));
    assert_eq!(memory.image(0), [0.0; 16]);
}

#[test]
#[should_panic(expected = "a bias for each of 8 channels")]
fn a_bias_of_too_many_channels_is_refused() {
    small(None).pack(&[0.0; 64], Some(&[1.0; 9]), None);
}

#[test]
#[should_panic(expected = "weights of another convolution")]
fn weights_that_lack_a_prologue_are_refused() {
    let (plain, with_prologue) = (small(None), small(Some(Prologue::Affine(Activation::Relu))));
    let mut memory = Memory::new(1, 16, 1, with_prologue.scratch_len());
    with_prologue.run(&plain.pack(&[0.0; 64], None, None), &mut memory, &mut Team::new(1));
}
