//! Resizing against Pillow, and against a scalar version of its own arithmetic.

mod common;

use common::{data, from_hex, max_difference, noise};
use cspnet_vision::{Filter, Photo, resize};
use proptest::prelude::*;
use serde::Deserialize;

/// One `Image.resize` of Pillow 13.0 on `noise(from, seed, binary)`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    seed: u32,
    binary: bool,
    from: (u32, u32),
    to: (u32, u32),
    filter: Filter,
    pixels: String,
}

#[test]
fn every_pixel_is_within_one_of_pillow() {
    let json = std::fs::read(data("pillow_resize.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&json).unwrap();
    assert_eq!(cases.len(), 30);
    for case in cases {
        let source = noise(case.from.0, case.from.1, case.seed, case.binary);
        let resized = resize(&source, case.to.0, case.to.1, case.filter).unwrap();
        let difference = max_difference(resized.pixels(), &from_hex(&case.pixels));
        assert!(difference <= 1, "{:?} -> {:?}, {:?}: differs by {difference}", case.from, case.to, case.filter);
    }
}

/// The weights of one output pixel, as multiples of `2^-precision`, from source pixel `start` on.
struct Window {
    start: usize,
    weights: Vec<i16>,
}

/// Weights of every output pixel and their common precision: as many bits as the largest weight leaves in 16.
fn windows(from: u32, to: u32, filter: Filter) -> (Vec<Window>, u32) {
    let (kernel, radius): (fn(f64) -> f64, f64) = match filter {
        Filter::Bilinear => (|x| 1.0 - x, 1.0),
        Filter::Bicubic => (
            |x| {
                if x < 1.0 { (1.5 * x - 2.5) * x * x + 1.0 } else { (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5 }
            },
            2.0,
        ),
    };
    let scale = f64::from(from) / f64::from(to);
    let shrink = scale.max(1.0);
    let exact: Vec<(usize, Vec<f64>)> = (0..to)
        .map(|i| {
            let centre = (f64::from(i) + 0.5) * scale;
            let first = (centre - radius * shrink).floor().max(0.0) as u32;
            let last = (centre + radius * shrink).ceil().min(f64::from(from)) as u32;
            let mut weights: Vec<f64> = (first..last)
                .map(|x| ((f64::from(x) - (centre - 0.5)) * (1.0 / shrink)).abs())
                .map(|x| if x < radius { kernel(x) } else { 0.0 })
                .collect();
            let leading = weights.iter().take_while(|&&w| w == 0.0).count();
            weights.drain(..leading);
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|w| *w /= sum);
            (first as usize + leading, weights)
        })
        .collect();
    let largest = exact.iter().flat_map(|(_, w)| w).fold(0.0, |a: f64, &b| a.max(b));
    let fits = |bits: &u32| (largest * f64::from(1 << (bits + 1))).round() >= 32768.0;
    let precision = (0..22).find(fits).unwrap_or(21);
    let round = |w: &f64| (w * f64::from(1 << precision)).round() as i16;
    let windows =
        exact.iter().map(|(start, weights)| Window { start: *start, weights: weights.iter().map(round).collect() });
    (windows.collect(), precision)
}

/// Resizes `lines` lines of `from` bytes, `step` apart, whose starts `line` tells; the result has the same layout.
fn scalar_rows(photo: &Photo, width: u32, filter: Filter) -> Photo {
    if width == photo.width() {
        return photo.clone();
    }
    let (windows, precision) = windows(photo.width(), width, filter);
    let mut pixels = Vec::new();
    for row in photo.pixels().chunks_exact(photo.width() as usize * 3) {
        for Window { start, weights } in &windows {
            pixels.extend((0..3).map(|channel| {
                let terms = weights.iter().zip(*start..);
                let sum: i32 = terms.map(|(&w, x)| i32::from(w) * i32::from(row[x * 3 + channel])).sum();
                ((sum + (1 << (precision - 1))) >> precision).clamp(0, 255) as u8
            }));
        }
    }
    Photo::new(width, photo.height(), pixels).unwrap()
}

fn transpose(photo: &Photo) -> Photo {
    let (width, height) = (photo.width() as usize, photo.height() as usize);
    let pixels = (0..width)
        .flat_map(|x| (0..height).map(move |y| (y * width + x) * 3))
        .flat_map(|at| photo.pixels()[at..at + 3].iter().copied());
    Photo::new(photo.height(), photo.width(), pixels.collect()).unwrap()
}

fn scalar(photo: &Photo, width: u32, height: u32, filter: Filter) -> Photo {
    let rows_done = scalar_rows(photo, width, filter);
    transpose(&scalar_rows(&transpose(&rows_done), height, filter))
}

proptest! {
    /// Integer sums leave no freedom, so whatever instruction set ran this test gave the bits of the scalar version.
    #[test]
    fn bits_are_those_of_the_scalar_version(
        from in (1_u32..90, 1_u32..90),
        to in (1_u32..90, 1_u32..90),
        seed: u32,
        binary: bool,
        filter in prop_oneof![Just(Filter::Bilinear), Just(Filter::Bicubic)],
    ) {
        let source = noise(from.0, from.1, seed, binary);
        let expected = scalar(&source, to.0, to.1, filter);
        let resized = resize(&source, to.0, to.1, filter).unwrap();
        prop_assert!(resized == expected, "{:?} -> {:?}, {:?}", from, to, filter);
    }

    #[test]
    fn one_colour_stays_that_colour(
        colour: [u8; 3],
        from in (1_u32..300, 1_u32..20),
        to in (1_u32..50, 1_u32..50),
        filter in prop_oneof![Just(Filter::Bilinear), Just(Filter::Bicubic)],
    ) {
        let pixels = colour.repeat((from.0 * from.1) as usize);
        let resized = resize(&Photo::new(from.0, from.1, pixels).unwrap(), to.0, to.1, filter).unwrap();
        let expected = colour.repeat((to.0 * to.1) as usize);
        prop_assert!(max_difference(resized.pixels(), &expected) <= 1);
    }
}
