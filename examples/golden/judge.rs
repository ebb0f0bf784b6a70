//! Comparing a run with a file of reference values, part by part.

use crate::file::{Figures, Golden};
use crate::runs::{Outcome, Part, Setting};

/// How strictly a run is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The interpreter in double precision: every figure within 1e-9.
    Exact,
    /// The optimised plan: what rounding to single precision allows.
    Plan,
}

/// The worst deviation of a part.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The part.
    pub part: &'static str,
    /// The tensor it was found in.
    pub tensor: String,
    /// How far it is off, relatively.
    pub deviation: f64,
    /// How far it may be.
    pub allowed: f64,
}

impl Verdict {
    /// Whether it is within its allowance; what is not a number is not.
    pub fn holds(&self) -> bool {
        self.deviation <= self.allowed
    }

    fn excess(&self) -> f64 {
        let excess = self.deviation / self.allowed;
        if excess.is_nan() { f64::INFINITY } else { excess }
    }
}

/// Every part's worst deviation.
///
/// # Errors
/// If the run has not computed what the file tells of.
pub fn judge(golden: &Golden, setting: &Setting, outcome: &Outcome, rule: Rule) -> Result<Vec<Verdict>, String> {
    parameters(golden, setting)?;
    let mut verdicts = Vec::new();
    let tensors = |part: Part| match part {
        Part::Stages => &golden.stages,
        Part::Gradients => &golden.grads,
        _ => &golden.running,
    };
    for (part, name) in [(Part::Stages, "stages"), (Part::Gradients, "gradients"), (Part::Running, "running")] {
        let all =
            tensors(part).iter().map(|(tensor, figures)| compare(golden, outcome, rule, part, name, tensor, figures));
        verdicts.extend(worst(all.collect::<Result<Vec<_>, _>>()?));
    }
    verdicts.extend(worst(logits(golden, outcome, rule)?));
    if let (Some(expected), Some(loss)) = (golden.loss, outcome.loss) {
        let deviation = ((loss - expected) / expected).abs();
        let allowed = allowance(rule, 1e-5, golden.loss_f32);
        verdicts.push(Verdict { part: "loss", tensor: String::new(), deviation, allowed });
    }
    if let Some([plan, single]) = outcome.distances {
        let verdict = |part, deviation, allowed| Verdict { part, tensor: String::new(), deviation, allowed };
        verdicts.push(verdict("distance, median", plan.median, 4.0 * single.median));
        verdicts.push(verdict("distance, worst", plan.worst, 4.0 * single.worst));
    }
    Ok(verdicts)
}

/// Names, shapes and order of the parameters.
fn parameters(golden: &Golden, setting: &Setting) -> Result<(), String> {
    let params = setting.graph.params();
    let differs = golden.params.iter().zip(params).find(|((name, shape), p)| *name != p.name || *shape != p.shape);
    if let Some(((name, shape), p)) = differs {
        return Err(format!("parameter {name} {shape:?} is {} {:?} here", p.name, p.shape));
    }
    let counts = [(golden.params.len(), params.len()), (golden.param_count, setting.graph.param_count())];
    match counts.into_iter().find(|(a, b)| a != b) {
        Some((expected, found)) => Err(format!("{found} parameters instead of {expected}")),
        None => Ok(()),
    }
}

fn allowance(rule: Rule, of_plan: f64, single: f64) -> f64 {
    match rule {
        Rule::Exact => 1e-9,
        Rule::Plan => (8.0 * single).max(of_plan),
    }
}

fn worst(verdicts: Vec<Verdict>) -> Option<Verdict> {
    verdicts.into_iter().max_by(|a, b| a.excess().total_cmp(&b.excess()))
}

/// One tensor's figures. In training a plan's gradients are judged by their norm: single elements depart more wherever
/// rounding turns a ReLU on or off.
fn compare(
    golden: &Golden,
    outcome: &Outcome,
    rule: Rule,
    part: Part,
    name: &'static str,
    tensor: &str,
    figures: &Figures,
) -> Result<Verdict, String> {
    let got = outcome.tensors.get(&(part, tensor.to_owned())).ok_or_else(|| format!("no {name} of {tensor}"))?;
    let allowed = match (part, golden.trains()) {
        (Part::Gradients, _) => allowance(rule, 5e-3, figures.single),
        (Part::Running, _) => allowance(rule, 1e-4, figures.single),
        (Part::Logits, true) => allowance(rule, 1e-3, figures.single),
        _ => allowance(rule, 3e-5, figures.single),
    };
    let len: usize = figures.shape.iter().product();
    if got.len() != len {
        return Err(format!("{tensor}: {} numbers instead of shape {:?}", got.len(), figures.shape));
    }
    let norm_only = rule == Rule::Plan && part == Part::Gradients;
    let deviation = deviation(got, figures, norm_only);
    Ok(Verdict { part: name, tensor: tensor.to_owned(), deviation, allowed })
}

/// The largest deviation of a tensor's figures: of the norm relative to the norm, of the others to the root mean square.
fn deviation(got: &[f64], figures: &Figures, norm_only: bool) -> f64 {
    let len = got.len() as f64;
    let norm = got.iter().map(|v| v * v).sum::<f64>().sqrt();
    // A tensor of zeros has no scale of its own.
    let unit = |scale: f64| if scale == 0.0 { 1.0 } else { scale };
    let rms = unit(figures.norm / len.sqrt());
    let of_norm = (norm - figures.norm).abs() / unit(figures.norm);
    if norm_only {
        return of_norm;
    }
    let of_mean = (got.iter().sum::<f64>() / len - figures.mean).abs() / rms;
    let sample = |(k, s): (usize, &f64)| (got[k * (got.len() - 1) / 7] - s).abs() / rms;
    let samples = figures.samples.iter().enumerate().map(sample);
    samples.chain([of_norm, of_mean]).fold(0.0, larger)
}

/// The larger of two, where what is not a number is largest.
fn larger(a: f64, b: f64) -> f64 {
    if b.is_nan() || b > a { b } else { a }
}

/// The logits' figures, the first of them, and the likeliest class of every image.
fn logits(golden: &Golden, outcome: &Outcome, rule: Rule) -> Result<Vec<Verdict>, String> {
    let figures = &golden.logits.figures;
    let whole = compare(golden, outcome, rule, Part::Logits, "logits", "", figures)?;
    let got = &outcome.tensors[&(Part::Logits, String::new())];
    let rms = figures.norm / (got.len() as f64).sqrt();
    let first = golden.logits.first.iter().zip(got).map(|(e, g)| (e - g).abs() / rms).fold(0.0, larger);
    let classes = got.len() / golden.input[0];
    let likeliest = |l: &[f64]| (0..l.len()).reduce(|best, i| if l[i] > l[best] { i } else { best });
    let found: Vec<Option<usize>> = got.chunks_exact(classes).map(likeliest).collect();
    let expected: Vec<Option<usize>> = golden.logits.argmax.iter().copied().map(Some).collect();
    // Two classes may be nearer to each other than rounding allows to tell; only the exact run must agree.
    if rule == Rule::Exact && found != expected {
        return Err(format!("likeliest classes {found:?} instead of {expected:?}"));
    }
    let first = Verdict { tensor: "first 16".into(), deviation: first, ..whole.clone() };
    Ok(vec![whole, first])
}
