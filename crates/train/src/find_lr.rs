//! The learning-rate range test (Smith, arXiv:1506.01186): the rate rises from step to step until the loss runs away, as in fastai.

use std::fmt::Write;
use std::sync::Arc;

use cspnet_data::DataSet;
use cspnet_graph::Graph;
use cspnet_graph::rewrite::with_normalise;

use crate::batches::{Batch, Batches, Source};
use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::TrainError;
use crate::features::Gathered;
use crate::learner::Learner;
use crate::observer::{Observer, Probe};
use crate::resources::Resources;

/// The first and the last rate.
const RATES: [f64; 2] = [1e-6, 10.0];
/// Steps from one to the other.
const STEPS: usize = 120;
/// Share of the past in the smoothed loss.
const SMOOTHING: f64 = 0.9;
/// The loss has run away where it is so many times the smallest.
const TOO_MUCH: f64 = 4.0;

/// Tries learning rates from very small to very large on a network as a run of it begins; `None` if `stop`, which is asked before every
/// step and while features are computed, said so before the end.
///
/// # Errors
/// If the network cannot be trained on photos of that size, or no photo can be read.
pub fn find_lr(
    config: &Config,
    graph: &Graph,
    data: &DataSet,
    start: Checkpoint,
    resources: Resources,
    observer: &mut dyn Observer,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Vec<Probe>>, TrainError> {
    let network = with_normalise(graph, &config.preprocess.mean, &config.preprocess.std)?;
    let Checkpoint { mut weights, mut momentum, .. } = start;
    let mut source = Source::of(config, data);
    let mut learner = Learner::new(config, &network, &weights, source.batch_size(), resources)?;
    let threads = resources.threads;
    if config.recipe.is_head_only() {
        let of = (config, &network, &weights);
        let told = &mut |done, all| observer.features(done, all);
        let Some((train, _)) = Gathered::of(of, data, threads, told, stop)? else { return Ok(None) };
        source.features = Some(Arc::new(train));
    }
    let source = Arc::new(source);
    let batches_of = |epoch: u32| Batches::new(&source, (epoch, 0), source.recipe.mix_at(epoch.into()), threads);
    let (mut batch, mut probes): (_, Vec<Probe>) = (Batch::default(), Vec::new());
    let (mut batches, mut epoch, mut step) = (batches_of(0), 0, 0);
    while probes.len() < STEPS {
        if stop() {
            return Ok(None);
        }
        if step == source.steps() {
            (epoch, step) = (epoch + 1, 0);
            batches = batches_of(epoch);
        }
        let (mut sum, mut learnt, mut is_finite) = (0.0, 0, true);
        let rule = learner.rule(rate(probes.len()), probes.len() as u64);
        for _ in 0..source.batches_of(step) {
            batches.next_into(&mut batch);
            if let Some(of_batch) = learner.learn(&mut weights, &mut momentum, &rule, &batch)? {
                sum += of_batch.loss;
                learnt += 1;
                is_finite &= of_batch.symptom.is_none();
            }
        }
        step += 1;
        if learnt == 0 {
            let why = batch.skipped.last().map_or_else(String::new, |s| s.why.clone());
            return Err(TrainError::NothingLoaded("training", why));
        }
        let probe = next(&probes, sum / learnt as f64);
        let smallest = probes.iter().map(|p| p.smoothed).fold(f64::INFINITY, f64::min);
        if !probe.loss.is_finite() || probe.smoothed > TOO_MUCH * smallest {
            break;
        }
        is_finite &= learner.update(&mut weights, &mut momentum, &rule).is_none();
        probes.push(probe);
        observer.probe(&probe);
        if !is_finite {
            break;
        }
    }
    Ok(Some(probes))
}

/// The rate of a step, counted from 0.
fn rate(step: usize) -> f64 {
    RATES[0] * (RATES[1] / RATES[0]).powf(step as f64 / (STEPS - 1) as f64)
}

/// The probe behind those that were, with its loss.
fn next(before: &[Probe], loss: f64) -> Probe {
    let n = before.len();
    // The mean begins at zero, which is taken out again.
    let whole = |n: usize| 1.0 - SMOOTHING.powf(n as f64);
    let past = before.last().map_or(0.0, |p| p.smoothed * whole(n));
    Probe { lr: rate(n), loss, smoothed: (SMOOTHING * past + (1.0 - SMOOTHING) * loss) / whole(n + 1) }
}

/// The rate to begin with: a tenth of that where the smoothed loss is smallest, as fastai's `minimum` has it. Like there the first
/// tenth does not count, where the smoothed loss is that of a few batches, nor do the last five. `None` if the loss falls nowhere.
pub fn suggested_lr(probes: &[Probe]) -> Option<f64> {
    let counted = probes.get(STEPS / 10..probes.len().saturating_sub(5))?;
    let smallest = counted.iter().min_by(|a, b| a.smoothed.total_cmp(&b.smoothed))?;
    (smallest != &counted[0]).then_some(smallest.lr / 10.0)
}

/// The losses over the rates as a picture (SVG), with the suggestion.
pub fn plot(probes: &[Probe]) -> String {
    const LEFT: f64 = 60.0;
    const TOP: f64 = 20.0;
    const WIDTH: f64 = 560.0;
    const HEIGHT: f64 = 300.0;
    // Single losses beyond the smoothed ones would press these flat.
    let losses = || probes.iter().map(|p| p.smoothed);
    let (low, high) = (losses().fold(f64::INFINITY, f64::min), losses().fold(f64::NEG_INFINITY, f64::max));
    let [first, last] = RATES.map(f64::log10);
    let x = |lr: f64| LEFT + WIDTH * (lr.log10() - first) / (last - first);
    let y = |loss: f64| TOP + HEIGHT * (high - loss.clamp(low, high)) / (high - low).max(1e-9);
    let line = |of: fn(&Probe) -> f64| {
        let points = probes.iter().map(|p| format!("{:.1},{:.1}", x(p.lr), y(of(p))));
        points.collect::<Vec<_>>().join(" ")
    };
    let mut svg = String::new();
    let mut put = |text: std::fmt::Arguments<'_>| svg.write_fmt(format_args!("{text}\n")).expect("a string takes all");
    put(format_args!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="640" height="380" font-family="sans-serif" font-size="12">"#
    ));
    put(format_args!(r#"<rect width="640" height="380" fill="white"/>"#));
    put(format_args!(r#"<rect x="{LEFT}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="black"/>"#));
    for power in first.round() as i32..=last.round() as i32 {
        let x = x(10_f64.powi(power));
        put(format_args!(r##"<path d="M{x:.1} {TOP}v{HEIGHT}" stroke="#ddd"/>"##));
        put(format_args!(r#"<text x="{x:.1}" y="340" text-anchor="middle">1e{power}</text>"#));
    }
    for loss in [low, (low + high) / 2.0, high].into_iter().filter(|loss| loss.is_finite()) {
        put(format_args!(r#"<text x="54" y="{:.1}" text-anchor="end">{loss:.3}</text>"#, y(loss) + 4.0));
    }
    put(format_args!(r##"<polyline points="{}" fill="none" stroke="#aac"/>"##, line(|p| p.loss)));
    put(format_args!(r##"<polyline points="{}" fill="none" stroke="#228" stroke-width="2"/>"##, line(|p| p.smoothed)));
    if let Some(lr) = suggested_lr(probes) {
        let x = x(lr.max(RATES[0]));
        put(format_args!(r##"<path d="M{x:.1} {TOP}v{HEIGHT}" stroke="#c22" stroke-dasharray="4"/>"##));
        put(format_args!(r##"<text x="{:.1}" y="36" fill="#c22">{lr:.2e}</text>"##, x + 5.0));
    }
    put(format_args!(r#"<text x="340" y="364" text-anchor="middle">learning rate</text>"#));
    put(format_args!("</svg>"));
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes(losses: impl Iterator<Item = f64>) -> Vec<Probe> {
        losses.fold(Vec::new(), |mut probes, loss| {
            let probe = next(&probes, loss);
            probes.push(probe);
            probes
        })
    }

    #[test]
    fn rates_rise_evenly_and_losses_are_smoothed_without_a_bias() {
        let all = probes((0..STEPS).map(|_| 2.5));
        assert!((all[0].lr - RATES[0]).abs() < 1e-15 && (all[STEPS - 1].lr - RATES[1]).abs() < 1e-9);
        let ratio = all[1].lr / all[0].lr;
        assert!(all.windows(2).all(|w| (w[1].lr / w[0].lr - ratio).abs() < 1e-9));
        assert!(all.iter().all(|p| (p.smoothed - 2.5).abs() < 1e-12));
        let two = probes([1.0, 3.0].into_iter());
        assert!((two[1].smoothed - (0.9 * 1.0 + 3.0) / 1.9).abs() < 1e-12);
    }

    #[test]
    fn a_tenth_of_the_best_rate_is_suggested_and_drawn() {
        // A valley around the middle, where the rate is the root of first times last.
        let all = probes((0..STEPS).map(|i| (i as f64 - 60.0).abs()));
        let lr = suggested_lr(&all).unwrap();
        assert!(lr > 3e-4 && lr < 2e-3, "{lr}");
        assert_eq!(suggested_lr(&[]), None);
        // The first batch was an easy one, and then the loss only rises.
        let lucky = probes((0..STEPS).map(|i| if i == 0 { 0.5 } else { 2.0 + i as f64 / 100.0 }));
        assert_eq!(suggested_lr(&lucky), None);
        let lucky = probes((0..STEPS).map(|i| if i == 0 { 0.5 } else { (i as f64 - 60.0).abs() }));
        assert_eq!(suggested_lr(&lucky), Some(lr));
        let svg = plot(&all);
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && svg.matches("<polyline").count() == 2);
        assert!(!svg.contains("NaN") && !plot(&all[..1]).contains("NaN") && !plot(&[]).contains("NaN"));
    }
}
