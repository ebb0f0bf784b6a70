//! What cores can do at most, measured: the mark that kernels are held against.

use std::time::Instant;

use crate::simd::{Body, Simd};
use crate::{Isa, Team};

/// Independent chains of multiply-adds: enough to hide the instruction's latency on two pipes.
const CHAINS: usize = 12;

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
        team.run(parts, &|_, _| {
            std::hint::black_box(isa.run(Chains));
        });
        begin.elapsed().as_secs_f64()
    };
    let seconds = (0..30).map(|_| once()).fold(f64::INFINITY, f64::min);
    (2 * 8 * CHAINS * STEPS * parts) as f64 / seconds / 1e9
}

struct Chains;

impl Body for Chains {
    type Output = [f32; 8];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let factor = s.splat(std::hint::black_box(0.999_999));
        let addend = s.splat(std::hint::black_box(1e-6));
        let mut chains = [s.splat(1.0); CHAINS];
        for _ in 0..STEPS {
            for chain in &mut chains {
                *chain = s.fma(*chain, factor, addend);
            }
        }
        s.to_array(chains.into_iter().fold(s.splat(0.0), |sum, chain| s.add(sum, chain)))
    }
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
