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
