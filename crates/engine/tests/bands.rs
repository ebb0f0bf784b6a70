//! Which convolutions run band by band, and that nobody sees a difference.

use cspnet_engine::{Input, Plan, PlanOptions, Rewrite, Rewrites};
use cspnet_graph::init::reference_input;
use cspnet_graph::{Builder, Conv, Graph, Unary, Value, Weights};

/// A picture at which 64 channels are as large as a value in bands must be.
const SIDE: usize = 64;

/// The bits of a batch's answers.
fn answers(plan: &Plan, images: usize, threads: usize) -> Vec<u32> {
    let mut workspace = plan.workspace(images, threads);
    plan.run(&mut workspace, Input::Real(&reference_input(images * 3 * SIDE * SIDE))).unwrap();
    (0..images).flat_map(|i| plan.output(&workspace, i)).map(f32::to_bits).collect()
}

/// How often the rewrite fires; plans with it and without it have the same bits.
fn times(graph: &Graph, options: &PlanOptions) -> usize {
    let plan = |rewrites| {
        let options = PlanOptions { rewrites, ..options.clone() };
        Plan::new(graph, &Weights::reference(graph), [3, SIDE, SIDE], &options).unwrap()
    };
    let (with, without) = (plan(Rewrites::all()), plan(Rewrites::all().without(Rewrite::Bands)));
    let expected = answers(&without, 3, 1);
    for threads in [1, 2, 3] {
        assert!(answers(&with, 3, threads) == expected, "{threads} threads give other bits");
    }
    assert!(answers(&with, 2, 2)[..] == expected[..answers(&with, 2, 2).len()], "a smaller batch gives other bits");
    let fired = |plan: &Plan| plan.report().rewrites.iter().find(|s| s.rewrite == Rewrite::Bands).copied();
    assert_eq!(fired(&without), None);
    let (of_with, of_without) = (with.report(), without.report());
    let times = fired(&with).map_or(0, |s| s.times);
    assert_eq!(of_with.steps.len() + times, of_without.steps.len());
    assert!(of_with.activation_bytes <= of_without.activation_bytes);
    assert_eq!(fired(&with).map_or(0, |s| s.bytes), 2 * 4 * (64 * SIDE * SIDE * times) as u64);
    times
}

/// A network whose body reads 24 channels of the picture's size.
fn network(body: impl FnOnce(&mut Builder, Value) -> Value) -> Graph {
    let mut b = Builder::new();
    let picture = b.input(3);
    let x = b.conv("stem", picture, Conv::new(24, 3));
    let x = body(&mut b, x);
    let x = b.conv("reduce", x, Conv::new(8, 3).stride(4));
    let x = b.global_avg_pool("pool", x);
    let answer = b.linear("classifier", x, 5);
    b.finish(answer).unwrap()
}

/// A 1x1 convolution with its activation.
fn pointwise(b: &mut Builder, name: &str, x: Value, out: usize) -> Value {
    let y = b.conv(name, x, Conv::new(out, 1).bias());
    b.unary(&format!("{name}.act"), y, Unary::Silu)
}

#[test]
fn a_pointwise_convolution_fires_before_one_that_is_not_much_work() {
    let plain = network(|b, x| {
        let y = pointwise(b, "first", x, 64);
        pointwise(b, "second", y, 12)
    });
    assert_eq!(times(&plain, &PlanOptions::default()), 1);
    // Of three, the second is taken already; what is smaller is not worth it.
    let chain = network(|b, x| {
        let y = pointwise(b, "first", x, 64);
        let y = pointwise(b, "second", y, 64);
        let y = pointwise(b, "third", y, 63);
        pointwise(b, "fourth", y, 12)
    });
    assert_eq!(times(&chain, &PlanOptions::default()), 1);
    // So much arithmetic hides what is written and read.
    let heavy = network(|b, x| {
        let y = pointwise(b, "first", x, 64);
        b.conv("second", y, Conv::new(24, 3))
    });
    assert_eq!(times(&heavy, &PlanOptions::default()), 0);
    // What the first reads must live until the second has written: larger than what is between, it would cost memory.
    let narrowing = network(|b, x| {
        let y = b.conv("wide", x, Conv::new(80, 3));
        let y = pointwise(b, "first", y, 64);
        pointwise(b, "second", y, 12)
    });
    assert_eq!(times(&narrowing, &PlanOptions::default()), 0);
    // Rows that two bands see are computed twice.
    let window = network(|b, x| {
        let y = pointwise(b, "first", x, 64);
        b.conv("second", y, Conv::new(12, 3))
    });
    assert_eq!(times(&window, &PlanOptions::default()), 1);
}

#[test]
fn what_is_handed_on_may_be_joined_with_others_and_the_second_may_add() {
    let joined = network(|b, x| {
        let left = b.conv("left", x, Conv::new(30, 3));
        let y = pointwise(b, "first", x, 64);
        let all = b.concat("concat", &[left, y, x]);
        let z = b.conv("second", all, Conv::new(24, 1));
        let sum = b.add("sum", z, x);
        b.unary("act", sum, Unary::Mish)
    });
    assert_eq!(times(&joined, &PlanOptions::default()), 1);
}

#[test]
fn stems_fire_before_any_convolution_by_any_method() {
    let stem = |kernel: usize, stride: usize| {
        let mut b = Builder::new();
        let picture = b.input(3);
        let x = b.conv("stem", picture, Conv::new(64, 3));
        let x = b.unary("act", x, Unary::Silu);
        let x = b.conv("down", x, Conv::new(16, kernel).stride(stride));
        let x = b.conv("reduce", x, Conv::new(8, 3).stride(2));
        let x = b.global_avg_pool("pool", x);
        let answer = b.linear("classifier", x, 5);
        b.finish(answer).unwrap()
    };
    for (kernel, stride) in [(3, 2), (3, 1), (1, 1), (5, 4)] {
        for low_memory in [false, true] {
            let options = PlanOptions { direct: low_memory, low_memory, ..PlanOptions::default() };
            assert_eq!(times(&stem(kernel, stride), &options), 1, "{kernel}x{kernel} stride {stride}");
        }
    }
}

#[test]
fn a_value_that_others_see_is_stored() {
    let two_readers = network(|b, x| {
        let y = pointwise(b, "first", x, 64);
        let z = pointwise(b, "second", y, 64);
        b.add("sum", y, z)
    });
    let sliced = network(|b, x| {
        let y = pointwise(b, "first", x, 64);
        let half = b.slice("half", y, 0, 32);
        pointwise(b, "second", half, 12)
    });
    let with_residual = network(|b, x| {
        let y = b.conv("before", x, Conv::new(64, 3));
        let z = b.conv("first", x, Conv::new(64, 1));
        let sum = b.add("sum", y, z);
        pointwise(b, "second", sum, 12)
    });
    let grouped = network(|b, x| {
        let y = pointwise(b, "first", x, 64);
        b.conv("second", y, Conv::new(16, 1).groups(8))
    });
    for graph in [two_readers, sliced, with_residual, grouped] {
        assert_eq!(times(&graph, &PlanOptions::default()), 0);
    }
    let tapped = network(|b, x| {
        let y = pointwise(b, "first", x, 64);
        pointwise(b, "second", y, 12)
    });
    for (tap, expected) in [("first.act", 0), ("second", 1)] {
        let options = PlanOptions { taps: vec![tap.into()], ..PlanOptions::default() };
        assert_eq!(times(&tapped, &options), expected, "{tap}");
    }
}
