//! What cores can do at most, measured: the mark that kernels are held against.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::simd::{Body, Simd};
use crate::{Isa, LANES, Team};

/// Multiply-adds of every chain in one measurement.
const STEPS: usize = 200_000;

/// Floating-point operations a second, in units of 1e9, that one core reaches with multiply-adds on registers alone: the best
/// of several short measurements.
pub fn peak_gflops(isa: Isa) -> f64 {
    team_peak_gflops(isa, 1)
}

/// The same of a team of `threads`, all at work at once: not a multiple of one core's where cores are clocked lower together, or
/// where there are fewer cores than threads.
pub fn team_peak_gflops(isa: Isa, threads: usize) -> f64 {
    let mut team = Team::new(threads);
    let parts = team.threads();
    let mut once = || {
        let begin = Instant::now();
        let done = AtomicUsize::new(0);
        team.run(parts, &|_, _| {
            done.fetch_add(isa.run(Chains), Ordering::Relaxed);
        });
        done.into_inner() as f64 / begin.elapsed().as_secs_f64() / 1e9
    };
    (0..30).map(|_| once()).fold(0.0, f64::max)
}

/// Independent chains of multiply-adds of pairs of vectors, enough to hide the instruction's latency. Gives how many operations
/// that was.
struct Chains;

impl Body for Chains {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        match S::PIXELS {
            12 => chains::<S, 12>(s),
            _ => chains::<S, 6>(s),
        }
    }
}

#[inline(always)]
fn chains<S: Simd, const N: usize>(s: S) -> usize {
    let factor = s.splat_pair(std::hint::black_box(0.999_999));
    let addend = s.splat_pair(std::hint::black_box(1e-6));
    let mut chains = [s.splat_pair(1.0); N];
    for _ in 0..STEPS {
        for chain in &mut chains {
            *chain = s.fma_pair(*chain, factor, addend);
        }
    }
    std::hint::black_box(chains);
    2 * 2 * LANES * N * STEPS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_team_reaches_something() {
        for threads in [0, 1, 3] {
            let peak = team_peak_gflops(Isa::detect(), threads);
            assert!(peak.is_finite() && peak > 0.0, "{threads} threads: {peak}");
        }
    }
}
