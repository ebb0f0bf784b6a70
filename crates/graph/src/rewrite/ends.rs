//! What is put in front of a network and behind it.

use crate::error::GraphError;
use crate::graph::{Graph, Node, ValueId};
use crate::op::Op;

/// Puts `(pixel / 255 - mean) / std` in front of a network, so that its picture are pixel values `0..=255`.
///
/// # Errors
/// If there is not one mean and one positive deviation for every channel.
pub fn with_normalise(graph: &Graph, mean: &[f32], std: &[f32]) -> Result<Graph, GraphError> {
    with_normalise_of(graph, graph.inputs()[0], mean, std)
}

/// The same for any of the network's inputs.
///
/// # Errors
/// If there is not one mean and one positive deviation for every channel.
///
/// # Panics
/// If the value is no input.
pub fn with_normalise_of(graph: &Graph, input: ValueId, mean: &[f32], std: &[f32]) -> Result<Graph, GraphError> {
    assert!(graph.inputs().contains(&input), "{} is no input", graph.node(input).path);
    let path = if input == 0 { "normalise".into() } else { format!("{}.normalise", graph.node(input).path) };
    let op = Op::Normalise { mean: mean.into(), std: std.into() };
    let normalise = Node { path, op, inputs: vec![input], params: Vec::new() };
    // What comes before the input, and itself, stays; every later value, and every reference to the input, moves up by one.
    let moved = |value: ValueId| value + usize::from(value >= input);
    let mut raw = graph.clone().into_raw();
    raw.nodes.iter_mut().flat_map(|n| &mut n.inputs).for_each(|value| *value = moved(*value));
    raw.renumber_ends(moved);
    raw.nodes.insert(input + 1, normalise);
    Graph::try_from(raw)
}

/// Puts the loss behind a network's answer: it is then the mean cross entropy of the batch, and the only output.
///
/// # Errors
/// If the network's output is not `[k, 1, 1]` this is found by [`Graph::shapes`], not here.
pub fn with_loss(graph: &Graph) -> Result<Graph, GraphError> {
    let mut raw = graph.clone().into_raw();
    let inputs = vec![raw.output];
    raw.output = raw.nodes.len();
    raw.outputs.clear();
    raw.nodes.push(Node { path: "loss".into(), op: Op::SoftmaxCrossEntropy, inputs, params: Vec::new() });
    Graph::try_from(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, Conv};

    #[test]
    fn a_normalised_network_takes_pixels() {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.module("stem", |b| b.conv("conv", x, Conv::new(8, 3)));
        let g = with_normalise(&b.finish(x).unwrap(), &[0.5; 3], &[0.25; 3]).unwrap();
        assert_eq!(g.nodes().iter().map(|n| n.op.name()).collect::<Vec<_>>(), ["input", "normalise", "conv"]);
        assert_eq!((g.node(2).inputs[0], g.value("stem"), g.output()), (1, Some(2), 2));
        assert!(with_normalise(&g, &[0.5; 3], &[0.0; 3]).is_err());
    }

    #[test]
    fn any_input_can_be_normalised_and_all_outputs_stay() {
        let mut b = Builder::new();
        let left = b.named_input("left", 3);
        let wide = b.conv("conv", left, Conv::new(2, 3));
        let right = b.named_input("right", 2);
        let sum = b.add("sum", wide, right);
        let g = b.finish_named(&[("sum", sum), ("wide", wide), ("same", right)]).unwrap();
        let g = with_normalise_of(&g, g.inputs()[1], &[0.5; 2], &[0.25; 2]).unwrap();
        let paths: Vec<&str> = g.nodes().iter().map(|n| n.path.as_str()).collect();
        assert_eq!(paths, ["left", "conv", "right", "right.normalise", "sum"]);
        assert_eq!((g.inputs(), &g.node(4).inputs[..]), (&[0, 2][..], &[1, 3][..]));
        let outputs: Vec<(&str, ValueId)> = g.outputs().iter().map(|o| (o.name.as_str(), o.value)).collect();
        assert_eq!(outputs, [("sum", 4), ("wide", 1), ("same", 3)]);
        let with_loss = with_loss(&g).unwrap();
        assert_eq!((with_loss.output(), with_loss.outputs().len()), (5, 1));
    }
}
