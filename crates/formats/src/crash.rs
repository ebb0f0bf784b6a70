//! Points at which a test kills the program, to see that nothing is lost whenever it dies.
//!
//! They exist only with the feature `crash-points`, which tests of the program switch on. Then `CSPNET_CRASH_POINT=NUMBER:PART` makes
//! the process stop at the point of that number, counted from 0, among those in files whose path holds `PART`: it says so on
//! standard error and waits to be killed.

#[cfg(feature = "crash-points")]
pub(crate) fn point(file: &std::path::Path, after: &str) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static PASSED: AtomicUsize = AtomicUsize::new(0);

    let asked = std::env::var("CSPNET_CRASH_POINT").ok();
    let asked =
        asked.as_deref().and_then(|a| a.split_once(':')).and_then(|(n, part)| Some((n.parse::<usize>().ok()?, part)));
    let Some((number, part)) = asked else { return };
    if file.to_string_lossy().contains(part) && PASSED.fetch_add(1, Ordering::Relaxed) == number {
        eprintln!("crash point {number}: {after}: {}", file.display());
        loop {
            std::thread::park();
        }
    }
}

#[cfg(not(feature = "crash-points"))]
pub(crate) fn point(_file: &std::path::Path, _after: &str) {}
