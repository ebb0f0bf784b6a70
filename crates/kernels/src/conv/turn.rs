//! Turning weights: a kernel wants, for a source channel and a tap, the numbers of eight target channels side by side, and a
//! weight `[out, in, kh, kw]` has taps side by side. Training turns all weights twice in every step, so it is done in registers,
//! eight by eight.
//!
//! Not here: the orders in which kernels read them ([`super::weights`], [`super::winograd`]), and channels that do not fill a
//! block.

use crate::LANES;
use crate::simd::Simd;

/// Source blocks ahead whose numbers are asked for. Backward each channel's lie in a row of their own, pages apart, so that the
/// processor does not see them come.
const AHEAD: usize = 4;

/// How numbers of a weight that lead from one source block to one target block lie, from the first of them on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Taps of the kernel, side by side.
    pub taps: usize,
    /// Numbers from one channel to the next, of the source and of the target.
    pub steps: [usize; 2],
}

impl Turn {
    /// Calls `put(lane, tap, numbers)` with the numbers of the eight target channels for every lane of the source block and every
    /// tap, in this order.
    ///
    /// # Panics
    /// If the weight ends before.
    #[inline(always)]
    pub fn each<S: Simd>(self, s: S, weight: &[f32], mut put: impl FnMut(usize, usize, S::V)) {
        let Self { taps, steps: [from, to] } = self;
        // Forward the channels of the source follow each other, so that their taps make one run of numbers.
        let [runs, len] = if from == taps { [1, LANES * taps] } else { [LANES, taps] };
        let last = (runs - 1) * from + (LANES - 1) * to + len;
        assert!(last <= weight.len(), "a weight of {} numbers instead of {last}", weight.len());
        let (mut lane, mut tap) = (0, 0);
        for (run, at) in (0..runs).flat_map(|run| (0..len).step_by(LANES).map(move |at| (run, at))) {
            let (weight, count) = (&weight[run * from + at..], (len - at).min(LANES));
            let mut turned = [s.splat(0.0); LANES];
            let ahead = weight.as_ptr().wrapping_add(AHEAD * LANES * from);
            if count == LANES {
                for target in 0..LANES {
                    s.prefetch(ahead.wrapping_add(target * to));
                    // SAFETY: the eight numbers of a row end with its run at the latest, which the weight holds.
                    turned[target] = unsafe { s.load(weight.as_ptr().add(target * to)) };
                }
                turned = s.transpose(turned);
            } else if to == 1 {
                s.prefetch(ahead);
                for column in 0..count {
                    // SAFETY: as above, for each column is a row.
                    turned[column] = unsafe { s.load(weight.as_ptr().add(column)) };
                }
            } else {
                for column in 0..count {
                    let numbers: [f32; LANES] = std::array::from_fn(|target| weight[target * to + column]);
                    // SAFETY: eight floats.
                    turned[column] = unsafe { s.load(numbers.as_ptr()) };
                }
            }
            // Called from here alone, so that it is compiled with the instruction set.
            for column in 0..count {
                put(lane, tap, turned[column]);
                (lane, tap) = if tap + 1 == taps { (lane + 1, 0) } else { (lane, tap + 1) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::simd::Body;

    struct Listed<'a> {
        turn: Turn,
        weight: &'a [f32],
        out: &'a mut Vec<(usize, usize, [f32; LANES])>,
    }

    impl Body for Listed<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            self.turn.each(s, self.weight, |lane, tap, numbers| self.out.push((lane, tap, s.to_array(numbers))));
        }
    }

    #[test]
    fn all_lanes_and_taps_come_with_their_numbers() {
        for taps in [1, 3, 9, 25] {
            for steps in [[taps, 11 * taps], [11 * taps, taps], [taps, 8 * taps], [8 * taps, taps]] {
                let weight: Vec<f32> = (0..(7 * (steps[0] + steps[1]) + taps)).map(|i| i as f32).collect();
                for isa in Isa::available() {
                    let mut out = Vec::new();
                    isa.run(Listed { turn: Turn { taps, steps }, weight: &weight, out: &mut out });
                    let expected =
                        |lane, tap| std::array::from_fn(|target| weight[lane * steps[0] + target * steps[1] + tap]);
                    let all = (0..LANES).flat_map(|lane| (0..taps).map(move |tap| (lane, tap)));
                    assert_eq!(out, all.map(|(l, t)| (l, t, expected(l, t))).collect::<Vec<_>>(), "{isa}, {steps:?}");
                }
            }
        }
    }
}
