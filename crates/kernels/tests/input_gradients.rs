//! The gradient of a convolution's input by Winograd's method and in narrow groups, against the direct computation, whose own
//! test is in `convolutions.rs`.

mod common;

use common::*;
use cspnet_kernels::{Conv, ConvShape, Grouped, Isa, LANES, Memory, Planes, Team, Window, Winograd, WinogradTile};
use proptest::prelude::*;

/// Gradients at places in a memory, and the weight between them.
struct Case {
    shape: ConvShape,
    d_output: Planes,
    d_input: Planes,
    accumulate: bool,
    weight: Vec<f32>,
    layout: Layout,
}

impl Case {
    /// For a window of stride 1 and channels as they lie in blocks.
    fn draw(dice: &mut Dice, groups: usize, kernel: [usize; 2], [of_input, of_output]: [Vec<usize>; 2]) -> Self {
        let padding = kernel.map(|taps| dice.below(taps));
        let size = [0, 1].map(|axis| kernel[axis] + dice.below(24));
        let mut layout = Layout::new();
        let d_input = layout.place(dice, &of_input, size);
        let window = Window { kernel, stride: [1; 2], padding, dilation: [1; 2] };
        let behind = dice.behind(&window).map(|cells| cells + dice.below(2));
        let d_output = layout.place(dice, &of_output, outputs(&window, size, behind).unwrap());
        let len = d_input.channels() * d_output.channels() / groups * kernel[0] * kernel[1];
        let shape = ConvShape { window, groups };
        Self { shape, d_output, d_input, accumulate: dice.flip(), weight: dice.numbers(len), layout }
    }

    /// Runs `other` and the direct computation, and compares what they give, relative to its root mean square.
    fn check(
        &self,
        dice: &mut Dice,
        isa: Isa,
        scratch: usize,
        allowed: f64,
        mut other: impl FnMut(&mut Memory, &mut Team),
    ) {
        let Self { shape, d_output, d_input, accumulate, weight, layout } = self;
        let direct = Conv::backward_data(isa, *shape, d_output, d_input, *accumulate);
        let mut memory = layout.memory(dice, 3, 5, scratch.max(direct.scratch_len()));
        let before = snapshot(&memory);
        same_bits(&before, &mut memory, |memory, team| {
            other(memory, team);
            Vec::new()
        });
        untouched(&before, &memory, Some(d_input));
        let got = snapshot(&memory);
        before.iter().enumerate().for_each(|(image, floats)| memory.image_mut(image).copy_from_slice(floats));
        direct.run(&direct.pack(weight, None, None), &mut memory, &mut Team::new(1));
        let (mut error, mut all) = (0.0, 0.0);
        for (image, got) in got.iter().enumerate() {
            for (c, y, x) in cells(d_input) {
                let expected = at(memory.image(image), d_input, c, y, x);
                error += (at(got, d_input, c, y, x) - expected).powi(2);
                all += expected.powi(2);
            }
        }
        assert!(error.sqrt() <= allowed * all.sqrt(), "{:.1e} of {all:.1e}", error.sqrt() / all.sqrt());
    }
}

fn by_winograd(seed: u64, isa: Isa) {
    let dice = &mut Dice::new(seed);
    let channels = [(); 2].map(|()| 1 + dice.below(40));
    let blocks = channels.map(|c| partition(dice, c));
    let case = Case::draw(dice, 1, [3; 2], blocks);
    for &tile in WinogradTile::of_stride(1) {
        let winograd = Winograd::backward_data(isa, tile, case.shape, &case.d_output, &case.d_input, case.accumulate);
        let weights = winograd.pack(&case.weight, None);
        case.check(dice, isa, winograd.scratch_len(), 3e-6, |memory, team| winograd.run(&weights, memory, team));
    }
}

fn in_groups(seed: u64, isa: Isa) {
    let dice = &mut Dice::new(seed);
    let width = dice.pick(&[1, 4, 8, 16, 32]);
    let groups = width.max(LANES) * (2 + dice.below(3)) / width;
    let blocks = vec![LANES; groups * width / LANES];
    let kernel = [1 + dice.below(4), 3];
    let case = Case::draw(dice, groups, kernel, [blocks.clone(), blocks]);
    assert!(Grouped::fits_backward(&case.shape, &case.d_output, &case.d_input));
    let grouped = Grouped::backward_data(isa, case.shape, &case.d_output, &case.d_input, case.accumulate);
    let weights = grouped.pack(&case.weight, None);
    case.check(dice, isa, grouped.scratch_len(), 1e-6, |memory, team| grouped.run(&weights, memory, team));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn winograd_backward_is_right(seed: u64) {
        Isa::available().for_each(|isa| by_winograd(seed, isa));
    }

    #[test]
    fn grouped_backward_is_right(seed: u64) {
        Isa::available().for_each(|isa| in_groups(seed, isa));
    }
}

/// Memory that has held a larger layer's weights serves a smaller one, pads included.
#[test]
fn weights_are_packed_where_others_were() {
    let dice = &mut Dice::new(7);
    let [large, small] = [[vec![8; 9], vec![8; 9]], [vec![5], vec![3, 8, 2]]].map(|b| Case::draw(dice, 1, [3; 2], b));
    let winograd = |c: &Case| {
        Winograd::backward_data(Isa::Scalar, WinogradTile::F2, c.shape, &c.d_output, &c.d_input, c.accumulate)
    };
    let (mut used, one) = (winograd(&large).pack(&large.weight, None), &mut Team::new(1));
    let fresh = winograd(&small).pack(&small.weight, None);
    winograd(&small).repack(&mut used, cspnet_kernels::Numbers::Whole(&small.weight), None, one);
    assert_eq!(format!("{used:?}"), format!("{fresh:?}"));
    let run = |weights| {
        let mut memory = small.layout.memory(&mut Dice::new(1), 2, 1, winograd(&small).scratch_len());
        winograd(&small).run(weights, &mut memory, &mut Team::new(1));
        snapshot(&memory)
    };
    assert!(run(&used) == run(&fresh));
}
