//! For which layers the gradient is computed by Winograd's method: a model of the cost, in cycles of one core.
//!
//! Only the layer's shape decides, never batch, threads, data or the instruction set, so that bits do not depend on those.

use super::super::walk::Geometry;
use super::{CHUNK, SUMS, TILE};
use crate::LANES;
use crate::conv::ConvShape;
use crate::conv::winograd::TAPS;

/// Channels, on either side, below which transforms cost what products save.
const FEWEST_CHANNELS: usize = 16;

/// Multiply-adds of a cycle, with the longest registers: with shorter ones it is products that cost, and fewer of them pay the more.
const MACS: f64 = 32.0;

/// Images of a batch, which share the transform of sums to taps.
const IMAGES: f64 = 8.0;

/// Cycles to take eight channels of a tile to points, and sixteen pairs of channels to taps: loads and stores are what costs.
const INPUT: f64 = 60.0;
const GRADIENT: f64 = 50.0;
const WEIGHT: f64 = 120.0;

/// The part of the peak that products reach, directly and at points, where sums are shorter.
const EFFICIENCY: [f64; 2] = [0.75, 0.68];

/// Whether a layer's gradient is computed faster so, as the model has it; never where it cannot be.
pub(super) fn is_worth_it(shape: &ConvShape, geometry: &Geometry) -> bool {
    let w = &shape.window;
    let possible = w.kernel == [TAPS; 2] && w.stride == [1; 2] && w.dilation == [1; 2] && shape.groups == 1;
    let channels = [geometry.input.channels(), geometry.d_output.channels()];
    possible && channels.iter().all(|&c| c >= FEWEST_CHANNELS) && by_tiles(geometry) < directly(geometry)
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

/// Of an image, by tiles.
fn by_tiles(geometry: &Geometry) -> f64 {
    let size = [geometry.d_output.height(), geometry.d_output.width()];
    let tiles = size.iter().map(|n| n.div_ceil(TILE.outputs())).product::<usize>() as f64;
    let [inputs, outputs] = [geometry.input.blocks().len(), geometry.d_output.blocks().len()];
    // The input is taken to points again for each cell of outputs, the gradient for each chunk of the input.
    let cells = (outputs * TILE.points() * CHUNK * LANES * LANES).div_ceil(SUMS) as f64;
    let chunks = inputs.div_ceil(CHUNK) as f64;
    let products = tiles * TILE.points() as f64 * pairs(geometry) / MACS / EFFICIENCY[1];
    let transforms = tiles * (cells * inputs as f64 * INPUT + chunks * outputs as f64 * GRADIENT);
    products + transforms + pairs(geometry) / (2 * LANES) as f64 * WEIGHT / IMAGES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Planes, Window};

    fn is_chosen(channels: [usize; 2], stride: usize, size: usize) -> bool {
        let window = Window { kernel: [3; 2], stride: [stride; 2], padding: [1; 2], dilation: [1; 2] };
        let planes = |channels, size: usize| Planes::dense(channels, size, size, 0, size * size * LANES);
        let geometry = Geometry::new(window, &planes(channels[0], stride * size), &planes(channels[1], size));
        is_worth_it(&ConvShape { window, groups: 1 }, &geometry)
    }

    #[test]
    fn the_choice_is_what_measurements_say() {
        for (channels, stride, size, expected) in [
            ([64, 64], 1, 32, true),
            ([128, 128], 1, 16, true),
            ([256, 256], 1, 8, true),
            ([512, 512], 1, 4, false),
            ([64, 64], 2, 32, false),
            ([48, 12], 1, 32, false),
            ([3, 32], 1, 128, false),
        ] {
            assert_eq!(is_chosen(channels, stride, size), expected, "{channels:?} at {size}, stride {stride}");
        }
    }
}
