//! The gradient of a convolution's weight: against naive sums in double precision, and those against finite differences of
//! a naive forward convolution.

mod common;

use common::*;
use cspnet_kernels::{Activation, ConvGrad, ConvShape, Isa, Memory, Planes, Prologue, Team, Window};
use proptest::prelude::*;

/// A convolution of pictures as plain lists, `[n, c, h, w]`.
struct Case {
    shape: ConvShape,
    prologue: Option<Prologue>,
    images: usize,
    input: [usize; 3],
    output: [usize; 3],
}

fn window(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2], dilation: [usize; 2]) -> Window {
    Window { kernel, stride, padding, dilation }
}

fn same(kernel: usize) -> Window {
    window([kernel; 2], [1; 2], [kernel / 2; 2], [1; 2])
}

impl Case {
    /// With the same padding on both sides.
    fn new(window: Window, groups: usize, images: usize, input: [usize; 3], outputs: usize) -> Option<Self> {
        Self::padded(window, window.padding, groups, images, input, outputs)
    }

    fn padded(
        window: Window,
        behind: [usize; 2],
        groups: usize,
        images: usize,
        input: [usize; 3],
        channels: usize,
    ) -> Option<Self> {
        let [rows, columns] = outputs(&window, [input[1], input[2]], behind)?;
        let shape = ConvShape { window, groups };
        Some(Self { shape, prologue: None, images, input, output: [channels, rows, columns] })
    }

    /// Any window, any groups, some of them depthwise; pictures of less than a strip and of several.
    fn draw(dice: &mut Dice) -> Self {
        loop {
            let window = dice.window();
            let images = 1 + dice.below(3);
            let side = dice.pick(&[1, 6, 14, 30]);
            let size = [1 + dice.below(side), 1 + dice.below(side)];
            let groups = dice.pick(&[1, 1, 1, 2, 3, 5, 11, 20]);
            let (inputs, outputs) = match groups {
                11 | 20 => (groups, groups * dice.pick(&[1, 1, 2])),
                _ => (groups * (1 + dice.below(14)), groups * (1 + dice.below(20))),
            };
            let prologues = [None, None, Some(Prologue::Affine(Activation::Relu)), Some(Prologue::Clamp)];
            let prologue = dice.pick(&prologues);
            let behind = dice.behind(&window).map(|cells| cells + dice.below(2));
            let input = [inputs, size[0], size[1]];
            if let Some(case) = Self::padded(window, behind, groups, images, input, outputs) {
                return Self { prologue, ..case };
            }
        }
    }

    fn group(&self) -> [usize; 2] {
        [self.input[0] / self.shape.groups, self.output[0] / self.shape.groups]
    }

    fn weights(&self) -> usize {
        self.output[0] * self.group()[0] * self.shape.window.kernel.iter().product::<usize>()
    }

    /// What the convolution saw of the input, with the prologue's two numbers for every channel.
    fn seen_by_the_weight(&self, x: &[f64], [first, second]: &[Vec<f32>; 2]) -> Vec<f64> {
        let plane = self.input[1] * self.input[2];
        let read = |(i, &x): (usize, &f64)| {
            let channel = i / plane % self.input[0];
            let [a, b] = [first, second].map(|of| f64::from(of[channel]));
            match self.prologue {
                None => x,
                Some(Prologue::Affine(Activation::Identity)) => a * x + b,
                Some(Prologue::Affine(Activation::Silu)) => (a * x + b) / (1.0 + (-a * x - b).exp()),
                Some(Prologue::Affine(_)) => (a * x + b).max(0.0),
                Some(Prologue::Clamp) => x.max(a).min(b),
            }
        };
        x.iter().enumerate().map(read).collect()
    }

    /// The input pixel an output pixel sees through a tap along one axis.
    fn seen(&self, axis: usize, o: usize, tap: usize) -> Option<usize> {
        let w = &self.shape.window;
        (o * w.stride[axis] + tap * w.dilation[axis]).checked_sub(w.padding[axis]).filter(|&i| i < self.input[axis + 1])
    }

    /// A naive forward convolution.
    fn forward(&self, x: &[f64], weight: &[f64]) -> Vec<f64> {
        let [kh, kw] = self.shape.window.kernel;
        let ([c, h, w], [out, oh, ow], [inputs, outputs]) = (self.input, self.output, self.group());
        let mut y = Vec::new();
        for (n, o, row, column) in places([self.images, out, oh, ow]) {
            let mut sum = 0.0;
            for (i, ky, kx, _) in places([inputs, kh, kw, 1]) {
                let channel = o / outputs * inputs + i;
                if let (Some(r), Some(q)) = (self.seen(0, row, ky), self.seen(1, column, kx)) {
                    sum += x[((n * c + channel) * h + r) * w + q] * weight[((o * inputs + i) * kh + ky) * kw + kx];
                }
            }
            y.push(sum);
        }
        y
    }

    /// The oracle: a sum for each weight.
    fn gradient(&self, x: &[f64], dy: &[f64]) -> Vec<f64> {
        let ([c, h, w], [out, oh, ow], [inputs, outputs]) = (self.input, self.output, self.group());
        let [kh, kw] = self.shape.window.kernel;
        let of = |(o, i, ky, kx)| {
            let channel = o / outputs * inputs + i;
            let product = |(n, row, column, _)| {
                let (r, q) = (self.seen(0, row, ky)?, self.seen(1, column, kx)?);
                Some(x[((n * c + channel) * h + r) * w + q] * dy[((n * out + o) * oh + row) * ow + column])
            };
            places([self.images, oh, ow, 1]).filter_map(product).sum()
        };
        places([out, inputs, kh, kw]).map(of).collect()
    }
}

fn places([a, b, c, d]: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
}

/// The numbers of a value in all images, in the order of a plain list.
fn list(images: &[Vec<f32>], planes: &Planes) -> Vec<f64> {
    images.iter().flat_map(|image| cells(planes).map(move |(c, y, x)| at(image, planes, c, y, x))).collect()
}

struct Run {
    x: Vec<f64>,
    dy: Vec<f64>,
    got: Vec<f32>,
    name: String,
}

/// Runs a case with every size of team in random memory; the bits are the same, the memory and the floats around the
/// gradient stay what they were.
fn run(case: &Case, dice: &mut Dice, isa: Isa, fill: impl Fn(&mut Dice) -> f32) -> Run {
    let mut layout = Layout::new();
    let of_input = partition(dice, case.input[0]);
    let depthwise = case.shape.groups == case.input[0] && case.input[0] == case.output[0];
    let of_output = if depthwise && dice.flip() { of_input.clone() } else { partition(dice, case.output[0]) };
    let input = layout.place(dice, &of_input, [case.input[1], case.input[2]]);
    let d_output = layout.place(dice, &of_output, [case.output[1], case.output[2]]);
    let grad = ConvGrad::new(isa, case.shape, &input, &d_output, case.prologue);
    let mut memory = layout.memory(dice, case.images, 5, grad.scratch_len());
    (0..case.images).for_each(|i| memory.image_mut(i).fill_with(|| fill(dice)));
    let before = snapshot(&memory);
    let numbers = [-0.5, 0.5].map(|by| (0..case.input[0]).map(|_| dice.number() + by).collect::<Vec<f32>>());
    let prologue = case.prologue.map(|_| (&numbers[0][..], &numbers[1][..]));
    let got =
        run_in_the_middle(case.weights(), |d_weight| grad.run(d_weight, prologue, &mut memory, &mut Team::new(1)));
    for threads in 2..=5 {
        let mut team = Team::new(threads);
        let again = run_in_the_middle(case.weights(), |d_weight| grad.run(d_weight, prologue, &mut memory, &mut team));
        let same = got.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{threads} threads give other bits");
    }
    untouched(&before, &memory, None);
    let x = case.seen_by_the_weight(&list(&before, &input), &numbers);
    Run { x, dy: list(&before, &d_output), got, name: grad.name() }
}

/// Lets `write` fill the middle of a longer list of NaNs with a payload of their own.
fn run_in_the_middle(len: usize, write: impl FnOnce(&mut [f32])) -> Vec<f32> {
    const CANARIES: usize = 40;
    let canary = f32::from_bits(0x7fc0_ca9a);
    let mut all = vec![canary; len + 2 * CANARIES];
    write(&mut all[CANARIES..CANARIES + len]);
    let around = all[..CANARIES].iter().chain(&all[CANARIES + len..]);
    assert!(around.map(|v| v.to_bits()).all(|bits| bits == canary.to_bits()), "wrote beyond the gradient");
    all[CANARIES..CANARIES + len].to_vec()
}

/// Products are about one or below, so a sum of `length` of them is on its way of the size of that number's root, or of its
/// own end where they lean to one side, as those of a prologue that shifts do.
///
/// Tiles of 4x4 have three times the error, as forward (`winograd.rs`).
fn check(case: &Case, run: &Run) {
    let rounding = if run.name.contains("winograd 4x4") { 3e-6 } else { 1e-6 };
    let length = (case.images * case.output[1] * case.output[2]) as f64;
    for (i, (got, exact)) in run.got.iter().zip(case.gradient(&run.x, &run.dy)).enumerate() {
        let allowed = rounding * (length.sqrt() + exact.abs());
        assert!((f64::from(*got) - exact).abs() <= allowed, "{}: weight {i} is {got} instead of {exact}", run.name);
    }
}

/// Runs a case with every instruction set; all but the scalar one, which rounds products, give the same bits.
fn each_isa(seed: u64, case: &Case) -> Vec<Run> {
    let runs: Vec<Run> = Isa::available().map(|isa| run(case, &mut Dice::new(seed), isa, Dice::number)).collect();
    runs.iter().for_each(|run| check(case, run));
    for pair in runs[1..].windows(2) {
        let same = pair[0].got.iter().zip(&pair[1].got).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{} and {} give other bits", pair[0].name, pair[1].name);
    }
    runs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_gradient_is_right(seed: u64) {
        let case = Case::draw(&mut Dice::new(seed ^ 1));
        each_isa(seed, &case);
    }

    #[test]
    fn the_oracle_agrees_with_finite_differences(seed: u64) {
        let mut dice = Dice::new(seed);
        let groups = dice.pick(&[1, 2, 3]);
        let window = dice.window();
        let channels = [groups * (1 + dice.below(2)), groups * (1 + dice.below(2))];
        let images = 1 + dice.below(2);
        let input = [channels[0], 4 + dice.below(3), 4 + dice.below(3)];
        let case = Case::padded(window, dice.behind(&window), groups, images, input, channels[1]);
        let Some(case) = case else { return Ok(()) };
        let mut numbers = |n: usize| -> Vec<f64> { dice.numbers(n).into_iter().map(f64::from).collect() };
        let x = numbers(images * case.input.iter().product::<usize>());
        let dy = numbers(images * case.output.iter().product::<usize>());
        let weight = numbers(case.weights());
        let loss = |weight: &[f64]| -> f64 { case.forward(&x, weight).iter().zip(&dy).map(|(y, dy)| y * dy).sum() };
        for (i, exact) in case.gradient(&x, &dy).into_iter().enumerate() {
            let moved = |by: f64| {
                let mut weight = weight.clone();
                weight[i] += by;
                loss(&weight)
            };
            // The loss is linear in a weight, so the difference has no error but rounding.
            let difference = moved(0.5) - moved(-0.5);
            prop_assert!((difference - exact).abs() < 1e-11, "weight {i}: {exact}, by differences {difference}");
        }
    }
}

#[test]
fn every_height_and_width_of_a_tile_is_right() {
    for outputs in [8, 16, 24] {
        for inputs in 1..=20 {
            let case = Case::new(same(1), 1, 2, [inputs, 3, 5], outputs).unwrap();
            each_isa(inputs as u64, &case);
        }
    }
}

#[test]
fn pictures_wider_than_a_strip_are_cut() {
    let strided = window([2, 3], [1, 2], [1, 1], [1, 2]);
    for (window, input) in [(same(3), [9, 3, 530]), (strided, [5, 4, 1100]), (same(1), [3, 2, 257])] {
        each_isa(7, &Case::new(window, 1, 2, input, 10).unwrap());
    }
}

#[test]
fn fully_connected_layers_sum_over_images() {
    for images in [1, 255, 256, 257, 600] {
        each_isa(images as u64, &Case::new(same(1), 1, images, [13, 1, 1], 20).unwrap());
    }
}

#[test]
fn every_prologue_is_applied() {
    let affine = [Activation::Identity, Activation::Relu, Activation::Silu].map(Prologue::Affine);
    for prologue in affine.into_iter().chain([Prologue::Clamp]) {
        for (groups, kernel, channels) in [(1, 1, 22), (1, 3, 22), (2, 3, 22), (11, 3, 11)] {
            let case = Case::new(same(kernel), groups, 3, [channels, 9, 7], channels).unwrap();
            each_isa(9, &Case { prologue: Some(prologue), ..case });
        }
    }
}

/// Layers whose work is cut in each of the ways there are: by channels, by taps, by pixels.
#[test]
fn every_cut_is_right() {
    for (images, [inputs, outputs], kernel, size) in [
        (2, [80, 72], 1, 4),
        (9, [40, 36], 3, 21),
        (4, [72, 136], 3, 8),
        (9, [20, 24], 1, 16),
        (5, [3, 32], 3, 20),
        (3, [72, 80], 3, 4),
        (8, [3, 8], 7, 9),
    ] {
        each_isa(size as u64, &Case::new(same(kernel), 1, images, [inputs, size, size], outputs).unwrap());
    }
}

#[test]
fn no_image_gives_zeros() {
    for (groups, isa) in [1, 8].into_iter().flat_map(|g| Isa::available().map(move |isa| (g, isa))) {
        let case = Case::new(same(3), groups, 0, [8, 4, 4], 8).unwrap();
        let run = run(&case, &mut Dice::new(3), isa, Dice::number);
        assert!(run.got.iter().all(|v| v.to_bits() == 0));
    }
}

#[test]
fn taps_that_never_see_the_picture_get_zeros() {
    let far = window([3, 3], [1, 1], [4, 4], [4, 4]);
    for groups in [1, 8] {
        let case = Case::new(far, groups, 1, [8, 2, 3], 8).unwrap();
        for run in each_isa(11, &case) {
            let taps = run.got.chunks(9);
            assert!(taps.clone().all(|t| [0, 1, 2, 3, 5, 6, 7, 8].iter().all(|&tap| t[tap].to_bits() == 0)));
            assert!(taps.clone().any(|t| t[4] != 0.0));
        }
    }
}

/// What one chain of single-precision multiply-adds would give is wrong by much more.
#[test]
fn long_sums_of_one_sign_stay_exact() {
    for groups in [1, 8] {
        let case = Case::new(same(1), groups, 8, [8, 96, 96], 8).unwrap();
        for isa in Isa::available() {
            let run = run(&case, &mut Dice::new(5), isa, |dice| 0.5 + 0.4 * dice.number());
            let exact = case.gradient(&run.x, &run.dy);
            let ratio = run.got.iter().zip(&exact).map(|(g, e)| (f64::from(*g) / e - 1.0).powi(2));
            let rms = (ratio.sum::<f64>() / exact.len() as f64).sqrt();
            assert!(rms < 1e-6, "{}: relative error {rms:e}", run.name);
        }
    }
}

#[test]
fn depthwise_takes_its_own_way_only_where_lanes_meet() {
    let planes = |counts: &[usize]| {
        let mut first = 0;
        let block = |(b, &count): (usize, &usize)| {
            first += count;
            cspnet_kernels::Block { offset: b * 128, first: first - count, count }
        };
        Planes::new(counts.iter().enumerate().map(block).collect(), 4, 4)
    };
    let name = |a: &[usize], b: &[usize], groups| {
        ConvGrad::new(Isa::Scalar, ConvShape { window: same(3), groups }, &planes(a), &planes(b), None).name()
    };
    assert!(name(&[8, 3], &[8, 3], 11).contains("depthwise"));
    assert!(name(&[8, 3], &[3, 8], 11).contains("tiles"));
    assert!(name(&[8, 3], &[8, 8, 6], 11).contains("tiles"));
    assert!(name(&[8, 3], &[8, 3], 1).contains("tiles"));
}

fn small(isa: Isa, groups: usize) -> (ConvGrad, Memory) {
    let (input, d_output) = (Planes::dense(8, 4, 4, 0, 128), Planes::dense(8, 4, 4, 128, 128));
    let grad = ConvGrad::new(isa, ConvShape { window: same(3), groups }, &input, &d_output, None);
    let scratch = grad.scratch_len();
    (grad, Memory::new(1, 256, 1, scratch))
}

#[test]
#[should_panic(expected = "3 groups")]
fn groups_that_do_not_divide_the_channels_are_refused() {
    small(Isa::Scalar, 3);
}

#[test]
#[should_panic(expected = "numbers for 576 weights")]
fn a_gradient_of_another_length_is_refused() {
    let (grad, mut memory) = small(Isa::Scalar, 1);
    grad.run(&mut [0.0; 575], None, &mut memory, &mut Team::new(1));
}

#[test]
#[should_panic(expected = "fewer threads")]
fn a_team_larger_than_the_scratch_is_refused() {
    let (grad, mut memory) = small(Isa::Scalar, 1);
    grad.run(&mut [0.0; 576], None, &mut memory, &mut Team::new(2));
}

#[test]
#[should_panic(expected = "a prologue's numbers")]
fn numbers_without_a_prologue_are_refused() {
    let (grad, mut memory) = small(Isa::Scalar, 1);
    grad.run(&mut [0.0; 576], Some((&[1.0; 8], &[0.0; 8])), &mut memory, &mut Team::new(1));
}
