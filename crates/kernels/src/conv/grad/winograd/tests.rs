//! Whatever the model of the cost says, against sums in double precision.

use super::*;
use crate::conv::grad::tiles::Tiles;
use crate::conv::grad::{ConvGrad, Way};
use crate::{Activation, Isa, Memory, Planes, Team, Window};

struct Layer {
    channels: [usize; 2],
    size: [usize; 2],
    padding: usize,
    images: usize,
    prologue: Option<Prologue>,
}

/// A number that looks random, in -1..1.
fn noise(i: usize) -> f32 {
    let hash = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (hash >> 40) as f32 / (1 << 23) as f32 - 1.0
}

impl Layer {
    fn planes(&self) -> [Planes; 2] {
        let out = self.size.map(|n| n + 2 * self.padding - 2);
        let [input, output] = [self.size, out].map(|[h, w]| h * w * LANES);
        let x = Planes::dense(self.channels[0], self.size[0], self.size[1], 0, input);
        let dy = Planes::dense(self.channels[1], out[0], out[1], x.end(), output);
        [x, dy]
    }

    fn memory(&self, scratch_len: usize) -> Memory {
        let mut memory = Memory::new(self.images, self.planes()[1].end(), 1, scratch_len);
        for image in 0..self.images {
            let len = memory.image_len();
            memory.image_mut(image).iter_mut().enumerate().for_each(|(i, v)| *v = noise(image * len + i));
        }
        memory
    }

    fn numbers(&self) -> [Vec<f32>; 2] {
        [1, 2].map(|seed| (0..self.channels[0]).map(|c| noise(seed * 1000 + c)).collect())
    }

    /// By tiles, or directly.
    fn gradient(&self, isa: Isa, tile: Option<WinogradTile>) -> Vec<f32> {
        let window = Window { kernel: [3; 2], stride: [1; 2], padding: [self.padding; 2], dilation: [1; 2] };
        let shape = ConvShape { window, groups: 1 };
        let [x, dy] = self.planes();
        let mut grad = ConvGrad::new(isa, shape, &x, &dy, self.prologue);
        let winograd = tile.map(|tile| Winograd::new(tile, &shape, &grad.geometry, self.prologue));
        let tiles = Tiles::with(isa, &shape, &grad.geometry, self.prologue, winograd);
        grad.scratch_len = tiles.scratch_len();
        grad.way = Way::Tiles(tiles);
        let mut memory = self.memory(grad.scratch_len());
        let mut d_weight = vec![f32::NAN; self.channels[0] * self.channels[1] * 9];
        let [a, b] = self.numbers();
        let numbers = self.prologue.map(|_| (&a[..], &b[..]));
        grad.run(&mut d_weight, numbers, &mut memory, &mut Team::new(1));
        d_weight
    }

    fn exactly(&self) -> Vec<f64> {
        let [x, dy] = self.planes();
        let memory = self.memory(0);
        let [scale, shift] = self.numbers();
        let at = |image: usize, planes: &Planes, c: usize, row: usize, column: usize| {
            let block = &planes.blocks()[c / LANES];
            f64::from(memory.image(image)[block.offset + (row * planes.width() + column) * LANES + c % LANES])
        };
        let mut all = Vec::new();
        for o in 0..self.channels[1] {
            for c in 0..self.channels[0] {
                for (ky, kx) in (0..3).flat_map(|ky| (0..3).map(move |kx| (ky, kx))) {
                    let mut sum = 0.0;
                    for image in 0..self.images {
                        for (r, q) in (0..dy.height()).flat_map(|r| (0..dy.width()).map(move |q| (r, q))) {
                            let [y, z] = [(r + ky).wrapping_sub(self.padding), (q + kx).wrapping_sub(self.padding)];
                            if y < x.height() && z < x.width() {
                                let v = at(image, &x, c, y, z);
                                let v = match self.prologue {
                                    None => v,
                                    Some(_) => (f64::from(scale[c]) * v + f64::from(shift[c])).max(0.0),
                                };
                                sum += v * at(image, &dy, o, r, q);
                            }
                        }
                    }
                    all.push(sum);
                }
            }
        }
        all
    }
}

fn rms_error(got: &[f32], exact: &[f64]) -> f64 {
    let error: f64 = got.iter().zip(exact).map(|(g, e)| (f64::from(*g) - e).powi(2)).sum();
    let size: f64 = exact.iter().map(|e| e * e).sum();
    (error / size).sqrt()
}

#[test]
fn tiles_at_every_edge_are_right() {
    let relu = Some(Prologue::Affine(Activation::Relu));
    for (channels, size, padding, images, prologue) in [
        ([8, 8], [4, 4], 1, 1, None),
        ([3, 13], [5, 9], 1, 3, None),
        ([70, 42], [7, 6], 1, 2, relu),
        ([21, 9], [3, 3], 0, 2, None),
        ([12, 20], [6, 70], 2, 2, relu),
        ([20, 70], [17, 34], 1, 3, None),
    ] {
        let layer = Layer { channels, size, padding, images, prologue };
        let exact = layer.exactly();
        for &tile in WinogradTile::of_stride(1) {
            let all: Vec<_> = Isa::available().map(|isa| layer.gradient(isa, Some(tile))).collect();
            for got in &all {
                let error = rms_error(got, &exact);
                let allowed = if tile == WinogradTile::F2 { 5e-7 } else { 1e-6 };
                assert!(error < allowed, "{channels:?} at {size:?}, {tile:?}: {error:e}");
            }
            assert!(all[1..].windows(2).all(|pair| pair[0] == pair[1]), "{channels:?}, {tile:?}: other bits");
        }
    }
}

#[test]
fn no_image_gives_zeros() {
    let layer = Layer { channels: [16, 16], size: [4, 4], padding: 1, images: 0, prologue: None };
    let tiles = WinogradTile::of_stride(1);
    assert!(tiles.iter().all(|&tile| layer.gradient(Isa::Scalar, Some(tile)).iter().all(|v| v.to_bits() == 0)));
}

/// Sums of fewer products make up for what the transforms of small tiles round, and for much of what those of large ones do.
#[test]
fn the_error_is_near_that_of_direct_sums() {
    for (channels, size, images) in [([16, 16], [32, 32], 8), ([32, 32], [8, 8], 8), ([16, 16], [16, 16], 8)] {
        let layer = Layer { channels, size, padding: 1, images, prologue: None };
        let exact = layer.exactly();
        let [directly, small, large] = [None, Some(WinogradTile::F2), Some(WinogradTile::F4)]
            .map(|tile| rms_error(&layer.gradient(Isa::detect(), tile), &exact));
        assert!(small < 2.0 * directly, "{channels:?} at {size:?}: {small:e}, directly {directly:e}");
        assert!(large < 5.0 * directly, "{channels:?} at {size:?}: {large:e}, directly {directly:e}");
    }
}
