//! What is told of each combination, as a row for people or a line of JSON.

use std::io::Write;

use cspnet::formats::text::shown;
use serde::Serialize;

use super::layers::Layer;
use super::{Bench, Measured};
use crate::failure::Failure;
use crate::rewrites::{self, Saved};
use crate::table;

/// One combination as JSON.
#[derive(Serialize)]
struct Record<'a> {
    network: &'a str,
    size: Size,
    batch: usize,
    threads: usize,
    min_ms: f64,
    median_ms: f64,
    p90_ms: f64,
    images_per_s: f64,
    gmac_per_s: f64,
    peak_share: f64,
    peak_rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<&'a [Layer]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rewrites: Option<Vec<Saved>>,
}

/// Rows and columns, as they are typed: one number for a square.
#[derive(Serialize)]
#[serde(untagged)]
enum Size {
    Square(usize),
    Sides([usize; 2]),
}

/// Writes a line of JSON.
pub fn json(bench: &Bench, m: &Measured, out: &mut impl Write) -> Result<(), Failure> {
    let [_, height, width] = bench.picture;
    let record = Record {
        network: &bench.network,
        size: if height == width { Size::Square(height) } else { Size::Sides([height, width]) },
        batch: m.batch,
        threads: m.threads,
        min_ms: m.times.min_ms,
        median_ms: m.times.median_ms,
        p90_ms: m.times.p90_ms,
        images_per_s: m.images_per_s(),
        gmac_per_s: m.gmac_per_s(bench),
        peak_share: m.peak_share(bench),
        peak_rss_bytes: m.peak_rss_bytes,
        layers: m.layers.as_deref(),
        rewrites: bench.profile.then(|| bench.subject.rewrites()),
    };
    serde_json::to_writer(&mut *out, &record)?;
    Ok(out.write_all(b"\n")?)
}

/// Writes what holds for all rows, and their header.
pub fn headline(bench: &Bench, out: &mut impl Write) -> Result<(), Failure> {
    let [channels, height, width] = bench.picture;
    let (network, isa, millions) = (shown(&bench.network), bench.isa, 1e3 * bench.gmacs(1));
    writeln!(out, "{network}   input {channels} x {height} x {width}, {millions:.1} million MACs a picture, {isa}\n")?;
    let rewrites = bench.subject.rewrites();
    if bench.profile && !rewrites.is_empty() {
        writeln!(out, "{}\n", rewrites::told(&rewrites))?;
    }
    Ok(writeln!(
        out,
        "{:>5}{:>9}{:>11}{:>11}{:>11}{:>11}{:>10}{:>10}{:>12}",
        "batch", "threads", "min ms", "median ms", "p90 ms", "images/s", "GMAC/s", "of peak", "memory"
    )?)
}

/// Writes a row, and the layers if they were asked for.
pub fn row(bench: &Bench, m: &Measured, out: &mut impl Write) -> Result<(), Failure> {
    let memory = m.peak_rss_bytes.map_or_else(|| "?".into(), |b| format!("{:.1} MB", b as f64 / 1e6));
    writeln!(
        out,
        "{:>5}{:>9}{:>11.3}{:>11.3}{:>11.3}{:>11.1}{:>10.1}{:>8.1} %{memory:>12}",
        m.batch,
        m.threads,
        m.times.min_ms,
        m.times.median_ms,
        m.times.p90_ms,
        m.images_per_s(),
        m.gmac_per_s(bench),
        100.0 * m.peak_share(bench),
    )?;
    match &m.layers {
        Some(layers) => Ok(writeln!(out, "\n{}\n", profile(layers))?),
        None => Ok(()),
    }
}

/// Every layer in a line.
fn profile(layers: &[Layer]) -> comfy_table::Table {
    let mut table = table::plain(&["layer", "pass", "kernel", "shape", "ms", "share", "GFLOP/s"], &[4, 5, 6]);
    for layer in layers {
        let [c, h, w] = layer.shape;
        table.add_row([
            computed(&layer.nodes),
            layer.pass.into(),
            layer.kernel.clone(),
            format!("{c} x {h} x {w}"),
            format!("{:.3}", layer.ms),
            format!("{:.1} %", 100.0 * layer.share),
            layer.gflop_per_s.map_or_else(String::new, |rate| format!("{rate:.1}")),
        ]);
    }
    table
}

/// The first of the nodes that are computed together, and how many more there are.
fn computed(nodes: &[String]) -> String {
    match nodes {
        [] => String::new(),
        [only] => only.clone(),
        [first, more @ ..] => format!("{first} +{}", more.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_computed_together_are_counted() {
        assert_eq!(computed(&["a.conv".into(), "a.relu".into(), "add".into()]), "a.conv +2");
        assert_eq!(computed(&["pool".into()]), "pool");
    }

    #[test]
    fn sizes_are_as_they_are_typed() {
        let json = |size| serde_json::to_string(&size).unwrap();
        assert_eq!([json(Size::Square(224)), json(Size::Sides([96, 128]))], ["224", "[96,128]"]);
    }
}
