//! Resizing against Pillow, bit for bit.

mod common;

use common::{data, from_hex, max_difference, noise};
use cspnet_vision::{Filter, Photo, resize};
use proptest::prelude::*;
use serde::Deserialize;

/// One `Image.resize` of Pillow 11.3 on `noise(from, seed, binary)`.
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
fn every_pixel_is_that_of_pillow() {
    let json = std::fs::read(data("pillow_resize.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&json).unwrap();
    assert_eq!(cases.len(), 30);
    for Case { seed, binary, from, to, filter, pixels } in cases {
        let resized = resize(&noise(from.0, from.1, seed, binary), to.0, to.1, filter).unwrap();
        let difference = max_difference(resized.pixels(), &from_hex(&pixels));
        assert_eq!(difference, 0, "{from:?} -> {to:?}, {filter:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

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
        prop_assert_eq!(resized.pixels(), expected);
    }
}
