//! What safe code may ask for and no memory holds: every such value, window or memory is refused before a float is touched.

use cspnet_kernels::*;

const PLAIN: Window = Window { kernel: [1; 2], stride: [1; 2], padding: [0; 2], dilation: [1; 2] };

/// A small value at a float.
fn planes(offset: usize) -> Planes {
    Planes::dense(8, 4, 4, offset, 4 * 4 * LANES)
}

fn conv(window: Window) -> Conv {
    let fusion = Fusion { prologue: None, activation: Activation::Identity, residual: Residual::None };
    Conv::forward(Isa::Scalar, ConvShape { window, groups: 1 }, &planes(0), &planes(128), fusion)
}

fn pool(window: Window) -> Pool {
    Pool::new(Isa::Scalar, PoolKind::Max, window, &planes(0), &planes(128))
}

#[test]
#[should_panic(expected = "beyond any memory")]
fn a_padding_that_wraps_around_is_no_way_out_of_the_picture() {
    // As a signed number this padding is -(2^63 - 1): the first tap would lie 2^63 - 1 rows below the picture.
    conv(Window { padding: [(1 << 63) + 1, 0], ..PLAIN });
}

#[test]
#[should_panic(expected = "beyond any memory")]
fn a_strip_whose_length_overflows_is_refused() {
    conv(Window { kernel: [2; 2], dilation: [1 << 32; 2], ..PLAIN });
}

#[test]
#[should_panic(expected = "beyond any memory")]
fn taps_that_come_round_again_are_refused() {
    // Three such steps lead to row 2, and the two between them out of every memory.
    pool(Window { kernel: [4, 1], dilation: [usize::MAX / 3 + 1, 1], ..PLAIN });
}

#[test]
fn windows_without_taps_or_steps_are_refused() {
    let none =
        [Window { kernel: [0, 1], ..PLAIN }, Window { stride: [1, 0], ..PLAIN }, Window { dilation: [0, 1], ..PLAIN }];
    for window in none {
        assert!(std::panic::catch_unwind(|| conv(window)).is_err());
        assert!(std::panic::catch_unwind(|| pool(window)).is_err());
        let grad = || ConvGrad::new(Isa::Scalar, ConvShape { window, groups: 1 }, &planes(0), &planes(128), None);
        assert!(std::panic::catch_unwind(grad).is_err());
    }
}

#[test]
fn endless_padding_behind_counts_no_more_than_a_window_has() {
    let kind = PoolKind::Average { padding_behind: Some([usize::MAX; 2]) };
    let window = Window { kernel: [2; 2], ..PLAIN };
    let pool = Pool::new(Isa::Scalar, kind, window, &planes(0), &planes(128));
    let mut memory = Memory::new(1, 256, 1, 0);
    memory.image_mut(0).fill(1.0);
    pool.run(&mut memory, &mut Team::new(1));
    assert_eq!(memory.image(0)[128 + 15 * LANES], 0.25);
}

#[test]
#[should_panic(expected = "beyond the arena")]
fn a_memory_with_shorter_shares_is_refused() {
    let conv = conv(PLAIN);
    let mut memory = Memory::new(2, 128, 1, conv.scratch_len());
    conv.run(&conv.pack(&[0.0; 64], None, None), &mut memory, &mut Team::new(1));
}

#[test]
#[should_panic(expected = "fewer threads")]
fn a_team_larger_than_the_scratch_is_refused() {
    let conv = conv(PLAIN);
    let mut memory = Memory::new(2, 256, 1, conv.scratch_len());
    conv.run(&conv.pack(&[0.0; 64], None, None), &mut memory, &mut Team::new(2));
}
