//! Photos on which answers are compared: those of a folder, or pictures that are made up, encoded as JPEG and decoded again.
//!
//! Made up are *dead leaves*: discs of all sizes that cover each other, with shades and noise. They have edges, flat parts and
//! textures of every size, as photos have (Lee, Mumford and Huang, Occlusion models for natural images, 2001).

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cspnet::Photo;
use cspnet::formats::text::shown;
use cspnet::vision::{DecodeOptions, decode, decode_file};
use image::codecs::jpeg::JpegEncoder;

use crate::failure::{Failure, without_path};
use crate::photos::expand;

/// Photos that are compared, if there are so many.
const COUNT: usize = 32;

/// Widths and heights of made-up pictures: lying, standing, small, and of sides that nothing divides.
const SIZES: [(u32, u32); 8] =
    [(500, 375), (375, 500), (640, 427), (333, 333), (97, 61), (256, 256), (611, 283), (224, 224)];

/// Discs in a made-up picture.
const DISCS: usize = 120;

/// Photos to compare answers on.
pub struct CheckPhotos {
    /// What they are, for people.
    pub source: String,
    photos: Vec<Source>,
}

/// Where a photo comes from.
enum Source {
    File(PathBuf),
    MadeUp(usize),
}

impl CheckPhotos {
    /// Those of a folder, evenly spread over it, or made-up ones.
    ///
    /// # Errors
    /// If there are none in the folder.
    pub fn of(folder: Option<&Path>) -> Result<Self, Failure> {
        let Some(folder) = folder else {
            return Ok(Self {
                source: format!("{COUNT} made-up pictures, encoded as JPEG"),
                photos: (0..COUNT).map(Source::MadeUp).collect(),
            });
        };
        let mut paths = Vec::new();
        for named in expand(&[folder.to_owned()]) {
            match named {
                Ok(path) => paths.push(path),
                // If nobody can be told, there are others.
                Err((path, why)) => drop(writeln!(io::stderr(), "{}: {}", shown(&path.to_string_lossy()), shown(&why))),
            }
        }
        let count = paths.len().min(COUNT);
        if count == 0 {
            return Err(Failure::Message(format!("{}: no photo in it to compare answers on", folder.display())));
        }
        let photos = (0..count).map(|i| Source::File(paths[i * paths.len() / count].clone())).collect();
        Ok(Self { source: format!("photos of {}", folder.display()), photos })
    }

    /// Each with its name, decoded when it is asked for; or why it cannot be.
    pub fn decoded<'a>(
        &'a self,
        options: &'a DecodeOptions,
    ) -> impl Iterator<Item = (String, Result<Photo, String>)> + 'a {
        self.photos.iter().map(move |source| match source {
            Source::File(path) => {
                let photo = decode_file(path, options).map_err(|e| without_path(&e.to_string(), path));
                (path.display().to_string(), photo)
            }
            Source::MadeUp(number) => {
                let photo = encoded(*number).and_then(|bytes| decode(&bytes, options).map_err(|e| e.to_string()));
                (format!("made-up picture {number}"), photo)
            }
        })
    }
}

/// A made-up picture as the bytes of a JPEG file.
fn encoded(number: usize) -> Result<Vec<u8>, String> {
    let (width, height) = SIZES[number % SIZES.len()];
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 85);
    let pixels = made_up(number, width as usize, height as usize);
    match encoder.encode(&pixels, width, height, image::ExtendedColorType::Rgb8) {
        Ok(()) => Ok(bytes),
        Err(e) => Err(e.to_string()),
    }
}

/// Discs upon discs, the same for the same number.
fn made_up(number: usize, width: usize, height: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    // SplitMix64 (Steele, Lea and Flood, 2014): 24 bits of each as a number in 0..1.
    let mut random = move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
    };
    let mut pixels = vec![0; 3 * width * height];
    let largest = width.max(height) as f32;
    for disc in 0..DISCS {
        // The first covers all; the others become smaller, with many small ones.
        let radius = if disc == 0 { 2.0 * largest } else { 2.0 + 0.4 * largest * random().powi(3) };
        let (x, y) = (random() * width as f32, random() * height as f32);
        let colour = [random(), random(), random()].map(|c| 255.0 * c);
        let (shade, noise) = (60.0 * (random() - 0.5) / radius, 30.0 * random().powi(2));
        for row in (y - radius).max(0.0) as usize..height.min((y + radius) as usize + 1) {
            for column in (x - radius).max(0.0) as usize..width.min((x + radius) as usize + 1) {
                let (right, down) = (column as f32 - x, row as f32 - y);
                if right * right + down * down > radius * radius {
                    continue;
                }
                let light = shade * (right + down) + noise * (random() - 0.5);
                let pixel = &mut pixels[3 * (row * width + column)..][..3];
                pixel.iter_mut().zip(colour).for_each(|(byte, c)| *byte = (c + light).clamp(0.0, 255.0) as u8);
            }
        }
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_pictures_are_photos_of_their_own() {
        let photos = CheckPhotos::of(None).unwrap();
        let options = DecodeOptions::default();
        let all: Vec<Photo> = photos.decoded(&options).map(|(_, photo)| photo.unwrap()).collect();
        assert_eq!(all.len(), COUNT);
        for (i, photo) in all.iter().enumerate() {
            assert_eq!((photo.width(), photo.height()), SIZES[i % SIZES.len()]);
            assert!(all[..i].iter().all(|other| other != photo));
            let mean = photo.pixels().iter().map(|&v| f64::from(v)).sum::<f64>() / photo.pixels().len() as f64;
            let spread = photo.pixels().iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>();
            assert!((spread / photo.pixels().len() as f64).sqrt() > 20.0, "picture {i} is flat");
        }
    }

    #[test]
    fn photos_of_a_folder_are_spread_over_it() {
        let dir = tempfile::tempdir().unwrap();
        (0..100).for_each(|i| std::fs::write(dir.path().join(format!("{i:03}.jpg")), b"no photo").unwrap());
        let photos = CheckPhotos::of(Some(dir.path())).unwrap();
        let options = DecodeOptions::default();
        let names: Vec<String> = photos
            .decoded(&options)
            .map(|(name, photo)| {
                assert!(photo.is_err());
                name
            })
            .collect();
        assert_eq!(names.len(), COUNT);
        assert!(names[0].ends_with("000.jpg") && names[COUNT - 1].ends_with("096.jpg"));
        let empty = tempfile::tempdir().unwrap();
        assert!(CheckPhotos::of(Some(empty.path())).is_err());
    }
}
