//! The share of one core's peak that the gradient of a convolution's weight reaches on layers of the zoo, and what a second
//! thread gains.
//!
//!     cargo run --release -p cspnet-kernels --example gradients [WORD]
//!
//! measures those whose name has the word in it.

use std::time::Instant;

use cspnet_kernels::probe::peak_gflops;
use cspnet_kernels::{ConvGrad, ConvShape, Isa, Memory, Planes, Team, Window};

/// Seconds for the runs of a layer.
const SECONDS: f64 = 0.15;

/// A convolution and the size of its batch.
struct Layer {
    from: usize,
    to: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
    /// Rows and columns of the output.
    size: usize,
    images: usize,
}

impl Layer {
    const fn new([from, to]: [usize; 2], kernel: usize, stride: usize, size: usize) -> Self {
        Self { from, to, kernel, stride, groups: 1, size, images: 8 }
    }

    const fn small([from, to]: [usize; 2], kernel: usize, size: usize) -> Self {
        Self { images: 64, ..Self::new([from, to], kernel, 1, size) }
    }

    const fn grouped(channels: usize, groups: usize, size: usize) -> Self {
        Self { groups, ..Self::new([channels; 2], 3, 1, size) }
    }

    fn name(&self) -> String {
        let Self { from, to, kernel, stride, groups, size, images } = self;
        let stride = if *stride == 1 { String::new() } else { format!(" stride {stride}") };
        let groups = if *groups == 1 { String::new() } else { format!(" groups {groups}") };
        format!("{from} -> {to} {kernel}x{kernel}{stride}{groups} at {size}, {images} images")
    }

    fn flops(&self) -> f64 {
        let pixels = self.size * self.size * self.images;
        (2 * self.from / self.groups * self.to * self.kernel * self.kernel * pixels) as f64
    }

    /// The shortest times with one and two threads, and what ran.
    fn measure(&self, isa: Isa) -> ([f64; 2], String) {
        let apart = |size: usize| ((size * size).div_ceil(2) | 1) * 16;
        let of_input = self.stride * self.size;
        let input = Planes::dense(self.from, of_input, of_input, 0, apart(of_input));
        let output =
            Planes::dense(self.to, self.size, self.size, input.blocks().len() * apart(of_input), apart(self.size));
        let (kernel, stride) = ([self.kernel; 2], [self.stride; 2]);
        let window = Window { kernel, stride, padding: [self.kernel / 2; 2], dilation: [1; 2] };
        let grad = ConvGrad::new(isa, ConvShape { window, groups: self.groups }, &input, &output, None);
        let mut memory = Memory::new(self.images, output.end(), 2, grad.scratch_len());
        (0..self.images).for_each(|i| memory.image_mut(i).fill(0.5));
        let mut weight = vec![0.0; self.from / self.groups * self.to * self.kernel * self.kernel];
        let mut teams = [Team::new(1), Team::new(2)];
        let mut shortest = [f64::INFINITY; 2];
        let begin = Instant::now();
        while begin.elapsed().as_secs_f64() < SECONDS {
            for (team, shortest) in teams.iter_mut().zip(&mut shortest) {
                let begin = Instant::now();
                grad.run(&mut weight, None, &mut memory, team);
                *shortest = shortest.min(begin.elapsed().as_secs_f64());
            }
        }
        (shortest, format!("{}; scratch {} KB", grad.name(), grad.scratch_len() / 256))
    }
}

/// Layers of CSPDarknet-53, CSPResNeXt-50 and DenseNet-121 at 128, and of DenseNet-BC-100 at 32.
const LAYERS: [Layer; 28] = [
    Layer::new([3, 32], 3, 1, 128),
    Layer::new([32, 64], 3, 2, 64),
    Layer::new([64, 64], 1, 1, 64),
    Layer::new([32, 64], 3, 1, 64),
    Layer::new([64, 128], 3, 2, 32),
    Layer::new([64, 64], 3, 1, 32),
    Layer::new([128, 128], 1, 1, 32),
    Layer::new([128, 128], 3, 1, 16),
    Layer::new([128, 128], 1, 1, 16),
    Layer::new([128, 256], 3, 2, 16),
    Layer::new([256, 256], 3, 1, 8),
    Layer::new([256, 512], 3, 2, 8),
    Layer::new([512, 256], 1, 1, 8),
    Layer::new([512, 512], 3, 1, 4),
    Layer::new([512, 1024], 3, 2, 4),
    Layer::new([1024, 512], 1, 1, 4),
    Layer::new([1024, 1000], 1, 1, 1),
    Layer::new([64, 128], 1, 1, 32),
    Layer::new([512, 512], 1, 1, 8),
    Layer::new([1024, 1024], 1, 1, 4),
    Layer::grouped(128, 32, 32),
    Layer::grouped(512, 32, 8),
    Layer::new([128, 32], 3, 1, 32),
    Layer::new([512, 128], 1, 1, 8),
    Layer::small([48, 12], 3, 32),
    Layer::small([120, 48], 1, 32),
    Layer::small([48, 12], 3, 8),
    Layer::small([216, 48], 1, 8),
];

fn main() {
    let word = std::env::args().nth(1).unwrap_or_default();
    for isa in Isa::available().filter(|&isa| isa > Isa::Scalar) {
        let before = peak_gflops(isa);
        let rows: Vec<_> =
            LAYERS.iter().filter(|l| l.name().contains(&word)).map(|layer| (layer, layer.measure(isa))).collect();
        let after = peak_gflops(isa);
        println!("\n{isa}, peak probed before {before:.1} and after {after:.1} GFLOP/s\n");
        println!("{:<42}{:>9}{:>10}{:>9}{:>11}", "layer", "min ms", "GFLOP/s", "of peak", "2 threads");
        for (layer, ([one, two], ran)) in rows {
            let rate = layer.flops() / one / 1e9;
            let share = 100.0 * rate / before.max(after);
            println!("{:<42}{:>9.3}{rate:>10.1}{share:>7.0} %{:>10.2}x  {ran}", layer.name(), 1e3 * one, one / two);
        }
    }
}
