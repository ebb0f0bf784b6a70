//! Counting a network: parameters, multiplications, pixels, without running it.
//!
//! Not here: what a plan makes of it (planned memory, bytes copied), which belongs to `cspnet-engine`.

use crate::error::GraphError;
use crate::graph::{Graph, InputShapes};
use crate::op::{Op, Shape};

/// What one node costs for one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerCount {
    /// The node's path.
    pub path: String,
    /// Its operation, as a word.
    pub op: &'static str,
    /// Shape of its output.
    pub shape: Shape,
    /// Trained numbers.
    pub params: usize,
    /// Multiply-adds of convolutions, fully connected layers and products of matrices; nothing else counts as one.
    pub macs: u64,
    /// Operations as Darknet counts them, see [`Count::darknet_flops`].
    pub darknet_flops: u64,
}

/// What a network costs for one picture of a given size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// Node by node, in the graph's order.
    pub layers: Vec<LayerCount>,
}

impl Count {
    /// Counts `graph` for pictures `[c, h, w]`, or for several inputs.
    ///
    /// # Errors
    /// Where what it takes does not fit the network.
    pub fn of(graph: &Graph, inputs: impl Into<InputShapes>) -> Result<Self, GraphError> {
        let shapes = graph.shapes(inputs)?;
        let layer = |(id, node): (usize, &crate::Node)| {
            let params = node.params.iter().map(|&p| &graph.params()[p]);
            let pixels = (shapes[id][1] * shapes[id][2]) as u64;
            let macs = match &node.op {
                Op::Conv { .. } | Op::Linear { .. } => graph.params()[node.params[0]].len() as u64 * pixels,
                Op::MatMul => shapes[node.inputs[0]][2] as u64 * shapes[id][0] as u64 * pixels,
                _ => 0,
            };
            let pooled = match &node.op {
                Op::Pool { window, .. } => {
                    window.kernel.iter().product::<usize>() as u64 * shapes[id][0] as u64 * pixels
                }
                _ => 0,
            };
            LayerCount {
                path: node.path.clone(),
                op: node.op.name(),
                shape: shapes[id],
                params: params.filter(|p| p.role.is_trained()).map(|p| p.len()).sum(),
                macs,
                darknet_flops: 2 * macs + pooled,
            }
        };
        Ok(Self { layers: graph.nodes().iter().enumerate().map(layer).collect() })
    }

    /// Trained numbers of the network.
    pub fn params(&self) -> usize {
        self.layers.iter().map(|l| l.params).sum()
    }

    /// Multiply-adds of convolutions, fully connected layers and products of matrices.
    pub fn macs(&self) -> u64 {
        self.layers.iter().map(|l| l.macs).sum()
    }

    /// Floating-point operations: two for every multiply-add.
    pub fn flops(&self) -> u64 {
        2 * self.macs()
    }

    /// What Darknet and the CSPNet paper print as BFLOPs (in units of 1e9): two for every multiply-add, and for a pooling
    /// window of `k * k` cells `k * k` for every output.
    pub fn darknet_flops(&self) -> u64 {
        self.layers.iter().map(|l| l.darknet_flops).sum()
    }

    /// Outputs of what has multiply-adds: what timm lists as activations.
    pub fn conv_activations(&self) -> u64 {
        self.layers.iter().filter(|l| l.macs > 0).map(|l| l.shape.iter().product::<usize>() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Builder, Conv, Window};

    #[test]
    fn a_small_network_is_counted_by_hand() {
        let mut b = Builder::new();
        let x = b.input(3);
        let x = b.conv("conv", x, Conv::new(8, 3).stride(2));
        let x = b.avg_pool("pool", x, Window::square(2, 2, 0));
        let x = b.global_avg_pool("gap", x);
        let x = b.linear("fc", x, 5);
        let count = Count::of(&b.finish(x).unwrap(), [3, 8, 8]).unwrap();
        assert_eq!(count.params(), 8 * 27 + 8 * 5 + 5);
        assert_eq!(count.macs(), 8 * 27 * 16 + 40);
        assert_eq!(count.darknet_flops(), 2 * count.macs() + 4 * 8 * 4);
        assert_eq!(count.conv_activations(), 8 * 16 + 5);
    }
}
