//! Runs again and again, and how long they took.

use std::time::{Duration, Instant};

use cspnet::Error;
use cspnet::engine::RunError;

use crate::failure::Failure;

/// Fewest runs that are measured.
const MIN_RUNS: usize = 10;

/// A median beyond this many minima is the machine's doing.
const MAX_SPREAD: f64 = 1.25;

/// How long runs took, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    pub min_ms: f64,
    pub median_ms: f64,
    /// Nine of ten runs took at most this long.
    pub p90_ms: f64,
}

impl Times {
    /// Of at least one run.
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |rank: usize| times[rank].as_nanos() as f64 / 1e6;
        let n = times.len();
        Self { min_ms: at(0), median_ms: at(n / 2), p90_ms: at((9 * n).div_ceil(10) - 1) }
    }

    /// Why they may be wrong.
    pub fn doubt(&self) -> Option<String> {
        let Self { min_ms, median_ms, .. } = self;
        (*median_ms > MAX_SPREAD * min_ms).then(|| {
            format!("half of the runs took more than {median_ms:.2} ms, {:.2} times the fastest", median_ms / min_ms)
        })
    }
}

/// Runs unmeasured for a quarter of the time, and at least twice: caches fill, and the clock of the cores settles.
pub fn warm_up(seconds: f64, mut run: impl FnMut() -> Result<(), RunError>) -> Result<(), Failure> {
    let begin = Instant::now();
    let mut runs = 0;
    while runs < 2 || begin.elapsed().as_secs_f64() < seconds / 4.0 {
        run().map_err(Error::from)?;
        runs += 1;
    }
    Ok(())
}

/// Times of runs.
pub fn times(seconds: f64, mut run: impl FnMut() -> Result<(), RunError>) -> Result<Times, Failure> {
    let timed = || {
        let begin = Instant::now();
        run().map(|()| begin.elapsed())
    };
    repeat(seconds, timed).map(Times::of)
}

/// What every run gives, for so long and at least ten times.
pub fn repeat<T>(seconds: f64, mut run: impl FnMut() -> Result<T, RunError>) -> Result<Vec<T>, Failure> {
    let begin = Instant::now();
    let mut all = Vec::new();
    while all.len() < MIN_RUNS || begin.elapsed().as_secs_f64() < seconds {
        all.push(run().map_err(Error::from)?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_ranked() {
        let times = Times::of([5, 1, 9, 3, 7, 2, 10, 4, 8, 6].map(Duration::from_millis).into());
        assert_eq!(times, Times { min_ms: 1.0, median_ms: 6.0, p90_ms: 9.0 });
        assert!(times.doubt().unwrap().contains("6.00 times"));
        let steady = Times::of(vec![Duration::from_millis(4)]);
        assert_eq!((steady.min_ms, steady.p90_ms, steady.doubt()), (4.0, 4.0, None));
    }

    #[test]
    fn there_are_ten_runs_even_without_time() {
        let mut numbers = 1..;
        let mut run = || Ok(numbers.next().unwrap());
        warm_up(0.0, || run().map(drop)).unwrap();
        assert_eq!(repeat(0.0, run).unwrap(), (3..13).collect::<Vec<i32>>());
    }
}
