//! Random values in a random memory, and a picture of the memory before a kernel ran: whatever a kernel has no business to
//! touch must be the same bits afterwards.
#![allow(dead_code, reason = "each test uses some of it")]

use cspnet_kernels::{Activation, Block, LANES, Memory, Planes, Team, Window};

/// Marsaglia's xorshift, multiplied.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    pub fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// In -1..1.
    pub fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.number()).collect()
    }

    pub fn window(&mut self) -> Window {
        let mut pair = |n: usize| [1 + self.below(n), 1 + self.below(n)];
        let (kernel, stride, dilation) = (pair(3), pair(3), pair(2));
        Window { kernel, stride, padding: [self.below(kernel[0]), self.below(kernel[1])], dilation }
    }

    /// Cells of padding behind a plane, fewer than a window reaches over: often as many as before it.
    pub fn behind(&mut self, w: &Window) -> [usize; 2] {
        [0, 1].map(|axis| if self.flip() { w.padding[axis] } else { self.below(reach(w, axis)) })
    }
}

/// Rows or columns from a window's first tap to its last.
pub fn reach(w: &Window, axis: usize) -> usize {
    w.dilation[axis] * (w.kernel[axis] - 1) + 1
}

/// Rows and columns that a window gives, with so many cells of padding behind the plane.
pub fn outputs(w: &Window, size: [usize; 2], behind: [usize; 2]) -> Option<[usize; 2]> {
    let along = |axis: usize| {
        let room = (size[axis] + w.padding[axis] + behind[axis]).checked_sub(reach(w, axis))?;
        Some(room / w.stride[axis] + 1)
    };
    Some([along(0)?, along(1)?])
}

/// The same where PyTorch and ONNX round up: a window that reaches beyond the padding is there, too, if it begins before the
/// padding behind the plane.
pub fn outputs_rounded_up(w: &Window, size: [usize; 2], behind: [usize; 2]) -> Option<[usize; 2]> {
    let outputs = [0, 1].map(|axis| {
        let (begin, stride) = (size[axis] + w.padding[axis], w.stride[axis]);
        let is_there = |start: &usize| start + reach(w, axis) < begin + behind[axis] + stride;
        (0..begin).step_by(stride).take_while(is_there).count()
    });
    (!outputs.contains(&0)).then_some(outputs)
}

pub const ACTIVATIONS: [Activation; 5] =
    [Activation::Identity, Activation::Relu, Activation::LeakyRelu(0.1), Activation::Silu, Activation::Mish];

pub fn value(f: Activation, x: f64) -> f64 {
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    match f {
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu(slope) => {
            if x > 0.0 {
                x
            } else {
                f64::from(slope) * x
            }
        }
        Activation::Silu => x * sigmoid,
        Activation::Mish => x * x.exp().ln_1p().tanh(),
        _ => x,
    }
}

pub fn slope(f: Activation, x: f64) -> f64 {
    match f {
        Activation::Relu => f64::from(x > 0.0),
        Activation::LeakyRelu(slope) => {
            if x > 0.0 {
                1.0
            } else {
                f64::from(slope)
            }
        }
        _ => (value(f, x + 1e-5) - value(f, x - 1e-5)) / 2e-5,
    }
}

/// How many channels each block of a value has: any number, in any order.
pub fn partition(dice: &mut Dice, channels: usize) -> Vec<usize> {
    let mut blocks = Vec::new();
    let mut left = channels;
    while left > 0 {
        let most = left.min(LANES);
        let count = if dice.flip() { most } else { 1 + dice.below(most) };
        blocks.push(count);
        left -= count;
    }
    blocks
}

/// Lays out values one after another, with gaps, their blocks shuffled.
pub struct Layout {
    end: usize,
}

impl Layout {
    pub fn new() -> Self {
        Self { end: LANES }
    }

    pub fn place(&mut self, dice: &mut Dice, partition: &[usize], [height, width]: [usize; 2]) -> Planes {
        let mut order: Vec<usize> = (0..partition.len()).collect();
        (1..order.len()).rev().for_each(|i| order.swap(i, dice.below(i + 1)));
        let mut offsets = vec![0; partition.len()];
        for b in order {
            offsets[b] = self.end;
            self.end += height * width * LANES + LANES * dice.below(3);
        }
        let mut first = 0;
        let block = |(&count, offset)| {
            first += count;
            Block { offset, first: first - count, count }
        };
        Planes::new(partition.iter().zip(offsets).map(block).collect(), height, width)
    }

    pub fn memory(&self, dice: &mut Dice, images: usize, threads: usize, scratch: usize) -> Memory {
        let mut memory = Memory::new(images, self.end + LANES, threads, scratch);
        (0..images).for_each(|i| memory.image_mut(i).fill_with(|| dice.number()));
        memory
    }
}

pub fn snapshot(memory: &Memory) -> Vec<Vec<f32>> {
    (0..memory.images()).map(|i| memory.image(i).to_vec()).collect()
}

/// The number at a channel and pixel of an image's floats.
pub fn at(image: &[f32], planes: &Planes, channel: usize, y: usize, x: usize) -> f64 {
    let b = planes.blocks().iter().find(|b| (b.first..b.first + b.count).contains(&channel)).unwrap();
    f64::from(image[b.offset + (y * planes.width() + x) * LANES + channel - b.first])
}

/// Every channel and pixel of a value.
pub fn cells(planes: &Planes) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
    let (c, h, w) = (planes.channels(), planes.height(), planes.width());
    (0..c).flat_map(move |c| (0..h).flat_map(move |y| (0..w).map(move |x| (c, y, x))))
}

/// Whether all floats outside of `written` are as they were.
pub fn untouched(before: &[Vec<f32>], memory: &Memory, written: Option<&Planes>) {
    for (image, before) in before.iter().enumerate() {
        let mut now = memory.image(image).to_vec();
        for b in written.into_iter().flat_map(|w| (0..w.blocks().len()).map(|b| w.range(b))) {
            now[b.clone()].copy_from_slice(&before[b]);
        }
        let same = now.iter().zip(before).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "floats outside of the output have changed");
    }
}

/// Runs a kernel on the same memory with several teams and checks that the bits are the same.
pub fn same_bits(before: &[Vec<f32>], memory: &mut Memory, mut run: impl FnMut(&mut Memory, &mut Team) -> Vec<f32>) {
    let mut seen: Option<(Vec<Vec<f32>>, Vec<f32>)> = None;
    for threads in [1, 2, 3, 5] {
        for (image, floats) in before.iter().enumerate() {
            memory.image_mut(image).copy_from_slice(floats);
        }
        let other = run(memory, &mut Team::new(threads));
        let now = (snapshot(memory), other);
        if let Some(seen) = &seen {
            assert!(*seen == now, "{threads} threads give other bits");
        }
        seen = Some(now);
    }
}
