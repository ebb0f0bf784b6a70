//! Whatever a file says, reading it takes no more memory than its size and 64 MB. What is measured is the most that is there at once.

use super::*;

/// What a reader may take beside the bytes of its file.
const SLACK: usize = 64 << 20;

/// `TensorProto.DataType`s.
const INT8: i32 = 3;
const BOOL: i32 = 9;

/// What comes of it, if no more than so many bytes are there at once.
fn within<T>(most: usize, what: &str, run: impl FnOnce() -> T) -> T {
    let mut result = None;
    let used = allocation_counter::measure(|| result = Some(run())).bytes_max as usize;
    assert!(used <= most, "{what}: {} MB, and {} MB may be", used >> 20, most >> 20);
    result.unwrap()
}

/// Why a file is refused, with little memory.
fn refused(what: &str, bytes: &[u8]) -> String {
    within(bytes.len() + SLACK, what, || read(bytes).map(drop))
        .map_or_else(|e| e.to_string(), |()| panic!("{what}: read"))
}

fn zeros(name: &str, data_type: i32, dims: &[i64]) -> proto::Tensor {
    let size = match data_type {
        INT8 | BOOL => 1,
        proto::FLOAT => 4,
        _ => 8,
    };
    let raw_data = vec![0; size * dims.iter().product::<i64>() as usize];
    proto::Tensor { dims: dims.into(), data_type: Some(data_type), name: name.into(), raw_data }
}

fn with(node: proto::Node, attribute: proto::Attribute) -> proto::Node {
    proto::Node { attribute: vec![attribute], ..node }
}

const PICTURE: [usize; 4] = [1, 3, 4, 4];

/// Values one after another, the first of which the network takes.
fn value(i: usize) -> String {
    if i == 0 { "x".to_owned() } else { format!("v{i}") }
}

#[test]
fn a_name_of_many_steps_counts_for_each() {
    let long = "n".repeat(4000);
    let joined = with(node("Concat", &["x"; 30_000], "y"), proto::Attribute::int("axis", 2));
    let joined = proto::Node { name: long.clone(), ..joined };
    let told = refused("steps of one node", &file(vec![joined], vec![], &PICTURE));
    assert!(told.contains("would take more than 48 MB"), "{told}");
    // And a parameter's name for all that read it.
    let scaled = |i: usize| proto::Node { name: String::new(), ..node("Mul", &[&value(i), &long], &value(i + 1)) };
    let scaled = (0..3900).map(scaled).chain([node("Relu", &["v3900"], "y")]).collect();
    let told = refused("steps of one parameter", &file(scaled, vec![zeros(&long, proto::FLOAT, &[1])], &PICTURE));
    assert!(told.contains("would take more than 48 MB"), "{told}");
}

#[test]
fn values_that_nobody_computes_are_counted() {
    let outputs = |n: usize| (0..65_000).map(|i| format!("{n}:{i}")).collect();
    let twisted = (0..10).map(|n| proto::Node { output: outputs(n), ..node("Twist", &["x"], "") });
    let told = refused("outputs", &file(twisted.chain([node("Relu", &["x"], "y")]).collect(), vec![], &PICTURE));
    assert!(told.contains("would take more than 48 MB"), "{told}");
}

#[test]
fn steps_are_counted_with_their_axes() {
    let order = || proto::Attribute::ints("perm", &[0, 7, 6, 5, 4, 3, 2, 1]);
    let turned =
        |i: usize| proto::Node { name: String::new(), ..with(node("Transpose", &[&value(i)], &value(i + 1)), order()) };
    let turned = (0..35_000).map(turned).chain([node("Relu", &["v35000"], "y")]).collect();
    let told = refused("transposed again and again", &file(turned, vec![], &[1, 2, 2, 2, 2, 2, 2, 2]));
    assert!(told.contains("would take more than 48 MB"), "{told}");
}

#[test]
fn computing_with_many_constants_takes_little_memory() {
    const MANY: i64 = 1 << 21;
    let whole = |name: &str, n: i64| proto::Tensor { dims: vec![], ..ints(name, &[n]) };
    let pair = || vec![zeros("a", proto::INT64, &[MANY]), zeros("b", proto::INT64, &[MANY])];
    let float = |n: i64| zeros("a", proto::FLOAT, &[n, 2]);
    let axis = |node| with(node, proto::Attribute::int("axis", 0));
    let filled = proto::Attribute { name: "value".into(), ..proto::Attribute::default() };
    for (nodes, tensors) in [
        (
            vec![node("Slice", &["a", "s", "e"], "c")],
            vec![zeros("a", INT8, &[1 << 24]), ints("s", &[0]), ints("e", &[4])],
        ),
        (vec![node("Add", &["a", "b"], "c")], pair()),
        (vec![axis(node("Concat", &["a", "b"], "c"))], pair()),
        (vec![node("Gather", &["a", "b"], "c")], pair()),
        (vec![node("Equal", &["a", "b"], "c")], pair()),
        (vec![node("Where", &["q", "a", "b"], "c")], [pair(), vec![zeros("q", BOOL, &[MANY])]].concat()),
        (vec![node("ReduceSum", &["a"], "c")], pair()),
        (vec![node("Neg", &["a"], "c")], pair()),
        (vec![node("Mul", &["a", "a"], "c")], vec![float(MANY)]),
        (vec![node("Less", &["a", "a"], "c")], vec![float(MANY)]),
        (vec![with(node("Cast", &["a"], "c"), proto::Attribute::int("to", 7))], vec![float(MANY)]),
        (vec![with(node("Cast", &["a"], "c"), proto::Attribute::int("to", 1))], pair()),
        (vec![node("Split", &["a"], "c")], vec![float(2 * MANY)]),
        (vec![node("Range", &["b", "e", "d"], "c")], vec![whole("b", 0), whole("e", 4 * MANY), whole("d", 1)]),
        (vec![node("Tile", &["a", "t"], "c")], vec![ints("a", &[7]), ints("t", &[4 * MANY])]),
        (vec![node("Expand", &["a", "t"], "c")], vec![ints("a", &[7]), ints("t", &[4 * MANY])]),
        (vec![with(node("ConstantOfShape", &["t"], "c"), filled)], vec![ints("t", &[4 * MANY])]),
        (vec![node("Reshape", &["x", "a"], "c")], pair()),
        (vec![node("Clip", &["x", "a"], "c")], vec![float(2 * MANY)]),
        (
            vec![node("Transpose", &["a"], "t"), node("Reshape", &["t", "s"], "u"), node("Transpose", &["u"], "v")]
                .into_iter()
                .chain([node("Sqrt", &["v"], "c")])
                .collect(),
            vec![float(MANY), ints("s", &[MANY, 2])],
        ),
    ] {
        let what = nodes.last().unwrap().op_type.clone();
        let bytes = file([nodes, vec![node("Add", &["x", "c"], "y")]].concat(), tensors, &PICTURE);
        // Whether it is refused or not.
        let _ = within(bytes.len() + SLACK, &what, || read(&bytes).map(drop));
    }
}

#[test]
fn networks_of_any_size_are_read_or_refused_with_little_memory() {
    let step = |operator: &str, i: usize, more: &[&str]| {
        let first = value(i);
        let inputs = [&[first.as_str()][..], more].concat();
        proto::Node { name: String::new(), ..node(operator, &inputs, &value(i + 1)) }
    };
    let info = |name: String| proto::ValueInfo::floats(name, PICTURE.map(proto::Dimension::known).into());
    let number = |name: String| zeros(&name, proto::FLOAT, &[1]);
    let network = |kind: &str, n: usize| {
        let (mut nodes, mut tensors, mut inputs, mut outputs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for i in 0..n {
            match kind {
                "chain" => nodes.push(step("Relu", i, &[])),
                "parameters" => {
                    tensors.push(number(format!("k{i}")));
                    nodes.push(step("Mul", i, &[&*format!("k{i}")]));
                }
                "convolutions" => {
                    tensors.push(zeros(&format!("w{i}"), proto::FLOAT, &[3, 3, 1, 1]));
                    tensors.push(zeros(&format!("b{i}"), proto::FLOAT, &[3]));
                    nodes.push(step("Conv", i, &[&*format!("w{i}"), &*format!("b{i}")]));
                }
                "shapes" => nodes.push(node("Shape", &["x"], &value(i + 1))),
                "outputs" => {
                    nodes.push(step("Relu", i, &[]));
                    outputs.push(info(value(i + 1)));
                }
                "inputs" => inputs.push(info(format!("in{i}"))),
                _ => unreachable!(),
            }
        }
        let last = if matches!(kind, "shapes" | "inputs") { "x".to_owned() } else { value(n) };
        nodes.push(node("Relu", &[&last], "y"));
        let mut model = proto::Model::decode(&file(nodes, tensors, &PICTURE)[..]).unwrap();
        let graph = model.graph.as_mut().unwrap();
        graph.input.extend(inputs);
        graph.output.extend(outputs);
        model.encode_to_vec()
    };
    for kind in ["chain", "parameters", "convolutions", "shapes", "outputs", "inputs"] {
        let read = [2000, 8000, 16_000, 24_000, 32_000, 60_000].map(|n| {
            let bytes = network(kind, n);
            within(bytes.len() + SLACK, &format!("{kind}, {n}"), || read(&bytes)).is_ok()
        });
        assert!(read[0] && (read[1] || kind != "chain"), "{kind}: {read:?}");
    }
}

#[test]
fn modules_and_facts_are_counted() {
    let path = |i: usize| format!("{i}{}{}", "n".repeat(4000), ".m".repeat(16));
    let step = |i: usize| proto::Node { name: path(i), ..node("Relu", &[&value(i)], &value(i + 1)) };
    let steps = (0..1500).map(step).chain([node("Relu", &["v1500"], "y")]).collect();
    let own = |key: &str, value: String| {
        let fact = |key: &str, value| proto::Entry { key: format!("cspnet.{key}"), value };
        [fact("network", "a".into()), fact(key, value)]
    };
    let model = |nodes, facts: [proto::Entry; 2]| {
        let model = proto::Model::decode(&file(nodes, vec![], &PICTURE)[..]).unwrap();
        proto::Model { metadata_props: facts.into(), ..model }.encode_to_vec()
    };
    let told = refused("modules", &model(steps, own("licence", String::new())));
    assert!(told.contains("its modules would take more than 48 MB"), "{told}");
    for key in ["labels", "training", "preprocess"] {
        let many = format!("[{}\"\"]", "\"\",".repeat(5_000_000));
        let bytes = model(vec![node("Relu", &["x"], "y")], own(key, many));
        let told = within(bytes.len() + SLACK, key, || read(&bytes).unwrap().manifest()).unwrap_err().to_string();
        assert!(told.contains(&format!("`cspnet.{key}`: it has more than 524288 values")), "{told}");
    }
}

#[test]
fn names_of_other_files_are_no_longer_than_names() {
    let tensor = proto::Tensor { raw_data: vec![], ..zeros("c", proto::FLOAT, &[3]) };
    let field = |tag: u8, bytes: &[u8]| {
        let mut field = vec![8 * tag + 2];
        prost::encode_length_delimiter(bytes.len(), &mut field).unwrap();
        [field, bytes.into()].concat()
    };
    let place = [field(1, b"location"), field(2, "\u{1}".repeat(8 << 20).as_bytes())].concat();
    // `data_location` is 1.
    let tensor = [tensor.encode_to_vec(), vec![0x70, 1], field(13, &place)].concat();
    let rest = proto::Model::decode(&file(vec![node("Add", &["x", "c"], "y")], vec![], &PICTURE)[..]).unwrap();
    let graph = [rest.graph.unwrap().encode_to_vec(), field(5, &tensor)].concat();
    let told = refused("a long name", &[field(7, &graph), field(8, &rest.opset_import[0].encode_to_vec())].concat());
    assert!(told.contains("is a name of 8388608 bytes"), "{told}");
}

#[test]
fn weights_that_are_turned_or_widened_are_in_memory_once() {
    for (data_type, size) in [(proto::FLOAT, 4), (INT8, 1)] {
        let weight = zeros("w", data_type, &[4096, 3072]);
        let bytes = file(vec![node("Gemm", &["x", "w"], "y")], vec![weight], &[1, 4096]);
        let network = within(SLACK, "reading", || read(&bytes)).unwrap();
        let widened = bytes.len() / size * 4;
        let weights = within(widened + (16 << 20), "weights", || network.weights().to_weights()).unwrap();
        assert_eq!(weights.get(0).len(), 4096 * 3072);
    }
}
