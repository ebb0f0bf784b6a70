//! Every operation as one of ONNX's operators, or as a few of them (<https://onnx.ai/onnx/operators/>, opset 17).
//!
//! Not here: functions ([`super::functions`]), and what only gives numbers other places ([`super::places`]).

use cspnet_graph::{Node, Op, Output, Padding, PoolKind, ValueId, Window};

use super::PROBABILITIES;
use super::emit::{Emitter, Form};
use super::functions::binary;
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
            Op::Binary { function } => self.node(binary(*function), name, inputs, Vec::new()),
            Op::Constant { shape } => self.constant(id, name, *shape),
            Op::PRelu => self.with_params("PRelu", name, inputs, node, Vec::new()),
            Op::Lrn { size, alpha, beta, bias } => {
                let mut attributes = vec![Attribute::int("size", *size)];
                attributes
                    .extend([("alpha", alpha), ("beta", beta), ("bias", bias)].map(|(n, v)| Attribute::float(n, *v)));
                self.node("LRN", name, inputs, attributes)
            }
            Op::Softmax { axis, log } => {
                let operator = if *log { "LogSoftmax" } else { "Softmax" };
                self.node(operator, name, inputs, vec![Attribute::int("axis", 1 + axis.index())])
            }
            Op::Reduce { reduction, axes } => self.reduce(name, inputs, *reduction, *axes),
            Op::Pad(pad) => self.pad(name, inputs, pad).map_err(|why| refused(node, why))?,
            Op::Crop(crop) => self.crop(name, inputs, crop),
            Op::Resize(resize) => self.resize(name, inputs[0].clone(), resize).map_err(|why| refused(node, why))?,
            Op::Rearrange(rearrange) => self.rearrange(name, inputs[0].clone(), rearrange),
            Op::MatMul => self.node("MatMul", name, inputs, Vec::new()),
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
        let name = self.own_name(answer).unwrap_or_else(|| self.claim(PROBABILITIES));
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
    pub(super) fn normalise(&mut self, name: String, mut inputs: Vec<String>, mean: &[f32], std: &[f32]) -> String {
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
}

fn refused(node: &Node, why: &'static str) -> FormatError {
    FormatError::Onnx { path: node.path.clone(), why }
}

/// A window as convolution and maximum have it.
fn window_attributes(window: &Window) -> Vec<Attribute> {
    let Padding { before, after } = window.padding;
    let mut attributes = vec![
        Attribute::ints("dilations", &window.dilation),
        Attribute::ints("kernel_shape", &window.kernel),
        Attribute::ints("pads", &[before, after].concat()),
        Attribute::ints("strides", &window.stride),
    ];
    if window.ceil {
        attributes.push(Attribute::int("ceil_mode", 1));
    }
    attributes
}

/// The operator of a pooling and its attributes.
pub(super) fn pool(kind: PoolKind, window: &Window) -> Result<(&'static str, Vec<Attribute>), &'static str> {
    let mut attributes = window_attributes(window);
    let PoolKind::Average { count_include_pad } = kind else { return Ok(("MaxPool", attributes)) };
    if window.dilation != [1, 1] {
        return Err("its taps are apart, which ONNX has for means only since opset 19");
    }
    attributes.retain(|a| a.name != "dilations");
    // Without padding there is none to be counted. Asked for it all the same, ONNX Runtimes before its pull request 29629 count what
    // ceil mode sees beyond the picture.
    let counts = count_include_pad && !(window.ceil && window.padding == Padding::NONE);
    attributes.push(Attribute::int("count_include_pad", counts.into()));
    Ok(("AveragePool", attributes))
}
