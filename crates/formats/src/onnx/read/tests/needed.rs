//! What no output depends on is left out, and what is needed is read in whatever form a file has it.

use super::*;

#[test]
fn what_no_output_depends_on_is_left_out() {
    // Nodes of operators that are not known, and what they read alone, of no shape that could be a batch.
    let nodes = vec![
        node("Relu", &["x"], "y"),
        node("NonMaxSuppression", &["x", "boxes"], "chosen"),
        node("Softmax", &["chosen"], "scores"),
    ];
    let mut model = proto::Model::decode(&file(nodes, vec![], &[2, 3, 4, 4])[..]).unwrap();
    model.graph.as_mut().unwrap().input.push(proto::ValueInfo::floats("boxes".into(), vec![]));
    let bytes = model.encode_to_vec();
    let network = read(&bytes).unwrap();
    assert_eq!(network.graph().nodes().iter().map(|n| n.op.name()).collect::<Vec<_>>(), ["input", "relu"]);
    let input = Tensor { name: "x".into(), batched: true, sides: vec![3, 4, 4] };
    assert_eq!(network.inputs(), [input]);
    // Where somebody asks for it, it is refused.
    model.graph.as_mut().unwrap().output.push(proto::ValueInfo::floats("scores".into(), vec![]));
    let told = refusal(&model.encode_to_vec());
    assert!(told.contains("`chosen node` (NonMaxSuppression) is an operator that is not known"), "{told}");
}

#[test]
fn halves_in_lists_stay_in_the_file() {
    let (rows, columns) = (1024_i64, 1024_i64);
    let list = |count: i64| {
        let mut list = Vec::new();
        // 2.0 and more, of three bytes each.
        (0..count).for_each(|i| prost::encoding::encode_varint((0x4000 + i % 1024) as u64, &mut list));
        list
    };
    let with = |content: &[u8]| {
        let tensor =
            proto::Tensor { dims: vec![rows, columns], data_type: Some(10), name: "w".into(), raw_data: vec![] };
        // Without the field of bytes, which is empty.
        let tensor = tensor.encode_to_vec();
        with_field(
            &file(vec![node("Gemm", &["x", "w"], "y")], vec![], &[1, rows as usize]),
            5,
            &[&tensor[..], content].concat(),
        )
    };
    let bytes = with(&field(5, &list(rows * columns)));
    let network = memory::within(bytes.len() + memory::SLACK, "reading", || read(&bytes)).unwrap();
    let weights = network.weights().to_weights().unwrap();
    assert_eq!(weights.get(0)[..3], [2.0, 2.0, 2.0]);
    assert_eq!(weights.get(0)[rows as usize..][..2], [2.0 + 1.0 / 512.0; 2]);
    // Too few bytes are seen at once, too few numbers when they are read.
    hostile(&with(&field(5, &list(rows * columns / 4))), "the tensor `w` has 786432 bytes for 1048576 numbers");
    let short = with(&field(5, &list(rows * columns - 1)));
    let told = read(&short).unwrap().weights().to_weights().unwrap_err().to_string();
    assert!(told.contains("is where a tensor has too few numbers"), "{told}");
    // In two pieces they are one list, and have to be read.
    let pieces = [field(5, &list(9)), field(5, &list(rows * columns - 9))].concat();
    hostile(&with(&pieces), "would take more than 48 MB");
}

#[test]
fn what_is_repeated_too_far_or_normalised_too_often_is_refused() {
    let repeated =
        |to: &[i64]| file(vec![node("Expand", &["x", "to"], "y")], vec![ints("to", to)], &[1, 2, 1, 2, 1, 2]);
    hostile(&repeated(&[1, 2, 1 << 21, 2, 1 << 20, 2]), "makes a shape that is too large");
    hostile(&repeated(&[1, 2, 1 << 21, 2, 2, 2]), "repeats 2 and 4 numbers [2097152, 1] times");
    let name = |i: usize| if i == 0 { "a".to_owned() } else { format!("t{i}") };
    let four = |name: &str, dims: &[i64]| proto::Tensor {
        dims: dims.into(),
        data_type: Some(proto::FLOAT),
        name: name.into(),
        raw_data: vec![0; 16],
    };
    let normalised = |i: usize| proto::Node {
        attribute: vec![proto::Attribute::int("training_mode", 1)],
        ..node("BatchNormalization", &[&name(i), "s", "s", "s", "s"], &name(i + 1))
    };
    let nodes = (0..20_000).map(normalised).chain([node("Add", &["x", "t20000"], "y")]).collect();
    let tensors = vec![four("a", &[1, 4]), four("s", &[4])];
    hostile(&file(nodes, tensors, &[1, 4]), "normalises a constant once too often");
}
