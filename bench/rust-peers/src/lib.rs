//! The loop of a worker of the peers bench: requests on stdin, one JSON object a line, answers on stdout; see `bench/README.md`.
//!
//! Not here: engines. Each is a program in `src/bin`, and those in Python have the same loop in `bench/peers/loop.py`.
#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Whatever goes wrong in an engine.
pub type Failure = Box<dyn Error + Send + Sync>;

/// What an engine is to load.
#[derive(Debug, Deserialize)]
pub struct Load {
    /// The network, in the file that the engine takes.
    pub model: PathBuf,
    /// Pictures as single-precision numbers, `[batch, 3, height, width]` and perhaps more images than that.
    pub input: PathBuf,
    /// Pictures computed at once.
    pub batch: usize,
    /// Height and width.
    pub size: [usize; 2],
    /// Threads to compute with.
    pub threads: usize,
}

impl Load {
    /// The pictures' shape.
    pub fn shape(&self) -> [usize; 4] {
        [self.batch, 3, self.size[0], self.size[1]]
    }

    /// The pictures.
    ///
    /// # Errors
    /// If the file cannot be read or is too short.
    pub fn pictures(&self) -> Result<Vec<f32>, Failure> {
        let bytes = fs::read(&self.input)?;
        let wanted = bytes.get(..4 * self.shape().iter().product::<usize>()).ok_or("too few pictures")?;
        Ok(wanted.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }
}

/// A network that an engine holds, with its pictures.
pub trait Engine: Sized {
    /// Makes everything ready that does not belong to a run.
    ///
    /// # Errors
    /// If the engine cannot run the network.
    fn load(load: &Load) -> Result<Self, Failure>;

    /// From pictures in memory to logits in memory, for all pictures one after another.
    ///
    /// # Errors
    /// If the engine fails.
    fn run(&mut self) -> Result<Vec<f32>, Failure>;

    /// The machine's peak in GFLOP/s with so many threads, where the engine can tell.
    fn peak(_threads: usize) -> Option<f64> {
        None
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    Load(Load),
    Answer,
    Run { seconds: f64 },
    Peak { threads: usize },
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Loaded,
    Answer(Vec<f32>),
    Ms(Vec<f64>),
    Peak(Option<f64>),
    Error(String),
}

/// Answers requests until there are no more.
///
/// # Errors
/// If stdin or stdout fail.
pub fn serve<E: Engine>() -> io::Result<()> {
    let mut engine: Option<E> = None;
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let reply = reply(&line?, &mut engine).unwrap_or_else(|e| Reply::Error(e.to_string()));
        serde_json::to_writer(&mut out, &reply)?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}

fn reply<E: Engine>(line: &str, engine: &mut Option<E>) -> Result<Reply, Failure> {
    let loaded = engine.as_mut().ok_or("nothing is loaded");
    match serde_json::from_str(line)? {
        Request::Answer => Ok(Reply::Answer(loaded?.run()?)),
        Request::Run { seconds } => Ok(Reply::Ms(times(loaded?, seconds)?)),
        Request::Peak { threads } => Ok(Reply::Peak(E::peak(threads))),
        Request::Load(load) => {
            *engine = Some(E::load(&load)?);
            Ok(Reply::Loaded)
        }
    }
}

/// Milliseconds of runs for so long and at least one, after one that is not measured: others have been at the caches.
fn times(engine: &mut impl Engine, seconds: f64) -> Result<Vec<f64>, Failure> {
    engine.run()?;
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut times = Vec::new();
    while times.is_empty() || Instant::now() < end {
        let begin = Instant::now();
        std::hint::black_box(engine.run()?);
        times.push(1e3 * begin.elapsed().as_secs_f64());
    }
    Ok(times)
}
