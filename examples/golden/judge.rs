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
    if let Some(expected) = golden.loss {
        let loss = outcome.loss.ok_or("no loss")?;
        let deviation = ((loss - expected) / expected).abs();
        let allowed = allowance(rule, 1e-5, golden.loss_f32);
        verdicts.push(Verdict { part: "loss", tensor: String::new(), deviation, allowed });
    }
    if rule == Rule::Plan && golden.trains() {
        let [plan, single] = outcome.distances.ok_or("no distances of the gradients")?;
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
    if got.shape != figures.shape || got.numbers.len() != got.shape.iter().product::<usize>() {
        let (len, shape) = (got.numbers.len(), &got.shape);
        return Err(format!("{name} of {tensor}: {len} numbers of shape {shape:?} instead of {:?}", figures.shape));
    }
    let norm_only = rule == Rule::Plan && part == Part::Gradients;
    let deviation = deviation(&got.numbers, figures, norm_only);
    Ok(Verdict { part: name, tensor: tensor.to_owned(), deviation, allowed })
}

/// The largest deviation of a tensor's figures: of the norm relative to the norm, of the others to the root mean square.
fn deviation(got: &[f64], figures: &Figures, norm_only: bool) -> f64 {
    let len = got.len() as f64;
    let norm = got.iter().map(|v| v * v).sum::<f64>().sqrt();
    let rms = scale(figures.norm / len.sqrt());
    let of_norm = (norm - figures.norm).abs() / scale(figures.norm);
    if norm_only {
        return of_norm;
    }
    let of_mean = (got.iter().sum::<f64>() / len - figures.mean).abs() / rms;
    let sample = |(k, s): (usize, &f64)| (got[k * (got.len() - 1) / 7] - s).abs() / rms;
    let samples = figures.samples.iter().enumerate().map(sample);
    samples.chain([of_norm, of_mean]).fold(0.0, larger)
}

/// What a deviation is relative to; a tensor of zeros has no scale of its own.
fn scale(size: f64) -> f64 {
    if size == 0.0 { 1.0 } else { size }
}

/// The larger of two, where what is not a number is largest.
fn larger(a: f64, b: f64) -> f64 {
    if b.is_nan() || b > a { b } else { a }
}

/// The logits' figures, the first of them, and the likeliest class of every image.
fn logits(golden: &Golden, outcome: &Outcome, rule: Rule) -> Result<Vec<Verdict>, String> {
    let figures = &golden.logits.figures;
    let whole = compare(golden, outcome, rule, Part::Logits, "logits", "", figures)?;
    let got = &outcome.tensors[&(Part::Logits, String::new())].numbers;
    let rms = scale(figures.norm / (got.len() as f64).sqrt());
    let first = golden.logits.first.iter().zip(got).map(|(e, g)| (e - g).abs() / rms).fold(0.0, larger);
    let classes = got.len() / golden.input[0];
    // The expected class must be the likeliest, but for what both logits may be off.
    let lead = |(logits, &expected): (&[f64], &usize)| {
        let expected = logits.get(expected).copied().unwrap_or(f64::NEG_INFINITY);
        (logits.iter().copied().fold(f64::NEG_INFINITY, larger) - expected) / rms
    };
    let lead = got.chunks_exact(classes).zip(&golden.logits.argmax).map(lead).fold(0.0, larger);
    let first = Verdict { tensor: "first 16".into(), deviation: first, ..whole.clone() };
    let lead =
        Verdict { tensor: "likeliest class".into(), deviation: lead, allowed: 2.0 * whole.allowed, ..whole.clone() };
    Ok(vec![whole, first, lead])
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    use super::*;

    /// A file of the project with one thing changed.
    fn changed(name: &str, change: impl FnOnce(&mut serde_json::Value)) -> Result<Golden, String> {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/densenet_bc40.train.json");
        let mut json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        change(&mut json);
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
        std::fs::File::create(&path).unwrap().write_all(json.to_string().as_bytes()).unwrap();
        Golden::read(&path)
    }

    #[test]
    fn what_differs_is_found_and_said() {
        let golden = changed("same", |_| {}).unwrap();
        let setting = Setting::of(&golden).unwrap();
        let outcome = setting.oracle(&golden).unwrap();
        let told = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
            judge(&changed(name, change).unwrap(), &setting, &outcome, Rule::Exact)
        };
        let misses = |name: &str, change: &dyn Fn(&mut serde_json::Value)| -> Vec<String> {
            let missed = told(name, change).unwrap().into_iter().filter(|v| !v.holds());
            missed.map(|v| format!("{} {}", v.part, v.tensor)).collect()
        };
        let shift = |v: &mut serde_json::Value| *v = (v.as_f64().unwrap() * (1.0 + 1e-7)).into();
        let conv = "features.conv0.weight";
        let mean = "features.norm5.running_mean";
        assert!(misses("unchanged", &|_| {}).is_empty());
        assert_eq!(misses("gradient", &|j| shift(&mut j["grads"][conv]["samples"][3])), [format!("gradients {conv}")]);
        assert_eq!(misses("norm", &|j| shift(&mut j["running"][mean]["norm"])), [format!("running {mean}")]);
        assert_eq!(misses("loss", &|j| shift(&mut j["loss"])), ["loss "]);
        assert_eq!(misses("first", &|j| shift(&mut j["logits"]["first"][5])), ["logits first 16"]);
        let class = (golden.logits.argmax[0] + 1) % 10;
        assert_eq!(misses("class", &|j| j["logits"]["argmax"][0] = class.into()), ["logits likeliest class"]);
        assert!(told("shape", &|j| j["grads"][conv]["shape"] = [3, 24, 3, 3].into()).unwrap_err().contains(conv));
        assert!(told("name", &|j| j["params"][0][1] = [24, 3, 3].into()).unwrap_err().contains(conv));
        assert!(judge(&golden, &setting, &outcome, Rule::Plan).unwrap_err().contains("distances"));
    }

    #[test]
    fn a_file_that_leaves_something_out_is_refused() {
        let drop = |part: &'static str, name: &'static str| {
            move |j: &mut serde_json::Value| drop(j[part].as_object_mut().unwrap().remove(name))
        };
        let gradient = changed("no_gradient", drop("grads", "features.conv0.weight"));
        assert!(gradient.unwrap_err().contains("features.conv0.weight"));
        assert!(changed("no_loss", |j| j["loss"] = serde_json::Value::Null).unwrap_err().contains("stages"));
        assert!(changed("no_picture", |j| j["input"][2] = 0.into()).unwrap_err().contains("picture"));
        assert!(changed("no_class", |j| j["logits"]["argmax"] = [1].into()).unwrap_err().contains("likeliest"));
        assert!(changed("no_samples", |j| j["logits"]["samples"] = [1.0].into()).is_err());
    }
}
