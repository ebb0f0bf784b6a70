//! Where a run begins that begins from a model: which of the network's tensors are taken from it.
//!
//! Not here: where the model comes from, and what is told of it.

use std::collections::HashMap;

use cspnet_data::class_name;
use cspnet_formats::ModelFile;
use cspnet_graph::{Graph, Op, Param, ParamId, Weights};
use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::error::TrainError;
use crate::frozen::Parts;
use crate::recipe::Recipe;

/// What became of a network's tensors, and of those of the model that it began from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Loaded {
    /// Tensors that are the model's.
    pub loaded: Vec<String>,
    /// Of these, the classifier's whose rows were put into the order of the photos' classes.
    pub reordered: Vec<String>,
    /// Tensors that begin as without a model.
    pub reinitialised: Vec<String>,
    /// Tensors of the model that the network has no place for.
    pub left_over: Vec<String>,
    /// Tensors of the network that the recipe keeps as they are.
    pub frozen: usize,
}

/// What becomes of the classifier.
enum Head {
    /// The classes are the model's.
    Kept,
    /// The model knows all classes: the row of each, in their order.
    Reordered(Vec<usize>),
    /// The model lacks a class, or has no names for its own.
    New,
}

/// The beginning of a run of `graph` for `classes` from a model, and what was taken from it: tensors of the same name and shape.
///
/// The classifier is taken only if the model knows all classes by name; where their order or number differs, the rows of the classes
/// are taken. All else begins by the recipe's seed as it would without a model.
///
/// # Errors
/// Unless `allow_partial`: if fewer than half of the network's tensors are taken, or one that is not would stay as it was drawn.
pub fn start_from(
    graph: &Graph,
    classes: &[String],
    model: &ModelFile,
    recipe: &Recipe,
    allow_partial: bool,
) -> Result<(Checkpoint, Loaded), TrainError> {
    let mut weights = Weights::published(graph, recipe.seed);
    let mut loaded = load(graph, classes, model, &mut weights);
    let frozen = Parts::of(graph, recipe)?.frozen.map_or_else(Vec::new, |part| part.params);
    loaded.frozen = frozen.len();
    let (found, of) = (loaded.loaded.len(), graph.params().len());
    if !allow_partial {
        if 2 * found < of {
            return Err(TrainError::Partial { loaded: found, of });
        }
        let noise = frozen.into_iter().map(|p| &graph.params()[p].name).find(|n| loaded.reinitialised.contains(n));
        if let Some(name) = noise {
            let why = "the model has no such tensor; freeze less, or say --allow-partial";
            return Err(TrainError::FrozenNoise { name: name.clone(), why });
        }
    }
    Ok((Checkpoint::start_with(graph, weights), loaded))
}

/// Puts the model's numbers into the places of the network's.
fn load(graph: &Graph, classes: &[String], model: &ModelFile, weights: &mut Weights) -> Loaded {
    let theirs: HashMap<&str, ParamId> =
        model.manifest.graph.params().iter().enumerate().map(|(id, p)| (p.name.as_str(), id)).collect();
    let (head, head_params) = (head(classes, &model.manifest.labels), classifier(graph));
    let mut loaded = Loaded::default();
    for (id, param) in graph.params().iter().enumerate() {
        let found =
            theirs.get(param.name.as_str()).map(|&id| (&model.manifest.graph.params()[id], model.weights.get(id)));
        let numbers = found.and_then(|(their, numbers)| match &head {
            Head::Reordered(rows) if head_params.contains(&id) => picked(param, their, numbers, rows),
            Head::New if head_params.contains(&id) => None,
            _ => (their.shape == param.shape && their.role == param.role).then(|| numbers.to_vec()),
        });
        let Some(numbers) = numbers else {
            loaded.reinitialised.push(param.name.clone());
            continue;
        };
        weights.get_mut(id).copy_from_slice(&numbers);
        loaded.loaded.push(param.name.clone());
        if matches!(head, Head::Reordered(_)) && head_params.contains(&id) {
            loaded.reordered.push(param.name.clone());
        }
    }
    let has = |name: &str| graph.params().iter().any(|p| p.name == name);
    let left = model.manifest.graph.params().iter().map(|p| &p.name).filter(|name| !has(name));
    loaded.left_over = left.cloned().collect();
    loaded
}

fn head(classes: &[String], labels: &[String]) -> Head {
    let names: Vec<String> = labels.iter().map(|label| class_name(label)).collect();
    let row = |class: &String| names.iter().position(|name| name == class);
    match classes.iter().map(row).collect::<Option<Vec<usize>>>() {
        _ if classes == labels => Head::Kept,
        Some(rows) => Head::Reordered(rows),
        None => Head::New,
    }
}

/// The parameters of the fully connected layer at the end.
fn classifier(graph: &Graph) -> &[ParamId] {
    let last = graph.node(graph.output());
    if matches!(last.op, Op::Linear { .. }) { &last.params } else { &[] }
}

/// The rows of a model's tensor, if all else about it is as it should be.
fn picked(param: &Param, their: &Param, numbers: &[f32], rows: &[usize]) -> Option<Vec<f32>> {
    let fits =
        their.role == param.role && their.shape[1..] == param.shape[1..] && rows.iter().all(|&r| r < their.shape[0]);
    let len: usize = param.shape[1..].iter().product();
    fits.then(|| rows.iter().flat_map(|&row| &numbers[row * len..][..len]).copied().collect())
}

#[cfg(test)]
mod tests {
    use cspnet_formats::Manifest;
    use cspnet_graph::{Builder, Conv};

    use super::*;
    use crate::recipe::Freeze;

    fn network(width: usize, classes: usize) -> Graph {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.conv("conv1", x, Conv::new(8, 3));
        let x = b.batch_norm("norm1", x);
        let x = b.conv("conv2", x, Conv::new(width, 3));
        let x = b.global_avg_pool("pool", x);
        let x = b.linear("fc", x, classes);
        b.finish(x).unwrap()
    }

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|&name| name.to_owned()).collect()
    }

    fn model(labels: &[&str]) -> ModelFile {
        let graph = network(4, 3);
        let weights = Weights::reference(&graph);
        let mut manifest = Manifest::new("test", graph);
        manifest.labels = names(labels);
        ModelFile { manifest, weights }
    }

    fn begin(
        width: usize,
        classes: &[&str],
        model: &ModelFile,
        recipe: &Recipe,
    ) -> Result<(Checkpoint, Loaded), String> {
        start_from(&network(width, classes.len()), &names(classes), model, recipe, false).map_err(|e| e.to_string())
    }

    const LABELS: [&str; 3] = ["ant", "bee", "cat"];

    #[test]
    fn the_classifier_is_taken_for_the_classes_that_a_model_knows() {
        let (model, recipe) = (model(&LABELS), Recipe { seed: 7, ..Recipe::default() });
        let begin = |classes: &[&str]| begin(4, classes, &model, &recipe).unwrap();
        let fc = |checkpoint: &Checkpoint| [6, 7].map(|id| checkpoint.weights.get(id).to_vec());
        let (same, loaded) = begin(&LABELS);
        assert_eq!(same.weights, model.weights);
        assert!(same.average == same.weights && loaded.loaded.len() == 8 && loaded.reinitialised.is_empty());
        let (weight, bias) = (model.weights.get(6), model.weights.get(7));
        for classes in [vec!["cat", "ant"], vec!["cat", "ant", "bee"]] {
            let (fewer, loaded) = begin(&classes);
            assert_eq!(loaded.reordered, ["fc.weight", "fc.bias"]);
            assert_eq!(fc(&fewer)[0][..8], [&weight[8..12], &weight[..4]].concat());
            assert_eq!(fc(&fewer)[1][..2], [bias[2], bias[0]]);
        }
        let (other, loaded) = begin(&["ant", "bee", "dog"]);
        assert_eq!(loaded.reinitialised, ["fc.weight", "fc.bias"]);
        let drawn = Weights::published(&network(4, 3), 7);
        assert_eq!(fc(&other), [6, 7].map(|id| drawn.get(id).to_vec()));
        assert_eq!(other.weights.get(0), model.weights.get(0));
    }

    #[test]
    fn classes_without_names_are_not_taken_for_others() {
        let (_, loaded) = begin(4, &LABELS, &model(&[]), &Recipe::default()).unwrap();
        assert_eq!(loaded.reinitialised, ["fc.weight", "fc.bias"]);
    }

    #[test]
    fn what_does_not_fit_is_named_and_too_much_of_it_refused() {
        let model = model(&LABELS);
        let (_, loaded) = begin(5, &LABELS, &model, &Recipe::default()).unwrap();
        assert_eq!(loaded.reinitialised, ["conv2.weight", "fc.weight"]);
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.conv("conv1", x, Conv::new(8, 3));
        let x = b.conv("other", x, Conv::new(8, 3));
        let x = b.global_avg_pool("pool", x);
        let x = b.linear("classifier", x, 3);
        let other = b.finish(x).unwrap();
        let start = |partial| start_from(&other, &names(&LABELS), &model, &Recipe::default(), partial);
        let error = start(false).unwrap_err().to_string();
        assert!(error.contains("only 1 of the network's 4 tensors"), "{error}");
        let (_, loaded) = start(true).unwrap();
        assert_eq!((loaded.loaded.len(), loaded.left_over.len()), (1, 7));
    }

    #[test]
    fn nothing_is_frozen_as_it_was_drawn() {
        let recipe = Recipe { freeze: Some(Freeze::To("conv2".into())), ..Recipe::default() };
        let error = begin(5, &LABELS, &model(&LABELS), &recipe).unwrap_err();
        assert!(error.starts_with("conv2.weight would stay"), "{error}");
        assert!(begin(4, &LABELS, &model(&LABELS), &recipe).is_ok());
    }
}
