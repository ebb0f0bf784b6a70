//! What gives numbers other places, repeats them or makes one of several, as ONNX's operators; the batch is open everywhere.

use cspnet_graph::{
    Coordinates, Crop, Fill, Filter, Node, Op, Pad, Rearrange, Reduction, Resize, ResizeTo, Rounding, Shape, ValueId,
};

use super::emit::Emitter;
use super::proto::Attribute;

impl Emitter<'_> {
    /// A run of channels.
    pub(super) fn slice(&mut self, name: String, mut inputs: Vec<String>, start: usize, len: usize) -> String {
        for (what, number) in [("start", start), ("end", start + len), ("axis", 1)] {
            inputs.push(self.ints(&format!("{name}.{what}"), &[number]));
        }
        self.node("Slice", name, inputs, Vec::new())
    }

    pub(super) fn crop(&mut self, name: String, mut inputs: Vec<String>, crop: &Crop) -> String {
        let (start, step) = (crop.start as i64, crop.step as i64);
        // What would be before the first cell counts from the end, unless it is far before.
        let end = Some(start + step * crop.len as i64).filter(|&end| end >= 0).unwrap_or(i64::MIN);
        for (what, number) in [("start", start), ("end", end), ("axis", 1 + crop.axis.index() as i64), ("step", step)] {
            inputs.push(self.signed(&format!("{name}.{what}"), &[number]));
        }
        self.node("Slice", name, inputs, Vec::new())
    }

    pub(super) fn pad(&mut self, name: String, mut inputs: Vec<String>, pad: &Pad) -> Result<String, &'static str> {
        let mode = match pad.fill {
            Fill::Constant { .. } => "constant",
            Fill::Reflect => "reflect",
            Fill::Edge => "edge",
            Fill::Wrap => return Err("ONNX pads by wrapping only since opset 19"),
        };
        let cells = [&[0], &pad.before[..], &[0], &pad.after].concat();
        inputs.push(self.ints(&format!("{name}.pads"), &cells));
        if let Fill::Constant { value } = pad.fill {
            inputs.push(self.floats(&format!("{name}.value"), &[], &[value as f32]));
        }
        Ok(self.node("Pad", name, inputs, vec![Attribute::word("mode", mode)]))
    }

    pub(super) fn resize(&mut self, name: String, x: String, resize: &Resize) -> Result<String, &'static str> {
        let coordinates = match resize.coordinates {
            Coordinates::HalfPixel => "half_pixel",
            Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
            Coordinates::AlignCorners => "align_corners",
            Coordinates::Asymmetric => "asymmetric",
            Coordinates::HalfPixelSymmetric => return Err("ONNX has these coordinates only since opset 19"),
            Coordinates::TfHalfPixelForNn => return Err("ONNX has these coordinates no more since opset 13"),
        };
        let mut attributes = vec![Attribute::word("coordinate_transformation_mode", coordinates)];
        attributes.extend(match resize.filter {
            Filter::Nearest { rounding } => {
                let rounding = match rounding {
                    Rounding::PreferFloor => "round_prefer_floor",
                    Rounding::PreferCeil => "round_prefer_ceil",
                    Rounding::Floor => "floor",
                    Rounding::Ceil => "ceil",
                };
                vec![Attribute::word("mode", "nearest"), Attribute::word("nearest_mode", rounding)]
            }
            Filter::Linear => vec![Attribute::word("mode", "linear")],
            Filter::Cubic { coefficient } => {
                vec![Attribute::word("mode", "cubic"), Attribute::float("cubic_coeff_a", coefficient)]
            }
        });
        // A region of interest, which is none, and either factors or sizes.
        let mut inputs = vec![x.clone(), String::new()];
        match resize.to {
            ResizeTo::Scale([rows, columns]) => {
                inputs.push(self.floats(&format!("{name}.scales"), &[4], &[1.0, 1.0, rows, columns]));
            }
            ResizeTo::Size([rows, columns]) => {
                let first = self.lengths(&name, &x, 2);
                let rest = self.ints(&format!("{name}.rest"), &[rows, columns]);
                let sizes = self.claim(&format!("{name}.sizes"));
                let sizes = self.node("Concat", sizes, vec![first, rest], vec![Attribute::int("axis", 0)]);
                inputs.extend([String::new(), sizes]);
            }
        }
        Ok(self.node("Resize", name, inputs, attributes))
    }

    pub(super) fn rearrange(&mut self, name: String, mut x: String, rearrange: &Rearrange) -> String {
        if !rearrange.is_reshape() {
            x = self.reshape(format!("{name}.split"), x, &rearrange.dims);
            let order: Vec<usize> = std::iter::once(0).chain(rearrange.order.iter().map(|axis| 1 + axis)).collect();
            let ordered = self.claim(&format!("{name}.ordered"));
            x = self.node("Transpose", ordered, vec![x], vec![Attribute::ints("perm", &order)]);
        }
        let shape = self.image_shape(&name, &rearrange.shape);
        self.node("Reshape", name, vec![x, shape], Vec::new())
    }

    fn reshape(&mut self, name: String, x: String, lengths: &[usize]) -> String {
        let name = self.claim(&name);
        let shape = self.image_shape(&name, lengths);
        self.node("Reshape", name, vec![x, shape], Vec::new())
    }

    /// The lengths of a batch of arrays; 0 stands for that of the input.
    fn image_shape(&mut self, of: &str, lengths: &[usize]) -> String {
        self.ints(&format!("{of}.shape"), &[&[0], lengths].concat())
    }

    /// The first lengths of a value when the network runs.
    fn lengths(&mut self, of: &str, x: &str, count: usize) -> String {
        let name = self.claim(&format!("{of}.first"));
        self.node("Shape", name, vec![x.into()], vec![Attribute::int("end", count)])
    }

    pub(super) fn reduce(
        &mut self,
        name: String,
        mut inputs: Vec<String>,
        reduction: Reduction,
        axes: [bool; 3],
    ) -> String {
        let axes: Vec<usize> = (1..4).filter(|axis| axes[axis - 1]).collect();
        let operator = match reduction {
            Reduction::Mean => "ReduceMean",
            Reduction::Max => "ReduceMax",
            Reduction::Min => "ReduceMin",
            // In opset 17 the only one that takes its axes as an input.
            Reduction::Sum => {
                inputs.push(self.ints(&format!("{name}.axes"), &axes));
                return self.node("ReduceSum", name, inputs, Vec::new());
            }
        };
        self.node(operator, name, inputs, vec![Attribute::ints("axes", &axes)])
    }

    /// A constant, for every image of the batch where it is not combined with a value that is.
    pub(super) fn constant(&mut self, id: ValueId, name: String, shape: Shape) -> String {
        let node = self.graph.node(id);
        let constant = self.params(node).remove(0);
        let is_constant = |v: &ValueId| matches!(self.graph.node(*v).op, Op::Constant { .. });
        let repeats = |reader: &Node| {
            let joins = matches!(reader.op, Op::Binary { .. } | Op::MatMul);
            joins && !reader.inputs.iter().all(is_constant)
        };
        let mut readers = self.graph.nodes().iter().filter(|n| n.inputs.contains(&id));
        if readers.all(repeats) && self.graph.outputs().iter().all(|output| output.value != id) {
            return constant;
        }
        let picture = self.value(0).0.to_owned();
        let batch = self.lengths(&name, &picture, 1);
        let rest = self.ints(&format!("{name}.rest"), &shape);
        let all = self.claim(&format!("{name}.shape"));
        let all = self.node("Concat", all, vec![batch, rest], vec![Attribute::int("axis", 0)]);
        self.node("Expand", name, vec![constant, all], Vec::new())
    }
}
