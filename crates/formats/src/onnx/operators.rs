//! Every operation as one of ONNX's operators, or as a few of them (<https://onnx.ai/onnx/operators/>, opset 17).

use cspnet_graph::{Binary, Node, Op, Output, PoolKind, Unary, ValueId, Window};

use super::emit::{Emitter, Form};
use super::proto::Attribute;
use crate::error::FormatError;

impl Emitter<'_> {
    /// Writes a node of the graph; those before it have been written.
    ///
    /// # Errors
    /// If ONNX has no words for it.
    pub(super) fn operation(&mut self, id: ValueId) -> Result<(), FormatError> {
        let node = self.graph.node(id);
        let form = self.form(node);
        let inputs = self.inputs(node, form);
        let name = self.claim(&node.path);
        let name = match &node.op {
            Op::Input { .. } => name,
            Op::Normalise { mean, std } => self.normalise(name, inputs, mean, std),
            Op::Conv { window, groups, .. } => {
                let attributes = [window_attributes(window), vec![Attribute::int("group", *groups)]].concat();
                self.with_params("Conv", name, inputs, node, attributes)
            }
            Op::BatchNorm { eps, momentum } => {
                // ONNX's momentum is the share that the old statistics keep.
                let attributes = vec![Attribute::float("epsilon", *eps), Attribute::float("momentum", 1.0 - momentum)];
                self.with_params("BatchNormalization", name, inputs, node, attributes)
            }
            Op::Unary { function } => self.unary(name, inputs, *function),
            Op::Binary { function: Binary::Add } => self.node("Add", name, inputs, Vec::new()),
            Op::Binary { function: Binary::Mul } => self.node("Mul", name, inputs, Vec::new()),
            Op::Pool { kind, window } => {
                let (operator, attributes) = pool(*kind, window).map_err(|why| refused(node, why))?;
                self.node(operator, name, inputs, attributes)
            }
            Op::GlobalAvgPool => self.node("GlobalAveragePool", name, inputs, Vec::new()),
            // Outside training nothing is dropped.
            Op::Drop { .. } => self.node("Identity", name, inputs, Vec::new()),
            Op::Concat => self.node("Concat", name, inputs, vec![Attribute::int("axis", 1)]),
            Op::Slice { start, len } => self.slice(name, inputs, *start, *len),
            Op::Linear { .. } => self.with_params("Gemm", name, inputs, node, vec![Attribute::int("transB", 1)]),
            Op::SoftmaxCrossEntropy => {
                return Err(refused(node, "a loss is for training; write the network without it"));
            }
        };
        self.push(name, form);
        Ok(())
    }

    /// Probabilities behind the answer, a node of its own.
    pub(super) fn softmax(&mut self, answer: &Output) -> (String, Form) {
        let (logits, form) = self.value(answer.value);
        let logits = logits.to_owned();
        let name = self.own_name(answer).unwrap_or_else(|| self.claim("softmax"));
        (self.node("Softmax", name, vec![logits], vec![Attribute::int("axis", 1)]), form)
    }

    /// An operator that takes its parameters behind its inputs.
    fn with_params(
        &mut self,
        operator: &str,
        name: String,
        mut inputs: Vec<String>,
        node: &Node,
        attributes: Vec<Attribute>,
    ) -> String {
        inputs.extend(self.params(node));
        self.node(operator, name, inputs, attributes)
    }

    /// `(x / 255 - mean) / std` as one factor and one summand a channel, computed in double precision and rounded once: as the
    /// plans of `cspnet-engine` do.
    fn normalise(&mut self, name: String, mut inputs: Vec<String>, mean: &[f32], std: &[f32]) -> String {
        let shape = [mean.len(), 1, 1];
        let factors: Vec<f32> = std.iter().map(|&s| (1.0 / (255.0 * f64::from(s))) as f32).collect();
        let summands = mean.iter().zip(std).map(|(&m, &s)| (-f64::from(m) / f64::from(s)) as f32);
        let summands: Vec<f32> = summands.collect();
        inputs.push(self.floats(&format!("{name}.scale"), &shape, &factors));
        let scaled = self.claim(&format!("{name}.scaled"));
        let scaled = self.node("Mul", scaled, inputs, Vec::new());
        let shift = self.floats(&format!("{name}.shift"), &shape, &summands);
        self.node("Add", name, vec![scaled, shift], Vec::new())
    }

    fn unary(&mut self, name: String, mut inputs: Vec<String>, function: Unary) -> String {
        match function {
            Unary::Relu => self.node("Relu", name, inputs, Vec::new()),
            Unary::Relu6 => {
                inputs.push(self.floats(&format!("{name}.min"), &[], &[0.0]));
                inputs.push(self.floats(&format!("{name}.max"), &[], &[6.0]));
                self.node("Clip", name, inputs, Vec::new())
            }
            Unary::LeakyRelu { slope } => self.node("LeakyRelu", name, inputs, vec![Attribute::float("alpha", slope)]),
            Unary::Sigmoid => self.node("Sigmoid", name, inputs, Vec::new()),
            Unary::Silu => self.gated(name, inputs, &["Sigmoid"]),
            // An operator of its own only since opset 18.
            Unary::Mish => self.gated(name, inputs, &["Softplus", "Tanh"]),
        }
    }

    /// `x * f(x)`, where `f` is a chain of functions.
    fn gated(&mut self, name: String, mut inputs: Vec<String>, chain: &[&str]) -> String {
        let mut gate = inputs[0].clone();
        for function in chain {
            let step = self.claim(&format!("{name}.{}", function.to_lowercase()));
            gate = self.node(function, step, vec![gate], Vec::new());
        }
        inputs.push(gate);
        self.node("Mul", name, inputs, Vec::new())
    }

    fn slice(&mut self, name: String, mut inputs: Vec<String>, start: usize, len: usize) -> String {
        for (what, number) in [("start", start), ("end", start + len), ("axis", 1)] {
            inputs.push(self.ints(&format!("{name}.{what}"), &[number]));
        }
        self.node("Slice", name, inputs, Vec::new())
    }
}

fn refused(node: &Node, why: &'static str) -> FormatError {
    FormatError::Onnx { path: node.path.clone(), why }
}

/// A window as convolution and maximum have it.
fn window_attributes(window: &Window) -> Vec<Attribute> {
    let [top, left] = window.padding;
    vec![
        Attribute::ints("dilations", &window.dilation),
        Attribute::ints("kernel_shape", &window.kernel),
        Attribute::ints("pads", &[top, left, top, left]),
        Attribute::ints("strides", &window.stride),
    ]
}

/// The operator of a pooling and its attributes.
pub(super) fn pool(kind: PoolKind, window: &Window) -> Result<(&'static str, Vec<Attribute>), &'static str> {
    let mut attributes = window_attributes(window);
    let PoolKind::Average { count_include_pad } = kind else { return Ok(("MaxPool", attributes)) };
    if window.dilation != [1, 1] {
        return Err("its taps are apart, which ONNX has for means only since opset 19");
    }
    attributes.retain(|a| a.name != "dilations");
    attributes.push(Attribute::int("count_include_pad", count_include_pad.into()));
    Ok(("AveragePool", attributes))
}
