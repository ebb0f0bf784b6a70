//! Any colour type a decoder hands over -> 8-bit RGB. Colour profiles are not applied, as in Pillow and torchvision.

use image::ColorType;

/// What the samples of a decoder mean, beyond their colour type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// What they say.
    Plain,
    /// Colours have been multiplied by alpha.
    Premultiplied,
    /// Places in a list of colours.
    Palette(Box<[[u8; 3]; 256]>),
}

/// Converts `raw`, the interleaved samples of colour type `colour` in native byte order, to RGB.
///
/// Wider samples are rounded to 8 bits first ([`from_u16`], [`from_f32`]); then pixels with alpha are laid on `background`.
/// `None` if the colour type is none of those the decoders produce.
pub(crate) fn to_rgb(raw: Vec<u8>, colour: ColorType, meaning: &Meaning, background: [u8; 3]) -> Option<Vec<u8>> {
    if let (ColorType::L8, Meaning::Palette(colours)) = (colour, meaning) {
        return Some(per_pixel(&raw, |[place]| colours[usize::from(place)]));
    }
    let samples = match colour {
        ColorType::Rgb8 => return Some(raw),
        ColorType::L8 | ColorType::La8 | ColorType::Rgba8 => raw,
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            narrow(&raw, |sample| from_u16(u16::from_ne_bytes(sample)))
        }
        ColorType::Rgb32F | ColorType::Rgba32F => narrow(&raw, |sample| from_f32(f32::from_ne_bytes(sample))),
        _ => return None,
    };
    Some(match colour.channel_count() {
        1 => per_pixel(&samples, |[grey]| [grey; 3]),
        2 => per_pixel(&samples, |[grey, alpha]| composite([grey; 3], alpha, background)),
        3 => samples,
        _ if *meaning == Meaning::Premultiplied => {
            per_pixel(&samples, |[r, g, b, alpha]| composite([r, g, b].map(|v| divided(v, alpha)), alpha, background))
        }
        _ => per_pixel(&samples, |[r, g, b, alpha]| composite([r, g, b], alpha, background)),
    })
}

fn narrow<const BYTES: usize>(raw: &[u8], sample: impl Fn([u8; BYTES]) -> u8) -> Vec<u8> {
    raw.as_chunks().0.iter().map(|&bytes| sample(bytes)).collect()
}

fn per_pixel<const CHANNELS: usize>(samples: &[u8], pixel: impl Fn([u8; CHANNELS]) -> [u8; 3]) -> Vec<u8> {
    let pixels = samples.as_chunks().0;
    let mut rgb = vec![0; pixels.len() * 3];
    for (out, &samples) in rgb.as_chunks_mut().0.iter_mut().zip(pixels) {
        *out = pixel(samples);
    }
    rgb
}

/// `v * 255 / 65535` to the nearest integer. There are no ties: the quotient is `v / 257`, and 257 is odd.
fn from_u16(v: u16) -> u8 {
    ((u32::from(v) + 128) / 257) as u8
}

/// `v * 255` to the nearest integer, ties away from zero; outside of 0..=1 the nearer end, and 0 for what is no number.
fn from_f32(v: f32) -> u8 {
    (v * 255.0).round() as u8
}

/// `x / 255` to the nearest integer for `x <= 255 * 255`; there are no ties, 255 being odd.
fn div_255(x: u32) -> u8 {
    ((x + 127) / 255) as u8
}

/// `v / alpha` as Pillow has it, rounded down, and 0 where nothing is to be seen.
fn divided(v: u8, alpha: u8) -> u8 {
    (u32::from(v) * 255).checked_div(alpha.into()).unwrap_or(0).min(255) as u8
}

fn composite(colour: [u8; 3], alpha: u8, background: [u8; 3]) -> [u8; 3] {
    std::array::from_fn(|i| {
        let (over, under) = (u32::from(colour[i]), u32::from(background[i]));
        div_255(over * u32::from(alpha) + under * u32::from(255 - alpha))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_round_to_the_nearest_eight() {
        for v in 0..=u16::MAX {
            assert_eq!(f64::from(from_u16(v)), (f64::from(v) * 255.0 / 65535.0).round());
        }
    }

    #[test]
    fn floats_are_clamped_and_rounded() {
        let cases = [
            (0.0, 0),
            (1.0, 255),
            (0.5, 128),
            (0.498, 127),
            (-3.0, 0),
            (7.0, 255),
            (f32::NAN, 0),
            (f32::INFINITY, 255),
            (f32::NEG_INFINITY, 0),
        ];
        for (v, expected) in cases {
            assert_eq!(from_f32(v), expected, "{v}");
        }
    }

    #[test]
    fn compositing_rounds_correctly_for_every_colour_and_alpha() {
        for background in [0, 1, 93, 254, 255] {
            for colour in 0..=255 {
                for alpha in 0..=255 {
                    let (c, a, b) = (f64::from(colour), f64::from(alpha), f64::from(background));
                    let exact = (c * a + b * (255.0 - a)) / 255.0;
                    let got = composite([colour; 3], alpha, [background; 3]);
                    assert_eq!(got.map(f64::from), [exact.round(); 3]);
                }
            }
        }
    }

    #[test]
    fn every_colour_type_becomes_rgb() {
        let u16s = |v: &[u16]| v.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<_>>();
        let f32s = |v: &[f32]| v.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<_>>();
        let cases = [
            (ColorType::L8, vec![7], [7, 7, 7]),
            (ColorType::La8, vec![7, 0], [10, 20, 30]),
            (ColorType::Rgb8, vec![1, 2, 3], [1, 2, 3]),
            (ColorType::Rgba8, vec![1, 2, 3, 255], [1, 2, 3]),
            (ColorType::L16, u16s(&[65535]), [255, 255, 255]),
            (ColorType::La16, u16s(&[65535, 0]), [10, 20, 30]),
            (ColorType::Rgb16, u16s(&[257, 514, 771]), [1, 2, 3]),
            (ColorType::Rgba16, u16s(&[257, 514, 771, 65535]), [1, 2, 3]),
            (ColorType::Rgb32F, f32s(&[0.0, 1.0, 2.0]), [0, 255, 255]),
            (ColorType::Rgba32F, f32s(&[0.0, 1.0, 0.5, 0.0]), [10, 20, 30]),
        ];
        for (colour, raw, expected) in cases {
            assert_eq!(to_rgb(raw, colour, &Meaning::Plain, [10, 20, 30]), Some(expected.to_vec()), "{colour:?}");
        }
    }

    #[test]
    fn colours_that_were_multiplied_by_alpha_are_not_multiplied_again() {
        for (pixel, expected) in
            [([50, 100, 0, 128], [55, 110, 15]), ([7, 8, 9, 255], [7, 8, 9]), ([9, 9, 9, 0], [10, 20, 30])]
        {
            let rgb = to_rgb(pixel.to_vec(), ColorType::Rgba8, &Meaning::Premultiplied, [10, 20, 30]);
            assert_eq!(rgb, Some(expected.to_vec()));
        }
    }
}
