//! The stages of the networks, as their modules tell them.

use cspnet_graph::rewrite::cut;
use cspnet_graph::{stages, stages_of_params};

fn names(network: &str) -> Vec<String> {
    let graph = cspnet_zoo::build(network).unwrap();
    stages(&graph).into_iter().map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn stages_are_those_of_the_papers() {
    assert_eq!(names("cspdarknet53"), ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "stages.4", "head"]);
    assert_eq!(names("cs3darknet_l"), ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "head"]);
    assert_eq!(names("resnet50"), ["layer1", "layer2", "layer3", "layer4"]);
    let dense =
        ["denseblock1", "transition1", "denseblock2", "transition2", "denseblock3"].map(|s| format!("features.{s}"));
    assert_eq!(names("densenet_bc"), dense);
    assert_eq!(names("csppeleenet")[..2], ["features.stemblock", "features.denseblock1"]);
}

#[test]
fn every_network_has_stages_behind_which_it_can_be_cut() {
    for entry in cspnet_zoo::models() {
        let graph = cspnet_zoo::build(entry.name).unwrap();
        let stages = stages(&graph);
        let cuts = stages.iter().filter(|(_, value)| cut(&graph, *value).is_ok()).count();
        assert!(stages.len() >= 4, "{}: {stages:?}", entry.name);
        let at_the_end = stages.iter().filter(|(_, value)| *value == graph.output()).count();
        assert_eq!(cuts + at_the_end, stages.len(), "{}: {stages:?}", entry.name);
        let (of_params, count) = stages_of_params(&graph);
        let classifier = *graph.node(graph.output()).params.last().unwrap();
        assert!(of_params[0] == 0 && of_params[classifier] == count - 1 && count > stages.len() - 1, "{}", entry.name);
    }
}
