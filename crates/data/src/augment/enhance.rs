//! Operations on the colours of a photo as Pillow defines them (`ImageOps`, `ImageEnhance`), to the last bit.

use cspnet_vision::Photo;

/// Replaces every value by what a function makes of it.
pub(super) fn map(photo: &mut Photo, function: impl Fn(u8) -> u8) {
    let table: [u8; 256] = std::array::from_fn(|v| function(v as u8));
    photo.pixels_mut().iter_mut().for_each(|v| *v = table[usize::from(*v)]);
}

/// Stretches every channel's values to the full range.
pub(super) fn auto_contrast(photo: &mut Photo) {
    map_channels(photo, |histogram| {
        let low = histogram.iter().position(|&n| n > 0)?;
        let high = histogram.iter().rposition(|&n| n > 0)?;
        let scale = 255.0 / (high > low).then(|| (high - low) as f64)?;
        let offset = -(low as f64) * scale;
        Some(std::array::from_fn(|v| (v as f64 * scale + offset) as u8))
    });
}

/// Gives every channel as many values of each brightness as possible.
pub(super) fn equalize(photo: &mut Photo) {
    map_channels(photo, |histogram| {
        let last = histogram.iter().rposition(|&n| n > 0)?;
        let step = (histogram.iter().sum::<usize>() - histogram[last]) / 255;
        let mut below = step / 2;
        (step > 0).then(|| {
            std::array::from_fn(|v| {
                let value = (below / step).min(255) as u8;
                below += histogram[v];
                value
            })
        })
    });
}

/// Replaces the values of every channel by a table made from how often each occurs, if there is one.
fn map_channels(photo: &mut Photo, table: impl Fn(&[usize; 256]) -> Option<[u8; 256]>) {
    let pixels: &mut [[u8; 3]] = photo.pixels_mut().as_chunks_mut().0;
    for channel in 0..3 {
        let mut histogram = [0; 256];
        pixels.iter().for_each(|p| histogram[usize::from(p[channel])] += 1);
        if let Some(table) = table(&histogram) {
            pixels.iter_mut().for_each(|p| p[channel] = table[usize::from(p[channel])]);
        }
    }
}

/// Away from black (`factor` above 1) or towards it.
pub(super) fn brightness(photo: &mut Photo, factor: f64) {
    blend(photo, factor, |_, _| [0; 3]);
}

/// Away from the mean brightness or towards it.
pub(super) fn contrast(photo: &mut Photo, factor: f64) {
    let pixels: &[[u8; 3]] = photo.pixels().as_chunks().0;
    let sum: u64 = pixels.iter().map(|&p| u64::from(grey(p))).sum();
    let mean = (sum as f64 / pixels.len() as f64 + 0.5) as u8;
    blend(photo, factor, |_, _| [mean; 3]);
}

/// Away from grey or towards it.
pub(super) fn colour(photo: &mut Photo, factor: f64) {
    blend(photo, factor, |_, pixel| [grey(pixel); 3]);
}

/// Away from a smoothed copy or towards it.
pub(super) fn sharpness(photo: &mut Photo, factor: f64) {
    let smooth = smoothed(photo);
    blend(photo, factor, |i, _| smooth[i]);
}

/// Moves every pixel from what `other` gives for it: to it with 0, nowhere with 1, and beyond.
fn blend(photo: &mut Photo, factor: f64, other: impl Fn(usize, [u8; 3]) -> [u8; 3]) {
    let factor = factor as f32;
    let pixels: &mut [[u8; 3]] = photo.pixels_mut().as_chunks_mut().0;
    for (i, pixel) in pixels.iter_mut().enumerate() {
        let from = other(i, *pixel);
        *pixel = std::array::from_fn(|c| {
            let (from, to) = (f32::from(from[c]), f32::from(pixel[c]));
            (from + factor * (to - from)) as u8
        });
    }
}

/// Brightness of a pixel as Pillow rounds it (ITU-R BT.601).
fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// Every pixel counted five times and its eight neighbours once; the outermost stay as they are.
fn smoothed(photo: &Photo) -> Vec<[u8; 3]> {
    let (width, height) = (photo.width() as usize, photo.height() as usize);
    let from: &[[u8; 3]] = photo.pixels().as_chunks().0;
    let mut to = from.to_vec();
    for y in 1..height.saturating_sub(1) {
        for x in 1..width.saturating_sub(1) {
            let at = y * width + x;
            to[at] = std::array::from_fn(|c| {
                let rows = [at - width, at, at + width];
                let sum: u32 = rows.iter().flat_map(|&row| &from[row - 1..=row + 1]).map(|p| u32::from(p[c])).sum();
                ((f64::from(sum + 4 * u32::from(from[at][c])) / 13.0) + 0.5) as u8
            });
        }
    }
    to
}
