//! Plans whose algorithms are measured, or given.

use cspnet_engine::{Algorithm, Choices, Input, Plan, PlanOptions};
use cspnet_graph::init::reference_input;
use cspnet_graph::{Builder, Conv, Graph, Unary, Weights};

const PICTURE: [usize; 3] = [3, 32, 32];

/// Two equal convolutions, one of stride 2, and some that have no choice.
fn network() -> Graph {
    let mut b = Builder::new();
    let x = b.input(3);
    let mut x = b.conv("stem", x, Conv::new(32, 3));
    for (name, conv) in [("a", Conv::new(32, 3)), ("b", Conv::new(32, 3)), ("down", Conv::new(48, 3).stride(2))] {
        x = b.conv(name, x, conv);
        x = b.unary(&format!("{name}.act"), x, Unary::Relu);
    }
    let x = b.conv("pointwise", x, Conv::new(16, 1));
    let x = b.global_avg_pool("pool", x);
    b.finish(x).unwrap()
}

fn plan(graph: &Graph, picture: [usize; 3], options: &PlanOptions) -> Plan {
    Plan::new(graph, &Weights::reference(graph), picture, options).unwrap()
}

fn tuned(graph: &Graph, picture: [usize; 3], known: Choices) -> Plan {
    plan(graph, picture, &PlanOptions { tune: Some(known), ..PlanOptions::default() })
}

/// Every layer of a table, by one algorithm.
fn all(choices: &Choices, algorithm: Algorithm) -> Choices {
    choices.iter().map(|(name, _)| (name.to_owned(), algorithm)).collect()
}

fn kernel(plan: &Plan, node: &str) -> String {
    plan.report().steps.iter().find(|s| s.nodes.iter().any(|n| n == node)).unwrap().kernel.clone()
}

fn answer(plan: &Plan, images: usize, threads: usize) -> Vec<f32> {
    let mut workspace = plan.workspace(images, threads);
    let x = reference_input(images * plan.picture().iter().product::<usize>());
    plan.run(&mut workspace, Input::Real(&x)).unwrap();
    plan.output(&workspace, 0)
}

#[test]
fn layers_are_computed_as_the_table_says() {
    let graph = network();
    let by_model = plan(&graph, PICTURE, &PlanOptions::default()).choices().clone();
    assert_eq!(by_model.iter().count(), 2, "equal layers have one name: {by_model:?}");
    for (algorithm, begins) in [
        (Algorithm::Direct, "conv 3x3"),
        (Algorithm::Winograd2, "winograd 2x2 3x3"),
        (Algorithm::Winograd4, "winograd 4x4 3x3"),
    ] {
        let table = all(&by_model, algorithm);
        let plan = tuned(&graph, PICTURE, table.clone());
        assert_eq!(*plan.choices(), table);
        for node in ["a", "b", "down"] {
            assert!(kernel(&plan, node).starts_with(begins), "{node}: {}", kernel(&plan, node));
        }
        assert!(kernel(&plan, "stem").contains("stem"), "{}", kernel(&plan, "stem"));
        assert!(kernel(&plan, "pointwise").starts_with("conv 1x1"));
    }
}

#[test]
fn what_was_measured_gives_the_same_bits_when_it_is_given_again() {
    let graph = network();
    let measured = tuned(&graph, PICTURE, Choices::default());
    let again = tuned(&graph, PICTURE, measured.choices().clone());
    assert_eq!(measured.choices(), again.choices());
    assert_eq!(measured.report(), again.report());
    assert_eq!(answer(&measured, 1, 1), answer(&again, 3, 2));
}

#[test]
fn a_table_of_other_layers_is_measured_anew_and_a_part_is_kept() {
    let graph = network();
    let by_model = plan(&graph, PICTURE, &PlanOptions::default()).choices().clone();
    let (name, _) = by_model.iter().next().unwrap();
    let part = [(name.to_owned(), Algorithm::Direct), ("of another network".to_owned(), Algorithm::Winograd4)];
    let plan = tuned(&graph, PICTURE, part.into_iter().collect());
    assert_eq!(plan.choices().get(name), Some(Algorithm::Direct));
    assert!(plan.choices().iter().map(|(name, _)| name).eq(by_model.iter().map(|(name, _)| name)));
}

#[test]
fn where_only_direct_convolutions_are_allowed_no_table_changes_that() {
    let graph = network();
    let by_model = plan(&graph, PICTURE, &PlanOptions::default()).choices().clone();
    let tune = Some(all(&by_model, Algorithm::Winograd4));
    for direct in [PlanOptions::strict(), PlanOptions { low_memory: true, ..PlanOptions::default() }] {
        let options = PlanOptions { tune: tune.clone(), ..direct };
        let plan = plan(&graph, PICTURE, &options);
        assert!(kernel(&plan, "a").starts_with("conv 3x3"), "{}", kernel(&plan, "a"));
    }
}

#[test]
fn every_choice_is_near_the_strict_plan() {
    for name in ["cspdarknet53:classes=10", "densenet121:classes=10", "resnet50:classes=10"] {
        let graph = cspnet_zoo::build(name).unwrap();
        let picture = [3, 64, 64];
        let strict = answer(&plan(&graph, picture, &PlanOptions::strict()), 1, 2);
        let by_model = plan(&graph, picture, &PlanOptions::default()).choices().clone();
        for algorithm in Algorithm::ALL {
            let answer = answer(&tuned(&graph, picture, all(&by_model, algorithm)), 1, 2);
            let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
            let off = norm(&mut answer.iter().zip(&strict).map(|(a, b)| f64::from(*a) - f64::from(*b)));
            let off = off / norm(&mut strict.iter().map(|&v| f64::from(v)));
            assert!(off <= 3e-5, "{name}, all {algorithm}: logits differ by {off:.1e} of their norm");
        }
    }
}
