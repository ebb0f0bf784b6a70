//! What moves numbers without computing with them: the way in and out of the arena, copies between differently laid out
//! values, clearing.

use crate::{Block, LANES, Memory, Planes, Team};

/// Puts numbers `[c, h, w]` into a value of one image; pad lanes become zero.
///
/// # Panics
/// If there are not as many numbers as the value has, or the memory has no room for it.
pub fn import_nchw(planes: &Planes, memory: &mut Memory, image: usize, numbers: &[f32]) {
    let pixels = planes.pixels();
    assert!(numbers.len() == planes.channels() * pixels, "{} numbers for {planes:?}", numbers.len());
    let arena = memory.image_mut(image);
    for (b, &Block { first, count, .. }) in planes.blocks().iter().enumerate() {
        for (p, vector) in arena[planes.range(b)].chunks_exact_mut(LANES).enumerate() {
            for (lane, slot) in vector.iter_mut().enumerate() {
                *slot = if lane < count { numbers[(first + lane) * pixels + p] } else { 0.0 };
            }
        }
    }
}

/// Takes a value of one image out as numbers `[c, h, w]`.
///
/// # Panics
/// As [`import_nchw`].
pub fn export_nchw(planes: &Planes, memory: &Memory, image: usize, numbers: &mut [f32]) {
    let pixels = planes.pixels();
    assert!(numbers.len() == planes.channels() * pixels, "{} numbers for {planes:?}", numbers.len());
    let arena = memory.image(image);
    for (b, &Block { first, count, .. }) in planes.blocks().iter().enumerate() {
        for (p, vector) in arena[planes.range(b)].chunks_exact(LANES).enumerate() {
            for lane in 0..count {
                numbers[(first + lane) * pixels + p] = vector[lane];
            }
        }
    }
}

/// Puts the pixels `[h, w, c]` of a photo into a value of one image as `(v / 255 - mean) / std`; pad lanes become zero.
///
/// # Panics
/// If there are not as many pixels as the value has, or not a mean and a deviation for every channel.
pub fn import_pixels(planes: &Planes, memory: &mut Memory, image: usize, pixels: &[u8], mean: &[f32], std: &[f32]) {
    let channels = planes.channels();
    assert!(pixels.len() == channels * planes.pixels(), "{} bytes for {planes:?}", pixels.len());
    assert!(mean.len() == channels && std.len() == channels, "a mean and a deviation for each of {channels} channels");
    // Every byte's number is computed once, by the formula as it is written.
    let table = |c: usize| std::array::from_fn::<f32, 256, _>(|v| (v as f32 / 255.0 - mean[c]) / std[c]);
    let tables: Vec<[f32; 256]> = (0..channels).map(table).collect();
    let arena = memory.image_mut(image);
    for (b, &Block { first, count, .. }) in planes.blocks().iter().enumerate() {
        let vectors = arena[planes.range(b)].chunks_exact_mut(LANES);
        for (vector, pixel) in vectors.zip(pixels.chunks_exact(channels)) {
            for (lane, slot) in vector.iter_mut().enumerate() {
                *slot = if lane < count { tables[first + lane][usize::from(pixel[first + lane])] } else { 0.0 };
            }
        }
    }
}

/// A run of channels that lie side by side in a block of the source and in one of the target.
#[derive(Clone, Copy, Debug)]
struct Run {
    from: (usize, usize),
    to: (usize, usize),
    len: usize,
}

/// Copies channels from one value to another of the same size, or adds them there, whatever their blocks.
#[derive(Debug)]
pub struct Transfer {
    source: Planes,
    target: Planes,
    runs: Vec<Run>,
    accumulate: bool,
}

impl Transfer {
    /// `len` channels of `source` from `from` on to `target` from `to` on; other lanes are not touched, except that pad
    /// lanes behind a copied channel become zero.
    ///
    /// # Panics
    /// If the values overlap or have different sizes, two blocks of the target overlap, or the channels do not exist.
    pub fn new(source: &Planes, from: usize, target: &Planes, to: usize, len: usize, accumulate: bool) -> Self {
        assert!((source.height(), source.width()) == (target.height(), target.width()), "values of different size");
        assert!(from + len <= source.channels() && to + len <= target.channels(), "channels that do not exist");
        assert!(source.is_apart_from(target) && target.is_disjoint(), "a copy to itself, or blocks that overlap");
        let place = |planes: &Planes, channel: usize| {
            let block = planes.blocks().partition_point(|b| b.first + b.count <= channel);
            (block, channel - planes.blocks()[block].first)
        };
        let mut runs = Vec::new();
        let mut done = 0;
        while done < len {
            let (from, to) = (place(source, from + done), place(target, to + done));
            let room = |planes: &Planes, (block, lane): (usize, usize)| planes.blocks()[block].count - lane;
            let run = room(source, from).min(room(target, to)).min(len - done);
            runs.push(Run { from, to, len: run });
            done += run;
        }
        Self { source: source.clone(), target: target.clone(), runs, accumulate }
    }

    /// Bytes it moves for one image.
    pub fn bytes(&self) -> usize {
        self.runs.iter().map(|r| r.len).sum::<usize>() * self.source.pixels() * size_of::<f32>()
    }

    /// Copies for all images.
    ///
    /// # Panics
    /// If the memory has no room for the values.
    pub fn run(&self, memory: &mut Memory, team: &mut Team) {
        assert!(memory.image_len() >= self.source.end().max(self.target.end()), "values beyond the arena");
        let (images, runs) = (memory.images(), self.runs.len());
        let shared = memory.share();
        team.run(images * runs, &|part, _| {
            // SAFETY: both values lie in the image's share, and no two runs write the same lanes of the target.
            unsafe { self.move_run(&self.runs[part % runs], shared.image(part / runs)) }
        });
    }

    /// # Safety
    /// `image` points at an image's share that holds both values, and nobody else touches the lanes the run
    /// writes.
    unsafe fn move_run(&self, run: &Run, image: *mut f32) {
        let block = &self.target.blocks()[run.to.0];
        let from = image.wrapping_add(self.source.blocks()[run.from.0].offset + run.from.1);
        let to = image.wrapping_add(block.offset + run.to.1);
        // Where the run ends the block, its pad lanes are written too.
        let pads = if run.to.1 + run.len == block.count && !self.accumulate { LANES - block.count } else { 0 };
        for pixel in 0..self.source.pixels() {
            let at = pixel * LANES;
            for lane in 0..run.len {
                // SAFETY: lane and pixel lie in the blocks of both values.
                unsafe {
                    let value = *from.add(at + lane);
                    let slot = to.add(at + lane);
                    *slot = if self.accumulate { *slot + value } else { value };
                }
            }
            for pad in 0..pads {
                // SAFETY: the pad lanes of the pixel follow its channels.
                unsafe { *to.add(at + run.len + pad) = 0.0 }
            }
        }
    }
}

/// Sets the pad lanes of a block to zero.
///
/// # Safety
/// `image` points at an image's share that holds the value, and nobody else touches the block.
pub(crate) unsafe fn zero_pads(planes: &Planes, block: usize, image: *mut f32) {
    let Block { offset, count, .. } = planes.blocks()[block];
    if count == LANES {
        return;
    }
    for pixel in 0..planes.pixels() {
        let pads = image.wrapping_add(offset + pixel * LANES + count);
        // SAFETY: they are the last lanes of a pixel of the block.
        unsafe { pads.write_bytes(0, LANES - count) };
    }
}

/// Sets the pad lanes of a value to zero.
///
/// # Panics
/// If the memory has no room for the value, or two blocks overlap.
pub(crate) fn clear_pads(planes: &Planes, memory: &mut Memory, team: &mut Team) {
    assert!(memory.image_len() >= planes.end() && planes.is_disjoint(), "values beyond the arena or over each other");
    let (images, blocks) = (memory.images(), planes.blocks().len());
    let shared = memory.share();
    team.run(images * blocks, &|part, _| {
        // SAFETY: the value lies in the image's share, and its blocks are apart.
        unsafe { zero_pads(planes, part % blocks, shared.image(part / blocks)) }
    });
}

/// Sets values to zero.
#[derive(Debug)]
pub struct Clear {
    planes: Planes,
}

impl Clear {
    /// The value at `planes`.
    pub fn new(planes: &Planes) -> Self {
        Self { planes: planes.clone() }
    }

    /// Clears all images.
    pub fn run(&self, memory: &mut Memory) {
        for image in 0..memory.images() {
            for block in 0..self.planes.blocks().len() {
                memory.image_mut(image)[self.planes.range(block)].fill(0.0);
            }
        }
    }
}
