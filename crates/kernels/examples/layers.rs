//! The share of one core's peak that the less usual convolutions reach: stems that read a picture, grouped and depthwise
//! convolutions, large windows, a fully connected layer; and how fast pools and functions of elements go through memory.
//!
//!     cargo run --release -p cspnet-kernels --example layers [WORD]
//!
//! measures those whose name has the word in it.

use std::time::Instant;

use cspnet_kernels::probe::peak_gflops;
use cspnet_kernels::{
    Activation, Conv, ConvShape, Fusion, Grouped, Isa, Memory, Pictures, Planes, Residual, Stem, Team, Window,
};

const RUNS: usize = 40;

/// The shortest of many runs, in seconds.
fn time(mut run: impl FnMut()) -> f64 {
    let once = || {
        let begin = Instant::now();
        run();
        begin.elapsed().as_secs_f64()
    };
    std::iter::repeat_with(once).take(RUNS).fold(f64::INFINITY, f64::min)
}

/// A convolution of the zoo.
#[derive(Clone, Copy)]
struct Layer {
    from: usize,
    to: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
    /// Rows and columns of the output.
    size: usize,
}

impl Layer {
    const fn new(from: usize, to: usize, kernel: usize, stride: usize, groups: usize, size: usize) -> Self {
        Self { from, to, kernel, stride, groups, size }
    }

    fn shape(&self) -> ConvShape {
        let (kernel, stride) = ([self.kernel; 2], [self.stride; 2]);
        let window = Window { kernel, stride, padding: [self.kernel / 2; 2], dilation: [1; 2] };
        ConvShape { window, groups: self.groups }
    }

    fn weights(&self) -> usize {
        self.from / self.groups * self.to * self.kernel * self.kernel
    }

    fn flops(&self) -> f64 {
        (2 * self.weights() * self.size * self.size) as f64
    }

    fn places(&self) -> (Planes, Planes) {
        let apart = |size: usize| ((size * size).div_ceil(2) | 1) * 16;
        let of_input = self.stride * self.size;
        let input = Planes::dense(self.from, of_input, of_input, 0, apart(of_input));
        let output =
            Planes::dense(self.to, self.size, self.size, input.blocks().len() * apart(of_input), apart(self.size));
        (input, output)
    }

    fn name(&self) -> String {
        let Self { from, to, kernel, stride, groups, size } = self;
        let groups = match groups {
            1 => String::new(),
            n if n == from => ", depthwise".into(),
            n => format!(", groups of {}", from / n),
        };
        let stride = if *stride == 1 { String::new() } else { format!(", stride {stride}") };
        format!("{kernel}x{kernel} {from} -> {to} at {size}{stride}{groups}")
    }

    /// By the kernel for everything.
    fn conv(&self, isa: Isa) -> f64 {
        let (input, output) = self.places();
        let fusion = Fusion { prologue: None, activation: Activation::Relu, residual: Residual::None };
        let conv = Conv::forward(isa, self.shape(), &input, &output, fusion);
        let mut memory = Memory::new(1, output.end(), 1, conv.scratch_len());
        let weights = conv.pack(&vec![0.01; self.weights()], None, None);
        let mut team = Team::new(1);
        time(|| conv.run(&weights, &mut memory, &mut team))
    }

    /// By the kernel for narrow groups.
    fn grouped(&self, isa: Isa) -> f64 {
        let (input, output) = self.places();
        let fusion = Fusion { prologue: None, activation: Activation::Relu, residual: Residual::None };
        let grouped = Grouped::new(isa, self.shape(), &input, &output, fusion);
        let mut memory = Memory::new(1, output.end(), 1, grouped.scratch_len());
        let weights = grouped.pack(&vec![0.01; self.weights()], None);
        let mut team = Team::new(1);
        time(|| grouped.run(&weights, &mut memory, &mut team))
    }

    /// From a picture of bytes, with a 3x3 pooling of stride 2 behind it or not.
    fn stem(&self, isa: Isa, pooled: bool) -> f64 {
        let (input, output) = self.places();
        let picture = [self.from, input.height(), input.width()];
        let stem = if pooled {
            let window = Window { kernel: [3; 2], stride: [2; 2], padding: [1; 2], dilation: [1; 2] };
            let (_, output) = Self { size: self.size / 2, ..*self }.places();
            Stem::pooled(isa, self.shape(), picture, Activation::Relu, ([self.size; 2], window), &output)
        } else {
            Stem::new(isa, self.shape(), picture, &output, Activation::Relu)
        };
        let mut memory = Memory::new(1, output.end(), 1, stem.scratch_len());
        let (mean, std) = (vec![0.5; self.from], vec![0.25; self.from]);
        let weights = stem.pack(&vec![0.01; self.weights()], None, Some((&mean, &std)));
        let mut team = Team::new(1);
        let pixels = vec![100; picture.iter().product()];
        time(|| stem.run(&weights, Pictures::Bytes(&pixels), &mut memory, &mut team))
    }
}

const STEMS: [Layer; 7] = [
    Layer::new(3, 32, 3, 1, 1, 256),
    Layer::new(3, 24, 3, 1, 1, 32),
    Layer::new(3, 32, 3, 2, 1, 112),
    Layer::new(3, 32, 6, 2, 1, 128),
    Layer::new(3, 64, 7, 2, 1, 112),
    Layer::new(3, 64, 7, 2, 1, 128),
    Layer::new(1, 64, 7, 2, 1, 112),
];

const GROUPED: [Layer; 12] = [
    Layer::new(128, 128, 3, 1, 32, 64),
    Layer::new(256, 256, 3, 1, 32, 32),
    Layer::new(512, 512, 3, 1, 32, 16),
    Layer::new(1024, 1024, 3, 1, 32, 8),
    Layer::new(128, 128, 3, 1, 32, 56),
    Layer::new(256, 256, 3, 1, 32, 28),
    Layer::new(512, 512, 3, 1, 32, 14),
    Layer::new(1024, 1024, 3, 1, 32, 7),
    Layer::new(128, 128, 3, 2, 32, 32),
    Layer::new(256, 256, 3, 2, 32, 32),
    Layer::new(512, 512, 3, 2, 32, 16),
    Layer::new(1024, 1024, 3, 2, 32, 8),
];

const DEPTHWISE: [Layer; 5] = [
    Layer::new(64, 64, 3, 1, 64, 56),
    Layer::new(64, 64, 3, 2, 64, 56),
    Layer::new(256, 256, 3, 1, 256, 14),
    Layer::new(64, 64, 5, 1, 64, 56),
    Layer::new(64, 64, 5, 2, 64, 56),
];

const LARGE: [Layer; 6] = [
    Layer::new(64, 64, 3, 1, 1, 56),
    Layer::new(64, 64, 5, 1, 1, 56),
    Layer::new(64, 64, 7, 1, 1, 56),
    Layer::new(64, 64, 5, 2, 1, 28),
    Layer::new(2048, 1000, 1, 1, 1, 1),
    Layer::new(1024, 1000, 1, 1, 1, 1),
];

fn main() {
    let word = std::env::args().nth(1).unwrap_or_default();
    for isa in Isa::available().filter(|isa| *isa > Isa::Scalar) {
        let peak = peak_gflops(isa);
        println!("{isa}, peak {peak:.1} GFLOP/s");
        let print = |name: String, flops: f64, measure: &dyn Fn() -> f64| {
            if name.contains(&word) {
                let seconds = measure();
                let rate = flops / seconds / 1e9;
                println!("{name:<50}{:>9.3} ms{rate:>9.1} GFLOP/s{:>6.0} %", 1e3 * seconds, 100.0 * rate / peak);
            }
        };
        for layer in STEMS {
            print(format!("stem {}", layer.name()), layer.flops(), &|| layer.stem(isa, false));
            print(format!("stem and pool {}", layer.name()), layer.flops(), &|| layer.stem(isa, true));
        }
        for layer in STEMS {
            print(format!("blocks {}", layer.name()), layer.flops(), &|| layer.conv(isa));
        }
        for layer in GROUPED.into_iter().chain(DEPTHWISE).filter(|l| l.kernel == 3) {
            print(format!("grouped {}", layer.name()), layer.flops(), &|| layer.grouped(isa));
        }
        for layer in GROUPED.into_iter().chain(DEPTHWISE).chain(LARGE) {
            print(layer.name(), layer.flops(), &|| layer.conv(isa));
        }
        println!("peak {:.1} GFLOP/s\n", peak_gflops(isa));
    }
}
