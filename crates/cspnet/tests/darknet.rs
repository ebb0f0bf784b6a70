//! A network with the weights that Darknet wrote: it answers as Darknet does, in both ways of computing, and its files go back.

use std::path::PathBuf;

use cspnet::engine::reference::{Tensor, infer};
use cspnet::engine::{Input, Plan, PlanOptions};
use cspnet::formats::darknet::{Header, Network, write};
use cspnet::graph::Weights;
use serde::Deserialize;

/// Probabilities differ by no more; Darknet computes in single precision, and adds 1e-6 to deviations instead of to variances.
const ALLOWED: f64 = 1e-5;

#[derive(Deserialize)]
struct Golden {
    picture: Vec<f32>,
    probabilities: Vec<f64>,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/darknet").join(name)
}

fn network() -> (Network, Weights, Header) {
    let network = Network::read(path("small.cfg")).unwrap();
    let (weights, header) = network.read_weights(path("small.weights")).unwrap();
    (network, weights, header)
}

fn check(way: &str, logits: impl Iterator<Item = f64>, golden: &Golden) {
    let powers: Vec<f64> = logits.map(f64::exp).collect();
    let sum: f64 = powers.iter().sum();
    assert_eq!(powers.len(), golden.probabilities.len());
    for (power, expected) in powers.iter().zip(&golden.probabilities) {
        assert!((power / sum - expected).abs() <= ALLOWED, "{way}: {} for {expected}", power / sum);
    }
}

#[test]
fn it_answers_as_darknet_does() {
    let (network, weights, _) = network();
    let golden: Golden = serde_json::from_slice(&std::fs::read(path("small.json")).unwrap()).unwrap();
    let picture = Tensor::<f64>::from_f32([1, 3, 12, 12], &golden.picture);
    let values = infer(&network.graph, &weights, &picture).unwrap();
    check("interpreter", values[network.graph.output()].data.iter().copied(), &golden);

    let plan = Plan::new(&network.graph, &weights, [3, 12, 12], &PlanOptions::default()).unwrap();
    let mut workspace = plan.workspace(1, 1);
    plan.run(&mut workspace, Input::Real(&golden.picture)).unwrap();
    check("plan", plan.output(&workspace, 0).into_iter().map(f64::from), &golden);
}

#[test]
fn what_darknet_wrote_goes_back_to_the_byte() {
    let (network, weights, header) = network();
    assert_eq!(header, Header { version: [0, 2, 0], seen: 64 });
    let written = write(&network.graph, &weights, network.size, header).unwrap();
    assert_eq!(written.beyond_redmon, [""; 0]);
    assert!(written.weights == std::fs::read(path("small.weights")).unwrap(), "the numbers are others");
    let again = Network::parse(&written.cfg).unwrap();
    let (_, header_again) = again.read_weights_bytes(&written.weights).unwrap();
    assert_eq!(header_again, header);
}
