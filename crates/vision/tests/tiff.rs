//! TIFFs that no fixture is: of 64 bits, with alpha of both kinds, samples that are no colours, palettes and long descriptions.

mod common;

use common::{tiff, tiff_tags};
use cspnet_vision::{DecodeOptions, VisionError, decode};

const SIZE: (u64, u64) = (3, 2);

/// So many different bytes.
fn samples(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i * 37 % 256) as u8).collect()
}

fn pixels(bytes: &[u8]) -> Vec<u8> {
    let photo = decode(bytes, &DecodeOptions::default()).unwrap();
    assert_eq!((photo.width(), photo.height()), (3, 2));
    photo.pixels().to_vec()
}

#[test]
fn both_widths_of_places_are_read_in_both_orders() {
    for (little, big) in [(true, false), (false, false), (true, true), (false, true)] {
        assert_eq!(pixels(&tiff(&tiff_tags(SIZE, 2, 3), &samples(18), little, big)), samples(18), "{little} {big}");
    }
}

#[test]
fn long_descriptions_are_passed_over() {
    let mut tags = tiff_tags(SIZE, 2, 3);
    tags.push((270, 2, vec![b'x'.into(); 600 << 10]));
    for big in [false, true] {
        assert_eq!(pixels(&tiff(&tags, &samples(18), true, big)), samples(18));
    }
}

#[test]
fn colours_that_were_multiplied_by_alpha_are_not_multiplied_again() {
    let strip = [[128, 0, 64, 128], [255, 0, 9, 255], [0, 0, 0, 0]].repeat(2).concat();
    let decoded = |kind: u64| {
        let mut tags = tiff_tags(SIZE, 2, 4);
        tags.push((338, 3, vec![kind]));
        pixels(&tiff(&tags, &strip, true, false))
    };
    // On white; what Pillow makes of it.
    let [over, premultiplied, straight] = [[255, 127, 191], [255, 0, 9], [255; 3]];
    assert_eq!(decoded(1), [over, premultiplied, straight].repeat(2).concat());
    assert_eq!(decoded(2), [[191, 127, 159], [255, 0, 9], [255; 3]].repeat(2).concat());
}

#[test]
fn differences_of_samples_that_are_no_colours_are_refused() {
    // What is left of the pixels without the fourth sample.
    let strip = samples(24);
    let colours: Vec<u8> = strip.chunks(4).flat_map(|pixel| &pixel[..3]).copied().collect();
    let with = |extra: u64, predictor: u64| {
        let mut tags = tiff_tags(SIZE, 2, 4);
        tags.extend([(338, 3, vec![extra]), (317, 3, vec![predictor])]);
        decode(&tiff(&tags, &strip, true, false), &DecodeOptions::default())
    };
    assert_eq!(with(0, 1).unwrap().pixels(), colours);
    let error = with(0, 2).unwrap_err();
    assert!(matches!(&error, VisionError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("4 samples, of which 3 are colours, with a predictor"), "{error}");
    assert!(with(2, 2).is_ok());
}

#[test]
fn palettes_are_looked_up() {
    let mut tags = tiff_tags(SIZE, 3, 1);
    // Reds, greens, blues; the lower byte says nothing.
    let channel = |first: u64| (0..256_u64).map(move |i| ((first + i) % 256) << 8 | 0x5A);
    tags.push((320, 3, channel(0).chain(channel(1)).chain(channel(2)).collect()));
    for (little, big) in [(true, false), (false, false), (false, true)] {
        let file = tiff(&tags, &[0, 1, 9, 100, 254, 255], little, big);
        let expected = [[0, 1, 2], [1, 2, 3], [9, 10, 11], [100, 101, 102], [254, 255, 0], [255, 0, 1]].concat();
        assert_eq!(pixels(&file), expected);
    }
    let last = tags.len() - 1;
    tags[last].2.truncate(12);
    let error = decode(&tiff(&tags, &[0; 6], true, false), &DecodeOptions::default()).unwrap_err().to_string();
    assert!(error.contains("its palette has not 256 colours"), "{error}");
}
