//! Small ONNX files, made here, read and run: each gives what its operators mean, worked out plainly beside it.

mod file;

use cspnet::engine::reference::{Tensor, infer};
use cspnet::engine::{Input, Plan, PlanOptions};
use cspnet::formats::onnx::{Network, ReadOptions};
use file::{OPEN, float, floats, halves, int, ints, list, node, whole};

/// Numbers of both signs, none of which comes twice.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + 11) % 101) as f32 / 32.0 - 1.5).collect()
}

/// Why a file is refused.
fn refusal(bytes: &[u8]) -> String {
    Network::from_bytes(bytes, &ReadOptions::default()).unwrap_err().to_string()
}

/// What a file's output is of `x`: whether it is batched, its sides, and its numbers, of which the interpreter and a plan give the same.
fn run(bytes: &[u8], x: &[f32]) -> (bool, Vec<usize>, Vec<f32>) {
    let network = Network::from_bytes(bytes, &ReadOptions::default()).unwrap();
    let (graph, [c, h, w]) = (network.graph(), network.inputs()[0].shape());
    let images = x.len() / (c * h * w);
    assert_eq!((images * c * h * w, network.inputs().len()), (x.len(), 1));
    let weights = network.weights().to_weights().unwrap();
    let values = infer(graph, &weights, &Tensor { shape: [images, c, h, w], data: x.to_vec() }).unwrap();
    let given = values[graph.output()].data.clone();
    let plan = Plan::new(graph, network.weights(), [c, h, w], &PlanOptions::default()).unwrap();
    let mut workspace = plan.workspace(images, 1);
    plan.run(&mut workspace, Input::Real(x)).unwrap();
    let planned: Vec<f32> = (0..images).flat_map(|i| plan.named_output(&workspace, "y", i).unwrap()).collect();
    check(&planned, &given);
    let output = &network.outputs()[0];
    (output.batched, output.sides.clone(), given)
}

fn check(given: &[f32], expected: &[f32]) {
    assert_eq!(given.len(), expected.len());
    for (place, (a, b)) in given.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 1e-5 + 1e-5 * b.abs(), "{a} instead of {b} at {place}");
    }
}

/// A file's output: whether it is batched, and its sides; its numbers are held against others.
fn checked(bytes: &[u8], x: &[f32], expected: &[f32]) -> (bool, Vec<usize>) {
    let (batched, sides, given) = run(bytes, x);
    check(&given, expected);
    (batched, sides)
}

/// A matrix of `k` columns times one of `n` columns, row-major.
fn product(a: &[f32], b: &[f32], k: usize, n: usize) -> Vec<f32> {
    let at = |row: &[f32], column: usize| row.iter().zip(b[column..].iter().step_by(n)).map(|(x, y)| x * y).sum();
    a.chunks(k).flat_map(|row| (0..n).map(move |column| at(row, column))).collect()
}

#[test]
fn matrices_of_several_ranks_stand_beside_each_other_from_the_last_on() {
    // [n, 2, 3, 4] times [n, 4, 3], whose `n` stands beside the 2.
    let parts = [
        list("zero", &[0]),
        list("one", &[1]),
        list("axis", &[1]),
        node("Slice", &["x", "zero", "one", "axis"], &["first"], &[]),
        node("Squeeze", &["first", "axis"], &["plain"], &[]),
        node("Transpose", &["plain"], &["turned"], &[ints("perm", &[0, 2, 1])]),
        node("MatMul", &["x", "turned"], &["y"], &[]),
    ];
    for images in [1, 2] {
        let x = numbers(24 * images);
        let turned = |image: usize| -> Vec<f32> { (0..12).map(|i| x[24 * image + i % 3 * 4 + i / 3]).collect() };
        let one = |m: usize| product(&x[12 * m..][..12], &turned(if images == 1 { 0 } else { m % 2 }), 4, 3);
        let expected: Vec<f32> = (0..2 * images).flat_map(one).collect();
        let file = file::file(17, &[images as i64, 2, 3, 4], &parts);
        assert_eq!(checked(&file, &x, &expected), (false, vec![images, 2, 3, 3]));
    }
    // Where it would have to be 2, or 1, and is neither.
    assert!(refusal(&file::file(17, &[3, 2, 3, 4], &parts)).contains("would mix the images of a batch"));
}

#[test]
fn matrices_that_are_fewer_keep_the_dimensions_of_both() {
    // [1, 1, 2, 3] times [3, 3, 2], and [2, 1, 2, 3] times [3, 3, 2].
    for first in [1, 2] {
        let parts = [
            floats("w", &[3, 3, 2], &numbers(18)),
            list("shape", &[1, first, 1, 2, 3]),
            node("Reshape", &["x", "shape"], &["many"], &[]),
            node("MatMul", &["many", "w"], &["y"], &[]),
        ];
        let (x, w) = (numbers(6 * first as usize), numbers(18));
        let all = x.chunks(6).flat_map(|a| w.chunks(6).flat_map(|b| product(a, b, 3, 2)).collect::<Vec<_>>());
        let file = file::file(17, &[1, 6 * first], &parts);
        assert_eq!(checked(&file, &x, &all.collect::<Vec<_>>()), (true, vec![first as usize, 3, 2, 2]));
    }
}

fn softmax(rows: &[f32], len: usize) -> Vec<f32> {
    let of = |row: &[f32]| {
        let sum: f32 = row.iter().map(|x| x.exp()).sum();
        row.iter().map(|x| x.exp() / sum).collect::<Vec<_>>()
    };
    rows.chunks(len).flat_map(of).collect()
}

#[test]
fn softmaxes_of_old_take_all_dimensions_from_their_axis_on() {
    let x = numbers(2 * 24);
    for (axis, len) in [(1, 24), (2, 12), (3, 4), (-1, 4)] {
        for images in [OPEN, 2] {
            let parts = [node("Softmax", &["x"], &["y"], &[int("axis", axis)])];
            let file = file::file(11, &[images, 2, 3, 4], &parts);
            assert_eq!(checked(&file, &x, &softmax(&x, len)), (true, vec![2, 3, 4]), "{axis}");
        }
    }
    let parts = [node("Softmax", &["x"], &["y"], &[int("axis", 0)])];
    let file = file::file(11, &[2, 2, 3, 4], &parts);
    assert_eq!(checked(&file, &x, &softmax(&x, 48)), (false, vec![2, 2, 3, 4]));
}

#[test]
fn padding_is_computed_from_sizes() {
    // As timm's layers do that keep sizes as TensorFlow does: of 5 columns, and windows of 3 every 2.
    let parts = [
        whole("place", 3),
        whole("two", 2),
        whole("one", 1),
        whole("three", 3),
        floats("two.0", &[], &[2.0]),
        node("Shape", &["x"], &["shape"], &[]),
        node("Gather", &["shape", "place"], &["width"], &[]),
        node("Cast", &["width"], &["real"], &[int("to", 1)]),
        node("Div", &["real", "two.0"], &["share"], &[]),
        node("Ceil", &["share"], &["up"], &[]),
        node("Cast", &["up"], &["steps"], &[int("to", 7)]),
        node("Sub", &["steps", "one"], &["less"], &[]),
        node("Mul", &["less", "two"], &["way"], &[]),
        node("Add", &["way", "three"], &["reach"], &[]),
        node("Sub", &["reach", "width"], &["missing"], &[]),
        whole("none", 0),
        node("Clip", &["missing", "none"], &["cells"], &[]),
        node("Div", &["cells", "two"], &["front"], &[]),
        node("Sub", &["cells", "front"], &["back"], &[]),
        list("zero", &[0]),
        node("Unsqueeze", &["front", "zero"], &["fronts"], &[]),
        node("Unsqueeze", &["back", "zero"], &["backs"], &[]),
        list("zeros", &[0, 0, 0]),
        node("Concat", &["zeros", "fronts", "zeros", "backs"], &["pads"], &[int("axis", 0)]),
        floats("least", &[], &[f32::NEG_INFINITY]),
        node("Pad", &["x", "pads", "least"], &["padded"], &[]),
        node("MaxPool", &["padded"], &["y"], &[ints("kernel_shape", &[1, 3]), ints("strides", &[1, 2])]),
    ];
    let file = file::file(17, &[OPEN, 1, 1, 5], &parts);
    let x = [-5.0, -4.0, -3.0, -9.0, -7.0, 3.0, 1.0, 2.0, 0.0, 4.0];
    let expected = [-4.0, -3.0, -7.0, 3.0, 2.0, 4.0];
    assert_eq!(checked(&file, &x, &expected), (true, vec![1, 1, 3]));
}

#[test]
fn functions_of_constants_are_computed() {
    let of = |nodes: &[file::Fields], function: fn(f32) -> f32| {
        let given = [-2.0, -0.5, 0.25, 4.0];
        let parts = [floats("c", &[4], &given), floats("low", &[], &[-1.0]), floats("high", &[], &[2.0])];
        let parts = [&parts[..], nodes, &[node("Add", &["x", "d"], &["y"], &[])]].concat();
        let x = numbers(8);
        let expected: Vec<f32> = x.iter().zip(given.iter().cycle()).map(|(x, &c)| x + function(c)).collect();
        assert_eq!(checked(&file::file(17, &[OPEN, 4], &parts), &x, &expected), (true, vec![4]));
    };
    let one = |operator: &str, inputs: &[&str]| [node(operator, inputs, &["d"], &[])];
    of(&one("Clip", &["c", "low", "high"]), |c| c.clamp(-1.0, 2.0));
    of(&one("Clip", &["c", "", "high"]), |c| c.min(2.0));
    of(&one("Relu", &["c"]), |c| c.max(0.0));
    of(&one("Sigmoid", &["c"]), |c| 1.0 / (1.0 + (-c).exp()));
    of(&one("Tanh", &["c"]), f32::tanh);
    // What has no such function is part of the network.
    of(&one("Softplus", &["c"]), |c| c.exp().ln_1p());
    of(&one("HardSwish", &["c"]), |c| c * (c / 6.0 + 0.5).clamp(0.0, 1.0));
    let matrix =
        floats("m", &[4, 4], &[1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let parts = [
        matrix,
        floats("c", &[1, 4], &[1.0, 1.0, 1.0, 1.0]),
        node("MatMul", &["c", "m"], &["d"], &[]),
        node("Mul", &["x", "d"], &["y"], &[]),
    ];
    let file = file::file(17, &[OPEN, 4], &parts);
    checked(&file, &[1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0], &[1.0, 2.0, 3.0, 0.0, 2.0, 4.0, 6.0, 0.0]);
}

#[test]
fn what_depends_on_constants_alone_is_no_answer() {
    let parts = [floats("c", &[1, 4], &[1.0; 4]), node("Softplus", &["c"], &["y"], &[])];
    assert!(refusal(&file::file(17, &[OPEN, 4], &parts)).contains("the output `y` does not depend on the picture"));
}

#[test]
fn cells_that_are_less_than_all_others_are_never_the_largest() {
    let parts = [
        list("pads", &[0, 0, 1, 1, 0, 0, 1, 1]),
        floats("least", &[], &[f32::NEG_INFINITY]),
        node("Pad", &["x", "pads", "least"], &["padded"], &[]),
        node("MaxPool", &["padded"], &["y"], &[ints("kernel_shape", &[3, 3]), ints("strides", &[1, 1])]),
    ];
    let file = file::file(17, &[OPEN, 1, 2, 2], &parts);
    assert_eq!(checked(&file, &[-4.0, -3.0, -2.0, -8.0], &[-2.0; 4]), (true, vec![1, 2, 2]));
}

#[test]
fn values_are_repeated_along_dimensions_that_lie_apart() {
    // Upsampling as YOLO networks came from Darknet to PyTorch.
    let parts = [
        list("apart", &[0, 2, 3, 1, 2, 1]),
        node("Reshape", &["x", "apart"], &["wide"], &[]),
        list("all", &[1, 2, 3, 2, 2, 4]),
        node("Expand", &["wide", "all"], &["repeated"], &[]),
        list("together", &[0, 2, 6, 8]),
        node("Reshape", &["repeated", "together"], &["y"], &[]),
    ];
    let x = numbers(2 * 12);
    let at = |i: usize| (i / 48) * 6 + i % 48 / 16 * 2 + i % 8 / 4;
    let expected: Vec<f32> = (0..24 * 8).map(|i| x[at(i)]).collect();
    assert_eq!(checked(&file::file(17, &[OPEN, 2, 3, 2], &parts), &x, &expected), (true, vec![2, 6, 8]));
    // Both in turn: [2, 1, 3, 1, 2] and [1, 2, 1, 2, 1].
    let parts = [
        list("shape", &[0, 2, 1, 3, 1, 2]),
        node("Reshape", &["x", "shape"], &["wide"], &[]),
        floats("c", &[2, 1, 2, 1], &[10.0, 20.0, 30.0, 40.0]),
        node("Sub", &["c", "wide"], &["y"], &[]),
    ];
    let at = |i: usize| {
        let [a, b, c, d, e] = [i / 24, i / 12 % 2, i / 4 % 3, i / 2 % 2, i % 2];
        [10.0, 20.0, 30.0, 40.0][2 * b + d] - x[6 * a + 2 * c + e]
    };
    let expected: Vec<f32> = (0..48).map(at).collect();
    assert_eq!(checked(&file::file(17, &[1, 12], &parts), &x[..12], &expected), (true, vec![2, 2, 3, 2, 2]));
}

#[test]
fn dimensions_that_lie_apart_are_reduced() {
    let x = numbers(2 * 48);
    for operator in ["ReduceMean", "ReduceMax"] {
        let parts = [
            list("shape", &[0, 2, 2, 3, 2, 2]),
            node("Reshape", &["x", "shape"], &["wide"], &[]),
            node(operator, &["wide"], &["y"], &[ints("axes", &[3, 5]), int("keepdims", 0)]),
        ];
        let all = |i: usize| (0..6).map(move |j| i / 2 * 12 + j / 2 * 4 + i % 2 * 2 + j % 2);
        let one = |i: usize| match operator {
            "ReduceMean" => all(i).map(|place| x[place]).sum::<f32>() / 6.0,
            _ => all(i).map(|place| x[place]).fold(f32::MIN, f32::max),
        };
        let expected: Vec<f32> = (0..16).map(one).collect();
        assert_eq!(checked(&file::file(17, &[OPEN, 48], &parts), &x, &expected), (true, vec![2, 2, 2]));
    }
}

#[test]
fn constants_are_joined_to_the_images_of_a_batch() {
    let token = [5.0, 6.0];
    let parts = [floats("token", &[1, 1, 2], &token), node("Concat", &["token", "x"], &["y"], &[int("axis", 1)])];
    let x = numbers(12);
    let joined = |image: &[f32]| [&token[..], image].concat();
    let file = file::file(17, &[1, 3, 2], &parts);
    assert_eq!(checked(&file, &x[..6], &joined(&x[..6])), (false, vec![1, 4, 2]));
    // For as many images as there are.
    let parts = [
        whole("none", 0),
        list("zero", &[0]),
        node("Shape", &["x"], &["shape"], &[]),
        node("Gather", &["shape", "none"], &["images"], &[]),
        node("Unsqueeze", &["images", "zero"], &["lead"], &[]),
        list("rest", &[1, 2]),
        node("Concat", &["lead", "rest"], &["all"], &[int("axis", 0)]),
        floats("token", &[1, 1, 2], &token),
        node("Expand", &["token", "all"], &["tokens"], &[]),
        node("Concat", &["tokens", "x"], &["y"], &[int("axis", 1)]),
    ];
    let both: Vec<f32> = x.chunks(6).flat_map(joined).collect();
    for images in [OPEN, 2] {
        let file = file::file(17, &[images, 3, 2], &parts);
        let (batched, sides) = checked(&file, &x, &both);
        assert_eq!((batched, &sides[..]), if images == OPEN { (true, &[4, 2][..]) } else { (false, &[2, 4, 2][..]) });
    }
    let repeated = [
        node("Concat", &["lead", "ones"], &["times"], &[int("axis", 0)]),
        list("ones", &[1, 1]),
        node("Tile", &["token", "times"], &["tokens"], &[]),
    ];
    let tiled = [&parts[..5], &repeated, &parts[7..8], &parts[9..]].concat();
    assert_eq!(checked(&file::file(17, &[OPEN, 3, 2], &tiled), &x, &both), (true, vec![4, 2]));
    let filled = [&parts[..7], &[node("ConstantOfShape", &["all"], &["tokens"], &[])], &parts[9..]].concat();
    let both: Vec<f32> = x.chunks(6).flat_map(|image| [&[0.0; 2][..], image].concat()).collect();
    assert_eq!(checked(&file::file(17, &[OPEN, 3, 2], &filled), &x, &both), (true, vec![4, 2]));
}

#[test]
fn what_would_mix_images_is_for_one_image_at_a_time() {
    // A sum over the batch, and a shape that holds all of it.
    let parts = [node("Softmax", &["x"], &["y"], &[int("axis", 0)])];
    assert_eq!(checked(&file::file(17, &[OPEN, 3], &parts), &[1.0, 2.0, 3.0], &[1.0; 3]), (false, vec![1, 3]));
    let parts = [
        node("Size", &["x"], &["size"], &[]),
        list("zero", &[0]),
        node("Unsqueeze", &["size", "zero"], &["shape"], &[]),
        node("Reshape", &["x", "shape"], &["y"], &[]),
    ];
    let x = numbers(6);
    assert_eq!(checked(&file::file(17, &[OPEN, 3, 2], &parts), &x, &x), (false, vec![6]));
    assert_eq!(checked(&file::file(17, &[1, 3, 2], &parts), &x, &x), (false, vec![6]));
    // What stands in the way of that is told as well.
    let parts = [
        node("Softmax", &["x"], &["mixed"], &[int("axis", 0)]),
        list("far", &[9]),
        node("Squeeze", &["mixed", "far"], &["y"], &[]),
    ];
    let told = refusal(&file::file(17, &[OPEN, 3], &parts));
    assert!(told.contains("`mixed` (Softmax) would mix the images of a batch"), "{told}");
    assert!(told.contains("`y` (Squeeze) means dimension 9 of 2 (if all is one image)"), "{told}");
}

#[test]
fn rectifiers_leak_by_any_slope() {
    let x = [-2.0, -0.5, 0.0, 3.0];
    for slope in [-0.5, 0.25, 1.5] {
        let parts = [node("LeakyRelu", &["x"], &["y"], &[float("alpha", slope)])];
        let expected = x.map(|x| if x < 0.0 { slope * x } else { x });
        assert_eq!(checked(&file::file(17, &[OPEN, 1, 2, 2], &parts), &x, &expected), (true, vec![1, 2, 2]));
    }
    let parts = [node("LeakyRelu", &["x"], &["y"], &[float("alpha", f32::NAN)])];
    assert!(refusal(&file::file(17, &[OPEN, 1, 2, 2], &parts)).contains("has NaN as its alpha"));
}

#[test]
fn halves_are_read_from_lists_of_their_bits() {
    // 1, -2, 0.5, 65504 and the smallest there is.
    let parts = [halves("c", &[5], &[0x3C00, 0xC000, 0x3800, 0x7BFF, 1]), node("Mul", &["x", "c"], &["y"], &[])];
    let expected = [1.0, -2.0, 0.5, 65504.0, 2.0_f32.powi(-24)];
    checked(&file::file(17, &[OPEN, 5], &parts), &[1.0; 5], &expected);
}

/// Numbers less their mean and over their deviation.
fn standardised(numbers: &[f32], eps: f32) -> Vec<f32> {
    let mean = numbers.iter().sum::<f32>() / numbers.len() as f32;
    let variance = numbers.iter().map(|n| (n - mean).powi(2)).sum::<f32>() / numbers.len() as f32;
    numbers.iter().map(|n| (n - mean) / (variance + eps).sqrt()).collect()
}

#[test]
fn weights_are_standardised_as_they_are_read() {
    // As timm's layers do, by a normalisation in training.
    let weight = numbers(3 * 2 * 4);
    let parts = [
        floats("w", &[3, 2, 2, 2], &weight),
        list("rows", &[1, 3, -1]),
        node("Reshape", &["w", "rows"], &["flat"], &[]),
        floats("gain", &[3], &[1.0, 2.0, 3.0]),
        floats("zeros", &[3], &[0.0; 3]),
        floats("ones", &[3], &[1.0; 3]),
        node(
            "BatchNormalization",
            &["flat", "gain", "zeros", "zeros", "ones"],
            &["even", "mean", "var"],
            &[int("training_mode", 1), float("epsilon", 1e-3)],
        ),
        node("Shape", &["w"], &["shape"], &[]),
        node("Reshape", &["even", "shape"], &["weight"], &[]),
        node("Conv", &["x", "weight"], &["y"], &[ints("kernel_shape", &[2, 2])]),
    ];
    let x = numbers(8);
    let rows = weight.chunks(8).zip([1.0, 2.0, 3.0]);
    let one = |(row, gain): (&[f32], f32)| standardised(row, 1e-3).iter().zip(&x).map(|(w, x)| gain * w * x).sum();
    let expected: Vec<f32> = rows.map(one).collect();
    assert_eq!(checked(&file::file(15, &[OPEN, 2, 2, 2], &parts), &x, &expected), (true, vec![3, 1, 1]));
}

#[test]
fn images_are_normalised_by_their_own_statistics() {
    let x = numbers(2 * 24);
    let scaled = |rows: usize, each: &dyn Fn(usize) -> [f32; 2]| -> Vec<f32> {
        let even = x.chunks(rows).flat_map(|row| standardised(row, 1e-5));
        even.enumerate().map(|(i, n)| n * each(i)[0] + each(i)[1]).collect()
    };
    let given = [floats("scale", &[2], &[0.5, 2.0]), floats("shift", &[2], &[1.0, -1.0])];
    let own = [[0.5, 1.0], [2.0, -1.0]];
    let parts = [&given[..], &[node("InstanceNormalization", &["x", "scale", "shift"], &["y"], &[])]].concat();
    let file = file::file(17, &[OPEN, 2, 3, 4], &parts);
    assert_eq!(checked(&file, &x, &scaled(12, &|i| own[i / 12 % 2])), (true, vec![2, 3, 4]));
    let parts =
        [&given[..], &[node("LayerNormalization", &["x", "scale", "shift"], &["y"], &[int("axis", -1)])]].concat();
    let file = file::file(17, &[OPEN, 3, 4, 2], &parts);
    assert_eq!(checked(&file, &x, &scaled(2, &|i| own[i % 2])), (true, vec![3, 4, 2]));
}

#[test]
fn lengths_of_vectors_are_roots_of_sums_of_squares() {
    let x = [3.0, -4.0, 0.0, 0.0, -6.0, 8.0];
    for (parts, expected) in [
        (vec![node("LpNormalization", &["x"], &["y"], &[])], [0.6, -0.8, 0.0, 0.0, -0.6, 0.8]),
        (
            vec![node("LpNormalization", &["x"], &["y"], &[int("p", 1), int("axis", 2)])],
            [3.0 / 7.0, -4.0 / 7.0, 0.0, 0.0, -6.0 / 14.0, 8.0 / 14.0],
        ),
        (
            vec![
                node("ReduceL2", &["x"], &["length"], &[ints("axes", &[2])]),
                floats("more", &[], &[5.0]),
                node("Add", &["length", "more"], &["sum"], &[]),
                node("Div", &["x", "sum"], &["y"], &[]),
            ],
            [0.3, -0.4, 0.0, 0.0, -0.4, 8.0 / 15.0],
        ),
        (
            vec![
                node("ReduceL1", &["x"], &["length"], &[ints("axes", &[2])]),
                node("ReduceSumSquare", &["x"], &["square"], &[ints("axes", &[2])]),
                node("Sub", &["length", "square"], &["less"], &[]),
                node("Add", &["x", "less"], &["y"], &[]),
            ],
            [-15.0, -22.0, 0.0, 0.0, -92.0, -78.0],
        ),
    ] {
        assert_eq!(checked(&file::file(17, &[OPEN, 3, 2], &parts), &x, &expected), (true, vec![3, 2]));
    }
}
