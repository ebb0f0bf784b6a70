//! Points at which a test kills the program, or lets the disk fail, to see that nothing is lost whenever that happens.
//!
//! They exist only with the feature `crash-points`, which tests of the program switch on. Then `CSPNET_CRASH_POINT=NUMBER:PART` makes
//! the process stop at the point of that number, counted from 0, among those in files whose path holds `PART`: it says so on
//! standard error and waits to be killed. With `CSPNET_CRASH_POINT=NUMBER:PART:ERROR` what comes next there fails from then on, with
//! the system's error of that number.

use std::io;
use std::path::Path;

/// A point behind a step of writing a file.
///
/// # Errors
/// That of the step that would come next, if a test wants it to fail.
#[cfg(feature = "crash-points")]
pub(crate) fn point(file: &Path, after: &str) -> io::Result<()> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static PASSED: AtomicUsize = AtomicUsize::new(0);

    let asked = std::env::var("CSPNET_CRASH_POINT").unwrap_or_default();
    let mut asked = asked.split(':');
    let (Some(Ok(number)), Some(part)) = (asked.next().map(str::parse::<usize>), asked.next()) else { return Ok(()) };
    if !file.to_string_lossy().contains(part) {
        return Ok(());
    }
    let passed = PASSED.fetch_add(1, Ordering::Relaxed);
    match asked.next().and_then(|error| error.parse().ok()) {
        Some(error) if passed >= number => Err(io::Error::from_raw_os_error(error)),
        None if passed == number => {
            eprintln!("crash point {number}: {after}: {}", file.display());
            loop {
                std::thread::park();
            }
        }
        _ => Ok(()),
    }
}

/// No point: nothing is tested.
#[cfg(not(feature = "crash-points"))]
pub(crate) fn point(_file: &Path, _after: &str) -> io::Result<()> {
    Ok(())
}
