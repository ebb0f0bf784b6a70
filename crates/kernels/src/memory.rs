//! The floats kernels work on: an aligned buffer, and the arena of a batch with its threads' scratch.
//!
//! Not here: where in the arena a value lies ([`crate::Planes`]).

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::{Team, pages};

/// Bytes of a cache line; every buffer starts on one.
const ALIGNMENT: usize = 64;

/// More floats no buffer has: an allocation has at most `isize::MAX` bytes. Whoever counts floats up to here may add two
/// counts without looking for overflow.
pub(crate) const MOST_FLOATS: usize = isize::MAX as usize / size_of::<f32>();

/// A zero-filled buffer of floats that starts on a cache line.
///
/// Fresh memory comes zeroed from the system and is touched by whoever writes it first, so that room which is never used takes
/// none of the machine's.
pub struct AlignedBuf {
    /// What was allocated: `SLACK` bytes more than the floats need, since only small alignments come without being written.
    base: NonNull<u8>,
    start: NonNull<f32>,
    len: usize,
    /// Floats that were allocated.
    room: usize,
}

/// Bytes by which an allocation exceeds the floats: the start moves up to the next cache line.
const SLACK: usize = ALIGNMENT - BASE_ALIGNMENT;

/// The alignment that every allocator gives without ado.
const BASE_ALIGNMENT: usize = align_of::<u128>();

impl AlignedBuf {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        if len == 0 {
            return Self { base: NonNull::dangling(), start: NonNull::dangling(), len, room: len };
        }
        let layout = Self::layout(len);
        // SAFETY: the layout has a size above zero, since `len` is.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        let start = base.map_addr(|a| a.saturating_add(a.get().wrapping_neg() % ALIGNMENT)).cast();
        pages::prefer_large(base, layout.size());
        Self { base, start, len, room: len }
    }

    /// Makes it longer or shorter. Memory is allocated only where it has never been so long; what it holds then is arbitrary.
    pub fn set_len(&mut self, len: usize) {
        if len > self.room {
            *self = Self::zeroed(len);
        }
        self.len = len;
    }

    /// Floats that it can hold without another allocation.
    pub fn room(&self) -> usize {
        self.room
    }

    fn layout(len: usize) -> Layout {
        let bytes = len.checked_mul(size_of::<f32>()).and_then(|bytes| bytes.checked_add(SLACK));
        bytes
            .and_then(|bytes| Layout::from_size_align(bytes, BASE_ALIGNMENT).ok())
            .expect("a buffer is smaller than the address space")
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if self.room > 0 {
            // SAFETY: `base` came from `alloc_zeroed` with this very layout and is freed once, here.
            unsafe { dealloc(self.base.as_ptr(), Self::layout(self.room)) }
        }
    }
}

// SAFETY: the buffer owns its floats alone; references to them follow the borrow of the buffer.
unsafe impl Send for AlignedBuf {}
// SAFETY: as above; a shared reference gives only shared access.
unsafe impl Sync for AlignedBuf {}

impl Deref for AlignedBuf {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `start` points at `len` initialised floats within the allocation, which live as long as `self` (none if `room` is 0,
        // where a dangling aligned pointer is what a slice asks for).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Clone for AlignedBuf {
    fn clone(&self) -> Self {
        Self::from(&self[..])
    }
}

impl Default for AlignedBuf {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl From<&[f32]> for AlignedBuf {
    fn from(values: &[f32]) -> Self {
        let mut buf = Self::zeroed(values.len());
        buf.copy_from_slice(values);
        buf
    }
}

impl std::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuf({} floats)", self.len)
    }
}

/// The activations of a batch, image after image, and scratch space for each thread of a team.
///
/// Every image has the same share of the arena, so one list of offsets ([`crate::Planes`]) serves for all of them. Arena and
/// scratch are one buffer, so that an offset may lead from one to the other.
#[derive(Debug)]
pub struct Memory {
    floats: AlignedBuf,
    image_len: usize,
    images: usize,
    /// Where the arena ends and the scratch begins.
    arena_len: usize,
    scratch_len: usize,
}

impl Memory {
    /// Room for `images` images of `image_len` floats each and `threads` scratch areas of `scratch_len` floats.
    /// Both lengths are rounded up to whole cache lines.
    ///
    /// # Panics
    /// If that is more than an address space holds.
    pub fn new(images: usize, image_len: usize, threads: usize, scratch_len: usize) -> Self {
        let line = ALIGNMENT / size_of::<f32>();
        let area = |count: usize, len: usize| {
            let len = len.checked_next_multiple_of(line)?;
            Some((count.checked_mul(len)?, len))
        };
        let (arena_len, image_len) = area(images, image_len).expect("an arena beyond the address space");
        let (scratch, scratch_len) = area(threads, scratch_len).expect("scratch beyond the address space");
        let len = arena_len.checked_add(scratch).expect("scratch beyond the address space");
        Self { floats: AlignedBuf::zeroed(len), image_len, images, arena_len, scratch_len }
    }

    /// Makes the batch smaller, or as large again as it was made for.
    ///
    /// # Panics
    /// If there is no room for so many images.
    pub fn set_images(&mut self, images: usize) {
        let floats = images.checked_mul(self.image_len);
        assert!(floats.is_some_and(|n| n <= self.arena_len), "no room for {images} images");
        self.images = images;
    }

    /// Images of the batch.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Floats of one image's share.
    pub fn image_len(&self) -> usize {
        self.image_len
    }

    /// Floats of each thread's scratch.
    pub fn scratch_len(&self) -> usize {
        self.scratch_len
    }

    /// How many threads have scratch.
    pub fn threads(&self) -> usize {
        (self.floats.len() - self.arena_len).checked_div(self.scratch_len).unwrap_or(usize::MAX)
    }

    /// One image's share of the arena.
    pub fn image(&self, n: usize) -> &[f32] {
        &self.floats[..self.arena_len][n * self.image_len..][..self.image_len]
    }

    /// One image's share of the arena, to write.
    pub fn image_mut(&mut self, n: usize) -> &mut [f32] {
        &mut self.floats[..self.arena_len][n * self.image_len..][..self.image_len]
    }

    /// What a kernel that needs scratch demands before its team shares the memory.
    ///
    /// # Panics
    /// If values end beyond the arena, or there is no scratch of that length for every member of the team.
    pub(crate) fn check(&self, end: usize, scratch_len: usize, team: &Team) {
        assert!(self.image_len >= end, "values beyond the arena");
        assert!(self.scratch_len >= scratch_len, "too little scratch");
        assert!(self.threads() >= team.threads(), "scratch for fewer threads than the team has");
    }

    /// Pointers for a kernel's threads; see [`Shared`].
    pub(crate) fn share(&mut self) -> Shared {
        let arena = self.floats.as_mut_ptr();
        let scratch = arena.wrapping_add(self.arena_len);
        Shared { arena, image_len: self.image_len, scratch, scratch_len: self.scratch_len }
    }
}

/// The memory as the threads of one kernel see it while the kernel holds the [`Memory`] exclusively.
///
/// Nothing here checks bounds or aliasing. A kernel that uses it has checked, before it starts its parts, that every
/// [`crate::Planes`] ends within `image_len`, that the team has no more threads than there are scratch areas, and that
/// its parts write disjoint floats which no other part reads. All pointers are into one buffer.
#[derive(Clone, Copy)]
pub(crate) struct Shared {
    arena: *mut f32,
    image_len: usize,
    scratch: *mut f32,
    scratch_len: usize,
}

// SAFETY: a `Shared` is only an address; whoever dereferences it answers for the accesses (see the type).
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Start of an image's share.
    pub(crate) fn image(self, n: usize) -> *mut f32 {
        self.arena.wrapping_add(n * self.image_len)
    }

    /// Floats from an image's share to the next.
    pub(crate) fn image_len(self) -> usize {
        self.image_len
    }

    /// Start of a worker's scratch.
    pub(crate) fn scratch(self, worker: usize) -> *mut f32 {
        self.scratch.wrapping_add(worker * self.scratch_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_on_cache_lines_and_hold_zeros() {
        for len in [0, 1, 7, 1000, 3 << 20] {
            let buf = AlignedBuf::zeroed(len);
            assert_eq!(buf.len(), len);
            assert!(buf.iter().all(|&v| v == 0.0));
            assert!(len == 0 || buf.as_ptr().addr().is_multiple_of(ALIGNMENT));
        }
    }

    #[test]
    fn images_do_not_overlap() {
        let mut m = Memory::new(3, 17, 2, 5);
        assert_eq!((m.image_len(), m.scratch_len(), m.threads()), (32, 16, 2));
        m.image_mut(1).fill(1.0);
        assert!(m.image(0).iter().chain(m.image(2)).all(|&v| v == 0.0));
    }

    #[test]
    #[should_panic(expected = "beyond the address space")]
    fn lengths_that_overflow_are_refused() {
        Memory::new(1 << 32, 1 << 32, 1, 0);
    }

    #[test]
    #[should_panic(expected = "no room")]
    fn images_that_overflow_are_refused() {
        Memory::new(1, 16, 1, 0).set_images(1 << 60);
    }
}
