//! For which layers Winograd's method is worth it, and with which tile: a model of the cost, in cycles of one core.
//!
//! Only the layer's shape and the instruction set decide, never batch, threads or data, so that bits do not depend on those. The
//! model counts what measurements showed to matter: multiply-adds, transforms, and reading weights.

use super::run::Cut;
use super::{TAPS, Winograd, WinogradTile};
use crate::conv::{ConvShape, Fusion, Residual};
use crate::{Activation, Isa, LANES, Planes};

/// Bytes of weights of a cycle, from main memory.
const BYTES: f64 = 3.0;

/// The part of the smaller of arithmetic and reading that does not hide behind the larger.
const EXPOSED: f64 = 0.3;

/// Cycles to begin and end the sums of eight channels of one pixel or of one tile at one point.
const SUM: f64 = 2.0;

/// Cycles to make eight channels of the weights at one point: writing them to the second-level cache is what takes them.
const FILTER: f64 = 2.0;

/// Channels, on either side, below which transforms cost what products save.
const FEWEST_CHANNELS: usize = 16;

/// Whether a convolution has the form that the method is for.
pub(super) fn is_possible(shape: &ConvShape) -> bool {
    let w = &shape.window;
    let stride = w.stride[0] == w.stride[1] && !WinogradTile::of_stride(w.stride[0]).is_empty();
    w.kernel == [TAPS; 2] && stride && w.dilation == [1; 2] && shape.groups == 1
}

/// Whether the gradient of its input has that form, too.
pub(super) fn is_possible_backward(shape: &ConvShape) -> bool {
    is_possible(shape) && shape.window.stride == [1; 2] && shape.window.padding.iter().all(|&p| p < TAPS)
}

/// What the cost of a layer depends on.
struct Layer {
    /// Blocks of channels.
    source: usize,
    target: usize,
    size: [usize; 2],
    /// Multiply-adds of a cycle.
    macs: f64,
}

impl Winograd {
    /// Whether the method may be worth it for a convolution between so many channels.
    pub fn suits(shape: &ConvShape, [input, output]: [usize; 2]) -> bool {
        is_possible(shape) && input.min(output) >= FEWEST_CHANNELS
    }

    /// The tiles that may be worth it for a convolution, the smaller first; none where the direct way is the only one.
    pub fn tiles_for(shape: &ConvShape, input: &Planes, output: &Planes, fusion: &Fusion) -> Option<[WinogradTile; 2]> {
        if !Self::suits(shape, [input.channels(), output.channels()]) || fusion.prologue.is_some() {
            return None;
        }
        WinogradTile::of_stride(shape.window.stride[0]).try_into().ok()
    }

    /// The tile by which a convolution is computed fastest, as the model has it; nothing where the direct way is faster or the
    /// only one.
    pub fn tile_for(
        isa: Isa,
        shape: &ConvShape,
        input: &Planes,
        output: &Planes,
        fusion: &Fusion,
    ) -> Option<WinogradTile> {
        let tiles = Self::tiles_for(shape, input, output, fusion)?;
        Self::fastest(tiles, isa, input, output, |tile| {
            Self::new(isa, tile, *shape, input, output, fusion.clone()).cut(1)
        })
    }

    /// The same for the gradient of the input of a convolution.
    pub fn backward_tile_for(isa: Isa, shape: &ConvShape, d_output: &Planes, d_input: &Planes) -> Option<WinogradTile> {
        let fusion = Fusion { prologue: None, activation: Activation::Identity, residual: Residual::None };
        let tiles = Self::tiles_for(shape, d_output, d_input, &fusion).filter(|_| is_possible_backward(shape))?;
        Self::fastest(tiles, isa, d_output, d_input, |tile| {
            Self::backward_data(isa, tile, *shape, d_output, d_input, false).cut(1)
        })
    }

    fn fastest(
        [small, large]: [WinogradTile; 2],
        isa: Isa,
        input: &Planes,
        output: &Planes,
        cut: impl Fn(WinogradTile) -> Cut,
    ) -> Option<WinogradTile> {
        let [vectors, _] = isa.full_tile();
        let layer = Layer {
            source: input.blocks().len(),
            target: output.blocks().len(),
            size: [output.height(), output.width()],
            // A full tile is two registers wide, and of two pipes each takes one a cycle.
            macs: (vectors * LANES) as f64,
        };
        let [of_small, of_large] = [small, large].map(|tile| layer.by(tile, cut(tile)));
        if of_small.min(of_large) >= layer.direct() {
            return None;
        }
        Some(if of_large < of_small { large } else { small })
    }
}

impl Layer {
    fn direct(&self) -> f64 {
        let pixels = (self.size[0] * self.size[1]) as f64;
        self.with_reading(self.products(TAPS * TAPS, 1, pixels))
    }

    /// With a tile, where an image is cut so.
    fn by(&self, tile: WinogradTile, cut: Cut) -> f64 {
        let tiles = cut.tiles as f64;
        // Eight channels of a tile: measured, for the loads and stores of both halves of a transform are what costs.
        let [input, output] = match tile {
            WinogradTile::F2 => [35.0, 25.0],
            WinogradTile::F4 => [110.0, 80.0],
            WinogradTile::F2Strided => [70.0, 60.0],
            WinogradTile::F4Strided => [220.0, 150.0],
        };
        let shares = cut.shares as f64;
        let transforms = tiles * (shares * self.source as f64 * input + self.target as f64 * output);
        let points = (cut.blocks * LANES * self.source * self.target * tile.distinct().pow(2)) as f64;
        self.with_reading(self.products(1, tile.points(), tiles) + transforms + FILTER * points)
    }

    /// Sums of so many taps for every source channel, at so many points of so many places.
    fn products(&self, taps: usize, points: usize, places: f64) -> f64 {
        let matrices = (taps * points) as f64;
        let sums = places * points as f64 * self.target as f64 * SUM;
        self.pairs() * matrices * places / self.macs + sums
    }

    /// So many cycles while the weights are read.
    fn with_reading(&self, arithmetic: f64) -> f64 {
        let reading = self.pairs() * (TAPS * TAPS * size_of::<f32>()) as f64 / BYTES;
        arithmetic.max(reading) + EXPOSED * arithmetic.min(reading)
    }

    /// Pairs of a source and a target channel.
    fn pairs(&self) -> f64 {
        (self.source * self.target * LANES * LANES) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Window;
    use crate::conv::Prologue;

    fn tile(isa: Isa, channels: [usize; 2], stride: usize, size: usize) -> Option<WinogradTile> {
        let window = Window { kernel: [3; 2], stride: [stride; 2], padding: [1; 2], dilation: [1; 2] };
        let input = Planes::dense(channels[0], stride * size, stride * size, 0, stride * size * stride * size * LANES);
        let output = Planes::dense(channels[1], size, size, input.end(), size * size * LANES);
        let fusion = Fusion { prologue: None, activation: Activation::Relu, residual: Residual::None };
        let shape = ConvShape { window, groups: 1 };
        let chosen = Winograd::tile_for(isa, &shape, &input, &output, &fusion);
        let with_prologue = Fusion { prologue: Some(Prologue::Clamp), ..fusion };
        assert_eq!(Winograd::tile_for(isa, &shape, &input, &output, &with_prologue), None);
        chosen
    }

    /// What was measured to be fastest on layers of the zoo.
    #[test]
    fn the_choice_is_what_measurements_say() {
        use WinogradTile::{F2, F2Strided, F4, F4Strided};
        for (channels, stride, size, expected) in [
            ([64, 64], 1, 64, Some(F4)),
            ([128, 128], 1, 32, Some(F4)),
            ([256, 256], 1, 16, Some(F4)),
            ([256, 256], 1, 14, Some(F4)),
            ([512, 512], 1, 8, Some(F4)),
            ([512, 512], 1, 7, Some(F4)),
            ([128, 32], 1, 56, Some(F4)),
            ([128, 32], 1, 28, Some(F4)),
            ([32, 64], 2, 128, Some(F4Strided)),
            ([64, 128], 2, 64, Some(F4Strided)),
            ([128, 256], 2, 32, Some(F4Strided)),
            ([256, 512], 2, 16, Some(F4Strided)),
            ([512, 1024], 2, 8, Some(F2Strided)),
            ([3, 32], 1, 256, None),
            ([512, 512], 1, 1, None),
        ] {
            assert_eq!(tile(Isa::Scalar, channels, stride, size), expected, "{channels:?} at {size}, stride {stride}");
        }
        if Isa::Avx512.is_available() {
            for (channels, stride, size, expected) in [
                ([256, 256], 1, 16, Some(F4)),
                ([512, 512], 1, 8, Some(F2)),
                ([128, 32], 1, 7, None),
                ([64, 128], 2, 64, Some(F4Strided)),
                ([512, 1024], 2, 8, Some(F2Strided)),
            ] {
                assert_eq!(
                    tile(Isa::Avx512, channels, stride, size),
                    expected,
                    "{channels:?} at {size}, stride {stride}"
                );
            }
        }
    }
}
