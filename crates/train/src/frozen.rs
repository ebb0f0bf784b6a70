//! What of a network learns: all of it, or what stands behind a value up to which it stays as it is.
//!
//! The frozen part is a plan for inference: no statistics of the batch, no gradients, nothing kept for a backward pass, and its
//! parameters are out of reach of whatever changes parameters. Not here: features that are computed once ([`crate::features`]).

use cspnet_engine::{Input, Plan, PlanOptions, RunError, UpdateState, Workspace};
use cspnet_graph::rewrite::{Part, cut};
use cspnet_graph::{Graph, LazyWeights, Op, ParamId, ValueId, Weights, stages, stages_of_params};

use crate::drops::with_drops;
use crate::error::TrainError;
use crate::recipe::{Freeze, Recipe};

/// A network as it learns by a recipe.
pub(crate) struct Parts {
    /// The part that stays as it is.
    pub frozen: Option<Part>,
    /// The part that learns, with dropout where the recipe asks for some.
    pub learns: Part,
    /// By what the learning rate of each of its parameters is multiplied.
    pub rates: Vec<f64>,
}

impl Parts {
    /// # Errors
    /// If the network has no place for what the recipe asks for.
    pub fn of(network: &Graph, recipe: &Recipe) -> Result<Self, TrainError> {
        let dropped = with_drops(network, recipe)?;
        // Dropout moves values, not parameters.
        let (frozen, learns) = match (frozen_to(network, recipe)?, frozen_to(&dropped, recipe)?) {
            (Some(at), Some(dropped_at)) => {
                let ([frozen, _], [_, learns]) = (cut(network, at)?, cut(&dropped, dropped_at)?);
                (Some(frozen), learns)
            }
            _ => (None, Part::whole(dropped)),
        };
        let of_all = rates(network, recipe)?;
        let rates = learns.params.iter().map(|&p| of_all[p]).collect();
        Ok(Self { frozen, learns, rates })
    }
}

/// Whether a network has a place for all that a recipe asks for.
///
/// # Errors
/// Names what it has no place for.
pub fn check_for(recipe: &Recipe, network: &Graph) -> Result<(), TrainError> {
    Parts::of(network, recipe).map(drop)
}

/// The value up to which a network stays as it is, if there is any.
fn frozen_to(network: &Graph, recipe: &Recipe) -> Result<Option<ValueId>, TrainError> {
    match &recipe.freeze {
        None => Ok(None),
        Some(Freeze::To(stage)) => match network.value(stage) {
            // The picture has nothing to freeze.
            Some(value) if value > 0 => match cut(network, value) {
                Ok(_) => Ok(Some(value)),
                Err(source) => Err(TrainError::Freeze { stage: stage.clone(), source }),
            },
            _ => Err(no_stage(network, stage)),
        },
        Some(Freeze::AllButHead) => before_classifier(network).map(Some),
    }
}

fn no_stage(network: &Graph, asked: &str) -> TrainError {
    let places = stages(network).into_iter().filter(|(_, value)| cut(network, *value).is_ok());
    TrainError::Stage { asked: asked.into(), stages: places.map(|(name, _)| name.to_owned()).collect() }
}

/// What the fully connected layer at the end reads, before dropout.
fn before_classifier(network: &Graph) -> Result<ValueId, TrainError> {
    let classifier = network.node(network.output());
    if !matches!(classifier.op, Op::Linear { .. }) {
        return Err(TrainError::NoHead(classifier.path.clone()));
    }
    let mut value = classifier.inputs[0];
    while let Op::Drop { .. } = network.node(value).op {
        value = network.node(value).inputs[0];
    }
    Ok(value)
}

/// By what the learning rate of every parameter is multiplied.
fn rates(network: &Graph, recipe: &Recipe) -> Result<Vec<f64>, TrainError> {
    let Some(decay) = recipe.layer_decay else { return Ok(vec![1.0; network.params().len()]) };
    let (of_params, count) = stages_of_params(network);
    if count < 2 {
        return Err(TrainError::Recipe { field: "layer-decay", rule: "left out for a network without stages" });
    }
    Ok(of_params.into_iter().map(|stage| decay.powi((count - 1 - stage) as i32)).collect())
}

/// Has `learn` change the numbers of some parameters and what is remembered of them; the others are not there meanwhile. Without
/// `params` it is all of them.
pub(crate) fn with_part<T>(
    params: Option<&[ParamId]>,
    (weights, momentum): (&mut Weights, &mut UpdateState),
    learn: impl FnOnce(&mut Weights, &mut UpdateState) -> T,
) -> T {
    let Some(params) = params else { return learn(weights, momentum) };
    let take = |all: &mut Vec<Vec<f32>>| params.iter().map(|&p| std::mem::take(&mut all[p])).collect::<Vec<_>>();
    let mut part = weights.take(params);
    let mut of_part = UpdateState { momentum: take(&mut momentum.momentum), square: take(&mut momentum.square) };
    let learnt = learn(&mut part, &mut of_part);
    let put_back = |all: &mut Vec<Vec<f32>>, taken: Vec<Vec<f32>>| {
        params.iter().zip(taken).for_each(|(&p, numbers)| all[p] = numbers);
    };
    weights.put_back(params, part);
    put_back(&mut momentum.momentum, of_part.momentum);
    put_back(&mut momentum.square, of_part.square);
    learnt
}

/// Numbers of a part of a network, out of those of the whole.
pub(crate) fn weights_of<'a>(part: &Part, whole: &'a Weights) -> LazyWeights<'a> {
    LazyWeights::new(part.params.iter().map(|&p| whole.get(p).into()).collect())
}

/// The frozen part, ready to run.
#[derive(Debug)]
pub(crate) struct Frozen {
    plan: Plan,
    workspace: Workspace,
    values: Vec<f32>,
}

impl Frozen {
    /// The part with the whole network's weights, for up to so many photos of some height and width.
    pub fn new(
        part: &Part,
        whole: &Weights,
        (height, width): (u32, u32),
        (photos, threads): (usize, usize),
        options: &PlanOptions,
    ) -> Result<Self, TrainError> {
        let plan = Plan::new(&part.graph, weights_of(part, whole), [3, height as usize, width as usize], options)?;
        Ok(Self { workspace: plan.workspace(photos, threads), plan, values: Vec::new() })
    }

    /// Numbers that it makes of a photo.
    pub fn len(&self) -> usize {
        self.plan.output_shape().iter().product()
    }

    /// What it makes of some photos' pixels, `[n, c, h, w]`.
    pub fn values(&mut self, photos: usize, pixels: &[u8]) -> Result<&[f32], RunError> {
        self.workspace.set_images(photos);
        self.plan.run(&mut self.workspace, Input::Pixels(pixels))?;
        let len = self.len();
        self.values.resize(photos * len, 0.0);
        for (photo, values) in self.values.chunks_exact_mut(len).enumerate() {
            self.plan.output_into(&self.workspace, photo, values);
        }
        Ok(&self.values)
    }
}

#[cfg(test)]
mod tests {
    use cspnet_graph::{Builder, Conv};

    use super::*;

    fn network() -> Graph {
        let mut b = Builder::new();
        let mut x = b.input(3);
        for stage in ["stages.0", "stages.1", "stages.2"] {
            x = b.module(stage, |b| {
                let y = b.conv("conv1", x, Conv::new(8, 3));
                let y = b.batch_norm("norm", y);
                let z = b.conv("conv2", y, Conv::new(8, 3));
                b.add("add", y, z)
            });
        }
        let x = b.global_avg_pool("pool", x);
        let x = b.linear("fc", x, 4);
        b.finish(x).unwrap()
    }

    fn parts(recipe: Recipe) -> Result<Parts, String> {
        Parts::of(&network(), &recipe).map_err(|e| e.to_string())
    }

    fn names(part: &Part) -> Vec<&str> {
        part.graph.params().iter().map(|p| p.name.as_str()).collect()
    }

    #[test]
    fn what_is_frozen_and_what_learns_are_all_there_is() {
        let to = |stage: &str| Some(Freeze::To(stage.into()));
        let none = parts(Recipe::default()).unwrap();
        assert!(none.frozen.is_none() && none.learns == Part::whole(network()));
        for recipe in [Recipe::default(), Recipe { drop: 0.1, drop_path: 0.1, ..Recipe::default() }] {
            let parts = parts(Recipe { freeze: to("stages.1"), ..recipe }).unwrap();
            let mut all = [parts.frozen.unwrap().params, parts.learns.params].concat();
            all.sort_unstable();
            assert_eq!(all, (0..network().params().len()).collect::<Vec<_>>());
        }
        let head = parts(Recipe { drop: 0.1, ..Recipe::default().for_features() }).unwrap();
        assert_eq!(names(&head.learns), ["fc.weight", "fc.bias"]);
        assert_eq!(head.frozen.unwrap().graph.channels(0), 3);
    }

    #[test]
    fn what_cannot_be_frozen_says_why() {
        let refused = |stage: &str| {
            parts(Recipe { freeze: Some(Freeze::To(stage.into())), ..Recipe::default() }).err().expect("refused")
        };
        assert!(refused("layer1").contains("stages.0, stages.1, stages.2"), "{}", refused("layer1"));
        assert!(refused("stages.1.conv2").contains("stages.1.norm"), "{}", refused("stages.1.conv2"));
        assert!(refused("fc").contains("nothing comes after"), "{}", refused("fc"));
    }

    #[test]
    fn rates_fall_from_stage_to_stage_towards_the_picture() {
        let layer_decay = Some(0.5);
        let of = |parts: &Parts, name: &str| parts.rates[names(&parts.learns).iter().position(|n| *n == name).unwrap()];
        let all = parts(Recipe { layer_decay, ..Recipe::default() }).unwrap();
        let stages = ["stages.0.conv1.weight", "stages.1.norm.bias", "stages.2.conv2.weight", "fc.weight"];
        assert_eq!(stages.map(|name| of(&all, name)), [0.125, 0.25, 0.5, 1.0]);
        let part =
            parts(Recipe { layer_decay, freeze: Some(Freeze::To("stages.0".into())), ..Recipe::default() }).unwrap();
        assert_eq!(stages[1..].iter().map(|name| of(&part, name)).collect::<Vec<_>>(), [0.25, 0.5, 1.0]);
        assert!(parts(Recipe::default()).unwrap().rates.iter().all(|r| *r == 1.0));
    }

    #[test]
    fn numbers_of_a_part_come_back_to_their_places() {
        let g = network();
        let (before, mut weights) = (Weights::reference(&g), Weights::reference(&g));
        let lists = || vec![vec![0.0]; g.params().len()];
        let mut momentum = UpdateState { momentum: lists(), square: lists() };
        with_part(Some(&[1, 4]), (&mut weights, &mut momentum), |weights, momentum| {
            assert_eq!((weights.tensors().len(), momentum.square.len()), (2, 2));
            weights.get_mut(1)[0] += 1.0;
            momentum.square[0][0] = 5.0;
        });
        assert_eq!(weights.get(4)[0], before.get(4)[0] + 1.0);
        let changed = |p: &usize| momentum.square[*p] != [0.0];
        assert_eq!((0..g.params().len()).filter(changed).collect::<Vec<_>>(), [1]);
        weights.get_mut(4)[0] = before.get(4)[0];
        assert_eq!(weights, before);
    }
}
