//! Steps whose numbers are not finite: they notice it in whatever part it begins, change no more than they say, and the diagnosis
//! names the layer where it began.

mod common;

use common::{CLASSES, PICTURE, random_network};
use cspnet_engine::{AdamW, Diagnosis, Input, Isa, Phase, Stepped, Symptom, TrainPlan, UpdateRule, UpdateState};
use cspnet_graph::init::reference_input;
use cspnet_graph::rewrite::with_loss;
use cspnet_graph::{Builder, Conv, Graph, ParamId, Unary, Weights};

const IMAGES: usize = 2;

fn sgd(rate: f32) -> UpdateRule {
    UpdateRule::Sgd { rate, momentum: 0.9, nesterov: true, decay: 0.0 }
}

fn targets(classes: usize) -> Vec<f32> {
    (0..IMAGES * classes).map(|i| if i % classes == 1 { 1.0 } else { 0.0 }).collect()
}

/// A network with a loss, and what to spoil in it.
struct Case {
    graph: Graph,
    plan: TrainPlan,
    weights: Weights,
    pictures: Vec<f32>,
    targets: Vec<f32>,
}

impl Case {
    fn new(network: &Graph, picture: [usize; 3], classes: usize) -> Self {
        let graph = with_loss(network).unwrap();
        let plan = TrainPlan::new(&graph, picture, Isa::detect()).unwrap();
        let pictures = reference_input(IMAGES * picture.iter().product::<usize>());
        Self { weights: Weights::reference(&graph), graph, plan, pictures, targets: targets(classes) }
    }

    /// Two convolutions with normalisation, of which the second has no activation that could hide anything.
    fn chain() -> Self {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.conv("first", x, Conv::new(9, 3));
        let x = b.batch_norm("norm", x);
        let x = b.unary("relu", x, Unary::Relu);
        let x = b.conv("second", x, Conv::new(12, 3));
        let x = b.batch_norm("last", x);
        let x = b.global_avg_pool("pool", x);
        let x = b.linear("classifier", x, 4);
        Self::new(&b.finish(x).unwrap(), [3, 6, 5], 4)
    }

    fn param(&self, name: &str) -> ParamId {
        self.graph.params().iter().position(|p| p.name == name).unwrap()
    }

    fn set(&mut self, name: &str, number: f32) {
        let param = self.param(name);
        self.weights.get_mut(param).fill(number);
    }

    /// Gives the classifier the weight `one` for a class and its opposite for all others.
    fn favour_class(&mut self, class: usize, one: f32) {
        let classifier = self.param("classifier.weight");
        let weights = self.weights.get_mut(classifier);
        let inputs = weights.len() / 4;
        weights.iter_mut().enumerate().for_each(|(i, w)| *w = if i / inputs == class { one } else { -one });
    }

    /// What a step shows, what it leaves, and where a diagnosis with the weights before it finds the cause.
    fn step(&self, rule: &UpdateRule) -> (Stepped, Weights, Option<Diagnosis>) {
        let (mut workspace, mut weights) = (self.plan.workspace(IMAGES, 2), self.weights.clone());
        let batch = (Input::Real(&self.pictures), &self.targets[..]);
        let stepped = self.plan.step(&mut workspace, &mut weights, batch, &mut UpdateState::default(), rule).unwrap();
        let diagnosis = self.plan.diagnose(&mut workspace, &self.weights, batch.0, batch.1).unwrap();
        (stepped, weights, diagnosis)
    }

    /// The same for a step that must be noticed by itself.
    fn spoilt(&self, rule: &UpdateRule) -> (Symptom, Weights, Option<Diagnosis>) {
        let (stepped, weights, diagnosis) = self.step(rule);
        (stepped.symptom.expect("it goes unnoticed"), weights, diagnosis)
    }

    /// No trained parameter differs from before, whatever became of running statistics.
    fn keeps_parameters(&self, after: &Weights) -> bool {
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let params = self.graph.params().iter().enumerate().filter(|(_, p)| p.role.is_trained());
        params.into_iter().all(|(id, _)| bits(after.get(id)) == bits(self.weights.get(id)))
    }
}

fn at(phase: Phase, layer: &str) -> Option<Diagnosis> {
    Some(Diagnosis { phase, layer: layer.into() })
}

#[test]
fn a_sound_step_has_no_symptom() {
    let (stepped, weights, diagnosis) = Case::chain().step(&sgd(0.1));
    assert!(stepped.symptom.is_none() && diagnosis.is_none() && stepped.loss.is_finite());
    assert!(!Case::chain().keeps_parameters(&weights));
}

#[test]
fn what_begins_forward_is_found_before_anything_is_changed() {
    for (param, number, layer) in [
        ("first.weight", f32::NAN, "first"),
        ("second.weight", f32::INFINITY, "second"),
        // Finite, but what they give is not.
        ("first.weight", 3e38, "first"),
        ("last.weight", 3e38, "last"),
        ("norm.bias", f32::NAN, "norm"),
        ("classifier.bias", f32::NEG_INFINITY, "classifier"),
    ] {
        let mut case = Case::chain();
        case.set(param, number);
        case.set("classifier.weight", 2.0);
        let (symptom, after, diagnosis) = case.spoilt(&sgd(0.1));
        assert_eq!(diagnosis, at(Phase::Forward, layer), "{param} of {number}");
        assert!(!matches!(symptom, Symptom::Parameter(_)) && case.keeps_parameters(&after), "{param}: {symptom:?}");
    }
    let mut case = Case::chain();
    case.pictures[40] = f32::NAN;
    assert_eq!(case.spoilt(&sgd(0.1)).2, at(Phase::Forward, "input"));
}

#[test]
fn a_loss_that_is_not_finite_though_the_answers_are() {
    let mut case = Case::chain();
    case.targets[1] = f32::NAN;
    let (symptom, after, diagnosis) = case.spoilt(&sgd(0.1));
    assert_eq!((symptom, diagnosis), (Symptom::Loss, at(Phase::Loss, "loss")));
    assert!(after == case.weights);
}

#[test]
fn statistics_of_the_batch_and_running_ones() {
    let mut case = Case::chain();
    // Their outputs are finite, but not the squares of these.
    case.set("second.weight", 1e25);
    let (symptom, after, diagnosis) = case.spoilt(&sgd(0.1));
    assert_eq!(diagnosis, at(Phase::Statistics, "second"));
    assert!(!matches!(symptom, Symptom::Parameter(_)) && case.keeps_parameters(&after), "{symptom:?}");
    for (name, number) in [("norm.running_var", f32::INFINITY), ("last.running_mean", f32::NAN)] {
        let mut case = Case::chain();
        case.set(name, number);
        let (symptom, after, diagnosis) = case.spoilt(&sgd(0.1));
        assert_eq!(symptom, Symptom::Statistic(case.param(name)));
        assert_eq!(diagnosis, at(Phase::Statistics, name.split('.').next().unwrap()));
        assert!(case.keeps_parameters(&after));
    }
}

/// A network whose loss is finite and whose gradient overflows on its way back through `middle`.
fn steep() -> Case {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("first", x, Conv::new(8, 1));
    let x = b.conv("middle", x, Conv::new(8, 1));
    let x = b.global_avg_pool("pool", x);
    let x = b.linear("classifier", x, 4);
    let mut case = Case::new(&b.finish(x).unwrap(), [3, 1, 1], 4);
    // Nothing goes forward, so however steep the way back is, no answer shows it.
    case.set("first.weight", 0.0);
    case.set("middle.weight", 3e38);
    case.set("classifier.bias", 0.0);
    case.favour_class(1, -2.0);
    case
}

#[test]
fn a_gradient_is_found_where_it_begins_and_not_where_it_is_noticed() {
    let case = steep();
    let (symptom, _, diagnosis) = case.spoilt(&sgd(0.1));
    assert_eq!(symptom, Symptom::Parameter(case.param("first.weight")));
    assert_eq!(diagnosis, at(Phase::Gradient, "middle"));
    // From the loss itself.
    let mut case = Case::chain();
    case.targets.iter_mut().for_each(|t| *t *= 3e38);
    case.favour_class(1, -2.0);
    let (stepped, _, diagnosis) = case.step(&sgd(0.1));
    assert!(stepped.loss.is_finite() && stepped.symptom.is_some());
    assert_eq!(diagnosis, at(Phase::Gradient, "classifier"));
}

#[test]
fn an_update_that_goes_too_far() {
    let adamw = UpdateRule::AdamW(AdamW { rate: 3e38, betas: [0.9, 0.999], eps: 0.0, decay: 0.0, update: 1 });
    for rule in [sgd(3e38), adamw] {
        let mut case = Case::chain();
        case.targets.iter_mut().for_each(|t| *t *= 1e4);
        let (symptom, _, diagnosis) = case.spoilt(&rule);
        assert!(matches!(symptom, Symptom::Parameter(_)) && diagnosis.is_none(), "{symptom:?} {diagnosis:?}");
        assert_eq!(case.plan.at_once(symptom).phase, Phase::Update);
    }
}

/// The same bits, and so the same symptom and layer, whatever a step does beside it and however many threads there are.
#[test]
fn kept_gradients_show_the_same() {
    let case = steep();
    for threads in [1, 3] {
        let (mut workspace, mut weights) = (case.plan.workspace(IMAGES, threads), case.weights.clone());
        case.plan.gradients(&mut workspace, &weights, Input::Real(&case.pictures), &case.targets).unwrap();
        assert_eq!(case.plan.update_running(&workspace, &mut weights), None);
        case.plan.clip(&mut workspace, 1.0);
        let symptom = case.plan.update(&mut workspace, &mut weights, &mut UpdateState::default(), &sgd(0.1));
        assert_eq!(symptom, Some(Symptom::Parameter(case.param("first.weight"))));
    }
}

#[test]
fn every_layer_of_random_networks_is_named_by_its_own_name() {
    for seed in 0..30 {
        let network = random_network(seed, 3 + seed as usize % 10);
        let mut case = Case::new(&network, PICTURE, CLASSES);
        let sound = case.step(&sgd(0.1));
        assert!(sound.0.symptom.is_none() && sound.2.is_none(), "network {seed}: {:?} {:?}", sound.0, sound.2);
        let whole = case.weights.clone();
        for node in case.graph.nodes().to_vec() {
            for &param in &node.params {
                let numbers = case.weights.get_mut(param);
                let spoilt = numbers.len() / 2;
                numbers[spoilt] = f32::NAN;
                let (stepped, _, diagnosis) = case.step(&sgd(0.1));
                // A value may lead nowhere; then what is spoilt stays where it is.
                let is_of_use = sound.1.get(param) != whole.get(param);
                assert!(stepped.symptom.is_some() || !is_of_use, "network {seed}: {}", node.path);
                let phase =
                    if case.graph.params()[param].role.is_trained() { Phase::Forward } else { Phase::Statistics };
                assert_eq!(diagnosis, at(phase, &node.path), "network {seed}");
                case.weights = whole.clone();
            }
        }
    }
}
