//! `cspnet bench`: how fast does a network run here, and how far is that from what the machine can do?
//!
//! Not here: comparing with other engines.

mod inference;
mod layers;
mod machine;
mod runs;
mod told;
mod training;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use cspnet::ModelOptions;
use cspnet::engine::{Isa, PlanOptions, Rewrite, RunError, StepReport, TrainOptions, default_threads};
use cspnet::graph::Shape;
use cspnet::graph::analysis::Count;
use cspnet_train::{Footprint, tile_unit};

use crate::failure::Failure;
use crate::numbers::size;
use crate::planning::Planning;
use crate::resources::Memory;
use crate::rewrites::{self, Saved};
use crate::source;
use inference::Inference;
use layers::Layer;
use machine::Peak;
use runs::Times;
use training::Training;

/// Measure how fast a network runs.
///
/// A run goes from pictures in memory to the network's answer; with --train it is a step of training: forward, backward, and an
/// update by stochastic gradient descent with momentum. Rates are those of the fastest run; the share of the peak is
/// theirs, of what as many threads reach with multiply-adds on registers alone, probed just before and after. It can be above
/// 100 %, since some methods need fewer multiply-adds than are counted. The peak of memory is the process's so far, loading
/// included. A network that is no model file has the weights that `cspnet new` would give it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A network (see `cspnet models`), a model file or an ONNX file
    #[arg(value_name = "NETWORK|FILE")]
    network: String,

    /// Pixels of the photo's sides: one number, or HEIGHTxWIDTH; by default what the network was made for
    #[arg(long, value_name = "SIZE", value_parser = size)]
    size: Option<[usize; 2]>,

    /// Pictures computed at once, such as 1,8: each is measured
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: Vec<u32>,

    /// Threads, such as 1,2: each is measured; by default as many as this process may really use
    #[arg(long, value_name = "N,...", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Vec<u32>,

    /// A step of training instead of an answer
    #[arg(long, conflicts_with_all = ["strict", "without", "tune", "low_memory"])]
    train: bool,

    /// How much memory a step of training may take
    #[arg(long, value_enum, default_value_t = Memory::Fast, requires = "train")]
    memory: Memory,

    /// A step in mixed precision, for processors with Intel's AMX: convolutions of stride 1 multiply in bfloat16
    #[arg(long, requires = "train")]
    amp: bool,

    /// How long each is measured, and at least ten runs
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,

    /// Tell of every layer which kernel computes it and how long that takes, and what rewrites of the network have saved
    #[arg(long)]
    profile: bool,

    /// The network as it stands, without rewrites and with direct convolutions only: what these gain is the difference
    #[arg(long, conflicts_with = "tune")]
    strict: bool,

    /// Rewrites that are not to be applied, such as pool-first,stack
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = rewrites::parser(),
          conflicts_with = "strict")]
    without: Vec<Rewrite>,

    /// One JSON object a line for each combination instead of a table; `size` is a number where the photo is a square
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    planning: Planning,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err(format!("`{text}` is no number of seconds from 0 to 3600")),
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let bench = Bench::new(args)?;
    let mut out = io::stdout().lock();
    if !args.json {
        told::headline(&bench, &mut out)?;
    }
    let own = [default_threads() as u32];
    let threads = if args.threads.is_empty() { &own[..] } else { &args.threads };
    for &batch in &args.batch {
        for &threads in threads {
            let measured = bench.measure(batch as usize, threads as usize)?;
            if args.json {
                told::json(&bench, &measured, &mut out)?
            } else {
                told::row(&bench, &measured, &mut out)?
            }
            out.flush()?;
            measured.doubts().for_each(|doubt| warn(batch, threads, &doubt));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says why numbers are not to be trusted; if nobody can be told, there are still the numbers.
fn warn(batch: u32, threads: u32, doubt: &str) {
    let told = format!("batch {batch}, threads {threads}: {doubt}; the machine is too noisy to trust these numbers");
    let _ = writeln!(io::stderr(), "{told}");
}

/// What is measured.
struct Bench {
    network: String,
    isa: Isa,
    picture: Shape,
    subject: Box<dyn Subject>,
    count: Count,
    seconds: f64,
    profile: bool,
}

/// A network compiled for what is to be measured.
trait Subject {
    /// Its steps, in the order in which they run.
    fn steps(&self) -> &[StepReport];

    /// Rewrites of the network that were applied.
    fn rewrites(&self) -> Vec<Saved>;

    /// Makes all that runs with so many pictures and threads need.
    fn prepare(&self, batch: usize, threads: usize) -> Box<dyn Run + '_>;
}

/// A subject with memory, threads and pictures.
trait Run {
    /// Runs once.
    fn run(&mut self) -> Result<(), RunError>;

    /// Runs once, and tells how long each step took.
    fn run_timed(&mut self) -> Result<Vec<Duration>, RunError>;
}

/// What came of one combination of batch and threads.
struct Measured {
    batch: usize,
    threads: usize,
    times: Times,
    peak: Peak,
    peak_rss_bytes: Option<u64>,
    layers: Option<Vec<Layer>>,
}

/// How the network is to be planned.
fn options(args: &Args) -> ModelOptions {
    let mut options = args.planning.options();
    if args.strict {
        options.plan = PlanOptions::strict();
    }
    options.plan.rewrites = args.without.iter().fold(options.plan.rewrites, |set, &r| set.without(r));
    options
}

impl Bench {
    /// Loads the network; its weights are needed only until there is a plan.
    fn new(args: &Args) -> Result<Self, Failure> {
        let network = source::network_of_size(&args.network, args.size)?;
        let [height, width] = args.size.unwrap_or(network.size);
        let picture = [network.graph.input_channels(), height, width];
        let options = options(args);
        let subject: Box<dyn Subject> = match args.train {
            true => {
                let recomputes = Footprint::from(args.memory).recomputes();
                let options = TrainOptions { isa: options.plan.isa, recomputes, mixed: tile_unit(args.amp)? };
                Box::new(Training::new(&network, picture, &options)?)
            }
            false => Box::new(Inference::new(&network, picture, &options)?),
        };
        Ok(Self {
            count: Count::of(&network.graph, picture)?,
            subject,
            isa: options.plan.isa,
            picture,
            network: network.name,
            seconds: args.seconds,
            profile: args.profile,
        })
    }

    fn measure(&self, batch: usize, threads: usize) -> Result<Measured, Failure> {
        let mut run = self.subject.prepare(batch, threads);
        runs::warm_up(self.seconds, || run.run())?;
        let before = machine::peak(self.isa, threads);
        let times = runs::times(self.seconds, || run.run())?;
        let peak = Peak { before, after: machine::peak(self.isa, threads) };
        let layers = self.profile.then(|| {
            let runs = runs::repeat(self.seconds, || run.run_timed())?;
            Ok::<_, Failure>(layers::layers(self.subject.steps(), &self.count, batch, &runs))
        });
        let (peak_rss_bytes, layers) = (machine::peak_rss_bytes(), layers.transpose()?);
        Ok(Measured { batch, threads, times, peak, peak_rss_bytes, layers })
    }

    /// Multiply-adds of a batch, in units of 1e9.
    fn gmacs(&self, batch: usize) -> f64 {
        batch as f64 * layers::macs(self.subject.steps(), &self.count) as f64 / 1e9
    }
}

impl Measured {
    fn images_per_s(&self) -> f64 {
        1e3 * self.batch as f64 / self.times.min_ms
    }

    fn gmac_per_s(&self, bench: &Bench) -> f64 {
        1e3 * bench.gmacs(self.batch) / self.times.min_ms
    }

    fn peak_share(&self, bench: &Bench) -> f64 {
        2.0 * self.gmac_per_s(bench) / self.peak.gflops()
    }

    /// Why these numbers may be wrong.
    fn doubts(&self) -> impl Iterator<Item = String> {
        [self.peak.doubt(), self.times.doubt()].into_iter().flatten()
    }
}
