//! Files read back, and compared with the graph they were written of. That other engines give the same answers is for the
//! project's bench to show; they are not installed here.

use std::collections::{BTreeMap, BTreeSet};

use cspnet_graph::rewrite::{with_dropout, with_loss, with_normalise};
use cspnet_graph::{
    Axis, Binary, Builder, Conv, Coordinates, Crop, Fill, LazyWeights, Op, Pad, Padding, PoolKind, Rearrange,
    Reduction, Resize, ResizeTo, Unary, Window,
};
use cspnet_vision::Preprocess;
use serde_json::json;

use super::*;

const NODES: Options = Options { size: Some([20, 31]), photo: None, batch_norm: BatchNorm::Node, softmax: false };

/// Every operation of a graph, and fully connected layers joined with planes.
fn everything() -> Graph {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("stem", x, Conv::new(12, 3).stride(2).bias());
    let x = b.batch_norm("norm", x);
    let x = b.unary("relu6", x, Unary::Relu6);
    let y = b.conv("grouped", x, Conv::new(24, 3).groups(4));
    let y = b.unary("mish", y, Unary::Mish);
    let z = b.batch_norm("pre", y);
    let z = b.unary("leaky", z, Unary::LeakyRelu { slope: 0.1 });
    let z = b.conv("one", z, Conv::new(12, 1));
    let z = b.unary("silu", z, Unary::Silu);
    let s = b.add("add", z, x);
    let g = b.unary("sigmoid", s, Unary::Sigmoid);
    let s = b.multiply("mul", s, g);
    let c = b.concat("concat", &[s, y, x]);
    let c = b.slice("slice", c, 5, 29);
    let m = b.max_pool("max", c, Window { dilation: [2, 1], ..wide() });
    let a = b.avg_pool("mean", c, Window { kernel: [5, 2], ..wide() });
    let c = b.concat("pools", &[m, a]);
    let c = b.unary("relu", c, Unary::Relu);
    let v = b.global_avg_pool("gap", c);
    let h = b.linear("fc", v, 20);
    let j = b.concat("mixed", &[h, v]);
    let q = b.linear("classifier", j, 10);
    b.finish(q).unwrap()
}

/// The operations of networks that came from ONNX themselves, on pictures of 20 x 31 pixels.
fn imported() -> Graph {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("stem", x, Conv::new(4, 3));
    let x = b.push("prelu", Op::PRelu, &[x]);
    let k = b.constant("k", [4, 1, 1]);
    let x = b.binary("less", Binary::Sub, x, k);
    let x = b.push("lrn", Op::Lrn { size: 5, alpha: 1e-4, beta: 0.75, bias: 2.0 }, &[x]);
    let pad = Pad { before: [0, 1, 2], after: [0, 3, 4], fill: Fill::Constant { value: 0.5 } };
    let x = b.push("padded", Op::Pad(pad), &[x]);
    let x = b.push("mirrored", Op::Pad(Pad { fill: Fill::Reflect, ..pad }), &[x]);
    let x = b.push("cropped", Op::Crop(Crop { axis: Axis::Rows, start: 27, step: -1, len: 28 }), &[x]);
    let x = b.push("thinned", Op::Crop(Crop { axis: Axis::Columns, start: 1, step: 2, len: 20 }), &[x]);
    let x = b.upsample("upsampled", x, 2);
    let halved = Resize {
        to: ResizeTo::Size([28, 20]),
        filter: cspnet_graph::Filter::Linear,
        coordinates: Coordinates::HalfPixel,
    };
    let x = b.push("halved", Op::Resize(halved), &[x]);
    let x = b.push("shuffled", Op::Rearrange(Rearrange::shuffle([4, 28, 20], 2)), &[x]);
    let mean = b.push("squeezed", Op::Reduce { reduction: Reduction::Mean, axes: [false, true, true] }, &[x]);
    let gate = b.unary("gate", mean, Unary::HardSigmoid { alpha: 0.25, beta: 0.5 });
    let x = b.multiply("excited", x, gate);
    let x = b.unary("gelu", x, Unary::Gelu);
    let x = b.unary("gelu2", x, Unary::GeluTanh);
    let x = b.unary("clip", x, Unary::Clip { min: -0.5, max: 2.0 });
    let wide = b.constant("wide", [2, 28, 20]);
    let x = b.concat("joined", &[x, wide]);
    let turned = b.push("turned", Op::Rearrange(Rearrange::transpose([6, 28, 20], [0, 2, 1])), &[x]);
    let x = b.push("product", Op::MatMul, &[x, turned]);
    let x = b.push("softmax", Op::Softmax { axis: Axis::Columns, log: false }, &[x]);
    let x = b.push("sum", Op::Reduce { reduction: Reduction::Sum, axes: [true, false, true] }, &[x]);
    let x = b.push("flat", Op::Rearrange(Rearrange::flatten([1, 28, 1])), &[x]);
    let x = b.linear("fc", x, 5);
    let x = b.push("log", Op::Softmax { axis: Axis::Channels, log: true }, &[x]);
    b.finish(x).unwrap()
}

/// A window that is not the same in both directions.
fn wide() -> Window {
    Window { stride: [1, 2], padding: Padding::even([2, 0]), kernel: [3, 2], ..Window::square(1, 1, 0) }
}

fn read(graph: &Graph, manifest: Option<&Manifest>, options: &Options) -> proto::Model {
    let bytes = write(graph, &Weights::reference(graph), manifest, options).unwrap();
    proto::Model::decode(&bytes[..]).unwrap()
}

fn read_graph(graph: &Graph, options: &Options) -> proto::Graph {
    read(graph, None, options).graph.unwrap()
}

fn node<'a>(graph: &'a proto::Graph, name: &str) -> &'a proto::Node {
    graph.node.iter().find(|n| n.name == name).unwrap_or_else(|| panic!("no node {name}"))
}

fn numbers(graph: &proto::Graph, name: &str) -> Vec<f32> {
    let tensor = graph.initializer.iter().find(|t| t.name == name).unwrap_or_else(|| panic!("no tensor {name}"));
    assert_eq!(tensor.data_type, Some(proto::FLOAT));
    tensor.raw_data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn ints<'a>(node: &'a proto::Node, name: &str) -> &'a [i64] {
    &node.attribute.iter().find(|a| a.name == name).unwrap_or_else(|| panic!("no attribute {name}")).ints
}

fn refusal(graph: &Graph, options: &Options) -> String {
    write(graph, &Weights::reference(graph), None, options).unwrap_err().to_string()
}

#[test]
fn the_bytes_are_those_of_the_official_library() {
    let mut b = Builder::new();
    let x = b.input(1);
    let x = b.unary("act", x, Unary::LeakyRelu { slope: 0.25 });
    let x = b.conv("conv", x, Conv::new(1, 1).stride(2));
    let graph = b.finish(x).unwrap();
    let weights = Weights::new(&graph, vec![vec![1.5]]).unwrap();
    let model = model(&graph, &weights, None, &Options { size: Some([4, 300]), ..Options::default() }).unwrap();
    let hex = |message: Vec<u8>| message.iter().map(|b| format!("{b:02x}")).collect::<String>();
    // Written by the Python package `onnx` 1.23, whose checker accepts it.
    assert_eq!(hex(model.graph.unwrap().encode_to_vec()), OFFICIAL);
}

const OFFICIAL: &str = "\
0a2d0a05696e70757412036163741a0361637422094c65616b7952656c752a0f0a05616c706861150000803ea001010a82010a036163740a0b636f6e\
762e7765696768741204636f6e761a04636f6e762204436f6e762a120a0964696c6174696f6e7340014001a001072a150a0c6b65726e656c5f736861\
706540014001a001072a110a04706164734000400040004000a001072a100a077374726964657340024002a001072a0c0a0567726f75701801a00102\
12076e6574776f726b2a1d08010801080108011001420b636f6e762e7765696768744a040000c03f5a250a05696e707574121c0a1a080112160a0712\
0562617463680a0208010a0208040a0308ac0262240a04636f6e76121c0a1a080112160a07120562617463680a0208010a0208020a03089601";

#[test]
fn every_name_stands_once_and_behind_what_it_needs() {
    let photo = Some(Preprocess::imagenet(32, 0.875, cspnet_vision::Filter::Bicubic).unwrap());
    let padded = Some(Preprocess {
        size: (20, 31),
        resize: cspnet_vision::Resize::ShorterSide(24),
        ..Preprocess::torchvision()
    });
    let all = [
        NODES,
        Options::default(),
        Options { softmax: true, ..NODES },
        Options { photo, softmax: true, ..NODES },
        Options { photo: padded, ..NODES },
    ]
    .map(|options| [true, false].map(|i| (options.clone(), i)));
    // What was imported takes two channels, which no photo has.
    let fit = |(options, is_imported): &(Options, bool)| options.photo.is_none() || !is_imported;
    for (options, is_imported) in all.into_iter().flatten().filter(fit) {
        let graph = read_graph(&if is_imported { imported() } else { everything() }, &options);
        let mut known: BTreeSet<&str> = BTreeSet::new();
        let given = graph.input.iter().map(|i| &i.name).chain(graph.initializer.iter().map(|t| &t.name));
        given.for_each(|name| assert!(known.insert(name), "{name} is given twice"));
        for node in &graph.node {
            let is_known = |i: &String| i.is_empty() || known.contains(i.as_str());
            assert!(node.input.iter().all(is_known), "{} comes too early", node.name);
            assert_eq!(node.output, std::slice::from_ref(&node.name));
            assert!(!node.name.is_empty() && known.insert(&node.name), "{} stands twice", node.name);
        }
        assert!(known.contains(graph.output[0].name.as_str()));
        assert_eq!(graph.output.len(), 1);
    }
}

#[test]
fn every_node_and_every_parameter_is_there_as_it_is() {
    let graph = everything();
    let file = read_graph(&graph, &NODES);
    for wanted in &graph.nodes()[1..] {
        let found = node(&file, &wanted.path);
        let params = wanted.params.iter().map(|&p| &graph.params()[p].name);
        assert!(found.input.ends_with(&params.cloned().collect::<Vec<_>>()), "{}", wanted.path);
    }
    for (param, expected) in graph.params().iter().zip(Weights::reference(&graph).tensors()) {
        let tensor = file.initializer.iter().find(|t| t.name == param.name).unwrap();
        let dims: Vec<usize> = tensor.dims.iter().map(|&d| d as usize).collect();
        assert_eq!((&dims, &numbers(&file, &param.name)), (&param.shape, expected));
    }
}

#[test]
fn dropout_is_written_as_nothing() {
    let (graph, times) = with_dropout(&everything(), 0.5).unwrap();
    assert_eq!(times, 2);
    let written = read_graph(&graph, &NODES);
    let operators: Vec<&str> = written.node.iter().map(|n| n.op_type.as_str()).collect();
    assert_eq!(operators.iter().filter(|o| **o == "Identity").count(), 2);
    assert!(!operators.contains(&"Dropout"));
}

#[test]
fn windows_keep_their_directions() {
    let file = read_graph(&everything(), &NODES);
    let (max, mean) = (node(&file, "max"), node(&file, "mean"));
    assert_eq!((max.op_type.as_str(), mean.op_type.as_str()), ("MaxPool", "AveragePool"));
    assert_eq!((ints(max, "kernel_shape"), ints(max, "strides")), (&[3, 2][..], &[1, 2][..]));
    assert_eq!((ints(max, "pads"), ints(max, "dilations")), (&[2, 0, 2, 0][..], &[2, 1][..]));
    assert!(mean.attribute.iter().all(|a| a.name != "dilations"));
    let stem = node(&file, "stem");
    assert_eq!((ints(stem, "pads"), ints(stem, "strides")), (&[1; 4][..], &[2, 2][..]));
    let groups = node(&file, "grouped").attribute.iter().find(|a| a.name == "group").unwrap();
    assert_eq!((groups.i, groups.kind), (Some(4), Some(proto::ATTRIBUTE_INT)));
}

#[test]
fn windows_keep_their_sides_and_whether_they_round_up() {
    let mut b = Builder::new();
    let x = b.input(3);
    let padding = Padding { before: [0, 1], after: [2, 0] };
    let window = Window { padding, ..Window::square(3, 2, 0) };
    let x = b.push("conv", Op::Conv { out: 4, window, groups: 1, bias: true }, &[x]);
    let x = b.max_pool("max", x, Window { ceil: true, ..window });
    let x = b.global_avg_pool("gap", x);
    let file = read_graph(&b.finish(x).unwrap(), &NODES);
    let (conv, max) = (node(&file, "conv"), node(&file, "max"));
    assert_eq!([ints(conv, "pads"), ints(max, "pads")], [&[0, 1, 2, 0]; 2]);
    let rounds = |node: &proto::Node| node.attribute.iter().find(|a| a.name == "ceil_mode").map(|a| a.i);
    assert_eq!([rounds(conv), rounds(max)], [None, Some(Some(1))]);
}

#[test]
fn functions_without_an_operator_are_made_of_several() {
    let file = read_graph(&everything(), &NODES);
    let operators = |prefix: &str| -> Vec<&str> {
        file.node.iter().filter(|n| n.name.starts_with(prefix)).map(|n| n.op_type.as_str()).collect()
    };
    assert_eq!(operators("mish"), ["Softplus", "Tanh", "Mul"]);
    assert_eq!(operators("silu"), ["Sigmoid", "Mul"]);
    assert_eq!(node(&file, "silu").input, ["one", "silu.sigmoid"]);
    assert_eq!(operators("relu6"), ["Clip"]);
    assert_eq!((numbers(&file, "relu6.min"), numbers(&file, "relu6.max")), (vec![0.0], vec![6.0]));
    assert_eq!(node(&file, "leaky").attribute[0].f, Some(0.1));
    assert_eq!(node(&file, "norm").attribute[1].f, Some(0.9));
}

#[test]
fn imported_operations_are_written_as_they_were() {
    let graph = imported();
    let file = read_graph(&graph, &NODES);
    let operator = |name: &str| node(&file, name).op_type.as_str();
    let word = |of: &str, name: &str| {
        node(&file, of).attribute.iter().find(|a| a.name == name).and_then(|a| a.s.clone()).unwrap_or_default()
    };
    let whole = |name: &str| -> Vec<i64> {
        let tensor = file.initializer.iter().find(|t| t.name == name).unwrap_or_else(|| panic!("no tensor {name}"));
        assert_eq!(tensor.data_type, Some(proto::INT64));
        tensor.raw_data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let dims = |name: &str| file.initializer.iter().find(|t| t.name == name).unwrap().dims.clone();
    for (name, expected) in [
        ("prelu", "PRelu"),
        ("less", "Sub"),
        ("lrn", "LRN"),
        ("padded", "Pad"),
        ("cropped", "Slice"),
        ("upsampled", "Resize"),
        ("squeezed", "ReduceMean"),
        ("gate", "HardSigmoid"),
        ("excited", "Mul"),
        ("clip", "Clip"),
        ("product", "MatMul"),
        ("softmax", "Softmax"),
        ("sum", "ReduceSum"),
        ("flat", "Reshape"),
        ("log", "LogSoftmax"),
    ] {
        assert_eq!(operator(name), expected, "{name}");
    }
    assert_eq!((dims("prelu.weight"), dims("k.value")), (vec![4, 1, 1], vec![4, 1, 1]));
    assert_eq!(node(&file, "less").input, ["prelu", "k.value"]);
    // What is joined with others needs the batch.
    assert_eq!((operator("wide"), &node(&file, "joined").input[1]), ("Expand", &"wide".to_owned()));
    assert_eq!((whole("padded.pads"), word("padded", "mode")), (vec![0, 0, 1, 2, 0, 0, 3, 4], "constant".into()));
    assert_eq!(word("mirrored", "mode"), "reflect");
    assert_eq!((whole("cropped.end"), whole("cropped.step")), (vec![i64::MIN], vec![-1]));
    assert_eq!((whole("thinned.start"), whole("thinned.end"), whole("thinned.axis")), (vec![1], vec![41], vec![3]));
    assert_eq!(numbers(&file, "upsampled.scales"), [1.0, 1.0, 2.0, 2.0]);
    assert_eq!(word("upsampled", "coordinate_transformation_mode"), "asymmetric");
    assert_eq!(node(&file, "halved").input[1..], [String::new(), String::new(), "halved.sizes".into()]);
    assert_eq!(whole("shuffled.split.shape"), [0, 2, 2, 560]);
    assert_eq!(ints(node(&file, "shuffled.ordered"), "perm"), [0, 2, 1, 3]);
    assert_eq!(whole("shuffled.shape"), [0, 4, 28, 20]);
    assert_eq!(whole("sum.axes"), [1, 3]);
    assert_eq!(node(&file, "log").input, ["fc"]);
    let wrapped = |op: Op| {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.push("new", op, &[x]);
        refusal(&b.finish(x).unwrap(), &NODES)
    };
    let wrap = Pad { before: [0, 1, 0], after: [0; 3], fill: Fill::Wrap };
    assert!(wrapped(Op::Pad(wrap)).contains("opset 19"));
    let old = Resize { coordinates: Coordinates::TfHalfPixelForNn, ..Resize::repeat(2) };
    assert!(wrapped(Op::Resize(old)).contains("opset 13"));
}

#[test]
fn constants_that_are_given_are_given_for_every_image() {
    let mut b = Builder::new();
    let x = b.input(3);
    let k = b.constant("k", [3, 1, 1]);
    let sum = b.binary("sum", Binary::Add, x, k);
    let graph = b.finish_named(&[("sum", sum), ("k", k)]).unwrap();
    assert_eq!(node(&read_graph(&graph, &NODES), "k").op_type, "Expand");
}

#[test]
fn fully_connected_layers_are_flat_and_joined_with_planes() {
    let file = read_graph(&everything(), &NODES);
    assert_eq!(node(&file, "gap.flat").op_type, "Flatten");
    assert_eq!(node(&file, "fc").input[0], "gap.flat");
    assert_eq!(node(&file, "mixed").input, ["fc.planes", "gap"]);
    assert_eq!(node(&file, "fc.planes").op_type, "Unsqueeze");
    assert_eq!(node(&file, "classifier").input[0], "mixed.flat");
}

#[test]
fn shapes_are_open_where_they_are_not_known() {
    let shape = |value: &proto::ValueInfo| -> Vec<String> {
        let tensor = value.r#type.clone().unwrap().tensor_type.unwrap();
        assert_eq!(tensor.elem_type, Some(proto::FLOAT));
        let dims = tensor.shape.unwrap().dim.into_iter();
        dims.map(|d| d.dim_param.unwrap_or_else(|| d.dim_value.unwrap().to_string())).collect()
    };
    let file = read_graph(&everything(), &NODES);
    assert_eq!((file.input[0].name.as_str(), file.output[0].name.as_str()), ("input", "classifier"));
    assert_eq!(shape(&file.input[0]), ["batch", "3", "20", "31"]);
    assert_eq!(shape(&file.output[0]), ["batch", "10"]);
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("conv", x, Conv::new(8, 3).stride(2));
    let planes = b.finish(x).unwrap();
    assert_eq!(shape(&read_graph(&planes, &NODES).output[0]), ["batch", "8", "10", "16"]);
    let open = read_graph(&planes, &Options::default());
    assert_eq!(shape(&open.input[0]), ["batch", "3", "height", "width"]);
    assert_eq!(shape(&open.output[0]), ["batch", "8", "output_height", "output_width"]);
}

#[test]
fn several_inputs_and_outputs_keep_their_names() {
    let mut b = Builder::new();
    let left = b.named_input("left", 3);
    let wide = b.conv("conv", left, Conv::new(8, 3).stride(2));
    let wide = b.batch_norm("norm", wide);
    let right = b.named_input("right", 8);
    let sum = b.add("sum", wide, right);
    let mean = b.global_avg_pool("mean", sum);
    let fc = b.linear("fc", mean, 5);
    // One is named as a node that is another value, one twice, and one as its own node.
    let graph = b.finish_named(&[("logits", fc), ("conv", sum), ("again", sum), ("sum", sum), ("norm", wide)]).unwrap();
    for options in [Options::default(), NODES] {
        let file = read_graph(&graph, &Options { size: None, ..options });
        let names = |infos: &[proto::ValueInfo]| infos.iter().map(|i| i.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&file.input), ["left", "right"]);
        assert_eq!(names(&file.output), ["logits", "conv", "again", "sum", "norm"]);
        let made: Vec<&str> = file.node.iter().flat_map(|n| &n.output).map(String::as_str).collect();
        assert!(file.output.iter().all(|o| made.iter().filter(|m| **m == o.name).count() == 1), "{made:?}");
        assert_eq!((node(&file, "logits").op_type.as_str(), &node(&file, "logits").input[0][..]), ("Identity", "fc"));
        let sides = |info: &proto::ValueInfo| {
            let dims = info.r#type.clone().unwrap().tensor_type.unwrap().shape.unwrap().dim;
            dims.into_iter().skip(2).map(|d| d.dim_param.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(
            (sides(&file.input[0]), sides(&file.input[1])[0].as_str()),
            (vec!["height".into(), "width".into()], "right_height")
        );
        assert_eq!(sides(&file.output[1]), ["conv_height", "conv_width"]);
    }
    let softmax = read_graph(&graph, &Options { size: None, softmax: true, ..NODES });
    assert_eq!((node(&softmax, "logits").op_type.as_str(), softmax.output[0].name.as_str()), ("Softmax", "logits"));
}

#[test]
fn normalisations_behind_convolutions_are_folded() {
    let graph = everything();
    let file = read_graph(&graph, &Options::default());
    let norms: Vec<&str> =
        file.node.iter().filter(|n| n.op_type == "BatchNormalization").map(|n| n.name.as_str()).collect();
    assert_eq!(norms, ["pre"]);
    let folded = fold_batch_norm(&graph, &LazyWeights::owned(Weights::reference(&graph)), &[]);
    for (param, expected) in folded.graph.params().iter().zip(folded.weights.to_weights().unwrap().tensors()) {
        assert_eq!(numbers(&file, &param.name), *expected, "{}", param.name);
    }
}

#[test]
fn pixels_are_normalised_by_a_factor_and_a_summand() {
    let graph = with_normalise(&everything(), &[0.5, 0.25, 0.0], &[0.25, 0.5, 1.0]).unwrap();
    let file = read_graph(&graph, &NODES);
    assert_eq!(node(&file, "normalise.scaled").input, ["input", "normalise.scale"]);
    assert_eq!(node(&file, "normalise").input, ["normalise.scaled", "normalise.shift"]);
    assert_eq!(numbers(&file, "normalise.scale"), [4.0 / 255.0, 2.0 / 255.0, 1.0 / 255.0]);
    assert_eq!(numbers(&file, "normalise.shift"), [-2.0, -0.5, 0.0]);
    assert_eq!(file.initializer.iter().find(|t| t.name == "normalise.shift").unwrap().dims, [3, 1, 1]);
}

#[test]
fn names_that_are_taken_get_a_number() {
    let mut b = Builder::new();
    let x = b.input(2);
    let x = b.conv("conv", x, Conv::new(4, 1));
    let x = b.unary("conv.weight", x, Unary::Relu);
    let x = b.unary("", x, Unary::Sigmoid);
    let x = b.unary("", x, Unary::Silu);
    let file = read_graph(&b.finish(x).unwrap(), &NODES);
    let names: Vec<&str> = file.node.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["conv", "conv.weight#2", "#2", "#3.sigmoid", "#3"]);
}

#[test]
fn the_file_says_what_the_manifest_knows() {
    let graph = everything();
    let mut manifest = Manifest::new("small", graph.clone());
    let entries = |manifest: &Manifest| {
        let model = read(&graph, Some(manifest), &NODES);
        assert_eq!((model.ir_version, model.opset_import[0].version), (Some(8), Some(17)));
        assert_eq!(model.graph.unwrap().name, "small");
        model.metadata_props.into_iter().map(|e| (e.key, e.value)).collect::<Vec<_>>()
    };
    assert_eq!(entries(&manifest), [("cspnet.network".into(), "small".into())]);
    manifest.labels = (0..10).map(|i| format!("class \"{i}\"")).collect();
    manifest.preprocess = Some(Preprocess::torchvision());
    manifest.training.insert("epochs".into(), json!(3));
    manifest.licence = Some("CC0".into());
    let (keys, values): (Vec<String>, Vec<String>) = entries(&manifest).into_iter().unzip();
    let ours = ["network", "labels", "preprocess", "training", "licence"].map(|k| format!("cspnet.{k}"));
    assert_eq!(keys[..5], ours);
    assert_eq!(serde_json::from_str::<Vec<String>>(&values[1]).unwrap(), manifest.labels);
    assert_eq!(serde_json::from_str::<Preprocess>(&values[2]).ok(), manifest.preprocess);
    assert_eq!((values[3].as_str(), values[4].as_str()), ("{\"epochs\":3}", "CC0"));
}

#[test]
fn other_tools_find_their_words() {
    let graph = everything();
    let labels = (0..10).map(|i| format!("it's a \\{i} \"é\"")).collect();
    let manifest =
        Manifest { labels, preprocess: Some(Preprocess::torchvision()), ..Manifest::new("small", graph.clone()) };
    let found = |options: &Options| -> BTreeMap<String, String> {
        read(&graph, Some(&manifest), options).metadata_props.into_iter().map(|e| (e.key, e.value)).collect()
    };
    let plain = found(&NODES);
    assert!(plain["names"].starts_with(r#"{0: 'it\'s a \\0 "é"', 1: '"#), "{}", plain["names"]);
    assert!(plain["model_info labels"].starts_with(r#"it's_a_\0_"é" it's_"#));
    assert_eq!((plain["task"].as_str(), plain["imgsz"].as_str()), ("classify", "[224, 224]"));
    let mean = plain["model_info mean_values"].split(' ').map(|v| v.parse::<f64>().unwrap());
    assert!(mean.zip([123.675, 116.28, 103.53]).all(|(found, expected)| (found - expected).abs() < 1e-4));
    assert!(!plain.contains_key("stride") && !plain.contains_key("Image.BitmapPixelFormat"));
    // Who reads these prepares photos, which the file does itself now.
    let photo = found(&Options { photo: manifest.preprocess.clone(), ..NODES });
    assert!(!["cspnet.preprocess", "imgsz", "model_info mean_values"].iter().any(|key| photo.contains_key(*key)));
    assert!(photo.contains_key("cspnet.embedded_preprocess") && photo["Image.BitmapPixelFormat"] == "Rgb8");
}

#[test]
fn photos_go_in_where_the_file_prepares_them_itself() {
    let graph = everything();
    let preprocess = Preprocess { size: (20, 31), ..Preprocess::torchvision() };
    let file = read_graph(&graph, &Options { photo: Some(preprocess.clone()), size: None, ..NODES });
    let tensor = file.input[0].r#type.clone().unwrap().tensor_type.unwrap();
    assert_eq!((file.input.len(), file.input[0].name.as_str(), tensor.elem_type), (1, "photo", Some(proto::UINT8)));
    let dims: Vec<_> = tensor.shape.unwrap().dim.into_iter().map(|d| d.dim_param.unwrap_or_default()).collect();
    assert_eq!(dims, ["batch", "height", "width", ""]);
    assert_eq!(node(&file, "input.scaled").input[0], node(&file, "preprocess.bytes#14").name);
    // What is computed is called as what the network takes.
    assert_eq!((node(&file, "input").op_type.as_str(), node(&file, "stem").input[0].as_str()), ("Add", "input"));
    let output = file.output[0].r#type.clone().unwrap().tensor_type.unwrap().shape.unwrap();
    assert_eq!(output.dim[1].dim_value, Some(10));
    let broken = Preprocess { std: [1.0, 0.0, 1.0], ..preprocess };
    assert!(refusal(&graph, &Options { photo: Some(broken), ..NODES }).contains("std"));
}

#[test]
fn the_same_network_gives_the_same_bytes() {
    let (graph, manifest) = (everything(), Manifest::new("small", everything()));
    let bytes = || write(&graph, &Weights::reference(&graph), Some(&manifest), &Options::default()).unwrap();
    assert_eq!(bytes(), bytes());
}

#[test]
fn probabilities_are_a_node_behind_the_answer() {
    let file = read_graph(&everything(), &Options { softmax: true, ..NODES });
    let last = file.node.last().unwrap();
    assert_eq!((last.op_type.as_str(), last.input[0].as_str()), ("Softmax", "classifier"));
    assert_eq!((&file.output[0].name, last.attribute[0].i), (&last.name, Some(1)));
}

#[test]
fn what_cannot_be_said_is_refused() {
    let graph = everything();
    assert!(refusal(&with_loss(&graph).unwrap(), &NODES).contains("loss cannot be written as ONNX"));
    assert!(refusal(&graph, &Options { size: Some([1, 1]), ..NODES }).contains("max"));
    let other = with_normalise(&graph, &[0.5; 3], &[0.5; 3]).unwrap();
    let manifest = Manifest { labels: vec!["one".into()], ..Manifest::new("small", other) };
    assert!(write(&graph, &Weights::reference(&graph), Some(&manifest), &NODES).is_err());
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.avg_pool("apart", x, Window { dilation: [2, 2], ..Window::square(3, 1, 1) });
    let apart = b.finish(x).unwrap();
    assert!(refusal(&apart, &NODES).starts_with("apart cannot be written as ONNX"));
    assert!(write(&apart, &Weights::reference(&graph), None, &NODES).is_err());
}

#[test]
fn padding_counts_in_means_if_the_graph_says_so() {
    for count_include_pad in [false, true] {
        let (operator, attributes) =
            operators::pool(PoolKind::Average { count_include_pad }, &Window::square(3, 2, 1)).unwrap();
        let counts = attributes.iter().find(|a| a.name == "count_include_pad").unwrap().i;
        assert_eq!((operator, counts), ("AveragePool", Some(count_include_pad.into())));
    }
}
