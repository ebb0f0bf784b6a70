//! Rewrites: both sides compute the same, each fires on the networks it is for, and each can be switched off.

use cspnet_engine::Rewrite::{
    Bands, ConcatView, Epilogue, FoldNorm, MaxFirst, MergeChain, MergePair, PoolFirst, PooledNorm, Prologue, SplitView,
    Stack, Stem, Threshold,
};
use cspnet_engine::reference::{Tensor, infer};
use cspnet_engine::{Input, Plan, PlanOptions, Rewrite, Rewrites, Saving};
use cspnet_graph::analysis::Count;
use cspnet_graph::init::reference_input;
use cspnet_graph::rewrite::{
    Rewritten, fold_batch_norm, max_first, merge_chain, merge_linear_pair, pool_first, stack_pointwise,
};
use cspnet_graph::{Graph, LazyWeights, Role, ValueId, Weights};

type Function = for<'a> fn(&Graph, &LazyWeights<'a>, &[ValueId]) -> Rewritten<'a>;

const SIDE: usize = 64;

/// A smaller one for the interpreter in double precision.
const SMALL: usize = 32;

/// Share of the MACs that a rewrite saves, and how often it was applied; both sides must differ by no more than `allowed` of the
/// outputs' root mean square. Normalisations are folded first, and then come the rewrites `before`, on both sides.
fn saved(network: &str, before: &[Function], rewrite: Function, allowed: f64) -> (f64, usize) {
    let graph = cspnet_zoo::build(network).unwrap();
    let apply = |(g, w): (Graph, LazyWeights<'static>), rewrite: &Function| {
        let after = rewrite(&g, &w, &[g.output()]);
        (after.graph, after.weights)
    };
    let weights = LazyWeights::owned(Weights::reference(&graph));
    let before = [fold_batch_norm as Function].iter().chain(before).fold((graph, weights), apply);
    let after = rewrite(&before.0, &before.1, &[before.0.output()]);
    let x = Tensor::from_f32([1, 3, SMALL, SMALL], &reference_input(3 * SMALL * SMALL));
    let run = |g: &Graph, w: &LazyWeights<'_>| {
        infer::<f64>(g, &w.to_weights().unwrap(), &x).unwrap()[g.output()].data.clone()
    };
    let (expected, got) = (run(&before.0, &before.1), run(&after.graph, &after.weights));
    let rms = (expected.iter().map(|v| v * v).sum::<f64>() / expected.len() as f64).sqrt();
    let off = got.iter().zip(&expected).map(|(g, e)| (g - e).abs()).fold(0.0, f64::max);
    assert!(off <= allowed * rms, "{network}: {:.1e}", off / rms);
    let macs = |g: &Graph| Count::of(g, [3, SMALL, SMALL]).unwrap().macs();
    (1.0 - macs(&after.graph) as f64 / macs(&before.0) as f64, after.times)
}

#[test]
fn transitions_that_pool_first_save_a_twelfth_of_densenet() {
    // Nothing is rounded anew: only the order of sums in double precision differs.
    let (share, times) = saved("densenet121:classes=10", &[], pool_first, 1e-12);
    assert!((0.07..0.10).contains(&share) && times == 3, "{share}");
    assert!(saved("cspdensenet121:classes=10", &[], pool_first, 1e-12).0 > 0.0);
    assert_eq!(saved("resnet50:classes=10", &[], pool_first, 1e-12), (0.0, 0));
}

#[test]
fn the_largest_is_taken_before_the_activation_of_stems() {
    for (network, times) in [("resnet50:classes=10", 1), ("cspresnet50:classes=10", 1), ("peleenet:classes=10", 0)] {
        assert_eq!(saved(network, &[], max_first, 0.0), (0.0, times), "{network}");
    }
}

#[test]
fn linear_pairs_merge_in_cspresnet_and_cspresnext_only() {
    // Products of weights are rounded to single precision once.
    for (network, least) in [("cspresnext50:classes=10", 0.06), ("cspresnet50:classes=10", 0.045)] {
        let (share, times) = saved(network, &[], merge_linear_pair, 1e-6);
        assert!(share > least && share < 0.1 && times == 4, "{network}: {share}");
    }
    assert_eq!(saved("cspdarknet53:classes=10", &[], merge_linear_pair, 1e-12), (0.0, 0));
}

#[test]
fn the_first_bottlenecks_of_cspresnet_read_the_stage_s_input() {
    for (network, stages) in [("cspresnext50:classes=10", 1), ("cspresnet50:classes=10", 4)] {
        let (share, times) = saved(network, &[merge_linear_pair], merge_chain, 1e-6);
        assert!(share > 0.005 && share < 0.02 && times == stages, "{network}: {share}, {times}");
    }
    assert_eq!(saved("resnet50:classes=10", &[], merge_chain, 1e-12), (0.0, 0));
}

#[test]
fn the_ways_of_peleenet_s_layers_are_stacked() {
    for (network, stacks) in [("peleenet:classes=10", 21), ("csppeleenet:classes=10", 22)] {
        assert_eq!(saved(network, &[], stack_pointwise, 1e-12), (0.0, stacks), "{network}");
    }
    assert_eq!(saved("cspdarknet53:classes=10", &[], stack_pointwise, 1e-12), (0.0, 0));
}

fn plan(network: &str, side: usize, options: &PlanOptions) -> Plan {
    let graph = cspnet_zoo::build(network).unwrap();
    Plan::new(&graph, &Weights::reference(&graph), [3, side, side], options).unwrap()
}

fn answer(plan: &Plan) -> Vec<f32> {
    let mut workspace = plan.workspace(1, 2);
    plan.run(&mut workspace, Input::Real(&reference_input(plan.picture().iter().product()))).unwrap();
    plan.output(&workspace, 0)
}

/// The distance of two answers, relative to the norm of the second.
fn distance(got: &[f32], expected: &[f32]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
    norm(&mut got.iter().zip(expected).map(|(&g, &e)| f64::from(g) - f64::from(e)))
        / norm(&mut expected.iter().map(|&e| f64::from(e)))
}

fn saving(plan: &Plan, rewrite: Rewrite) -> Option<Saving> {
    plan.report().rewrites.iter().find(|s| s.rewrite == rewrite).copied()
}

/// Weights whose normalisations have a fifth of their scales times `tiny`, another fifth negative, and means so many deviations
/// away from zero.
fn lopsided(graph: &Graph, tiny: f32, deviations: f32) -> Weights {
    let mut weights = Weights::reference(graph);
    for (id, param) in graph.params().iter().enumerate() {
        let numbers = weights.get_mut(id).iter_mut().enumerate();
        match param.role {
            Role::NormScale => numbers.for_each(|(c, v)| *v *= [tiny, -1.0, 1.0, 1.0, 1.0][c % 5]),
            Role::RunningMean => numbers.for_each(|(c, v)| *v += deviations * (c % 3) as f32),
            _ => {}
        }
    }
    weights
}

#[test]
fn thresholds_hold_where_scales_vanish_or_are_negative() {
    let graph = cspnet_zoo::build("densenet_bc:depth=22,growth=12").unwrap();
    let x = reference_input(3 * SMALL * SMALL);
    for (tiny, deviations) in [(1e-8, 0.0), (1e-30, 0.0), (0.0, 0.0), (1.0, 0.0), (1.0, 10.0), (1e-8, 10.0)] {
        let weights = lopsided(&graph, tiny, deviations);
        let input = Tensor::from_f32([1, 3, SMALL, SMALL], &x);
        let exact = infer::<f64>(&graph, &weights, &input).unwrap()[graph.output()].data.clone();
        let exact: Vec<f32> = exact.into_iter().map(|v| v as f32).collect();
        for rewrites in [Rewrites::all(), Rewrites::all().without(Threshold)] {
            let options = PlanOptions { rewrites, ..PlanOptions::default() };
            let plan = Plan::new(&graph, &weights, [3, SMALL, SMALL], &options).unwrap();
            let mut workspace = plan.workspace(1, 2);
            plan.run(&mut workspace, Input::Real(&x)).unwrap();
            let off = distance(&plan.output(&workspace, 0), &exact);
            assert!(off <= 5e-7, "scales times {tiny:e}, means {deviations} deviations off: {off:.1e}");
        }
    }
}

/// A network at a size, and rewrites with how often they fire.
type Fires = (&'static str, usize, &'static [(Rewrite, usize)]);

/// Networks with the rewrites that they are a reason for.
const FIRES: [Fires; 10] = [
    // 67 activations and 23 residuals.
    ("cspdarknet53", SIDE, &[(FoldNorm, 67), (Epilogue, 90), (ConcatView, 5), (SplitView, 10), (Stem, 1)]),
    ("densenet121", SIDE, &[(FoldNorm, 59), (PoolFirst, 3), (Threshold, 58), (PooledNorm, 4), (ConcatView, 58)]),
    ("densenet_basic", SIDE, &[(Prologue, 36), (PoolFirst, 2)]),
    ("cspresnext50", SIDE, &[(MergePair, 4), (MergeChain, 1)]),
    ("cspresnet50", SIDE, &[(MergePair, 4), (MergeChain, 4)]),
    ("peleenet", SIDE, &[(Stack, 21)]),
    ("csppeleenet", SIDE, &[(Stack, 22)]),
    // 33 activations, and a sum with its activation in each of 16 units; the stem takes in import and pooling.
    ("resnet50", SIDE, &[(FoldNorm, 53), (MaxFirst, 1), (Epilogue, 65), (Stem, 2)]),
    // What is between is larger than a cache: the stem's channels, and those between two 1x1 convolutions.
    ("cspdarknet53", 256, &[(Bands, 2)]),
    ("darknet53", 256, &[(Bands, 1)]),
];

#[test]
fn every_rewrite_fires_somewhere_saves_something_and_can_be_switched_off() {
    for (network, side, rewrites) in FIRES {
        let with = plan(network, side, &PlanOptions::default());
        let of_all = answer(&with);
        for &(rewrite, times) in rewrites {
            let saving = saving(&with, rewrite).unwrap_or_else(|| panic!("{rewrite} on {network}"));
            assert_eq!(saving.times, times, "{rewrite} on {network}");
            assert!(saving.macs + saving.bytes > 0, "{rewrite} on {network}");
            let options = PlanOptions { rewrites: Rewrites::all().without(rewrite), ..PlanOptions::default() };
            let without = plan(network, side, &options);
            assert_eq!(self::saving(&without, rewrite), None, "{network}");
            let off = distance(&of_all, &answer(&without));
            // All but the bits of sums, or not even those.
            let allowed = if rewrite.keeps_bits() { 0.0 } else { 3e-6 };
            assert!(off <= allowed, "{rewrite} on {network}: {off:.1e}");
        }
    }
    // The zoo has no constants; `operations.rs` has.
    let fires = |r: &Rewrite| FIRES.iter().any(|(.., rewrites)| rewrites.iter().any(|(of, _)| of == r));
    assert!(Rewrite::ALL.iter().all(|r| fires(r) != (*r == Rewrite::NormConstants)));
}

/// The same network, with a width at which slices and concatenations begin inside blocks.
const NARROW: [&str; 3] =
    ["densenet_bc:depth=40,growth=12", "cspdensenet121:gamma=0.3,fusion=both", "csppeleenet:gamma=0.3,fusion=last"];

#[test]
fn every_network_answers_as_its_strict_plan() {
    for network in cspnet_zoo::models().iter().map(|e| e.name).chain(NARROW) {
        let graph = cspnet_zoo::build(network).unwrap();
        let weights = Weights::reference(&graph);
        let [strict, same, fast] = [PlanOptions::strict(), PlanOptions::with_strict_bits(), PlanOptions::default()]
            .map(|options| {
                let plan = Plan::new(&graph, &weights, [3, SIDE, SIDE], &options).unwrap();
                assert_eq!(plan.report().rewrites.is_empty(), options.rewrites == Rewrites::NONE, "{network}");
                answer(&plan)
            });
        assert!(same == strict, "{network}: rewrites that keep the bits change them");
        let off = distance(&fast, &strict);
        assert!(off <= 3e-5, "{network}: {off:.1e} of the norm");
    }
}

#[test]
fn a_strict_plan_copies_what_it_joins_and_computes_every_node_by_itself() {
    let network = "cspdarknet53";
    let (strict, fast) = (plan(network, SIDE, &PlanOptions::strict()), plan(network, SIDE, &PlanOptions::default()));
    assert!(strict.report().steps.iter().all(|s| s.nodes.len() == 1));
    let views: u64 = [Rewrite::ConcatView, Rewrite::SplitView].iter().map(|&r| saving(&fast, r).unwrap().bytes).sum();
    // A copy reads as many bytes as it writes; those it writes are reported.
    assert_eq!((strict.report().copied_bytes as u64, fast.report().copied_bytes), (views / 2, 0));
}
