//! All kernels that are no convolutions, against naive computations in double precision.

mod common;

use common::*;
use cspnet_kernels::*;
use proptest::prelude::*;

/// Three values of one shape and partition, and a memory with two images.
struct Three {
    planes: [Planes; 3],
    memory: Memory,
    before: Vec<Vec<f32>>,
    channels: usize,
}

impl Three {
    fn draw(dice: &mut Dice) -> Self {
        let channels = 1 + dice.below(30);
        let size = [1 + dice.below(9), 1 + dice.below(9)];
        let of = partition(dice, channels);
        let mut layout = Layout::new();
        let planes = [(); 3].map(|()| layout.place(dice, &of, size));
        let memory = layout.memory(dice, 2, 5, 0);
        let before = snapshot(&memory);
        Self { planes, memory, before, channels }
    }

    /// Runs a kernel that writes value `to`, and compares it with `expected(image's floats before, channel, y, x)`.
    fn check(
        &mut self,
        to: usize,
        run: impl FnMut(&mut Memory, &mut Team) -> Vec<f32>,
        expected: impl Fn(&[f32], usize, usize, usize) -> f64,
    ) {
        same_bits(&self.before, &mut self.memory, run);
        untouched(&self.before, &self.memory, Some(&self.planes[to]));
        for (image, before) in self.before.iter().enumerate() {
            for (c, y, x) in cells(&self.planes[to]) {
                let (got, e) = (at(self.memory.image(image), &self.planes[to], c, y, x), expected(before, c, y, x));
                assert!((got - e).abs() <= 4e-6 * (1.0 + e.abs()), "channel {c}, pixel {y} {x}: {got} instead of {e}");
            }
        }
    }
}

fn pointwise(seed: u64, isa: Isa) {
    let mut dice = Dice::new(seed);
    let mut t = Three::draw(&mut dice);
    let [a, b, out] = t.planes.clone();
    let (act, accumulate) = (dice.pick(&ACTIVATIONS), dice.flip());
    let kept = |image: &[f32], c, y, x| if accumulate { at(image, &out, c, y, x) } else { 0.0 };

    let map = Map::new(isa, act, &a, &out);
    t.check(
        2,
        |m, team| {
            map.run(m, team);
            Vec::new()
        },
        |i, c, y, x| value(act, at(i, &a, c, y, x)),
    );
    let map = Map::new(isa, act, &out, &out);
    t.check(
        2,
        |m, team| {
            map.run(m, team);
            Vec::new()
        },
        |i, c, y, x| value(act, at(i, &out, c, y, x)),
    );
    let grad = MapGrad::new(isa, act, &a, &b, &out, accumulate);
    t.check(
        2,
        |m, team| {
            grad.run(m, team);
            Vec::new()
        },
        |i, c, y, x| kept(i, c, y, x) + slope(act, at(i, &a, c, y, x)) * at(i, &b, c, y, x),
    );
    for operation in [Operation::Add, Operation::Mul] {
        let act = if accumulate { Activation::Identity } else { act };
        let combine = Combine::new(isa, operation, act, &a, &b, &out, accumulate);
        t.check(
            2,
            |m, team| {
                combine.run(m, team);
                Vec::new()
            },
            |i, c, y, x| {
                let (a, b) = (at(i, &a, c, y, x), at(i, &b, c, y, x));
                kept(i, c, y, x) + value(act, if operation == Operation::Add { a + b } else { a * b })
            },
        );
    }
    let (scale, shift) = (dice.numbers(t.channels), dice.numbers(t.channels));
    let affine = Affine::new(isa, act, &a, &out);
    t.check(
        2,
        |m, team| {
            affine.run(&scale, &shift, m, team);
            Vec::new()
        },
        |i, c, y, x| value(act, f64::from(scale[c]) * at(i, &a, c, y, x) + f64::from(shift[c])),
    );
    let clear = Clear::new(&out);
    t.check(
        2,
        |m, _| {
            clear.run(m);
            Vec::new()
        },
        |_, _, _, _| 0.0,
    );
}

/// Sums over pixels, to values of one pixel.
fn product_sum(seed: u64, isa: Isa) {
    let mut dice = Dice::new(seed);
    let channels = 1 + dice.below(30);
    let (size, accumulate) = ([1 + dice.below(12), 1 + dice.below(12)], dice.flip());
    let of = partition(&mut dice, channels);
    let mut layout = Layout::new();
    let planes = [size, size, [1, 1]].map(|size| layout.place(&mut dice, &of, size));
    let memory = layout.memory(&mut dice, 2, 5, 0);
    let [a, b, out] = planes.clone();
    let mut t = Three { planes, before: snapshot(&memory), memory, channels };
    let sum = ProductSum::new(isa, &a, &b, &out, accumulate);
    t.check(
        2,
        |m, team| {
            sum.run(m, team);
            Vec::new()
        },
        |i, c, _, _| {
            let kept = if accumulate { at(i, &out, c, 0, 0) } else { 0.0 };
            let pixels = cells(&a).filter(|&(channel, _, _)| channel == c);
            kept + pixels.map(|(c, y, x)| at(i, &a, c, y, x) * at(i, &b, c, y, x)).sum::<f64>()
        },
    );
}

fn norm(seed: u64, isa: Isa) {
    let mut dice = Dice::new(seed);
    let mut t = Three::draw(&mut dice);
    let [x, dy, dx] = t.planes.clone();
    let act = dice.pick(&ACTIVATIONS);
    let (gamma, beta, accumulate) = (dice.numbers(t.channels), dice.numbers(t.channels), dice.flip());
    let before = t.before.clone();
    let eps = 1e-5;
    let count = (before.len() * x.pixels()) as f64;
    let over = |f: &dyn Fn(&[f32], usize, usize) -> f64| -> f64 {
        let pixels = || (0..x.height()).flat_map(|y| (0..x.width()).map(move |w| (y, w)));
        before.iter().map(|i| pixels().map(|(y, w)| f(i, y, w)).sum::<f64>()).sum()
    };
    let means: Vec<f64> = (0..t.channels).map(|c| over(&|i, y, w| at(i, &x, c, y, w)) / count).collect();
    let variance = |c: usize| over(&|i, y, w| (at(i, &x, c, y, w) - means[c]).powi(2)) / count;
    let variances: Vec<f64> = (0..t.channels).map(variance).collect();
    let xhat = |i: &[f32], c: usize, y, w| (at(i, &x, c, y, w) - means[c]) / (variances[c] + eps).sqrt();
    let z = |i: &[f32], c: usize, y, w| f64::from(gamma[c]) * xhat(i, c, y, w) + f64::from(beta[c]);

    // With so few numbers the deviation may be tiny, and rounding is magnified by what it is divided by.
    let tame = variances.iter().all(|v| *v > 1e-3);
    let mut stats = BatchStats::new(t.channels);
    let forward = BatchNorm::new(isa, &x, &dx, act);
    let (mut tally, mut moments, all) = (Tally::default(), ChannelMoments::new(t.channels), 0..t.channels);
    if tame {
        t.check(
            2,
            |m, team| {
                Moments::new(isa, &x).run(Take { tally: &mut tally, moments: &mut moments }, m, team);
                stats.assemble([(&moments, all.clone())].into_iter(), &gamma, &beta, eps, true);
                forward.run(&stats, m, team);
                stats.mean.clone()
            },
            |i, c, y, w| value(act, z(i, c, y, w)),
        );
        let (mut mean, mut running) = (vec![0.5; t.channels], vec![2.0; t.channels]);
        stats.update_running(0.1, &mut mean, &mut running);
        for c in 0..t.channels {
            assert!((f64::from(mean[c]) - (0.45 + 0.1 * means[c])).abs() < 1e-6);
            let unbiased = variances[c] * count / (count - 1.0).max(1.0);
            assert!((f64::from(running[c]) - (1.8 + 0.1 * unbiased)).abs() < 1e-6);
        }
        let backward = BatchNormGrad::new(isa, &x, &dy, &dx, act, accumulate);
        let dz = |i: &[f32], c: usize, y, w| at(i, &dy, c, y, w) * slope(act, z(i, c, y, w));
        let shifts: Vec<f64> = (0..t.channels).map(|c| over(&|i, y, w| dz(i, c, y, w))).collect();
        let scales: Vec<f64> = (0..t.channels).map(|c| over(&|i, y, w| dz(i, c, y, w) * xhat(i, c, y, w))).collect();
        let (mut d_gamma, mut d_beta) = (vec![0.0; t.channels], vec![0.0; t.channels]);
        let near_kink = cells(&x).any(|(c, y, w)| before.iter().any(|i| z(i, c, y, w).abs() < 1e-5));
        if !near_kink {
            t.check(
                2,
                |m, team| {
                    backward.run(&stats, &mut d_gamma, &mut d_beta, m, team);
                    d_gamma.clone()
                },
                |i, c, y, w| {
                    let kept = if accumulate { at(i, &dx, c, y, w) } else { 0.0 };
                    let inner = dz(i, c, y, w) - shifts[c] / count - xhat(i, c, y, w) * scales[c] / count;
                    kept + f64::from(gamma[c]) / (variances[c] + eps).sqrt() * inner
                },
            );
            for c in 0..t.channels {
                assert!((f64::from(d_gamma[c]) - scales[c]).abs() < 1e-5 * (1.0 + scales[c].abs()));
                assert!((f64::from(d_beta[c]) - shifts[c]).abs() < 1e-5 * (1.0 + shifts[c].abs()));
            }
        }
    }
    let sum = ChannelSum::new(isa, &x);
    let mut sums = vec![0.0; t.channels];
    same_bits(&before, &mut t.memory, |m, team| {
        sum.run(&mut sums, m, team);
        sums.clone()
    });
    untouched(&before, &t.memory, None);
    for (c, got) in sums.iter().enumerate() {
        assert!((f64::from(*got) - means[c] * count).abs() < 1e-5 * (1.0 + count.sqrt()));
    }
}

fn pool(seed: u64, isa: Isa) {
    let mut dice = Dice::new(seed);
    let (window, [h, w]) = (dice.window(), [4 + dice.below(9), 4 + dice.below(9)]);
    let behind = dice.behind(&window);
    let kind = match dice.below(3) {
        0 => PoolKind::Max,
        1 => PoolKind::Average { padding_behind: Some(behind) },
        _ => PoolKind::Average { padding_behind: None },
    };
    let size = dice.pick(&[outputs, outputs_rounded_up]);
    let Some([oh, ow]) = size(&window, [h, w], behind) else { return };
    let of = {
        let c = 1 + dice.below(20);
        partition(&mut dice, c)
    };
    let mut layout = Layout::new();
    let [x, dx] = [(); 2].map(|()| layout.place(&mut dice, &of, [h, w]));
    let [y, dy] = [(); 2].map(|()| layout.place(&mut dice, &of, [oh, ow]));
    let mut memory = layout.memory(&mut dice, 2, 5, 0);
    // Equal numbers, so that the first of several maxima matters.
    for image in 0..2 {
        memory.image_mut(image).iter_mut().for_each(|v| *v = (*v * 4.0).round() / 4.0);
    }
    let before = snapshot(&memory);
    let seen = |o: usize, a: usize, len: usize| {
        let place = move |k: usize| (o * window.stride[a] + k * window.dilation[a]).checked_sub(window.padding[a]);
        (0..window.kernel[a]).filter_map(place).filter(move |&p| p < len).collect::<Vec<_>>()
    };
    let taps = |oy: usize, ox: usize| {
        let columns = seen(ox, 1, w);
        seen(oy, 0, h).into_iter().flat_map(|r| columns.clone().into_iter().map(move |c| (r, c))).collect::<Vec<_>>()
    };
    let divisor = |oy: usize, ox: usize| match kind {
        PoolKind::Average { padding_behind: Some(behind) } => {
            let along = |o: usize, a: usize, len: usize| {
                let room = len + window.padding[a] + behind[a] - o * window.stride[a];
                window.kernel[a].min(room.div_ceil(window.dilation[a]))
            };
            (along(oy, 0, h) * along(ox, 1, w)) as f64
        }
        _ => taps(oy, ox).len() as f64,
    };
    let act = dice.pick(&ACTIVATIONS);
    let forward = Pool::new(isa, kind, window, &x, &y).with_activation(act);
    same_bits(&before, &mut memory, |m, team| {
        forward.run(m, team);
        Vec::new()
    });
    untouched(&before, &memory, Some(&y));
    for (image, before) in before.iter().enumerate() {
        for (c, oy, ox) in cells(&y) {
            let all = taps(oy, ox).into_iter().map(|(r, k)| at(before, &x, c, r, k));
            let e =
                if kind == PoolKind::Max { all.fold(f64::MIN, f64::max) } else { all.sum::<f64>() / divisor(oy, ox) };
            assert!((at(memory.image(image), &y, c, oy, ox) - value(act, e)).abs() < 1e-6);
        }
    }
    let accumulate = dice.flip();
    let backward = PoolGrad::new(isa, kind, window, &x, &dy, &dx, accumulate);
    same_bits(&before, &mut memory, |m, team| {
        backward.run(m, team);
        Vec::new()
    });
    untouched(&before, &memory, Some(&dx));
    for (image, before) in before.iter().enumerate() {
        let mut sums = vec![0.0; x.channels() * h * w];
        for (c, oy, ox) in cells(&y) {
            let g = at(before, &dy, c, oy, ox);
            let all = taps(oy, ox);
            let place = |(r, k): (usize, usize)| (c * h + r) * w + k;
            if kind == PoolKind::Max {
                let best = |a: (usize, usize), b: (usize, usize)| {
                    if at(before, &x, c, b.0, b.1) > at(before, &x, c, a.0, a.1) { b } else { a }
                };
                sums[place(all.into_iter().reduce(best).unwrap())] += g;
            } else {
                all.into_iter().for_each(|t| sums[place(t)] += g / divisor(oy, ox));
            }
        }
        for (c, r, k) in cells(&x) {
            let e = sums[(c * h + r) * w + k] + if accumulate { at(before, &dx, c, r, k) } else { 0.0 };
            assert!((at(memory.image(image), &dx, c, r, k) - e).abs() < 1e-5);
        }
    }
}

fn transfer(seed: u64) {
    let mut dice = Dice::new(seed);
    let size = [1 + dice.below(5), 1 + dice.below(5)];
    let (from_channels, to_channels) = (1 + dice.below(30), 1 + dice.below(30));
    let len = 1 + dice.below(from_channels.min(to_channels));
    let (from, to) = (dice.below(from_channels - len + 1), dice.below(to_channels - len + 1));
    let mut layout = Layout::new();
    let (a, b) = (partition(&mut dice, from_channels), partition(&mut dice, to_channels));
    let (a, b) = (layout.place(&mut dice, &a, size), layout.place(&mut dice, &b, size));
    let mut memory = layout.memory(&mut dice, 2, 5, 0);
    let before = snapshot(&memory);
    let accumulate = dice.flip();
    let transfer = Transfer::new(&a, from, &b, to, len, accumulate);
    assert_eq!(transfer.bytes(), 4 * len * size[0] * size[1]);
    same_bits(&before, &mut memory, |m, team| {
        transfer.run(m, team);
        Vec::new()
    });
    untouched(&before, &memory, Some(&b));
    for (image, before) in before.iter().enumerate() {
        for (c, y, x) in cells(&b) {
            let old = at(before, &b, c, y, x);
            let e = match c.checked_sub(to).filter(|&i| i < len) {
                Some(i) => at(before, &a, from + i, y, x) + if accumulate { old } else { 0.0 },
                None => old,
            };
            assert!((at(memory.image(image), &b, c, y, x) - e).abs() < 1e-6);
        }
    }
    let numbers = dice.numbers(from_channels * size[0] * size[1]);
    import_nchw(&a, &mut memory, 1, &numbers);
    let mut back = vec![0.0; numbers.len()];
    export_nchw(&a, &memory, 1, &mut back);
    assert_eq!(back, numbers);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn pointwise_is_right(seed: u64) {
        Isa::available().for_each(|isa| pointwise(seed, isa));
    }

    #[test]
    fn sums_of_products_are_right(seed: u64) {
        Isa::available().for_each(|isa| product_sum(seed, isa));
    }

    #[test]
    fn normalisation_is_right(seed: u64) {
        Isa::available().for_each(|isa| norm(seed, isa));
    }

    #[test]
    fn pooling_is_right(seed: u64) {
        Isa::available().for_each(|isa| pool(seed, isa));
    }

    #[test]
    fn transfers_are_right(seed: u64) {
        transfer(seed);
    }
}

#[test]
fn pixels_are_normalised_by_the_formula() {
    let planes = Planes::dense(3, 2, 2, 0, 32);
    let mut memory = Memory::new(1, 64, 1, 0);
    let pixels: Vec<u8> = (0..12).map(|i| i * 23).collect();
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    import_pixels(&planes, &mut memory, 0, &pixels, &mean, &std);
    for (c, y, x) in cells(&planes) {
        let e = (f32::from(pixels[(y * 2 + x) * 3 + c]) / 255.0 - mean[c]) / std[c];
        assert_eq!(at(memory.image(0), &planes, c, y, x), f64::from(e));
    }
}

#[test]
fn the_loss_and_its_gradient() {
    let classes = 11;
    let logits =
        Planes::new(vec![Block { offset: 0, first: 0, count: 3 }, Block { offset: 16, first: 3, count: 8 }], 1, 1);
    let d_logits =
        Planes::new(vec![Block { offset: 32, first: 0, count: 3 }, Block { offset: 48, first: 3, count: 8 }], 1, 1);
    let loss = SoftmaxCrossEntropy::new(&logits, &d_logits);
    let mut dice = Dice::new(5);
    let mut memory = Memory::new(2, 64, 1, 0);
    let values = [dice.numbers(classes), dice.numbers(classes)];
    let targets: Vec<f32> = (0..2 * classes).map(|i| if i % classes == 4 { 0.7 } else { 0.03 }).collect();
    let mut at_values = |values: &[Vec<f32>; 2]| {
        values.iter().enumerate().for_each(|(i, v)| import_nchw(&logits, &mut memory, i, v));
        let value = loss.run(&targets, &mut memory);
        let mut gradient = vec![0.0; classes];
        export_nchw(&d_logits, &memory, 1, &mut gradient);
        (value, gradient)
    };
    let (_, gradient) = at_values(&values);
    for (c, g) in gradient.iter().enumerate() {
        let mut moved = |by: f32| {
            let mut v = values.clone();
            v[1][c] += by;
            (at_values(&v).0, v[1][c])
        };
        let ((up, a), (down, b)) = (moved(1e-2), moved(-1e-2));
        let slope = (up - down) / f64::from(a - b);
        assert!((slope - f64::from(*g)).abs() < 1e-5, "{g} instead of {slope}");
    }
}
