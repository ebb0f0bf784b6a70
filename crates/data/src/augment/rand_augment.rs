//! RandAugment (Cubuk et al., arXiv:1909.13719): a few operations drawn for every view, all of one magnitude. Operations,
//! their ranges and the way to write them are timm's (`rand-m9-mstd0.5-inc1`); pixels between pixels are always bilinear here.

use std::fmt;
use std::str::FromStr;

use cspnet_vision::Photo;
use serde::{Deserialize, Serialize};

use super::affine::Affine;
use super::enhance;
use crate::draw::Draw;

/// What is drawn for a view.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RandAugment {
    /// Mean magnitude; 10 is the end of an operation's usual range.
    magnitude: f64,
    /// Operations of a view.
    layers: usize,
    /// Probability of each.
    probability: f64,
    /// Standard deviation of the magnitude; beyond 100 it is uniform up to the mean.
    deviation: f64,
    /// Largest magnitude.
    most: f64,
    /// Whether all operations do more where the magnitude is larger; in the original set some do less.
    increasing: bool,
}

/// What cannot be read as operations.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no RandAugment; write it as timm does, like rand-m9-n2-mstd0.5-inc1")]
pub struct RandAugmentError(String);

/// An operation on a whole view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Colour,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
}

impl Operation {
    const ALL: [Self; 15] = [
        Self::AutoContrast,
        Self::Equalize,
        Self::Invert,
        Self::Rotate,
        Self::Posterize,
        Self::Solarize,
        Self::SolarizeAdd,
        Self::Colour,
        Self::Contrast,
        Self::Brightness,
        Self::Sharpness,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
    ];

    /// What the operation is told for a magnitude; `sign` is 1 or -1.
    fn argument(self, magnitude: f64, sign: f64, increasing: bool) -> f64 {
        let level = magnitude / 10.0;
        match self {
            Self::AutoContrast | Self::Equalize | Self::Invert => 0.0,
            Self::Rotate => sign * 30.0 * level,
            Self::Posterize if increasing => 4.0 - (4.0 * level).trunc(),
            Self::Posterize => (4.0 * level).trunc(),
            Self::Solarize if increasing => 256.0 - (256.0 * level).trunc().min(256.0),
            Self::Solarize => (256.0 * level).trunc().min(256.0),
            Self::SolarizeAdd => (110.0 * level).trunc().min(128.0),
            Self::Colour | Self::Contrast | Self::Brightness | Self::Sharpness if increasing => {
                (1.0 + sign * 0.9 * level).max(0.1)
            }
            Self::Colour | Self::Contrast | Self::Brightness | Self::Sharpness => 1.8 * level + 0.1,
            Self::ShearX | Self::ShearY => sign * 0.3 * level,
            Self::TranslateX | Self::TranslateY => sign * 0.45 * level,
        }
    }

    fn apply(self, argument: f64, mut view: Photo, fill: [u8; 3]) -> Photo {
        let mapped = |view: &Photo, map: [f64; 6]| Affine(map).apply(view, fill);
        match self {
            Self::AutoContrast => enhance::auto_contrast(&mut view),
            Self::Equalize => enhance::equalize(&mut view),
            Self::Invert => enhance::map(&mut view, |v| 255 - v),
            Self::Rotate => return Affine::rotation(argument, &view).apply(&view, fill),
            Self::Posterize => {
                // Without any bits there would be nothing left to learn from, and Pillow refuses it.
                let bits = argument.clamp(1.0, 8.0) as u32;
                enhance::map(&mut view, |v| v & (0xff_u16 << (8 - bits)) as u8);
            }
            Self::Solarize => enhance::map(&mut view, |v| if f64::from(v) < argument { v } else { 255 - v }),
            Self::SolarizeAdd => {
                enhance::map(&mut view, |v| if v < 128 { v.saturating_add(argument as u8) } else { v });
            }
            Self::Colour => enhance::colour(&mut view, argument),
            Self::Contrast => enhance::contrast(&mut view, argument),
            Self::Brightness => enhance::brightness(&mut view, argument),
            Self::Sharpness => enhance::sharpness(&mut view, argument),
            Self::ShearX => return mapped(&view, [1.0, argument, 0.0, 0.0, 1.0, 0.0]),
            Self::ShearY => return mapped(&view, [1.0, 0.0, 0.0, argument, 1.0, 0.0]),
            Self::TranslateX => return mapped(&view, [1.0, 0.0, argument * f64::from(view.width()), 0.0, 1.0, 0.0]),
            Self::TranslateY => return mapped(&view, [1.0, 0.0, 0.0, 0.0, 1.0, argument * f64::from(view.height())]),
        }
        view
    }
}

impl RandAugment {
    /// The view after the operations that are drawn; what comes in from outside has the colour `mean`.
    pub(super) fn apply(&self, mut view: Photo, mean: [f32; 3], draw: &mut Draw) -> Photo {
        let fill = mean.map(|m| (255.0 * m).round() as u8);
        for _ in 0..self.layers {
            let operation = Operation::ALL[draw.below(Operation::ALL.len())];
            let is_done = draw.chance(self.probability);
            let magnitude = self.magnitude(draw);
            let sign = if draw.chance(0.5) { -1.0 } else { 1.0 };
            if is_done {
                view = operation.apply(operation.argument(magnitude, sign, self.increasing), view, fill);
            }
        }
        view
    }

    fn magnitude(&self, draw: &mut Draw) -> f64 {
        let drawn = if self.deviation > 100.0 {
            draw.between(0.0, self.magnitude)
        } else {
            self.magnitude + self.deviation * draw.normal()
        };
        drawn.clamp(0.0, self.most)
    }
}

impl FromStr for RandAugment {
    type Err = RandAugmentError;

    fn from_str(text: &str) -> Result<Self, RandAugmentError> {
        let wrong = || RandAugmentError(text.into());
        let mut sections = text.split('-');
        if sections.next() != Some("rand") {
            return Err(wrong());
        }
        // timm's defaults.
        let mut all =
            Self { magnitude: 10.0, layers: 2, probability: 0.5, deviation: 0.0, most: 10.0, increasing: false };
        for section in sections {
            let digits = section.find(|c: char| c.is_ascii_digit()).ok_or_else(wrong)?;
            let (key, value) = section.split_at(digits);
            let value: f64 = value.parse().ok().filter(|v| *v >= 0.0 && *v <= 1000.0).ok_or_else(wrong)?;
            let (is_whole, is_share) = (value == value.trunc(), value <= 1.0);
            match key {
                "m" => all.magnitude = value,
                "n" if is_whole && value <= 100.0 => all.layers = value as usize,
                "p" if is_share => all.probability = value,
                "mstd" => all.deviation = value,
                "mmax" => all.most = value,
                "inc" if is_whole && is_share => all.increasing = value == 1.0,
                _ => return Err(wrong()),
            }
        }
        Ok(all)
    }
}

impl fmt::Display for RandAugment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { magnitude, layers, probability, deviation, most, increasing } = self;
        let increasing = u8::from(*increasing);
        write!(f, "rand-m{magnitude}-n{layers}-p{probability}-mstd{deviation}-mmax{most}-inc{increasing}")
    }
}

impl TryFrom<String> for RandAugment {
    type Error = RandAugmentError;

    fn try_from(text: String) -> Result<Self, RandAugmentError> {
        text.parse()
    }
}

impl From<RandAugment> for String {
    fn from(all: RandAugment) -> Self {
        all.to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::draw::Purpose;

    /// timm's names, in the order of `Operation::ALL`.
    const NAMES: [&str; 15] = [
        "AutoContrast",
        "Equalize",
        "Invert",
        "Rotate",
        "Posterize",
        "Solarize",
        "SolarizeAdd",
        "Color",
        "Contrast",
        "Brightness",
        "Sharpness",
        "ShearX",
        "ShearY",
        "TranslateXRel",
        "TranslateYRel",
    ];

    fn photo(value: &Value) -> Photo {
        let side = |name: &str| value[name].as_u64().unwrap() as u32;
        let pixels = value["pixels"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u8).collect();
        Photo::new(side("width"), side("height"), pixels).unwrap()
    }

    #[test]
    fn operations_are_those_of_timm_and_pillow() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/augment/augment.json");
        let golden: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let before = photo(&golden["photo"]);
        let fill = [124, 116, 104];
        let mut seen = std::collections::BTreeSet::new();
        for case in golden["cases"].as_array().unwrap() {
            let name = case["operation"].as_str().unwrap();
            let operation = Operation::ALL[NAMES.iter().position(|n| *n == name).unwrap()];
            let [magnitude, sign] = ["magnitude", "sign"].map(|f| case[f].as_f64().unwrap());
            let argument = operation.argument(magnitude, sign, case["increasing"].as_bool().unwrap());
            if let Some(expected) = case["argument"].as_f64() {
                assert!((argument - expected).abs() < 1e-12, "{case}: {argument}");
            }
            let after = operation.apply(argument, before.clone(), fill);
            let expected = photo(&case["photo"]);
            let off = after.pixels().iter().zip(expected.pixels()).map(|(a, b)| a.abs_diff(*b)).max();
            // Pillow maps in single precision, so a value that is nearly whole may be cut off to the next below.
            let allowed = u8::from(matches!(name, "Rotate" | "ShearX" | "ShearY" | "TranslateXRel" | "TranslateYRel"));
            assert!(off <= Some(allowed), "{name} of {magnitude}: {off:?}");
            seen.insert(name);
        }
        assert_eq!(seen.len(), NAMES.len());
    }

    #[test]
    fn what_timm_writes_is_read_and_written() {
        let all: RandAugment = "rand-m9-n3-mstd0.5-inc1".parse().unwrap();
        assert_eq!(all.to_string(), "rand-m9-n3-p0.5-mstd0.5-mmax10-inc1");
        assert_eq!(all.to_string().parse(), Ok(all));
        assert_eq!(serde_json::from_str::<RandAugment>(&serde_json::to_string(&all).unwrap()).unwrap(), all);
        for wrong in ["", "m9", "rand-x3", "rand-m", "rand-m-3", "rand-n2.5", "rand-p2", "rand-n9999999", "rand-m1e9"] {
            assert!(wrong.parse::<RandAugment>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn magnitudes_are_spread_as_stated_and_never_beyond_the_largest() {
        let moments = |text: &str| {
            let all: RandAugment = text.parse().unwrap();
            let drawn: Vec<f64> =
                (0..4000).map(|s| all.magnitude(&mut Draw::new(1, 0, s, Purpose::RandAugment))).collect();
            let mean = drawn.iter().sum::<f64>() / 4000.0;
            let variance = drawn.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 4000.0;
            assert!(drawn.iter().all(|d| (0.0..=all.most).contains(d)));
            (mean, variance.sqrt())
        };
        let (mean, deviation) = moments("rand-m6-mstd0.5");
        assert!((mean - 6.0).abs() < 0.05 && (deviation - 0.5).abs() < 0.03, "{mean} {deviation}");
        let (mean, deviation) = moments("rand-m6-mstd101");
        assert!((mean - 3.0).abs() < 0.1 && (deviation - 6.0 / 12_f64.sqrt()).abs() < 0.1, "{mean} {deviation}");
        assert_eq!(moments("rand-m7-mstd0"), (7.0, 0.0));
        assert!(moments("rand-m9-mstd2").0 < 9.0);
    }
}
