//! `cspnet eval`: how often is a model right?
//!
//! Photos are read by threads of their own while the network computes, and counted as they are judged, so memory for pixels
//! does not grow with their number.

mod classes;
mod confusion;
mod json;
mod judge;
mod text;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use cspnet::engine::default_threads;
use cspnet_data::{DataOptions, DataSet, Outline, Skipped, Split};

use crate::failure::{Failure, SOME_FAILED};
use crate::numbers::bytes;
use crate::planning::Planning;
use crate::progress::read_photos;
use crate::tta::TestTime;
use crate::{source, table};
use judge::Verdict;

/// Say how often a model is right, on photos whose classes are known.
///
/// DATA has a folder for every class, or `test`, `validation` (`val`) and `train` with such folders in each; or it is a
/// Parquet file, or a folder of such files whose names begin with their split's, as on Hugging Face. Folders
/// are matched with the model's classes by name. Told are the shares of photos whose class is the likeliest (top-1) or among the
/// five likeliest (top-5), each with the range that holds the true share in 95 of 100 such measurements; for each class, how
/// many of its photos are recognised (recall), how much of what is taken for it is right (precision), and their harmonic mean
/// (F1); and what is taken for what.
#[derive(Debug, clap::Args)]
#[command(allow_missing_positional = true)]
pub struct Args {
    /// Model file or ONNX file; without it the program's own model (ten kinds of clothing)
    model: Option<PathBuf>,

    /// Folder of class folders, of splits with class folders, or of Parquet files; or one such file
    data: PathBuf,

    /// The split to judge by; by default test, else validation
    #[arg(long, value_enum, value_name = "SPLIT")]
    split: Option<SplitName>,

    /// The column of Parquet files that has the classes, as names or as whole numbers; by default it is found by its type and name
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,

    /// Bytes of encoded photos of Parquet files that may be held in memory, like 8G
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_packed: Option<u64>,

    /// Threads; by default as many as this process may really use
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,

    /// Photos computed at once; the answers do not depend on it
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,

    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    test_time: TestTime,

    #[command(flatten)]
    planning: Planning,
}

/// A split, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SplitName {
    /// What the model learnt from
    Train,
    /// What decided between recipes and epochs
    Validation,
    /// What is looked at once, at the end
    Test,
}

impl From<SplitName> for Split {
    fn from(name: SplitName) -> Self {
        match name {
            SplitName::Train => Self::Train,
            SplitName::Validation => Self::Validation,
            SplitName::Test => Self::Test,
        }
    }
}

/// All that is told of a model and a folder.
struct Evaluation {
    /// The model's file; none for the program's own model.
    model: Option<PathBuf>,
    /// The folder of the class folders.
    folder: PathBuf,
    /// The split, if DATA has splits.
    split: Option<Split>,
    /// The data set's fingerprint.
    fingerprint: String,
    /// Names of the model's classes.
    labels: Vec<String>,
    /// Those of them that have no folder.
    absent: Vec<usize>,
    /// What came out.
    verdict: Verdict,
    /// Files that were not judged, in the order of their names.
    skipped: Vec<Skipped>,
    /// What was chosen of the data set that might have been chosen otherwise.
    notes: Vec<String>,
}

impl Evaluation {
    /// Photos that were judged.
    fn photos(&self) -> u64 {
        self.verdict.confusion.accuracy().of()
    }

    /// How fast they were, reading included.
    fn photos_per_second(&self) -> f64 {
        self.photos() as f64 / self.verdict.seconds.max(1e-9)
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let evaluation = evaluate(args)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        json::write(&evaluation, &mut out)?;
    } else {
        text::write(&evaluation, table::terminal_width(), &mut out)?;
    }
    out.flush()?;
    let some_failed = evaluation.skipped.iter().any(|s| s.unreadable);
    Ok(if some_failed { ExitCode::from(SOME_FAILED) } else { ExitCode::SUCCESS })
}

fn evaluate(args: &Args) -> Result<Evaluation, Failure> {
    check_order(args.model.as_deref(), &args.data)?;
    let model = source::model(args.model.as_deref(), &args.planning.options())?;
    let split = args.split.map(Split::from);
    let threads = args.threads.map_or_else(default_threads, |n| n as usize);
    let usual = DataOptions::default();
    let options = DataOptions {
        threads,
        decode: model.decode_options(),
        label_column: args.label_column.clone(),
        max_packed: args.max_packed.unwrap_or(usual.max_packed),
        ..usual
    };
    let outline = Outline::of(&args.data, split, &options)?;
    // Now, because a model that does not fit should be told before all photos have been looked at.
    let folders = classes::of_folders(model.labels(), &outline.classes)?;

    let mut data = read_photos(|looked_at| DataSet::open_one(&args.data, split, &options, looked_at))?;
    if data.classes != outline.classes {
        let folder = outline.folder.display();
        return Err(Failure::Message(format!("{folder}: the class folders changed while they were read; try again")));
    }
    data.test.iter_mut().for_each(|sample| sample.class = folders[sample.class]);

    let mut verdict =
        judge::judge(args.test_time.session(model.session(args.batch as usize, threads)), &model, data.test, threads)?;
    let mut skipped = data.skipped;
    skipped.append(&mut verdict.skipped);
    skipped.sort_by(|a, b| a.path.cmp(&b.path));
    let absent = (0..model.labels().len()).filter(|class| !folders.contains(class)).collect();
    Ok(Evaluation {
        model: args.model.clone(),
        folder: outline.folder,
        split: outline.split,
        fingerprint: data.fingerprint,
        labels: model.labels().to_vec(),
        absent,
        verdict,
        skipped,
        notes: data.notes,
    })
}

/// Tells those who named the folder first, or no folder at all.
fn check_order(model: Option<&Path>, data: &Path) -> Result<(), Failure> {
    if let Some(folder) = model.filter(|path| path.is_dir()) {
        let folder = folder.display();
        return Err(Failure::Message(format!(
            "{folder} is a folder and no model file; the model comes first, then DATA"
        )));
    }
    if data.is_file() && data.extension().is_none_or(|e| e != "parquet") {
        let data = data.display();
        return Err(Failure::Message(format!(
            "{data} is a file; DATA is a folder with a folder of photos for every class, or Parquet files"
        )));
    }
    Ok(())
}
