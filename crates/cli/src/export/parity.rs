//! Whether a file answers as the network that it was written of.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use cspnet::formats::text::shown;

use super::check_photos::CheckPhotos;
use super::engine::Engine;
use super::reader::Reader;
use crate::failure::Failure;

/// Most by which a probability may differ.
const TOLERANCE: f32 = 1e-4;

/// All who have read a file.
pub type Readers = Vec<Box<dyn Reader>>;

/// A network and those who have read its file.
pub struct Check {
    /// What the file is to answer.
    pub expected: Engine,
    /// The network before its weights were rounded, if they were.
    pub unrounded: Option<Engine>,
    /// Those whose answers are compared.
    pub readers: Readers,
}

impl Check {
    /// Compares all answers; says what was found.
    ///
    /// # Errors
    /// [`Failure::Unequal`] if a reader answers otherwise, and if there are no photos or no answers. `output` names the file.
    pub fn run(mut self, photos: &CheckPhotos, output: &Path) -> Result<String, Failure> {
        let mut parities = vec![Parity::default(); self.readers.len()];
        let mut rounding = Parity::default();
        for (name, photo) in photos.decoded(&self.expected.pictures().decode_options()) {
            let photo = match photo {
                Ok(photo) => photo,
                Err(why) => {
                    // If nobody can be told, it is one photo less all the same.
                    let _ = writeln!(io::stderr(), "{}: {}", shown(&name), shown(&why));
                    continue;
                }
            };
            let expected = self.expected.answer(&photo)?;
            for (reader, parity) in self.readers.iter_mut().zip(&mut parities) {
                parity.add(&name, &expected, &reader.answer(&photo)?);
            }
            if let Some(unrounded) = &mut self.unrounded {
                rounding.add(&name, &unrounded.answer(&photo)?, &expected);
            }
        }
        if parities.iter().all(|parity| parity.photos == 0) {
            return Err(Failure::Message(format!("{}: no photo to compare answers on", photos.source)));
        }
        let mut said = Vec::new();
        for (reader, parity) in self.readers.iter().zip(&parities) {
            let (by, on) = (reader.name(), &photos.source);
            if !parity.holds() {
                return Err(Failure::Unequal(format!(
                    "{} is not written: read by {by}, it does not answer as the network ({parity}, furthest on {}, of {on})",
                    output.display(),
                    parity.furthest,
                )));
            }
            said.push(format!("{parity}: read by {by}, on {on}"));
        }
        if self.unrounded.is_some() {
            let (changed, difference) = (rounding.photos - rounding.same_top, Difference(rounding.largest));
            said.push(format!(
                "rounding itself: largest difference {difference}, another likeliest class {changed} times"
            ));
        }
        Ok(said.join("\n"))
    }
}

/// How far answers are from those that are expected.
#[derive(Clone, Debug, Default)]
struct Parity {
    photos: usize,
    /// Photos of which the likeliest class is the same.
    same_top: usize,
    /// Photos of which all is the same, but for rounding.
    equal: usize,
    /// The largest difference of two probabilities.
    largest: f32,
    /// The photo that has it.
    furthest: String,
}

impl Parity {
    fn add(&mut self, photo: &str, expected: &[f32], found: &[f32]) {
        let apart = |(a, b): (&f32, &f32)| (a - b).abs();
        let difference = match expected.len() == found.len() {
            // What is no number is as far as can be.
            true => expected
                .iter()
                .zip(found)
                .map(apart)
                .map(|d| if d.is_nan() { f32::INFINITY } else { d })
                .fold(0.0, f32::max),
            false => f32::INFINITY,
        };
        let same_top = likeliest(expected) == likeliest(found);
        self.photos += 1;
        self.same_top += usize::from(same_top);
        self.equal += usize::from(same_top && difference <= TOLERANCE);
        if difference >= self.largest {
            self.largest = difference;
            self.furthest = photo.into();
        }
    }

    fn holds(&self) -> bool {
        self.equal == self.photos
    }
}

impl fmt::Display for Parity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "parity {}/{}, largest difference {}", self.equal, self.photos, Difference(self.largest))
    }
}

/// A difference with one digit.
struct Difference(f32);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0.0 { f.write_str("0") } else { write!(f, "{:.0e}", self.0) }
    }
}

/// The class with the largest probability; of equals the first.
fn likeliest(probabilities: &[f32]) -> Option<usize> {
    let first = |best: Option<usize>, i: usize| match best {
        Some(best) if probabilities[best] >= probabilities[i] => Some(best),
        _ => Some(i),
    };
    (0..probabilities.len()).fold(None, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parity(answers: &[(&[f32], &[f32])]) -> Parity {
        let mut parity = Parity::default();
        answers.iter().enumerate().for_each(|(i, (expected, found))| parity.add(&i.to_string(), expected, found));
        parity
    }

    #[test]
    fn rounding_is_allowed_and_no_more() {
        let near = parity(&[(&[0.25, 0.75], &[0.250_05, 0.749_95]), (&[1.0, 0.0], &[1.0, 0.0])]);
        assert!(near.holds());
        assert_eq!((near.to_string().as_str(), near.furthest.as_str()), ("parity 2/2, largest difference 5e-5", "0"));
        let far = parity(&[(&[0.2, 0.8], &[0.2, 0.8]), (&[0.25, 0.75], &[0.2502, 0.7498])]);
        assert!(!far.holds());
        assert_eq!((far.to_string().as_str(), far.furthest.as_str()), ("parity 1/2, largest difference 2e-4", "1"));
    }

    #[test]
    fn another_likeliest_class_is_never_equal() {
        let turned = parity(&[(&[0.500_01, 0.499_99], &[0.499_99, 0.500_01])]);
        assert_eq!((turned.holds(), turned.same_top), (false, 0));
        assert!(parity(&[(&[0.5, 0.5], &[0.5, 0.5])]).holds());
    }

    #[test]
    fn what_cannot_be_compared_is_not_equal() {
        for found in [&[f32::NAN, 0.5][..], &[0.5], &[]] {
            let parity = parity(&[(&[0.5, 0.5], found)]);
            assert!(!parity.holds() && parity.largest == f32::INFINITY);
        }
        assert_eq!(parity(&[(&[1.0], &[1.0])]).to_string(), "parity 1/1, largest difference 0");
    }
}
