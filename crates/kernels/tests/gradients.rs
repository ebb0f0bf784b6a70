//! Every backward pass against central differences of a forward pass in double precision, which knows nothing of its
//! formula; and what kernels do with NaN, with windows that see only padding, and with an image alone.

mod common;

use common::*;
use cspnet_kernels::*;

/// Half the distance of the two points whose difference is taken.
const H: f64 = 1e-5;

/// How the sum of `weights * forward(x)` changes with each number of `x`.
fn differences(x: &[f64], weights: &[f64], forward: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let sum = |x: &[f64]| forward(x).iter().zip(weights).map(|(y, w)| y * w).sum::<f64>();
    let moved = |i: usize, by: f64| {
        let mut x = x.to_vec();
        x[i] += by;
        sum(&x)
    };
    (0..x.len()).map(|i| (moved(i, H) - moved(i, -H)) / (2.0 * H)).collect()
}

/// A channel's numbers over all images.
fn channel(memory: &Memory, planes: &Planes, c: usize) -> Vec<f64> {
    let of = |image: usize| {
        let own = cells(planes).filter(move |cell| cell.0 == c);
        own.map(move |(c, y, x)| at(memory.image(image), planes, c, y, x))
    };
    (0..memory.images()).flat_map(of).collect()
}

fn assert_near(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len());
    for (g, e) in got.iter().zip(expected) {
        assert!((g - e).abs() <= tolerance * (1.0 + e.abs()), "{what}: {g} instead of {e}");
    }
}

/// A value, the gradient of what is made of it, and the gradient to be written, in a memory of two images.
fn draw(dice: &mut Dice, input: [usize; 2], output: [usize; 2]) -> ([Planes; 3], Memory) {
    let channels = 1 + dice.below(12);
    let of = partition(dice, channels);
    let mut layout = Layout::new();
    let planes = [input, output, input].map(|size| layout.place(dice, &of, size));
    let memory = layout.memory(dice, 2, 2, 0);
    (planes, memory)
}

/// Every case for every instruction set.
fn each_case(mut case: impl FnMut(&mut Dice, Isa)) {
    for seed in 1..60 {
        Isa::available().for_each(|isa| case(&mut Dice::new(seed), isa));
    }
}

#[test]
fn functions_backward() {
    each_case(|dice, isa| {
        let size = [1 + dice.below(5), 1 + dice.below(5)];
        let ([x, dy, dx], mut memory) = draw(dice, size, size);
        for f in ACTIVATIONS {
            MapGrad::new(isa, f, &x, &dy, &dx, false).run(&mut memory, &mut Team::new(2));
            for c in 0..x.channels() {
                let (x, dy) = (channel(&memory, &x, c), channel(&memory, &dy, c));
                if x.iter().any(|x| x.abs() < 2.0 * H) {
                    continue;
                }
                let expected = differences(&x, &dy, |x| x.iter().map(|&x| value(f, x)).collect());
                assert_near(&channel(&memory, &dx, c), &expected, 1e-6, &format!("{f:?}"));
            }
        }
    });
}

#[test]
fn normalisation_backward() {
    let eps = 1e-5;
    each_case(|dice, isa| {
        let size = [1 + dice.below(4), 2 + dice.below(3)];
        let ([x, dy, dx], mut memory) = draw(dice, size, size);
        let (f, channels, team) = (dice.pick(&ACTIVATIONS), x.channels(), &mut Team::new(2));
        let (gamma, beta) = (dice.numbers(channels), dice.numbers(channels));
        let (mut stats, mut d_gamma, mut d_beta) =
            (BatchStats::new(channels), vec![0.0; channels], vec![0.0; channels]);
        // The forward pass writes to the place that the gradient is written to afterwards.
        let mut moments = ChannelMoments::new(channels);
        let take = Take { tally: &mut Tally::default(), moments: &mut moments };
        Moments::new(isa, &x).run(take, &mut memory, team);
        stats.assemble([(&moments, 0..channels)].into_iter(), &gamma, &beta, eps, true);
        BatchNorm::new(isa, &x, &dx, f).run(&stats, &mut memory, team);
        BatchNormGrad::new(isa, &x, &dy, &dx, f, false).run(&stats, &mut d_gamma, &mut d_beta, &mut memory, team);
        for c in 0..channels {
            let (x, dy, dx) = (channel(&memory, &x, c), channel(&memory, &dy, c), channel(&memory, &dx, c));
            // The channel's numbers, and its gamma and beta behind them.
            let before = |all: &[f64]| {
                let (x, [gamma, beta]) = all.split_last_chunk().unwrap();
                let mean = x.iter().sum::<f64>() / x.len() as f64;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
                x.iter().map(|x| gamma * (x - mean) / (variance + eps).sqrt() + beta).collect::<Vec<_>>()
            };
            let all = [&x[..], &[f64::from(gamma[c]), f64::from(beta[c])]].concat();
            // Not where a difference would reach over a kink.
            if before(&all).iter().any(|z| z.abs() < 1e-3) {
                continue;
            }
            let expected = differences(&all, &dy, |all| before(all).into_iter().map(|z| value(f, z)).collect());
            let got = [&dx[..], &[f64::from(d_gamma[c]), f64::from(d_beta[c])]].concat();
            assert_near(&got, &expected, 1e-5, &format!("{f:?} of {} numbers", x.len()));
        }
    });
}

/// Two normalisations of one value: moments taken once, gradients added up and sent through them once.
#[test]
fn normalisations_that_share_what_they_read_backward() {
    let eps = [1e-5, 1e-3];
    each_case(|dice, isa| {
        let (size, of) = ([1 + dice.below(4), 2 + dice.below(3)], partition(dice, 12));
        let mut layout = Layout::new();
        let [x, dx, dy, other] = [(); 4].map(|()| layout.place(dice, &of, size));
        let mut memory = layout.memory(dice, 2, 2, 0);
        let (f, channels, team) = (dice.pick(&ACTIVATIONS), x.channels(), &mut Team::new(2));
        let pairs = [(); 2].map(|()| (dice.numbers(channels), dice.numbers(channels)));
        let mut moments = ChannelMoments::new(channels);
        let take = Take { tally: &mut Tally::default(), moments: &mut moments };
        Moments::new(isa, &x).run(take, &mut memory, team);
        let mut grads = Vec::new();
        for ((dy, (gamma, beta)), (j, eps)) in [&dy, &other].iter().zip(&pairs).zip(eps.iter().enumerate()) {
            let (mut stats, mut d_gamma, mut d_beta) =
                (BatchStats::new(channels), vec![0.0; channels], vec![0.0; channels]);
            // In two parts, as the slices of a dense block come.
            let cut = dice.below(channels);
            let parts = [0..cut, cut..channels].map(|part| (&moments, part));
            stats.assemble(parts.into_iter(), gamma, beta, *eps, false);
            let share = SharedNormGrad::new(isa, &x, dy, &dx, f, j > 0);
            share.run(&stats, &mut d_gamma, &mut d_beta, &mut memory, team);
            for part in [0..cut, cut..channels] {
                moments.add_through(part.clone(), &stats, part.start, [&d_gamma, &d_beta]);
            }
            grads.push([d_gamma, d_beta]);
        }
        MomentsGrad::new(isa, &x, &dx).run(&moments, &mut memory, team);
        for c in 0..channels {
            let [x, dx] = [&x, &dx].map(|planes| channel(&memory, planes, c));
            let weights = [&dy, &other].map(|planes| channel(&memory, planes, c)).concat();
            // The channel's numbers, and behind them both gammas and betas.
            let before = |all: &[f64]| {
                let (x, numbers) = all.split_at(all.len() - 4);
                let mean = x.iter().sum::<f64>() / x.len() as f64;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
                let one = |j: usize| {
                    x.iter().map(move |x| numbers[2 * j] * (x - mean) / (variance + eps[j]).sqrt() + numbers[2 * j + 1])
                };
                one(0).chain(one(1)).collect::<Vec<_>>()
            };
            let numbers = pairs.iter().flat_map(|(gamma, beta)| [f64::from(gamma[c]), f64::from(beta[c])]);
            let all: Vec<f64> = x.iter().copied().chain(numbers).collect();
            // Not where a difference would reach over a kink.
            if before(&all).iter().any(|z| z.abs() < 1e-3) {
                continue;
            }
            let expected = differences(&all, &weights, |all| before(all).into_iter().map(|z| value(f, z)).collect());
            let of_numbers = grads.iter().flat_map(|[gamma, beta]| [f64::from(gamma[c]), f64::from(beta[c])]);
            let got: Vec<f64> = dx.iter().copied().chain(of_numbers).collect();
            assert_near(&got, &expected, 2e-5, &format!("{f:?} of {} numbers", x.len()));
        }
    });
}

/// One plane pooled, cell by cell.
fn pooled(kind: PoolKind, w: &Window, [rows, columns]: [usize; 2], output: [usize; 2], x: &[f64]) -> Vec<f64> {
    let behind = if let PoolKind::Average { padding_behind: Some(behind) } = kind { behind } else { [0; 2] };
    let padded = [rows + w.padding[0] + behind[0], columns + w.padding[1] + behind[1]];
    let one = |oy: usize, ox: usize| {
        let (mut seen, mut padding) = (Vec::new(), 0);
        for (ky, kx) in (0..w.kernel[0]).flat_map(|ky| (0..w.kernel[1]).map(move |kx| (ky, kx))) {
            let y = oy * w.stride[0] + ky * w.dilation[0];
            let x_ = ox * w.stride[1] + kx * w.dilation[1];
            match (y.checked_sub(w.padding[0]), x_.checked_sub(w.padding[1])) {
                (Some(y), Some(x_)) if y < rows && x_ < columns => seen.push(x[y * columns + x_]),
                _ => padding += usize::from(y < padded[0] && x_ < padded[1]),
            }
        }
        match kind {
            PoolKind::Max => seen.into_iter().fold(f64::NEG_INFINITY, f64::max),
            PoolKind::Average { padding_behind } => {
                let counted = seen.len() + if padding_behind.is_some() { padding } else { 0 };
                seen.into_iter().sum::<f64>() / counted.max(1) as f64
            }
        }
    };
    (0..output[0]).flat_map(|y| (0..output[1]).map(move |x| (y, x))).map(|(y, x)| one(y, x)).collect()
}

/// All that a window may take, with so much padding behind the plane.
fn kinds(behind: [usize; 2]) -> [PoolKind; 3] {
    let [all, some] = [Some(behind), None].map(|padding_behind| PoolKind::Average { padding_behind });
    [PoolKind::Max, all, some]
}

#[test]
fn pooling_backward() {
    each_case(|dice, isa| {
        let (window, input) = (dice.window(), [2 + dice.below(6), 2 + dice.below(6)]);
        let (behind, size) = (dice.behind(&window), dice.pick(&[outputs, outputs_rounded_up]));
        let Some(output) = size(&window, input, behind) else { return };
        let ([x, dy, dx], mut memory) = draw(dice, input, output);
        for kind in kinds(behind) {
            PoolGrad::new(isa, kind, window, &x, &dy, &dx, false).run(&mut memory, &mut Team::new(2));
            for (c, image) in (0..x.channels()).flat_map(|c| [(c, 0), (c, 1)]) {
                let of = |planes: &Planes| {
                    let all = channel(&memory, planes, c);
                    all[image * all.len() / 2..][..all.len() / 2].to_vec()
                };
                let numbers = of(&x);
                let mut sorted = numbers.clone();
                sorted.sort_by(f64::total_cmp);
                // Not where a difference would change which number is the largest.
                if sorted.windows(2).any(|w| w[1] - w[0] < 4.0 * H) {
                    continue;
                }
                let forward = |x: &[f64]| {
                    let finite = |v: f64| if v.is_finite() { v } else { 0.0 };
                    pooled(kind, &window, input, output, x).into_iter().map(finite).collect()
                };
                assert_near(&of(&dx), &differences(&numbers, &of(&dy), forward), 1e-6, &format!("{kind:?} {window:?}"));
            }
        }
    });
}

#[test]
fn pooling_with_dilation_and_windows_beyond_the_padding() {
    for isa in Isa::available() {
        // Two taps three cells apart around two cells: padding alone.
        let window = Window { kernel: [1, 2], stride: [1, 1], padding: [0, 1], dilation: [1, 3] };
        let (x, y) = (Planes::dense(3, 1, 2, 0, 16), Planes::dense(3, 1, 1, 16, 8));
        let mut memory = Memory::new(1, 32, 1, 0);
        import_nchw(&x, &mut memory, 0, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        for kind in kinds(window.padding) {
            Pool::new(isa, kind, window, &x, &y).run(&mut memory, &mut Team::new(1));
            let mut out = [0.0; 3];
            export_nchw(&y, &memory, 0, &mut out);
            let nothing = if kind == PoolKind::Max { f32::NEG_INFINITY } else { 0.0 };
            assert_eq!(out, [nothing; 3], "{isa}: {kind:?}");
        }
    }
    each_case(|dice, isa| {
        let window = Window { kernel: [3, 2], stride: [2, 2], padding: [1, 1], dilation: [2, 1] };
        let (input, output) = ([9, 6], [4, 4]);
        let ([x, y, _], mut memory) = draw(dice, input, output);
        for kind in kinds(window.padding) {
            Pool::new(isa, kind, window, &x, &y).run(&mut memory, &mut Team::new(2));
            for c in 0..x.channels() {
                let (x, y) = (channel(&memory, &x, c), channel(&memory, &y, c));
                for (x, y) in x.chunks(54).zip(y.chunks(16)) {
                    assert_near(y, &pooled(kind, &window, input, output, x), 1e-6, &format!("{kind:?}"));
                }
            }
        }
    });
}

#[test]
fn a_mean_of_normalised_values_is_that_of_storing_them_first() {
    each_case(|dice, isa| {
        let window = Window { padding: [0, 0], ..dice.window() };
        let input = [0, 1].map(|axis| reach(&window, axis) + dice.below(6));
        let output = dice.pick(&[outputs, outputs_rounded_up])(&window, input, [0, 0]).unwrap();
        let ([x, y, _], mut memory) = draw(dice, input, output);
        let ([scale, shift], f) = ([(); 2].map(|()| dice.numbers(x.channels())), dice.pick(&ACTIVATIONS));
        let before = snapshot(&memory);
        AffinePool::new(isa, f, window, &x, &y).run(&scale, &shift, &mut memory, &mut Team::new(2));
        let kind = PoolKind::Average { padding_behind: None };
        for c in 0..x.channels() {
            let (x, y) = (channel(&memory, &x, c), channel(&memory, &y, c));
            let affine = |&v: &f64| value(f, f64::from(scale[c]) * v + f64::from(shift[c]));
            let normalised: Vec<f64> = x.iter().map(affine).collect();
            let (image, cells) = (input[0] * input[1], output[0] * output[1]);
            for (x, y) in normalised.chunks(image).zip(y.chunks(cells)) {
                assert_near(y, &pooled(kind, &window, input, output, x), 3e-6, &format!("{f:?}"));
            }
        }
        untouched(&before, &memory, Some(&y));
    });
}

#[test]
fn a_nan_is_not_lost() {
    for isa in Isa::available() {
        let window = Window { kernel: [1, 3], stride: [1, 1], padding: [0, 0], dilation: [1, 1] };
        let (x, y) = (Planes::dense(4, 1, 3, 0, 24), Planes::dense(4, 1, 1, 24, 8));
        let mut memory = Memory::new(1, 32, 1, 0);
        let n = f32::NAN;
        import_nchw(&x, &mut memory, 0, &[n, 1.0, 2.0, 1.0, n, 2.0, 1.0, 2.0, n, 1.0, f32::INFINITY, -1.0]);
        for kind in kinds([0; 2]) {
            Pool::new(isa, kind, window, &x, &y).run(&mut memory, &mut Team::new(1));
            let mut out = [0.0; 4];
            export_nchw(&y, &memory, 0, &mut out);
            assert!(out[..3].iter().all(|v| v.is_nan()) && out[3] == f32::INFINITY, "{isa}: {kind:?}: {out:?}");
        }
    }
}

#[test]
fn an_image_alone_gives_the_bits_it_gives_in_a_batch() {
    each_case(|dice, isa| {
        let size = [1 + dice.below(9), 1 + dice.below(9)];
        let ([x, y, z], mut memory) = draw(dice, size, size);
        let start = snapshot(&memory);
        let f = dice.pick(&ACTIVATIONS);
        let window = Window { kernel: [3; 2], stride: [1; 2], padding: [1; 2], dilation: [1; 2] };
        let kind = dice.pick(&kinds([1; 2]));
        let run = |memory: &mut Memory| {
            let team = &mut Team::new(2);
            Map::new(isa, f, &x, &y).run(memory, team);
            Pool::new(isa, kind, window, &y, &z).run(memory, team);
            Combine::new(isa, Operation::Mul, f, &x, &z, &y, false).run(memory, team);
            Transfer::new(&y, 0, &z, 0, x.channels(), true).run(memory, team);
            PoolGrad::new(isa, kind, window, &x, &z, &y, true).run(memory, team);
            MapGrad::new(isa, f, &x, &y, &z, true).run(memory, team);
        };
        run(&mut memory);
        let together = snapshot(&memory);
        for image in 0..2 {
            memory.set_images(1);
            memory.image_mut(0).copy_from_slice(&start[image]);
            run(&mut memory);
            let bits = |floats: &[f32]| floats.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert!(bits(memory.image(0)) == bits(&together[image]), "image {image} alone gives other bits");
        }
    });
}
