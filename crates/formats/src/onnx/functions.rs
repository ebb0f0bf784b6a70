//! Functions of one number and of two as ONNX's operators; what opset 17 has no operator for is made of several.

use cspnet_graph::{Binary, Unary};

use super::emit::Emitter;
use super::proto::Attribute;

impl Emitter<'_> {
    pub(super) fn unary(&mut self, name: String, inputs: Vec<String>, function: Unary) -> String {
        let (operator, attributes) = match function {
            Unary::Relu6 => return self.clip(name, inputs, [0.0, 6.0]),
            Unary::Clip { min, max } => return self.clip(name, inputs, [min, max]),
            Unary::Silu => return self.gated(name, inputs, &["Sigmoid"]),
            // An operator of its own only since opset 18.
            Unary::Mish => return self.gated(name, inputs, &["Softplus", "Tanh"]),
            // And these only since opset 20.
            Unary::Gelu => return self.gelu(name, &inputs[0]),
            Unary::GeluTanh => return self.gelu_tanh(name, &inputs[0]),
            Unary::Relu => ("Relu", Vec::new()),
            Unary::LeakyRelu { slope } => ("LeakyRelu", vec![Attribute::float("alpha", slope)]),
            Unary::Sigmoid => ("Sigmoid", Vec::new()),
            Unary::Tanh => ("Tanh", Vec::new()),
            Unary::HardSigmoid { alpha, beta } => {
                ("HardSigmoid", vec![Attribute::float("alpha", alpha), Attribute::float("beta", beta)])
            }
            Unary::HardSwish => ("HardSwish", Vec::new()),
            Unary::Elu { alpha } => ("Elu", vec![Attribute::float("alpha", alpha)]),
            Unary::Selu { alpha, gamma } => {
                ("Selu", vec![Attribute::float("alpha", alpha), Attribute::float("gamma", gamma)])
            }
            Unary::Softplus => ("Softplus", Vec::new()),
            Unary::Erf => ("Erf", Vec::new()),
            Unary::Exp => ("Exp", Vec::new()),
            Unary::Log => ("Log", Vec::new()),
            Unary::Sqrt => ("Sqrt", Vec::new()),
            Unary::Neg => ("Neg", Vec::new()),
            Unary::Abs => ("Abs", Vec::new()),
            Unary::Reciprocal => ("Reciprocal", Vec::new()),
        };
        self.node(operator, name, inputs, attributes)
    }

    fn clip(&mut self, name: String, mut inputs: Vec<String>, [min, max]: [f64; 2]) -> String {
        inputs.push(self.floats(&format!("{name}.min"), &[], &[min as f32]));
        inputs.push(self.floats(&format!("{name}.max"), &[], &[max as f32]));
        self.node("Clip", name, inputs, Vec::new())
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

    /// `x * (1 + erf(x / sqrt(2))) / 2`
    fn gelu(&mut self, name: String, x: &str) -> String {
        let scaled = self.by(&name, "Mul", x, std::f64::consts::FRAC_1_SQRT_2);
        let step = self.claim(&format!("{name}.erf"));
        let erf = self.node("Erf", step, vec![scaled], Vec::new());
        let more = self.by(&name, "Add", &erf, 1.0);
        let share = self.by(&name, "Mul", &more, 0.5);
        self.node("Mul", name, vec![x.into(), share], Vec::new())
    }

    /// `x * sigmoid(2 sqrt(2 / pi) x (1 + 0.044715 x^2))`, which is the same as by the tangent.
    fn gelu_tanh(&mut self, name: String, x: &str) -> String {
        let step = self.claim(&format!("{name}.square"));
        let square = self.node("Mul", step, vec![x.into(), x.into()], Vec::new());
        let scaled = self.by(&name, "Mul", &square, 0.044_715);
        let more = self.by(&name, "Add", &scaled, 1.0);
        let factor = self.by(&name, "Mul", &more, 2.0 * (2.0 / std::f64::consts::PI).sqrt());
        let step = self.claim(&format!("{name}.argument"));
        let argument = self.node("Mul", step, vec![x.into(), factor], Vec::new());
        let step = self.claim(&format!("{name}.sigmoid"));
        let share = self.node("Sigmoid", step, vec![argument], Vec::new());
        self.node("Mul", name, vec![x.into(), share], Vec::new())
    }

    /// `x` and a number combined, on the way to the node `of`.
    fn by(&mut self, of: &str, operator: &str, x: &str, number: f64) -> String {
        let step = self.claim(&format!("{of}.{}", operator.to_lowercase()));
        let number = self.floats(&format!("{step}.by"), &[], &[number as f32]);
        self.node(operator, step, vec![x.into(), number], Vec::new())
    }
}

/// The operator of a function of two numbers, which repeats axes of length 1 as ours does.
pub(super) fn binary(function: Binary) -> &'static str {
    match function {
        Binary::Add => "Add",
        Binary::Sub => "Sub",
        Binary::Mul => "Mul",
        Binary::Div => "Div",
        Binary::Pow => "Pow",
        Binary::Max => "Max",
        Binary::Min => "Min",
    }
}
