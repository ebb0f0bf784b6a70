//! The share of one core's peak that convolutions reach, forward and both backwards, on 128 -> 128 channels at 32 x 32.
//!
//!     cargo run --release -p cspnet-kernels --example peak

use std::time::Instant;

use cspnet_kernels::probe::peak_gflops;
use cspnet_kernels::{Activation, Conv, ConvGrad, ConvShape, Fusion, Isa, Memory, Planes, Residual, Team, Window};

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

/// Times the three computations of a square kernel.
fn measure(isa: Isa, kernel: usize) -> [(&'static str, Vec<f64>); 3] {
    let stride = SIZE * SIZE * 8 + 16;
    let input = Planes::dense(CHANNELS, SIZE, SIZE, 0, stride);
    let output = Planes::dense(CHANNELS, SIZE, SIZE, input.end() + 16, stride);
    let window = Window { kernel: [kernel; 2], stride: [1; 2], padding: [kernel / 2; 2], dilation: [1; 2] };
    let shape = ConvShape { window, groups: 1 };
    let fusion = Fusion { prologue: None, activation: Activation::Relu, residual: Residual::None };
    let forward = Conv::forward(isa, shape, &input, &output, fusion);
    let data = Conv::backward_data(isa, shape, &output, &input, false);
    let grad = ConvGrad::new(isa, shape, &input, &output);
    let scratch = forward.scratch_len().max(data.scratch_len()).max(grad.scratch_len());
    let mut memory = Memory::new(1, output.end(), 1, scratch);
    let mut team = Team::new(1);
    let mut weight = vec![0.01; CHANNELS * CHANNELS * kernel * kernel];
    let [packed, transposed] = [&forward, &data].map(|c| c.pack(&weight, None, None));
    [
        ("forward", time(|| forward.run(&packed, &mut memory, &mut team))),
        ("backward data", time(|| data.run(&transposed, &mut memory, &mut team))),
        ("backward weight", time(|| grad.run(&mut weight, &mut memory, &mut team))),
    ]
}

fn main() {
    let isa = Isa::detect();
    let before = peak_gflops(isa);
    println!("{isa}, one core, one image, {CHANNELS} -> {CHANNELS} channels at {SIZE} x {SIZE}\n");
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
    println!("\npeak probed before {before:.1} and after {after:.1} GFLOP/s");
    if (before / after - 1.0).abs() > 0.05 {
        println!("the probe moved by more than 5 %: the machine is too noisy to trust these numbers");
    }
}
