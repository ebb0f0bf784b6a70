//! Turning a photo upright, as its metadata asks (EXIF 2.32, tag 0x0112).

use image::metadata::Orientation;

use crate::Photo;

/// Tiles of this many pixels a side keep the rows being read and the rows being written in the cache.
const TILE: usize = 32;

/// Where the upright pixel `(x, y)` lies in the stored picture: at index `origin + x * across + y * down`.
struct Walk {
    origin: isize,
    across: isize,
    down: isize,
    /// Width and height are swapped.
    transposed: bool,
}

impl Walk {
    fn new(orientation: Orientation, width: usize, height: usize) -> Self {
        let (row, right, bottom) = (width as isize, width as isize - 1, height as isize - 1);
        let (transposed, origin, across, down) = match orientation {
            Orientation::NoTransforms => (false, 0, 1, row),
            Orientation::FlipHorizontal => (false, right, -1, row),
            Orientation::Rotate180 => (false, bottom * row + right, -1, -row),
            Orientation::FlipVertical => (false, bottom * row, 1, -row),
            Orientation::Rotate90FlipH => (true, 0, row, 1),
            Orientation::Rotate90 => (true, bottom * row, -row, 1),
            Orientation::Rotate270FlipH => (true, bottom * row + right, -row, -1),
            Orientation::Rotate270 => (true, right, row, -1),
        };
        Self { origin, across, down, transposed }
    }
}

/// What EXIF metadata ask for. In PNG and WebP they are the bytes of a TIFF file, but some writers put in front of them what stands
/// there in JPEG.
pub(crate) fn from_exif(mut exif: &[u8]) -> Orientation {
    while let Some(rest) = exif.strip_prefix(b"Exif\0\0") {
        exif = rest;
    }
    Orientation::from_exif_chunk(exif).unwrap_or(Orientation::NoTransforms)
}

/// Turns `photo`, stored with `orientation`, upright.
pub(crate) fn upright(photo: Photo, orientation: Orientation) -> Photo {
    if orientation == Orientation::NoTransforms {
        return photo;
    }
    let walk = Walk::new(orientation, photo.width() as usize, photo.height() as usize);
    let (width, height) =
        if walk.transposed { (photo.height(), photo.width()) } else { (photo.width(), photo.height()) };
    let mut pixels = vec![0; photo.pixels().len()];
    gather(photo.pixels().as_chunks().0, pixels.as_chunks_mut().0, width as usize, &walk);
    Photo::new(width, height, pixels).expect("turning keeps the number of pixels")
}

fn gather(stored: &[[u8; 3]], upright: &mut [[u8; 3]], width: usize, walk: &Walk) {
    for (band, rows) in upright.chunks_mut(TILE * width).enumerate() {
        for left in (0..width).step_by(TILE) {
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                let y = (band * TILE + i) as isize;
                let right = width.min(left + TILE);
                for (x, pixel) in (left as isize..).zip(&mut row[left..right]) {
                    *pixel = stored[(walk.origin + x * walk.across + y * walk.down) as usize];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Orientation; 8] = [
        Orientation::NoTransforms,
        Orientation::FlipHorizontal,
        Orientation::Rotate180,
        Orientation::FlipVertical,
        Orientation::Rotate90FlipH,
        Orientation::Rotate90,
        Orientation::Rotate270FlipH,
        Orientation::Rotate270,
    ];

    fn photo(width: u32, values: &[u8]) -> Photo {
        let pixels: Vec<u8> = values.iter().flat_map(|&v| [v, v ^ 0x55, !v]).collect();
        Photo::new(width, values.len() as u32 / width, pixels).unwrap()
    }

    /// The figure of the EXIF standard: for each value of the tag, which stored side is the visual top and left.
    #[test]
    fn the_eight_values_of_the_standard() {
        let stored = [1, 2, 3, 4, 5, 6];
        let upright_rows: [(u32, [u8; 6]); 8] = [
            (3, [1, 2, 3, 4, 5, 6]),
            (3, [3, 2, 1, 6, 5, 4]),
            (3, [6, 5, 4, 3, 2, 1]),
            (3, [4, 5, 6, 1, 2, 3]),
            (2, [1, 4, 2, 5, 3, 6]),
            (2, [4, 1, 5, 2, 6, 3]),
            (2, [6, 3, 5, 2, 4, 1]),
            (2, [3, 6, 2, 5, 1, 4]),
        ];
        for (tag, (width, values)) in (1..).zip(upright_rows) {
            let orientation = Orientation::from_exif(tag).unwrap();
            let got = upright(photo(3, &stored), orientation);
            assert!(got == photo(width, &values), "tag {tag}");
        }
    }

    proptest! {
        /// Every turn is undone by itself, except the two quarter turns, which undo each other.
        #[test]
        fn turns_have_inverses(width in 1_u32..80, height in 1_u32..80, which in 0_usize..8) {
            let values: Vec<u8> = (0..width * height).map(|i| (i % 251) as u8).collect();
            let original = photo(width, &values);
            let back = match ALL[which] {
                Orientation::Rotate90 => Orientation::Rotate270,
                Orientation::Rotate270 => Orientation::Rotate90,
                other => other,
            };
            prop_assert!(upright(upright(original.clone(), ALL[which]), back) == original);
        }
    }
}
