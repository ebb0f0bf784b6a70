//! What is put in front of a network and behind it.

use crate::error::GraphError;
use crate::graph::{Graph, Node};
use crate::op::Op;

/// Puts `(pixel / 255 - mean) / std` in front of a network, so that it takes pixel values `0..=255`.
///
/// # Errors
/// If there is not one mean and one positive deviation for every channel.
pub fn with_normalise(graph: &Graph, mean: &[f32], std: &[f32]) -> Result<Graph, GraphError> {
    let mut raw = graph.clone().into_raw();
    let normalise = Node {
        path: "normalise".into(),
        op: Op::Normalise { mean: mean.into(), std: std.into() },
        inputs: vec![0],
        params: Vec::new(),
    };
    // The picture is value 0 and stays it; every other value, and every reference to the picture, moves up by one.
    let moved = |v: &mut usize| *v += 1;
    raw.nodes.iter_mut().flat_map(|n| &mut n.inputs).for_each(moved);
    raw.modules.values_mut().for_each(moved);
    moved(&mut raw.output);
    raw.nodes.insert(1, normalise);
    Graph::try_from(raw)
}

/// Puts the loss behind a network: its value is then the mean cross entropy of the batch.
///
/// # Errors
/// If the network's output is not `[k, 1, 1]` this is found by [`Graph::shapes`], not here.
pub fn with_loss(graph: &Graph) -> Result<Graph, GraphError> {
    let mut raw = graph.clone().into_raw();
    let inputs = vec![raw.output];
    raw.output = raw.nodes.len();
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
}
