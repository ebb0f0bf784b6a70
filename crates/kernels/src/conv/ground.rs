//! Where a part of a convolution finds what it reads and writes: in the arena, or a band of rows in its thread's scratch. Not here: what
//! lies in bands ([`super::Bands`]).

use std::ops::Range;

use crate::memory::Shared;

/// Which blocks of a convolution's source and target lie in the thread's scratch, a band of rows at a time. Their offsets count from
/// the first row that there would be if all rows were there.
#[derive(Clone, Debug, Default)]
pub(in crate::conv) struct InBand {
    pub source: Range<usize>,
    pub target: bool,
}

/// Where a part finds what it reads and writes. The pointers are into one buffer.
#[derive(Clone, Copy)]
pub(in crate::conv) struct Ground {
    /// The image's share of the arena.
    pub image: *mut f32,
    /// The worker's scratch, of the length that the kernel asks for.
    pub scratch: *mut f32,
    /// Where row 0 of the first block in the band would lie.
    pub band: *mut f32,
}

impl Ground {
    /// Of one image and one worker, without a band.
    pub fn of(shared: Shared, image: usize, worker: usize) -> Self {
        let image = shared.image(image);
        Self { image, scratch: shared.scratch(worker), band: image }
    }

    /// The same for an image that lies so many floats behind; a band belongs to one image alone.
    pub fn image_after(self, floats: usize) -> Self {
        if floats == 0 { self } else { Self { image: self.image.wrapping_add(floats), ..self } }
    }

    /// What the offset of a block of a source counts from.
    #[inline(always)]
    pub fn source(&self, in_band: &InBand, block: usize) -> *const f32 {
        if in_band.source.contains(&block) { self.band } else { self.image }
    }

    /// Floats from the image to the band.
    pub fn to_band(self) -> isize {
        (self.band.addr() as isize - self.image.addr() as isize) / size_of::<f32>() as isize
    }
}
