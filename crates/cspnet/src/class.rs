//! From a network's raw answer to classes.

/// A class of a model and how likely it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Class {
    /// Its place among the model's classes, from 0.
    pub index: usize,
    /// Its name; its place as a number where the model has no names.
    pub label: String,
    /// Its probability, `0.0..=1.0`; those of all classes sum to 1.
    pub probability: f32,
}

/// Logits as classes, the likeliest first; of equals the first.
pub(crate) fn classes(logits: &[f32], labels: &[String]) -> Vec<Class> {
    let label = |index: usize| labels.get(index).cloned().unwrap_or_else(|| index.to_string());
    let class = |(index, probability)| Class { index, label: label(index), probability };
    let mut classes: Vec<Class> = softmax(logits).into_iter().enumerate().map(class).collect();
    classes.sort_by(|a, b| b.probability.total_cmp(&a.probability).then(a.index.cmp(&b.index)));
    classes
}

/// Probabilities of a network's raw answer, `logits`, computed in double precision. They sum to 1.
///
/// ```
/// assert_eq!(cspnet::softmax(&[0.0, 0.0]), [0.5, 0.5]);
/// ```
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp: Vec<f64> = logits.iter().map(|&l| f64::from(l - max).exp()).collect();
    let sum: f64 = exp.iter().sum();
    exp.into_iter().map(|e| (e / sum) as f32).collect()
}
