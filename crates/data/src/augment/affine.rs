//! Affine maps of a photo: rotation, shearing and translation, with the same numbers as Pillow's `Image.transform`.

use cspnet_vision::Photo;

/// The place `(a x + b y + c, d x + e y + f)` of the photo that the pixel at `(x, y)` shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Affine(pub [f64; 6]);

impl Affine {
    /// By `degrees` anticlockwise around the middle.
    pub(super) fn rotation(degrees: f64, photo: &Photo) -> Self {
        let (sin, cos) = (-degrees.to_radians()).sin_cos();
        let (x, y) = (f64::from(photo.width()) / 2.0, f64::from(photo.height()) / 2.0);
        Self([cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y])
    }

    /// The photo mapped, bilinearly between pixels; `fill` where it shows what lies outside.
    pub(super) fn apply(&self, photo: &Photo, fill: [u8; 3]) -> Photo {
        let (width, height) = (photo.width() as usize, photo.height() as usize);
        let from: &[[u8; 3]] = photo.pixels().as_chunks().0;
        let mut mapped = photo.clone();
        let to: &mut [[u8; 3]] = mapped.pixels_mut().as_chunks_mut().0;
        let Self([a, b, c, d, e, f]) = *self;
        for (i, pixel) in to.iter_mut().enumerate() {
            let (x, y) = ((i % width) as f64 + 0.5, (i / width) as f64 + 0.5);
            let (x, y) = (a * x + b * y + c, d * x + e * y + f);
            let inside = (0.0..width as f64).contains(&x) && (0.0..height as f64).contains(&y);
            *pixel = if inside { between(from, [width, height], x - 0.5, y - 0.5) } else { fill };
        }
        mapped
    }
}

/// The colour at a place that may lie between pixels.
fn between(pixels: &[[u8; 3]], [width, height]: [usize; 2], x: f64, y: f64) -> [u8; 3] {
    let (left, top) = (x.floor(), y.floor());
    let (dx, dy) = (x - left, y - top);
    // Half a pixel around the photo its outermost pixels go on.
    let column = |x: f64| x.clamp(0.0, (width - 1) as f64) as usize;
    let row = |y: f64| y.clamp(0.0, (height - 1) as f64) as usize;
    std::array::from_fn(|channel| {
        let at = |x: f64, y: f64| f64::from(pixels[row(y) * width + column(x)][channel]);
        let along = |y: f64| at(left, y) + (at(left + 1.0, y) - at(left, y)) * dx;
        // Pillow cuts the fraction off.
        (along(top) + (along(top + 1.0) - along(top)) * dy) as u8
    })
}
