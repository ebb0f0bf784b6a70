//! `cspnet export`: a network with its weights as a file that other engines run.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use cspnet::formats::text::shown;
use cspnet::formats::{Manifest, atomic, onnx};

use crate::darknet;
use crate::failure::Failure;
use crate::inspect::size;
use crate::source::{self, Network};

/// Write a network with its weights as a file that other engines run.
///
/// ONNX files have opset 17, an open batch, the names of the network's layers and parameters, and the model's labels and
/// preprocessing in their metadata. For Darknet, FILE has the layers; the weights and, if there are some, the labels are beside it
/// and end in .weights and .names. A network that is no model file is written as `cspnet new` would make it, untrained.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A network (see `cspnet models`), a model file or an ONNX file
    #[arg(value_name = "NETWORK|FILE")]
    network: String,

    /// The form of the file
    #[arg(long, value_enum)]
    to: Form,

    /// Pixels of the photo's sides: one number, or HEIGHTxWIDTH; by default what the network was made for
    #[arg(long, value_name = "SIZE", value_parser = size)]
    size: Option<[usize; 2]>,

    /// What becomes of normalisations behind convolutions in an ONNX file [default: fold]; Darknet has them as they are
    #[arg(long, value_enum)]
    batch_norm: Option<BatchNorm>,

    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// A form of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Open Neural Network Exchange
    Onnx,
    /// Darknet's .cfg and .weights
    Darknet,
}

/// What becomes of normalisations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BatchNorm {
    /// They go into the convolutions' weights
    Fold,
    /// They stay, and with them every parameter as it is
    Node,
}

impl From<BatchNorm> for onnx::BatchNorm {
    fn from(batch_norm: BatchNorm) -> Self {
        match batch_norm {
            BatchNorm::Fold => Self::Fold,
            BatchNorm::Node => Self::Node,
        }
    }
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let network = source::network_of_size(&args.network, args.size)?;
    let [height, width] = args.size.unwrap_or(network.size);
    if args.to == Form::Darknet {
        if args.batch_norm.is_some() {
            return Err(Failure::Message("--batch-norm is for ONNX; leave it out for Darknet".into()));
        }
        // Of the preprocessing, Darknet needs what holds for all sizes.
        let manifest = manifest(&network, network.size)?;
        return darknet::export(&network, &manifest, [height, width], &args.output);
    }
    let manifest = manifest(&network, [height, width])?;
    let batch_norm = args.batch_norm.unwrap_or(BatchNorm::Fold).into();
    let options = onnx::Options { size: Some([height, width]), batch_norm, softmax: false };
    let bytes = onnx::write(&network.graph, &network.weights().to_weights()?, Some(&manifest), &options)?;
    atomic::write(&args.output, &bytes)?;
    let (path, channels) = (args.output.to_string_lossy(), network.graph.input_channels());
    let untrained = if network.file.is_none() { " (untrained)" } else { "" };
    writeln!(
        io::stdout(),
        "{}: {}{untrained} as ONNX, opset {}, input batch x {channels} x {height} x {width}, {:.1} MB",
        shown(&path),
        manifest.network,
        onnx::OPSET,
        bytes.len() as f64 / 1e6,
    )?;
    Ok(ExitCode::SUCCESS)
}

/// What the file says of the model. Preprocessing belongs to one size of photo; at another it would be wrong.
fn manifest(network: &Network, [height, width]: [usize; 2]) -> Result<Manifest, Failure> {
    let mut manifest = match &network.file {
        Some(file) => file.manifest().clone(),
        None => Manifest { preprocess: network.preprocess()?, ..Manifest::new(&network.name, network.graph.clone()) },
    };
    let own = manifest.preprocess.as_ref().map(|p| (p.size.0 as usize, p.size.1 as usize));
    if let Some((rows, columns)) = own.filter(|own| *own != (height, width)) {
        manifest.preprocess = None;
        // If nobody can be told, the file still is what was asked for.
        let _ = writeln!(io::stderr(), "the model's preprocessing is left out: it gives {rows} x {columns} pixels");
    }
    Ok(manifest)
}
