//! The composite structures of the field as combinators over a [`Builder`]: each wraps *any* body.
//!
//! Not here: whole networks (`cspnet-zoo`), and the choice of their layers.

use crate::builder::{Builder, Conv, Value};
use crate::op::Unary;

/// A residual unit (He et al., arXiv:1512.03385): `x + body(x)`; the sum is named `name`.
pub fn residual(b: &mut Builder, name: &str, x: Value, body: impl FnOnce(&mut Builder, Value) -> Value) -> Value {
    let y = body(b, x);
    b.add(name, x, y)
}

/// Squeeze and excitation (Hu et al., arXiv:1709.01507): every channel times a share of it, which two 1x1 convolutions make of the
/// means of all channels, by way of `reduced` ones.
pub fn squeeze_excite(b: &mut Builder, name: &str, x: Value, reduced: usize) -> Value {
    let channels = b.channels(x);
    b.module(name, |b| {
        let y = b.global_avg_pool("pool", x);
        let y = b.conv("fc1", y, Conv::new(reduced, 1).bias());
        let y = b.unary("act", y, Unary::Relu);
        let y = b.conv("fc2", y, Conv::new(channels, 1).bias());
        let y = b.unary("gate", y, Unary::Sigmoid);
        b.multiply("scale", x, y)
    })
}

/// A dense block (Huang et al., arXiv:1608.06993): every layer reads the concatenation of the block's input and of all
/// layers before it, oldest first, and adds its own channels (the growth) behind them.
///
/// `layer(b, i, x)` makes the `i`-th layer (from 0) and returns what it adds, one value or several.
pub fn dense_block<const N: usize>(
    b: &mut Builder,
    x: Value,
    layers: usize,
    mut layer: impl FnMut(&mut Builder, usize, Value) -> [Value; N],
) -> Value {
    (0..layers).fold(x, |x, i| {
        let grown = layer(b, i, x);
        let parts: Vec<Value> = std::iter::once(x).chain(grown).collect();
        b.concat(&format!("concat{}", i + 1), &parts)
    })
}

/// A unit that maps a value to another number of channels, pixel by pixel: usually a 1x1 convolution with normalisation and
/// activation, in whatever order and under whatever names a family has. Called with the input and the width wanted.
pub type Unit<'a> = &'a dyn Fn(&mut Builder, Value, usize) -> Value;

/// How a cross-stage-partial stage parts its input into the part that goes straight across and the part that goes through
/// the body. Every form gives `(cross, part)`.
#[derive(Clone, Copy)]
pub enum Split<'a> {
    /// The raw channels: the first `floor(gamma * c)` go across (CSPNet paper, equation 2; its partial ratio gamma).
    Channels {
        /// Share of the channels that goes across, in `0.0..1.0`.
        gamma: f64,
    },
    /// One expanding 1x1 convolution whose output is halved (timm).
    Expand {
        /// Channels of the expanded value; even.
        width: usize,
        /// The convolution.
        unit: Unit<'a>,
        /// Whether the first half goes across, or the second.
        cross_first: bool,
    },
    /// Two 1x1 convolutions side by side (the paper's implementation; Darknet).
    TwoConvs {
        /// Channels that go across, and their convolution.
        cross: (usize, Unit<'a>),
        /// Channels that go through the body, and their convolution.
        part: (usize, Unit<'a>),
    },
}

/// What follows the body of a cross-stage-partial stage (CSPNet paper, figure 3): `part` is the partial transition T, applied
/// to the body's output before the merge; `merged` is the transition U, applied after it.
///
/// T and U make the arrangement (b) of the figure, U alone *fusion first* (c), T alone *fusion last* (d).
#[derive(Clone, Copy, Default)]
pub struct Transitions<'a> {
    /// Width and unit of T.
    pub part: Option<(Width, Unit<'a>)>,
    /// Width and unit of U.
    pub merged: Option<(Width, Unit<'a>)>,
    /// Whether the part that went through the body comes first in the merged value (CrossStage3 of timm, Darknet), or the
    /// part that went across.
    pub part_first: bool,
}

/// Channels after a transition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Width {
    /// As many as before it.
    Same,
    /// So many.
    Exactly(usize),
}

impl Width {
    fn of(self, before: usize) -> usize {
        match self {
            Self::Same => before,
            Self::Exactly(n) => n,
        }
    }
}

/// A cross-stage-partial stage (Wang et al., arXiv:1911.11929): `x` is split in two, one part goes through `body`, the other
/// straight across, and both are merged. The gradient of either side carries nothing of the other's.
///
/// The body may be anything that keeps the number of pixels: dense layers, residual units, inverted bottlenecks.
pub fn csp_stage(
    b: &mut Builder,
    x: Value,
    split: Split<'_>,
    transitions: Transitions<'_>,
    body: impl FnOnce(&mut Builder, Value) -> Value,
) -> Value {
    let (cross, part) = split.apply(b, x);
    let part = body(b, part);
    let transit = |b: &mut Builder, x: Value, t: Option<(Width, Unit<'_>)>| match t {
        Some((width, unit)) => unit(b, x, width.of(b.channels(x))),
        None => x,
    };
    let part = transit(b, part, transitions.part);
    let parts: Vec<Value> = match cross {
        Some(cross) if transitions.part_first => vec![part, cross],
        Some(cross) => vec![cross, part],
        None => vec![part],
    };
    let merged = b.concat("merge", &parts);
    transit(b, merged, transitions.merged)
}

impl Split<'_> {
    /// `(cross, part)`; nothing goes across where gamma leaves less than one channel.
    fn apply(self, b: &mut Builder, x: Value) -> (Option<Value>, Value) {
        match self {
            Self::Channels { gamma } => {
                let all = b.channels(x);
                match (gamma * all as f64).floor() as usize {
                    0 => (None, x),
                    across => (Some(b.slice("cross", x, 0, across)), b.slice("part", x, across, all - across.min(all))),
                }
            }
            Self::Expand { width, unit, cross_first } => {
                let wide = unit(b, x, width);
                let half = width / 2;
                let (cross, part) = if cross_first { (0, half) } else { (half, 0) };
                (Some(b.slice("cross", wide, cross, half)), b.slice("part", wide, part, half))
            }
            Self::TwoConvs { cross, part } => (Some(cross.1(b, x, cross.0)), part.1(b, x, part.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv, Op};

    fn pointwise(name: &str) -> impl Fn(&mut Builder, Value, usize) -> Value {
        let name = name.to_owned();
        move |b, x, width| b.conv(&name, x, Conv::new(width, 1))
    }

    #[test]
    fn a_dense_block_grows_by_its_growth_rate() {
        let mut b = Builder::new();
        let x = b.input(16);
        let y = dense_block(&mut b, x, 3, |b, i, x| [b.conv(&format!("layer{i}"), x, Conv::new(12, 3))]);
        assert_eq!(b.channels(y), 16 + 3 * 12);
    }

    #[test]
    fn the_three_splits_and_arrangements_have_the_papers_widths() {
        let (exp, t, u, c, p) = (pointwise("exp"), pointwise("t"), pointwise("u"), pointwise("c"), pointwise("p"));
        let splits = [
            Split::Channels { gamma: 0.25 },
            Split::Expand { width: 64, unit: &exp, cross_first: true },
            Split::TwoConvs { cross: (8, &c), part: (24, &p) },
        ];
        for (split, [across, through]) in splits.into_iter().zip([[8, 24], [32, 32], [8, 24]]) {
            for (with_t, with_u) in [(true, true), (false, true), (true, false)] {
                let mut b = Builder::new();
                let x = b.input(32);
                let transitions = Transitions {
                    part: with_t.then_some((Width::Exactly(10), &t)),
                    merged: with_u.then_some((Width::Same, &u)),
                    part_first: false,
                };
                let y = csp_stage(&mut b, x, split, transitions, |b, x| {
                    assert_eq!(b.channels(x), through);
                    residual(b, "sum", x, |b, x| b.conv("body", x, Conv::new(through, 3)))
                });
                assert_eq!(b.channels(y), across + if with_t { 10 } else { through });
                let g = b.finish(y).unwrap();
                assert_eq!(g.nodes().iter().filter(|n| n.path == "u").count(), usize::from(with_u));
            }
        }
    }

    #[test]
    fn gamma_of_nothing_and_of_everything() {
        let stage = |gamma| {
            let mut b = Builder::new();
            let x = b.input(16);
            let y = csp_stage(&mut b, x, Split::Channels { gamma }, Transitions::default(), |_, x| x);
            b.finish(y)
        };
        assert!(!stage(0.0).unwrap().nodes().iter().any(|n| matches!(n.op, Op::Slice { .. })));
        assert!(stage(1.0).is_err());
    }
}
