//! What `cspnet train` and `cspnet resume` share: telling what a run does, and stopping when asked to.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cspnet::formats::text::shown;
use cspnet::graph::Graph;
use cspnet::vision::{DecodeOptions, Preprocess};
use cspnet_data::{DataError, DataOptions, DataSet, Skipped};
use cspnet_train::{
    Checkpoint, Config, Divergence, Epoch, Observer, Outcome, Probe, Resources, State, Step, Trainer, plot,
    suggested_lr,
};
use indicatif::ProgressBar;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::failure::{Failure, without_path};
use crate::progress::{read_photos, style};
use crate::resources::ResourceArgs;

/// Seconds between two lines of a run whose output is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(30);

/// Files that are named; more are counted.
pub const NAMED: usize = 10;

/// Reads the photos of a run: those that it begins with, and must find again to go on.
pub fn read_data(
    data: &Path,
    validation_share: f64,
    label_column: Option<&str>,
    preprocess: &Preprocess,
    resources: &ResourceArgs,
) -> Result<DataSet, DataError> {
    let options = DataOptions {
        validation_share,
        label_column: label_column.map(str::to_owned),
        decode: DecodeOptions { background: preprocess.background, ..DecodeOptions::default() },
        ..resources.data_options()
    };
    read_photos(|looked_at| DataSet::open(data, &options, looked_at))
}

/// Says what the photos are, and what is wrong with them.
pub fn describe_data(data: &DataSet) {
    let (train, validation, test) = (data.train.len(), data.validation.len(), data.test.len());
    let test = if test > 0 { format!(", {test} test") } else { String::new() };
    say(&format!("{} classes; photos: {train} train, {validation} validation{test}", data.classes.len()));
    data.notes.iter().for_each(|note| say(note));
    list("file cannot be used", "files cannot be used", &data.skipped, |s| {
        format!("{}: {}", s.path.display(), without_path(&s.why, &s.path))
    });
    list("photo is in two splits, byte for byte", "photos are in two splits, byte for byte", &data.duplicates, |d| {
        let ((first, a), (second, b)) = (&d.first, &d.second);
        format!("{} ({first}) and {} ({second})", a.display(), b.display())
    });
}

fn list<T>(one: &str, many: &str, items: &[T], name: impl Fn(&T) -> String) {
    if items.is_empty() {
        return;
    }
    say(&format!("{} {}:", items.len(), if items.len() == 1 { one } else { many }));
    items.iter().take(NAMED).for_each(|item| say(&format!("  {}", name(item))));
    if items.len() > NAMED {
        say(&format!("  and {} more (all are in the run's events.jsonl)", items.len() - NAMED));
    }
}

/// Tells people something. That nobody listens any more is no reason to end a run.
pub fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{}", shown(line));
}

/// Runs until the end, or until a signal asks for it.
pub fn train(mut trainer: Trainer) -> Result<ExitCode, Failure> {
    let signals = Signals::watch()?;
    let recipe = trainer.recipe();
    let mut told = Told { epochs: recipe.epochs, budget: recipe.time_budget, ..Told::new(trainer.folder().path()) };
    let outcome = trainer.run(&mut told, &|| signals.any());
    told.bar.finish_and_clear();
    told.summarise();
    let unused = trainer.data().skipped.len() + told.skipped.len();
    if unused > 0 {
        say(&format!("{} not used: see the run's events.jsonl", files_were(unused)));
    }
    match outcome? {
        Outcome::Finished => finished(trainer.folder().path(), trainer.state()),
        Outcome::Stopped => {
            let run = trainer.folder().path().display();
            say(&format!("stopped; `cspnet resume {run}` continues the run"));
            Ok(ExitCode::from(signals.exit_code()))
        }
    }
}

fn files_were(n: usize) -> String {
    if n == 1 { "1 file was".into() } else { format!("{n} files were") }
}

/// Tries learning rates and says which to take.
pub fn find_lr(
    config: &Config,
    graph: &Graph,
    data: &DataSet,
    start: Checkpoint,
    resources: Resources,
    picture: &Path,
) -> Result<ExitCode, Failure> {
    let (signals, mut told) = (Signals::watch()?, Told::default());
    let probes = cspnet_train::find_lr(config, graph, data, start, resources, &mut told, &|| signals.any());
    told.bar.finish_and_clear();
    let Some(probes) = probes? else {
        say("stopped; no learning rate was found, and no run begun");
        return Ok(ExitCode::from(signals.exit_code()));
    };
    std::fs::write(picture, plot(&probes))
        .map_err(|e| Failure::Message(format!("{}: cannot be written: {e}", picture.display())))?;
    match suggested_lr(&probes) {
        Some(lr) => say(&format!("suggested: --lr {lr:.2e}; {} shows the losses", picture.display())),
        None => say(&format!(
            "no suggestion, for the loss fell at no learning rate; {} shows the losses",
            picture.display()
        )),
    }
    Ok(ExitCode::SUCCESS)
}

/// Says how a finished run came out.
pub fn finished(run: &Path, state: &State) -> Result<ExitCode, Failure> {
    if let Some(best) = state.best {
        let v = best.validation;
        let share = 100.0 * v.top1();
        say(&format!("best: epoch {}, {share:.2} % of {} validation photos right", best.epoch, v.photos));
    }
    let best = run.join("best.safetensors");
    say(&format!("finished; cspnet predict --model {} PHOTO...", best.display()));
    Ok(ExitCode::SUCCESS)
}

/// SIGINT and SIGTERM: the first asks for a checkpoint and the end, a second ends at once.
struct Signals(Arc<AtomicUsize>);

impl Signals {
    fn watch() -> Result<Self, Failure> {
        let (signals, asked) = (Self(Arc::default()), Arc::new(AtomicBool::new(false)));
        for signal in [SIGINT, SIGTERM] {
            let received = Arc::clone(&signals.0);
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                .and_then(|_| flag::register_usize(signal, received, signal as usize))
                .map_err(|e| Failure::Message(format!("signals cannot be watched: {e}")))?;
        }
        Ok(signals)
    }

    fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    fn exit_code(&self) -> u8 {
        128 + self.0.load(Ordering::Relaxed) as u8
    }
}

/// Tells people what a run does: a bar on a terminal, lines elsewhere.
pub struct Told {
    bar: ProgressBar,
    is_terminal: bool,
    epochs: u32,
    /// Seconds that the run may take, if they are limited: then the epochs are not.
    budget: Option<f64>,
    /// Learning rates that were tried.
    tried: usize,
    /// Steps taken by this process, and how long they took.
    steps: u64,
    begin: Instant,
    last_line: Instant,
    skipped: Vec<Skipped>,
}

impl Told {
    fn new(run: &Path) -> Self {
        say(&format!("run folder: {}", run.display()));
        Self::default()
    }

    /// `epoch 3/100`, or `epoch 3` where nobody knows how many there will be.
    fn epoch_of(&self, epoch: u32) -> String {
        if self.budget.is_some() { format!("epoch {epoch}") } else { format!("epoch {epoch}/{}", self.epochs) }
    }

    fn line(&self, line: &str) {
        self.bar.suspend(|| say(line));
    }

    /// What could not be read while the run went on.
    fn summarise(&self) {
        list("photo could not be read any more", "photos could not be read any more", &self.skipped, |s| {
            format!("{}: {}", s.path.display(), without_path(&s.why, &s.path))
        });
    }

    /// Seconds until the end, if the steps to come take as long as those before.
    fn left(&self, step: &Step<'_>) -> f64 {
        if let Some(budget) = self.budget {
            return (budget - step.state.spent).max(0.0);
        }
        let done = u64::from(step.state.epoch) * step.steps as u64 + step.state.step as u64;
        let all = u64::from(self.epochs) * step.steps as u64;
        self.begin.elapsed().as_secs_f64() / self.steps.max(1) as f64 * all.saturating_sub(done) as f64
    }

    fn describe(&self, step: &Step<'_>) -> String {
        let seen = &step.state.seen;
        let wait = 100.0 * seen.waited / seen.seconds.max(1e-9);
        let (loss, top1) = (seen.mean_loss(), 100.0 * seen.accuracy());
        let rate = seen.photos as f64 / seen.seconds.max(1e-9);
        let eta = clock(self.left(step));
        let side = if wait > 10.0 { "computing" } else { "decoding" };
        format!("loss {loss:.3}  top-1 {top1:.1} %  {rate:.0} photos/s  {side} waits ({wait:.0} %)  ETA {eta}")
    }
}

impl Default for Told {
    fn default() -> Self {
        let bar = ProgressBar::no_length().with_style(style("{prefix} {bar:16} {percent:>3} %  {wide_msg}"));
        let now = Instant::now();
        let is_terminal = io::stderr().is_terminal();
        Self {
            bar,
            is_terminal,
            epochs: 0,
            budget: None,
            tried: 0,
            steps: 0,
            begin: now,
            last_line: now,
            skipped: Vec::new(),
        }
    }
}

impl Observer for Told {
    fn step(&mut self, step: &Step<'_>) {
        self.steps += 1;
        let epoch = step.state.epoch + 1;
        if self.is_terminal {
            self.bar.set_length(step.steps as u64);
            self.bar.set_prefix(self.epoch_of(epoch));
            self.bar.set_message(self.describe(step));
            self.bar.set_position(step.state.step as u64);
        } else if self.last_line.elapsed() > PLAIN_EVERY {
            self.last_line = Instant::now();
            let (at, steps) = (step.state.step, step.steps);
            say(&format!("{}  step {at}/{steps}  {}", self.epoch_of(epoch), self.describe(step)));
        }
    }

    fn features(&mut self, done: usize, all: usize) {
        if self.is_terminal {
            self.bar.set_length(all as u64);
            self.bar.set_prefix("features");
            self.bar.set_position(done as u64);
        }
        if done == 0 {
            self.line(&format!("computing what the network makes of {all} photos, once"));
            self.begin = Instant::now();
        } else if done == all {
            self.line(&format!("features of {all} photos: {:.1} s", self.begin.elapsed().as_secs_f64()));
            self.begin = Instant::now();
        }
    }

    fn probe(&mut self, probe: &Probe) {
        if self.tried.is_multiple_of(10) {
            self.line(&format!("lr {:.2e}  loss {:.3}  smoothed {:.3}", probe.lr, probe.loss, probe.smoothed));
        }
        self.tried += 1;
    }

    fn epoch(&mut self, epoch: &Epoch, is_best: bool) {
        self.last_line = Instant::now();
        let Epoch { train_loss, val_loss, images_per_s, seconds, .. } = epoch;
        let [train, val, wait] = [epoch.train_top1, epoch.val_top1, epoch.decode_wait].map(|share| 100.0 * share);
        self.line(&format!(
            "{}  train: loss {train_loss:.3}, top-1 {train:.1} %  validation: loss {val_loss:.3}, top-1 {val:.2} %{}  \
             {seconds:.1} s, {images_per_s:.0} photos/s, {wait:.0} % waiting for photos",
            self.epoch_of(epoch.epoch),
            if is_best { " (best)" } else { "" },
        ));
    }

    fn skipped(&mut self, skipped: &Skipped) {
        if self.skipped.iter().any(|s| s.path == skipped.path) {
            return;
        }
        let why = without_path(&skipped.why, &skipped.path);
        self.line(&format!("left out from now on: {}: {why}", skipped.path.display()));
        self.skipped.push(skipped.clone());
    }

    fn repeating(&mut self, steps: usize) {
        if steps > 0 {
            self.line(&format!(
                "numbers are not finite; to find where, what was done since the last checkpoint is done again ({steps} steps)"
            ));
        }
    }

    fn rolled_back(&mut self, divergence: &Divergence, state: &State) {
        let (epoch, times, most) = (state.epoch + 1, state.rollbacks, State::MOST_ROLLBACKS);
        self.line(&divergence.to_string());
        self.line(&format!("epoch {epoch} begins again with half the learning rate ({times} of {most} times)"));
    }

    fn unusable(&mut self, path: &Path, why: &str) {
        self.line(&format!("an older checkpoint is taken, for {}: {}", path.display(), without_path(why, path)));
    }
}

/// `1:02:03`, `02:03`.
fn clock(seconds: f64) -> String {
    let s = seconds.round() as u64;
    let (hours, minutes, seconds) = (s / 3600, s / 60 % 60, s % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes:02}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_like_a_clock() {
        assert_eq!([0.4, 61.0, 3723.0].map(clock), ["00:00", "01:01", "1:02:03"]);
    }
}
