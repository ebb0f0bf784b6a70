//! The network of a model file, compiled and run: small ones, for a graph may ask for any amount of work.
#![no_main]

use cspnet_engine::{Input, Plan, PlanOptions};
use cspnet_formats::Manifest;
use cspnet_fuzz::seeds;
use cspnet_graph::{Graph, Shape, Weights};
use libfuzzer_sys::fuzz_target;

/// Most numbers of a network's parameters, and of its values.
const FEW: usize = 1 << 17;

/// Whether a network is small for a picture.
fn is_small(graph: &Graph, picture: Shape) -> bool {
    let params = graph.params().iter().map(|p| p.len()).fold(0, usize::saturating_add);
    let values =
        graph.shapes(picture).map(|shapes| shapes.iter().map(|s| s.iter().product()).fold(0, usize::saturating_add));
    params <= FEW && values.is_ok_and(|values| values <= FEW)
}

fuzz_target!(init: seeds::plant("plan", seeds::manifests()), |data: &[u8]| {
    let Ok(Manifest { graph, .. }) = serde_json::from_slice(data) else { return };
    if graph.inputs().len() != 1 {
        return;
    }
    let picture = [graph.input_channels(), 24, 20];
    if !is_small(&graph, picture) {
        return;
    }
    let count = picture.iter().product();
    let (weights, real, pixels) = (Weights::reference(&graph), vec![0.5; count], vec![128; count]);
    let answers: Vec<Vec<f32>> = [PlanOptions::default(), PlanOptions::strict()]
        .into_iter()
        .filter_map(|options| {
            let plan = Plan::new(&graph, &weights, picture, &options).ok()?;
            let mut workspace = plan.workspace(1, 1);
            let input = if plan.takes_pixels() { Input::Pixels(&pixels) } else { Input::Real(&real) };
            plan.run(&mut workspace, input).expect("a picture of the plan's size");
            Some(plan.output(&workspace, 0))
        })
        .collect();
    // Both are made, or none.
    let lengths: Vec<usize> = answers.iter().map(Vec::len).collect();
    assert!(matches!(lengths[..], []) || matches!(lengths[..], [a, b] if a == b), "answers of lengths {lengths:?}");
});
