//! Files written here come back whole, what files spell out is recognised, and hostile files are refused with their place. That
//! networks give what others make of them is for `crates/cspnet/tests/onnx.rs` and `bench/onnx_cases`.

mod memory;
mod needed;

use std::path::PathBuf;

use cspnet_graph::{Binary, Conv, PoolKind, Unary, Weights, Window};
use cspnet_vision::Preprocess;
use prost::Message;

use super::*;
use crate::onnx::{self, BatchNorm, Options, proto};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/onnx")
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).unwrap()
}

fn read(bytes: &[u8]) -> Result<Network<'_>, FormatError> {
    Network::from_bytes(bytes, &ReadOptions { size: Some([8, 8]), ..ReadOptions::default() })
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

/// A network as networks here are: a stem, a dense block, a classifier.
fn small() -> Graph {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("stem.conv", x, Conv::new(8, 3).stride(2));
    let x = b.batch_norm("stem.norm", x);
    let x = b.unary("stem.act", x, Unary::LeakyRelu { slope: 0.1 });
    let y = b.batch_norm("block.norm", x);
    let y = b.unary("block.silu", y, Unary::Silu);
    let y = b.conv("block.conv", y, Conv::new(6, 3).groups(2).bias());
    let y = b.unary("block.mish", y, Unary::Mish);
    let x = b.concat("block.cat", &[x, y]);
    let z = b.slice("part", x, 3, 8);
    let w = b.unary("clip", z, Unary::Relu6);
    let z = b.add("sum", z, w);
    let z = b.max_pool("max", z, Window { kernel: [3, 2], ..Window::square(2, 2, 1) });
    let z = b.push(
        "mean",
        Op::Pool { kind: PoolKind::Average { count_include_pad: true }, window: Window::square(2, 1, 0) },
        &[z],
    );
    let z = b.global_avg_pool("pool", z);
    let z = b.linear("head.fc", z, 4);
    b.finish(z).unwrap()
}

fn written(graph: &Graph, manifest: Option<&Manifest>, options: &Options) -> Vec<u8> {
    onnx::write(graph, &Weights::reference(graph), manifest, options).unwrap()
}

const NODES: Options = Options { size: Some([20, 31]), batch_norm: BatchNorm::Node, softmax: false, photo: None };

#[test]
fn what_was_written_here_comes_back_whole() {
    let graph = small();
    let mut manifest = Manifest::new("small", graph.clone());
    manifest.labels = ["ä", "b", "c \"d\"", "e"].map(String::from).into();
    manifest.preprocess = Some(Preprocess::torchvision());
    manifest.training.insert("epochs".into(), serde_json::json!([3, "x"]));
    manifest.licence = Some("CC0".into());
    let bytes = written(&graph, Some(&manifest), &NODES);
    let network = read(&bytes).unwrap();
    assert_eq!(network.graph().nodes(), graph.nodes());
    let names =
        |graph: &Graph| graph.params().iter().map(|p| (p.name.clone(), p.role, p.shape.clone())).collect::<Vec<_>>();
    assert_eq!(names(network.graph()), names(&graph));
    assert_eq!(network.weights().to_weights().unwrap(), Weights::reference(&graph));
    let found = network.manifest().unwrap();
    assert_eq!(found, Manifest { graph: network.graph().clone(), ..manifest });
    assert_eq!(network.size(), [20, 31]);
    let open = written(&graph, None, &Options { size: None, ..NODES });
    assert_eq!(read(&open).unwrap().graph().nodes(), graph.nodes());
    // What is written again has the same bytes.
    assert_eq!(written(network.graph(), Some(&found), &NODES), bytes);
}

#[test]
fn a_softmax_at_the_end_is_left_out_on_demand() {
    let bytes = written(&small(), None, &Options { softmax: true, ..NODES });
    let read = |without_softmax| Network::from_bytes(&bytes, &ReadOptions { size: None, without_softmax }).unwrap();
    let kind = |network: Network<'_>| network.graph().node(network.graph().output()).op.name();
    assert_eq!([kind(read(false)), kind(read(true))], ["softmax", "linear"]);
}

#[test]
fn what_is_spelt_out_in_several_nodes_is_one_operation() {
    let bytes = fixture("spelt.onnx");
    let network = read(&bytes).unwrap();
    let graph = network.graph();
    let operations: Vec<&str> = graph.nodes().iter().map(|n| n.op.name()).collect();
    let activations = ["silu", "mish", "hard swish", "hard swish", "hard swish", "gelu", "gelu"];
    let expected = [&["input", "conv"][..], &activations, &["global average", "linear"]].concat();
    assert_eq!(operations, expected);
    let paths: Vec<&str> = graph.nodes().iter().map(|n| n.path.as_str()).collect();
    assert_eq!(paths[..4], ["input", "one", "silu", "mish"]);
    let params: Vec<&str> = graph.params().iter().map(|p| p.name.as_str()).collect();
    assert_eq!(params, ["one.weight", "one.bias", "fc.weight", "fc.bias"]);
}

#[test]
fn computed_shapes_leave_the_batch_open_and_become_sizes() {
    let bytes = fixture("computed.onnx");
    let network = read(&bytes).unwrap();
    let operations: Vec<&str> = network.graph().nodes().iter().map(|n| n.op.name()).collect();
    assert_eq!(operations, ["input", "conv", "relu", "resize", "global average", "linear", "softmax"]);
    assert!(network.inputs()[0].batched && network.outputs()[0].batched);
    assert_eq!((network.size(), &network.outputs()[0].sides[..]), ([8, 8], &[5][..]));
    assert_eq!(Network::from_bytes(&bytes, &ReadOptions::default()).unwrap().size(), DEFAULT_SIZE);
}

#[test]
fn everything_that_is_not_supported_is_told_at_once() {
    let told = refusal(&fixture("refused.onnx"));
    for part in [
        "`up` (ConvTranspose) is an operator that is not known",
        "`either` (If) is an operator",
        "`twisted` (Twist) is of the domain `com.example`",
        "`sums` (Einsum) is an operator",
        "`mixed` (Softmax) would mix the images of a batch",
        "`solid` (AveragePool) has a window of [2, 2, 2] over 2 dimensions",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains("`behind`"), "{told}");
}

#[test]
fn files_that_end_early_or_are_changed_are_refused_or_read_but_never_panic() {
    for name in ["computed.onnx", "spelt.onnx", "old.onnx", "moved.onnx", "stored.onnx", "refused.onnx", "beside.onnx"]
    {
        let bytes = fixture(name);
        for len in 0..bytes.len() {
            let _ = read(&bytes[..len]);
        }
        let mut changed = bytes.clone();
        for place in 0..bytes.len() {
            let byte = bytes[place];
            changed[place] = [0xFF, 0x00, byte ^ 1, byte.wrapping_add(8), 0x7F][place % 5];
            if let Ok(network) = read(&changed) {
                let _ = network.manifest();
            }
            changed[place] = bytes[place];
        }
    }
    assert!(refusal(b"").contains("holds no graph"));
    assert!(refusal(b"hello, world").starts_with("not an ONNX file that can be read: byte"));
}

/// A file of these nodes, which reads `x` and gives `y`.
fn file(nodes: Vec<proto::Node>, initializer: Vec<proto::Tensor>, shape: &[usize]) -> Vec<u8> {
    let info = |name: &str, shape: &[usize]| {
        proto::ValueInfo::floats(name.into(), shape.iter().map(|&n| proto::Dimension::known(n)).collect())
    };
    let graph = proto::Graph {
        node: nodes,
        name: "hostile".into(),
        initializer,
        input: vec![info("x", shape)],
        output: vec![info("y", &[])],
    };
    let opset_import = vec![proto::OperatorSet { version: Some(17) }];
    proto::Model { graph: Some(graph), opset_import, ..proto::Model::default() }.encode_to_vec()
}

fn node(operator: &str, inputs: &[&str], output: &str) -> proto::Node {
    proto::Node {
        input: inputs.iter().map(|&i| i.into()).collect(),
        output: vec![output.into()],
        name: format!("{output} node"),
        op_type: operator.into(),
        attribute: Vec::new(),
    }
}

fn ints(name: &str, numbers: &[i64]) -> proto::Tensor {
    let raw_data = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    proto::Tensor { dims: vec![numbers.len() as i64], data_type: Some(proto::INT64), name: name.into(), raw_data }
}

/// What is refused with little memory.
fn hostile(bytes: &[u8], why: &str) {
    let told = memory::within(bytes.len() + memory::SLACK, why, || refusal(bytes));
    assert!(told.contains(why), "{why}: {told}");
}

#[test]
fn nodes_that_wait_for_each_other_are_refused() {
    let cycle = vec![node("Relu", &["b"], "a"), node("Relu", &["a"], "b"), node("Relu", &["x"], "y")];
    hostile(&file(cycle, vec![], &[1, 3, 4, 4]), "`a node` (Relu) waits for itself");
    hostile(&file(vec![node("Relu", &["z"], "y")], vec![], &[1, 3, 4, 4]), "reads the value `z`, which there is not");
    let twice = vec![node("Relu", &["x"], "y"), node("Relu", &["x"], "y")];
    hostile(&file(twice, vec![], &[1, 3, 4, 4]), "two things give the value `y`");
    // In another order than they are computed in.
    let turned = file(vec![node("Relu", &["a"], "y"), node("Sigmoid", &["x"], "a")], vec![], &[1, 3, 4, 4]);
    assert_eq!(read(&turned).unwrap().graph().nodes().len(), 3);
}

#[test]
fn files_that_are_too_large_in_number_or_shape_are_refused() {
    let chain = |count: usize| {
        let name = |i: usize| {
            if i == 0 {
                "x".into()
            } else if i == count {
                "y".into()
            } else {
                format!("v{i}")
            }
        };
        (0..count).map(|i| node("Relu", &[&name(i)], &name(i + 1))).collect::<Vec<_>>()
    };
    hostile(&file(chain(100_000), vec![], &[1, 3, 4, 4]), "more than 65536 nodes");
    read(&file(chain(10_000), vec![], &[1, 3, 4, 4])).unwrap();
    let fill = |sides: &[i64]| {
        let nodes = vec![node("ConstantOfShape", &["s"], "c"), node("Add", &["x", "c"], "y")];
        file(nodes, vec![ints("s", sides)], &[1, 3, 4, 4])
    };
    hostile(&fill(&[1 << 40, 1 << 40]), "`c node` (ConstantOfShape) makes a tensor of the shape");
    hostile(&fill(&[-1]), "makes a tensor of the shape [-1]");
    hostile(&fill(&[3, 1 << 15, 1 << 15]), "joins lengths");
    let repeated = vec![node("Expand", &["x", "s"], "y")];
    let repeated = file(repeated, vec![ints("s", &[1, 1 << 20, 64, 64])], &[1, 1, 64, 64]);
    hostile(&repeated, "numbers that are not in the file");
    let range = vec![node("Range", &["a", "b", "d"], "r"), node("Reshape", &["x", "r"], "y")];
    hostile(
        &file(range, vec![ints("a", &[0]), ints("b", &[1 << 30]), ints("d", &[1])], &[1, 3, 4, 4]),
        "makes a range",
    );
    let tile = vec![node("Tile", &["a", "t"], "r"), node("Reshape", &["x", "r"], "y")];
    hostile(&file(tile, vec![ints("a", &[0]), ints("t", &[1 << 31])], &[1, 3, 4, 4]), "would compute with more than");
    hostile(&file(vec![node("Relu", &["x"], "y")], vec![], &[1, 1 << 30, 1 << 30, 1 << 30]), "which is too large");
    hostile(&file(vec![node("Relu", &["x"], "y")], vec![], &[1, 0, 4, 4]), "the input `x` holds nothing");
    let doubled: Vec<proto::Node> = (0..200)
        .map(|i| {
            let from = if i == 0 { "x".into() } else { format!("v{i}") };
            node("Concat", &[&from, &from], &format!("v{}", i + 1))
        })
        .map(|n| proto::Node { attribute: vec![proto::Attribute::int("axis", 1)], ..n })
        .chain([node("Relu", &["v200"], "y")])
        .collect();
    hostile(&file(doubled, vec![], &[1, 3, 4, 4]), "channels");
}

#[test]
fn constants_are_held_to_limits() {
    let with = |mut nodes: Vec<proto::Node>, tensors| {
        nodes.push(node("Add", &["x", "c"], "y"));
        file(nodes, tensors, &[1, 3, 4, 4])
    };
    let a = || ints("a", &[1, 2, 3, 4]);
    let twice = vec![a(), ints("s", &[2, 2]), ints("e", &[4, 4]), ints("z", &[0, 0])];
    hostile(&with(vec![node("Slice", &["a", "s", "e", "z"], "c")], twice), "names dimension 0 twice");
    let square = || proto::Tensor { dims: vec![2, 2], ..a() };
    let far = vec![square(), ints("s", &[1]), ints("e", &[4]), ints("z", &[0]), ints("t", &[i64::MAX])];
    hostile(&with(vec![node("Slice", &["a", "s", "e", "z", "t"], "c")], far), "joins lengths");
    let name = |i: usize| if i == 0 { "a".to_owned() } else { format!("t{i}") };
    let turned: Vec<proto::Node> = (0..20_000).map(|i| node("Transpose", &[&name(i)], &name(i + 1))).collect();
    let chain = file([turned, vec![node("Add", &["x", "t20000"], "y")]].concat(), vec![square()], &[1, 3, 4, 4]);
    hostile(&chain, "reorders a constant once too often");
    let first = || proto::Tensor { dims: vec![1; 16], ..ints("i", &[0]) };
    let gathers = vec![node("Gather", &["a", "i"], "b"), node("Gather", &["b", "i"], "c")];
    hostile(&with(gathers, vec![a(), first()]), "has more than 16 dimensions");
    let axis = vec![proto::Attribute::int("axis", 1)];
    let gather = proto::Node { attribute: axis, ..node("Gather", &["x", "i"], "y") };
    hostile(&file(vec![gather], vec![first()], &[1, 3, 4, 4]), "has more than 16 dimensions");
}

#[test]
fn tensors_that_are_not_what_they_say_are_refused() {
    let with = |tensor: proto::Tensor| file(vec![node("Add", &["x", "c"], "y")], vec![tensor], &[1, 3, 4, 4]);
    let tensor = |dims: &[i64], data_type, bytes| proto::Tensor {
        dims: dims.into(),
        data_type: Some(data_type),
        name: "c".into(),
        raw_data: vec![0; bytes],
    };
    hostile(&with(tensor(&[3], proto::FLOAT, 11)), "the tensor `c` has 11 bytes instead of 12");
    hostile(&with(tensor(&[-3], proto::FLOAT, 12)), "the tensor `c` has the shape [-3]");
    hostile(&with(tensor(&[1 << 31, 1 << 31], proto::FLOAT, 12)), "which is too large");
    hostile(&with(tensor(&[i64::MAX], proto::FLOAT, 12)), "the tensor `c` has the shape");
    hostile(&with(tensor(&[3], 8, 12)), "needs `c`, which holds texts");
    hostile(&with(tensor(&[1; 17], proto::FLOAT, 4)), "has more than 16 dimensions");
    let opset = |version| {
        let mut model = proto::Model::decode(&with(tensor(&[3], proto::FLOAT, 12))[..]).unwrap();
        model.opset_import[0].version = version;
        model.encode_to_vec()
    };
    hostile(&opset(Some(6)), "convert_version");
    hostile(&opset(Some(1000)), "update this program");
    hostile(&opset(None), "of version 0");
}

/// A field of bytes: its number, its length, its content.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    [&bytes, content].concat()
}

/// A file with one more field of bytes in its graph.
fn with_field(file: &[u8], number: u8, content: &[u8]) -> Vec<u8> {
    let model = proto::Model::decode(file).unwrap();
    let graph = [model.graph.as_ref().unwrap().encode_to_vec(), field(number, content)].concat();
    [field(7, &graph), proto::Model { graph: None, ..model }.encode_to_vec()].concat()
}

/// The beginnings of so many graphs, each an attribute of the only node of the one before.
fn nested(levels: usize) -> Vec<u8> {
    let (mut beginnings, mut len) = (Vec::new(), 0);
    // From the innermost outwards: the graph in its attribute (6), that in its node (5), and that in its graph (1).
    for number in (0..levels).flat_map(|_| [6, 5, 1]) {
        let mut beginning = vec![number << 3 | 2_u8];
        prost::encoding::encode_varint(len as u64, &mut beginning);
        len += beginning.len();
        beginnings.push(beginning);
    }
    beginnings.into_iter().rev().collect::<Vec<_>>().concat()
}

#[test]
fn networks_within_networks_are_not_gone_into() {
    let nothing = file(vec![], vec![], &[1, 3, 4, 4]);
    let with = |attribute: &[u8]| {
        with_field(&nothing, 1, &[node("If", &["x"], "y").encode_to_vec(), field(5, attribute)].concat())
    };
    for levels in [1, 1000, 300_000] {
        hostile(&with(&field(6, &nested(levels))), "`y node` (If) is an operator");
    }
}

#[test]
fn other_files_are_read_only_if_they_lie_beside_and_are_no_links() {
    let dir = tempfile::tempdir().unwrap();
    let (model, data) = (dir.path().join("m.onnx"), fixture("beside.bin"));
    let bytes = fixture("beside.onnx");
    let place = bytes.windows(10).position(|w| w == b"beside.bin").unwrap();
    let open = |name: &[u8; 10]| {
        let mut bytes = bytes.clone();
        bytes[place..][..10].copy_from_slice(name);
        std::fs::write(&model, bytes).unwrap();
        let network = Network::open(&model, &ReadOptions::default()).map_err(|e| e.to_string())?;
        network.weights().to_weights().map(drop).map_err(|e| e.to_string())
    };
    let refused = |name: &[u8; 10], why: &str| {
        let told = open(name).unwrap_err();
        assert!(told.contains(why) && told.contains("`conv` (Conv) needs `conv.weight`"), "{why}: {told}");
    };
    refused(b"beside.bin", "which cannot be read");
    std::fs::write(dir.path().join("beside.bin"), &data).unwrap();
    open(b"beside.bin").unwrap();
    for name in [b"../side.bi", b"/etc/passw", b"./eside.bi", b"a/side.bin", b"..\\ide.bin", b"/dev/zero/"] {
        refused(name, "only files in the same folder are read");
    }
    refused(b"..........", "which cannot be read");
    std::fs::create_dir(dir.path().join("folder.bin")).unwrap();
    refused(b"folder.bin", "is no file");
    std::fs::write(dir.path().join("shorty.bin"), &data[..500]).unwrap();
    refused(b"shorty.bin", "which has 500");
    std::fs::hard_link(dir.path().join("shorty.bin"), dir.path().join("harder.bin")).unwrap();
    refused(b"harder.bin", "is a link to another file");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("beside.bin", dir.path().join("softer.bin")).unwrap();
        refused(b"softer.bin", "is a link to another file");
        let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("socket.bin")).unwrap();
        refused(b"socket.bin", "is no file");
    }
    let told = refusal(&bytes);
    assert!(told.contains("which a network in memory has not"), "{told}");
}

#[test]
fn numbers_of_one_image_are_shared_by_all() {
    // A constant with a first dimension of 1, and one without, are for every image.
    for dims in [&[1, 3, 1, 1][..], &[3, 1, 1], &[1], &[]] {
        let tensor = proto::Tensor {
            dims: dims.into(),
            data_type: Some(proto::FLOAT),
            name: "c".into(),
            raw_data: vec![0; 4 * dims.iter().product::<i64>() as usize],
        };
        let bytes = file(vec![node("Mul", &["x", "c"], "y")], vec![tensor], &[2, 3, 4, 4]);
        let network = read(&bytes).unwrap();
        let product = network.graph().node(network.graph().output());
        assert_eq!(product.op, Op::Binary { function: Binary::Mul });
        assert!(network.outputs()[0].batched);
    }
}
