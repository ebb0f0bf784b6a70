//! Large pages for large buffers: packed weights are read from end to end in every run, and each page that is touched for the
//! first time costs the system about a microsecond, so that pages of 2 MB instead of 4 KB shorten loading as well as runs.
//!
//! Only advice: where the system does not take it, nothing changes.

use std::ptr::NonNull;

/// Bytes of a large page on x86-64 and on most ARM machines.
#[cfg(target_os = "linux")]
const LARGE: usize = 2 << 20;

/// Bytes of a page, or a multiple of them.
#[cfg(target_os = "linux")]
const PAGE: usize = 64 << 10;

/// Tells the system that large pages are welcome in an allocation that has just been made.
#[cfg(target_os = "linux")]
pub(crate) fn prefer_large(start: NonNull<u8>, bytes: usize) {
    use rustix::mm::{Advice, madvise};
    let begin = start.addr().get().next_multiple_of(PAGE);
    let end = (start.addr().get() + bytes) / PAGE * PAGE;
    if end >= begin + LARGE {
        let begin_at = start.as_ptr().with_addr(begin);
        // A system without large pages goes on with small ones.
        // SAFETY: the range lies within one allocation; this advice changes neither its contents nor who may access it.
        let _ = unsafe { madvise(begin_at.cast(), end - begin, Advice::LinuxHugepage) };
    }
}

/// There is nobody to tell.
#[cfg(not(target_os = "linux"))]
pub(crate) fn prefer_large(_: NonNull<u8>, _: usize) {}
