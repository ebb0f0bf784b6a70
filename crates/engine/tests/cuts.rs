//! Networks cut in two: the part before the cut as a plan for inference, the part behind it learning from what that gives.

mod common;

use common::{CLASSES, PICTURE, random_network};
use cspnet_engine::reference::{Tensor, infer, train};
use cspnet_engine::{Input, Isa, Plan, PlanOptions, TrainPlan};
use cspnet_graph::init::reference_input;
use cspnet_graph::rewrite::{Part, cut, with_loss};
use cspnet_graph::{Graph, ValueId, Weights};

const IMAGES: usize = 2;

fn weights_of(part: &Part, whole: &Weights) -> Weights {
    Weights::new(&part.graph, part.params.iter().map(|&p| whole.get(p).to_vec()).collect()).unwrap()
}

fn check(graph: &Graph, at: ValueId, [before, behind]: &[Part; 2]) {
    let whole = Weights::reference(graph);
    let x = reference_input(IMAGES * PICTURE.iter().product::<usize>());
    let plan = Plan::new(&before.graph, &weights_of(before, &whole), PICTURE, &PlanOptions::default()).unwrap();
    let mut workspace = plan.workspace(IMAGES, 2);
    plan.run(&mut workspace, Input::Real(&x)).unwrap();
    let picture = plan.output_shape();
    let len = picture.iter().product();
    let mut values = vec![0.0; IMAGES * len];
    values.chunks_mut(len).enumerate().for_each(|(image, out)| plan.output_into(&workspace, image, out));

    let path = &graph.node(at).path;
    let exact =
        infer(graph, &whole, &Tensor::<f64>::from_f32([IMAGES, PICTURE[0], PICTURE[1], PICTURE[2]], &x)).unwrap();
    let largest = exact[at].data.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    for (v, e) in values.iter().zip(&exact[at].data) {
        assert!((f64::from(*v) - e).abs() <= 2e-4 * largest, "{path}: {v} for {e}");
    }

    let learning = with_loss(&behind.graph).unwrap();
    let weights = weights_of(behind, &whole);
    let targets: Vec<f32> = (0..IMAGES * CLASSES).map(|i| f32::from(i % (CLASSES + 1) == 0)).collect();
    let [c, h, w] = picture;
    let exact = train(&learning, &weights, &Tensor::<f64>::from_f32([IMAGES, c, h, w], &values), &targets).unwrap();
    let plan = TrainPlan::new(&learning, picture, Isa::detect()).unwrap();
    let mut workspace = plan.workspace(IMAGES, 2);
    let loss = plan.gradients(&mut workspace, &weights, Input::Real(&values), &targets).unwrap();
    assert!((loss - exact.loss).abs() <= 1e-5 * exact.loss, "{path}: {loss} for {}", exact.loss);
    let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let largest = exact.gradients.iter().flatten().map(|g| norm(g)).fold(0.0, f64::max);
    for (id, expected) in exact.gradients.iter().enumerate() {
        let Some(expected) = expected else { continue };
        let off: Vec<f64> = workspace.gradient(id).iter().zip(expected).map(|(&g, e)| f64::from(g) - e).collect();
        let allowed = 2e-3 * norm(expected) + 1e-5 * largest;
        assert!(norm(&off) <= allowed, "{path}, {}: {}", learning.params()[id].name, norm(&off));
    }
}

#[test]
fn random_networks_learn_behind_every_cut() {
    let mut cuts = 0;
    for seed in 0..40 {
        let graph = random_network(seed, 3 + seed as usize % 10);
        for at in 1..graph.nodes().len() {
            if let Ok(parts) = cut(&graph, at) {
                check(&graph, at, &parts);
                cuts += 1;
            }
        }
    }
    assert!(cuts > 200, "{cuts}");
}
