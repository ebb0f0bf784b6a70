//! Plans against the interpreter in double precision, on random networks.

mod common;

use common::{PICTURE, random_network};
use cspnet_engine::reference::{Tensor, infer};
use cspnet_engine::{Input, Isa, Plan, PlanOptions, Rewrite, Rewrites};
use cspnet_graph::init::reference_input;
use cspnet_graph::rewrite::with_normalise;
use cspnet_graph::{Builder, Conv, Graph, Unary, Weights, Window};

/// The largest deviation of a plan's answers from the interpreter's, relative to the answers' root mean square.
fn deviation(graph: &Graph, isa: Isa, images: usize, taps: Vec<String>) -> f64 {
    deviation_of(graph, &PlanOptions { isa, taps, ..PlanOptions::default() }, images)
}

fn deviation_of(graph: &Graph, options: &PlanOptions, images: usize) -> f64 {
    let weights = Weights::reference(graph);
    let x = reference_input(images * PICTURE.iter().product::<usize>());
    let [c, h, w] = PICTURE;
    let exact = infer::<f64>(graph, &weights, &Tensor::from_f32([images, c, h, w], &x)).unwrap();
    let plan = Plan::new(graph, &weights, PICTURE, options).unwrap();
    let mut workspace = plan.workspace(images, 2);
    plan.run(&mut workspace, Input::Real(&x)).unwrap();
    let mut worst: f64 = 0.0;
    for image in 0..images {
        let tapped = options.taps.iter().map(|t| (graph.value(t).unwrap(), plan.tap(&workspace, t, image).unwrap()));
        for (value, got) in tapped.chain([(graph.output(), plan.output(&workspace, image))]) {
            let expected = &exact[value].data[image * got.len()..][..got.len()];
            let rms = (expected.iter().map(|v| v * v).sum::<f64>() / got.len() as f64).sqrt().max(1e-6);
            let off = got.iter().zip(expected).map(|(&g, e)| (f64::from(g) - e).abs()).fold(0.0, f64::max);
            worst = worst.max(off / rms);
        }
    }
    worst
}

#[test]
fn random_networks_agree_with_the_interpreter() {
    for seed in 0..150 {
        let graph = random_network(seed, 4 + seed as usize % 14);
        for isa in Isa::available() {
            let off = deviation(&graph, isa, 1 + seed as usize % 3, Vec::new());
            assert!(off < 3e-5, "network {seed}, {isa}: {off:.1e}");
        }
    }
}

#[test]
fn tapped_values_are_computed_though_they_could_be_fused_away() {
    for seed in 0..60 {
        let graph = random_network(seed, 8);
        let taps: Vec<String> = graph.modules().keys().filter(|_| seed % 3 > 0).cloned().collect();
        let off = deviation(&graph, Isa::detect(), 2, taps);
        assert!(off < 3e-5, "network {seed}: {off:.1e}");
    }
}

/// Rewrites move nodes and give their paths to others; what is tapped is still what the path said.
#[test]
fn any_value_can_be_tapped() {
    for seed in 0..40 {
        let graph = random_network(seed, 6);
        for node in graph.nodes() {
            let off = deviation(&graph, Isa::detect(), 1, vec![node.path.clone()]);
            assert!(off < 3e-5, "network {seed}, {}: {off:.1e}", node.path);
        }
    }
    let pooled_first = |b: &mut Builder, x| {
        let x = b.conv("conv", x, Conv::new(16, 3));
        let x = b.batch_norm("norm", x);
        let x = b.unary("act", x, Unary::Relu);
        let x = b.max_pool("max", x, Window::square(2, 2, 0));
        let x = b.conv("mix", x, Conv::new(8, 1));
        let x = b.avg_pool("mean", x, Window::square(2, 2, 0));
        let twins = ["left", "right"].map(|name| b.conv(name, x, Conv::new(8, 1)));
        let x = b.concat("both", &twins);
        let x = b.global_avg_pool("plane", x);
        b.linear("fc", x, 3)
    };
    let mut b = Builder::new();
    let x = b.input(PICTURE[0]);
    let y = pooled_first(&mut b, x);
    let graph = b.finish(y).unwrap();
    for node in graph.nodes() {
        let off = deviation(&graph, Isa::detect(), 2, vec![node.path.clone()]);
        assert!(off < 3e-5, "{}: {off:.1e}", node.path);
    }
}

#[test]
fn random_networks_agree_without_any_of_the_rewrites() {
    for (seed, rewrite) in (0..60).flat_map(|seed| Rewrite::ALL.map(|r| (seed, r))) {
        let graph = random_network(seed, 4 + seed as usize % 14);
        let options = PlanOptions { rewrites: Rewrites::all().without(rewrite), ..PlanOptions::default() };
        let off = deviation_of(&graph, &options, 1);
        assert!(off < 3e-5, "network {seed} without {rewrite}: {off:.1e}");
    }
}

#[test]
fn rewrites_that_keep_bits_keep_those_of_strict_plans() {
    for seed in 0..200 {
        let graph = random_network(seed, 4 + seed as usize % 14);
        let weights = Weights::reference(&graph);
        let x = reference_input(PICTURE.iter().product());
        let [strict, same] = [PlanOptions::strict(), PlanOptions::with_strict_bits()].map(|options| {
            let plan = Plan::new(&graph, &weights, PICTURE, &options).unwrap();
            let mut workspace = plan.workspace(1, 2);
            plan.run(&mut workspace, Input::Real(&x)).unwrap();
            plan.output(&workspace, 0).into_iter().map(f32::to_bits).collect::<Vec<u32>>()
        });
        assert_eq!(strict, same, "network {seed}");
        assert!(deviation_of(&graph, &PlanOptions::strict(), 1) < 3e-5, "network {seed}");
    }
}

/// A convolution, and its result added to itself turned by three channels.
fn turned(width: usize) -> Graph {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("conv", x, Conv::new(width, 3));
    let front = b.slice("front", x, 0, 3);
    let rest = b.slice("rest", x, 3, width - 3);
    let turned = b.concat("turned", &[rest, front]);
    let sum = b.add("sum", x, turned);
    let x = b.global_avg_pool("pool", sum);
    let x = b.linear("classifier", x, 5);
    b.finish(x).unwrap()
}

#[test]
fn copies_are_made_only_where_nothing_else_helps_and_are_counted() {
    let graph = turned(32);
    let plan = Plan::new(&graph, &Weights::reference(&graph), PICTURE, &PlanOptions::default()).unwrap();
    assert!(plan.report().copied_bytes > 0);
    assert!(deviation(&graph, Isa::detect(), 2, Vec::new()) < 3e-5);

    for name in ["densenet121", "densenet_bc:depth=22,growth=12", "cspdensenet121:gamma=0.25,fusion=last"]
        .into_iter()
        .chain(["csppeleenet:gamma=0.25,fusion=both", "cspdarknet53", "cspresnext50", "cs3darknet_m", "resnet50"])
    {
        let graph = cspnet_zoo::build(name).unwrap();
        let plan = Plan::new(&graph, &Weights::reference(&graph), [3, 64, 64], &PlanOptions::default()).unwrap();
        assert_eq!(plan.report().copied_bytes, 0, "{name}");
    }
}

/// How many steps a kernel of this name does.
fn kernels(plan: &Plan, prefix: &str) -> usize {
    plan.report().steps.iter().filter(|s| s.kernel.starts_with(prefix)).count()
}

#[test]
fn the_optimised_plan_is_near_the_strict_one() {
    let x = reference_input(3 * 64 * 64);
    // Which of Winograd's tiles depends on the machine.
    let winograd = &["winograd"][..];
    let grouped = &["groups of 4 3x3", "groups of 8 3x3"][..];
    for (name, methods) in [
        ("cspdarknet53", winograd),
        ("densenet121", winograd),
        ("resnet50", winograd),
        ("cspresnext50", grouped),
        ("resnext50_32x4d", grouped),
    ] {
        let graph = cspnet_zoo::build(name).unwrap();
        let weights = Weights::reference(&graph);
        let [fast, strict] = [false, true].map(|strict| {
            let options = if strict { PlanOptions::strict() } else { PlanOptions::default() };
            Plan::new(&graph, &weights, [3, 64, 64], &options).unwrap()
        });
        assert!(methods.iter().all(|k| kernels(&strict, k) == 0), "{name}");
        let of_each: Vec<usize> = methods.iter().map(|k| kernels(&fast, k)).collect();
        assert!(of_each.iter().all(|&steps| steps > 0), "{name}: {of_each:?} steps by {methods:?}");
        let [fast, strict] = [fast, strict].map(|plan| {
            let mut workspace = plan.workspace(1, 2);
            plan.run(&mut workspace, Input::Real(&x)).unwrap();
            plan.output(&workspace, 0)
        });
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
        let off = norm(&mut fast.iter().zip(&strict).map(|(a, b)| f64::from(*a) - f64::from(*b)));
        let off = off / norm(&mut strict.iter().map(|&v| f64::from(v)));
        assert!(off <= 3e-5, "{name}: logits differ by {off:.1e} of their norm");
    }
}

#[test]
fn wrong_input_is_refused() {
    let graph = turned(16);
    let plan = Plan::new(&graph, &Weights::reference(&graph), PICTURE, &PlanOptions::default()).unwrap();
    let mut workspace = plan.workspace(2, 1);
    assert!(plan.run(&mut workspace, Input::Real(&[0.0; 3])).is_err());
    assert!(plan.run(&mut workspace, Input::Pixels(&[0; 2 * 429])).is_err());
    let options = PlanOptions { taps: vec!["nowhere".into()], ..PlanOptions::default() };
    assert!(Plan::new(&graph, &Weights::reference(&graph), PICTURE, &options).is_err());
    assert!(Plan::new(&graph, &Weights::reference(&graph), [4, 13, 11], &PlanOptions::default()).is_err());
    assert!(Plan::new(&graph, &Weights::reference(&turned(8)), PICTURE, &PlanOptions::default()).is_err());
}

#[test]
fn steps_that_are_timed_give_the_same_bits() {
    let graph = turned(16);
    let weights = Weights::reference(&graph);
    let plan = Plan::new(&graph, &weights, PICTURE, &PlanOptions::default()).unwrap();
    let x = reference_input(2 * PICTURE.iter().product::<usize>());
    let [mut plain, mut timed] = [plan.workspace(2, 2), plan.workspace(2, 2)];
    plan.run(&mut plain, Input::Real(&x)).unwrap();
    let durations = plan.run_timed(&mut timed, Input::Real(&x)).unwrap();
    assert_eq!(durations.len(), plan.report().steps.len());
    assert!((0..2).all(|image| plan.output(&plain, image) == plan.output(&timed, image)));
    assert!(plan.run_timed(&mut timed, Input::Real(&[0.0; 3])).is_err());
}

#[test]
fn a_plan_tells_which_kind_of_pictures_it_takes() {
    let graph = turned(16);
    for (graph, takes_pixels) in [(with_normalise(&graph, &[0.5; 3], &[0.5; 3]).unwrap(), true), (graph, false)] {
        let plan = Plan::new(&graph, &Weights::reference(&graph), PICTURE, &PlanOptions::default()).unwrap();
        assert_eq!(plan.takes_pixels(), takes_pixels);
    }
}
