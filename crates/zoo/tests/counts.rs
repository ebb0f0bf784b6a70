//! Every network against the counts that its paper, timm or torchvision print.

use cspnet_graph::analysis::Count;
use cspnet_graph::{Op, Role};
use cspnet_zoo::build;

fn count(spec: &str, size: usize) -> Count {
    Count::of(&build(spec).unwrap(), [3, size, size]).unwrap()
}

/// `n` in units of 1e9, as tables print it.
fn giga(n: u64) -> String {
    format!("{:.3}", n as f64 / 1e9)
}

/// `n` in units of 1e6, as tables print it.
fn mega(n: usize) -> String {
    format!("{:.2}", n as f64 / 1e6)
}

#[test]
fn networks_of_the_libraries_cost_what_is_published() {
    // Picture, parameters, 1e9 multiply-adds, 1e6 outputs of convolutions where they are listed.
    let published: [(&str, usize, usize, &str, &str); 23] = [
        ("densenet121", 224, 7_978_856, "2.834", "6.90"),
        ("densenet121", 288, 7_978_856, "4.684", ""),
        ("densenet169", 224, 14_149_480, "3.360", "7.30"),
        ("densenet201", 224, 20_013_928, "4.291", "7.85"),
        ("densenet201", 256, 20_013_928, "5.604", ""),
        ("densenet161", 224, 28_681_000, "7.728", "11.06"),
        ("densenet264", 224, 33_337_704, "5.752", "8.53"),
        ("cspresnet50", 256, 21_616_168, "4.517", "11.50"),
        ("cspresnet50d", 256, 21_635_400, "4.830", "12.55"),
        ("cspresnet50w", 256, 28_118_216, "5.020", "12.19"),
        ("cspresnext50", 256, 20_569_896, "4.015", "15.86"),
        ("cspdarknet53", 256, 27_642_184, "6.534", "16.81"),
        ("darknet53", 256, 41_609_928, "9.285", "12.39"),
        ("cs3darknet_s", 256, 3_276_344, "0.712", "2.97"),
        ("cs3darknet_focus_s", 256, 3_274_728, "0.686", "2.70"),
        ("cs3darknet_m", 256, 9_310_240, "2.069", "5.28"),
        ("cs3darknet_focus_m", 256, 9_304_360, "1.973", "4.89"),
        ("cs3darknet_l", 256, 21_164_168, "4.847", "8.55"),
        ("cs3darknet_focus_l", 256, 21_151_720, "4.644", "8.03"),
        ("cs3darknet_x", 256, 35_046_320, "8.355", "11.35"),
        ("cs3darknet_focus_x", 256, 35_025_000, "8.007", "10.69"),
        ("resnet50", 224, 25_557_032, "4.089", "11.11"),
        ("resnext50_32x4d", 224, 25_028_904, "4.230", "14.40"),
    ];
    for (spec, size, params, macs, outputs) in published {
        let count = count(spec, size);
        assert_eq!((count.params(), giga(count.macs()).as_str()), (params, macs), "{spec}@{size}");
        let counted = mega(count.conv_activations() as usize);
        assert!(outputs.is_empty() || counted == outputs, "{spec}@{size}: {counted} is not {outputs}");
    }
}

#[test]
fn states_have_as_many_numbers_and_tensors_as_the_published_files() {
    // Channels of normalisations, numbers of the state, its tensors without the counters of batches.
    let published: [(&str, usize, usize, usize); 19] = [
        ("densenet121", 41_824, 8_062_504, 606),
        ("densenet169", 79_200, 14_307_880, 846),
        ("densenet201", 114_528, 20_242_984, 1006),
        ("densenet161", 109_968, 28_900_936, 806),
        ("densenet264", 199_264, 33_736_232, 1326),
        ("cspresnet50", 20_160, 21_656_488, 277),
        ("cspresnet50d", 20_224, 21_675_848, 287),
        ("cspresnet50w", 20_160, 28_158_536, 287),
        ("cspresnext50", 28_736, 20_627_368, 277),
        ("cspdarknet53", 17_664, 27_677_512, 337),
        ("darknet53", 17_856, 41_645_640, 262),
        ("cs3darknet_s", 4_432, 3_285_208, 162),
        ("cs3darknet_focus_s", 4_416, 3_283_560, 157),
        ("cs3darknet_m", 8_472, 9_327_184, 212),
        ("cs3darknet_focus_m", 8_448, 9_321_256, 207),
        ("cs3darknet_l", 14_496, 21_193_160, 282),
        ("cs3darknet_focus_l", 14_464, 21_180_648, 277),
        ("cs3darknet_x", 19_720, 35_085_760, 312),
        ("cs3darknet_focus_x", 19_680, 35_064_360, 307),
    ];
    for (spec, normalised, numbers, tensors) in published {
        let graph = build(spec).unwrap();
        let params = graph.params();
        let channels: usize = params.iter().filter(|p| p.role == Role::NormScale).map(|p| p.len()).sum();
        let state: usize = params.iter().map(|p| p.len()).sum();
        assert_eq!((channels, state, params.len()), (normalised, numbers, tensors), "{spec}");
    }
}

#[test]
fn modules_have_the_published_shares_of_the_parameters() {
    let densenet: [&str; 11] = [
        "features.conv0",
        "features.norm0",
        "features.denseblock1",
        "features.transition1",
        "features.denseblock2",
        "features.transition2",
        "features.denseblock3",
        "features.transition3",
        "features.denseblock4",
        "features.norm5",
        "classifier",
    ];
    let cspnet: [&str; 7] = ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "stages.4", "head"];
    let without_fifth: [&str; 6] = ["stem", "stages.0", "stages.1", "stages.2", "stages.3", "head"];
    let shares: [(&str, &[&str], &[usize]); 12] = [
        (
            "densenet121",
            &densenet,
            &[9_408, 128, 335_040, 33_280, 919_680, 132_096, 2_837_760, 526_336, 2_158_080, 2_048, 1_025_000],
        ),
        (
            "densenet169",
            &densenet,
            &[9_408, 128, 335_040, 33_280, 919_680, 132_096, 4_316_160, 821_760, 5_913_600, 3_328, 1_665_000],
        ),
        (
            "densenet201",
            &densenet,
            &[9_408, 128, 335_040, 33_280, 919_680, 132_096, 8_071_680, 1_609_216, 6_978_560, 3_840, 1_921_000],
        ),
        (
            "densenet161",
            &densenet,
            &[14_112, 192, 751_392, 74_496, 2_061_504, 296_448, 11_548_224, 2_234_496, 9_486_720, 4_416, 2_209_000],
        ),
        (
            "densenet264",
            &densenet,
            &[9_408, 128, 335_040, 33_280, 919_680, 132_096, 12_892_160, 2_658_816, 13_662_720, 5_376, 2_689_000],
        ),
        ("cspresnet50", &without_fifth, &[9_536, 227_840, 1_053_952, 5_913_088, 13_386_752, 1_025_000]),
        ("cspresnext50", &without_fifth, &[9_536, 214_016, 933_376, 4_920_320, 12_443_648, 2_049_000]),
        ("cspresnet50w", &without_fifth, &[28_768, 152_960, 1_262_848, 5_600_768, 19_023_872, 2_049_000]),
        ("cspdarknet53", &cspnet, &[928, 60_224, 193_920, 1_758_976, 7_024_128, 17_579_008, 1_025_000]),
        ("darknet53", &cspnet, &[928, 39_232, 238_592, 2_923_008, 11_678_720, 25_704_448, 1_025_000]),
        ("cs3darknet_l", &without_fifth, &[19_488, 185_728, 1_233_152, 6_893_056, 11_807_744, 1_025_000]),
        ("cs3darknet_x", &without_fifth, &[30_120, 289_760, 2_182_080, 12_817_280, 18_446_080, 1_281_000]),
    ];
    for (spec, modules, expected) in shares {
        let graph = build(spec).unwrap();
        let share = |module: &&str| -> usize {
            let inside = |name: &str| name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'));
            graph.params().iter().filter(|p| p.role.is_trained() && inside(&p.name)).map(|p| p.len()).sum()
        };
        assert_eq!(modules.iter().map(share).collect::<Vec<_>>(), expected, "{spec}");
        assert_eq!(expected.iter().sum::<usize>(), graph.param_count(), "{spec}");
    }
}

#[test]
fn densenets_for_cifar_have_the_papers_sizes() {
    let published: [(&str, usize); 9] = [
        ("densenet_bc", 769_162),
        ("densenet_bc:classes=100", 800_032),
        ("densenet_bc:depth=250,growth=24", 15_324_406),
        ("densenet_bc:depth=190,growth=40", 25_624_430),
        ("densenet_bc:depth=40,growth=36", 1_542_682),
        ("densenet_bc:depth=40,growth=60", 4_261_690),
        ("densenet_basic:depth=40", 1_019_722),
        ("densenet_basic:depth=100", 6_979_642),
        ("densenet_basic:depth=100,growth=24", 27_249_082),
    ];
    for (spec, params) in published {
        assert_eq!(count(spec, 32).params(), params, "{spec}");
    }
    assert_eq!(giga(count("densenet_bc", 32).macs()), "0.288");
}

/// Layers, fusion, and parameters and 1e9 multiply-adds for gamma 0.25, 0.5, 0.75.
type Arrangement = (&'static str, &'static str, [(usize, &'static str); 3]);

#[test]
fn the_arrangements_of_cspdensenet_cost_what_was_counted_for_them() {
    let counted: [Arrangement; 6] = [
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
    let peleenet = count("peleenet", 224);
    assert_eq!([giga(peleenet.flops()), giga(peleenet.darknet_flops())], ["1.016", "1.017"]);
}

/// The papers' tables leave scales and shifts of normalisations out.
#[test]
fn weights_alone_are_what_the_papers_tables_list() {
    let listed = [("peleenet", "2.79"), ("csppeleenet", "2.83"), ("cspdarknet53", "27.61"), ("darknet53", "41.57")];
    for (spec, millions) in listed {
        let graph = build(spec).unwrap();
        let norms = graph.nodes().iter().filter(|n| matches!(n.op, Op::BatchNorm { .. }));
        let normalised: usize = norms.map(|n| graph.channels(n.inputs[0])).sum();
        assert_eq!(mega(graph.param_count() - 2 * normalised), millions, "{spec}");
    }
}
