//! The folder of a run: its configuration, measurements, events, models and checkpoints.
//!
//! | file | what |
//! |---|---|
//! | `config.json` | the resolved configuration |
//! | `metrics.csv` | a line for every finished epoch |
//! | `events.jsonl` | what happened when, one JSON object a line; only ever added to |
//! | `best.safetensors`, `last.safetensors` | model files of the averaged weights |
//! | `checkpoints/` | the last two checkpoints, and the last of the end of an epoch |
//!
//! A folder comes into being whole, with a checkpoint of the beginning, so every run that exists can be continued. All files but
//! `events.jsonl` are replaced whole or not at all. A folder that comes from somebody else is opened only if all of it lies there: a
//! link could make the run replace or remove files elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use cspnet_formats::{ModelFile, StateFile, atomic, json};
use cspnet_graph::Graph;

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::TrainError;
use crate::observer::Observer;
use crate::state::Epoch;

const CONFIG: &str = "config.json";
const METRICS: &str = "metrics.csv";
const EVENTS: &str = "events.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const LOCK: &str = "lock";

/// Names of the models.
const MODELS: [&str; 2] = ["best.safetensors", "last.safetensors"];

/// Longest configuration that is read, in bytes; mostly it is as long as the classes' names.
const MAX_CONFIG: usize = 16 << 20;

/// Checkpoints that are kept.
const KEPT: usize = 2;

/// The folder of a run, held by this process alone.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

impl RunFolder {
    /// Makes the folder of a new run.
    ///
    /// # Errors
    /// Those of [`Config::check`]; if something of that name exists, or the folder cannot be written.
    pub fn create(path: &Path, config: &Config, graph: &Graph, start: &Checkpoint) -> Result<Self, TrainError> {
        config.check(graph)?;
        if path.symlink_metadata().is_ok() {
            return Err(TrainError::Exists(path.into()));
        }
        let made = beside(path);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| TrainError::Io { path, what: "made", source }
        };
        fs::create_dir_all(made.join(CHECKPOINTS)).map_err(io(&made))?;
        let filled = Self::fill(&made, config, graph, start);
        let renamed = filled.and_then(|()| fs::rename(&made, path).map_err(io(path)));
        renamed.inspect_err(|_| {
            // It may be gone already; there is nothing more to do about it then.
            let _ = fs::remove_dir_all(&made);
        })?;
        Self::hold(path)
    }

    fn fill(path: &Path, config: &Config, graph: &Graph, start: &Checkpoint) -> Result<(), TrainError> {
        let folder = Self::hold(path)?;
        folder.write_config(config)?;
        folder.write_metrics(&[])?;
        folder.write_checkpoint(start, graph).map(drop)
    }

    /// Writes how the run is trained, and with which photos.
    ///
    /// # Errors
    /// If it cannot be written, or names a path that is no Unicode, which the run could not find again.
    pub fn write_config(&self, config: &Config) -> Result<(), TrainError> {
        let unsaid = |e: serde_json::Error| TrainError::Unsaid(e.to_string());
        self.write(CONFIG, serde_json::to_string_pretty(config).map_err(unsaid)?.as_bytes())
    }

    /// Opens the folder of a run to continue it.
    ///
    /// # Errors
    /// If it is none, or another process works on it.
    pub fn open(path: &Path) -> Result<(Self, Config), TrainError> {
        let file = path.join(CONFIG);
        if !file.is_file() {
            return Err(TrainError::NoRun(path.into()));
        }
        check_place(path)?;
        let folder = Self::hold(path)?;
        let text = json::read(&file, MAX_CONFIG)?;
        let config: Config =
            serde_json::from_str(&text).map_err(|e| TrainError::Config { path: file.clone(), why: e.to_string() })?;
        folder.clear_left_overs();
        folder.remove_old_checkpoints()?;
        Ok((folder, config))
    }

    /// Removes what a process that was killed had not finished writing; nobody else writes while this one holds the folder.
    fn clear_left_overs(&self) {
        let folders = [self.path.clone(), self.path.join(CHECKPOINTS)];
        let entries = folders.iter().filter_map(|f| fs::read_dir(f).ok()).flatten().filter_map(Result::ok);
        for path in entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "part")) {
            // It is only in the way; a run goes on without its removal.
            let _ = fs::remove_file(path);
        }
    }

    fn hold(path: &Path) -> Result<Self, TrainError> {
        let name = path.join(LOCK);
        let open = OpenOptions::new().create(true).append(true).open(&name);
        let lock = open.map_err(|source| TrainError::Io { path: name, what: "opened", source })?;
        match lock.try_lock() {
            Err(fs::TryLockError::WouldBlock) => Err(TrainError::Busy(path.into())),
            // Where a file system knows no locks, the run goes on without.
            Ok(()) | Err(fs::TryLockError::Error(_)) => Ok(Self { path: path.into(), _lock: lock }),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a checkpoint as a new file, and then removes all but the last two.
    pub(crate) fn write_checkpoint(&self, checkpoint: &Checkpoint, graph: &Graph) -> Result<PathBuf, TrainError> {
        let state = &checkpoint.state;
        let name = format!("epoch-{:06}-step-{:06}.safetensors", state.epoch, state.step);
        let path = self.path.join(CHECKPOINTS).join(name);
        let written = checkpoint.to_file(graph).and_then(|file| file.write(&path));
        written.map_err(|source| TrainError::Checkpoint { run: self.path.clone(), source })?;
        self.remove_old_checkpoints()?;
        Ok(path)
    }

    fn remove_old_checkpoints(&self) -> Result<(), TrainError> {
        let all = self.checkpoints()?;
        let end_of_epoch = all.iter().find(|path| is_end_of_epoch(path));
        for old in all.iter().skip(KEPT).filter(|&path| Some(path) != end_of_epoch) {
            // A file too many does no harm, and the next checkpoint tries again.
            let _ = fs::remove_file(old);
        }
        Ok(())
    }

    /// The newest checkpoint that is whole.
    ///
    /// # Errors
    /// If there is none.
    pub fn latest(&self, graph: &Graph, observer: &mut dyn Observer) -> Result<Checkpoint, TrainError> {
        self.first_whole(self.checkpoints()?, graph, observer).map(|(_, checkpoint)| checkpoint)
    }

    /// The newest checkpoint of the end of an epoch that is whole, or if there is none, the newest; those after it are removed, for
    /// the run does not go on from there any more.
    ///
    /// # Errors
    /// If there is none, or a later one cannot be removed.
    pub(crate) fn go_back(&self, graph: &Graph, observer: &mut dyn Observer) -> Result<Checkpoint, TrainError> {
        let all = self.checkpoints()?;
        let (ends, others): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|path| is_end_of_epoch(path));
        let (path, checkpoint) = self.first_whole([ends, others].concat(), graph, observer)?;
        for later in all.into_iter().take_while(|later| *later != path) {
            fs::remove_file(&later).map_err(|source| TrainError::Io { path: later, what: "removed", source })?;
        }
        Ok(checkpoint)
    }

    /// The first of some checkpoints that is whole.
    fn first_whole(
        &self,
        paths: Vec<PathBuf>,
        graph: &Graph,
        observer: &mut dyn Observer,
    ) -> Result<(PathBuf, Checkpoint), TrainError> {
        let mut reasons = Vec::new();
        for path in paths {
            match StateFile::read(&path).and_then(|file| Checkpoint::from_file(file, graph)) {
                Ok(checkpoint) => return Ok((path, checkpoint)),
                Err(e) => {
                    observer.unusable(&path, &e.to_string());
                    reasons.push(e.to_string());
                }
            }
        }
        let why = if reasons.is_empty() { "there is none".into() } else { reasons.join("; ") };
        Err(TrainError::NoCheckpoint { path: self.path.join(CHECKPOINTS), why })
    }

    /// Checkpoints, the newest first.
    fn checkpoints(&self) -> Result<Vec<PathBuf>, TrainError> {
        let entries = fs::read_dir(self.path.join(CHECKPOINTS)).map_err(|e| self.io(CHECKPOINTS, "read", e))?;
        let paths = entries.filter_map(|e| Some(e.ok()?.path()));
        let mut paths: Vec<PathBuf> = paths.filter(|p| p.extension().is_some_and(|e| e == "safetensors")).collect();
        paths.sort();
        paths.reverse();
        Ok(paths)
    }

    /// Writes a model file of the run, `best` or `last`.
    pub(crate) fn write_model(&self, name: &str, model: &ModelFile) -> Result<(), TrainError> {
        Ok(model.write(self.path.join(format!("{name}.safetensors")))?)
    }

    /// Writes the measurements of all finished epochs.
    pub(crate) fn write_metrics(&self, history: &[Epoch]) -> Result<(), TrainError> {
        let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        let told = |e: csv::Error| self.io(METRICS, "written", std::io::Error::other(e));
        csv.write_record(Epoch::COLUMNS).map_err(told)?;
        for epoch in history {
            csv.serialize(epoch).map_err(told)?;
        }
        let bytes = csv.into_inner().map_err(|e| told(e.into_error().into()))?;
        self.write(METRICS, &bytes)
    }

    /// Adds a line to the events.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn event(&self, name: &str, facts: &serde_json::Value) -> Result<(), TrainError> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        let mut event = serde_json::json!({ "time": (time * 1e3).round() / 1e3, "event": name });
        if let (Some(event), Some(facts)) = (event.as_object_mut(), facts.as_object()) {
            event.extend(facts.clone());
        }
        self.append(&format!("{event}\n")).map_err(|source| self.io(EVENTS, "written", source))
    }

    fn append(&self, line: &str) -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(self.path.join(EVENTS))?;
        // A process that was killed may have left half a line.
        let is_torn = file.seek(SeekFrom::End(-1)).is_ok() && {
            let mut last = [0];
            file.read_exact(&mut last)?;
            last != *b"\n"
        };
        file.write_all(if is_torn { format!("\n{line}") } else { line.to_owned() }.as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TrainError> {
        Ok(atomic::write(&self.path.join(name), bytes)?)
    }

    fn io(&self, name: &str, what: &'static str, source: std::io::Error) -> TrainError {
        TrainError::Io { path: self.path.join(name), what, source }
    }
}

/// Whether all that a run reads, replaces and removes lies in its folder.
fn check_place(path: &Path) -> Result<(), TrainError> {
    let files = [LOCK, CONFIG, METRICS, EVENTS].iter().chain(&MODELS).map(|name| path.join(name));
    let checkpoints = path.join(CHECKPOINTS);
    let is_dir = |path: &Path| path.symlink_metadata().is_ok_and(|m| m.is_dir());
    if !is_dir(&checkpoints) {
        return Err(TrainError::Foreign(checkpoints));
    }
    let entries = fs::read_dir(&checkpoints).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let is_foreign = |path: &PathBuf| path.symlink_metadata().is_ok_and(|m| !m.is_file());
    files.chain(entries).find(is_foreign).map_or(Ok(()), |path| Err(TrainError::Foreign(path)))
}

/// Whether a checkpoint was written between two epochs, or at the beginning.
fn is_end_of_epoch(path: &Path) -> bool {
    path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("-step-000000"))
}

/// A name beside `path` that is nobody else's.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use cspnet_data::DataOptions;
    use cspnet_formats::Dtype;
    use cspnet_graph::Builder;
    use cspnet_vision::Preprocess;

    use super::*;
    use crate::evaluate::Validation;
    use crate::recipe::Recipe;

    struct Silent(Vec<String>);

    impl Observer for Silent {
        fn unusable(&mut self, _path: &Path, why: &str) {
            self.0.push(why.into());
        }
    }

    fn graph() -> Graph {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.global_avg_pool("pool", x);
        let x = b.linear("fc", x, 2);
        b.finish(x).unwrap()
    }

    fn config() -> Config {
        Config {
            program: "0".into(),
            network: "test".into(),
            data: "photos".into(),
            validation_share: DataOptions::default().validation_share,
            label_column: None,
            preprocess: Preprocess::torchvision(),
            train_size: (64, 64),
            dtype: Dtype::F32,
            licence: None,
            recipe: Recipe::default(),
            classes: vec!["a".into(), "b".into()],
            fingerprint: String::new(),
            begun_from: None,
        }
    }

    fn made(path: &Path) -> RunFolder {
        RunFolder::create(path, &config(), &graph(), &Checkpoint::start(&graph(), 1)).unwrap()
    }

    fn at_epoch(epoch: u32) -> Checkpoint {
        let mut checkpoint = Checkpoint::start(&graph(), u64::from(epoch));
        (0..epoch).for_each(|_| checkpoint.state.close_epoch(0.1, &Validation::default()));
        checkpoint
    }

    #[test]
    fn a_new_run_can_be_continued_and_is_held_by_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs/one");
        let folder = made(&path);
        assert!(matches!(RunFolder::open(&path), Err(TrainError::Busy(_))));
        drop(folder);
        let (folder, read) = RunFolder::open(&path).unwrap();
        assert_eq!(read, config());
        assert_eq!(folder.latest(&graph(), &mut Silent(Vec::new())).unwrap(), Checkpoint::start(&graph(), 1));
        let again = RunFolder::create(&path, &config(), &graph(), &at_epoch(0));
        assert!(matches!(again, Err(TrainError::Exists(_))));
        assert!(matches!(RunFolder::open(dir.path()), Err(TrainError::NoRun(_))));
        assert_eq!(fs::read_dir(dir.path().join("runs")).unwrap().count(), 1);
    }

    #[test]
    fn two_checkpoints_are_kept_and_a_damaged_one_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let folder = made(&dir.path().join("run"));
        let paths: Vec<PathBuf> = (1..4).map(|e| folder.write_checkpoint(&at_epoch(e), &graph()).unwrap()).collect();
        assert_eq!(folder.checkpoints().unwrap(), [paths[2].clone(), paths[1].clone()]);
        let mut bytes = fs::read(&paths[2]).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..].fill(0);
        fs::write(&paths[2], bytes).unwrap();
        let mut told = Silent(Vec::new());
        assert_eq!(folder.latest(&graph(), &mut told).unwrap(), at_epoch(2));
        assert_eq!(told.0.len(), 1);
        fs::write(&paths[1], b"").unwrap();
        let error = folder.latest(&graph(), &mut told).unwrap_err();
        assert!(matches!(&error, TrainError::NoCheckpoint { why, .. } if why.contains("epoch-000002")), "{error}");
    }

    #[test]
    fn a_run_goes_back_to_the_end_of_an_epoch_however_often_it_was_stopped_since() {
        let dir = tempfile::tempdir().unwrap();
        let folder = made(&dir.path().join("run"));
        let write = |epoch, step| {
            let mut checkpoint = at_epoch(epoch);
            checkpoint.state.step = step;
            folder.write_checkpoint(&checkpoint, &graph()).unwrap()
        };
        let told = &mut Silent(Vec::new());
        let ends = [write(1, 0), write(2, 0)];
        let within: Vec<PathBuf> = (1..5).map(|step| write(2, step)).collect();
        assert_eq!(folder.checkpoints().unwrap(), [within[3].clone(), within[2].clone(), ends[1].clone()]);
        assert_eq!(folder.go_back(&graph(), told).unwrap(), at_epoch(2));
        assert_eq!(folder.checkpoints().unwrap(), [ends[1].clone()]);
        // What a version that kept two wherever they were has left.
        let within = [write(2, 1), write(2, 2)];
        fs::remove_file(&ends[1]).unwrap();
        assert_eq!(folder.go_back(&graph(), told).unwrap().state.step, 2);
        assert_eq!(folder.checkpoints().unwrap(), [within[1].clone(), within[0].clone()]);
        assert!(told.0.is_empty());
    }

    #[test]
    fn a_checkpoint_that_cannot_be_written_is_an_error_that_names_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let folder = made(&dir.path().join("run"));
        fs::remove_dir_all(folder.path().join(CHECKPOINTS)).unwrap();
        fs::write(folder.path().join(CHECKPOINTS), b"in the way").unwrap();
        let error = folder.write_checkpoint(&at_epoch(1), &graph()).unwrap_err().to_string();
        assert!(error.contains("cspnet resume") && error.contains("run"), "{error}");
    }

    /// On a device that is always full.
    #[cfg(target_os = "linux")]
    #[test]
    fn an_event_that_cannot_be_written_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = made(&dir.path().join("run"));
        std::os::unix::fs::symlink("/dev/full", folder.path().join(EVENTS)).unwrap();
        let error = folder.event("begun", &serde_json::json!({})).unwrap_err().to_string();
        assert!(error.contains("events.jsonl: cannot be written: No space left"), "{error}");
    }

    #[test]
    fn a_folder_that_leads_elsewhere_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("epoch-000009-step-000000.safetensors"), b"somebody's").unwrap();
        let names = [LOCK, CONFIG, METRICS, EVENTS, MODELS[0], MODELS[1], CHECKPOINTS, "checkpoints/x.safetensors"];
        for (i, name) in names.iter().enumerate() {
            let path = dir.path().join(format!("run{i}"));
            drop(made(&path));
            let place = path.join(name);
            let target = match place.is_dir() {
                true => fs::remove_dir_all(&place).map(|()| elsewhere.clone()),
                false => Ok(elsewhere.join("file")),
            };
            let _ = fs::remove_file(&place);
            #[cfg(unix)]
            std::os::unix::fs::symlink(target.unwrap(), &place).unwrap();
            #[cfg(not(unix))]
            target.and_then(|_| fs::create_dir(&place)).unwrap();
            // Without a target, there is no configuration.
            let error = RunFolder::open(&path).unwrap_err();
            assert!(matches!(&error, TrainError::Foreign(at) if *at == place) || *name == CONFIG, "{name}: {error}");
        }
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    }

    #[test]
    fn configurations_that_mean_harm_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        drop(made(&path));
        let sound = fs::read_to_string(path.join(CONFIG)).unwrap();
        let many = sound.replace("\"classes\": [", &format!("\"classes\": [{}", "\"\",".repeat(1 << 19)));
        for (text, reason) in [
            ("{}".to_owned(), "missing field"),
            ("[".repeat(100_000), "is no configuration of a run"),
            (" ".repeat(MAX_CONFIG + 1), "at most 16777216 are read"),
            (many, "more than 524288 values"),
            (sound.replace("\"lr\"", "\"l\""), "unknown field"),
            (sound.replace("[\n    64", "[\n    -64"), "invalid value"),
            (sound[..sound.len() / 2].to_owned(), "EOF"),
        ] {
            fs::write(path.join(CONFIG), &text).unwrap();
            let error = RunFolder::open(&path).unwrap_err().to_string();
            assert!(error.contains("config.json") && error.contains(reason), "{error}\ninstead of: {reason}");
        }
    }

    #[test]
    fn half_a_line_of_events_does_not_spoil_the_next_and_left_overs_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        made(&path).event("begun", &serde_json::json!({ "epoch": 0 })).unwrap();
        let mut torn = OpenOptions::new().append(true).open(path.join(EVENTS)).unwrap();
        torn.write_all(b"{\"time\":1,\"ev").unwrap();
        fs::write(path.join(CHECKPOINTS).join("x.safetensors.1.0.part"), b"half").unwrap();
        let (folder, _) = RunFolder::open(&path).unwrap();
        folder.event("resumed", &serde_json::json!({})).unwrap();
        let text = fs::read_to_string(path.join(EVENTS)).unwrap();
        let events: Vec<&str> = text.lines().collect();
        assert!(events.len() == 3 && events[2].contains("resumed"), "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(events[2]).is_ok());
        assert_eq!(fs::read_dir(path.join(CHECKPOINTS)).unwrap().count(), 1);
    }
}
