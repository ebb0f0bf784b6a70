//! How work is cut. Values are checked in the crate's `tests/`.

use super::*;
use crate::conv::Numbers;
use crate::conv::Residual;
use crate::{Activation, Memory, Team, Window};

fn winograd(tile: WinogradTile, channels: [usize; 2], size: usize) -> Winograd {
    let window = Window { kernel: [3; 2], stride: [1; 2], padding: [1; 2], dilation: [1; 2] };
    let input = Planes::dense(channels[0], size, size, 0, size * size * LANES);
    let output = Planes::dense(channels[1], size, size, input.end(), size * size * LANES);
    let fusion = Fusion { prologue: None, activation: Activation::Relu, residual: Residual::None };
    Winograd::new(Isa::Scalar, tile, ConvShape { window, groups: 1 }, &input, &output, fusion)
}

#[test]
fn runs_cover_every_tile_once() {
    for (size, tiles) in [(5, 0..12), (40, 3..290), (9, 1..1)] {
        let w = winograd(WinogradTile::F4, [8, 8], size);
        let mut next = tiles.start;
        for run in w.runs(tiles.clone()) {
            let first = run.image * w.tiles_of_an_image() + run.place[0] * w.tiles[1] + run.place[1];
            assert_eq!([run.first, first], [next; 2]);
            assert!(run.tiles > 0 && run.place[1] + run.tiles <= w.tiles[1]);
            next += run.tiles;
        }
        assert_eq!(next, tiles.end);
    }
}

#[test]
fn two_threads_find_work_in_every_layer_that_is_worth_it() {
    for (tile, channels, size) in [
        (WinogradTile::F4, [128, 128], 32),
        (WinogradTile::F4, [256, 256], 16),
        (WinogradTile::F2, [512, 512], 8),
        (WinogradTile::F2, [128, 32], 7),
    ] {
        let cut = winograd(tile, channels, size).cut(1);
        assert!(cut.blocks * cut.shares >= 2, "{channels:?} at {size}: {cut:?}");
    }
}

#[test]
fn weights_have_the_same_bits_however_they_are_packed() {
    for tile in [WinogradTile::F2, WinogradTile::F4] {
        let channels = [11, 77];
        let weight: Vec<f32> =
            (0..channels[0] * channels[1] * 9).map(|i| ((i * 37 % 101) as f32 - 50.3) / 7.0).collect();
        let bias: Vec<f32> = (0..channels[1]).map(|i| i as f32 - 0.7).collect();
        let expected = winograd(tile, channels, 4).pack(&weight, Some(&bias));
        let read = |first: usize, out: &mut [f32]| out.copy_from_slice(&weight[first..][..out.len()]);
        let pieces = Numbers::Pieces { len: weight.len(), read: &read };
        for isa in Isa::available() {
            for numbers in [Numbers::Whole(&weight), pieces] {
                let w = Winograd { isa, ..winograd(tile, channels, 4) };
                let packed = w.pack_pieces(numbers, Some(&bias), &mut Team::new(3));
                assert!(packed.packed[..] == expected.packed[..] && packed.bias[..] == expected.bias[..], "{isa}");
            }
        }
    }
}

/// Where each group is read once, its thread packs it; where tiles are cut into blocks, all are packed before.
#[test]
fn weights_packed_as_they_are_read_give_the_same_bits() {
    for (isa, tile) in Isa::available().flat_map(|isa| [WinogradTile::F2, WinogradTile::F4].map(|tile| (isa, tile))) {
        let channels = [21, 77];
        let forward = Winograd { isa, ..winograd(tile, channels, 6) };
        let shape = ConvShape {
            window: Window { kernel: [3; 2], stride: [1; 2], padding: [1; 2], dilation: [1; 2] },
            groups: 1,
        };
        let backward = Winograd::backward_data(isa, tile, shape, &forward.target, &forward.source, true);
        let number = |i: usize| ((i * 37 % 101) as f32 - 50.3) / 70.0;
        let weight: Vec<f32> = (0..channels[0] * channels[1] * 9).map(number).collect();
        let bias: Vec<f32> = (0..channels[1]).map(number).collect();
        for (winograd, bias) in [(forward, Some(&bias[..])), (backward, None)] {
            for (images, blocks) in [(2, 1), (40, 2)] {
                assert!(winograd.cut(images).blocks.min(2) == blocks, "{:?}", winograd.cut(images));
                let run = |threads, work: &mut dyn FnMut(&mut Memory, &mut Team)| {
                    let mut memory = Memory::new(images, winograd.end, threads, winograd.unpacked_scratch_len());
                    (0..images).for_each(|n| memory.image_mut(n).iter_mut().zip(n..).for_each(|(x, i)| *x = number(i)));
                    work(&mut memory, &mut Team::new(threads));
                    (0..images).map(|n| memory.image(n).to_vec()).collect::<Vec<_>>()
                };
                let packed = winograd.pack(&weight, bias);
                let expected = run(1, &mut |memory, team| winograd.run(&packed, memory, team));
                for threads in [1, 3] {
                    let mut weights = WinogradWeights::default();
                    let got = run(threads, &mut |memory, team| {
                        winograd.run_unpacked(&weight, bias, (&mut weights, None), memory, team);
                    });
                    assert!(got == expected, "{images} images, {threads} threads, {}", winograd.name());
                }
            }
        }
    }
}
