//! What the fuzz targets share: the bar that every reader is held to, and the files that fuzzing begins with.
//!
//! A reader must not panic, must not hold more than its file's bytes and 64 MB at any time, and must say what is wrong in words that
//! command no terminal. That it comes back in time is looked at by libFuzzer.
#![forbid(unsafe_code)]

#[path = "../../crates/data/tests/common/huggingface.rs"]
pub mod huggingface;
pub mod pickle;
#[path = "../../crates/formats/tests/common/pytorch.rs"]
pub mod pytorch;
pub mod seeds;

use std::fmt::Display;
use std::path::PathBuf;

use cspnet_graph::{Builder, Conv, Graph};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Bytes that a reader may hold beyond those of its file.
pub const SLACK: usize = 64 << 20;

/// Longest message of an error, in bytes. A network's unsupported layers are all told at once.
const MAX_MESSAGE: usize = 4 << 20;

/// Runs a reader that may hold so many bytes, and looks at what it says if it refuses.
///
/// # Panics
/// If it holds more, or says it badly.
pub fn hold<T, E: Display>(most: usize, read: impl FnOnce() -> Result<T, E>) -> Option<T> {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let result = read();
    let held = MEMORY.peak_usage().saturating_sub(before);
    assert!(held <= most, "{held} bytes were held; {most} may be");
    let told = result.as_ref().err().map(E::to_string);
    if let Some(told) = told {
        assert!(!told.is_empty() && told.len() <= MAX_MESSAGE, "a message of {} bytes", told.len());
        assert!(!told.contains(char::is_control), "{told:?}");
    }
    result.ok()
}

/// An error in the words in which the program tells it.
pub fn told(error: impl Display) -> String {
    cspnet_formats::text::shown(&error.to_string()).into_owned()
}

/// A network with every kind of parameter that published files have, 23 numbers in all.
pub fn network() -> Graph {
    let mut b = Builder::new();
    let x = b.input(3);
    let x = b.conv("conv", x, Conv::new(2, 1));
    let x = b.batch_norm("norm", x);
    let x = b.global_avg_pool("pool", x);
    let x = b.linear("fc", x, 3);
    b.finish(x).expect("a sound network")
}

/// A place for files that are written again and again, in memory where the system has one.
pub fn place() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    tempfile::tempdir_in(folder).expect("a folder for files")
}
