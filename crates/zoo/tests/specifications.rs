//! What networks there are, what may be chosen of them, and what is told about a choice that is not possible.

use cspnet_zoo::{Spec, ZooError, build, entry, models};

#[test]
fn every_network_takes_its_own_picture_and_other_channels_and_classes() {
    for entry in models() {
        let graph = build(&format!("{}:classes=7,channels=4", entry.name)).unwrap();
        let shapes = graph.shapes([4, entry.input.size, entry.input.size]).unwrap();
        assert_eq!(shapes[graph.output()], [7, 1, 1], "{}", entry.name);
        assert!(entry.paper.starts_with("arXiv:") && !entry.about.is_empty(), "{}", entry.name);
    }
}

#[test]
fn defaults_and_examples_are_values_that_knobs_take() {
    for entry in models() {
        let spelt: Vec<String> = entry.knobs.iter().map(|k| format!("{}={}", k.name, k.default)).collect();
        let spec: Spec = format!("{}:{}", entry.name, spelt.join(",")).parse().unwrap();
        assert_eq!(spec.to_string(), entry.name);
        assert_eq!(spec.build().unwrap(), build(entry.name).unwrap(), "{}", entry.name);
        let example: Spec = entry.example().parse().unwrap();
        assert_eq!(example.to_string(), entry.example(), "every value of an example departs from its default");
        assert_ne!(example, spec);
        assert!(example.build().is_ok(), "{example}");
    }
}

#[test]
fn a_choice_has_one_canonical_form() {
    let canonical = |spec: &str| spec.parse::<Spec>().unwrap().to_string();
    for spelt in [
        "cspdensenet121:gamma=0.25,classes=10,fusion=both",
        "cspdensenet121:classes=010,gamma=.25",
        "cspdensenet121:fusion=both,channels=3,gamma=25e-2,classes=+10",
    ] {
        assert_eq!(canonical(spelt), "cspdensenet121:classes=10,gamma=0.25", "{spelt}");
    }
    assert_eq!("resnet50".parse::<Spec>().unwrap(), "resnet50:classes=1000".parse().unwrap());
    assert_ne!("resnet50".parse::<Spec>().unwrap(), "resnet50:classes=999".parse().unwrap());
    assert_eq!(entry("densenet_bc:depth=40").unwrap().name, "densenet_bc");
}

/// Size, share, filter and mean of timm 1.0.31's default configurations of the default weights.
#[test]
fn pictures_are_prepared_as_the_library_prepares_them() {
    let (imagenet, half) = ([0.485, 0.456, 0.406], [0.5; 3]);
    let published = [
        ("densenet121", 224, 0.875, true, imagenet),
        ("densenet161", 224, 0.875, true, imagenet),
        ("darknet53", 256, 0.887, true, imagenet),
        ("cspdarknet53", 256, 0.887, false, imagenet),
        ("cspresnet50", 256, 0.887, false, imagenet),
        ("cspresnet50d", 256, 0.887, false, imagenet),
        ("cspresnet50w", 256, 0.887, false, imagenet),
        ("cspresnext50", 256, 0.887, false, imagenet),
        ("cs3darknet_s", 256, 0.887, true, imagenet),
        ("cs3darknet_m", 256, 0.887, true, imagenet),
        ("cs3darknet_l", 256, 0.887, true, imagenet),
        ("cs3darknet_x", 256, 0.95, true, imagenet),
        ("cs3darknet_focus_s", 256, 0.887, true, half),
        ("cs3darknet_focus_m", 256, 0.887, true, imagenet),
        ("cs3darknet_focus_x", 256, 0.887, true, imagenet),
        ("resnet50", 224, 0.95, true, imagenet),
        ("resnext50_32x4d", 224, 0.95, true, imagenet),
    ];
    for (name, size, crop_pct, bicubic, mean) in published {
        let input = entry(name).unwrap().input;
        assert_eq!((input.size, input.crop_pct, input.bicubic, input.mean), (size, crop_pct, bicubic, mean), "{name}");
    }
}

#[test]
fn what_is_wrong_with_a_specification_is_told() {
    let told = |spec: &str| build(spec).unwrap_err().to_string();
    assert!(told("densnet121").contains("nearest names are densenet121"));
    assert!(told("resnet50:gamma=0.5").contains("it has classes, channels"));
    assert!(told("csppeleenet:fusion=first").contains("one of both, last"));
    assert!(told("resnet50:classes=0").contains("a whole number from 1 to 65536"));
    assert!(told("densenet_bc:depth=41").contains("4 + 6 n for a whole n, such as 40 or 46"));
    assert!(told("cspdensenet121:gamma=1e-9").contains("0, or at least 0.0156 and below 1"));
    for spec in ["resnet50:classes=65537", "resnet50:channels=-1", "resnet50:channels=1025", "resnet50:classes=1.5"] {
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
    assert!(build("densenet_basic:depth=7,growth=1").is_ok());
    for name in ["densenet_bc", "densenet_basic"] {
        let build = build(&format!("{name}:depth=1000,growth=512"));
        assert!(matches!(build, Err(ZooError::Graph(_))), "{name}: a weight of more than 2^32 numbers");
    }
}
