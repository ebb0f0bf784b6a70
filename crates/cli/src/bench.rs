//! `cspnet bench`: how fast does a network run here, and how far is that from what the machine can do?
//!
//! Not here: comparing with other engines.

mod layers;
mod machine;
mod runs;
mod told;

use std::io::{self, Write};
use std::process::ExitCode;

use cspnet::ModelOptions;
use cspnet::engine::{Input, Isa, Plan, PlanOptions, Rewrite, default_threads};
use cspnet::graph::analysis::Count;
use cspnet::graph::{Shape, init};

use crate::failure::Failure;
use crate::inspect::size;
use crate::planning::Planning;
use crate::{rewrites, source};
use layers::Layer;
use machine::Peak;
use runs::Times;

/// Measure how fast a network runs.
///
/// A run goes from pictures in memory to the network's answer. Rates are those of the fastest run; the share of the peak is
/// theirs, of what as many threads reach with multiply-adds on registers alone, probed just before and after. It can be above
/// 100 %, since some methods need fewer multiply-adds than are counted. The peak of memory is the process's so far, loading
/// included. A network that is no model file has the weights that `cspnet new` would give it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A network (see `cspnet models`) or a model file
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
    plan: Plan,
    count: Count,
    seconds: f64,
    profile: bool,
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

/// Pictures of the kind that a plan takes.
enum Pictures {
    Real(Vec<f32>),
    Pixels(Vec<u8>),
}

impl Pictures {
    fn new(plan: &Plan, images: usize) -> Self {
        let numbers = init::reference_input(images * plan.picture().iter().product::<usize>());
        match plan.takes_pixels() {
            true => Self::Pixels(numbers.iter().map(|v| (127.5 * (v + 1.0)) as u8).collect()),
            false => Self::Real(numbers),
        }
    }

    fn input(&self) -> Input<'_> {
        match self {
            Self::Real(numbers) => Input::Real(numbers),
            Self::Pixels(pixels) => Input::Pixels(pixels),
        }
    }
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
        let network = source::network(&args.network)?;
        let [height, width] = args.size.unwrap_or(network.size);
        let picture = [network.graph.input_channels(), height, width];
        let options = options(args);
        Ok(Self {
            count: Count::of(&network.graph, picture)?,
            plan: options.plan(&network.graph, network.weights(), picture)?,
            isa: options.plan.isa,
            picture,
            network: network.name,
            seconds: args.seconds,
            profile: args.profile,
        })
    }

    fn measure(&self, batch: usize, threads: usize) -> Result<Measured, Failure> {
        let mut workspace = self.plan.workspace(batch, threads);
        let pictures = Pictures::new(&self.plan, batch);
        let input = pictures.input();
        let mut run = || self.plan.run(&mut workspace, input);
        runs::warm_up(self.seconds, &mut run)?;
        let before = machine::peak(self.isa, threads);
        let times = runs::times(self.seconds, &mut run)?;
        let peak = Peak { before, after: machine::peak(self.isa, threads) };
        let layers = self.profile.then(|| {
            let runs = runs::repeat(self.seconds, || self.plan.run_timed(&mut workspace, input))?;
            Ok::<_, Failure>(layers::layers(self.plan.report(), &self.count, batch, &runs))
        });
        let (peak_rss_bytes, layers) = (machine::peak_rss_bytes(), layers.transpose()?);
        Ok(Measured { batch, threads, times, peak, peak_rss_bytes, layers })
    }

    /// Multiply-adds of a batch, in units of 1e9.
    fn gmacs(&self, batch: usize) -> f64 {
        batch as f64 * self.count.macs() as f64 / 1e9
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
