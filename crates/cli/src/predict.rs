//! `cspnet predict`: what is on these photos?
//!
//! Photos are read a batch at a time, so memory does not grow with their number, and a photo that cannot be read gives a
//! record of its own instead of an end.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use cspnet::engine::default_threads;
use cspnet::{Photo, Session};

use crate::failure::{Failure, SOME_FAILED};
use crate::photos::{Named, expand};
use crate::planning::Planning;
use crate::prepare::Prepare;
use crate::records::{Format, Record, Writer};
use crate::source;
use crate::tta::TestTime;

/// Say what is on photos.
///
/// Names, for each photo, the likeliest classes of the model with their probabilities and the time taken. Without --model
/// the program's own small model answers: ten kinds of clothing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Photos: files, folders (with all below them), patterns such as 'holiday/*.jpg', or - for a list on standard input
    /// (one path a line, or separated by NUL characters)
    #[arg(required = true, value_name = "PHOTO")]
    photos: Vec<PathBuf>,

    /// Model file or ONNX file; without it the program's own model
    #[arg(short, long, value_name = "FILE")]
    model: Option<PathBuf>,

    /// How many of the likeliest classes are told
    #[arg(short, long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    top: u32,

    /// Threads; by default as many as this process may really use
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,

    /// Photos computed at once; the answers do not depend on it
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,

    /// Form of the answer: a table on a terminal, JSON Lines elsewhere, unless asked for here
    #[arg(long, value_enum, value_name = "FORM")]
    format: Option<Format>,

    #[command(flatten)]
    test_time: TestTime,

    #[command(flatten)]
    planning: Planning,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let begin = Instant::now();
    // Else the program's own model would answer for the photos beside it.
    if let Some(model) = args.photos.iter().find(|path| source::is_model(path)) {
        return Err(Failure::Message(format!("{} is a model, no photo; give it by --model", model.display())));
    }
    let model = source::model(args.model.as_deref(), &args.planning.options())?;
    let threads = args.threads.map_or_else(default_threads, |n| n as usize);
    let mut named = expand(&args.photos);
    let mut batch: Vec<Named> = named.by_ref().take(args.batch as usize).collect();
    let mut predictor = Predictor {
        prepare: Prepare::of(&model),
        // Room for no more than there are.
        session: args.test_time.session(model.session(batch.len().max(1), threads)),
        threads,
        top: args.top as usize,
    };
    let mut writer = Writer::new(io::stdout().lock(), args.format);
    let (mut photos, mut failed) = (0_usize, 0_usize);
    while !batch.is_empty() {
        for record in predictor.records(batch) {
            photos += 1;
            failed += usize::from(record.answer.is_err());
            writer.write(&record)?;
        }
        batch = named.by_ref().take(args.batch as usize).collect();
    }
    summarise(photos, failed, begin);
    Ok(if failed > 0 { ExitCode::from(SOME_FAILED) } else { ExitCode::SUCCESS })
}

/// Totals for people, on standard error: scripts read standard output.
fn summarise(photos: usize, failed: usize, begin: Instant) {
    let seconds = begin.elapsed().as_secs_f64();
    let failures = if failed > 0 { format!(", {failed} of them could not be read") } else { String::new() };
    let photos = if photos == 1 { "1 photo".to_owned() } else { format!("{photos} photos") };
    // Nobody may be listening; the answers count.
    let _ = writeln!(io::stderr(), "{photos}{failures}, {seconds:.2} s");
}

/// Answers batch after batch.
struct Predictor<'a> {
    prepare: Prepare,
    session: Session<'a>,
    threads: usize,
    top: usize,
}

/// A photo as read and brought to the network's size, with the milliseconds that took.
type Read = (PathBuf, Result<(Photo, f64), String>);

impl Predictor<'_> {
    fn records(&mut self, batch: Vec<Named>) -> Vec<Record> {
        let read = self.read(batch);
        let photos: Vec<Photo> = read.iter().filter_map(|(_, r)| Some(r.as_ref().ok()?.0.clone())).collect();
        let begin = Instant::now();
        let classes = self.session.classify_prepared(&photos);
        let share = milliseconds(begin) / photos.len().max(1) as f64;
        let mut classes = match classes {
            Ok(classes) => classes.into_iter().map(Ok).collect(),
            Err(e) => vec![Err(e.to_string()); photos.len()],
        }
        .into_iter();
        let answer = |(photo, read): Read| {
            let answer = read.and_then(|(_, decoding)| {
                let mut classes = classes.next().expect("an answer for every photo that was read")?;
                if classes.iter().any(|class| !class.probability.is_finite()) {
                    return Err("the network's answer has numbers that are not finite".into());
                }
                classes.truncate(self.top);
                Ok((classes, decoding + share))
            });
            Record { photo, answer }
        };
        read.into_iter().map(answer).collect()
    }

    /// Reads and prepares a batch on all threads; the order stays.
    fn read(&self, batch: Vec<Named>) -> Vec<Read> {
        let next = AtomicUsize::new(0);
        let worker = || {
            let mut read = Vec::new();
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let Some(named) = batch.get(i) else { return read };
                read.push((i, self.read_one(named)));
            }
        };
        let mut all: Vec<(usize, Read)> = std::thread::scope(|scope| {
            // Where the system has no more threads, fewer do it.
            let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, worker).ok();
            let workers: Vec<_> = (1..self.threads.min(batch.len())).map_while(spawn).collect();
            let mut all = worker();
            for w in workers {
                all.extend(w.join().expect("decoding does not panic"));
            }
            all
        });
        all.sort_by_key(|(i, _)| *i);
        all.into_iter().map(|(_, read)| read).collect()
    }

    fn read_one(&self, named: &Named) -> Read {
        match named {
            Ok(path) => {
                let begin = Instant::now();
                let photo = self.prepare.photo(path);
                (path.clone(), photo.map(|p| (p, milliseconds(begin))))
            }
            Err((path, why)) => (path.clone(), Err(why.clone())),
        }
    }
}

fn milliseconds(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1000.0
}
