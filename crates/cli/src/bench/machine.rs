//! What the machine can do, and what the process has taken of it.

use cspnet::engine::{Isa, probe};

/// Two probes that are further apart than this share speak of a machine that does other things as well.
const MAX_DRIFT: f64 = 0.05;

/// The most floating-point operations a second, in units of 1e9, probed before and after.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    pub before: f64,
    pub after: f64,
}

impl Peak {
    /// The higher of both: nothing can make a probe too fast.
    pub fn gflops(&self) -> f64 {
        self.before.max(self.after)
    }

    /// Why it may be wrong.
    pub fn doubt(&self) -> Option<String> {
        let Self { before, after } = self;
        ((before / after - 1.0).abs() > MAX_DRIFT)
            .then(|| format!("the peak was {before:.1} GFLOP/s before and {after:.1} after"))
    }
}

/// Probes the peak of so many threads.
pub fn peak(isa: Isa, threads: usize) -> f64 {
    probe::team_peak_gflops(isa, threads)
}

/// The most memory this process has had at once, in bytes, where the system tells.
pub fn peak_rss_bytes() -> Option<u64> {
    high_water_mark(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// `VmHWM` of Linux' `/proc/PID/status`, which is in units of 1024 bytes (proc_pid_status(5)).
fn high_water_mark(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|k| 1024 * k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_where_the_system_tells_it() {
        let status = "Name:\tcspnet\nVmPeak:\t  250000 kB\nVmHWM:\t  101376 kB\nVmRSS:\t   90000 kB\n";
        assert_eq!(high_water_mark(status), Some(101_376 * 1024));
        assert_eq!(high_water_mark("Name:\tcspnet\n"), None);
        assert_eq!(peak_rss_bytes().is_some_and(|b| b > 1 << 20), cfg!(target_os = "linux"));
    }

    #[test]
    fn probes_may_differ_by_a_twentieth() {
        assert!(Peak { before: 100.0, after: 97.0 }.doubt().is_none());
        assert!(Peak { before: 90.0, after: 97.0 }.doubt().is_some());
    }
}
