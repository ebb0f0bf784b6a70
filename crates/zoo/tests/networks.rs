//! Every network against the published libraries' parameter lists and the published counts.

use std::fs;

use cspnet_graph::analysis::Count;
use cspnet_graph::{Graph, Op, Unary};
use cspnet_zoo::{Spec, ZooError, build, entry, models};
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

fn count(spec: &str, size: usize) -> Count {
    Count::of(&build(spec).unwrap(), [3, size, size]).unwrap()
}

/// `n` in units of 1e9, as tables print it.
fn giga(n: u64) -> String {
    format!("{:.3}", n as f64 / 1e9)
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
    assert_eq!(references.len(), 22);
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

#[test]
fn counts_are_the_published_ones() {
    let published: [(&str, usize, usize, &str); 30] = [
        ("densenet121", 224, 7_978_856, "2.834"),
        ("densenet121", 288, 7_978_856, "4.684"),
        ("densenet169", 224, 14_149_480, "3.360"),
        ("densenet201", 224, 20_013_928, "4.291"),
        ("densenet201", 256, 20_013_928, "5.604"),
        ("densenet161", 224, 28_681_000, "7.728"),
        ("densenet264", 224, 33_337_704, "5.752"),
        ("cspresnet50", 256, 21_616_168, "4.517"),
        ("cspresnet50d", 256, 21_635_400, "4.830"),
        ("cspresnet50w", 256, 28_118_216, "5.020"),
        ("cspresnext50", 256, 20_569_896, "4.015"),
        ("cspdarknet53", 256, 27_642_184, "6.534"),
        ("darknet53", 256, 41_609_928, "9.285"),
        ("cs3darknet_s", 256, 3_276_344, "0.712"),
        ("cs3darknet_focus_s", 256, 3_274_728, "0.686"),
        ("cs3darknet_m", 256, 9_310_240, "2.069"),
        ("cs3darknet_focus_m", 256, 9_304_360, "1.973"),
        ("cs3darknet_l", 256, 21_164_168, "4.847"),
        ("cs3darknet_focus_l", 256, 21_151_720, "4.644"),
        ("cs3darknet_x", 256, 35_046_320, "8.355"),
        ("cs3darknet_focus_x", 256, 35_025_000, "8.007"),
        ("densenet_bc", 32, 769_162, "0.288"),
        ("densenet_bc:classes=100", 32, 800_032, "0.288"),
        ("densenet_basic:depth=40", 32, 1_019_722, ""),
        ("densenet_basic:depth=100", 32, 6_979_642, ""),
        ("densenet_basic:depth=100,growth=24", 32, 27_249_082, ""),
        ("densenet_bc:depth=250,growth=24", 32, 15_324_406, ""),
        ("densenet_bc:depth=190,growth=40", 32, 25_624_430, ""),
        ("densenet_bc:depth=40,growth=36", 32, 1_542_682, ""),
        ("densenet_bc:depth=40,growth=60", 32, 4_261_690, ""),
    ];
    for (spec, size, params, macs) in published {
        let count = count(spec, size);
        assert_eq!(count.params(), params, "{spec}");
        assert!(macs.is_empty() || giga(count.macs()) == macs, "{spec}@{size}: {} is not {macs}", giga(count.macs()));
    }
}

#[test]
fn the_arrangements_of_cspdensenet_cost_what_was_counted_for_them() {
    /// A network, an arrangement, and parameters and GMACs for the three gammas.
    type Counted = (&'static str, &'static str, [(usize, &'static str); 3]);
    let counted: [Counted; 6] = [
        ("121", "both", [(9_468_104, "3.287"), (8_570_408, "3.078"), (7_716_232, "2.876")]),
        ("121", "first", [(7_450_536, "2.706"), (6_922_216, "2.577"), (6_393_896, "2.449")]),
        ("121", "last", [(8_131_272, "2.690"), (7_276_584, "2.500"), (6_465_416, "2.317")]),
        ("201", "both", [(24_779_016, "5.180"), (22_420_904, "4.857"), (20_173_896, "4.544")]),
        ("201", "first", [(18_620_328, "4.092"), (17_226_728, "3.893"), (15_833_128, "3.694")]),
        ("201", "last", [(21_302_536, "4.163"), (19_012_008, "3.864"), (16_832_584, "3.575")]),
    ];
    for (size, fusion, points) in counted {
        for (gamma, (params, macs)) in ["0.25", "0.5", "0.75"].into_iter().zip(points) {
            let spec = format!("cspdensenet{size}:gamma={gamma},fusion={fusion}");
            let count = count(&spec, 224);
            assert_eq!((count.params(), giga(count.macs()).as_str()), (params, macs), "{spec}");
        }
    }
}

#[test]
fn csppeleenet_costs_what_the_paper_prints() {
    let table_1 = [("both", ["0.800", "0.888", "0.986"]), ("last", ["0.716", "0.804", "0.902"])];
    for (fusion, flops) in table_1 {
        for (gamma, flops) in ["0.75", "0.5", "0.25"].into_iter().zip(flops) {
            let spec = format!("csppeleenet:gamma={gamma},fusion={fusion}");
            assert_eq!(giga(count(&spec, 224).darknet_flops()), flops, "{spec}");
        }
    }
    for (gamma, macs) in [("0.75", "0.399"), ("0.5", "0.443"), ("0.25", "0.492")] {
        assert_eq!(giga(count(&format!("csppeleenet:gamma={gamma}"), 224).macs()), macs, "gamma {gamma}");
    }
    assert_eq!(giga(count("peleenet", 224).darknet_flops()), "1.017");
}

#[test]
fn every_network_takes_its_own_picture_and_other_channels_and_classes() {
    for entry in models() {
        let graph = build(&format!("{}:classes=7,channels=4", entry.name)).unwrap();
        let shapes = graph.shapes([4, entry.input.size, entry.input.size]).unwrap();
        assert_eq!(shapes[graph.output()], [7, 1, 1], "{}", entry.name);
        let spelt: Vec<String> = entry.knobs.iter().map(|k| format!("{}={}", k.name, k.default)).collect();
        let spelt = format!("{}:{}", entry.name, spelt.join(","));
        assert_eq!(build(&spelt).unwrap(), build(entry.name).unwrap(), "{spelt}");
        assert_eq!(spelt.parse::<Spec>().unwrap().to_string(), spelt);
    }
    assert_eq!(entry("cs3darknet_focus_s").unwrap().input.mean, [0.5; 3]);
    assert_eq!(entry("cspdensenet121:gamma=9").unwrap().name, "cspdensenet121");
}

#[test]
fn what_is_wrong_with_a_specification_is_told() {
    let told = |spec: &str| build(spec).unwrap_err().to_string();
    assert!(told("densnet121").contains("nearest names are densenet121"));
    assert!(told("resnet50:gamma=0.5").contains("it has classes, channels"));
    assert!(told("csppeleenet:fusion=first").contains("one of both, last"));
    assert!(told("densenet_bc:depth=41").contains("4 + 6 n"));
    for spec in ["resnet50:classes=0", "resnet50:classes=65537", "resnet50:channels=-1", "resnet50:channels=1025"] {
        assert!(matches!(build(spec), Err(ZooError::BadValue { .. })), "{spec}");
    }
    for spec in ["resnet50:", "resnet50:classes", "resnet50:classes=5,classes=6", &"x".repeat(1000)] {
        assert!(matches!(build(spec), Err(ZooError::Syntax { .. })), "{spec}");
    }
    for spec in ["densenet_bc:depth=4", "densenet_bc:depth=1006", "densenet_bc:growth=513", "densenet_basic:growth=0"] {
        assert!(matches!(build(spec), Err(ZooError::BadValue { .. })), "{spec}");
    }
    for gamma in ["1", "-0.1", "NaN", "inf", "1e-9", ""] {
        for name in ["cspdensenet121", "csppeleenet"] {
            assert!(matches!(build(&format!("{name}:gamma={gamma}")), Err(ZooError::BadValue { .. })), "{gamma}");
        }
    }
    assert!(build("cspdensenet121:gamma=0").is_ok());
    assert!(build("csppeleenet:gamma=0").is_err());
}

#[test]
fn the_outermost_knobs_build_or_are_refused() {
    for fusion in ["both", "first", "last"] {
        for name in ["cspdensenet121", "cspdensenet161", "cspdensenet264"] {
            assert!(build(&format!("{name}:gamma=0.9999999999999999,fusion={fusion}")).is_ok(), "{name} {fusion}");
        }
    }
    assert!(build("csppeleenet:gamma=0.9999999999999999").is_ok());
    assert!(build("densenet_bc:depth=1000,growth=40").is_ok());
    for name in ["densenet_bc", "densenet_basic"] {
        let build = build(&format!("{name}:depth=1000,growth=512"));
        assert!(matches!(build, Err(ZooError::Graph { .. })), "{name}: a weight of more than 2^32 numbers");
    }
}
