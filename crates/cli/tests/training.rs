//! `cspnet train` and `cspnet resume` as a user meets them: runs end the same whether or not, and whenever, they are killed.

mod common;
#[path = "common/killing.rs"]
mod killing;
#[path = "common/outcome.rs"]
mod outcome;
#[path = "common/stripes.rs"]
mod stripes;
#[path = "common/workshop.rs"]
mod workshop;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{cspnet, run, text};
use cspnet::engine::TileUnit;
use killing::{CHECKPOINTS, kill_at, waiting_at};
use outcome::Outcome;
use rustix::process::{Pid, Signal, kill_process};
use stripes::striped;
use workshop::{EPOCHS, Workshop};

fn terminate(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn code(status: ExitStatus) -> Option<i32> {
    status.code()
}

/// Kills a run at so many moments, spread over it in an order that has nothing to do with what happens in it.
fn kill_at_moments(moments: u32) {
    let workshop = Workshop::new();
    let begin = Instant::now();
    let expected = workshop.finish("whole");
    let whole = begin.elapsed();
    assert_eq!(workshop.finish("again"), expected, "the same command gives the same model");
    for i in 0..moments {
        let name = format!("killed-{i}");
        let mut child = workshop.train(&name).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(whole * ((i * 11) % moments) / moments);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(workshop.finish(&name) == expected, "{name} ended otherwise");
        fs::remove_dir_all(workshop.path(&name)).unwrap();
    }
}

#[test]
fn a_run_that_is_killed_at_any_moment_ends_as_if_it_had_not_been() {
    kill_at_moments(30);
}

/// To be run by hand, when something of how runs are kept has changed.
#[test]
#[ignore = "takes minutes"]
fn a_run_that_is_killed_at_two_hundred_moments_ends_as_if_it_had_not_been() {
    kill_at_moments(200);
}

#[test]
fn a_run_that_is_killed_at_any_step_of_writing_a_checkpoint_ends_as_if_it_had_not_been() {
    let workshop = Workshop::new();
    let expected = workshop.finish("whole");
    let points = 6 * (1 + EPOCHS);
    for point in 0..points {
        let name = format!("killed-{point}");
        kill_at(&mut workshop.train(&name), CHECKPOINTS, point);
        assert!(workshop.finish(&name) == expected, "killed at point {point}");
        let left: Vec<_> = fs::read_dir(workshop.path(&name).join("checkpoints")).unwrap().collect();
        assert_eq!(left.len(), 2, "the last two checkpoints are kept and nothing else: {left:?}");
    }
    let output = waiting_at(&mut workshop.train("no-other-point"), CHECKPOINTS, points).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}

/// Those that are not checkpoints: the models and the measurements, each when it is written for the second time or later.
#[test]
fn a_run_that_is_killed_while_it_writes_another_file_ends_as_if_it_had_not_been() {
    let workshop = Workshop::new();
    let expected = workshop.finish("whole");
    let files =
        [("config.json", 0..6), ("best.safetensors", 0..6), ("last.safetensors", 6..12), ("metrics.csv", 6..12)];
    for (i, (file, points)) in files.into_iter().enumerate() {
        for point in points {
            let name = format!("killed-{i}-{point}");
            kill_at(&mut workshop.train(&name), file, point);
            assert!(workshop.finish(&name) == expected, "killed at point {point} of {file}");
        }
    }
}

/// Flags that change what a step computes or remembers.
const RECIPES: [&str; 5] = [
    "--optimizer adamw --clip-grad 1 --grad-accum-steps 2",
    "--optimizer muon --momentum 0.8",
    "--crop-padding 2 --aa rand-m9-mstd0.5-inc1 --reprob 0.5 --cutmix 1 --mixup-off-epoch 3",
    "--drop 0.2 --proj-drop 0.1 --grad-accum-steps 3",
    "--class-weights 1,3 --balanced-sampling --patience 3",
];

#[test]
fn every_recipe_goes_on_as_if_it_had_not_been_killed() {
    let workshop = Workshop::new();
    let plain = workshop.finish("plain");
    for (i, flags) in RECIPES.iter().enumerate() {
        let (whole, killed) = (format!("whole-{i}"), format!("killed-{i}"));
        let output = workshop.train(&whole).args(flags.split(' ')).output().unwrap();
        assert!(output.status.success(), "{flags}: {}", text(&output.stderr));
        let expected = workshop.outcome(&whole);
        assert!(expected.last != plain.last, "{flags} change nothing");
        assert!(workshop.interrupted(&killed, flags, 13) == expected, "{flags} ended otherwise");
    }
}

/// Where the processor has no tiles, that is told and nothing begins.
#[test]
fn mixed_precision_goes_on_as_it_began() {
    let workshop = Workshop::new();
    let train = |name: &str, flags: &[&str]| {
        let mut command = cspnet(&["train", "--network", "cspresnet9:width=16", "--size", "16", "--batch-size", "5"]);
        command.args(["--epochs", "2", "--threads", "2", "--seed", "3"]).args(flags);
        command.arg("--out").arg(workshop.path(name)).arg(workshop.path("data"));
        command
    };
    let output = train("whole", &["--amp"]).output().unwrap();
    if TileUnit::detect().is_none() {
        assert!(!output.status.success() && text(&output.stderr).contains("--amp must be left out"));
        assert!(!workshop.path("whole").exists());
        return;
    }
    assert!(output.status.success(), "{}", text(&output.stderr));
    let whole = Outcome::of(&workshop.path("whole"));
    kill_at(&mut train("killed", &["--amp"]), CHECKPOINTS, 8);
    let output = workshop.resume("killed").args(["--threads", "3"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(Outcome::of(&workshop.path("killed")) == whole, "a run that was killed ended otherwise");
    assert!(train("single", &[]).output().unwrap().status.success());
    assert!(Outcome::of(&workshop.path("single")).last != whole.last, "--amp changes nothing");
}

/// The columns `epoch`, `lr` and `val_loss` of a run's measurements.
fn measured(run: &Path) -> Vec<[f64; 3]> {
    let text = fs::read_to_string(run.join("metrics.csv")).unwrap();
    let number = |line: &str, column| line.split(',').nth(column).unwrap().parse().unwrap();
    text.lines().skip(1).map(|line| [0, 1, 4].map(|column| number(line, column))).collect()
}

#[test]
fn a_run_ends_when_nothing_gets_better_or_its_time_is_over() {
    let workshop = Workshop::new();
    let finished = |name: &str, flags: &str| {
        let output = workshop.train_for(name, 100_000).args(flags.split(' ')).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let resumed = workshop.resume(name).output().unwrap();
        assert!(text(&resumed.stdout).contains("finished"), "{}", text(&resumed.stdout));
        measured(&workshop.path(name))
    };
    let epochs = finished("patient", "--patience 2");
    let events = fs::read_to_string(workshop.path("patient/events.jsonl")).unwrap();
    let end: serde_json::Value =
        events.lines().rev().find(|l| l.contains("\"finished\"")).map(|l| serde_json::from_str(l).unwrap()).unwrap();
    assert_eq!(end["best"]["epoch"].as_u64().unwrap() as usize + 2, epochs.len());
    let epochs = finished("timed", "--time-budget 2s");
    let mut child =
        workshop.train_for("killed", 100_000).args(["--time-budget", "3s"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(told.any(|line| line.starts_with("epoch 2")));
    child.kill().unwrap();
    child.wait().unwrap();
    let resumed = workshop.resume("killed").output().unwrap();
    assert!(text(&resumed.stdout).contains("finished"), "{}", text(&resumed.stderr));
    let largest = epochs.iter().map(|e| e[1]).fold(0.0, f64::max);
    let last = epochs.last().unwrap();
    assert!(epochs.len() > 2 && last[1] < 0.2 * largest, "the schedule follows the clock: {epochs:?}");
}

#[test]
fn a_learning_rate_is_found_and_no_run_begun() {
    let workshop = Workshop::new();
    let picture = workshop.path("lr.svg");
    let output = workshop.train("run").arg("--find-lr").arg(&picture).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("suggested: --lr "), "{}", text(&output.stdout));
    assert!(fs::read_to_string(picture).unwrap().starts_with("<svg"));
    assert!(!workshop.path("run").exists());
}

#[test]
fn signals_end_a_run_with_a_checkpoint_from_which_it_goes_on() {
    let workshop = Workshop::new();
    let expected = workshop.finish("whole");
    for (signal, expected_code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let name = format!("signal-{expected_code}");
        // So long that the signal comes before the end.
        let mut command = workshop.train_for(&name, 100_000);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("epoch 2/") {
            line.clear();
            assert!(told.read_line(&mut line).unwrap() > 0, "it ended by itself");
        }
        terminate(&child, signal);
        let mut rest = String::new();
        told.read_to_string(&mut rest).unwrap();
        assert_eq!(code(child.wait().unwrap()), Some(expected_code));
        assert!(rest.contains("cspnet resume"), "{rest}");
    }
    // A run of the usual length, stopped by a signal in the middle of whatever it does.
    for i in 0..5 {
        let name = format!("stopped-{i}");
        let mut child = workshop.train(&name).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(40 * i));
        terminate(&child, Signal::TERM);
        child.wait().unwrap();
        assert!(workshop.finish(&name) == expected, "{name} ended otherwise");
    }
}

#[test]
fn files_that_are_no_photos_are_named_and_the_rest_is_learnt() {
    let workshop = Workshop::new();
    let whole = striped(true, 1);
    workshop.write("data/train/along/truncated.bmp", &whole[..300]);
    workshop.write("data/train/across/empty.jpg", b"");
    workshop.write("data/train/across/notes.txt", b"not a photo");
    workshop.write("data/validation/along/page.jpg", b"<html></html>");
    fs::copy(workshop.path("data/train/along/0.bmp"), workshop.path("data/validation/along/copy.bmp")).unwrap();
    let output = workshop.train("run").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    for name in ["truncated.bmp", "empty.jpg", "notes.txt", "page.jpg", "copy.bmp"] {
        assert!(told.contains(name), "{name}: {told}");
    }
    assert!(told.contains("4 files cannot be used") && told.contains("1 photo is in two splits"), "{told}");
    assert!(told.contains("24 train, 9 validation"), "{told}");
    let events = fs::read_to_string(workshop.path("run/events.jsonl")).unwrap();
    assert_eq!(events.lines().filter(|l| l.contains("\"event\":\"skipped\"")).count(), 4);
    assert_eq!(events.lines().filter(|l| l.contains("\"event\":\"duplicate\"")).count(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_end_no_run() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let workshop = Workshop::new();
    let odd = OsStr::from_bytes(b"caf\xe9");
    for (class, bytes) in [("along", &b"no photo"[..]), ("across", &striped(true, 0))] {
        fs::write(workshop.path("data/train").join(class).join(odd), bytes).unwrap();
    }
    fs::write(workshop.path("data/validation/across").join(odd), striped(true, 0)).unwrap();
    let output = workshop.train("run").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let events = fs::read_to_string(workshop.path("run/events.jsonl")).unwrap();
    assert!(events.contains("caf\u{fffd}"), "{events}");
    // A run that could not find its photos again does not begin.
    fs::rename(workshop.path("data"), workshop.path("").join(odd)).unwrap();
    let output =
        cspnet(&["train"]).arg(workshop.path("").join(odd)).arg("--out").arg(workshop.path("odd")).output().unwrap();
    assert!(text(&output.stderr).contains("rename the folder"), "{}", text(&output.stderr));
    assert!(!workshop.path("odd").exists());
}

#[test]
fn photos_that_have_moved_are_found_there_the_next_time_as_well() {
    let workshop = Workshop::new();
    let expected = workshop.finish("whole");
    kill_at(&mut workshop.train("run"), CHECKPOINTS, 8);
    fs::rename(workshop.path("data"), workshop.path("moved")).unwrap();
    assert!(!workshop.resume("run").output().unwrap().status.success());
    let mut resume = workshop.resume("run");
    kill_at(resume.arg("--data").arg(workshop.path("moved")), CHECKPOINTS, 8);
    assert!(workshop.finish("run") == expected, "it ended otherwise");
}

#[test]
fn what_cannot_begin_or_go_on_says_why() {
    let workshop = Workshop::new();
    workshop.finish("run");
    let refused = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        text(&output.stderr).to_owned()
    };
    assert!(refused(&mut workshop.train("run")).contains("exists already"));
    assert!(refused(&mut workshop.resume("data")).contains("no folder of a run"));
    // A class that one split lacks.
    workshop.write("data/train/around/0.bmp", &striped(true, 5));
    let error = refused(&mut workshop.train("other"));
    assert!(error.contains("`around`") && error.contains("validation"), "{error}");
    fs::remove_dir_all(workshop.path("data/train/around")).unwrap();
    // A picture that is too small for the network.
    let error = refused(
        cspnet(&["train", "--network", "csppeleenet", "--size", "1", "--out"])
            .args([workshop.path("other"), workshop.path("data")]),
    );
    assert!(error.contains("does not fit"), "{error}");
    // A name that could command a terminal.
    fs::rename(workshop.path("data/train/along"), workshop.path("data/train/a\u{1b}long")).unwrap();
    fs::rename(workshop.path("data/validation/along"), workshop.path("data/validation/a\u{1b}long")).unwrap();
    let error = refused(&mut workshop.train("other"));
    assert!(error.contains("control character"), "{error}");
    fs::rename(workshop.path("data/train/a\u{1b}long"), workshop.path("data/train/along")).unwrap();
    fs::rename(workshop.path("data/validation/a\u{1b}long"), workshop.path("data/validation/along")).unwrap();
    assert!(!workshop.path("other").exists());
    // Photos that changed while a run was stopped.
    let mut child = workshop.train_for("long", 100_000).stdout(Stdio::null()).spawn().unwrap();
    while !workshop.path("long").exists() {
        sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    workshop.write("data/train/along/0.bmp", &striped(false, 0));
    assert!(refused(&mut workshop.resume("long")).contains("not those the run began with"));
}

#[test]
fn a_trained_model_names_what_it_has_learnt() {
    let workshop = Workshop::new();
    let output = workshop.train_for("run", 30).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let best = workshop.path("run/best.safetensors");
    let [model, data] = [best, workshop.path("data")].map(|p| p.to_str().unwrap().to_owned());
    let judged = run(&["eval", "--json", "--split", "validation", &model, &data]);
    let judged: serde_json::Value = serde_json::from_slice(&judged.stdout).unwrap();
    assert_eq!(judged["photos"], 8, "{judged}");
    assert!(judged["top1"]["share"].as_f64().unwrap() >= 0.75, "{judged}");
    let photo = workshop.path("data/validation/across/0.bmp");
    let named = run(&["predict", "--model", &model, photo.to_str().unwrap()]);
    assert!(text(&named.stdout).contains("across"), "{}", text(&named.stdout));
}

#[test]
fn a_run_that_diverges_goes_back_three_times_and_ends_with_a_code_of_its_own() {
    let workshop = Workshop::new();
    let output = workshop.train("run").args(["--lr", "1e30"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    let (told, error) = (text(&output.stdout), text(&output.stderr));
    for time in 1..=3 {
        assert!(
            told.contains(&format!("epoch 1 begins again with half the learning rate ({time} of 3 times)")),
            "{told}"
        );
    }
    assert!(
        told.matches("half the learning rate").count() == 3 && error.contains("--lr 6.3e28") && error.contains(".bmp"),
        "{error}"
    );
    let events = fs::read_to_string(workshop.path("run/events.jsonl")).unwrap();
    let events: Vec<serde_json::Value> = events.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let diverged: Vec<_> = events.iter().filter(|e| e["event"] == "diverged").collect();
    assert_eq!(diverged.iter().map(|e| e["given_up"] == true).collect::<Vec<_>>(), [false, false, false, true]);
    for event in &diverged {
        let (phase, layer) = (event["phase"].as_str().unwrap(), event["layer"].as_str().unwrap());
        assert!(
            told.contains(&format!("{layer} ({phase})")) || error.contains(&format!("{layer} ({phase})")),
            "{event}"
        );
        assert_eq!(event["files"].as_array().unwrap().len(), 5, "{event}");
    }
    let left = |name: &str| fs::read_dir(workshop.path(name)).unwrap().count();
    let checkpoints = left("run/checkpoints");
    let resumed = workshop.resume("run").output().unwrap();
    assert_eq!((resumed.status.code(), text(&resumed.stderr)), (Some(5), error));
    assert_eq!(left("run/checkpoints"), checkpoints);
}

#[test]
fn a_run_that_diverged_and_was_killed_ends_as_if_it_had_not_been_killed() {
    let workshop = Workshop::new();
    // Too much at first and not too much at last: the largest that come to their end at half the rate or a quarter of it.
    let rates = [135, 100, 75, 52];
    let went_back = rates.iter().find_map(|lr| {
        let (name, flags) = (format!("whole-{lr}"), format!("--warmup-epochs 0 --lr {lr}"));
        let output = workshop.train(&name).args(flags.split(' ')).output().unwrap();
        let times = text(&output.stdout).matches("with half the learning rate").count() as u32;
        (output.status.success() && times > 0).then_some((name, flags, times))
    });
    let (whole, flags, times) = went_back.expect("a rate that is too large");
    let expected = workshop.outcome(&whole);
    // Before the first six there is no run.
    for point in 6..6 * (1 + EPOCHS + times) {
        let name = format!("killed-{point}");
        assert!(workshop.interrupted(&name, &flags, point) == expected, "killed at point {point}");
    }
}
