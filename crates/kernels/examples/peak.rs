//! The share of one core's peak that convolutions reach, forward and both backwards, on 128 -> 128 channels at 32 x 32; and
//! what Winograd's method gains over the direct one, layer by layer.
//!
//!     cargo run --release -p cspnet-kernels --example peak

use std::time::Instant;

use cspnet_kernels::probe::peak_gflops;
use cspnet_kernels::{
    Activation, Conv, ConvGrad, ConvShape, Fusion, Isa, Memory, Planes, Residual, Team, Window, Winograd, WinogradTile,
};

const CHANNELS: usize = 128;
const SIZE: usize = 32;
const RUNS: usize = 60;

/// Seconds of many runs, sorted.
fn time(mut run: impl FnMut()) -> Vec<f64> {
    let once = || {
        let begin = Instant::now();
        run();
        begin.elapsed().as_secs_f64()
    };
    let mut seconds: Vec<f64> = std::iter::repeat_with(once).take(RUNS).collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

/// Input and output of so many channels, one after the other, the output of this size.
fn places([from, to]: [usize; 2], stride: usize, size: usize) -> (Planes, Planes) {
    let apart = |size: usize| ((size * size).div_ceil(2) | 1) * 16;
    let of_input = stride * size;
    let input = Planes::dense(from, of_input, of_input, 0, apart(of_input));
    let output = Planes::dense(to, size, size, input.blocks().len() * apart(of_input), apart(size));
    (input, output)
}

fn shape(kernel: usize, stride: usize) -> ConvShape {
    let window = Window { kernel: [kernel; 2], stride: [stride; 2], padding: [kernel / 2; 2], dilation: [1; 2] };
    ConvShape { window, groups: 1 }
}

fn fusion() -> Fusion {
    Fusion { prologue: None, activation: Activation::Relu, residual: Residual::None }
}

/// Times the three computations of a square kernel.
fn measure(isa: Isa, kernel: usize) -> [(&'static str, Vec<f64>); 3] {
    let (input, output) = places([CHANNELS; 2], 1, SIZE);
    let (shape, fusion) = (shape(kernel, 1), fusion());
    let forward = Conv::forward(isa, shape, &input, &output, fusion);
    let data = Conv::backward_data(isa, shape, &output, &input, false);
    let grad = ConvGrad::new(isa, shape, &input, &output, None);
    let scratch = forward.scratch_len().max(data.scratch_len()).max(grad.scratch_len());
    let mut memory = Memory::new(1, output.end(), 1, scratch);
    let mut team = Team::new(1);
    let mut weight = vec![0.01; CHANNELS * CHANNELS * kernel * kernel];
    let [packed, transposed] = [&forward, &data].map(|c| c.pack(&weight, None, None));
    [
        ("forward", time(|| forward.run(&packed, &mut memory, &mut team))),
        ("backward data", time(|| data.run(&transposed, &mut memory, &mut team))),
        ("backward weight", time(|| grad.run(&mut weight, None, &mut memory, &mut team))),
    ]
}

/// A layer: channels from and to, stride, rows and columns of its output.
type Layer = ([usize; 2], usize, usize);

/// 3x3 layers of CSPDarknet-53, DenseNet-121 and ResNet-50.
const LAYERS: [Layer; 15] = [
    ([32, 64], 1, 128),
    ([64, 64], 1, 64),
    ([128, 128], 1, 32),
    ([256, 256], 1, 16),
    ([256, 256], 1, 14),
    ([512, 512], 1, 8),
    ([512, 512], 1, 7),
    ([128, 32], 1, 56),
    ([128, 32], 1, 28),
    ([128, 32], 1, 14),
    ([32, 64], 2, 128),
    ([64, 128], 2, 64),
    ([128, 256], 2, 32),
    ([256, 512], 2, 16),
    ([512, 1024], 2, 8),
];

/// The shortest times of a layer: directly, and with each of Winograd's tiles; and which of them plans choose.
fn layer(isa: Isa, (channels, stride, size): Layer) -> ([f64; 3], usize) {
    let (input, output) = places(channels, stride, size);
    let shape = shape(3, stride);
    let direct = Conv::forward(isa, shape, &input, &output, fusion());
    let tiles: [WinogradTile; 2] = WinogradTile::of_stride(stride).try_into().expect("two tiles for each stride");
    let [small, large] = tiles.map(|tile| Winograd::new(isa, tile, shape, &input, &output, fusion()));
    let scratch = direct.scratch_len().max(small.scratch_len()).max(large.scratch_len());
    let mut memory = Memory::new(1, output.end(), 1, scratch);
    let mut team = Team::new(1);
    let weight = vec![0.01; channels[0] * channels[1] * 9];
    let packed = direct.pack(&weight, None, None);
    let [of_small, of_large] = [&small, &large].map(|w| w.pack(&weight, None));
    let times = [
        time(|| direct.run(&packed, &mut memory, &mut team)),
        time(|| small.run(&of_small, &mut memory, &mut team)),
        time(|| large.run(&of_large, &mut memory, &mut team)),
    ];
    let chosen = Winograd::tile_for(isa, &shape, &input, &output, &fusion());
    (times.map(|seconds| seconds[0]), chosen.map_or(0, |tile| 1 + usize::from(tile == tiles[1])))
}

/// What Winograd's method gains; GFLOP/s are effective ones, of the operations that a direct convolution does.
fn winograd(isa: Isa) {
    println!("\n3x3, minima in ms; effective GFLOP/s of the one that plans choose (*)\n");
    println!("{:<24}{:>10}{:>17}{:>17}{:>10}", "layer", "direct", "winograd 2x2", "winograd 4x4", "GFLOP/s");
    for (channels, stride, size) in LAYERS {
        let ([direct, small, large], chosen) = layer(isa, (channels, stride, size));
        let name =
            format!("{} -> {} at {size}{}", channels[0], channels[1], if stride == 1 { "" } else { ", stride 2" });
        let mark = |which: usize| if which == chosen { '*' } else { ' ' };
        let against = |t: f64, which| format!("{:.3} {:>5.2}x{}", 1e3 * t, direct / t, mark(which));
        let flops = (2 * 9 * channels[0] * channels[1] * size * size) as f64;
        let rate = flops / [direct, small, large][chosen] / 1e9;
        let first = format!("{:.3}{}", 1e3 * direct, mark(0));
        println!("{name:<24}{first:>10}{:>17}{:>17}{rate:>10.1}", against(small, 1), against(large, 2));
    }
}

fn main() {
    Isa::available().filter(|&isa| isa > Isa::Scalar).for_each(report);
}

/// All tables for an instruction set.
fn report(isa: Isa) {
    let before = peak_gflops(isa);
    println!("\n{isa}, one core, one image, {CHANNELS} -> {CHANNELS} channels at {SIZE} x {SIZE}\n");
    println!("{:<6}{:<17}{:>9}{:>11}{:>10}{:>9}", "kernel", "", "min ms", "median ms", "GFLOP/s", "of peak");
    let mut rows = Vec::new();
    for kernel in [1, 3] {
        let flops = (2 * CHANNELS * CHANNELS * kernel * kernel * SIZE * SIZE) as f64;
        rows.extend(measure(isa, kernel).map(|(what, seconds)| (kernel, what, flops, seconds)));
    }
    let after = peak_gflops(isa);
    let peak = before.max(after);
    for (kernel, what, flops, seconds) in rows {
        let (min, median) = (seconds[0], seconds[RUNS / 2]);
        let rate = flops / min / 1e9;
        let share = 100.0 * rate / peak;
        println!("{kernel}x{kernel}   {what:<17}{:>9.3}{:>11.3}{rate:>10.1}{share:>7.0} %", 1e3 * min, 1e3 * median);
    }
    winograd(isa);
    println!("\npeak probed before {before:.1} and after {after:.1} GFLOP/s");
    if (before / after - 1.0).abs() > 0.05 {
        println!("the probe moved by more than 5 %: the machine is too noisy to trust these numbers");
    }
}
