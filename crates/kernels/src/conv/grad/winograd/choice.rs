//! For which layers the gradient is computed by Winograd's method, and with which tiles: a model of the cost, in cycles of one core.
//!
//! Only the layer's shape decides, never batch, threads, data or the instruction set, so that bits do not depend on those.

use super::super::walk::Geometry;
use super::{SUMS, most_blocks};
use crate::LANES;
use crate::conv::winograd::TAPS;
use crate::conv::{ConvShape, WinogradTile};

/// Multiply-adds of a cycle, with the longest registers: with shorter ones it is products that cost, and fewer of them pay the more.
const MACS: f64 = 32.0;

/// Images of a batch, which share the transform of sums to taps.
const IMAGES: f64 = 8.0;

/// Cycles to take eight channels of a tile to a point, and sixteen pairs of channels from a point to taps: loads and stores are what
/// costs.
const INPUT: f64 = 3.75;
const GRADIENT: f64 = 3.125;
const WEIGHT: f64 = 7.5;

/// The part of the peak that products reach, directly and at points, where sums are shorter.
const EFFICIENCY: [f64; 2] = [0.75, 0.68];

/// The tiles with which a layer's gradient is computed faster than directly, as the model has it; none where there are none.
pub(super) fn best(shape: &ConvShape, geometry: &Geometry) -> Option<WinogradTile> {
    let w = &shape.window;
    let possible = w.kernel == [TAPS; 2] && w.stride == [1; 2] && w.dilation == [1; 2] && shape.groups == 1;
    if !possible {
        return None;
    }
    let ways = WinogradTile::of_stride(1).iter().map(|&tile| (tile, by_tiles(tile, geometry)));
    let (tile, cost) = ways.min_by(|a, b| a.1.total_cmp(&b.1))?;
    (cost < directly(geometry)).then_some(tile)
}

/// Pairs of blocks, each of so many pairs of channels.
fn pairs(geometry: &Geometry) -> f64 {
    (geometry.input.blocks().len() * geometry.d_output.blocks().len() * LANES * LANES) as f64
}

/// Of an image, directly: every tap with the outputs for which it lies inside the picture.
fn directly(geometry: &Geometry) -> f64 {
    let size = [geometry.d_output.height(), geometry.d_output.width()];
    let along = |axis: usize| (0..TAPS).map(|tap| geometry.outputs(axis, tap, &(0..size[axis])).len()).sum::<usize>();
    // Of the input only channels that there are.
    let pairs = geometry.input.channels() * geometry.d_output.blocks().len() * LANES;
    (along(0) * along(1) * pairs) as f64 / MACS / EFFICIENCY[0]
}

/// Of an image, by tiles.
fn by_tiles(tile: WinogradTile, geometry: &Geometry) -> f64 {
    let points = tile.points() as f64;
    let size = [geometry.d_output.height(), geometry.d_output.width()];
    let tiles = size.iter().map(|n| n.div_ceil(tile.outputs())).product::<usize>() as f64;
    let [inputs, outputs] = [geometry.input.blocks().len(), geometry.d_output.blocks().len()];
    // The input is taken to points again for each cell of outputs, the gradient for each chunk of the input.
    let cells = (outputs * tile.points() * most_blocks(tile) * LANES * LANES).div_ceil(SUMS) as f64;
    let chunks = inputs.div_ceil(most_blocks(tile)) as f64;
    let products = tiles * points * pairs(geometry) / MACS / EFFICIENCY[1];
    let transforms = tiles * points * (cells * inputs as f64 * INPUT + chunks * outputs as f64 * GRADIENT);
    products + transforms + pairs(geometry) / (2 * LANES) as f64 * points * WEIGHT / IMAGES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Planes, Window};

    fn chosen(channels: [usize; 2], stride: usize, size: usize) -> Option<WinogradTile> {
        let window = Window { kernel: [3; 2], stride: [stride; 2], padding: [1; 2], dilation: [1; 2] };
        let planes = |channels, size: usize| Planes::dense(channels, size, size, 0, size * size * LANES);
        let geometry = Geometry::new(window, &planes(channels[0], stride * size), &planes(channels[1], size));
        best(&ConvShape { window, groups: 1 }, &geometry)
    }

    #[test]
    fn the_choice_is_what_measurements_say() {
        for (channels, stride, size, expected) in [
            ([64, 64], 1, 32, Some(WinogradTile::F4)),
            ([128, 128], 1, 16, Some(WinogradTile::F4)),
            ([256, 256], 1, 8, Some(WinogradTile::F4)),
            ([512, 512], 1, 4, Some(WinogradTile::F4)),
            ([64, 64], 2, 32, None),
            ([48, 12], 1, 32, Some(WinogradTile::F4)),
            ([3, 32], 1, 128, None),
        ] {
            assert_eq!(chosen(channels, stride, size), expected, "{channels:?} at {size}, stride {stride}");
        }
    }
}
