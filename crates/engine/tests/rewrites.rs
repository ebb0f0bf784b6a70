//! Rewrites: both sides compute the same, and each fires on the networks it is for.

use cspnet_engine::reference::{Tensor, infer};
use cspnet_graph::analysis::Count;
use cspnet_graph::init::reference_input;
use cspnet_graph::rewrite::{fold_batch_norm, merge_linear_pair, pool_first};
use cspnet_graph::{Graph, LazyWeights, ValueId, Weights};

type Rewrite = for<'a> fn(&Graph, &LazyWeights<'a>, &[ValueId]) -> (Graph, LazyWeights<'a>);

const SIDE: usize = 64;

/// The outputs of both sides in double precision, and their MACs.
fn sides(network: &str, rewrite: Rewrite) -> ([Vec<f64>; 2], [u64; 2]) {
    let graph = cspnet_zoo::build(network).unwrap();
    // Normalisations folded first, as a plan does it, in single precision on both sides.
    let before = fold_batch_norm(&graph, &LazyWeights::owned(Weights::reference(&graph)));
    let after = rewrite(&before.0, &before.1, &[before.0.output()]);
    let x = Tensor::from_f32([1, 3, SIDE, SIDE], &reference_input(3 * SIDE * SIDE));
    let run = |(g, w): &(Graph, LazyWeights<'_>)| {
        infer::<f64>(g, &w.to_weights().unwrap(), &x).unwrap()[g.output()].data.clone()
    };
    let macs = |(g, _): &(Graph, LazyWeights<'_>)| Count::of(g, [3, SIDE, SIDE]).unwrap().macs();
    ([run(&before), run(&after)], [macs(&before), macs(&after)])
}

/// Share of the MACs that a rewrite saves; both sides must differ by no more than `allowed` of the outputs' root mean square.
fn saved(network: &str, rewrite: Rewrite, allowed: f64) -> f64 {
    let ([expected, got], [before, after]) = sides(network, rewrite);
    let rms = (expected.iter().map(|v| v * v).sum::<f64>() / expected.len() as f64).sqrt();
    let off = got.iter().zip(&expected).map(|(g, e)| (g - e).abs()).fold(0.0, f64::max);
    assert!(off <= allowed * rms, "{network}: {:.1e}", off / rms);
    1.0 - after as f64 / before as f64
}

#[test]
fn transitions_that_pool_first_save_a_twelfth_of_densenet() {
    // Nothing is rounded anew: only the order of sums in double precision differs.
    let share = saved("densenet121:classes=10", pool_first, 1e-12);
    assert!((0.07..0.10).contains(&share), "{share}");
    assert!(saved("cspdensenet121:classes=10", pool_first, 1e-12) > 0.0);
    assert_eq!(saved("resnet50:classes=10", pool_first, 1e-12), 0.0);
}

#[test]
fn linear_pairs_merge_in_cspresnet_and_cspresnext_only() {
    // Products of weights are rounded to single precision once.
    for (network, least) in [("cspresnext50:classes=10", 0.06), ("cspresnet50:classes=10", 0.045)] {
        let share = saved(network, merge_linear_pair, 1e-6);
        assert!(share > least && share < 0.1, "{network}: {share}");
    }
    assert_eq!(saved("cspdarknet53:classes=10", merge_linear_pair, 1e-12), 0.0);
}
