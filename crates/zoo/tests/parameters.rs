//! Every network against the parameter lists and the reference values of the published libraries.

use std::fs;

use cspnet_graph::{Graph, Init, Op, Role, Unary};
use cspnet_zoo::build;
use serde_json::Value;

type Named = (String, Vec<usize>);

fn golden(file: &str) -> String {
    let path = format!("{}/../../tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn files(folder: &str, extension: &str) -> Vec<String> {
    let path = format!("{}/../../tests/golden/{folder}", env!("CARGO_MANIFEST_DIR"));
    let names = fs::read_dir(path).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    names.filter(|n| n.ends_with(extension)).collect()
}

fn params(graph: &Graph) -> Vec<Named> {
    graph.params().iter().map(|p| (p.name.clone(), p.shape.clone())).collect()
}

#[test]
fn parameters_are_named_shaped_and_ordered_as_the_library_lists_them() {
    let lists = files("keys", ".txt");
    assert_eq!(lists.len(), 20);
    for list in lists {
        let name = list.trim_end_matches(".txt").trim_end_matches("_k32").to_owned();
        let expected: Vec<Named> = golden(&format!("keys/{list}"))
            .lines()
            .map(|line| line.split_once('\t').unwrap())
            .filter(|(key, _)| !key.ends_with("num_batches_tracked"))
            .map(|(key, shape)| (key.to_owned(), shape.split('x').map(|d| d.parse().unwrap()).collect()))
            .collect();
        assert_eq!(params(&build(&name).unwrap()), expected, "{name}");
    }
}

#[test]
fn parameters_and_stages_are_those_of_the_reference_values() {
    let references = files("", ".json");
    assert_eq!(references.len(), 24);
    for file in references {
        let reference: Value = serde_json::from_str(&golden(&file)).unwrap();
        let spec = reference["network"].as_str().unwrap();
        let graph = build(spec).unwrap();
        let expected: Vec<Named> = serde_json::from_value(reference["params"].clone()).unwrap();
        assert_eq!(params(&graph), expected, "{spec}");
        assert_eq!(graph.param_count() as u64, reference["param_count"].as_u64().unwrap(), "{spec}");
        let size = |axis: usize| reference["input"][axis].as_u64().unwrap() as usize;
        let shapes = graph.shapes([size(1), size(2), size(3)]).unwrap();
        for (path, stage) in reference["stages"].as_object().into_iter().flatten() {
            let value = graph.value(path).unwrap_or_else(|| panic!("{spec} has no {path}"));
            let shape: Vec<usize> = serde_json::from_value(stage["shape"].clone()).unwrap();
            assert_eq!(shapes[value][..], shape[1..], "{spec}: {path}");
        }
    }
}

#[test]
fn taps_behind_a_normalisation_are_behind_its_activation() {
    let densenet = build("densenet121").unwrap();
    for tap in ["features.norm0", "features.norm5", "features.denseblock1.denselayer1.norm1"] {
        let node = densenet.node(densenet.value(tap).unwrap());
        assert_eq!(node.op, Op::Unary { function: Unary::Relu }, "{tap}");
    }
    let csp = build("cspresnet50d").unwrap();
    let op = |tap: &str| &csp.node(csp.value(tap).unwrap()).op;
    assert_eq!(*op("stem.conv3"), Op::Unary { function: Unary::LeakyRelu { slope: 0.01 } });
    assert!(matches!(op("stages.0.conv_exp"), Op::BatchNorm { .. }));
}

/// timm zeroes the scale of the normalisation before every sum, and no other.
#[test]
fn residual_units_begin_as_the_identity() {
    let last_of_unit = [
        ("resnet50", ".bn3.weight", 16),
        ("resnext50_32x4d", ".bn3.weight", 16),
        ("cspresnet50", ".conv3.bn.weight", 13),
        ("cspresnext50", ".conv3.bn.weight", 13),
        ("darknet53", ".conv2.bn.weight", 23),
        ("cspdarknet53", ".conv2.bn.weight", 23),
        ("cs3darknet_l", ".conv2.bn.weight", 21),
    ];
    for (network, leaf, units) in last_of_unit {
        let graph = build(network).unwrap();
        let scales = graph.params().iter().filter(|p| p.role == Role::NormScale);
        let zero: Vec<&str> =
            scales.filter(|p| p.init == Init::Constant { value: 0.0 }).map(|p| p.name.as_str()).collect();
        assert_eq!(zero.len(), units, "{network}");
        let in_unit = |name: &str| name.contains("layer") || name.contains(".blocks.");
        assert!(zero.iter().all(|name| name.ends_with(leaf) && in_unit(name)), "{network}: {zero:?}");
    }
}

#[test]
fn weights_begin_as_each_family_published() {
    let init = |network: &str, param: &str| {
        let graph = build(network).unwrap();
        graph.params().iter().find(|p| p.name == param).unwrap_or_else(|| panic!("{network} has no {param}")).init
    };
    let normal = |variance: f32| Init::Normal { std: variance.sqrt() };
    let zero = Init::Constant { value: 0.0 };
    // He et al. with the inputs of a convolution ...
    assert_eq!(init("densenet121", "features.conv0.weight"), normal(2.0 / (3.0 * 49.0)));
    assert_eq!(init("cspdensenet121", "features.denseblock1.transition.conv.weight"), normal(2.0 / 224.0));
    assert_eq!(init("densenet121", "classifier.weight"), Init::Uniform { bound: 1.0 / 32.0 });
    assert_eq!(init("densenet121", "classifier.bias"), zero);
    // ... or with its outputs.
    assert_eq!(init("cspresnet50", "stem.conv1.conv.weight"), normal(2.0 / (64.0 * 49.0)));
    assert_eq!(init("cspresnext50", "stages.0.blocks.0.conv2.conv.weight"), normal(2.0 / (128.0 * 9.0)));
    assert_eq!(init("cspdarknet53", "head.fc.weight"), Init::Normal { std: 0.01 });
    assert_eq!(init("cspdarknet53", "head.fc.bias"), zero);
    assert_eq!(init("resnet50", "conv1.weight"), normal(2.0 / (64.0 * 49.0)));
    assert_eq!(init("resnet50", "fc.bias"), Init::Uniform { bound: (1.0_f32 / 2048.0).sqrt() });
    // Glorot and Bengio with both.
    let stem = init("peleenet", "features.stemblock.stem1.conv.weight");
    assert_eq!(stem, Init::Uniform { bound: (6.0_f32 / (27.0 + 32.0 * 9.0)).sqrt() });
}
