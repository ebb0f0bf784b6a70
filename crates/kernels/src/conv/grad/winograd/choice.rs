//! For which layers the gradient is computed by Winograd's method, and with which tile: a model of the cost, in cycles of one core.
//!
//! Only the layer's shape decides, never batch, threads, data or the instruction set, so that bits do not depend on those.

use super::super::walk::Geometry;
use super::{CHUNK, SUMS};
use crate::conv::winograd::TAPS;
use crate::conv::{ConvShape, WinogradTile};
use crate::LANES;

/// Channels, on either side, below which transforms cost what products save.
const FEWEST_CHANNELS: usize = 16;

/// Multiply-adds of a cycle, with the longest registers: with shorter ones it is products that cost, and fewer of them pay the more.
const MACS: f64 = 32.0;

/// Images of a batch, which share the transform of sums to taps.
const IMAGES: f64 = 8.0;

/// The part of the peak that products reach, directly and at points, where sums are shorter.
const EFFICIENCY: [f64; 2] = [0.75, 0.68];

/// The tile by which a layer's gradient is computed fastest, as the model has it; nothing where the direct way is faster or the
/// only one.
pub(super) fn tile_for(shape: &ConvShape, geometry: &Geometry) -> Option<WinogradTile> {
    let w = &shape.window;
    let possible = w.kernel == [TAPS; 2] && w.stride == [1; 2] && w.dilation == [1; 2] && shape.groups == 1;
    let channels = [geometry.input.channels(), geometry.d_output.channels()];
    if !possible || channels.iter().any(|&c| c < FEWEST_CHANNELS) {
        return None;
    }
    let cost = |tile| by(geometry, tile);
    let tile = *WinogradTile::of_stride(1).iter().min_by(|a, b| cost(**a).total_cmp(&cost(**b)))?;
    (cost(tile) < directly(geometry)).then_some(tile)
}

/// Pairs of blocks, each of so many pairs of channels.
fn pairs(geometry: &Geometry) -> f64 {
    (geometry.input.blocks().len() * geometry.d_output.blocks().len() * LANES * LANES) as f64
}

/// Of an image, directly: every tap with the outputs for which it lies inside the picture.
fn directly(geometry: &Geometry) -> f64 {
    let size = [geometry.d_output.height(), geometry.d_output.width()];
    let along = |axis: usize| (0..TAPS).map(|tap| geometry.outputs(axis, tap, &(0..size[axis])).len()).sum::<usize>();
    (along(0) * along(1)) as f64 * pairs(geometry) / MACS / EFFICIENCY[0]
}

/// Of an image, with a tile.
fn by(geometry: &Geometry, tile: WinogradTile) -> f64 {
    let size = [geometry.d_output.height(), geometry.d_output.width()];
    let tiles = size.iter().map(|n| n.div_ceil(tile.outputs())).product::<usize>() as f64;
    let [inputs, outputs] = [geometry.input.blocks().len(), geometry.d_output.blocks().len()];
    // Eight channels of a tile to points, and sixteen pairs of channels to taps: loads and stores are what costs.
    let [input, gradient, taps] = match tile {
        WinogradTile::F2 => [40.0, 35.0, 40.0],
        _ => [110.0, 90.0, 100.0],
    };
    // The input is taken to points again for each cell of outputs.
    let cells = (outputs * tile.points() * CHUNK * LANES * LANES).div_ceil(SUMS) as f64;
    let products = tiles * tile.points() as f64 * pairs(geometry) / MACS / EFFICIENCY[1];
    let transforms = tiles * (cells * inputs as f64 * input + outputs as f64 * gradient);
    products + transforms + pairs(geometry) / (2 * LANES) as f64 * taps / IMAGES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Planes, Window};

    fn tile(channels: [usize; 2], stride: usize, size: usize) -> Option<WinogradTile> {
        let window = Window { kernel: [3; 2], stride: [stride; 2], padding: [1; 2], dilation: [1; 2] };
        let planes = |channels, size: usize| Planes::dense(channels, size, size, 0, size * size * LANES);
        let geometry = Geometry::new(window, &planes(channels[0], stride * size), &planes(channels[1], size));
        tile_for(&ConvShape { window, groups: 1 }, &geometry)
    }

    #[test]
    fn the_choice_is_what_measurements_say() {
        use WinogradTile::F4;
        for (channels, stride, size, expected) in [
            ([64, 64], 1, 32, Some(F4)),
            ([128, 128], 1, 16, Some(F4)),
            ([256, 256], 1, 8, Some(F4)),
            ([64, 64], 2, 32, None),
            ([48, 12], 1, 32, None),
            ([3, 32], 1, 128, None),
        ] {
            assert_eq!(tile(channels, stride, size), expected, "{channels:?} at {size}, stride {stride}");
        }
    }
}
