//! Which of ONNX's operators are understood (<https://onnx.ai/onnx/operators/>), and where.

use super::call::{Call, Given};
use super::flow::Steps;
use super::{arithmetic, layers, norms, places, products};

/// What adds the steps of a node and gives its outputs.
type Lower = fn(&mut Steps<'_>, &Call<'_>) -> Given;

/// What runs an operator whose inputs depend on the picture.
pub(super) fn find(operator: &str) -> Option<Lower> {
    Some(match operator {
        "Conv" => layers::conv,
        "MaxPool" | "AveragePool" => layers::pool,
        "GlobalAveragePool" | "GlobalMaxPool" => layers::global_pool,
        "BatchNormalization" => norms::batch_norm,
        "InstanceNormalization" => norms::instance_norm,
        "LayerNormalization" => norms::layer_norm,
        "LpNormalization" => norms::lp_norm,
        "LRN" => norms::lrn,
        "PRelu" => layers::prelu,
        "Softmax" | "LogSoftmax" => layers::softmax,
        "Gemm" => products::gemm,
        "MatMul" => products::matmul,
        "DepthToSpace" | "SpaceToDepth" => layers::blocks,
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare" => {
            layers::reduce
        }
        "Shape" | "Size" => layers::shape,
        "Relu" | "LeakyRelu" | "Sigmoid" | "Tanh" | "HardSigmoid" | "HardSwish" | "Elu" | "Selu" | "Softplus"
        | "Mish" | "Swish" | "Gelu" | "Erf" | "Exp" | "Log" | "Sqrt" | "Neg" | "Abs" | "Reciprocal" => {
            arithmetic::unary
        }
        "Clip" => arithmetic::clip,
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min" | "Sum" | "Mean" => arithmetic::binary,
        "Identity" | "Dropout" => arithmetic::same,
        "Cast" => arithmetic::cast,
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => places::reshape,
        "Transpose" => places::transpose,
        "Expand" => arithmetic::expand,
        "Concat" => places::concat,
        "Slice" => places::slice,
        "Split" => places::split,
        "Gather" => places::gather,
        "Pad" => places::pad,
        "Resize" | "Upsample" => places::resize,
        _ => return None,
    })
}
