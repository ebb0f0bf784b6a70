//! How many threads a machine really grants this process.

/// The CPUs this process may use at once: its affinity and its control group's quota count, not the machine's cores.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
