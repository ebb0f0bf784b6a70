//! A cross-stage-partial version of networks that nobody published: yours.
//!
//! Two small networks, one of residual units and one of inverted bottlenecks, are built as they are and with every stage made
//! cross-stage-partial: one line each, [`csp_stage`] around the same body.
//!
//! Run with `cargo run --release --example csp_of_your_own`.

use cspnet::graph::analysis::Count;
use cspnet::graph::blocks::{Split, Transitions, Width, csp_stage, residual};
use cspnet::graph::{Builder, Conv, Graph, GraphError, Unary, Value};

const PICTURE: [usize; 3] = [3, 64, 64];
/// Channels of the two stages, each at half the resolution of the one before.
const WIDTHS: [usize; 2] = [64, 128];
/// Half of the channels goes straight across.
const HALVES: Split<'_> = Split::Channels { gamma: 0.5 };

fn main() -> Result<(), GraphError> {
    let transition = |b: &mut Builder, x, width| unit(b, "transition", x, Conv::new(width, 1), Unary::Relu6);
    let merged = Transitions { merged: Some((Width::Same, &transition)), ..Transitions::default() };

    report("residual", &network(residual_units)?)?;
    report("residual, CSP", &network(|b, x| csp_stage(b, x, HALVES, merged, residual_units))?)?;
    report("inverted bottleneck", &network(inverted_bottlenecks)?)?;
    report("inverted bottleneck, CSP", &network(|b, x| csp_stage(b, x, HALVES, merged, inverted_bottlenecks))?)
}

/// Stem, two stages of your own, classifier.
fn network(stage: impl Fn(&mut Builder, Value) -> Value) -> Result<Graph, GraphError> {
    let mut b = Builder::new();
    let mut x = b.input(PICTURE[0]);
    for (i, width) in WIDTHS.into_iter().enumerate() {
        x = unit(&mut b, &format!("down{i}"), x, Conv::new(width, 3).stride(2), Unary::Relu6);
        x = b.module(&format!("stage{i}"), |b| stage(b, x));
    }
    let x = b.global_avg_pool("pool", x);
    let x = b.linear("classifier", x, 10);
    b.finish(x)
}

/// Two pairs of 3x3 convolutions, each around a shortcut.
fn residual_units(b: &mut Builder, x: Value) -> Value {
    let width = b.channels(x);
    (0..2).fold(x, |x, i| {
        b.module(&format!("unit{i}"), |b| {
            let x = residual(b, "add", x, |b, x| {
                let x = unit(b, "conv1", x, Conv::new(width, 3), Unary::Relu);
                norm_conv(b, "conv2", x, Conv::new(width, 3))
            });
            b.unary("relu", x, Unary::Relu)
        })
    })
}

/// Two times wide, depthwise and narrow convolution around a shortcut, as in MobileNetV2 (Sandler et al., arXiv:1801.04381).
fn inverted_bottlenecks(b: &mut Builder, x: Value) -> Value {
    let width = b.channels(x);
    let wide = 4 * width;
    (0..2).fold(x, |x, i| {
        b.module(&format!("unit{i}"), |b| {
            residual(b, "add", x, |b, x| {
                let x = unit(b, "expand", x, Conv::new(wide, 1), Unary::Relu6);
                let x = unit(b, "depthwise", x, Conv::new(wide, 3).groups(wide), Unary::Relu6);
                norm_conv(b, "project", x, Conv::new(width, 1))
            })
        })
    })
}

fn unit(b: &mut Builder, name: &str, x: Value, conv: Conv, activation: Unary) -> Value {
    let x = norm_conv(b, name, x, conv);
    b.unary(&format!("{name}.act"), x, activation)
}

fn norm_conv(b: &mut Builder, name: &str, x: Value, conv: Conv) -> Value {
    b.module(name, |b| {
        let x = b.conv("conv", x, conv);
        b.batch_norm("norm", x)
    })
}

fn report(name: &str, graph: &Graph) -> Result<(), GraphError> {
    let count = Count::of(graph, PICTURE)?;
    println!("{name:<26}{:>9} parameters {:>8.1} million multiply-adds", count.params(), count.macs() as f64 / 1e6);
    Ok(())
}
