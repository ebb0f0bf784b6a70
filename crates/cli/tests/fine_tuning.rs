//! `cspnet train --from` and its kin as a user meets them: what is taken from a model, what stays as it is, and runs that go on.

mod common;
#[path = "common/killing.rs"]
mod killing;
#[path = "common/outcome.rs"]
mod outcome;
#[path = "common/stripes.rs"]
mod stripes;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{cspnet, run, text};
use cspnet_formats::{ModelFile, StateFile};
use killing::{CHECKPOINTS, kill_at};
use outcome::Outcome;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stripes::striped;
use tempfile::TempDir;

const NETWORK: &str = "densenet_bc:depth=10,growth=4";

/// Folders of photos, runs, and a model `base` of photos striped along and across.
struct Workshop(TempDir);

impl Workshop {
    fn new() -> Self {
        let workshop = Self(tempfile::tempdir().unwrap());
        workshop.photos("data", ["across", "along"]);
        let output = workshop.train("base", "data", &format!("--network {NETWORK} --size 16")).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        workshop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A folder with photos of two classes.
    fn photos(&self, data: &str, classes: [&str; 2]) {
        self.numbered_photos(data, classes, [0..12, 12..16]);
    }

    /// The same with so many to learn from and to judge by.
    fn numbered_photos(&self, data: &str, classes: [&str; 2], [train, validation]: [Range<usize>; 2]) {
        for (split, photos) in [("train", train), ("validation", validation)] {
            for (along, class) in classes.iter().enumerate() {
                let folder = self.path(&format!("{data}/{split}/{class}"));
                fs::create_dir_all(&folder).unwrap();
                photos.clone().for_each(|i| {
                    fs::write(folder.join(format!("{i}.bmp")), striped(along == 1, i)).unwrap();
                });
            }
        }
    }

    /// The command that begins a run of three epochs.
    fn train(&self, name: &str, data: &str, flags: &str) -> Command {
        let mut command = cspnet(&["train", "--batch-size", "5", "--threads", "2", "--seed", "3", "--out"]);
        command.arg(self.path(name)).arg(self.path(data)).args(flags.split_whitespace());
        if !flags.contains("--epochs") {
            command.args(["--epochs", "3"]);
        }
        command
    }

    /// The command that begins a run from the model.
    fn tune(&self, name: &str, data: &str, flags: &str) -> Command {
        let mut command = self.train(name, data, flags);
        command.arg("--from").arg(self.path("base/best.safetensors"));
        command
    }

    /// What a run says that comes to its end.
    fn finish(&self, command: &mut Command) -> String {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    fn resume(&self, name: &str) -> Command {
        let mut command = cspnet(&["resume", "--threads", "3"]);
        command.arg(self.path(name));
        command
    }

    fn model(&self, name: &str) -> ModelFile {
        ModelFile::read(self.path(name)).unwrap()
    }

    /// A file of a run as JSON.
    fn config(&self, run: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(run).join("config.json")).unwrap()).unwrap()
    }
}

/// Bits of all tensors by name.
fn bits(model: &ModelFile) -> BTreeMap<String, Vec<u32>> {
    let params = model.manifest.graph.params().iter().zip(model.weights.tensors());
    params.map(|(p, numbers)| (p.name.clone(), numbers.iter().map(|v| v.to_bits()).collect())).collect()
}

/// The column `val_loss` of a run's measurements, as it is written.
fn losses(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("metrics.csv")).unwrap();
    text.lines().skip(1).map(|line| line.split(',').nth(4).unwrap().to_owned()).collect()
}

#[test]
fn a_classifier_of_other_classes_begins_anew_and_of_the_same_is_kept() {
    let workshop = Workshop::new();
    workshop.photos("other", ["flat", "steep"]);
    let told = workshop.finish(&mut workshop.tune("run", "other", ""));
    assert!(told.contains("; re-initialised: classifier.weight, classifier.bias\n"), "{told}");
    let config = workshop.config("run");
    let base = workshop.model("base/best.safetensors");
    assert_eq!(config["begun_from"]["hash"], base.hash().unwrap());
    assert_eq!(
        (&config["network"], &config["preprocess"]["size"][0]),
        (&workshop.config("base")["network"], &16.into())
    );
    let model = workshop.model("run/last.safetensors");
    assert_eq!(model.manifest.labels, ["flat", "steep"]);
    assert_eq!(model.manifest.training["begun_from"], base.hash().unwrap());
    let told = workshop.finish(&mut workshop.tune("same", "data", "--size 24"));
    assert!(!told.contains("re-initialised"), "{told}");
    assert_eq!(workshop.config("same")["preprocess"]["size"], serde_json::json!([24, 24]));
}

#[test]
fn what_is_frozen_keeps_every_bit() {
    let workshop = Workshop::new();
    let stage = "features.denseblock2";
    let begun = bits(&workshop.model("base/best.safetensors"));
    let is_frozen = |name: &str| {
        ["conv0", "denseblock1", "transition1", "denseblock2"]
            .iter()
            .any(|s| name.starts_with(&format!("features.{s}.")))
    };
    for (name, flags) in [("plain", ""), ("clipped", "--optimizer adamw --clip-grad 1 --drop 0.1 --proj-drop 0.1")] {
        let told = workshop.finish(&mut workshop.tune(name, "data", &format!("--freeze-to {stage} {flags}")));
        let frozen = begun.keys().filter(|name| is_frozen(name)).count();
        assert!(told.contains(&format!("; {frozen} of them stay as they are")), "{told}");
        for model in ["last", "best"] {
            let after = bits(&workshop.model(&format!("{name}/{model}.safetensors")));
            for (tensor, numbers) in &begun {
                assert_eq!(after[tensor] == *numbers, is_frozen(tensor), "{tensor} of {name}");
            }
        }
        let newest = fs::read_dir(workshop.path(name).join("checkpoints")).unwrap().map(|e| e.unwrap().path()).max();
        let state = StateFile::read(newest.unwrap()).unwrap();
        for (tensor, numbers) in begun.iter().filter(|(tensor, _)| is_frozen(tensor)) {
            let kept: Vec<u32> = state.tensors[&format!("weights/{tensor}")].iter().map(|v| v.to_bits()).collect();
            assert_eq!(kept, *numbers, "{tensor}");
        }
    }
}

#[test]
fn the_rate_of_stages_far_from_the_classifier_is_smaller() {
    let workshop = Workshop::new();
    let begun = bits(&workshop.model("base/best.safetensors"));
    let moved = |name: &str, flags: &str| {
        workshop.finish(&mut workshop.tune(name, "data", &format!("--lr 0.02 --warmup-epochs 0 {flags}")));
        let after = bits(&workshop.model(&format!("{name}/last.safetensors")));
        move |tensor: &str, begun: &BTreeMap<String, Vec<u32>>| -> f32 {
            let pairs = after[tensor].iter().zip(&begun[tensor]);
            pairs.map(|(a, b)| (f32::from_bits(*a) - f32::from_bits(*b)).abs()).sum()
        }
    };
    let (plain, decayed, same) =
        (moved("plain", ""), moved("decayed", "--layer-decay 0.1"), moved("same", "--layer-decay 1"));
    let share = |tensor: &str| decayed(tensor, &begun) / plain(tensor, &begun);
    assert!(share("features.conv0.weight") < 0.01, "{}", share("features.conv0.weight"));
    assert!(share("classifier.weight") > 0.3, "{}", share("classifier.weight"));
    assert_eq!(same("features.conv0.weight", &begun), plain("features.conv0.weight", &begun));
}

/// Flags of fine-tuning, each with the number of a moment in writing the last checkpoints.
const TUNED: [(&str, u32); 3] = [
    ("--layer-decay 0.75", 13),
    ("--freeze-to features.transition1 --optimizer adamw --grad-accum-steps 2", 13),
    ("--head-only", 8),
];

#[test]
fn a_run_from_a_model_goes_on_without_it_as_if_it_had_not_been_killed() {
    let workshop = Workshop::new();
    for (i, (flags, point)) in TUNED.iter().enumerate() {
        let (whole, killed) = (format!("whole-{i}"), format!("killed-{i}"));
        workshop.finish(&mut workshop.tune(&whole, "data", flags));
        kill_at(&mut workshop.tune(&killed, "data", flags), CHECKPOINTS, *point);
        let model = workshop.path("base/best.safetensors");
        fs::rename(&model, workshop.path("away")).unwrap();
        workshop.finish(&mut workshop.resume(&killed));
        fs::rename(workshop.path("away"), &model).unwrap();
        assert!(Outcome::of(&workshop.path(&killed)) == Outcome::of(&workshop.path(&whole)), "{flags} ended otherwise");
    }
}

#[test]
fn a_classifier_alone_is_trained_and_names_what_it_has_learnt() {
    let workshop = Workshop::new();
    workshop.photos("other", ["flat", "steep"]);
    let begun = bits(&workshop.model("base/best.safetensors"));
    let told = workshop.finish(&mut workshop.tune("run", "other", "--head-only --epochs 200"));
    assert!(told.contains("features of 32 photos") && told.contains("epoch 200/200"), "{told}");
    let after = bits(&workshop.model("run/best.safetensors"));
    for (tensor, numbers) in &begun {
        assert_eq!(after[tensor] == *numbers, !tensor.starts_with("classifier."), "{tensor}");
    }
    let [model, data] = ["run/best.safetensors", "other"].map(|p| workshop.path(p).to_str().unwrap().to_owned());
    let named = run(&["predict", "--model", &model, &format!("{data}/validation/flat/12.bmp")]);
    assert!(text(&named.stdout).contains("flat"), "{}", text(&named.stdout));
    // Stopped in the middle, and continued with other threads.
    let mut command = workshop.tune("stopped", "other", "--head-only --epochs 200");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("epoch 20/200")));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    lines.for_each(drop);
    child.wait().unwrap();
    workshop.finish(&mut workshop.resume("stopped"));
    assert!(Outcome::of(&workshop.path("stopped")) == Outcome::of(&workshop.path("run")));
}

#[test]
fn signals_end_what_computes_features_before_they_are_complete() {
    let workshop = Workshop::new();
    // So many, for a network so large, that a signal comes before the end.
    workshop.numbered_photos("many", ["flat", "steep"], [0..150, 150..152]);
    let flags = "--head-only --size 160 --epochs 2";
    let ended_by = |command: &mut Command, signal: Signal| {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "computing what the network makes of 304 photos, once"));
        kill_process(Pid::from_child(&child), signal).unwrap();
        let rest: Vec<String> = lines.collect();
        (child.wait().unwrap().code(), rest)
    };
    let picture = workshop.path("lr.svg");
    let (code, rest) = ended_by(workshop.train("run", "many", flags).arg("--find-lr").arg(&picture), Signal::INT);
    assert_eq!(
        (code, &rest[..]),
        (Some(130), &["stopped; no learning rate was found, and no run begun".to_owned()][..])
    );
    assert!(!picture.exists() && !workshop.path("run").exists());
    let (code, rest) = ended_by(&mut workshop.train("run", "many", flags), Signal::INT);
    assert_eq!(code, Some(130));
    let [line] = &rest[..] else { panic!("{rest:?}") };
    assert!(line.starts_with("stopped; `cspnet resume ") && line.ends_with("` continues the run"), "{line}");
    let told = workshop.finish(&mut workshop.resume("run"));
    assert!(told.contains("features of 304 photos") && told.contains("epoch 2/2"), "{told}");
}

#[test]
fn what_goes_on_from_a_model_does_so_at_a_tenth_of_the_rate() {
    let workshop = Workshop::new();
    let sgd = 0.1 * 5.0 / 64.0;
    let cases = [
        (
            "--network densenet_bc:depth=10,growth=4 --size 16 --whiten-stem --freeze-to features.conv0",
            false,
            sgd,
            "the default",
        ),
        ("--head-only", true, sgd, "the default"),
        // There are no more photos for a step.
        ("--head-only --grad-accum-steps 100", true, 4.0 * sgd, "the default for steps of 20 photos"),
        ("", true, sgd / 10.0, "a tenth of the default"),
        ("--freeze-to features.transition1", true, sgd / 10.0, "a tenth of the default"),
        ("--optimizer adamw", true, 0.004 * (5.0_f64 / 4096.0).sqrt() / 10.0, "a tenth of the default"),
    ];
    for (i, (flags, is_tuned, lr, reason)) in cases.into_iter().enumerate() {
        let (name, flags) = (format!("run-{i}"), format!("{flags} --epochs 1"));
        let begin = if is_tuned { Workshop::tune } else { Workshop::train };
        let told = workshop.finish(&mut begin(&workshop, &name, "data", &flags));
        assert!(told.contains(&format!("learning rate {lr:.2e}: {reason}")), "{flags}: {told}");
        let kept = workshop.config(&name)["recipe"]["lr"].as_f64().unwrap();
        assert!((kept / lr - 1.0).abs() < 1e-12, "{flags}: {kept}");
    }
    let told = workshop.finish(&mut workshop.tune("asked", "data", "--lr 0.02 --epochs 1"));
    assert!(!told.contains("learning rate"), "{told}");
    assert_eq!(workshop.config("asked")["recipe"]["lr"], 0.02);
}

#[test]
fn features_are_judged_as_the_whole_network_is() {
    let workshop = Workshop::new();
    workshop.photos("other", ["flat", "steep"]);
    // Nothing is learnt, so both judge the same weights, the one by kept features, the other by the network.
    let still = "--lr 0 --epochs 2 --mixup 0";
    workshop.finish(&mut workshop.tune("network", "other", &format!("--freeze-to global_pool {still}")));
    workshop.finish(&mut workshop.tune("features", "other", "--head-only --lr 0 --epochs 2"));
    let losses = ["network", "features"].map(|run| losses(&workshop.path(run)));
    assert!(losses[0].len() == 2 && losses[0] == losses[1], "{losses:?}");
}

#[test]
fn a_stem_that_whitens_needs_no_model_and_stays_so() {
    let workshop = Workshop::new();
    let flags = format!("--network {NETWORK} --size 16 --whiten-stem");
    let stem = |name: &str, flags: &str| {
        workshop.finish(&mut workshop.train(name, "data", flags));
        let model = workshop.model(&format!("{name}/last.safetensors"));
        let weight = model.manifest.graph.params().iter().position(|p| p.name == "features.conv0.weight").unwrap();
        model.weights.get(weight).to_vec()
    };
    let frozen = stem("frozen", &format!("{flags} --freeze-to features.conv0"));
    let (plus, minus) = frozen.split_at(4 * 27);
    assert!(plus.iter().zip(minus).all(|(a, b)| *a == -b), "eight filters are four and their negatives");
    assert!(plus.chunks(27).all(|filter| filter.iter().any(|&a| a != 0.0)));
    assert_eq!(stem("one", &format!("{flags} --freeze-to features.conv0 --epochs 1")), frozen);
    assert_ne!(stem("free", &flags), frozen);
    let refused = |flags: &str| {
        let output = workshop.train("refused", "data", flags).output().unwrap();
        assert!(!output.status.success());
        text(&output.stderr)
    };
    let error = refused(&format!("{flags} --freeze-to features.denseblock1"));
    assert!(error.contains("would stay as drawn at random"), "{error}");
    let error = refused(&format!("{flags} --from"));
    assert!(error.contains("--whiten-stem") && error.contains("--from"), "{error}");
}

#[test]
fn what_cannot_begin_says_why() {
    let workshop = Workshop::new();
    let refused = |command: &mut Command, code: i32| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stdout));
        text(&output.stderr)
    };
    let tune = |flags: &str| workshop.tune("run", "data", flags);
    let error = refused(&mut tune("--network csppeleenet --size 32"), 1);
    assert!(error.contains("of the network's") && error.contains("--allow-partial"), "{error}");
    let error = refused(&mut tune("--freeze-to layer2"), 1);
    assert!(error.contains("`layer2`") && error.contains("features.denseblock1, features.transition1"), "{error}");
    let error = refused(&mut tune("--freeze-to features.denseblock1.denselayer1.conv1"), 1);
    assert!(error.contains("also reads"), "{error}");
    let error = refused(&mut tune("--freeze-to classifier"), 1);
    assert!(error.contains("nothing comes after"), "{error}");
    let error = refused(&mut tune("--layer-decay 0"), 1);
    assert!(error.contains("--layer-decay must be above 0"), "{error}");
    let error = refused(workshop.train("run", "data", "").arg("--from").arg(workshop.path("no.safetensors")), 1);
    assert!(error.contains("no.safetensors: cannot be read"), "{error}");
    let error = refused(&mut tune("--class-weights auto --balanced-sampling"), 1);
    assert!(error.contains("leave out one"), "{error}");
    for flag in ["--mixup 0.2", "--aa rand-m9", "--reprob 0.1", "--train-size 16", "--freeze-to features.denseblock1"] {
        let error = refused(&mut tune(&format!("--head-only {flag}")), 2);
        assert!(error.contains("--head-only") && error.contains(flag.split(' ').next().unwrap()), "{error}");
    }
    assert!(!workshop.path("run").exists());
    let told = workshop.finish(&mut tune("--network csppeleenet --size 32 --epochs 1 --allow-partial"));
    assert!(told.contains("and") && told.contains("more; left over: "), "{told}");
    // A head that has learnt nothing is no result.
    let error = refused(&mut workshop.tune("hasty", "data", "--head-only --time-budget 0.001s"), 1);
    assert!(error.contains("nothing is left of --time-budget"), "{error}");
}
