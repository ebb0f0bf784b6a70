//! Networks whose first convolution reads the picture itself.

use cspnet_engine::{Input, Plan, PlanOptions};
use cspnet_graph::init::reference_input;
use cspnet_graph::rewrite::with_normalise;
use cspnet_graph::{Builder, Conv, Graph, Weights};

const PICTURE: [usize; 3] = [3, 64, 48];
const NUMBERS: usize = 3 * 64 * 48;

fn plan(graph: &Graph, strict: bool) -> Plan {
    let options = PlanOptions { strict, ..PlanOptions::default() };
    Plan::new(graph, &Weights::reference(graph), PICTURE, &options).unwrap()
}

fn answers(plan: &Plan, images: usize, threads: usize, input: Input<'_>) -> Vec<Vec<f32>> {
    let mut workspace = plan.workspace(images, threads);
    plan.run(&mut workspace, input).unwrap();
    (0..images).map(|image| plan.output(&workspace, image)).collect()
}

fn first_kernel(plan: &Plan) -> &str {
    &plan.report().steps[0].kernel
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
    let off = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    off / norm(&mut b.iter().map(|&v| f64::from(v)))
}

#[test]
fn bytes_and_numbers_give_the_answers_of_a_strict_plan() {
    let bytes: Vec<u8> = (0..2 * NUMBERS).map(|i| (i * 7919 % 256) as u8).collect();
    let numbers = reference_input(2 * NUMBERS);
    for (name, expected) in [
        ("resnet50", "stem 7x7, pool"),
        ("densenet121", "stem 7x7, pool"),
        ("cspdarknet53", "stem 3x3"),
        ("peleenet", "stem 3x3"),
        ("densenet_bc:depth=22,growth=12", "stem 3x3"),
    ] {
        let graph = cspnet_zoo::build(name).unwrap();
        let normalised = with_normalise(&graph, &[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]).unwrap();
        for (graph, input) in [(&normalised, Input::Pixels(&bytes)), (&graph, Input::Real(&numbers))] {
            let [fast, strict] = [false, true].map(|strict| plan(graph, strict));
            assert!(first_kernel(&fast).contains(expected), "{name}: {}", first_kernel(&fast));
            assert!(!first_kernel(&strict).contains("stem"), "{name}: {}", first_kernel(&strict));
            assert_eq!(fast.takes_pixels(), matches!(input, Input::Pixels(_)));
            let exact = answers(&strict, 2, 1, input);
            let got = answers(&fast, 2, 1, input);
            let off = got.iter().zip(&exact).map(|(a, b)| distance(a, b)).fold(0.0, f64::max);
            assert!(off <= 3e-5, "{name}: logits differ by {off:.1e} of their norm");
            assert!(answers(&fast, 2, 3, input) == got, "{name}: threads give other bits");
        }
    }
}

#[test]
fn what_is_to_be_seen_is_stored() {
    let graph = cspnet_zoo::build("resnet50").unwrap();
    let weights = Weights::reference(&graph);
    let numbers = reference_input(NUMBERS);
    let tapped = |strict: bool| {
        let options = PlanOptions { strict, taps: vec!["act1".into()], ..PlanOptions::default() };
        let plan = Plan::new(&graph, &weights, PICTURE, &options).unwrap();
        let mut workspace = plan.workspace(1, 1);
        plan.run(&mut workspace, Input::Real(&numbers)).unwrap();
        (first_kernel(&plan).to_string(), plan.tap(&workspace, "act1", 0).unwrap())
    };
    let [(kernel, got), (_, exact)] = [false, true].map(tapped);
    assert!(kernel.contains("stem 7x7") && !kernel.contains("pool"), "{kernel}");
    let off = distance(&got, &exact);
    assert!(off <= 1e-6, "the tapped value differs by {off:.1e} of its norm");
}

#[test]
fn a_picture_with_other_readers_or_other_channels_is_imported() {
    let mut b = Builder::new();
    let picture = b.input(3);
    let [left, right] = ["left", "right"].map(|name| b.conv(name, picture, Conv::new(8, 3)));
    let sum = b.add("sum", left, right);
    let two_readers = b.finish(sum).unwrap();
    let four_channels = cspnet_zoo::build("resnet50:channels=4").unwrap();
    for (graph, channels) in [(two_readers, 3), (four_channels, 4)] {
        let weights = Weights::reference(&graph);
        let plan = Plan::new(&graph, &weights, [channels, 32, 32], &PlanOptions::default()).unwrap();
        assert_eq!(first_kernel(&plan), "import");
    }
}
