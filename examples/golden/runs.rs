//! Running the network of a file of reference values: in the optimised plan, and in the interpreter.

use std::collections::BTreeMap;

use cspnet::engine::reference::{Real, Step, Tensor, infer, train};
use cspnet::engine::{Input, Isa, Plan, PlanOptions, TrainPlan};
use cspnet::graph::rewrite::with_loss;
use cspnet::graph::{Graph, Param, Weights, init};

use crate::file::Golden;

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Stages,
    Logits,
    Gradients,
    Running,
}

/// A tensor a run has computed: its shape, batch included, and its numbers in row-major order.
#[derive(Debug)]
pub struct Found {
    pub shape: Vec<usize>,
    pub numbers: Vec<f64>,
}

/// What a run has computed: tensors by part and name, and the loss.
#[derive(Debug, Default)]
pub struct Outcome {
    pub tensors: BTreeMap<(Part, String), Found>,
    pub loss: Option<f64>,
    /// What ran, in order.
    pub kernels: Vec<String>,
    /// Median and worst distance of the gradients to those in double precision: of this run, and of the interpreter in
    /// single precision.
    pub distances: Option<[Distances; 2]>,
}

/// Relative distances between gradient tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distances {
    pub median: f64,
    pub worst: f64,
}

/// The network of a file, filled by the rule, and its input.
pub struct Setting {
    pub graph: Graph,
    pub weights: Weights,
    pub input: Vec<f32>,
    pub targets: Vec<f32>,
    threads: usize,
}

type Told<T> = Result<T, String>;

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Setting {
    pub fn of(golden: &Golden) -> Told<Self> {
        let graph = cspnet::zoo::build(&golden.network).map_err(told)?;
        let weights = Weights::reference(&graph);
        let [n, c, h, w] = golden.input;
        let classes = graph.channels(graph.output());
        let mut targets = vec![0.0; n * classes];
        (0..n).for_each(|i| targets[i * classes + 7 * i % classes] = 1.0);
        let input = init::reference_input(n * c * h * w);
        Ok(Self { graph, weights, input, targets, threads: cspnet::engine::default_threads() })
    }

    /// Runs the interpreter in double precision.
    pub fn oracle(&self, golden: &Golden) -> Told<Outcome> {
        let mut outcome = Outcome { kernels: vec!["interpreter, double precision".into()], ..Outcome::default() };
        let input = Tensor::<f64>::from_f32(golden.input, &self.input);
        if golden.trains() {
            let step = self.step::<f64>(golden)?;
            outcome.loss = Some(step.loss);
            let logits = &step.values[self.graph.output()];
            outcome.put(Part::Logits, "", self.logits_shape(golden), logits.data.clone());
            for (param, gradient) in self.graph.params().iter().zip(step.gradients) {
                gradient.into_iter().for_each(|g| outcome.put_param(Part::Gradients, param, g));
            }
            for (id, running) in step.running {
                outcome.put_param(Part::Running, &self.graph.params()[id], running);
            }
        } else {
            let mut values = infer(&self.graph, &self.weights, &input).map_err(told)?;
            for name in golden.stages.keys() {
                let value = &values[self.module(name)?];
                outcome.put(Part::Stages, name, value.shape.into(), value.data.clone());
            }
            let logits = values.swap_remove(self.graph.output()).data;
            outcome.put(Part::Logits, "", self.logits_shape(golden), logits);
        }
        Ok(outcome)
    }

    /// Runs the optimised plan.
    pub fn plan(&self, golden: &Golden) -> Told<Outcome> {
        if golden.trains() { self.training_plan(golden) } else { self.inference_plan(golden) }
    }

    fn inference_plan(&self, golden: &Golden) -> Told<Outcome> {
        let [n, c, h, w] = golden.input;
        let taps: Vec<String> = golden.stages.keys().cloned().collect();
        let options = PlanOptions { taps: taps.clone(), ..PlanOptions::default() };
        let plan = Plan::new(&self.graph, &self.weights, [c, h, w], &options).map_err(told)?;
        let mut workspace = plan.workspace(n, self.threads);
        plan.run(&mut workspace, Input::Real(&self.input)).map_err(told)?;
        let kernels = plan.report().steps.iter().map(|s| s.kernel.clone()).collect();
        let mut outcome = Outcome { kernels, ..Outcome::default() };
        let shapes = self.graph.shapes([c, h, w]).map_err(told)?;
        for name in &taps {
            let [c, h, w] = shapes[self.module(name)?];
            let images = (0..n).filter_map(|i| plan.tap(&workspace, name, i));
            outcome.put(Part::Stages, name, vec![n, c, h, w], images.flatten().map(f64::from).collect());
        }
        let logits = (0..n).flat_map(|i| plan.output(&workspace, i));
        outcome.put(Part::Logits, "", self.logits_shape(golden), logits.map(f64::from).collect());
        Ok(outcome)
    }

    fn training_plan(&self, golden: &Golden) -> Told<Outcome> {
        let [n, c, h, w] = golden.input;
        let graph = with_loss(&self.graph).map_err(told)?;
        let plan = TrainPlan::new(&graph, [c, h, w], Isa::detect()).map_err(told)?;
        let mut workspace = plan.workspace(n, self.threads);
        let input = Input::Real(&self.input);
        let loss = plan.gradients(&mut workspace, &self.weights, input, &self.targets).map_err(told)?;
        let mut after = self.weights.clone();
        plan.update_running(&workspace, &mut after);
        let mut outcome = Outcome {
            loss: Some(loss),
            kernels: plan.steps().iter().map(|s| s.kernel.clone()).collect(),
            ..Outcome::default()
        };
        let mut logits = vec![0.0; n * plan.classes()];
        for (image, logits) in logits.chunks_exact_mut(plan.classes()).enumerate() {
            plan.logits_into(&workspace, image, logits);
        }
        outcome.put(Part::Logits, "", self.logits_shape(golden), logits.into_iter().map(f64::from).collect());
        let mut gradients: Vec<Option<Vec<f64>>> = Vec::new();
        for (id, param) in graph.params().iter().enumerate() {
            let wide = |of: &[f32]| of.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
            let gradient = param.role.is_trained().then(|| wide(workspace.gradient(id)));
            match &gradient {
                Some(g) => outcome.put_param(Part::Gradients, param, g.clone()),
                None => outcome.put_param(Part::Running, param, wide(after.get(id))),
            }
            gradients.push(gradient);
        }
        let exact = self.step::<f64>(golden)?.gradients;
        let single = self.step::<f32>(golden)?.gradients;
        let single: Vec<Option<Vec<f64>>> =
            single.into_iter().map(|g| g.map(|g| g.into_iter().map(f64::from).collect())).collect();
        outcome.distances = Some([distances(&gradients, &exact), distances(&single, &exact)]);
        Ok(outcome)
    }

    fn step<T: Real>(&self, golden: &Golden) -> Told<Step<T>> {
        let graph = with_loss(&self.graph).map_err(told)?;
        let input = Tensor::from_f32(golden.input, &self.input);
        train(&graph, &self.weights, &input, &self.targets).map_err(told)
    }

    fn logits_shape(&self, golden: &Golden) -> Vec<usize> {
        vec![golden.input[0], self.graph.channels(self.graph.output())]
    }

    fn module(&self, name: &str) -> Told<usize> {
        self.graph.value(name).ok_or_else(|| format!("the network has no module `{name}`"))
    }
}

impl Outcome {
    fn put(&mut self, part: Part, name: &str, shape: Vec<usize>, numbers: Vec<f64>) {
        self.tensors.insert((part, name.to_owned()), Found { shape, numbers });
    }

    fn put_param(&mut self, part: Part, param: &Param, numbers: Vec<f64>) {
        self.put(part, &param.name, param.shape.clone(), numbers);
    }
}

/// Relative L2 distances of all gradients to the exact ones.
fn distances(gradients: &[Option<Vec<f64>>], exact: &[Option<Vec<f64>>]) -> Distances {
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let distance = |(g, e): (&Option<Vec<f64>>, &Option<Vec<f64>>)| {
        let (g, e) = (g.as_ref()?, e.as_ref()?);
        let off = norm(&mut g.iter().zip(e).map(|(g, e)| g - e));
        Some(off / norm(&mut e.iter().copied()).max(f64::MIN_POSITIVE))
    };
    let mut all: Vec<f64> = gradients.iter().zip(exact).filter_map(distance).collect();
    all.sort_by(f64::total_cmp);
    let at = |i: usize| all.get(i).copied().unwrap_or(0.0);
    Distances { median: at(all.len() / 2), worst: at(all.len().saturating_sub(1)) }
}
