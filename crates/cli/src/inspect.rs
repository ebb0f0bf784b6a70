//! `cspnet inspect`: what is a network made of, and what does it cost?

use std::io::{self, Write};
use std::process::ExitCode;

use cspnet::engine::{Plan, PlanOptions};
use cspnet::formats::text::shown;
use cspnet::graph::Shape;
use cspnet::graph::analysis::Count;
use serde::Serialize;

use crate::failure::Failure;
use crate::numbers::{grouped, size};
use crate::rewrites::{self, Saved};
use crate::{source, table};

/// Show a network layer by layer, with shapes, parameters and operations.
///
/// MACs are multiply-adds of convolutions and fully connected layers; FLOPs are twice as many. Darknet's count, which the
/// CSPNet paper prints as BFLOPs, adds the cells of pooling windows. Layers are those of the network as it is described; what a plan
/// changes about it is told by rewrites, with what each saves for one picture.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A network (see `cspnet models`), a model file or an ONNX file
    #[arg(value_name = "NETWORK|FILE")]
    network: String,

    /// Pixels of the photo's sides: one number, or HEIGHTxWIDTH; by default what the network was made for
    #[arg(long, value_name = "SIZE", value_parser = size)]
    size: Option<[usize; 2]>,

    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Inspection {
    /// Version of this form; it grows when a field changes its meaning.
    version: u32,
    network: String,
    /// The first of the inputs.
    input: Shape,
    /// All that the network takes.
    inputs: Vec<Named>,
    /// All that it gives, its answer first.
    outputs: Vec<Named>,
    totals: Totals,
    /// What a plan of the network changes about it.
    rewrites: Vec<Saved>,
    layers: Vec<Layer>,
}

/// An input or an output.
#[derive(Serialize)]
struct Named {
    name: String,
    shape: Shape,
}

#[derive(Serialize)]
struct Totals {
    params: usize,
    macs: u64,
    flops: u64,
    darknet_flops: u64,
    conv_activations: u64,
    weight_bytes: usize,
    peak_activation_bytes: usize,
    copied_bytes: usize,
}

#[derive(Serialize)]
struct Layer {
    path: String,
    op: &'static str,
    shape: Shape,
    params: usize,
    macs: u64,
    flops: u64,
}

/// Runs the verb.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let inspection = inspect(args)?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &inspection)?;
        writeln!(out)?;
    } else {
        print(&inspection, &mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn inspect(args: &Args) -> Result<Inspection, Failure> {
    let network = source::network_of_size(&args.network, args.size)?;
    let shapes = network.shapes(args.size);
    let count = Count::of(&network.graph, shapes.clone())?;
    let plan = Plan::new(&network.graph, network.weights(), shapes, &PlanOptions::default())?;
    let planned = plan.report();
    let inputs = plan.inputs().iter().map(|i| Named { name: i.name.clone(), shape: i.shape }).collect();
    let outputs = plan.outputs().map(|(name, shape)| Named { name: name.into(), shape }).collect();
    let totals = Totals {
        params: count.params(),
        macs: count.macs(),
        flops: count.flops(),
        darknet_flops: count.darknet_flops(),
        conv_activations: count.conv_activations(),
        weight_bytes: planned.weight_bytes,
        peak_activation_bytes: planned.activation_bytes,
        copied_bytes: planned.copied_bytes,
    };
    let layer = |l: &cspnet::graph::analysis::LayerCount| Layer {
        path: l.path.clone(),
        op: l.op,
        shape: l.shape,
        params: l.params,
        macs: l.macs,
        flops: 2 * l.macs,
    };
    Ok(Inspection {
        version: 1,
        network: network.name,
        input: plan.picture(),
        inputs,
        outputs,
        totals,
        rewrites: rewrites::saved(planned),
        layers: count.layers.iter().map(layer).collect(),
    })
}

fn print(i: &Inspection, out: &mut impl Write) -> Result<(), Failure> {
    let mut layers = table::plain(&["layer", "operation", "output", "parameters", "MACs", "FLOPs"], &[3, 4, 5]);
    for l in &i.layers {
        layers.add_row([
            l.path.clone(),
            l.op.into(),
            told(l.shape),
            some(l.params as u64),
            some(l.macs),
            some(l.flops),
        ]);
    }
    let inputs =
        if let [one] = &i.inputs[..] { format!("input {}", told(one.shape)) } else { named("inputs", &i.inputs) };
    let outputs = if i.outputs.len() == 1 { String::new() } else { named("   outputs", &i.outputs) };
    writeln!(out, "{}   {inputs}{outputs}\n\n{layers}\n", shown(&i.network))?;
    let t = &i.totals;
    let giga = |n: u64| format!("{:>15}   {:.3} G", grouped(n), n as f64 / 1e9);
    let mega = |n: usize| format!("{:>15}   {:.2} MB", grouped(n as u64), n as f64 / 1e6);
    for (name, value) in [
        ("parameters", format!("{:>15}   {:.2} M", grouped(t.params as u64), t.params as f64 / 1e6)),
        ("MACs", giga(t.macs)),
        ("FLOPs (2 x MACs)", giga(t.flops)),
        ("Darknet's count", giga(t.darknet_flops)),
        ("conv outputs", format!("{:>15}   {:.2} M", grouped(t.conv_activations), t.conv_activations as f64 / 1e6)),
        ("weight bytes", mega(t.weight_bytes)),
        ("peak activation bytes", mega(t.peak_activation_bytes)),
        ("bytes copied", mega(t.copied_bytes)),
    ] {
        writeln!(out, "{name:<22} {value}")?;
    }
    Ok(writeln!(out, "\n{}", rewrites::told(&i.rewrites))?)
}

fn told([c, h, w]: Shape) -> String {
    format!("{c} x {h} x {w}")
}

/// Several inputs or outputs in a line.
fn named(what: &str, all: &[Named]) -> String {
    let told: Vec<String> = all.iter().map(|n| format!("{} {}", n.name, told(n.shape))).collect();
    format!("{what} {}", told.join(", "))
}

/// Nothing for zero, so that a column shows where the work is.
fn some(n: u64) -> String {
    if n == 0 { String::new() } else { grouped(n) }
}
