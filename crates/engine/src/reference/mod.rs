//! The naive interpreter of a graph, forward and backward, in single or double precision: the judge of plans, kernels and
//! rewrites.
//!
//! Every value of every node is a dense tensor `[n, c, h, w]`; nothing is fused, laid out or shared. Conventions are
//! PyTorch's. Not here: anything fast.

mod axes;
mod conv;
mod loss;
mod moved;
mod norm;
mod pointwise;
mod pool;
mod tensor;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use cspnet_graph::{Graph, GraphError, Node, Op, ParamId, PoolKind, Shape, ValueId, Weights, WeightsError, Window};

use conv::Geometry;
use norm::{Norm, Statistics};
pub use tensor::{Real, Tensor};

use crate::translate::drop_rule;

/// Why the interpreter cannot run.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The pictures do not fit the network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The weights are those of another network.
    #[error("the weights do not fit the network: {0}")]
    Weights(#[from] WeightsError),
    /// Inputs of different numbers of images.
    #[error("the inputs have {0:?} images; each needs equally many")]
    Images(Vec<usize>),
    /// A loss without targets, targets without a loss, or of another number.
    #[error("{0}")]
    Targets(String),
}

/// What a step of training computes.
#[derive(Clone, Debug)]
pub struct Step<T> {
    /// Mean loss over the images.
    pub loss: f64,
    /// Every node's value.
    pub values: Vec<Tensor<T>>,
    /// Every trained parameter's gradient; `None` for running statistics.
    pub gradients: Vec<Option<Vec<T>>>,
    /// Running means and variances after the step.
    pub running: BTreeMap<ParamId, Vec<f64>>,
}

/// Every node's value for pictures `input`, normalising by running statistics.
///
/// # Errors
/// If the pictures or the weights do not fit the graph, or it ends in a loss.
pub fn infer<T: Real>(graph: &Graph, weights: &Weights, input: &Tensor<T>) -> Result<Vec<Tensor<T>>, ReferenceError> {
    infer_all(graph, weights, std::slice::from_ref(input))
}

/// [`infer`] for several inputs, in the order of [`Graph::inputs`].
///
/// # Errors
/// As [`infer`], and if they are not equally many images.
pub fn infer_all<T: Real>(
    graph: &Graph,
    weights: &Weights,
    inputs: &[Tensor<T>],
) -> Result<Vec<Tensor<T>>, ReferenceError> {
    if graph.nodes().iter().any(|n| n.op == Op::SoftmaxCrossEntropy) {
        return Err(ReferenceError::Targets("a loss needs targets; run the network without it".into()));
    }
    let mut pass = Pass::new(graph, weights, inputs, None)?;
    pass.forward(inputs);
    Ok(pass.values)
}

/// One step of training on pictures `input` with targets `[n, classes]`: normalising by the batch's statistics.
///
/// # Errors
/// If the pictures, the weights or the targets do not fit the graph, or it does not end in its only loss.
pub fn train<T: Real>(
    graph: &Graph,
    weights: &Weights,
    input: &Tensor<T>,
    targets: &[f32],
) -> Result<Step<T>, ReferenceError> {
    train_drawn(graph, weights, input, targets, 0)
}

/// [`train`], where dropout draws by `draw`.
///
/// # Errors
/// As [`train`].
pub fn train_drawn<T: Real>(
    graph: &Graph,
    weights: &Weights,
    input: &Tensor<T>,
    targets: &[f32],
    draw: u64,
) -> Result<Step<T>, ReferenceError> {
    let loss = graph.node(graph.output());
    if loss.op != Op::SoftmaxCrossEntropy {
        return Err(ReferenceError::Targets("training needs a loss at the end".into()));
    }
    if graph.nodes().iter().filter(|n| n.op == Op::SoftmaxCrossEntropy).count() > 1 {
        return Err(ReferenceError::Targets("training needs one loss; the network has another inside".into()));
    }
    let expected = input.shape[0] * graph.channels(loss.inputs[0]);
    if targets.len() != expected {
        return Err(ReferenceError::Targets(format!("{} targets where {expected} are needed", targets.len())));
    }
    let inputs = std::slice::from_ref(input);
    let mut pass = Pass { draw, ..Pass::new(graph, weights, inputs, Some(targets))? };
    pass.forward(inputs);
    let gradients = pass.backward();
    Ok(Step { loss: pass.loss.get(), values: pass.values, gradients, running: pass.running })
}

/// A run through the graph.
struct Pass<'a, T> {
    graph: &'a Graph,
    shapes: Vec<[usize; 4]>,
    params: Vec<Vec<T>>,
    /// `None` at inference.
    targets: Option<&'a [f32]>,
    /// What dropout draws by.
    draw: u64,
    values: Vec<Tensor<T>>,
    loss: T,
    running: BTreeMap<ParamId, Vec<f64>>,
}

impl<'a, T: Real> Pass<'a, T> {
    fn new(
        graph: &'a Graph,
        weights: &Weights,
        inputs: &[Tensor<T>],
        targets: Option<&'a [f32]>,
    ) -> Result<Self, ReferenceError> {
        weights.check(graph.params())?;
        let (images, pictures): (Vec<usize>, Vec<Shape>) =
            inputs.iter().map(|Tensor { shape: [n, c, h, w], .. }| (n, [*c, *h, *w])).unzip();
        let n = images.first().copied().unwrap_or_default();
        if images.iter().any(|&other| other != n) {
            return Err(ReferenceError::Images(images));
        }
        let shapes = graph.shapes(pictures)?.into_iter().map(|[c, h, w]| [n, c, h, w]).collect();
        let exact = |t: &Vec<f32>| t.iter().map(|&v| T::of(f64::from(v))).collect();
        let params = weights.tensors().iter().map(exact).collect();
        let (values, running) = (Vec::new(), BTreeMap::new());
        Ok(Self { graph, shapes, params, targets, draw: 0, values, loss: T::default(), running })
    }

    fn param(&self, node: &Node, i: usize) -> &[T] {
        &self.params[node.params[i]]
    }

    fn geometry(&self, id: ValueId) -> Geometry {
        let node = self.graph.node(id);
        let size = |v: ValueId| [self.shapes[v][2], self.shapes[v][3]];
        let (window, groups) = match node.op {
            Op::Conv { window, groups, .. } => (window, groups),
            _ => (Window::square(1, 1, 0), 1),
        };
        Geometry { window, groups, input: size(node.inputs[0]), output: size(id) }
    }

    /// Pooling's kind and window; the mean over a plane has one as large as the plane.
    fn pooling(&self, node: &Node) -> (PoolKind, Window) {
        let [_, _, h, w] = self.shapes[node.inputs[0]];
        match node.op {
            Op::Pool { kind, window } => (kind, window),
            _ => (PoolKind::Average { count_include_pad: true }, Window { kernel: [h, w], ..Window::square(1, 1, 0) }),
        }
    }

    /// The normalisation of a node by given statistics.
    fn norm<'b>(&'b self, node: &Node, mean: &'b [T], variance: &'b [T]) -> Norm<'b, T> {
        let Op::BatchNorm { eps, .. } = node.op else { unreachable!("{} normalises nothing", node.op.name()) };
        let (scale, shift) = (self.param(node, 0), self.param(node, 1));
        Norm { scale, shift, mean, variance, eps: T::of(eps) }
    }

    /// A value, or a gradient, times what a node drops.
    fn dropped(&self, id: ValueId, x: &Tensor<T>) -> Tensor<T> {
        let rule = drop_rule(self.graph, id);
        let [_, c, h, w] = x.shape;
        let mut y = x.clone();
        for (i, v) in y.data.iter_mut().enumerate() {
            *v = *v * T::of(f64::from(rule.factor(self.draw, i / (c * h * w), i % (c * h * w))));
        }
        y
    }

    fn forward(&mut self, inputs: &[Tensor<T>]) {
        let mut given = inputs.iter();
        for id in 0..self.graph.nodes().len() {
            let value = match self.graph.node(id).op {
                Op::Input { .. } => given.next().expect("there is one for every input").clone(),
                _ => self.compute(id),
            };
            self.values.push(value);
        }
    }

    fn compute(&mut self, id: ValueId) -> Tensor<T> {
        let node = self.graph.node(id);
        let inputs: Vec<&Tensor<T>> = node.inputs.iter().map(|&i| &self.values[i]).collect();
        let mut y = Tensor::zeros(self.shapes[id]);
        match &node.op {
            Op::Conv { .. } | Op::Linear { .. } => {
                let bias = (node.params.len() > 1).then(|| self.param(node, 1));
                conv::forward(&self.geometry(id), inputs[0], self.param(node, 0), bias, &mut y);
                y
            }
            Op::BatchNorm { momentum, .. } => {
                let (mean, variance) = (self.param(node, 2), self.param(node, 3));
                if self.targets.is_none() {
                    return norm::forward(inputs[0], &self.norm(node, mean, variance));
                }
                let batch = Statistics::of(inputs[0]);
                let [mean, variance] = batch.running(mean, variance, *momentum);
                let y = norm::forward(inputs[0], &self.norm(node, &batch.mean, &batch.variance));
                self.running.extend([(node.params[2], mean), (node.params[3], variance)]);
                y
            }
            Op::Unary { function } => inputs[0].map(|x| pointwise::value(*function, x)),
            Op::Binary { function } => {
                let [a, b] = [0, 1].map(|i| axes::repeated(inputs[i], y.shape));
                a.zip(&b, |a, b| pointwise::combined(*function, a, b))
            }
            Op::Constant { .. } => {
                let constant =
                    Tensor { shape: [1, y.shape[1], y.shape[2], y.shape[3]], data: self.param(node, 0).to_vec() };
                axes::repeated(&constant, y.shape)
            }
            Op::PRelu => {
                let mut y = inputs[0].clone();
                for (n, c) in inputs[0].planes() {
                    let slope = self.param(node, 0)[c];
                    let value = |v: T| if v > T::default() { v } else { slope * v };
                    y.plane_mut(n, c).iter_mut().for_each(|v| *v = value(*v));
                }
                y
            }
            Op::Lrn { .. } => axes::Lrn::of(&node.op).forward(inputs[0]),
            Op::Softmax { axis, log } => axes::softmax(inputs[0], *axis, *log),
            Op::Reduce { reduction, .. } => axes::reduce(*reduction, inputs[0], y.shape),
            Op::Pad(_) | Op::Crop(_) | Op::Resize(_) | Op::Rearrange(_) => moved::forward(&node.op, inputs[0], y.shape),
            Op::MatMul => axes::product(inputs[0], inputs[1], [false, false]),
            Op::Pool { .. } | Op::GlobalAvgPool => {
                let (kind, window) = self.pooling(node);
                pool::forward(kind, &window, inputs[0], &mut y);
                y
            }
            Op::Drop { .. } if self.targets.is_some() => self.dropped(id, inputs[0]),
            Op::Drop { .. } => inputs[0].clone(),
            Op::Concat => pointwise::concat(&inputs),
            Op::Slice { start, len } => pointwise::slice(inputs[0], *start, *len),
            Op::Normalise { mean, std } => {
                let mut y = inputs[0].clone();
                for (n, c) in inputs[0].planes() {
                    let [mean, std] = [mean[c], std[c]].map(|v| T::of(f64::from(v)));
                    y.plane_mut(n, c).iter_mut().for_each(|v| *v = (*v / T::of(255.0) - mean) / std);
                }
                y
            }
            Op::SoftmaxCrossEntropy => {
                let targets = self.targets.unwrap_or_default();
                self.loss = loss::softmax_cross_entropy(inputs[0], targets).0;
                y.data.fill(self.loss);
                y
            }
            Op::Input { .. } => unreachable!("what comes in is not computed"),
        }
    }

    /// Every trained parameter's gradient.
    fn backward(&self) -> Vec<Option<Vec<T>>> {
        let params = self.graph.params();
        let mut gradients: Vec<Option<Vec<T>>> =
            params.iter().map(|p| p.role.is_trained().then(|| vec![T::default(); p.len()])).collect();
        let mut of_values: Vec<Option<Tensor<T>>> = vec![None; self.values.len()];
        for id in (0..self.values.len()).rev() {
            let node = self.graph.node(id);
            let dy = of_values[id].take();
            // The loss is where gradients begin; a value that leads nowhere has none.
            if dy.is_none() && node.op != Op::SoftmaxCrossEntropy {
                continue;
            }
            let dy = dy.unwrap_or_else(|| Tensor::zeros(self.shapes[id]));
            let (of_inputs, of_params) = self.backward_through(id, &dy);
            for (&input, dx) in node.inputs.iter().zip(of_inputs) {
                match &mut of_values[input] {
                    Some(sum) => sum.add(&dx),
                    none => *none = Some(dx),
                }
            }
            for (&param, gradient) in node.params.iter().zip(of_params) {
                gradients[param] = Some(gradient);
            }
        }
        gradients
    }

    /// Gradients of a node's inputs, and of its trained parameters in their order.
    fn backward_through(&self, id: ValueId, dy: &Tensor<T>) -> (Vec<Tensor<T>>, Vec<Vec<T>>) {
        let node = self.graph.node(id);
        let inputs: Vec<&Tensor<T>> = node.inputs.iter().map(|&i| &self.values[i]).collect();
        let none = Vec::new();
        match &node.op {
            Op::Conv { .. } | Op::Linear { .. } => {
                let mut dx = Tensor::zeros(inputs[0].shape);
                conv::backward_data(&self.geometry(id), dy, self.param(node, 0), &mut dx);
                let (weight, bias) = conv::backward_weight(&self.geometry(id), inputs[0], dy);
                (vec![dx], vec![weight, bias])
            }
            Op::BatchNorm { .. } => {
                let batch = Statistics::of(inputs[0]);
                let norm = self.norm(node, &batch.mean, &batch.variance);
                let (dx, scale, shift) = norm::backward(inputs[0], dy, &norm);
                (vec![dx], vec![scale, shift])
            }
            Op::Unary { function } => (vec![inputs[0].zip(dy, |x, dy| pointwise::slope(*function, x) * dy)], none),
            Op::Binary { function } => {
                let [a, b] = [0, 1].map(|i| axes::repeated(inputs[i], dy.shape));
                let of = |i: usize| {
                    let slope = a.zip(&b, |a, b| pointwise::slopes(*function, a, b)[i]);
                    axes::summed(&slope.zip(dy, |slope, dy| slope * dy), inputs[i].shape)
                };
                (vec![of(0), of(1)], none)
            }
            Op::Constant { .. } => (Vec::new(), none),
            Op::PRelu => {
                let slopes = self.param(node, 0);
                let (mut dx, mut of_slopes) = (dy.clone(), vec![T::default(); slopes.len()]);
                for (n, c) in dy.planes() {
                    for (dx, &x) in dx.plane_mut(n, c).iter_mut().zip(inputs[0].plane(n, c)) {
                        if x > T::default() {
                            continue;
                        }
                        of_slopes[c] += *dx * x;
                        *dx = *dx * slopes[c];
                    }
                }
                (vec![dx], vec![of_slopes])
            }
            Op::Lrn { .. } => (vec![axes::Lrn::of(&node.op).backward(inputs[0], dy)], none),
            Op::Softmax { axis, log } => (vec![axes::softmax_backward(&self.values[id], dy, *axis, *log)], none),
            Op::Reduce { reduction, .. } => {
                (vec![axes::reduce_backward(*reduction, inputs[0], &self.values[id], dy)], none)
            }
            Op::Pad(_) | Op::Crop(_) | Op::Resize(_) | Op::Rearrange(_) => {
                (vec![moved::backward(&node.op, dy, inputs[0].shape)], none)
            }
            Op::MatMul => {
                let of_a = axes::product(dy, inputs[1], [false, true]);
                let of_b = axes::product(inputs[0], dy, [true, false]);
                (vec![axes::summed(&of_a, inputs[0].shape), axes::summed(&of_b, inputs[1].shape)], none)
            }
            Op::Pool { .. } | Op::GlobalAvgPool => {
                let (kind, window) = self.pooling(node);
                (vec![pool::backward(kind, &window, inputs[0], dy)], none)
            }
            Op::Drop { .. } => (vec![self.dropped(id, dy)], none),
            Op::Concat => {
                let mut start = 0;
                let mut part = |x: &&Tensor<T>| {
                    start += x.shape[1];
                    pointwise::slice(dy, start - x.shape[1], x.shape[1])
                };
                (inputs.iter().map(&mut part).collect(), none)
            }
            Op::Slice { start, .. } => (vec![pointwise::unslice(dy, inputs[0].shape, *start)], none),
            Op::Normalise { std, .. } => {
                let mut dx = dy.clone();
                for (n, c) in dy.planes() {
                    let factor = T::of(1.0) / (T::of(255.0) * T::of(f64::from(std[c])));
                    dx.plane_mut(n, c).iter_mut().for_each(|v| *v = *v * factor);
                }
                (vec![dx], none)
            }
            Op::SoftmaxCrossEntropy => {
                (vec![loss::softmax_cross_entropy(inputs[0], self.targets.unwrap_or_default()).1], none)
            }
            Op::Input { .. } => (Vec::new(), none),
        }
    }
}
