//! Whatever a file says, reading it takes no more memory than its size and 64 MB. What is measured is the most that is there at once.

use super::*;
use crate::onnx::read::limits::MAX_RANK;

/// What a reader may take beside the bytes of its file.
pub(super) const SLACK: usize = 64 << 20;

/// `TensorProto.DataType`s.
const INT8: i32 = 3;
const BOOL: i32 = 9;

/// What comes of it, if no more than so many bytes are there at once.
pub(super) fn within<T>(most: usize, what: &str, run: impl FnOnce() -> T) -> T {
    let mut result = None;
    let used = allocation_counter::measure(|| result = Some(run())).bytes_max as usize;
    assert!(used <= most, "{what}: {} MB, and {} MB may be", used >> 20, most >> 20);
    result.unwrap()
}

/// Why most files here are refused.
const TOO_MUCH: &str = "would take more than 48 MB";

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
    hostile(&file(vec![joined], vec![], &PICTURE), TOO_MUCH);
    // And a parameter's name for all that read it.
    let scaled = |i: usize| proto::Node { name: String::new(), ..node("Mul", &[&value(i), &long], &value(i + 1)) };
    let scaled = (0..3900).map(scaled).chain([node("Relu", &["v3900"], "y")]).collect();
    hostile(&file(scaled, vec![zeros(&long, proto::FLOAT, &[1])], &PICTURE), TOO_MUCH);
}

#[test]
fn values_that_nobody_computes_are_counted() {
    let outputs = |n: usize| (0..65_000).map(|i| format!("{n}:{i}")).collect();
    let twisted = (0..10).map(|n| proto::Node { output: outputs(n), ..node("Twist", &["x"], "") });
    hostile(&file(twisted.chain([node("Relu", &["x"], "y")]).collect(), vec![], &PICTURE), TOO_MUCH);
}

#[test]
fn steps_are_counted_with_their_axes() {
    let order = || proto::Attribute::ints("perm", &[0, 7, 6, 5, 4, 3, 2, 1]);
    let turned =
        |i: usize| proto::Node { name: String::new(), ..with(node("Transpose", &[&value(i)], &value(i + 1)), order()) };
    let turned = (0..35_000).map(turned).chain([node("Relu", &["v35000"], "y")]).collect();
    hostile(&file(turned, vec![], &[1, 2, 2, 2, 2, 2, 2, 2]), TOO_MUCH);
}

/// Files that compute a constant `c` of many others, by what computes it.
fn computing(many: i64) -> Vec<(&'static str, Vec<u8>)> {
    let whole = |name: &str, n: i64| proto::Tensor { dims: vec![], ..ints(name, &[n]) };
    let pair = || vec![zeros("a", proto::INT64, &[many]), zeros("b", proto::INT64, &[many])];
    let float = |n: i64| vec![zeros("a", proto::FLOAT, &[n, 2])];
    let case = |operator: &str, inputs: &[&str]| vec![node(operator, inputs, "c")];
    let attributed = |operator: &str, inputs: &[&str], name: &str, value: usize| {
        vec![with(node(operator, inputs, "c"), proto::Attribute::int(name, value))]
    };
    let reordered = ["Transpose", "Reshape", "Transpose", "Sqrt"];
    let reordered = reordered.into_iter().zip([&["a"][..], &["t", "s"], &["u"], &["v"]]).zip(["t", "u", "v", "c"]);
    let sum = || node("Add", &["x", "c"], "y");
    let cases = [
        (
            "slice",
            case("Slice", &["a", "s", "e"]),
            vec![zeros("a", INT8, &[8 * many]), ints("s", &[0]), ints("e", &[4])],
        ),
        ("sum", case("Add", &["a", "b"]), pair()),
        ("concat", attributed("Concat", &["a", "b"], "axis", 0), pair()),
        ("gather", case("Gather", &["a", "b"]), pair()),
        ("equal", case("Equal", &["a", "b"]), pair()),
        ("where", case("Where", &["q", "a", "b"]), [pair(), vec![zeros("q", BOOL, &[many])]].concat()),
        ("reduced", case("ReduceSum", &["a"]), pair()),
        ("function", case("Neg", &["a"]), pair()),
        ("product", case("Mul", &["a", "a"]), float(many)),
        ("less", case("Less", &["a", "a"]), float(many)),
        ("integers", attributed("Cast", &["a"], "to", 7), float(many)),
        ("floats", attributed("Cast", &["a"], "to", 1), pair()),
        ("split", case("Split", &["a"]), float(2 * many)),
        ("range", case("Range", &["b", "e", "d"]), vec![whole("b", 0), whole("e", 4 * many), whole("d", 1)]),
        ("tile", case("Tile", &["a", "t"]), vec![ints("a", &[7]), ints("t", &[4 * many])]),
        ("expand", case("Expand", &["a", "t"]), vec![ints("a", &[7]), ints("t", &[4 * many])]),
        ("shape", case("Reshape", &["x", "a"]), pair()),
        ("bound", case("Clip", &["x", "a"]), float(2 * many)),
        (
            "reordered",
            reordered.map(|((operator, inputs), output)| node(operator, inputs, output)).collect(),
            [float(many), vec![ints("s", &[many, 2])]].concat(),
        ),
    ];
    let value = [field(1, b"value"), field(5, &ints("", &[7]).encode_to_vec())].concat();
    let filled = [node("ConstantOfShape", &["t"], "c").encode_to_vec(), field(5, &value)].concat();
    let filled = with_field(&file(vec![sum()], vec![ints("t", &[4 * many])], &PICTURE), 1, &filled);
    let files = cases.map(|(what, nodes, tensors)| (what, file([nodes, vec![sum()]].concat(), tensors, &PICTURE)));
    files.into_iter().chain([("filled", filled)]).collect()
}

#[test]
fn computing_with_many_constants_takes_little_memory() {
    const MANY: [i64; 5] = [1 << 21, 3 << 19, 1 << 20, 3 << 18, 1 << 17];
    for many in MANY {
        for (what, bytes) in computing(many) {
            let what = format!("{what}, {many}");
            let refusal = within(bytes.len() + SLACK, &what, || read(&bytes).map(drop)).err();
            let told = refusal.map_or_else(String::new, |e| e.to_string());
            // With the fewest each node does its work, whatever becomes of that, or wants fewer still.
            let done = ["joins lengths", "takes a list of", "numbers as its input 1 instead of one"];
            let is_done = told.is_empty() || done.iter().any(|why| told.contains(why));
            assert!(many > MANY[4] || is_done, "{what}: {told}");
        }
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
        // The more sides, the longer are shapes.
        let sides = if kind == "shapes" { &[1; MAX_RANK][..] } else { &PICTURE };
        let mut model = proto::Model::decode(&file(nodes, tensors, sides)[..]).unwrap();
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
    hostile(&model(steps, own("licence", String::new())), "its modules would take more than 48 MB");
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
    let place = [field(1, b"location"), field(2, "\u{1}".repeat(8 << 20).as_bytes())].concat();
    // `data_location` is 1.
    let tensor = [tensor.encode_to_vec(), vec![0x70, 1], field(13, &place)].concat();
    let rest = file(vec![node("Add", &["x", "c"], "y")], vec![], &PICTURE);
    hostile(&with_field(&rest, 5, &tensor), "is a name of 8388608 bytes");
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
