//! The kernels that networks need beside convolution, pooling and normalisation, against naive computations in double precision.

mod common;

use common::*;
use cspnet_kernels::*;
use proptest::prelude::*;

/// A random memory with two images, and room for values in it.
struct Room {
    dice: Dice,
    layout: Layout,
    /// Whether all numbers are.
    is_positive: bool,
}

impl Room {
    fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), layout: Layout::new(), is_positive: false }
    }

    fn shape(&mut self) -> [usize; 3] {
        [1 + self.dice.below(20), 1 + self.dice.below(6), 1 + self.dice.below(6)]
    }

    fn value(&mut self, [channels, height, width]: [usize; 3]) -> Planes {
        let blocks = partition(&mut self.dice, channels);
        self.cut_like(&blocks, [height, width])
    }

    fn cut_like(&mut self, blocks: &[usize], size: [usize; 2]) -> Planes {
        self.layout.place(&mut self.dice, blocks, size)
    }

    /// Runs a kernel that writes `output`, with any number of threads, and compares it with what is `expected` of the floats of an
    /// image before.
    fn check(
        mut self,
        output: &Planes,
        scratch: usize,
        mut run: impl FnMut(&mut Memory, &mut Team),
        expected: impl Fn(&[f32], [usize; 3]) -> f64,
    ) {
        let mut memory = self.layout.memory(&mut self.dice, 2, 5, scratch);
        if self.is_positive {
            (0..2).for_each(|image| memory.image_mut(image).iter_mut().for_each(|v| *v = v.abs()));
        }
        let before = snapshot(&memory);
        same_bits(&before, &mut memory, |memory, team| {
            run(memory, team);
            Vec::new()
        });
        untouched(&before, &memory, Some(output));
        for (image, before) in before.iter().enumerate() {
            for (c, y, x) in cells(output) {
                let (got, e) = (at(memory.image(image), output, c, y, x), expected(before, [c, y, x]));
                let near = (got - e).abs() <= 1e-5 * (1.0 + e.abs());
                assert!(near, "channel {c}, pixel {y} {x}: {got} instead of {e}");
            }
        }
    }
}

fn blocks(planes: &Planes) -> Vec<usize> {
    planes.blocks().iter().map(|b| b.count).collect()
}

/// Whether the pad lanes of a value are zero in all images.
fn pads_are_zero(planes: &Planes, memory: &Memory) -> bool {
    let pads = |b: &Block, image: usize| {
        let plane = &memory.image(image)[b.offset..][..planes.plane_len()];
        plane.chunks_exact(LANES).all(|pixel| pixel[b.count..].iter().all(|&v| v == 0.0))
    };
    planes.blocks().iter().all(|b| (0..memory.images()).all(|image| pads(b, image)))
}

fn combine(seed: u64, isa: Isa) {
    use Operation::*;
    let mut room = Room::new(seed);
    let shape = room.shape();
    let output = room.value(shape);
    let operation = room.dice.pick(&[Add, Sub, Mul, Div, Pow, Max, Min]);
    room.is_positive = operation == Pow;
    let operands = [(); 2].map(|()| {
        let of = [0, 1, 2].map(|axis: usize| if room.dice.below(3) == 0 { 1 } else { shape[axis] });
        let cut = if of[0] == shape[0] { blocks(&output) } else { vec![1] };
        (room.cut_like(&cut, [of[1], of[2]]), of)
    });
    let activation = room.dice.pick(&[Activation::Identity, Activation::Relu]);
    let [a, b] = &operands;
    let kernel = Combine::new(isa, operation, activation, &a.0, &b.0, &output, false);
    let number = |image: &[f32], (planes, of): &(Planes, [usize; 3]), place: [usize; 3]| {
        let [c, y, x] = [0, 1, 2].map(|axis| if of[axis] == 1 { 0 } else { place[axis] });
        at(image, planes, c, y, x)
    };
    let written = output.clone();
    room.check(
        &output,
        0,
        move |memory, team| {
            kernel.run(memory, team);
            assert!(!matches!(operation, Div | Pow) || pads_are_zero(&written, memory));
        },
        |image, place| {
            let (a, b) = (number(image, a, place), number(image, b, place));
            let combined = match operation {
                Add => a + b,
                Sub => a - b,
                Mul => a * b,
                Div => a / b,
                Pow => a.powf(b),
                Max => a.max(b),
                Min => a.min(b),
            };
            if activation == Activation::Relu && combined <= 0.0 { 0.0 } else { combined }
        },
    );
}

fn gather(seed: u64) {
    let mut room = Room::new(seed);
    let (from, to) = (room.shape(), room.shape());
    let input = room.value(from);
    // Sometimes the same blocks in the same order, so that whole vectors are copied.
    let alike = room.dice.flip();
    let output = if alike { room.cut_like(&blocks(&input), [to[1], to[2]]) } else { room.value(to) };
    let to = [output.channels(), to[1], to[2]];
    let pick = |dice: &mut Dice, to: usize, from: usize| -> Vec<Option<usize>> {
        (0..to).map(|_| if dice.below(8) == 0 { None } else { Some(dice.below(from)) }).collect()
    };
    let channels: Vec<Option<usize>> =
        if alike { (0..to[0]).map(Some).collect() } else { pick(&mut room.dice, to[0], from[0]) };
    let pixels = pick(&mut room.dice, to[1] * to[2], from[1] * from[2]);
    // Or every number from anywhere.
    let each = pick(&mut room.dice, to.iter().product(), from.iter().product());
    let is_free = room.dice.flip() && !alike;
    let source = |[c, y, x]: [usize; 3]| {
        let pixel = y * to[2] + x;
        if is_free {
            let n = each[c * to[1] * to[2] + pixel]?;
            return Some([n / (from[1] * from[2]), n / from[2] % from[1], n % from[2]]);
        }
        let pixel = pixels[pixel]?;
        Some([channels[c]?, pixel / from[2], pixel % from[2]])
    };
    let kernel = Gather::new(&input, &output, 0.25, source);
    room.check(
        &output,
        0,
        |memory, team| kernel.run(memory, team),
        |image, place| source(place).map_or(0.25, |[c, y, x]| at(image, &input, c, y, x)),
    );
}

fn resample(seed: u64, isa: Isa) {
    let mut room = Room::new(seed);
    let (from, to) = (room.shape(), room.shape());
    let input = room.value(from);
    let output = room.cut_like(&blocks(&input), [to[1], to[2]]);
    let mut taps = |axis: usize| -> Vec<Vec<(usize, f32)>> {
        let mut of_one =
            || (0..1 + room.dice.below(4)).map(|_| (room.dice.below(from[axis]), room.dice.number())).collect();
        (0..to[axis]).map(|_| of_one()).collect()
    };
    let (rows, columns) = (taps(1), taps(2));
    let kernel = Resample::new(isa, rows.clone(), columns.clone(), &input, &output);
    room.check(
        &output,
        0,
        |memory, team| kernel.run(memory, team),
        |image, [c, y, x]| {
            let row = |&(i, a): &(usize, f32)| -> f64 {
                let cell = |&(j, b): &(usize, f32)| f64::from(a) * f64::from(b) * at(image, &input, c, i, j);
                columns[x].iter().map(cell).sum()
            };
            rows[y].iter().map(row).sum()
        },
    );
}

fn lines(seed: u64) {
    let mut room = Room::new(seed);
    let shape = room.shape();
    let input = room.value(shape);
    let reduction = room.dice.pick(&[Reduction::Mean, Reduction::Sum, Reduction::Max, Reduction::Min]);
    let (size, log) = (1 + room.dice.below(6), room.dice.flip());
    let (alpha, bias) = (0.5, 1.25);
    let beta = room.dice.pick(&[0.75, 0.5]);
    let function = room.dice.pick(&[
        LineFunction::Softmax { log },
        LineFunction::Lrn { size, alpha, beta, bias },
        LineFunction::Reduce(reduction),
    ]);
    let axis = room.dice.below(3);
    let is_reduced = matches!(function, LineFunction::Reduce(_));
    let axes = [0, 1, 2].map(|a| a == axis || (is_reduced && room.dice.flip()));
    let of_output = [0, 1, 2].map(|a| if is_reduced && axes[a] { 1 } else { shape[a] });
    let output = room.value(of_output);
    let kernel = Lines::new(function, axes, &input, &output);
    let written = output.clone();
    room.check(
        &output,
        kernel.scratch_len(),
        move |memory, team| {
            kernel.run(memory, team);
            assert!(pads_are_zero(&written, memory));
        },
        |image, place| {
            let on_line = |&(c, y, x): &(usize, usize, usize)| {
                [c, y, x].iter().zip(place).zip(axes).all(|((a, b), along)| along || *a == b)
            };
            let line: Vec<f64> = cells(&input).filter(on_line).map(|(c, y, x)| at(image, &input, c, y, x)).collect();
            match function {
                LineFunction::Softmax { .. } => {
                    let share = line[place[axis]].exp() / line.iter().map(|x| x.exp()).sum::<f64>();
                    if log { share.ln() } else { share }
                }
                LineFunction::Lrn { .. } => {
                    let first = place[axis] as isize - (size as isize - 1) / 2;
                    let squares = (first..first + size as isize).filter_map(|i| line.get(usize::try_from(i).ok()?));
                    let sum = squares.map(|x| x * x).sum::<f64>();
                    line[place[axis]] / (bias + alpha / size as f64 * sum).powf(beta)
                }
                LineFunction::Reduce(Reduction::Mean) => line.iter().sum::<f64>() / line.len() as f64,
                LineFunction::Reduce(Reduction::Sum) => line.iter().sum(),
                LineFunction::Reduce(Reduction::Max) => line.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                LineFunction::Reduce(Reduction::Min) => line.iter().copied().fold(f64::INFINITY, f64::min),
            }
        },
    );
}

fn product(seed: u64, isa: Isa) {
    let mut room = Room::new(seed);
    let ([c, m, k], n) = (room.shape(), 1 + room.dice.below(9));
    let output = room.value([c, m, n]);
    let shared = room.dice.below(3);
    // Either may be the same for all channels.
    let cut = |i: usize| if shared == i { vec![1] } else { blocks(&output) };
    let (a, b) = (room.cut_like(&cut(0), [m, k]), room.cut_like(&cut(1), [k, n]));
    let kernel = Product::new(isa, &a, &b, &output);
    let one = |planes: &Planes, c: usize| if planes.channels() == 1 { 0 } else { c };
    room.check(
        &output,
        0,
        |memory, team| kernel.run(memory, team),
        |image, [c, y, x]| (0..k).map(|i| at(image, &a, one(&a, c), y, i) * at(image, &b, one(&b, c), i, x)).sum(),
    );
}

fn prelu(seed: u64, isa: Isa) {
    let mut room = Room::new(seed);
    let shape = room.shape();
    let input = room.value(shape);
    let output = room.cut_like(&blocks(&input), [shape[1], shape[2]]);
    let slopes = room.dice.numbers(shape[0]);
    let kernel = PRelu::new(isa, &input, &output);
    room.check(
        &output,
        0,
        |memory, team| kernel.run(&slopes, memory, team),
        |image, [c, y, x]| {
            let v = at(image, &input, c, y, x);
            if v > 0.0 { v } else { f64::from(slopes[c]) * v }
        },
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn combining_repeats_axes(seed: u64) {
        Isa::available().for_each(|isa| combine(seed, isa));
    }

    #[test]
    fn gathering_is_right(seed: u64) {
        gather(seed);
    }

    #[test]
    fn resampling_is_right(seed: u64) {
        Isa::available().for_each(|isa| resample(seed, isa));
    }

    #[test]
    fn lines_are_right(seed: u64) {
        lines(seed);
    }

    #[test]
    fn products_are_right(seed: u64) {
        Isa::available().for_each(|isa| product(seed, isa));
    }

    #[test]
    fn slopes_of_channels_are_right(seed: u64) {
        Isa::available().for_each(|isa| prelu(seed, isa));
    }
}

#[test]
fn functions_that_do_not_keep_numbers_finite_leave_zeros_beside_the_channels() {
    let planes = Planes::dense(3, 2, 2, 0, 32);
    for function in [Function::Log, Function::Reciprocal, Function::Sqrt, Function::Exp] {
        let mut memory = Memory::new(1, 32, 1, 0);
        // Of which none makes zero.
        memory.image_mut(0).fill(-1.0);
        Map::new(Isa::detect(), Activation::Other(function), &planes, &planes).run(&mut memory, &mut Team::new(1));
        assert!(pads_are_zero(&planes, &memory), "{function:?}");
    }
}

#[test]
fn lines_of_many_parts_are_all_computed() {
    let [input, output] = [0, 1 << 15].map(|offset| Planes::dense(3, 64, 64, offset, 1 << 15));
    let kernel = Lines::new(LineFunction::Softmax { log: false }, [true, false, false], &input, &output);
    let mut memory = Memory::new(2, 1 << 16, 2, kernel.scratch_len());
    kernel.run(&mut memory, &mut Team::new(2));
    for image in 0..2 {
        let mut shares = vec![0.0_f32; 3 << 12];
        export_nchw(&output, &memory, image, &mut shares);
        assert!(shares.iter().all(|&share| (share - 1.0 / 3.0).abs() < 1e-6), "image {image}");
    }
}

#[test]
#[should_panic(expected = "different blocks")]
fn operands_of_other_blocks_are_refused() {
    let wide = Planes::dense(16, 1, 1, 0, 8);
    let narrow = Planes::dense(8, 1, 1, 16, 8);
    Combine::new(Isa::Scalar, Operation::Add, Activation::Identity, &narrow, &wide, &wide, false);
}

#[test]
#[should_panic(expected = "source beyond")]
fn sources_outside_of_the_value_are_refused() {
    let [input, output] = [0, 8].map(|offset| Planes::dense(4, 1, 1, offset, 8));
    Gather::new(&input, &output, 0.0, |[c, y, x]| Some([c + 1, y, x]));
}
